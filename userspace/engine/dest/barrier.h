/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_DEST_BARRIER_H
#define DROVER_ENGINE_DEST_BARRIER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct drover_error;

/*
 * ROUND_END of all channels. A page must never be overwritten by an older copy, so nobody
 * reads past ROUND_END(n) on a channel until all channels have reached it.
 */

/**
 * struct barrier - written by barrier.c alone
 * @round: being received, from 1; changes under @lock only, and not while a channel is within
 *	it, so a channel's own thread reads it without
 * @parties: channels that take part; set before a second one can
 * @arrived: how many of them have reached the end of @round; guarded by @lock
 * @final_ns: the guest is known to be stopped since then; 0: it may run. Main's thread only
 */
struct barrier {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	uint32_t round;
	unsigned int parties;
	unsigned int arrived;
	uint64_t final_ns;
};

void barrier_init(struct barrier *b);
void barrier_deinit(struct barrier *b);
/* Before any channel but main can arrive. */
void barrier_expect(struct barrier *b, unsigned int parties);
/* The final round's ROUND_END has come on main, or the session is one of a resumed postcopy. */
void barrier_final(struct barrier *b);
static inline bool barrier_is_final(const struct barrier *b)
{
	return b->final_ns;
}

/**
 * barrier_wait() - a channel has reached the end of @round, which is the present one
 * @idle: called without a lock while others are awaited, several times a second: may say, with
 *	a negative errno, that waiting is no use any more
 *
 * Return: 0 when all channels have arrived, or what @idle said.
 */
int barrier_wait(struct barrier *b, uint32_t round, int (*idle)(void *arg, struct drover_error *e),
		 void *arg, struct drover_error *e);
/* Whoever waits asks its @idle now. */
void barrier_wake(struct barrier *b);

#endif
