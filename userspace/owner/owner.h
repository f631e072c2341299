/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_OWNER_OWNER_H
#define DROVER_OWNER_OWNER_H

#include "owner/record.h"

struct drover_error;

/*
 * The VMM library's table (vmm.def). libdrover asks it for each request, for the user's
 * stop and cont, and when a link has ended; so a daemon that is wrong does no harm.
 */

enum owner_event {
#define OWNER_EVENT(id, name, from, doc) OWNER_EV_##id,
#include "owner/owner.def"
	OWNER_EV_COUNT
};

enum owner_action {
#define OWNER_ACTION(id, name, doc) OWNER_ACT_BIT_##id,
#include "owner/owner.def"
	OWNER_ACT_COUNT
};
#define OWNER_ACTION_BIT(id) (1u << OWNER_ACT_BIT_##id)
#define OWNER_ACT_STOP OWNER_ACTION_BIT(STOP)
#define OWNER_ACT_SAVE OWNER_ACTION_BIT(SAVE)
#define OWNER_ACT_LOAD OWNER_ACTION_BIT(LOAD)
#define OWNER_ACT_EMPTY OWNER_ACTION_BIT(EMPTY)
#define OWNER_ACT_EMPTY_ALL OWNER_ACTION_BIT(EMPTY_ALL)
#define OWNER_ACT_START OWNER_ACTION_BIT(START)

/** enum owner_reply - what is answered to OWNER_QUERY */
enum owner_reply {
	OWNER_REPLY_NONE,
#define OWNER_REPLY(id, name, doc) OWNER_REPLY_##id,
#include "owner/owner.def"
	OWNER_REPLY_COUNT
};

/**
 * struct owner_args - what a request carries; what its row does not use is ignored
 * @token: session t
 * @peer: PAUSE, INCOMING, MOVE: the peer's address, or where this side listens; NULL: ""
 * @kind: PAUSE, INCOMING
 * @by: RELEASE
 * @will: OWN: the will that COMMIT carries
 * @until: OWN: when COMMIT expires, OWNER_NEVER for one-way
 */
struct owner_args {
	struct owner_token token;
	const char *peer;
	enum owner_kind kind;
	enum owner_by by;
	bool will;
	uint64_t until;
};

/**
 * owner_step() - what an event does to a record
 * @rec: the record now
 * @args: may be NULL where the event has none
 * @now: CLOCK_BOOTTIME, ns
 * @next: out: the record afterwards; may be @rec itself
 * @actions: out: OWNER_ACT_* bits; see owner.def for their order
 * @reply: out: what MINE is answered with, else OWNER_REPLY_NONE; may be NULL
 *
 * The caller does STOP and LOAD, then stores @next, then does the rest. A STOP
 * or a LOAD that fails is an error of the request, and @next is not stored. After OWN it
 * asks owner_in_time() before it starts anything. A START that fails is stepped by HALTED,
 * and the request succeeds.
 *
 * Return: 0; a negative errno when the table refuses, and nothing changes: the text names
 * the state and what leads on.
 */
int owner_step(const struct owner_record *rec, enum owner_event ev, const struct owner_args *args,
	       uint64_t now, struct owner_record *next, unsigned int *actions,
	       enum owner_reply *reply, struct drover_error *e);

/**
 * owner_may_greet() - may a new link be greeted?
 * @busy: a request of the old link has neither been carried out nor dropped
 * @closed: the old link's end was stepped (CLOSED), or there was none
 *
 * HELLO's answer is the final truth about the old link's requests, so they come first.
 */
bool owner_may_greet(bool busy, bool closed);

const char *owner_event_name(enum owner_event ev);
const char *owner_reply_name(enum owner_reply r);

/**
 * owner_action_name() - name of the lowest bit of *@actions, which is taken away
 *
 * Return: NULL when none is left.
 */
const char *owner_action_name(unsigned int *actions);

#endif
