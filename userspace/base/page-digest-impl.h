/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_BASE_PAGE_DIGEST_IMPL_H
#define DROVER_BASE_PAGE_DIGEST_IMPL_H

/*
 * Private to the variants of the digest. Each variant is a file of its own, since xxhash.h can be
 * compiled for only one instruction set in a translation unit. Pragmas in the variant's file
 * raise the compiler's target for what xxhash.h inlines, so no file needs compiler flags.
 */
#include <stdint.h>

/* XXH3-64 of 4096 zeros; the unit test computes it. */
#define DIGEST_HASH_OF_ZEROS 0x93d76fe148c689baull

uint64_t digest_sse2(const void *page);
uint64_t digest_avx2(const void *page);
uint64_t digest_avx512(const void *page);

/* Replaces the two hash values that can't stand for themselves: see page-digest.h. */
uint64_t digest_rare(uint64_t hash, const void *page);

static inline uint64_t digest_finish(uint64_t hash, const void *page)
{
	if (__builtin_expect(hash == 0 || hash == DIGEST_HASH_OF_ZEROS, 0))
		return digest_rare(hash, page);
	return hash;
}

#endif
