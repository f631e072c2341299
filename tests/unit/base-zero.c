// SPDX-License-Identifier: GPL-2.0-or-later
/* Zero detection: each variant finds each single byte, and nothing beyond the page. */
#include "base/zero.h"

#include <stdint.h>
#include <string.h>

#include "base/units.h"
#include "tap.h"

/* The page lies between two lines of ones: a variant that reads past it sees them. */
static uint8_t *fenced_page(void)
{
	uint8_t *p = aligned_alloc(64, DROVER_PAGE_SIZE + 128);

	if (!p)
		abort();
	memset(p, 0xff, DROVER_PAGE_SIZE + 128);
	memset(p + 64, 0, DROVER_PAGE_SIZE);
	return p;
}

static bool each_byte_counts(drover_zero_fn is_zero, uint8_t *page)
{
	size_t i;
	int bit;

	for (i = 0; i < DROVER_PAGE_SIZE; i++)
		for (bit = 0; bit < 8; bit++) {
			bool zero;

			page[i] = (uint8_t)(1 << bit);
			zero = is_zero(page);
			page[i] = 0;
			if (zero)
				return false;
		}
	return true;
}

static void test_variant(const struct drover_zero_ops *ops)
{
	uint8_t *room = fenced_page(), *page = room + 64;

	if (!drover_cpu_has(ops->cpu)) {
		tap_skip("%s: this CPU lacks it", ops->name);
		free(room);
		return;
	}
	tap_ok(ops->is_zero(page), "%s: a page of zeros between ones", ops->name);
	tap_ok(each_byte_counts(ops->is_zero, page), "%s: each bit of each byte", ops->name);
	tap_ok(ops->is_zero(page), "%s: zeros again", ops->name);
	memset(page, 0xff, DROVER_PAGE_SIZE);
	tap_ok(!ops->is_zero(page), "%s: a page of ones", ops->name);
	free(room);
}

int main(void)
{
	uint8_t *room = fenced_page();
	const struct drover_zero_ops *ops;
	drover_zero_fn chosen = drover_zero_select();
	size_t i, n, first;

	ops = drover_zero_table(&n);
	for (i = 0; i < n; i++)
		test_variant(&ops[i]);
	for (first = 0; !drover_cpu_has(ops[first].cpu); first++)
		;
	tap_ok(chosen == ops[first].is_zero, "the first that runs is chosen: %s", ops[first].name);
	tap_ok(ops[n - 1].cpu == DROVER_CPU_SSE2, "the last runs everywhere");
	tap_ok(drover_page_is_zero(room + 64), "without keeping the choice: zeros");
	room[64 + DROVER_PAGE_SIZE - 1] = 1;
	tap_ok(!drover_page_is_zero(room + 64), "without keeping the choice: the last byte");
	free(room);
	return tap_done();
}
