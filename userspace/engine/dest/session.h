/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_DEST_SESSION_H
#define DROVER_ENGINE_DEST_SESSION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/dest/barrier.h"
#include "engine/dest/channels.h"
#include "engine/dest/digest.h"
#include "engine/dest/fate.h"
#include "engine/dest/postcopy.h"
#include "engine/dest/state.h"
#include "engine/internal.h"
#include "place/place.h"
#include "place/receive.h"

struct drover_dest;
struct json_object;

/**
 * struct dest_block - what a block of the source is here
 * @ours: its number here
 * @skip: it is not migrated, since both sides share it
 */
struct dest_block {
	unsigned int ours;
	bool skip;
};

/**
 * struct session - from an accepted HELLO to its end; written by begin.c alone, but for
 *	@placed (pages.c), @beat_ns (session.c) and what has a file of its own
 * @d, @m, @main, @token, @version, @one_way, @verify, @nblocks, @block: what the handshake has
 *	settled; they don't change after it, and any file may read them
 * @version: of the protocol, that both speak
 * @place: precopy's way for pages; NULL once a postcopy is armed
 * @pc: postcopy is possible or under way; the seat's from COMMIT on, until then its own
 * @block: by the source's number
 * @placed: pages that have come
 * @beat_ns: postcopy: of the last look at what is due
 * @channels, @barrier, @fate, @state, @digest, @pc: nouns with functions of their own, which
 *	is why many files name them
 */
struct session {
	struct drover_dest *d;
	struct drover_migration *m;
	struct drover_link *main;
	uint8_t token[DROVER_TOKEN_LEN];
	uint16_t version;
	bool one_way, verify;
	struct drover_place *place;
	struct postcopy *pc;
	unsigned int nblocks;
	struct dest_block block[DROVER_RAM_BLOCKS_MAX];
	struct session_placed {
		_Atomic uint64_t raw, zero;
	} placed;
	uint64_t beat_ns;

	struct channels channels;
	struct barrier barrier;
	struct fate fate;
	struct state_in state;
	struct digest_in digest;
};

/* Is it postcopy's way that pages take? */
static inline bool session_armed(const struct session *x)
{
	return x->pc && pending_step(&x->pc->pending) >= PENDING_ARMED;
}

/* Has all of an armed postcopy arrived, and been proved as far as it is to be? */
static inline bool session_complete(const struct session *x)
{
	return pending_step(&x->pc->pending) >= (x->verify ? PENDING_PROVED : PENDING_HERE);
}

/* Is the source's block @nr one that is migrated? */
static inline bool session_has_block(const struct session *x, uint32_t nr)
{
	return nr < x->nblocks && !x->block[nr].skip;
}

/* Digests of what was placed in our block @b; NULL without verify. */
static inline const uint64_t *session_digests(const struct session *x, unsigned int b)
{
	return x->pc ? pending_digests(&x->pc->pending, b) : drover_place_digests(x->place, b);
}

/* begin.c */
int session_new(struct drover_dest *d, struct drover_link *l, const struct drover_msg_hello *h,
		struct session **ret, struct drover_error *e);
/* Puts back what is the session's own. Returns NULL */
struct session *session_free(struct session *x);
/* To a list of refusals: this option, for this reason. */
void session_refusal(struct json_object *list, const char *option, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Pair the blocks; what does not fit is added to @no. */
void session_match_blocks(struct session *x, const struct drover_msg_hello *h,
			  struct json_object *no);
/* Precopy's way for pages is made, or is over. */
int session_make_place(struct session *x, bool digests, struct drover_error *e);
void session_drop_place(struct session *x);
void session_set_verify(struct session *x, bool verify);
void session_set_postcopy(struct session *x, struct postcopy *pc);
void session_drop_postcopy(struct session *x);
/* The HELLO was accepted: main is a channel of the migration. */
void session_register(struct session *x);
/* And now others may ATTACH. */
void session_expect_channels(struct session *x);
int session_answer(struct session *x, uint32_t status, struct json_object *text,
		   uint64_t features, struct drover_error *e);
/* HELLO_ACK with the config that both sides have agreed on */
int session_accept(struct session *x, uint64_t features, struct drover_error *e);

/* hello.c: 0: accepted, a session is made and answered; < 0: refused and told */
int dest_hello(struct drover_dest *d, struct drover_link *l, size_t len, struct session **ret,
	       struct drover_error *e);
/* resume.c: as dest_hello(), which calls it for a HELLO that resumes a postcopy */
int dest_resume(struct drover_dest *d, struct drover_link *l, const struct drover_msg_hello *h,
		struct session **ret, struct drover_error *e);
/* What an earlier droverd has left in the VMM is this side's. */
int dest_adopt(struct drover_dest *d, struct drover_error *e);
/* attach.c: a connection whose ATTACH has been read; returns when the channel has ended */
void dest_attach(struct drover_dest *d, struct drover_link *l, size_t len);
/* owner.c: a connection whose OWNER_QUERY has been read */
void dest_owner_query(struct drover_dest *d, struct drover_link *l, size_t len);

/* pages.c */
int session_pages(struct session *x, struct drover_link *l, const struct drover_frame *f,
		  struct drover_error *e);
int session_round_end(struct session *x, struct drover_link *l, const struct drover_frame *f,
		      uint32_t *ret_round, struct drover_error *e);
/* The source says that all is sent; what it sent on other channels may be under way still. */
int session_wait_all(struct session *x, struct drover_error *e);
/* release.c: release-ram: tell what has arrived since the last time. 1: something was told */
int session_release(struct session *x, struct drover_error *e);
/* discard.c: the last message arms the fault handler */
int session_discard(struct session *x, size_t len, struct drover_error *e);
/* commit.c; 1: the session is over and well */
int session_commit(struct session *x, size_t len, struct drover_error *e);
int session_released(struct session *x, size_t len, struct drover_error *e);
int session_end_one_way(struct session *x, size_t len, struct drover_error *e);
/* end.c; each of them leaves the seat, and none frees @x */
/* Before COMMIT: the source is told, and the guest is made fit for the next HELLO. */
void session_failed(struct session *x, int r, const struct drover_error *e);
/* After COMMIT of a postcopy: the connection is over, the migration is not. */
void session_pause(struct session *x, int r, const struct drover_error *e);
/* After COMMIT, when nothing that happens on the wire matters to the guest any more. */
void session_over(struct session *x);
/* session.c: until the session ends, and is freed */
void session_main(struct session *x);

#endif
