// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Page digests: the variant that runs everywhere, the choice among the variants, and the hash of
 * a group. xxHash is compiled in, not linked: libxxhash's dispatching variant keeps its choice in
 * a global variable, and its plain variant is half as fast. Callers: senders, placement, audit.
 */
#include "base/page-digest.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/page-digest-impl.h"
#include "base/units.h"
#include "base/zero.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t digest_rare(uint64_t hash, const void *page)
{
	/*
	 * The page may change meanwhile: then it can hash as zeros and be non-zero by now. Either
	 * answer is right for some moment of the call, and the tracker reports the write.
	 */
	if (hash == DIGEST_HASH_OF_ZEROS && drover_page_is_zero(page))
		return 0;
	return hash ? hash : 1;
}

uint64_t digest_sse2(const void *page)
{
	return digest_finish(XXH3_64bits(page, DROVER_PAGE_SIZE), page);
}

static const struct drover_digest_ops variants[] = {
	{ "avx512", DROVER_CPU_AVX512, digest_avx512 },
	{ "avx2", DROVER_CPU_AVX2, digest_avx2 },
	{ "sse2", DROVER_CPU_SSE2, digest_sse2 },
};

const struct drover_digest_ops *drover_digest_table(size_t *ret_n)
{
	*ret_n = DROVER_ARRAY_SIZE(variants);
	return variants;
}

drover_digest_fn drover_digest_select(void)
{
	size_t i;

	for (i = 0; !drover_cpu_has(variants[i].cpu); i++)
		;
	return variants[i].digest;
}

uint64_t drover_page_digest(const void *page)
{
	return drover_digest_select()(page);
}

uint64_t drover_digest_group(const uint64_t *d, size_t n)
{
	uint64_t any = 0, hash;
	size_t i;

	_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "digests are hashed as they lie");
	for (i = 0; i < n; i++)
		any |= d[i];
	if (!any)
		return 0;
	hash = XXH3_64bits(d, n * sizeof(*d));
	return hash ? hash : 1;
}
