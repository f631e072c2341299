// SPDX-License-Identifier: GPL-2.0-or-later
/* Populating ahead: what the map names gets memory, and nothing else does. */
#include "place/ahead.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "base/cancel.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/units.h"
#include "tap.h"

#define PAGES 1000u

struct world {
	uint8_t *host[2];
	uint64_t *map;
};

static void setup(struct world *w)
{
	unsigned int i;

	for (i = 0; i < 2; i++) {
		w->host[i] = mmap(NULL, PAGES * DROVER_PAGE_SIZE, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (w->host[i] == MAP_FAILED)
			abort();
	}
	w->map = drover_bitmap_new(PAGES);
	drover_bitmap_set_range(w->map, 100, 300);
	drover_bit_set(w->map, 999);
}

static void teardown(struct world *w)
{
	munmap(w->host[0], PAGES * DROVER_PAGE_SIZE);
	munmap(w->host[1], PAGES * DROVER_PAGE_SIZE);
	free(w->map);
}

static unsigned int resident(const struct world *w, unsigned int block, bool value)
{
	unsigned char in[PAGES];
	unsigned int i, n = 0;

	if (mincore(w->host[block], PAGES * DROVER_PAGE_SIZE, in) < 0)
		abort();
	for (i = 0; i < PAGES; i++)
		n += (in[i] & 1) && drover_bit_test(w->map, i) == value;
	return n;
}

/* Up to 10 s: how long it takes is the kernel's affair. */
static bool becomes(const struct world *w, unsigned int block, bool value, unsigned int n)
{
	uint64_t end = drover_deadline_ms(10000);

	while (resident(w, block, value) != n && drover_now_ns() < end)
		usleep(1000);
	return resident(w, block, value) == n;
}

static void test_value(bool value, unsigned int threads, uint64_t step)
{
	const struct drover_ahead_opts o = {
		.value = value, .step = step, .threads = threads, .nice = threads == 1 ? 19 : 0,
	};
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_ahead *a = NULL;
	unsigned int n = value ? 301 : PAGES - 301;
	struct world w;

	setup(&w);
	tap_ok(drover_ahead_start((struct drover_ahead_block[]){
				  { w.host[0], w.map, PAGES }, { NULL, NULL, 0 },
				  { w.host[1], w.map, PAGES } }, 3, &o, &a, &e) == 0,
	       "%u threads, steps of %u: %s", threads, (unsigned int)step, e.msg);
	tap_ok(becomes(&w, 0, value, n) && becomes(&w, 1, value, n),
	       "pages whose bit is %d have memory, in every block", value);
	tap_ok(!drover_ahead_free(a) && !resident(&w, 0, !value) && !resident(&w, 1, !value),
	       "and no others have");
	teardown(&w);
}

static void test_cancelled(void)
{
	struct drover_ahead_opts o = { .value = true, .step = 1, .threads = 1 };
	struct drover_cancel bell;
	struct drover_ahead *a;
	struct world w;

	setup(&w);
	if (drover_cancel_init(&bell, NULL) < 0)
		abort();
	drover_cancel_ring(&bell);
	o.cancel = &bell;
	tap_ok(drover_ahead_start((struct drover_ahead_block[]){ { w.host[0], w.map, PAGES } }, 1,
				  &o, &a, NULL) == 0 && !drover_ahead_free(a) &&
	       !resident(&w, 0, true), "none when the bell has rung");
	tap_ok(!drover_ahead_free(NULL), "free takes NULL");
	drover_cancel_deinit(&bell);
	teardown(&w);
}

int main(void)
{
	test_value(true, 2, 64);
	test_value(false, 1, 128);
	test_cancelled();
	return tap_done();
}
