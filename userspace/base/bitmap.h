/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_BASE_BITMAP_H
#define DROVER_BASE_BITMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/*
 * A bitmap has one bit for each page, in 64-bit little-endian words; bit n is in word n/64.
 * KVM_GET_DIRTY_LOG and the memfds of the guest link use the same layout. Bits past the last
 * page are always zero. A caller of a function without _atomic in its name must be the map's
 * only writer at that time.
 */
static inline size_t drover_bitmap_words(uint64_t nbits)
{
	return (size_t)((nbits + 63) / 64);
}

static inline size_t drover_bitmap_bytes(uint64_t nbits)
{
	return drover_bitmap_words(nbits) * 8;
}

static inline uint64_t *drover_bitmap_new(uint64_t nbits)
{
	return calloc(drover_bitmap_words(nbits) ? drover_bitmap_words(nbits) : 1, 8);
}

static inline bool drover_bit_test(const uint64_t *map, uint64_t bit)
{
	return map[bit / 64] >> (bit % 64) & 1;
}

static inline void drover_bit_set(uint64_t *map, uint64_t bit)
{
	map[bit / 64] |= 1ull << (bit % 64);
}

static inline void drover_bit_clear(uint64_t *map, uint64_t bit)
{
	map[bit / 64] &= ~(1ull << (bit % 64));
}

/* Returns whether the bit was set before. It is a full barrier: claims of pages rely on that. */
static inline bool drover_bit_test_and_set_atomic(uint64_t *map, uint64_t bit)
{
	uint64_t mask = 1ull << (bit % 64);

	return __atomic_fetch_or(&map[bit / 64], mask, __ATOMIC_SEQ_CST) & mask;
}

static inline bool drover_bit_test_and_clear_atomic(uint64_t *map, uint64_t bit)
{
	uint64_t mask = 1ull << (bit % 64);

	return __atomic_fetch_and(&map[bit / 64], ~mask, __ATOMIC_SEQ_CST) & mask;
}

/*
 * An acquire load: a reader that sees the bit set also sees every store that the bit's writer
 * made before it set the bit.
 */
static inline bool drover_bit_test_acquire(const uint64_t *map, uint64_t bit)
{
	return __atomic_load_n(&map[bit / 64], __ATOMIC_ACQUIRE) >> (bit % 64) & 1;
}

void drover_bitmap_set_range(uint64_t *map, uint64_t start, uint64_t n);
void drover_bitmap_clear_range(uint64_t *map, uint64_t start, uint64_t n);
/* Like set_range, but other threads may set neighbouring bits of the same words meanwhile. */
void drover_bitmap_set_range_atomic(uint64_t *map, uint64_t start, uint64_t n);
uint64_t drover_bitmap_count(const uint64_t *map, uint64_t nbits);
uint64_t drover_bitmap_count_range(const uint64_t *map, uint64_t start, uint64_t n);
/* dst |= src over nbits */
void drover_bitmap_or(uint64_t *dst, const uint64_t *src, uint64_t nbits);

/**
 * drover_bitmap_next() - next bit of a value
 * @map: the map
 * @nbits: its size
 * @from: first bit looked at
 * @value: the value looked for
 *
 * Return: the bit's number, or @nbits when there is none.
 */
uint64_t drover_bitmap_next(const uint64_t *map, uint64_t nbits, uint64_t from, bool value);

/**
 * drover_bitmap_next_run() - next run of set bits
 * @map: the map
 * @nbits: its size
 * @from: first bit looked at
 * @ret_start: first bit of the run
 *
 * Return: length of the run, 0 when there is none (then @ret_start is untouched).
 */
uint64_t drover_bitmap_next_run(const uint64_t *map, uint64_t nbits, uint64_t from,
				uint64_t *ret_start);

#endif
