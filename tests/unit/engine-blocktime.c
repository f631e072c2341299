// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * How long threads waited for pages: examples by a clock that the test moves, random waits
 * against a model that looks at every moment, and many threads at once.
 */
#include "engine/blocktime.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "fault/fault.h"
#include "tap.h"

#define US 1000ull
#define MS (1000 * US)
#define T0 (5 * DROVER_NS_PER_S)

static void fault(struct drover_blocktime *bt, int tid, unsigned int block, uint64_t page,
		  uint64_t now)
{
	struct drover_fault f = { .block = block, .page = page, .pid = tid };

	drover_blocktime_fault(bt, &f, now);
}

static struct drover_blocktime_report *report(struct drover_blocktime *bt)
{
	struct drover_blocktime_report *r = malloc(sizeof(*r));

	if (!r)
		abort();
	drover_blocktime_report(bt, r);
	return r;
}

static void test_examples(void)
{
	struct drover_blocktime *bt = drover_blocktime_new();
	struct drover_blocktime_report *r = report(bt);

	tap_ok(!r->count && !r->blocked_ns && !r->nthreads && !r->waiting, "nothing yet");
	free(r);
	/* 20 waits 0..10 ms, 10 waits 4..6 ms: both for 2 ms */
	fault(bt, 20, 1, 7, T0);
	fault(bt, 10, 1, 8, T0 + 4 * MS);
	drover_blocktime_placed(bt, 0, 7, 2, T0 + 5 * MS);
	drover_blocktime_placed(bt, 1, 9, 1, T0 + 5 * MS);
	r = report(bt);
	tap_ok(!r->count && r->waiting == 2, "pages of another block, or other pages, end no wait");
	free(r);
	drover_blocktime_placed(bt, 1, 8, 1, T0 + 6 * MS);
	drover_blocktime_placed(bt, 1, 0, 1000, T0 + 10 * MS);
	r = report(bt);
	tap_ok(r->count == 2 && r->total_ns == 12 * MS && !r->waiting && !r->dropped,
	       "two waits of 10 and 2 ms");
	tap_ok(r->blocked_ns == 2 * MS, "both waited for 2 ms at once (%llu ns)",
	       (unsigned long long)r->blocked_ns);
	tap_ok(r->nthreads == 2 && r->thread[0].tid == 10 && r->thread[0].total_ns == 2 * MS &&
	       r->thread[0].count == 1 && r->thread[1].tid == 20 &&
	       r->thread[1].total_ns == 10 * MS, "by thread, in order of their ids");
	tap_ok(r->bucket[10] == 1 && r->bucket[13] == 1,
	       "2000 us lie in [2^10, 2^11), 10000 us in [2^13, 2^14)");
	free(r);
	fault(bt, 0, 1, 9, T0 + 20 * MS);
	drover_blocktime_placed(bt, 1, 9, 1, T0 + 23 * MS);
	r = report(bt);
	tap_ok(r->count == 3 && r->unknown_count == 1 && r->unknown_ns == 3 * MS &&
	       r->total_ns == 15 * MS && r->nthreads == 2 && r->blocked_ns == 2 * MS,
	       "a waiter without an id counts, but is no thread");
	free(r);
	drover_blocktime_free(bt);
	tap_ok(!drover_blocktime_free(NULL), "free of NULL");
}

static void test_edges(void)
{
	struct drover_blocktime *bt = drover_blocktime_new();
	struct drover_fault f = { .page = 3, .pid = 1, .time_ns = T0 };
	struct drover_blocktime_report *r;
	unsigned int i;

	drover_blocktime_fault(bt, &f, T0 + 50 * US);
	drover_blocktime_fault(bt, &f, T0 + 60 * US);
	drover_blocktime_placed(bt, 0, 3, 1, T0 + 100 * US);
	r = report(bt);
	tap_ok(r->count == 1 && r->total_ns == 100 * US && r->bucket[6] == 1,
	       "since it was touched, and told twice is told once");
	free(r);
	/* The handler told of page 4, but nobody of its coming; then the thread waits for 5. */
	fault(bt, 1, 0, 4, T0 + 200 * US);
	fault(bt, 1, 0, 5, T0 + 300 * US);
	r = report(bt);
	tap_ok(r->waiting == 1 && r->count == 2 && r->total_ns == 200 * US,
	       "who waits for another page waits no more for the first");
	free(r);
	drover_blocktime_placed(bt, 0, 5, 1, T0 + 250 * US);
	r = report(bt);
	tap_ok(r->count == 3 && r->total_ns == 200 * US && r->bucket[0] == 1,
	       "a clock that ran backwards is no wait at all");
	free(r);
	for (i = 0; i < 3; i++)
		fault(bt, 100 + (int)i, 0, 9, T0 + DROVER_NS_PER_S);
	drover_blocktime_placed(bt, 0, 9, 1, T0 + 30 * DROVER_NS_PER_S);
	r = report(bt);
	tap_ok(r->count == 6 && !r->waiting && r->bucket[DROVER_BLOCKTIME_BUCKETS - 1] == 3,
	       "all who wait for one page go on; the last bucket holds what is longer");
	free(r);
	drover_blocktime_free(bt);
}

static void test_bounded(void)
{
	struct drover_blocktime *bt = drover_blocktime_new();
	struct drover_blocktime_report *r;
	unsigned int i, n = 100000;

	for (i = 0; i < n; i++)
		fault(bt, 0, 2, i, T0);
	r = report(bt);
	tap_ok(r->dropped && r->waiting && r->waiting + r->dropped == n,
	       "too many waits: %llu kept, %llu dropped and counted",
	       (unsigned long long)r->waiting, (unsigned long long)r->dropped);
	free(r);
	drover_blocktime_placed(bt, 2, 0, UINT64_MAX, T0 + MS);
	for (i = 0; i < 2 * DROVER_BLOCKTIME_THREADS; i++) {
		fault(bt, 1 + (int)i, 2, 5, T0 + 2 * MS);
		drover_blocktime_placed(bt, 2, 5, 1, T0 + 3 * MS);
	}
	r = report(bt);
	tap_ok(!r->waiting && r->nthreads == DROVER_BLOCKTIME_THREADS &&
	       r->unknown_count + r->dropped == n + DROVER_BLOCKTIME_THREADS,
	       "too many threads: %u known, the rest counts as unknown", r->nthreads);
	free(r);
	drover_blocktime_free(bt);
}

#define THREADS 5
#define PAGES 40u

/* One random event a microsecond; the model knows who waits for what. */
static void test_model(void)
{
	uint64_t since[THREADS] = { 0 }, page[THREADS], total[THREADS] = { 0 }, all = 0;
	bool waits[THREADS] = { false };
	struct drover_blocktime *bt = drover_blocktime_new();
	struct drover_blocktime_report *r;
	unsigned int i, t, bad = 0, n = 0;

	srand(11);
	for (t = 0; t < THREADS; t++)
		page[t] = 0;
	for (i = 1; i < 200000; i++) {
		uint64_t now = T0 + i * US, first = (unsigned int)rand() % PAGES;
		uint64_t npages = rand() % 4 ? 1 : 1 + (unsigned int)rand() % 100;

		for (t = 0, n = 0; t < THREADS; t++)
			n += waits[t];
		all += n == THREADS ? US : 0;
		t = (unsigned int)rand() % THREADS;
		if (rand() % 2 && !waits[t]) {
			waits[t] = true;
			since[t] = now;
			page[t] = first;
			fault(bt, 1000 + (int)t, 3, first, now);
			continue;
		}
		for (t = 0; t < THREADS; t++) {
			if (!waits[t] || page[t] < first || page[t] - first >= npages)
				continue;
			waits[t] = false;
			total[t] += now - since[t];
		}
		drover_blocktime_placed(bt, 3, first, npages, now);
	}
	drover_blocktime_placed(bt, 9, 0, 1, T0 + i * US);
	r = report(bt);
	for (t = 0; t < THREADS; t++)
		bad += r->thread[t].tid != 1000 + (int)t || r->thread[t].total_ns != total[t];
	tap_ok(r->nthreads == THREADS && !bad, "random: each thread's sum, %u wrong", bad);
	/* What was going on when the test ended is not counted yet. */
	tap_ok(all >= r->blocked_ns && all - r->blocked_ns < 50 * US && all > 1000 * US,
	       "random: all blocked for %llu us, model %llu us",
	       (unsigned long long)(r->blocked_ns / US), (unsigned long long)(all / US));
	free(r);
	drover_blocktime_free(bt);
}

#define WRITERS 8
#define TURNS 20000u

struct writer {
	struct drover_blocktime *bt;
	int tid;
};

static void *write_away(void *arg)
{
	const struct writer *w = arg;
	unsigned int i, seed = (unsigned int)w->tid;

	for (i = 0; i < TURNS; i++) {
		/* A page that others wait for, too: they end each other's waits. */
		uint64_t page = (unsigned int)rand_r(&seed) % 16;

		fault(w->bt, w->tid, 0, page, drover_now_ns());
		drover_blocktime_placed(w->bt, 0, page, i % 8 ? 1 : 70, drover_now_ns());
	}
	return NULL;
}

static void test_threads(void)
{
	struct drover_blocktime *bt = drover_blocktime_new();
	struct writer w[WRITERS];
	struct drover_blocktime_report *r;
	pthread_t thread[WRITERS];
	uint64_t begin = drover_now_ns(), buckets = 0;
	unsigned int i;

	for (i = 0; i < WRITERS; i++) {
		w[i] = (struct writer){ .bt = bt, .tid = 1 + (int)i };
		if (pthread_create(&thread[i], NULL, write_away, &w[i]))
			abort();
	}
	for (i = 0; i < WRITERS; i++)
		pthread_join(thread[i], NULL);
	r = report(bt);
	for (i = 0; i < DROVER_BLOCKTIME_BUCKETS; i++)
		buckets += r->bucket[i];
	tap_ok(r->count == WRITERS * TURNS && buckets == r->count && !r->waiting && !r->dropped,
	       "%u threads at once: every wait counted once (%llu)", WRITERS,
	       (unsigned long long)r->count);
	tap_ok(r->blocked_ns <= drover_now_ns() - begin && r->nthreads == WRITERS,
	       "and not longer than it took");
	free(r);
	drover_blocktime_free(bt);
}

int main(void)
{
	test_examples();
	test_edges();
	test_bounded();
	test_model();
	test_threads();
	return tap_done();
}
