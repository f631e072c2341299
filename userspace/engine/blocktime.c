// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Waits by page, in shards so that faults on different pages meet in no lock, and sums by
 * thread, in a table that only grows. The time that all threads were blocked at once can't
 * be summed while threads are still being met for the first time; so the time with exactly
 * n of them blocked is kept for every n, and the report takes the n it knows in the end.
 *
 * A wait is in its shard exactly while it lasts; whoever removes it, under the shard's
 * lock, counts it. Nobody holds two locks.
 */
#include "engine/blocktime.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/trace.h"
#include "fault/fault.h"

#define SHARDS 64u
#define WAITS_PER_SHARD 128u
#define THREADS DROVER_BLOCKTIME_THREADS
#define UNKNOWN (-1)
/* Nobody waits for this: a block has fewer pages. */
#define NO_PAGE UINT64_MAX
/* struct drover_blocktime @level: how many are blocked, and since when: 52 days of ns */
#define LEVEL_BITS 12u
#define LEVEL_TIME_MAX ((1ull << (64 - LEVEL_BITS)) - 1)

/* @thread: index into the table of threads, or UNKNOWN */
struct wait {
	uint64_t page;
	uint64_t since;
	unsigned int block;
	int thread;
};

/**
 * struct shard - waits for the pages of one hash value
 * @n: also read without @lock, by who looks whether there is anything to do
 */
struct shard {
	pthread_mutex_t lock;
	_Atomic unsigned int n;
	struct wait wait[WAITS_PER_SHARD];
};

/**
 * struct thread - @tid is set once, everything else counts from then on
 * @block, @page: what it waits for; @page NO_PAGE: nothing
 */
struct thread {
	_Atomic int tid;
	_Atomic unsigned int block;
	_Atomic uint64_t page;
	_Atomic uint64_t count, total_ns;
};

/**
 * struct drover_blocktime - see the head of this file
 * @level: number of threads blocked in the low LEVEL_BITS, since when (ns after @epoch) above
 * @at_level: ns with exactly so many blocked
 * @waiting: entries of all shards
 */
struct drover_blocktime {
	struct shard shard[SHARDS];
	struct thread thread[THREADS];
	_Atomic uint64_t epoch;
	_Atomic uint64_t level;
	_Atomic uint64_t at_level[THREADS + 1];
	_Atomic uint64_t waiting, dropped;
	_Atomic uint64_t unknown_count, unknown_ns;
	_Atomic uint64_t bucket[DROVER_BLOCKTIME_BUCKETS];
};

static void add(_Atomic uint64_t *to, uint64_t v)
{
	atomic_fetch_add_explicit(to, v, memory_order_relaxed);
}

static uint64_t get(_Atomic uint64_t *from)
{
	return atomic_load_explicit(from, memory_order_relaxed);
}

struct drover_blocktime *drover_blocktime_new(void)
{
	struct drover_blocktime *bt = calloc(1, sizeof(*bt));
	unsigned int i;

	if (!bt)
		return NULL;
	for (i = 0; i < SHARDS; i++)
		drover_lock_init(&bt->shard[i].lock);
	for (i = 0; i < THREADS; i++)
		atomic_init(&bt->thread[i].page, NO_PAGE);
	return bt;
}

struct drover_blocktime *drover_blocktime_free(struct drover_blocktime *bt)
{
	unsigned int i;

	if (!bt)
		return NULL;
	for (i = 0; i < SHARDS; i++)
		pthread_mutex_destroy(&bt->shard[i].lock);
	free(bt);
	return NULL;
}

static struct shard *shard_of(struct drover_blocktime *bt, unsigned int block, uint64_t page)
{
	uint64_t h = (page ^ ((uint64_t)block << 48)) * 0x9e3779b97f4a7c15ull;

	return &bt->shard[h >> 58];
}
static_assert(SHARDS == 64, "shard_of() takes 6 bits of the hash");

/* ---- threads ---- */

/* Its index, given now if it had none; UNKNOWN: no id, or the table is full. */
static int thread_index(struct drover_blocktime *bt, int tid)
{
	unsigned int i, at = (unsigned int)tid % THREADS;

	if (tid <= 0)
		return UNKNOWN;
	for (i = 0; i < THREADS; i++, at = (at + 1) % THREADS) {
		int is = 0;

		if (atomic_compare_exchange_strong(&bt->thread[at].tid, &is, tid) || is == tid)
			return (int)at;
	}
	return UNKNOWN;
}

static int tid_of(struct drover_blocktime *bt, int thread)
{
	return thread == UNKNOWN ? 0 :
	       atomic_load_explicit(&bt->thread[thread].tid, memory_order_relaxed);
}

/*
 * One more (or less) is blocked from @now on. Callers may come here in another order than
 * their clocks say; time does not run backwards for that, it stands still.
 */
static void level_change(struct drover_blocktime *bt, int by, uint64_t now)
{
	uint64_t old = atomic_load(&bt->level), zero = 0, next, at, since;

	atomic_compare_exchange_strong(&bt->epoch, &zero, now);
	at = now > get(&bt->epoch) ? now - get(&bt->epoch) : 0;
	if (at > LEVEL_TIME_MAX)
		at = LEVEL_TIME_MAX;
	do {
		since = old >> LEVEL_BITS;
		next = (at > since ? at : since) << LEVEL_BITS;
		next |= ((old & ((1u << LEVEL_BITS) - 1)) + (unsigned int)by) &
			((1u << LEVEL_BITS) - 1);
	} while (!atomic_compare_exchange_weak(&bt->level, &old, next));
	if (at > since)
		add(&bt->at_level[old & ((1u << LEVEL_BITS) - 1)], at - since);
}
static_assert(DROVER_BLOCKTIME_THREADS < (1u << LEVEL_BITS), "all threads can be blocked");

/* ---- waits ---- */

static uint64_t wait_ns(const struct wait *w, uint64_t now)
{
	return now > w->since ? now - w->since : 0;
}

static void count(struct drover_blocktime *bt, const struct wait *w, uint64_t now)
{
	uint64_t ns = wait_ns(w, now), us = ns / 1000;
	unsigned int n = us ? 63u - (unsigned int)__builtin_clzll(us) : 0;

	add(&bt->bucket[n < DROVER_BLOCKTIME_BUCKETS ? n : DROVER_BLOCKTIME_BUCKETS - 1], 1);
	if (w->thread == UNKNOWN) {
		add(&bt->unknown_count, 1);
		add(&bt->unknown_ns, ns);
		return;
	}
	add(&bt->thread[w->thread].count, 1);
	add(&bt->thread[w->thread].total_ns, ns);
}

/* Has ended; it is in no shard any more. */
static void wait_end(struct drover_blocktime *bt, const struct wait *w, uint64_t now)
{
	count(bt, w, now);
	drover_trace_fault_done(w->block, w->page, tid_of(bt, w->thread), wait_ns(w, now) / 1000);
	if (w->thread != UNKNOWN)
		level_change(bt, -1, now);
	atomic_fetch_sub(&bt->waiting, 1);
}

/* Those of this shard that wait for [@page, @page + @npages), or only those of @thread. */
static void shard_end(struct drover_blocktime *bt, struct shard *s, const struct wait *range,
		      uint64_t npages, bool any, uint64_t now)
{
	unsigned int i = 0;
	DROVER_LOCK(&s->lock);

	while (i < atomic_load_explicit(&s->n, memory_order_relaxed)) {
		struct wait w = s->wait[i];
		uint64_t mine = w.page;

		if (w.block != range->block || w.page < range->page ||
		    w.page - range->page >= npages || (!any && w.thread != range->thread)) {
			i++;
			continue;
		}
		if (w.thread != UNKNOWN)
			atomic_compare_exchange_strong(&bt->thread[w.thread].page, &mine, NO_PAGE);
		s->wait[i] = s->wait[atomic_load_explicit(&s->n, memory_order_relaxed) - 1];
		atomic_fetch_sub(&s->n, 1);
		wait_end(bt, &w, now);
	}
}

void drover_blocktime_placed(struct drover_blocktime *bt, unsigned int block, uint64_t page,
			     uint64_t npages, uint64_t now_ns)
{
	struct wait range = { .block = block, .page = page };
	uint64_t i;

	if (!atomic_load(&bt->waiting))
		return;
	if (npages < SHARDS) {
		for (i = 0; i < npages; i++) {
			struct shard *s = shard_of(bt, block, page + i);

			range.page = page + i;
			if (atomic_load(&s->n))
				shard_end(bt, s, &range, 1, true, now_ns);
		}
		return;
	}
	for (i = 0; i < SHARDS; i++)
		if (atomic_load(&bt->shard[i].n))
			shard_end(bt, &bt->shard[i], &range, npages, true, now_ns);
}

/* It waits for something else now, so what it waited for has come unnoticed. */
static void end_earlier(struct drover_blocktime *bt, const struct wait *w)
{
	struct wait old = { .thread = w->thread };

	old.block = atomic_load(&bt->thread[w->thread].block);
	old.page = atomic_load(&bt->thread[w->thread].page);
	if (old.page == NO_PAGE || (old.page == w->page && old.block == w->block))
		return;
	shard_end(bt, shard_of(bt, old.block, old.page), &old, 1, false, w->since);
}

static void shard_add(struct drover_blocktime *bt, struct shard *s, const struct wait *w)
{
	unsigned int i, n;
	DROVER_LOCK(&s->lock);

	n = atomic_load_explicit(&s->n, memory_order_relaxed);
	for (i = 0; i < n; i++)
		if (s->wait[i].page == w->page && s->wait[i].block == w->block &&
		    s->wait[i].thread == w->thread)
			return;
	if (n == WAITS_PER_SHARD) {
		add(&bt->dropped, 1);
		return;
	}
	s->wait[n] = *w;
	if (w->thread != UNKNOWN) {
		atomic_store(&bt->thread[w->thread].block, w->block);
		atomic_store(&bt->thread[w->thread].page, w->page);
		level_change(bt, 1, w->since);
	}
	/* Before the caller looks whether the page has arrived: see the header. */
	atomic_fetch_add(&bt->waiting, 1);
	atomic_fetch_add(&s->n, 1);
}

void drover_blocktime_fault(struct drover_blocktime *bt, const struct drover_fault *f,
			    uint64_t now_ns)
{
	struct wait w = {
		.page = f->page,
		.block = f->block,
		.since = f->time_ns && f->time_ns < now_ns ? f->time_ns : now_ns,
		.thread = thread_index(bt, f->pid),
	};

	if (w.thread != UNKNOWN)
		end_earlier(bt, &w);
	shard_add(bt, shard_of(bt, w.block, w.page), &w);
}

/* ---- report ---- */

static int by_tid(const void *a, const void *b)
{
	const struct drover_blocktime_thread *x = a, *y = b;

	return (x->tid > y->tid) - (x->tid < y->tid);
}

void drover_blocktime_report(struct drover_blocktime *bt, struct drover_blocktime_report *ret)
{
	unsigned int i;

	*ret = (struct drover_blocktime_report){ 0 };
	for (i = 0; i < THREADS; i++) {
		struct drover_blocktime_thread *t = &ret->thread[ret->nthreads];

		t->tid = atomic_load(&bt->thread[i].tid);
		if (!t->tid)
			continue;
		t->count = get(&bt->thread[i].count);
		t->total_ns = get(&bt->thread[i].total_ns);
		ret->count += t->count;
		ret->total_ns += t->total_ns;
		ret->nthreads++;
	}
	qsort(ret->thread, ret->nthreads, sizeof(ret->thread[0]), by_tid);
	ret->unknown_count = get(&bt->unknown_count);
	ret->unknown_ns = get(&bt->unknown_ns);
	ret->count += ret->unknown_count;
	ret->total_ns += ret->unknown_ns;
	ret->blocked_ns = ret->nthreads ? get(&bt->at_level[ret->nthreads]) : 0;
	for (i = 0; i < DROVER_BLOCKTIME_BUCKETS; i++)
		ret->bucket[i] = get(&bt->bucket[i]);
	ret->waiting = atomic_load(&bt->waiting);
	ret->dropped = get(&bt->dropped);
}
