// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Populating ahead of the data, in precopy what was announced and in postcopy what has not
 * been received. Threads take steps of the blocks in turn, so that those which come first
 * are ready first. Called by place.c and by the destination's engine.
 */
#include "place/ahead.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/kernel-compat.h"
#include "base/thread.h"
#include "base/units.h"
#include "ram/bus.h"

struct drover_ahead {
	struct drover_ahead_opts opts;
	struct drover_ahead_block *block;
	unsigned int n;
	atomic_bool stop;
	_Atomic uint64_t next_step;
	pthread_t thread[DROVER_AHEAD_THREADS];
	unsigned int nthreads;
};

static void populate(const struct drover_ahead *a, unsigned int block, uint64_t page, uint64_t n)
{
	/* What there is no memory for is remembered: who receives into it says so. */
	if (a->opts.ram)
		drover_ram_bus_probe(a->opts.ram, block, page, n, NULL);
	else
		madvise(a->block[block].host + drover_page_off(page), drover_page_off(n),
			MADV_POPULATE_WRITE);
}

static void populate_step(const struct drover_ahead *a, unsigned int block, uint64_t at,
			  uint64_t end)
{
	const uint64_t *map = a->block[block].map;
	uint64_t to;

	for (; at < end; at = to + 1) {
		for (to = at; to < end && drover_bit_test_acquire(map, to) == a->opts.value; to++)
			;
		if (to > at)
			populate(a, block, at, to - at);
	}
}

static void *ahead_main(void *arg)
{
	struct drover_ahead *a = arg;
	const uint64_t pages = a->opts.step;
	const struct drover_ahead_block *b;

	drover_thread_name("populate", -1);
	if (a->opts.nice)
		setpriority(PRIO_PROCESS, (id_t)gettid(), a->opts.nice);
	while (!atomic_load(&a->stop) && !drover_cancelled(a->opts.cancel)) {
		uint64_t step = atomic_fetch_add(&a->next_step, 1), at;

		for (b = a->block; b < a->block + a->n; b++) {
			uint64_t steps = (b->npages + pages - 1) / pages;

			if (step < steps)
				break;
			step -= steps;
		}
		if (b == a->block + a->n)
			break;
		at = step * pages;
		populate_step(a, (unsigned int)(b - a->block), at,
			      b->npages - at < pages ? b->npages : at + pages);
	}
	return NULL;
}

int drover_ahead_start(const struct drover_ahead_block *block, unsigned int n,
		       const struct drover_ahead_opts *o, struct drover_ahead **ret,
		       struct drover_error *e)
{
	struct drover_ahead *a = calloc(1, sizeof(*a));
	int r = 0;

	if (a)
		a->block = calloc(n ? n : 1, sizeof(*a->block));
	if (!a || !a->block) {
		drover_ahead_free(a);
		return drover_err(e, -ENOMEM, "populate: out of memory");
	}
	memcpy(a->block, block, n * sizeof(*block));
	a->n = n;
	a->opts = *o;
	while (a->nthreads < o->threads && a->nthreads < DROVER_AHEAD_THREADS && !r) {
		r = pthread_create(&a->thread[a->nthreads], NULL, ahead_main, a);
		a->nthreads += !r;
	}
	if (r) {
		drover_ahead_free(a);
		return drover_err(e, -r, "populate: thread: %s", drover_strerror(r));
	}
	*ret = a;
	return 0;
}

struct drover_ahead *drover_ahead_free(struct drover_ahead *a)
{
	unsigned int i;

	if (!a)
		return NULL;
	atomic_store(&a->stop, true);
	for (i = 0; i < a->nthreads; i++)
		pthread_join(a->thread[i], NULL);
	free(a->block);
	free(a);
	return NULL;
}
