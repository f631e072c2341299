// SPDX-License-Identifier: LGPL-2.1-or-later
/* Page bitmaps; bitmap.h describes the layout and which functions need a single writer. */
#include "base/bitmap.h"

/* A mask of bits [lo, hi) of one word, 0 <= lo < hi <= 64. */
static uint64_t word_mask(unsigned int lo, unsigned int hi)
{
	uint64_t m = ~0ull << lo;

	return hi < 64 ? m & ~(~0ull << hi) : m;
}

enum range_op { RANGE_SET, RANGE_CLEAR, RANGE_SET_ATOMIC };

static inline void range_apply(uint64_t *map, uint64_t start, uint64_t n, enum range_op op)
{
	uint64_t end = start + n;

	while (start < end) {
		unsigned int lo = start % 64;
		uint64_t left = end - start;
		unsigned int hi = left < 64 - lo ? lo + (unsigned int)left : 64;
		uint64_t m = word_mask(lo, hi), *w = &map[start / 64];

		if (op == RANGE_SET)
			*w |= m;
		else if (op == RANGE_CLEAR)
			*w &= ~m;
		else
			__atomic_fetch_or(w, m, __ATOMIC_RELEASE);
		start += hi - lo;
	}
}

void drover_bitmap_set_range(uint64_t *map, uint64_t start, uint64_t n)
{
	range_apply(map, start, n, RANGE_SET);
}

void drover_bitmap_clear_range(uint64_t *map, uint64_t start, uint64_t n)
{
	range_apply(map, start, n, RANGE_CLEAR);
}

void drover_bitmap_set_range_atomic(uint64_t *map, uint64_t start, uint64_t n)
{
	range_apply(map, start, n, RANGE_SET_ATOMIC);
}

uint64_t drover_bitmap_count_range(const uint64_t *map, uint64_t start, uint64_t n)
{
	uint64_t end = start + n, sum = 0;

	while (start < end) {
		unsigned int lo = start % 64;
		uint64_t left = end - start;
		unsigned int hi = left < 64 - lo ? lo + (unsigned int)left : 64;

		sum += (uint64_t)__builtin_popcountll(map[start / 64] & word_mask(lo, hi));
		start += hi - lo;
	}
	return sum;
}

uint64_t drover_bitmap_count(const uint64_t *map, uint64_t nbits)
{
	return drover_bitmap_count_range(map, 0, nbits);
}

void drover_bitmap_or(uint64_t *dst, const uint64_t *src, uint64_t nbits)
{
	size_t i, words = drover_bitmap_words(nbits);

	for (i = 0; i < words; i++)
		dst[i] |= src[i];
}

uint64_t drover_bitmap_next(const uint64_t *map, uint64_t nbits, uint64_t from, bool value)
{
	uint64_t flip = value ? 0 : ~0ull, w;
	size_t i, words = drover_bitmap_words(nbits);

	if (from >= nbits)
		return nbits;
	i = (size_t)(from / 64);
	w = (map[i] ^ flip) & (~0ull << (from % 64));
	while (!w) {
		if (++i == words)
			return nbits;
		w = map[i] ^ flip;
	}
	from = (uint64_t)i * 64 + (uint64_t)__builtin_ctzll(w);
	return from < nbits ? from : nbits;
}

uint64_t drover_bitmap_next_run(const uint64_t *map, uint64_t nbits, uint64_t from,
				uint64_t *ret_start)
{
	uint64_t start = drover_bitmap_next(map, nbits, from, true);

	if (start == nbits)
		return 0;
	*ret_start = start;
	return drover_bitmap_next(map, nbits, start, false) - start;
}
