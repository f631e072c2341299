/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_DEST_SEAT_H
#define DROVER_ENGINE_DEST_SEAT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "wire/wire.h"

struct drover_blocktime_report;
struct drover_dest;
struct drover_link;
struct postcopy;
struct session;

/* Sessions that ended before COMMIT and are remembered as fenced. */
#define SEAT_FENCED_MAX 64u

/**
 * struct seat - the one session that a side can have at a time, and what became of others;
 *	written by seat.c alone
 * @lock: guards all of it; a session found under it lives at least as long as it is held
 * @session: NULL: none
 * @pc: of the guest that runs here; set once
 * @arrived: the guest is here for good: no new session
 * @refused: why the last connection was dropped
 * @fenced: tokens of sessions whose COMMIT is refused, the oldest overwritten
 */
struct seat {
	pthread_mutex_t lock;
	struct session *session;
	struct postcopy *pc;
	bool arrived;
	char refused[DROVER_ERR_MAX];
	uint8_t fenced[SEAT_FENCED_MAX][DROVER_TOKEN_LEN];
	unsigned int nfenced;
};

void seat_init(struct seat *s);
/* The side's threads have ended; who still waits for a page goes on waiting. */
void seat_deinit(struct seat *s);
/* For a new session: none while there is one, and none after the guest has arrived. */
int seat_take(struct drover_dest *d, struct session *x, struct drover_error *e);
/* For one that resumes a postcopy. */
int seat_take_again(struct drover_dest *d, struct session *x, struct drover_error *e);
/* Nothing happens when @x does not have the seat. */
void seat_leave(struct drover_dest *d, const struct session *x);
/* COMMIT is done, or was done by an earlier droverd; @pc: the postcopy that goes on, or NULL */
void seat_arrived(struct drover_dest *d, struct postcopy *pc);
struct postcopy *seat_postcopy(struct drover_dest *d);
/* postcopy-blocktime of the guest that runs here; -ENOENT: it is not measured */
int seat_blocktime(struct drover_dest *d, struct drover_blocktime_report *ret);

/*
 * The session that this ATTACH belongs to, which the channel has joined; NULL: no session here
 * wants it. The caller must channels_withdraw() and
 * channels_leave().
 */
struct session *seat_join(struct drover_dest *d, const struct drover_msg_attach *a,
			  struct drover_link *l);
/* The session of this token, if it is here, is fenced and ends, or its COMMIT is done. */
void seat_fence_session(struct drover_dest *d, const uint8_t *token);
/* The session ends, since its source has connected anew. false: there is none any more */
bool seat_end_session(struct drover_dest *d);
/* Its COMMIT is refused from here on, whoever asks. */
void seat_fence(struct drover_dest *d, const uint8_t *token);
bool seat_is_fenced(struct drover_dest *d, const uint8_t *token);

/* A connection is dropped: counted, and remembered. */
void dest_refuse(struct drover_dest *d, const char *why);
/*
 * A source was refused: error-desc says why, also while this side waits for the next. Not
 * where a session is under way or the guest is here: that is another migration's story.
 */
void seat_tell_refusal(struct drover_dest *d, const struct drover_error *e);

#endif
