// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Writers against harvests, with a shadow copy made of what was reported: nothing is lost.
 * control: 1 flush:
 * control: 2 race: writers exit
 */
#include <sched.h>
#include <stdatomic.h>

#include "attach.h"

static uint64_t seed = 88172645463325252ull;

/* ---- race: writers against harvests, a shadow made of what was reported ---- */

static void write_on(uint8_t *map, atomic_bool *stop, unsigned int off, uint64_t s)
{
	while (!atomic_load_explicit(stop, memory_order_relaxed)) {
		s ^= s << 13;
		s ^= s >> 7;
		s ^= s << 17;
		++*(uint64_t *)(map + (s % PAGES) * PAGE + off);
	}
}

static unsigned int copy_news(uint8_t *shadow)
{
	unsigned int i, n = 0;

	for (i = 0; i < PAGES; i++)
		if (in(news.dirty, i) || in(news.hole, i)) {
			memcpy(shadow + i * PAGE, g.other + i * PAGE, PAGE);
			n++;
		}
	return n;
}

static void test_race(const char *name, bool writers_exit, bool churn)
{
	atomic_bool *stop = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
				 -1, 0);
	uint8_t *shadow = malloc(PAGES * PAGE);
	unsigned int i, lost = 0, rounds = 0;
	struct timespec t0, t;
	pid_t pid[3] = { 0 };

	begin();
	memcpy(shadow, g.map, PAGES * PAGE);
	for (i = 0; i < 2; i++) {
		pid[i] = fork();
		if (!pid[i]) {
			while (churn && !atomic_load(stop)) {
				/* short lives: the bits move from entries to folios all the time */
				atomic_bool now;
				uint8_t *m = map_file(g.fd, PROT_READ | PROT_WRITE, MAP_SHARED);
				unsigned int k;

				atomic_init(&now, false);
				for (k = 0; k < 200; k++) {
					uint64_t s = seed * (i + 2) + k;

					seed = s * 6364136223846793005ull + 1442695040888963407ull;
					++*(uint64_t *)(m + (seed >> 33) % PAGES * PAGE + 8 * i);
				}
				munmap(m, PAGES * PAGE);
			}
			if (!churn)
				write_on(g.map, stop, 8 * i, seed + i + 1);
			if (!writers_exit)
				pause();
			_exit(0);
		}
	}
	clock_gettime(CLOCK_MONOTONIC, &t0);
	do {
		if (harvest(0) < 0)
			lost++;
		copy_news(shadow);
		rounds++;
		clock_gettime(CLOCK_MONOTONIC, &t);
	} while (t.tv_sec - t0.tv_sec < 2);
	atomic_store(stop, true);
	for (i = 0; i < 2; i++) {
		if (writers_exit) {
			waitpid(pid[i], NULL, 0);
		} else {
			usleep(300000);
		}
	}
	harvest(DROVER_HARVEST_FINAL);
	copy_news(shadow);
	for (i = 0; i < PAGES; i++)
		lost += memcmp(shadow + i * PAGE, g.other + i * PAGE, PAGE) != 0;
	harvest(DROVER_HARVEST_FINAL);
	ksft_ok(!lost && !news.h.ndirty, "race: %s: %u harvests, %u pages lost, %llu late", name, rounds,
	   lost, (unsigned long long)news.h.ndirty);
	for (i = 0; i < 2; i++)
		if (!writers_exit) {
			kill(pid[i], SIGKILL);
			waitpid(pid[i], NULL, 0);
		}
	end();
	free(shadow);
	munmap(stop, PAGE);
}

/* A store through an entry that its CPU has cached as dirty sets no bit. */
static void test_flush(void)
{
	atomic_uint *turn = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
				 -1, 0);
	unsigned int i, missed = 0, n = 300;
	cpu_set_t cpu;
	pid_t pid;

	begin();
	pid = fork();
	CPU_ZERO(&cpu);
	CPU_SET(pid ? 0 : 1, &cpu);
	sched_setaffinity(0, sizeof(cpu), &cpu);
	if (!pid) {
		for (i = 1; i <= 2 * n; i += 2) {
			while (atomic_load(turn) != i)
				;
			g.map[7 * PAGE]++;
			atomic_store(turn, i + 1);
		}
		_exit(0);
	}
	for (i = 1; i <= 2 * n; i += 2) {
		harvest(0);
		atomic_store(turn, i);
		while (atomic_load(turn) != i + 1)
			;
		harvest(0);
		missed += !in(news.dirty, 7);
	}
	waitpid(pid, NULL, 0);
	CPU_SET(1, &cpu);
	sched_setaffinity(0, sizeof(cpu), &cpu);
	ksft_ok(!missed, "flush: %u stores through a cached entry, %u missed", n, missed);
	end();
	munmap(turn, PAGE);
}

int main(void)
{
	g.dev = ksft_device();
	test_flush();
	test_race("two writers", false, false);
	test_race("writers exit before the final harvest", true, false);
	test_race("mappings come and go", true, true);
	return ksft_end();
}
