/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_OWNER_RECORD_H
#define DROVER_OWNER_RECORD_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The ownership record: whose is the guest? The VMM keeps it, so it outlives every
 * daemon. Times are nanoseconds of CLOCK_BOOTTIME of the VMM's host, and always an
 * argument: nothing in this layer reads a clock, does I/O, allocates or keeps a global.
 */

#define OWNER_TOKEN_LEN 16
#define OWNER_PEER_MAX 512
#define OWNER_HISTORY 8
/* A COMMIT is in time for 5 s after DIGEST_ACK; own by force waits for 6 s of doubt. */
#define OWNER_LEASE_NS 5000000000ull
#define OWNER_FORCE_NS 6000000000ull
/* until of a session that has no expiry: one-way. */
#define OWNER_NEVER UINT64_MAX

enum owner_state {
#define OWNER_STATE(id, name, doc, lead) OWNER_##id,
#include "owner/owner.def"
	OWNER_STATE_COUNT
};

enum owner_kind {
#define OWNER_KIND(id, name, doc) OWNER_KIND_##id,
#include "owner/owner.def"
	OWNER_KIND_COUNT
};

enum owner_by {
#define OWNER_BY(id, name, doc) OWNER_BY_##id,
#include "owner/owner.def"
	OWNER_BY_COUNT
};

enum owner_outcome {
#define OWNER_OUTCOME(id, name, doc) OWNER_OUTCOME_##id,
#include "owner/owner.def"
	OWNER_OUTCOME_COUNT
};

/** struct owner_token - a session's name; all zeros: none */
struct owner_token {
	uint8_t byte[OWNER_TOKEN_LEN];
};

/**
 * struct owner_entry - what became of one session
 * @token: the session
 * @peer: the address that @token's questions come to, or go to
 * @outcome: see enum; OWNER_OUTCOME_NONE: the entry is empty
 */
struct owner_entry {
	struct owner_token token;
	enum owner_outcome outcome;
	char peer[OWNER_PEER_MAX];
};

/**
 * struct owner_record - the record; all zeros is a guest that is owned and stopped
 * @state: see enum
 * @kind: of the session
 * @by: how it became released
 * @will: the user wants it to run. Only stop, cont and OWN change it; drover's pauses do not
 * @running: what the vCPUs do
 * @missing: memory has not all arrived: the VMM keeps a ledger
 * @proved: of @loaded: the digests are equal
 * @token: the session that the state is about; zeros: none. An owned record has one only
 *	where the guest came by it
 * @peer: its address. source: the destination's; destination: where it listened
 * @loaded: the session whose device state is loaded; zeros: none
 * @since: when it became in-doubt (source)
 * @until: when COMMIT of this session expired (destination)
 * @history: the newest first
 */
struct owner_record {
	enum owner_state state;
	enum owner_kind kind;
	enum owner_by by;
	bool will;
	bool running;
	bool missing;
	bool proved;
	struct owner_token token;
	struct owner_token loaded;
	uint64_t since;
	uint64_t until;
	char peer[OWNER_PEER_MAX];
	struct owner_entry history[OWNER_HISTORY];
};

/**
 * owner_record_init() - the record of a VMM that has just begun
 * @incoming: it waits for a migration; else it has a guest
 * @will: the guest is meant to run (a VMM started with its guest paused: no)
 */
void owner_record_init(struct owner_record *rec, bool incoming, bool will);

/** owner_record_equal() - do two records say the same? */
bool owner_record_equal(const struct owner_record *a, const struct owner_record *b);

/** owner_token_set() - is it a session's at all? */
bool owner_token_set(const struct owner_token *t);
bool owner_token_equal(const struct owner_token *a, const struct owner_token *b);

/** owner_outcome() - what the history says of a session */
enum owner_outcome owner_outcome(const struct owner_record *rec, const struct owner_token *t);

/**
 * owner_kept_copy() - is a whole copy here whose source has not said that it has the guest?
 *
 * It may be the only image that is left: it is neither emptied nor overwritten.
 */
bool owner_kept_copy(const struct owner_record *rec);

/** owner_may_run() - may the vCPUs run? Every start asks this. */
bool owner_may_run(const struct owner_record *rec);

/**
 * owner_in_time() - has this owned record become owned in time?
 * @now: read after the record was stored, before a vCPU is started
 *
 * What OWN has stored counts only if this holds; else the library puts the old record back
 * and refuses with -ETIME.
 */
bool owner_in_time(const struct owner_record *rec, uint64_t now);

/**
 * owner_must_answer() - may a peer ask about this record?
 *
 * A daemon listens on the addresses of the session and of every entry of the history.
 */
bool owner_must_answer(const struct owner_record *rec);

/**
 * owner_to_tell() - the next destination that does not know yet that the guest is here
 * @i: where to go on; 0 at first; moved behind the entry
 *
 * Return: an entry of the history, NULL: no more.
 */
const struct owner_entry *owner_to_tell(const struct owner_record *rec, unsigned int *i);

/** Names for people, files and wires; "invalid" for what is none. */
const char *owner_state_name(enum owner_state s);
const char *owner_kind_name(enum owner_kind k);
const char *owner_by_name(enum owner_by b);
const char *owner_outcome_name(enum owner_outcome o);

/** owner_state_lead() - what leads on from a state; told with every refusal */
const char *owner_state_lead(enum owner_state s);

#endif
