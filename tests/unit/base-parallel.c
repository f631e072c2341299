// SPDX-License-Identifier: GPL-2.0-or-later
/* Loops over ranges: each item once, whole pieces, the first error ends it. */
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/parallel.h"

#include "tap.h"

#define ITEMS 10007u

struct count {
	uint64_t step, n;
	_Atomic unsigned char seen[ITEMS];
	_Atomic unsigned int calls, bad;
	int fail;
};

static int step(void *arg, uint64_t from, uint64_t to)
{
	struct count *c = arg;

	atomic_fetch_add(&c->calls, 1);
	if (from % c->step || from >= to || to > c->n || (to - from != c->step && to != c->n))
		atomic_fetch_add(&c->bad, 1);
	for (; from < to && from < ITEMS; from++)
		atomic_fetch_add(&c->seen[from], 1);
	return c->fail;
}

static void test_all(uint64_t n, uint64_t size)
{
	static struct count c;
	uint64_t i, wrong = 0;
	int r;

	memset(&c, 0, sizeof(c));
	c.step = size;
	c.n = n;
	r = drover_parallel(n, size, step, &c);
	for (i = 0; i < ITEMS; i++)
		wrong += c.seen[i] != (i < n);
	tap_ok(!r && !wrong && !c.bad && c.calls == (n + size - 1) / size,
	       "%llu items by %llu: each once, %u calls", (unsigned long long)n,
	       (unsigned long long)size, c.calls);
}

static void test_error(void)
{
	static struct count c;

	c.step = 1;
	c.n = ITEMS;
	c.fail = -EIO;
	tap_ok(drover_parallel(ITEMS, 1, step, &c) == -EIO, "an error is returned");
	tap_ok(c.calls < 16, "and ends it after %u calls", c.calls);
}

int main(void)
{
	test_all(0, 64);
	test_all(1, 64);
	test_all(64, 64);
	test_all(65, 64);
	test_all(ITEMS, 64);
	test_all(ITEMS, 1);
	test_all(ITEMS, 1u << 20);
	test_error();
	return tap_done();
}
