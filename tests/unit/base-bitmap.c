// SPDX-License-Identifier: GPL-2.0-or-later
/* Page bitmaps against a bool array, at every alignment that crosses words. */
#include "base/bitmap.h"

#include "tap.h"

#define BITS 200u

static bool same(const uint64_t *map, const bool *ref)
{
	unsigned int i;

	for (i = 0; i < BITS; i++)
		if (drover_bit_test(map, i) != ref[i])
			return false;
	return true;
}

static bool ranges_match(void)
{
	unsigned int start, n, i;

	for (start = 0; start < BITS; start += 7)
		for (n = 0; start + n <= BITS; n += 3) {
			uint64_t map[4] = { 0 };
			bool ref[BITS] = { false };

			drover_bitmap_set_range_atomic(map, start, n);
			for (i = 0; i < n; i++)
				ref[start + i] = true;
			if (!same(map, ref) || drover_bitmap_count(map, BITS) != n)
				return false;
			drover_bitmap_clear_range(map, start, n / 2);
			for (i = 0; i < n / 2; i++)
				ref[start + i] = false;
			if (!same(map, ref))
				return false;
		}
	return true;
}

static bool runs_match(void)
{
	uint64_t map[4] = { 0 }, at = 0, start = 0, n;
	unsigned int i, seen = 0;

	for (i = 0; i < BITS; i++)
		if (i % 13 < 5)
			drover_bit_set(map, i);
	while ((n = drover_bitmap_next_run(map, BITS, at, &start))) {
		if (start % 13 != 0 || (n != 5 && start + n != BITS))
			return false;
		seen += (unsigned int)n;
		at = start + n;
	}
	return seen == drover_bitmap_count(map, BITS);
}

int main(void)
{
	uint64_t map[4] = { 0 };

	tap_ok(ranges_match(), "set, clear and count agree with a plain array");
	tap_ok(runs_match(), "runs cover each set bit once");
	tap_ok(drover_bitmap_next(map, BITS, 0, true) == BITS, "no set bit in an empty map");
	tap_ok(drover_bitmap_next(map, BITS, BITS, false) == BITS, "a search past the end ends");
	tap_ok(!drover_bit_test_and_set_atomic(map, 65) && drover_bit_test_and_set_atomic(map, 65),
	       "a claim is won once");
	return tap_done();
}
