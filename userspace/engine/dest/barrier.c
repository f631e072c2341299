// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The barrier between two rounds. It knows channels by their number only; whether a session
 * still lives is asked of the caller. Called by pages.c for each ROUND_END, and by fate.c to
 * wake those who wait.
 */
#include "engine/dest/barrier.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/thread.h"

#define WAIT_TICK_MS 200

void barrier_init(struct barrier *b)
{
	pthread_mutex_init(&b->lock, NULL);
	pthread_cond_init(&b->cond, NULL);
	b->round = 1;
	b->parties = 1;
}

void barrier_deinit(struct barrier *b)
{
	pthread_cond_destroy(&b->cond);
	pthread_mutex_destroy(&b->lock);
}

void barrier_expect(struct barrier *b, unsigned int parties)
{
	DROVER_LOCK(&b->lock);

	b->parties = parties;
}

void barrier_final(struct barrier *b)
{
	if (!b->final_ns)
		b->final_ns = drover_now_ns();
}

int barrier_wait(struct barrier *b, uint32_t round, int (*idle)(void *arg, struct drover_error *e),
		 void *arg, struct drover_error *e)
{
	int r = 0;

	pthread_mutex_lock(&b->lock);
	if (++b->arrived == b->parties) {
		b->arrived = 0;
		b->round++;
		pthread_cond_broadcast(&b->cond);
	}
	while (b->round == round && r >= 0) {
		drover_cond_wait_ms(&b->cond, &b->lock, WAIT_TICK_MS);
		pthread_mutex_unlock(&b->lock);
		r = idle(arg, e);
		pthread_mutex_lock(&b->lock);
	}
	pthread_mutex_unlock(&b->lock);
	return r;
}

void barrier_wake(struct barrier *b)
{
	DROVER_LOCK(&b->lock);

	pthread_cond_broadcast(&b->cond);
}
