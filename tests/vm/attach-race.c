// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Writers against harvests, with a shadow copy made of what was reported: nothing is lost.
 * timeout: 120
 * control: 1 flush: a store
 * control: 2 race: writers exit
 */
#include <sched.h>

#include "attach.h"

static void run_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		ksft_die("CPU %d", cpu);
}

/*
 * A CPU that has an entry cached as dirty does not set the bit again. The writer has one
 * of its own, and does nothing that would make it forget.
 */
static void test_flush(void)
{
	const unsigned int rounds = 200, pages = 64;
	atomic_uint *turn = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
				 -1, 0);
	unsigned int i, round, missed = 0, late = 0;
	cpu_set_t all;
	pid_t pid;

	sched_getaffinity(0, sizeof(all), &all);
	begin();
	pid = fork();
	if (!pid) {
		run_on(1);
		for (round = 1; round <= rounds; round++) {
			while (atomic_load(turn) != 2 * round)
				;
			for (i = 0; i < pages; i++)
				++*(volatile uint64_t *)(g.map + i * PAGE);
			atomic_store(turn, 2 * round + 1);
		}
		_exit(0);
	}
	run_on(0);
	for (round = 1; round <= rounds; round++) {
		atomic_store(turn, 2 * round);
		while (atomic_load(turn) == 2 * round)
			;
		late += harvest(0) < 0;
		missed += pages - (unsigned int)__builtin_popcountll(news.dirty[0]);
		late += news.h.ndirty > pages;
	}
	waitpid(pid, NULL, 0);
	sched_setaffinity(0, sizeof(all), &all);
	ksft_ok(!missed && !late, "flush: a store of another CPU after each of %u harvests: "
		"%u missed", rounds, missed);
	end();
	munmap(turn, PAGE);
}

/* Short lives: the bits move from entries to folios all the time. */
static void come_and_go(unsigned int n)
{
	uint64_t s = 88172645463325252ull * (n + 1);

	while (!atomic_load(race_stop)) {
		uint8_t *m = map_file(g.fd, PROT_READ | PROT_WRITE, MAP_SHARED);
		unsigned int k;

		for (k = 0; k < 200; k++)
			++*(uint64_t *)(m + race_random(&s) % RACE_PAGES * PAGE + 8 * n);
		munmap(m, PAGES * PAGE);
	}
}

/* A mapping moves: entries leave one table for another while both are walked. */
static void move_about(unsigned int n)
{
	uint8_t *m = map_file(g.fd, PROT_READ | PROT_WRITE, MAP_SHARED), *to;
	uint64_t s = 88172645463325252ull * (n + 1);

	while (!atomic_load(race_stop)) {
		unsigned int k;

		for (k = 0; k < 200; k++)
			++*(uint64_t *)(m + race_random(&s) % RACE_PAGES * PAGE + 8 * n);
		to = mmap(NULL, PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		m = mremap(m, PAGES * PAGE, PAGES * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to);
		if (m == MAP_FAILED)
			ksft_die("mremap");
	}
	munmap(m, PAGES * PAGE);
}

/* write(2): the flag of the folio and nothing else. */
static void by_pwrite(unsigned int n)
{
	uint64_t s = 88172645463325252ull * (n + 1), i = 0;

	for (; !atomic_load(race_stop); i++)
		if (pwrite(g.fd, &i, 8, (off_t)(race_random(&s) % RACE_PAGES * PAGE + 8 * n)) != 8)
			ksft_die("pwrite");
}

static void fork_and_write(void)
{
	uint64_t s = ksft_ns() | 1;
	unsigned int k;
	pid_t pid = fork();

	if (!pid) {
		for (k = 0; k < 50; k++)
			++*(uint64_t *)(g.map + race_random(&s) % RACE_PAGES * PAGE + 64);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

/* The upper half goes and comes back; who does it also writes there. */
static void truncate_and_grow(void)
{
	uint64_t s = ksft_ns() | 1;
	unsigned int k;

	if (ftruncate(g.fd, PAGES / 2 * PAGE) || ftruncate(g.fd, PAGES * PAGE))
		ksft_die("ftruncate");
	for (k = 0; k < 500; k++)
		++*(uint64_t *)(g.map + (PAGES / 2 + race_random(&s) % RACE_PAGES) * PAGE);
}

static void store_below(unsigned int n)
{
	uint64_t s = 88172645463325252ull * (n + 1);

	while (!atomic_load_explicit(race_stop, memory_order_relaxed))
		++*(uint64_t *)(g.map + race_random(&s) % RACE_PAGES * PAGE + 8 * n);
}

static void punch(void)
{
	static uint64_t s = 88172645463325252ull;

	if (fallocate(g.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)(race_random(&s) % (RACE_PAGES - 16) * PAGE), 16 * PAGE))
		ksft_die("fallocate");
}

int main(void)
{
	g.dev = ksft_device();
	test_flush();
	race_test((struct race){ .ms = 2000 }, "two writers");
	race_test((struct race){ .ms = 1000, .writers_exit = true },
		  "writers exit before the final harvest");
	race_test((struct race){ .ms = 1000, .writers_exit = true, .writer = come_and_go },
		  "mappings come and go");
	race_test((struct race){ .ms = 1000, .writers_exit = true, .writer = move_about },
		  "mappings move");
	race_test((struct race){ .ms = 1000, .protect = true }, "protected: two writers");
	race_test((struct race){ .ms = 1000, .protect = true, .writers_exit = true,
				 .writer = come_and_go }, "protected: mappings come and go");
	race_test((struct race){ .ms = 1000, .protect = true, .writer = by_pwrite },
		  "protected: pwrite");
	race_test((struct race){ .ms = 1000, .writer = by_pwrite }, "pwrite");
	race_test((struct race){ .ms = 1000, .beside = { fork_and_write } },
		  "children write and exit");
	race_test((struct race){ .ms = 1000, .truncates = true, .writer = store_below,
				 .beside = { truncate_and_grow } }, "truncated and grown");
	race_test((struct race){ .ms = 1000, .beside = { punch } }, "holes are punched");
	return ksft_end();
}
