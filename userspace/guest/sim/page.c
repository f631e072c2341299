// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Contents of the simulated guest's pages. Eight xorshift generators side by side,
 * started from (seed, page, version), give the stream; they work on vectors, so that a
 * core fills several GiB a second and the guest's own writing is not what is measured.
 * Pure functions; used by all parts of the simulated guest, by several threads at once.
 */
#include "guest/sim/page.h"

#include <string.h>

#define LANES 8u
#define WORDS ((unsigned int)(DROVER_PAGE_SIZE / 8))
#define GOLDEN 0x9e3779b97f4a7c15ull

typedef uint64_t lanes __attribute__((vector_size(LANES * 8)));

/* Bijective: different inputs give different outputs. */
static uint64_t scramble(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9ull;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

/* The top bit, which no version has, keeps a head from being zero. */
static uint64_t head_key(uint64_t seed, uint64_t page)
{
	return scramble(scramble(seed) + page * GOLDEN) | 1ull << 63;
}

static void stream_start(lanes *x, uint64_t seed, uint64_t page, uint64_t version)
{
	uint64_t base = scramble(head_key(seed, page) ^ scramble(version));
	unsigned int i;

	/* xorshift stays at zero for ever */
	for (i = 0; i < LANES; i++)
		(*x)[i] = scramble(base + i * GOLDEN) | 1;
}

static void stream_next(lanes *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
}

void sim_page_fill(uint8_t *at, uint64_t seed, uint64_t page, uint64_t version)
{
	uint64_t head = head_key(seed, page) ^ version;
	unsigned int i;
	lanes x;

	stream_start(&x, seed, page, version);
	for (i = 0; i < WORDS; i += LANES) {
		stream_next(&x);
		if (i == 0)
			x[0] = head;
		memcpy(at + (size_t)i * 8, &x, sizeof(x));
	}
}

uint64_t sim_page_version(const uint8_t *at, uint64_t seed, uint64_t page)
{
	uint64_t head;

	memcpy(&head, at, sizeof(head));
	return head ? head ^ head_key(seed, page) : 0;
}

bool sim_page_ok(const uint8_t *at, uint64_t seed, uint64_t page)
{
	uint64_t version = sim_page_version(at, seed, page);
	uint8_t want[DROVER_PAGE_SIZE] __attribute__((aligned(64)));

	if (version)
		sim_page_fill(want, seed, page, version);
	else
		memset(want, 0, sizeof(want));
	return version >> 63 == 0 && memcmp(at, want, sizeof(want)) == 0;
}

uint64_t sim_page_mix(uint64_t page, uint64_t version)
{
	return version ? scramble(scramble(page + GOLDEN) ^ version * GOLDEN) : 0;
}

bool sim_page_untouched(uint64_t seed, uint64_t page, unsigned int percent)
{
	return scramble(~seed ^ scramble(page)) % 100 < percent;
}
