// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Zero detection. The source runs it on every page that it scans. Most pages that are not zero
 * differ from zero in their first cache line, and a page of zeros must be read whole in any case;
 * so each variant tests one 64-byte line at a time. Callers: senders, placement, digests.
 */
#include "base/zero.h"

#include <immintrin.h>

#include "base/cleanup.h"
#include "base/units.h"

#define LINE 64u
#define LINES (DROVER_PAGE_SIZE / LINE)

__attribute__((target("avx512f")))
static bool is_zero_avx512(const void *page)
{
	const __m512i *line = page;
	unsigned int i;

	for (i = 0; i < LINES; i++) {
		__m512i v = _mm512_load_si512(&line[i]);

		if (_mm512_test_epi64_mask(v, v))
			return false;
	}
	return true;
}

__attribute__((target("avx2")))
static bool is_zero_avx2(const void *page)
{
	const __m256i *half = page;
	unsigned int i;

	for (i = 0; i < 2 * LINES; i += 2) {
		__m256i v = _mm256_or_si256(_mm256_load_si256(&half[i]),
					    _mm256_load_si256(&half[i + 1]));

		if (!_mm256_testz_si256(v, v))
			return false;
	}
	return true;
}

static bool is_zero_sse2(const void *page)
{
	const __m128i *q = page;
	unsigned int i;

	for (i = 0; i < 4 * LINES; i += 4) {
		__m128i v = _mm_or_si128(_mm_or_si128(_mm_load_si128(&q[i]),
						      _mm_load_si128(&q[i + 1])),
					 _mm_or_si128(_mm_load_si128(&q[i + 2]),
						      _mm_load_si128(&q[i + 3])));

		if (_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_setzero_si128())) != 0xffff)
			return false;
	}
	return true;
}

static const struct drover_zero_ops variants[] = {
	{ "avx512", DROVER_CPU_AVX512, is_zero_avx512 },
	{ "avx2", DROVER_CPU_AVX2, is_zero_avx2 },
	{ "sse2", DROVER_CPU_SSE2, is_zero_sse2 },
};

const struct drover_zero_ops *drover_zero_table(size_t *ret_n)
{
	*ret_n = DROVER_ARRAY_SIZE(variants);
	return variants;
}

drover_zero_fn drover_zero_select(void)
{
	size_t i;

	for (i = 0; !drover_cpu_has(variants[i].cpu); i++)
		;
	return variants[i].is_zero;
}

bool drover_page_is_zero(const void *page)
{
	return drover_zero_select()(page);
}
