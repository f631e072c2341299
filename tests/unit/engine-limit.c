// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The rate limit: its arithmetic by a clock that the test moves, its sleeping by bounds so
 * loose that a busy machine keeps them.
 */
#include "engine/limit.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/cancel.h"
#include "base/clock.h"
#include "tap.h"

#define MS DROVER_NS_PER_MS
#define SEC DROVER_NS_PER_S
#define KIB 1024ull
#define MIB (1024 * KIB)

/*
 * One sender for @span ns, taking @chunk at a time, which oversleeps up to @late ns each
 * time it has to wait. Return: bytes sent.
 */
static uint64_t simulate(struct drover_bucket *b, uint64_t chunk, uint64_t span, uint64_t late)
{
	uint64_t now = b->at, end = now + span, sent = 0, seed = 1;

	for (;;) {
		uint64_t place, ns;

		drover_bucket_refill(b, now, false);
		place = drover_bucket_take(b, chunk);
		ns = drover_bucket_wait(b, place);
		if (ns) {
			seed = seed * 6364136223846793005ull + 1;
			now += ns + (late ? (seed >> 33) % late : 0);
			drover_bucket_refill(b, now, true);
			if (drover_bucket_wait(b, place))
				return UINT64_MAX;      /* woken at its time, and not its turn */
			drover_bucket_refill(b, now, false);
		}
		if (now >= end)
			return sent;
		sent += chunk;
	}
}

static void test_accuracy(void)
{
	static const struct {
		uint64_t rate, chunk;
	} t[] = {
		{ 10000000, 64 * KIB }, { 10000000, 4 * KIB }, { 134217728, 256 * KIB },
		{ 1000000000, 256 * KIB }, { 10000000000ull, 256 * KIB },
		{ 10000000000ull, 16 * MIB },
	};
	size_t i;

	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		uint64_t late;

		for (late = 0; late <= 20 * MS; late += 10 * MS) {
			struct drover_bucket b;
			uint64_t sent, off;

			drover_bucket_start(&b, t[i].rate, 12345);
			sent = simulate(&b, t[i].chunk, SEC, late);
			off = sent > t[i].rate ? sent - t[i].rate : t[i].rate - sent;
			tap_ok(off <= t[i].rate / 50,
			       "%llu bytes/s by %llu, up to %llu ms late: %lld",
			       (unsigned long long)t[i].rate, (unsigned long long)t[i].chunk,
			       (unsigned long long)(late / MS), (long long)(sent - t[i].rate));
		}
	}
}

static void test_small_rate(void)
{
	struct drover_bucket b;
	uint64_t now = 0, place;

	drover_bucket_start(&b, 3, 0);
	drover_bucket_take(&b, 30);
	place = drover_bucket_take(&b, 1);
	tap_ok(drover_bucket_wait(&b, place) == 10 * SEC, "30 bytes at 3 bytes/s: 10 s");
	for (; now < 10 * SEC - 1000; now += 1000)
		drover_bucket_refill(&b, now, true);
	drover_bucket_refill(&b, 10 * SEC - 1, true);
	tap_ok(drover_bucket_wait(&b, place) == 1, "nothing is lost by 10^7 looks in between");
	drover_bucket_refill(&b, 10 * SEC, true);
	tap_ok(!drover_bucket_wait(&b, place), "and then it is its turn");
}

static uint64_t burst_after(struct drover_bucket *b, uint64_t idle)
{
	uint64_t sent = 0, now = b->at + idle;

	for (;;) {
		uint64_t place;

		drover_bucket_refill(b, now, false);
		place = drover_bucket_take(b, 1000);
		if (drover_bucket_wait(b, place))
			return sent;
		sent += 1000;
	}
}

static void test_idle(void)
{
	struct drover_bucket b;
	uint64_t sent;

	drover_bucket_start(&b, 100000000, 0);
	tap_ok(burst_after(&b, 0) == 1000, "the first send goes at once, the second waits");
	drover_bucket_start(&b, 100000000, 0);
	sent = burst_after(&b, 3600 * SEC);
	tap_ok(sent >= 1000000 && sent <= 1002000, "an hour's pause is worth 10 ms: %llu",
	       (unsigned long long)sent);
	/* A sleeper that overslept 50 ms may make up for it; once. */
	drover_bucket_start(&b, 100000000, 0);
	drover_bucket_take(&b, 1000000);
	drover_bucket_refill(&b, 60 * MS, true);
	drover_bucket_refill(&b, 60 * MS, false);
	sent = burst_after(&b, 0);
	tap_ok(sent >= 5000000 && sent <= 5002000, "50 ms overslept are owed: %llu",
	       (unsigned long long)sent);
	sent = burst_after(&b, SEC);
	tap_ok(sent <= 1002000, "and not owed again: %llu", (unsigned long long)sent);
	drover_bucket_start(&b, 100000000, 0);
	drover_bucket_take(&b, 1000);
	drover_bucket_refill(&b, 60 * SEC, true);
	sent = burst_after(&b, 0);
	tap_ok(sent <= 10002000, "no more than 100 ms are ever owed: %llu",
	       (unsigned long long)sent);
}

static void test_change(void)
{
	struct drover_bucket b;
	uint64_t place;

	drover_bucket_start(&b, 1000, 0);
	drover_bucket_take(&b, 10000);
	place = drover_bucket_take(&b, 1);
	drover_bucket_refill(&b, SEC, true);
	tap_ok(drover_bucket_wait(&b, place) == 9 * SEC, "a tenth has passed");
	drover_bucket_set(&b, 9000, SEC);
	tap_ok(drover_bucket_wait(&b, place) == SEC, "nine times the rate, a ninth of the wait");
	drover_bucket_set(&b, 1, SEC);
	tap_ok(drover_bucket_wait(&b, place) == 9000 * SEC, "and slower again");
	drover_bucket_set(&b, 1000000000000ull, SEC);
	drover_bucket_refill(&b, 2 * SEC, true);
	tap_ok(!drover_bucket_wait(&b, place), "much faster: at once");
	drover_bucket_set(&b, 1000, 2 * SEC);
	drover_bucket_take(&b, 1000);
	place = drover_bucket_take(&b, 1);
	tap_ok(drover_bucket_wait(&b, place) >= 98 * SEC / 100,
	       "what a fast rate left over is not spent at a slow one");
}

static void test_extremes(void)
{
	struct drover_bucket b;
	uint64_t place;

	drover_bucket_start(&b, UINT64_MAX, 0);
	drover_bucket_refill(&b, UINT64_MAX - 1, false);
	place = drover_bucket_take(&b, UINT64_MAX);
	tap_ok(!drover_bucket_wait(&b, place), "the largest rate and time");
	drover_bucket_start(&b, 1, 0);
	drover_bucket_take(&b, UINT64_MAX);
	place = drover_bucket_take(&b, 1);
	tap_ok(drover_bucket_wait(&b, place) == UINT64_MAX,
	       "a wait longer than the clock saturates");
	drover_bucket_start(&b, 1000, 5 * SEC);
	b.head = b.tail = UINT64_MAX - 500;
	drover_bucket_take(&b, 1000);
	place = drover_bucket_take(&b, 1);
	tap_ok(drover_bucket_wait(&b, place) == SEC, "counters wrap");
	drover_bucket_refill(&b, 6 * SEC, true);
	tap_ok(!drover_bucket_wait(&b, place), "and go on");
	drover_bucket_refill(&b, 1 * SEC, true);
	tap_ok(!drover_bucket_wait(&b, place) && b.at == 6 * SEC,
	       "a clock that goes back is ignored");
}

#define THREADS 8u

struct worker {
	struct drover_limit *limit;
	struct drover_cancel *cancel;
	uint64_t chunk;
	pthread_t thread;
	_Atomic uint64_t sent;
	_Atomic int result;
	atomic_bool stop;
};

static void *work(void *arg)
{
	struct worker *w = arg;

	while (!atomic_load(&w->stop)) {
		int r = drover_limit_take(w->limit, w->chunk, w->cancel);

		if (r) {
			atomic_store(&w->result, r);
			break;
		}
		atomic_fetch_add(&w->sent, w->chunk);
	}
	return NULL;
}

static void sleep_ms(uint64_t ms)
{
	drover_wait_fd(-1, 0, NULL, drover_deadline_ms(ms));
}

static void start(struct worker *w, struct drover_limit *l, struct drover_cancel *c,
		  uint64_t chunk)
{
	w->limit = l;
	w->cancel = c;
	w->chunk = chunk;
	atomic_init(&w->sent, 0);
	atomic_init(&w->result, 0);
	atomic_init(&w->stop, false);
	if (pthread_create(&w->thread, NULL, work, w))
		abort();
}

static void test_threads(void)
{
	static struct worker w[THREADS];
	uint64_t begin, ns, sum = 0, least = UINT64_MAX, most = 0, before[THREADS];
	struct drover_limit *l;
	unsigned int i;

	if (drover_limit_new(50000000, &l, NULL) < 0)
		abort();
	begin = drover_now_ns();
	for (i = 0; i < THREADS; i++)
		start(&w[i], l, NULL, 64 * KIB);
	for (i = 0; i < THREADS; i++)
		while (!atomic_load(&w[i].sent))
			sleep_ms(1);
	for (i = 0; i < THREADS; i++)
		before[i] = atomic_load(&w[i].sent);
	sleep_ms(400);
	for (i = 0; i < THREADS; i++)
		atomic_store(&w[i].stop, true);
	for (i = 0; i < THREADS; i++) {
		uint64_t n;

		pthread_join(w[i].thread, NULL);
		n = atomic_load(&w[i].sent);
		sum += n;
		n -= before[i];
		least = n < least ? n : least;
		most = n > most ? n : most;
	}
	ns = drover_now_ns() - begin;
	/* Never more than the rate, what is kept, and one send of each. */
	tap_ok(sum <= 50 * (ns / 1000) + 500000 + THREADS * 64 * KIB,
	       "8 threads, 50 MB/s: %llu bytes in %llu ms, not more",
	       (unsigned long long)sum, (unsigned long long)(ns / MS));
	tap_ok(sum >= 50 * (ns / 1000) / 4, "and not much less");
	tap_ok(least >= most / 4, "each gets its share: %llu to %llu",
	       (unsigned long long)least, (unsigned long long)most);
	drover_limit_free(l);
}

/* Starts a thread that would sleep for hours, and returns when it does. */
static void start_sleeper(struct worker *w, struct drover_limit *l, struct drover_cancel *c)
{
	start(w, l, c, 1 << 20);
	while (!atomic_load(&w->sent))
		sleep_ms(1);
	sleep_ms(5);
}

static uint64_t join_ms(struct worker *w)
{
	uint64_t begin = drover_now_ns();

	atomic_store(&w->stop, true);
	pthread_join(w->thread, NULL);
	return (drover_now_ns() - begin) / MS;
}

static void test_wake(void)
{
	struct drover_cancel c;
	struct drover_limit *l;
	struct worker w;
	uint64_t ms;

	if (drover_limit_new(1, &l, NULL) < 0 || drover_cancel_init(&c, NULL) < 0)
		abort();
	start_sleeper(&w, l, &c);
	tap_ok(atomic_load(&w.sent) == 1 << 20, "one send goes, the next sleeps");
	atomic_store(&w.stop, true);
	drover_limit_set(l, 0);
	ms = join_ms(&w);
	tap_ok(ms < 1000 && !atomic_load(&w.result), "no limit any more: awake after %llu ms",
	       (unsigned long long)ms);

	drover_limit_set(l, 1);
	start_sleeper(&w, l, &c);
	atomic_store(&w.stop, true);
	drover_limit_set(l, UINT64_MAX);
	ms = join_ms(&w);
	tap_ok(ms < 1000, "a higher limit: awake after %llu ms", (unsigned long long)ms);

	drover_limit_set(l, 0);
	drover_limit_set(l, 1);
	start_sleeper(&w, l, &c);
	atomic_store(&w.stop, true);
	drover_limit_open(l);
	ms = join_ms(&w);
	tap_ok(ms < 1000, "opened: awake after %llu ms", (unsigned long long)ms);
	drover_limit_set(l, 1);
	tap_ok(!drover_limit_take(l, 1 << 30, &c) && !drover_limit_take(l, 1 << 30, &c),
	       "while open a new rate does not count");
	drover_limit_shut(l);
	start_sleeper(&w, l, &c);
	tap_ok(atomic_load(&w.sent) == 1 << 20, "shut again: it does");
	drover_cancel_ring(&c);
	ms = join_ms(&w);
	tap_ok(ms < 1000 && atomic_load(&w.result) == -ECANCELED, "cancelled: awake after %llu ms",
	       (unsigned long long)ms);
	tap_ok(drover_limit_take(l, 1, &c) == -ECANCELED, "a rung bell: no turn at all");
	drover_cancel_deinit(&c);
	tap_ok(!drover_limit_free(l) && !drover_limit_free(NULL), "freed");
}

int main(void)
{
	test_accuracy();
	test_small_rate();
	test_idle();
	test_change();
	test_extremes();
	test_threads();
	test_wake();
	return tap_done();
}
