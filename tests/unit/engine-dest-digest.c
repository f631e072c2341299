// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * DIGEST compared: nothing is left out, groups that differ are looked at page by page, and in
 * postcopy what came after the early digests does not count before COMMIT.
 */
#include "engine/dest/digest.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "base/bitmap.h"
#include "base/err.h"
#include "base/page-digest.h"
#include "engine/dest/session.h"
#include "tap.h"

#define G DROVER_DIGEST_GROUP
#define PAGES (2 * G + 10)

/* Two blocks, numbered the other way round at the source, and a third that is shared. */
struct world {
	struct drover_ram ram;
	struct dest_block block[3];
	struct digest_in in;
	uint64_t mine[PAGES], theirs[PAGES];
	struct drover_error e;
};

static void setup(struct world *w, bool one_way)
{
	unsigned int i;

	memset(w, 0, sizeof(*w));
	w->ram.n = 3;
	for (i = 0; i < 3; i++)
		w->ram.block[i].size = PAGES * DROVER_PAGE_SIZE;
	w->block[0].ours = 1;
	w->block[1] = (struct dest_block){ 2, true };
	w->block[2].ours = 0;
	for (i = 0; i < PAGES; i++)
		w->mine[i] = w->theirs[i] = i * 0x9e3779b97f4a7c15ull;
	if (digest_init(&w->in, &w->ram, one_way, NULL) < 0)
		abort();
	digest_blocks(&w->in, w->block, 3);
}

/* Of the source's block @block, digests [first, first + n) at @level; every block is alike. */
static int send(struct world *w, uint32_t block, uint16_t level, uint64_t first, uint32_t n)
{
	uint64_t raw[PAGES];
	struct drover_msg_digest m = {
		.block = block, .level = level, .first = first, .n = n, .raw = raw,
	};
	uint32_t i;

	for (i = 0; i < n && i < PAGES; i++) {
		uint64_t at = level ? (first + i) * G : first + i;

		raw[i] = at >= PAGES ? 0 : htole64(!level ? w->theirs[at] : drover_digest_group(
				&w->theirs[at], PAGES - at < G ? PAGES - at : G));
	}
	drover_err_clear(&w->e);
	return digest_compare(&w->in, &m, w->mine, &w->e);
}

static int all_groups(struct world *w)
{
	int r = send(w, 0, 1, 0, 3);

	return r < 0 ? r : send(w, 2, 1, 0, 3);
}

static int verdict(struct world *w, bool nothing)
{
	enum digest_verdict v = DIGEST_DIFFER;
	int r;

	drover_err_clear(&w->e);
	r = digest_end(&w->in, nothing, &w->e);
	if (r >= 0)
		r = digest_verdict(&w->in, &v, &w->e);
	return r < 0 ? r : (int)v;
}

static void test_equal(void)
{
	struct world w;

	setup(&w, false);
	tap_ok(all_groups(&w) == 0 && !w.in.diff->total, "groups of all blocks but the shared one: %s",
	       w.e.msg);
	tap_ok(digest_end(&w.in, false, &w.e) == 0 && w.in.diff->status == 0 &&
	       w.in.diff->level == 1, "the answer says equal");
	tap_ok(verdict(&w, false) == DIGEST_EQUAL && w.in.step == DIGEST_DONE, "they agree");
	digest_deinit(&w.in);
}

static void test_differ(void)
{
	struct world w;

	setup(&w, false);
	w.theirs[G + 3]++;
	tap_ok(all_groups(&w) == 0 && w.in.diff->total == 2 && w.in.diff->item[0].block == 0 &&
	       w.in.diff->item[0].index == 1 && w.in.diff->item[1].block == 2,
	       "groups that differ are listed by the source's number of the block");
	tap_ok(verdict(&w, false) == DIGEST_NAME_PAGES && w.in.step == DIGEST_SOME &&
	       !w.in.diff->total, "pages are wanted next, and counted anew");
	tap_ok(send(&w, 0, 1, 0, 3) == -EBADMSG, "groups a second time: %s", w.e.msg);
	tap_ok(send(&w, 2, 0, G, G) == 0 && w.in.diff->total == 1 &&
	       w.in.diff->item[0].index == G + 3, "the page is found");
	tap_ok(verdict(&w, false) == DIGEST_DIFFER && w.in.step != DIGEST_DONE &&
	       w.in.diff->level == 0, "and before COMMIT they never agree");
	digest_deinit(&w.in);
	setup(&w, false);
	w.theirs[0]++;
	all_groups(&w);
	verdict(&w, false);
	w.theirs[0]--;
	tap_ok(send(&w, 0, 0, 0, G) == 0 && verdict(&w, false) == -EBADMSG,
	       "groups differ and their pages do not: %s", w.e.msg);
	digest_deinit(&w.in);
}

static void test_many(void)
{
	struct world w;
	unsigned int i;

	setup(&w, true);
	for (i = 0; i < PAGES; i++)
		w.theirs[i]++;
	tap_ok(send(&w, 0, 0, 0, PAGES) == 0 && send(&w, 2, 0, 0, PAGES) == 0 &&
	       w.in.diff->total == 2 * PAGES && w.in.diff->n == DROVER_DIGEST_ACK_MAX,
	       "all are counted, and as many listed as an answer holds");
	tap_ok(verdict(&w, false) == DIGEST_DIFFER, "one-way: pages at once");
	digest_deinit(&w.in);
}

static void test_order(void)
{
	static const struct {
		const char *what;
		uint32_t block;
		uint16_t level;
		uint64_t first;
		uint32_t n;
	} bad[] = {
		{ "pages at first", 0, 0, 0, 10 }, { "a block too late", 2, 1, 0, 3 },
		{ "the shared block", 1, 1, 0, 3 }, { "a group left out", 0, 1, 1, 2 },
		{ "a group too many", 0, 1, 0, 4 }, { "far beyond", 0, 1, UINT64_MAX, 1 },
		{ "no block", 3, 1, 0, 1 },
	};
	struct world w;
	unsigned int i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		setup(&w, false);
		tap_ok(send(&w, bad[i].block, bad[i].level, bad[i].first, bad[i].n) == -EBADMSG,
		       "refused: %s: %s", bad[i].what, w.e.msg);
		digest_deinit(&w.in);
	}
	setup(&w, false);
	tap_ok(send(&w, 0, 1, 0, 2) == 0 && send(&w, 0, 1, 2, 1) == 0 &&
	       verdict(&w, false) == -EBADMSG, "an end before the last block: %s", w.e.msg);
	digest_deinit(&w.in);
	setup(&w, false);
	tap_ok(verdict(&w, false) == -EBADMSG, "nothing at all: %s", w.e.msg);
	digest_deinit(&w.in);
}

static void test_early(void)
{
	uint64_t *received = drover_bitmap_new(PAGES);
	struct world w;
	unsigned int i;

	setup(&w, false);
	/* All but page 5 was there; the source leaves it out of its digests. */
	w.mine[5] = w.theirs[5] = 0;
	drover_bitmap_set_range(received, 0, PAGES);
	drover_bit_clear(received, 5);
	for (i = 0; i < 3; i++)
		if (digest_keep_early(&w.in, i, w.mine, received, &w.e) < 0)
			abort();
	w.mine[5] = 77;         /* touched while the VMM loaded */
	tap_ok(all_groups(&w) == 0 && !w.in.diff->total,
	       "a page that came meanwhile does not count in its group");
	w.in.step = DIGEST_SOME;
	tap_ok(send(&w, 0, 0, 0, 10) == 0 && !w.in.diff->total, "nor among the pages");
	digest_again(&w.in);
	tap_ok(all_groups(&w) == 0 && w.in.diff->total == 2, "at the end it does");
	w.theirs[5] = 77;
	digest_again(&w.in);
	tap_ok(all_groups(&w) == 0 && verdict(&w, false) == DIGEST_EQUAL, "and then they agree");
	digest_deinit(&w.in);
	free(received);
}

static void test_partial(void)
{
	struct world w;

	setup(&w, false);
	digest_again(&w.in);
	tap_ok(send(&w, 2, 0, 100, 20) == 0 && verdict(&w, false) == DIGEST_EQUAL && w.in.partial,
	       "a source's new droverd compares what it knows: %s", w.e.msg);
	digest_deinit(&w.in);
	setup(&w, false);
	digest_again(&w.in);
	tap_ok(verdict(&w, true) == DIGEST_EQUAL && w.in.partial, "with release-ram maybe nothing");
	digest_deinit(&w.in);
	setup(&w, false);
	digest_again(&w.in);
	w.theirs[7]++;
	tap_ok(send(&w, 0, 0, 0, 10) == 0 && verdict(&w, false) == DIGEST_DIFFER &&
	       w.in.step == DIGEST_DONE, "a difference at the end is told, and is the end");
	digest_deinit(&w.in);
}

int main(void)
{
	test_equal();
	test_differ();
	test_many();
	test_order();
	test_early();
	test_partial();
	return tap_done();
}
