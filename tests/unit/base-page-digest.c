// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Page digests: each variant against the library's own XXH3, the meaning of 0 and 1, and
 * that a change of one bit anywhere shows.
 */
#include "base/page-digest.h"

#include <string.h>
#include <xxhash.h>

#include "base/page-digest-impl.h"
#include "base/units.h"
#include "tap.h"

static _Alignas(4096) uint8_t page[DROVER_PAGE_SIZE];

static void fill(uint64_t seed)
{
	size_t i;

	for (i = 0; i < sizeof(page); i++) {
		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		page[i] = (uint8_t)(seed >> 56);
	}
}

static bool agrees_with_library(drover_digest_fn digest)
{
	uint64_t seed;

	for (seed = 0; seed < 2000; seed++) {
		fill(seed);
		if (digest(page) != XXH3_64bits(page, sizeof(page)))
			return false;
	}
	return true;
}

static bool each_bit_shows(drover_digest_fn digest)
{
	uint64_t was;
	size_t i;

	fill(7);
	was = digest(page);
	for (i = 0; i < sizeof(page) * 8; i++) {
		uint64_t now;

		page[i / 8] ^= (uint8_t)(1 << i % 8);
		now = digest(page);
		page[i / 8] ^= (uint8_t)(1 << i % 8);
		if (now == was)
			return false;
	}
	return digest(page) == was;
}

static void test_variant(const struct drover_digest_ops *ops)
{
	if (!drover_cpu_has(ops->cpu)) {
		tap_skip("%s: this CPU lacks it", ops->name);
		return;
	}
	tap_ok(agrees_with_library(ops->digest), "%s: XXH3-64 of 2000 pages", ops->name);
	tap_ok(each_bit_shows(ops->digest), "%s: each bit of a page", ops->name);
	memset(page, 0, sizeof(page));
	tap_ok(ops->digest(page) == 0, "%s: a page of zeros is 0", ops->name);
	page[4095] = 1;
	tap_ok(ops->digest(page) > 1, "%s: a page of zeros and one is not", ops->name);
}

static void test_rare(void)
{
	memset(page, 0, sizeof(page));
	tap_ok(XXH3_64bits(page, sizeof(page)) == DIGEST_HASH_OF_ZEROS, "the hash of zeros");
	tap_ok(digest_finish(DIGEST_HASH_OF_ZEROS, page) == 0, "zeros that hash as zeros: 0");
	page[17] = 1;
	tap_ok(digest_finish(DIGEST_HASH_OF_ZEROS, page) == DIGEST_HASH_OF_ZEROS,
	       "another page that hashes as zeros keeps its hash");
	tap_ok(digest_finish(0, page) == 1, "another page that hashes to 0: 1");
	tap_ok(digest_finish(42, page) == 42, "any other hash is the digest");
}

static void test_group(void)
{
	uint64_t d[512] = { 0 }, a, b;

	tap_ok(drover_digest_group(d, 512) == 0, "group: all zero pages");
	tap_ok(drover_digest_group(d, 0) == 0, "group: of none");
	d[511] = 5;
	a = drover_digest_group(d, 512);
	tap_ok(a && a == XXH3_64bits(d, sizeof(d)), "group: XXH3-64 of the array");
	d[511] = 0;
	d[510] = 5;
	b = drover_digest_group(d, 512);
	tap_ok(b && b != a, "group: the place counts");
	tap_ok(drover_digest_group(d, 511) != b, "group: the length counts");
}

int main(void)
{
	const struct drover_digest_ops *ops;
	size_t i, n, first;

	ops = drover_digest_table(&n);
	for (i = 0; i < n; i++)
		test_variant(&ops[i]);
	for (first = 0; !drover_cpu_has(ops[first].cpu); first++)
		;
	tap_ok(drover_digest_select() == ops[first].digest, "the first that runs is chosen: %s",
	       ops[first].name);
	fill(3);
	tap_ok(drover_page_digest(page) == ops[n - 1].digest(page), "without keeping the choice");
	test_rare();
	test_group();
	return tap_done();
}
