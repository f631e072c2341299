// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Two writers against harvests for a minute, on two nodes, while the file's pages are
 * moved, compacted, reclaimed, dropped and read by others. A shadow copy that is made of
 * nothing but what was reported must be equal in the end.
 * set: long
 * needs: brd
 * timeout: 300
 * control: 2 race: nothing beside
 */
#include "attach.h"
#include "churn.h"

#define MINUTE 60000u

/* Pages that are stored to all the time would hide what the other ways have lost there. */
static unsigned int page_stored(uint64_t *s)
{
	return (unsigned int)(race_random(s) % PAGES) & ~1u;
}

static unsigned int page_other(uint64_t *s)
{
	return (unsigned int)(race_random(s) % PAGES) | 1u;
}

static void by_mapping(uint64_t *s, unsigned int n)
{
	uint8_t *m = map_file(g.fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	unsigned int i;

	for (i = 0; i < 100; i++)
		++*(uint64_t *)(m + page_other(s) * PAGE + 8 * n);
	munmap(m, PAGES * PAGE);
}

static void by_pwrite(uint64_t *s, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < 20; i++)
		if (pwrite(g.fd, s, 8, (off_t)(page_other(s) * PAGE + 8 * n)) != 8)
			ksft_die("pwrite");
}

static void by_child(uint64_t *s, unsigned int n)
{
	uint64_t mine = *s;
	pid_t pid = fork();
	unsigned int i;

	if (!pid) {
		for (i = 0; i < 20; i++)
			++*(uint64_t *)(g.other + page_other(&mine) * PAGE + 8 * n);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

/* One stores, the other one writes in every way there is. */
static void writer(unsigned int n)
{
	static void (*const by[])(uint64_t *s, unsigned int n) = {
		by_mapping, by_pwrite, by_child
	};
	uint64_t s = 88172645463325252ull * (n + 1) + (uint64_t)getpid();
	unsigned int i;

	while (!atomic_load_explicit(race_stop, memory_order_relaxed)) {
		for (i = 0; i < 1000; i++)
			++*(uint64_t *)(g.map + page_stored(&s) * PAGE + 8 * n);
		if (n)
			by[race_random(&s) % KSFT_SIZE(by)](&s, n);
	}
}

int main(void)
{
	g.dev = ksft_device();
	swap_on();
	race_test((struct race){ .ms = MINUTE, .writer = writer, .beside = {
		move_nodes, compact, drop_caches, reclaim, observe,
	} }, "a minute of everything");
	race_test((struct race){ .ms = MINUTE / 3, .writer = writer, .beside = { move_nodes } },
		  "move_pages");
	race_test((struct race){ .ms = MINUTE / 3, .writer = writer }, "nothing beside");
	swap_off();
	return ksft_end();
}
