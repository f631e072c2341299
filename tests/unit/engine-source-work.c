// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Who sends which page: every dirty page of a round is taken once, in units of bounded size;
 * postcopy's push goes on where the guest faults and wraps; a page that is claimed meanwhile is
 * in no unit.
 */
#include "source-kit.h"

static unsigned int data_pages(const struct page_unit *u)
{
	unsigned int i, n = 0;

	for (i = 0; i < u->n; i++)
		n += (unsigned int)__builtin_popcountll(u->w[i].dirty & u->w[i].data);
	return n;
}

static unsigned int pages(const struct page_unit *u)
{
	unsigned int i, n = 0;

	for (i = 0; i < u->n; i++)
		n += (unsigned int)__builtin_popcountll(u->w[i].dirty);
	return n;
}

static bool has(const struct page_unit *u, unsigned int block, uint64_t page)
{
	unsigned int i;

	for (i = 0; u->block->index == block && i < u->n; i++)
		if (u->w[i].word == page / 64)
			return u->w[i].dirty >> page % 64 & 1;
	return false;
}

static void dirty_all(struct kit *k)
{
	memory_forget(&k->s.mem);
}

/* All units of a round: sizes, and that each page comes once. */
static void test_whole(void)
{
	const uint64_t size[] = { 1000, 64, 1, 20000 };
	struct kit *k = kit_new(size, 4);
	struct work *w = &k->s.work;
	uint64_t total = 0, largest = 0, words = 0;
	struct page_unit u;

	/* A large hole: many words in one unit. */
	drover_bitmap_clear_range(k->s.mem.block[3].data_map, 64, 64 * 300);
	dirty_all(k);
	work_open(w, 7, WORK_LAST, 1);
	while (work_take(w, &u)) {
		total += pages(&u);
		largest = data_pages(&u) > largest ? data_pages(&u) : largest;
		words = u.n > words ? u.n : words;
	}
	tap_ok(total == 21065, "every page is taken once: %llu", (unsigned long long)total);
	tap_ok(!memory_dirty(&k->s.mem), "and is dirty no more");
	tap_ok(largest == UNIT_PAGES, "a unit has at most %u pages with data", UNIT_PAGES);
	tap_ok(words == UNIT_WORDS, "and spans at most %u words of holes", UNIT_WORDS);
	tap_ok(w->taken == 21065, "they are counted");
	tap_ok(w->left == 0, "but not for postcopy");
	tap_ok(!work_take(w, &u) && !u.n, "then nothing is left");
	kit_free(k);
}

static void test_bounds(void)
{
	const uint64_t size[] = { 100, 100 };
	struct kit *k = kit_new(size, 2);
	struct work *w = &k->s.work;
	struct page_unit u;

	drover_bit_set(k->s.mem.block[0].dirty, 99);
	drover_bit_set(k->s.mem.block[1].dirty, 0);
	work_open(w, 1, WORK_ROUND, 1);
	tap_ok(work_take(w, &u) && pages(&u) == 1 && has(&u, 0, 99), "the first block's last page");
	tap_ok(work_take(w, &u) && pages(&u) == 1 && has(&u, 1, 0),
	       "a unit never spans two blocks");
	k->s.mem.block[0].skip = true;
	dirty_all(k);
	drover_bit_set(k->s.mem.block[0].dirty, 5);
	work_open(w, 2, WORK_ROUND, 1);
	tap_ok(work_take(w, &u) && u.block->index == 1, "a block that is skipped is not looked at");
	work_open(w, 3, WORK_NONE, 1);
	tap_ok(!work_take(w, &u), "the end of a round only: nothing is taken");
	kit_free(k);
}

static void test_hurry(void)
{
	const uint64_t size[] = { 256 };
	struct kit *k = kit_new(size, 1);
	struct work *w = &k->s.work;
	struct page_unit u;

	dirty_all(k);
	work_open(w, 1, WORK_ROUND, 1);
	tap_ok(work_take(w, &u), "a round");
	atomic_store(&k->m.orders.postcopy_asked, true);
	tap_ok(!work_take(w, &u), "is cut short when the operator asks for postcopy");
	tap_ok(memory_dirty(&k->s.mem) == 192, "and its pages stay dirty");
	work_open(w, 2, WORK_LAST, 1);
	tap_ok(work_take(w, &u), "the last round is not");
	work_count_left(w);
	work_open(w, 3, WORK_PUSH, 1);
	tap_ok(work_take(w, &u), "nor is the push");
	kit_free(k);
}

static void test_wrap(void)
{
	const uint64_t size[] = { 256, 256 };
	struct kit *k = kit_new(size, 2);
	struct work *w = &k->s.work;
	uint64_t total = 0;
	struct page_unit u;

	dirty_all(k);
	work_count_left(w);
	tap_ok(w->left == 512, "postcopy counts what is left");
	work_open(w, 1, WORK_PUSH, 2);
	work_near(w, &k->s.mem.block[1], 200);
	tap_ok(work_take(w, &u) && has(&u, 1, 200), "the push goes on around a page asked for");
	total += pages(&u);
	tap_ok(work_take(w, &u) && has(&u, 0, 0), "and begins anew after the end");
	total += pages(&u);
	while (work_take(w, &u))
		total += pages(&u);
	tap_ok(total == 512 && !w->left, "until nothing is left");
	dirty_all(k);
	work_open(w, 2, WORK_ROUND, 1);
	work_near(w, &k->s.mem.block[1], 250);
	for (total = 0; work_take(w, &u);)
		total += pages(&u);
	tap_ok(total == 64, "a round of precopy does not wrap");
	kit_free(k);
}

/* Urgent pages are claimed between the units: neither lost nor sent twice. */
static void test_claims(void)
{
	const uint64_t size[] = { 3000 };
	struct kit *k = kit_new(size, 1);
	struct source_block *b = &k->s.mem.block[0];
	struct work *w = &k->s.work;
	unsigned int i, seen[3000] = { 0 }, twice = 0, lost = 0;
	uint64_t x = 1;
	struct page_unit u;
	bool more = true;

	dirty_all(k);
	work_count_left(w);
	work_open(w, 1, WORK_PUSH, 1);
	while (more) {
		for (i = 0; i < 20; i++) {
			x = x * 6364136223846793005ull + 1442695040888963407ull;
			if (work_claim(w, b, (x >> 33) % 3000)) {
				seen[(x >> 33) % 3000]++;
				work_near(w, b, (x >> 33) % 3000);
			}
		}
		more = work_take(w, &u);
		for (i = 0; more && i < 3000; i++)
			seen[i] += has(&u, 0, i);
	}
	for (i = 0; i < 3000; i++) {
		twice += seen[i] > 1;
		lost += !seen[i];
	}
	tap_ok(!twice && !lost, "each page once, claimed or taken: %u twice, %u lost", twice, lost);
	tap_ok(!w->left, "and none is left");
	tap_ok(!work_claim(w, b, 7), "a page that was sent can't be claimed");
	kit_free(k);
}

/* The word that a sender has read loses bits before it is taken. */
static void test_bit_by_bit(void)
{
	const uint64_t size[] = { 64 };
	struct kit *k = kit_new(size, 1);
	struct source_block *b = &k->s.mem.block[0];
	struct work *w = &k->s.work;
	struct page_unit u;
	unsigned int i, claimed = 0;

	dirty_all(k);
	work_count_left(w);
	work_open(w, 1, WORK_PUSH, 1);
	for (i = 0; i < 64; i += 2)
		claimed += work_claim(w, b, i);
	tap_ok(claimed == 32 && w->left == 32, "32 claims of a word");
	tap_ok(work_take(w, &u) && u.n == 1 && u.w[0].dirty == 0xaaaaaaaaaaaaaaaaull,
	       "the unit has the other bits");
	tap_ok(!w->left && !work_take(w, &u), "and that was all");
	kit_free(k);
}

static void test_orders(void)
{
	const uint64_t size[] = { 64 };
	struct kit *k = kit_new(size, 1);
	struct drover_error first = DROVER_ERROR_INIT, second = DROVER_ERROR_INIT, e;
	struct work_order o = { 0 };
	struct work *w = &k->s.work;

	work_start(w);
	work_open(w, 5, WORK_LAST, 2);
	tap_ok(work_next(w, &o) && o.round == 5 && o.kind == WORK_LAST, "a sender gets the round");
	tap_ok(!work_over(w, &e) && !e.code, "which is not over");
	work_done(w, 0, NULL);
	tap_ok(!work_over(w, &e), "before all have finished it");
	drover_err(&first, -EPIPE, "first");
	drover_err(&second, -EIO, "second");
	work_done(w, -EPIPE, &first);
	tap_ok(work_over(w, &e) && e.code == -EPIPE, "then it is over, and has failed");
	work_fail(w, &second);
	tap_ok(work_over(w, &e) && e.code == -EPIPE, "the first error stays");
	tap_ok(work_wait(w, NULL, 10000, NULL) == 0, "the source's thread is woken");
	work_stop(w);
	tap_ok(!work_next(w, &o), "a sender that is told to stop stops");
	work_start(w);
	tap_ok(work_over(w, &e) == true && !e.code, "new senders begin without an error");
	kit_free(k);
}

int main(void)
{
	test_whole();
	test_bounds();
	test_hurry();
	test_wrap();
	test_claims();
	test_bit_by_bit();
	test_orders();
	return tap_done();
}
