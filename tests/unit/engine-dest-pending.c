// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Pages of a postcopy that are still to come, over a fault handler that only takes notes:
 * claims, second copies, zero runs around what somebody else has, dropped claims, the end.
 */
#include "engine/dest/pending.h"

#include <errno.h>
#include <string.h>

#include "base/bitmap.h"
#include "base/err.h"
#include "base/page-digest.h"
#include "place/receive.h"
#include "mem-link.h"
#include "tap.h"

#define PAGES 300u

/**
 * struct handler - a fault handler of one block
 * @received: as the source of faults says
 * @early: runs published before their digest was known
 */
struct handler {
	struct pending *p;
	uint64_t *received;
	uint8_t *host;
	unsigned int published, zeroed, again, early;
	unsigned int stopped, opened;
	int fail;
};

/* What ops->start() finds; its argument is the source of faults. */
static int h_start(const struct drover_fault_source *src, void **ret, struct drover_error *e)
{
	struct handler *h = src->opaque;

	if (h->fail)
		return drover_err(e, h->fail, "no handler");
	h->received = src->received[0];
	*ret = h;
	return 0;
}

static uint8_t *h_host(void *state, unsigned int block)
{
	(void)block;
	return ((struct handler *)state)->host;
}

static int h_publish(void *state, const struct drover_ram_run *run, unsigned int n, bool zero,
		     struct drover_error *e)
{
	struct handler *h = state;
	uint64_t page;

	(void)e;
	for (; n; n--, run++)
		for (page = run->page; page < run->page + run->npages; page++) {
			h->again += drover_bit_test(h->received, page);
			if (zero)
				memset(h->host + drover_page_off(page), 0, DROVER_PAGE_SIZE);
			else
				h->early += pending_digests(h->p, 0)[page] !=
					    drover_page_digest(h->host + drover_page_off(page));
			*(zero ? &h->zeroed : &h->published) += 1;
			drover_bit_set(h->received, page);
		}
	return 0;
}

static int h_received(void *state, unsigned int block, uint64_t *map, struct drover_error *e)
{
	(void)state, (void)block, (void)e;
	drover_bit_set(map, 299);       /* the dead handler's last word */
	return 0;
}

static void h_stop(void *state, bool open)
{
	struct handler *h = state;

	h->stopped++;
	h->opened += open;
}

static const struct drover_fault_ops ops = {
	.name = "fake", .start = h_start, .host = h_host, .publish = h_publish,
	.received = h_received, .stop = h_stop,
};

struct world {
	struct drover_ram ram;
	struct pending p;
	struct handler h;
	struct mem_link m;
	struct drover_received n;
	struct drover_error e;
};

static void setup(struct world *w)
{
	struct drover_ledger *ledger;

	memset(w, 0, sizeof(*w));
	w->ram.n = 1;
	strcpy(w->ram.block[0].name, "ram0");
	w->ram.block[0].size = PAGES * DROVER_PAGE_SIZE;
	w->h.p = &w->p;
	w->h.host = calloc(PAGES, DROVER_PAGE_SIZE);
	mem_link_init(&w->m);
	if (!w->h.host || drover_ledger_new(&w->ram, true, &ledger, &w->e) < 0 ||
	    pending_init(&w->p, &w->ram, ledger, &w->e) < 0)
		abort();
}

static void teardown(struct world *w, bool open)
{
	pending_deinit(&w->p, open);
	mem_link_deinit(&w->m);
	free(w->h.host);
}

static int arm(struct world *w, bool adopt)
{
	struct drover_fault_source src = { .ram = &w->ram, .uffd = -1, .opaque = &w->h };
	int r;

	src.adopt = adopt;
	src.received[0] = pending_received(&w->p, 0);
	r = pending_arm(&w->p, &ops, &src, true, &w->e);
	if (r >= 0)
		pending_armed(&w->p);
	return r;
}

/* Armed, with pages [10, 20) and [100, 200) still to come. */
static void setup_armed(struct world *w)
{
	const struct drover_run a = { 10, 10 }, b = { 100, 100 };

	setup(w);
	pending_begin_discard(&w->p);
	if (pending_discard(&w->p, 0, &a, NULL) < 0 || pending_discard(&w->p, 0, &b, NULL) < 0 ||
	    arm(w, false) < 0)
		abort();
}

static int place(struct world *w, uint64_t page, uint32_t n, uint16_t kind)
{
	const struct drover_page_run run = {
		page, n, kind, kind == DROVER_PAGES_RAW ? n * 4096 : 0,
	};
	const struct drover_msg_pages sent = { .round = 1, .n = 1, .run = &run };
	struct arrival a = { &w->p, "data/0" };
	struct drover_msg_pages m;
	struct drover_frame f;
	int r = mem_send_pages(&w->m, &sent);

	drover_err_clear(&w->e);
	if (r >= 0)
		r = drover_link_recv(w->m.d, &f, &w->e);
	if (r >= 0)
		r = drover_body_pages(w->m.d, &f, &m, &w->e);
	return r ? r : drover_place_receive(&pending_place, &a, &w->ram.block[0], 0, w->m.d, &m,
					    &w->n, &w->e);
}

static void test_discard(void)
{
	const struct drover_run beyond = { PAGES - 1, 2 }, far = { UINT64_MAX, 2 };
	const struct drover_run run = { 5, 3 };
	struct world w;

	setup(&w);
	tap_ok(pending_step(&w.p) == PENDING_OPEN, "before DISCARD it is precopy");
	pending_digests(&w.p, 0)[6] = 1;
	pending_begin_discard(&w.p);
	tap_ok(drover_bitmap_count(pending_received(&w.p, 0), PAGES) == PAGES,
	       "all counts as received but what DISCARD names");
	tap_ok(pending_discard(&w.p, 0, &run, &w.e) == 0 &&
	       drover_bitmap_count(pending_received(&w.p, 0), PAGES) == PAGES - 3 &&
	       !pending_digests(&w.p, 0)[6], "which has no digest any more, either");
	pending_begin_discard(&w.p);
	tap_ok(drover_bitmap_count(pending_received(&w.p, 0), PAGES) == PAGES - 3,
	       "a second message forgets nothing of the first");
	tap_ok(pending_discard(&w.p, 0, &beyond, &w.e) == -EBADMSG &&
	       pending_discard(&w.p, 0, &far, NULL) == -EBADMSG, "beyond the block: %s", w.e.msg);
	tap_ok(arm(&w, false) == 0 && pending_missing(&w.p) == 3 &&
	       pending_step(&w.p) == PENDING_ARMED, "armed, and that is missing");
	teardown(&w, true);
	tap_ok(w.h.stopped == 1 && w.h.opened == 1, "freed to be emptied: everybody goes on");
}

static void test_pages(void)
{
	struct world w;

	setup_armed(&w);
	tap_ok(place(&w, 100, 10, DROVER_PAGES_RAW) == 0 && w.h.published == 10 &&
	       pending_missing(&w.p) == 100 && w.h.host[drover_page_off(109)] == 10,
	       "content, and that much less is missing: %s", w.e.msg);
	tap_ok(!w.h.early, "each digest is made before its page is published");
	memset(w.h.host + drover_page_off(105), 0xee, DROVER_PAGE_SIZE);   /* the guest writes */
	tap_ok(place(&w, 104, 4, DROVER_PAGES_RAW) == 0 && w.h.published == 10 && !w.h.again &&
	       w.h.host[drover_page_off(105)] == 0xee, "a second copy goes to scratch");
	tap_ok(place(&w, 95, 10, DROVER_PAGES_RAW) == 0 && w.h.published == 10 &&
	       !w.h.host[drover_page_off(96)], "so does one of a page that was never discarded");
	tap_ok(place(&w, 105, 10, DROVER_PAGES_RAW) == 0 && w.h.published == 15 && !w.h.again &&
	       w.h.host[drover_page_off(105)] == 0xee && w.h.host[drover_page_off(112)] == 8,
	       "a run that is new in part is placed in part");
	teardown(&w, false);
	tap_ok(w.h.stopped == 1 && !w.h.opened, "freed otherwise: who waits goes on waiting");
}

static void test_zero(void)
{
	struct world w;

	setup_armed(&w);
	memset(w.h.host, 0xaa, PAGES * DROVER_PAGE_SIZE);
	if (place(&w, 120, 1, DROVER_PAGES_RAW) < 0 || place(&w, 130, 2, DROVER_PAGES_RAW) < 0)
		abort();
	tap_ok(place(&w, 90, 120, DROVER_PAGES_ZERO) == 0 && w.h.zeroed == 97 && !w.h.again,
	       "a zero run around claimed pages: all but those: %s", w.e.msg);
	tap_ok(w.h.host[drover_page_off(120)] == 1 && w.h.host[drover_page_off(131)] == 2 &&
	       w.h.host[drover_page_off(99)] == 0xaa && w.h.host[drover_page_off(200)] == 0xaa &&
	       !w.h.host[drover_page_off(121)] && !w.h.host[drover_page_off(199)],
	       "which keep what they have");
	tap_ok(pending_missing(&w.p) == 10, "and are not counted twice");
	tap_ok(place(&w, 90, 120, DROVER_PAGES_ZERO) == 0 && w.h.zeroed == 97, "nor is the run");
	teardown(&w, false);
}

static void test_drop(void)
{
	uint64_t n;
	bool mine;
	struct world w;
	struct arrival a = { &w.p, "data/0" };

	setup_armed(&w);
	tap_ok(pending_place.claim(&a, 0, 10, 4, &n, &mine, NULL) == 0 && n == 4 && mine,
	       "a claim");
	tap_ok(pending_place.claim(&a, 0, 8, 8, &n, &mine, NULL) == 0 && !mine &&
	       pending_place.claim(&a, 0, 14, 20, &n, &mine, NULL) == 0 && mine && n == 6,
	       "claims end where another begins");
	if (place(&w, 100, 1, DROVER_PAGES_RAW) < 0)
		abort();
	pending_drop_claims(&w.p);
	tap_ok(pending_missing(&w.p) == 109, "dropped with their connection");
	tap_ok(place(&w, 10, 4, DROVER_PAGES_RAW) == 0 && w.h.published == 5 &&
	       w.h.host[drover_page_off(13)] == 4, "the pages can be claimed again: %s", w.e.msg);
	tap_ok(place(&w, 100, 1, DROVER_PAGES_RAW) == 0 && !w.h.again,
	       "but those that have arrived can not");
	teardown(&w, false);
}

static void test_fault(void)
{
	const struct drover_fault there = { .page = 3 }, missing = { .page = 150 };
	struct world w;

	setup_armed(&w);
	tap_ok(!pending_fault(&w.p, &there) && w.h.published == 1,
	       "who touches what is there goes on at once");
	tap_ok(pending_fault(&w.p, &missing) && w.h.published == 1, "what is not is asked for");
	teardown(&w, false);
}

static int give_up(void *arg, struct drover_error *e)
{
	return --*(int *)arg ? 0 : drover_err(e, -ETIMEDOUT, "given up");
}

static int rest(void *arg, struct drover_error *e)
{
	(void)e;
	return place(arg, 100, 100, DROVER_PAGES_ZERO);
}

static void test_end(void)
{
	struct world w;
	int n = 2;

	setup_armed(&w);
	tap_ok(pending_wait(&w.p, give_up, &n, &w.e) == -ETIMEDOUT && !n,
	       "who waits for the rest is asked now and then: %s", w.e.msg);
	if (place(&w, 10, 10, DROVER_PAGES_RAW) < 0)
		abort();
	tap_ok(pending_wait(&w.p, rest, &w, &w.e) == 0 && !pending_missing(&w.p),
	       "until it has come: %s", w.e.msg);
	pending_all_here(&w.p);
	tap_ok(pending_step(&w.p) == PENDING_HERE && w.h.stopped == 1 && w.h.opened == 1 &&
	       !w.p.handler, "then the handler goes");
	pending_all_here(&w.p);
	pending_proved(&w.p);
	pending_all_here(&w.p);
	tap_ok(w.h.stopped == 1 && pending_step(&w.p) == PENDING_PROVED, "once");
	teardown(&w, false);
	tap_ok(w.h.stopped == 1, "for ever");
}

static void test_adopt(void)
{
	struct world w;

	setup(&w);
	w.h.fail = -EBUSY;
	tap_ok(arm(&w, true) == -EBUSY && pending_step(&w.p) == PENDING_OPEN, "%s", w.e.msg);
	w.h.fail = 0;
	tap_ok(arm(&w, true) == 0 && pending_missing(&w.p) == PAGES - 1 &&
	       drover_bit_test(pending_received(&w.p, 0), 299),
	       "what a dead handler knows counts as received");
	teardown(&w, false);
}

int main(void)
{
	test_discard();
	test_pages();
	test_zero();
	test_drop();
	test_fault();
	test_end();
	test_adopt();
	return tap_done();
}
