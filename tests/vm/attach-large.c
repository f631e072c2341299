// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Large folios that come and go under a harvest: MADV_COLLAPSE, which puts a huge page in
 * place of small ones and takes it back again when it can't have them all. What was stored
 * before a harvest is told by it or by the next ones, and never as a hole alone.
 * timeout: 60
 * control: 262144 collapse against harvests
 */
#define _GNU_SOURCE
#include <pthread.h>

#include "attach.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#define HUGE 512u
#define STEP 7u

static struct {
	atomic_uint go, done;
	atomic_int result;
	uint8_t *at;
} c;

static uint64_t shadow[HUGE];

static void *collapser(void *arg)
{
	unsigned int seen = 0;

	while (seen != ~0u) {
		if (atomic_load(&c.go) == seen)
			continue;
		seen = atomic_load(&c.go);
		if (seen == ~0u)
			break;
		atomic_store(&c.result, madvise(c.at, HUGE * PAGE, MADV_COLLAPSE) ? errno : 0);
		atomic_store(&c.done, seen);
	}
	return arg;
}

static volatile uint64_t *word(unsigned int page)
{
	return (volatile uint64_t *)(g.map + page * PAGE);
}

/* What a migration makes of the harvest: how many pages are not as @value says. */
static unsigned int apply(unsigned int from, uint64_t value)
{
	unsigned int i, wrong = 0;

	for (i = from; i < HUGE; i += STEP) {
		if (in(news.dirty, i))
			shadow[i] = *word(i);
		else if (in(news.hole, i))
			shadow[i] = 0;
		wrong += shadow[i] != value;
	}
	return wrong;
}

static void map_huge(void)
{
	size_t two = HUGE * PAGE;
	uint8_t *room;

	begin();
	room = mmap(NULL, PAGES * PAGE + two, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	c.at = (uint8_t *)(((uintptr_t)room + two - 1) & ~(two - 1));
	if (mmap(c.at, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, g.fd, 0) ==
	    MAP_FAILED)
		ksft_die("mmap");
	madvise(c.at, PAGES * PAGE, MADV_HUGEPAGE);
	harvest(0);
}

static void test_collapse(void)
{
	unsigned int rounds = 0, lost = 0, late = 0, done = 0, k, first, last = 0;
	uint64_t s = 88172645463325252ull, t0, value = 0, took = 2000000;
	pthread_t t;

	map_huge();
	pthread_create(&t, NULL, collapser, NULL);
	for (t0 = ksft_ns(); ksft_ns() - t0 < 12000000000ull; rounds++) {
		const unsigned int from = rounds % 2 ? 100 : 0;
		uint64_t t1, delay;
		unsigned int i;

		fallocate(g.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, HUGE * PAGE);
		harvest(0);
		harvest(0);
		memset(shadow, 0, sizeof(shadow));
		value++;
		for (i = from; i < HUGE; i += STEP)
			*word(i) = value;
		delay = race_random(&s) % (took + 1);
		atomic_fetch_add(&c.go, 1);
		for (t1 = ksft_ns(); ksft_ns() - t1 < delay;)
			;
		harvest(0);
		first = apply(from, value);
		while (atomic_load(&c.done) != atomic_load(&c.go))
			;
		took = (took * 15 + (ksft_ns() - t1)) / 16;
		done += !atomic_load(&c.result);
		for (k = 0; k < 3; k++) {
			harvest(k == 2 ? DROVER_HARVEST_FINAL : 0);
			last = apply(from, value);
		}
		lost += last != 0;
		late += first && !last;
	}
	atomic_store(&c.go, ~0u);
	pthread_join(t, NULL);
	ksft_ok(!lost && !late,
		"collapse against harvests: %u rounds, %u collapsed: content lost in %u, "
		"told late in %u",
		rounds, done, lost, late);
	end();
}

int main(void)
{
	g.dev = ksft_device();
	test_collapse();
	return ksft_end();
}
