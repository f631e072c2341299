// SPDX-License-Identifier: LGPL-2.1-or-later
/* The page digest for AVX512; see page-digest-impl.h. Called through page-digest.c's table only. */
#include "base/page-digest-impl.h"

#include <immintrin.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"

/* All headers that xxhash.h needs are included above, so the target below is for xxhash.h only. */
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f")
#endif

#define XXH_INLINE_ALL
#define XXH_VECTOR XXH_AVX512
#include <xxhash.h>

uint64_t digest_avx512(const void *page)
{
	return digest_finish(XXH3_64bits(page, DROVER_PAGE_SIZE), page);
}

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
