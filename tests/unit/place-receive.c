// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The reader of PAGES over place_ops that only take notes: content lands in the pages that
 * were claimed and nowhere else, in the order claim, content, publish; what a hostile source
 * sends is refused before anything is written.
 */
#include "place/receive.h"

#include <errno.h>
#include <string.h>

#include "mem-link.h"
#include "tap.h"

#define PAGES 2048u

/**
 * struct fake - a place of one block
 * @taken: somebody else has claimed the page
 * @claimed, @published, @zeroed: how often
 * @early: pages published before their content was there
 */
struct fake {
	struct drover_ram_block ram;
	bool taken[PAGES];
	unsigned int claimed[PAGES], published[PAGES], zeroed[PAGES];
	unsigned int publishes, early;
	int fail_claim, fail_zero, fail_publish;
};

static int fake_claim(void *place, unsigned int block, uint64_t page, uint64_t n,
		      uint64_t *ret_n, bool *ret_mine, struct drover_error *e)
{
	struct fake *f = place;
	uint64_t k;

	(void)block;
	if (f->fail_claim)
		return drover_err(e, f->fail_claim, "no claim");
	for (k = 0; k < n && f->taken[page + k] == f->taken[page]; k++)
		f->claimed[page + k] += !f->taken[page];
	*ret_n = k;
	*ret_mine = !f->taken[page];
	return 0;
}

static uint8_t *fake_host(void *place, unsigned int block)
{
	(void)block;
	return ((struct fake *)place)->ram.host;
}

static int fake_publish(void *place, const struct drover_ram_run *run, unsigned int n,
			struct drover_error *e)
{
	struct fake *f = place;
	unsigned int i;
	uint64_t p;

	if (f->fail_publish)
		return drover_err(e, f->fail_publish, "no publish");
	f->publishes++;
	for (i = 0; i < n; i++)
		for (p = run[i].page; p < run[i].page + run[i].npages; p++) {
			f->published[p]++;
			f->early += !f->ram.host[drover_page_off(p)];
		}
	return 0;
}

static int fake_zero(void *place, unsigned int block, uint64_t page, uint64_t n,
		     struct drover_error *e)
{
	struct fake *f = place;
	uint64_t i;

	(void)block;
	if (f->fail_zero)
		return drover_err(e, f->fail_zero, "no zero");
	for (i = 0; i < n; i++)
		f->zeroed[page + i]++;
	return 0;
}

static const struct drover_place_ops fake_ops = {
	.claim = fake_claim, .host = fake_host, .publish = fake_publish, .zero = fake_zero,
};

struct world {
	struct mem_link m;
	struct fake f;
	struct drover_received n;
	struct drover_error e;
};

static void setup(struct world *w)
{
	memset(w, 0, sizeof(*w));
	mem_link_init(&w->m);
	strcpy(w->f.ram.name, "ram0");
	w->f.ram.size = PAGES * DROVER_PAGE_SIZE;
	w->f.ram.host = calloc(PAGES, DROVER_PAGE_SIZE);
	if (!w->f.ram.host)
		abort();
}

static void teardown(struct world *w)
{
	mem_link_deinit(&w->m);
	free(w->f.ram.host);
}

/* One message from the source to the place; what the reader returned. */
static int pass(struct world *w, const struct drover_page_run *run, uint32_t n)
{
	const struct drover_msg_pages sent = { .round = 1, .n = n, .run = run };
	struct drover_msg_pages m;
	struct drover_frame f;
	int r = mem_send_pages(&w->m, &sent);

	drover_err_clear(&w->e);
	if (r >= 0)
		r = drover_link_recv(w->m.d, &f, &w->e);
	if (r >= 0)
		r = drover_body_pages(w->m.d, &f, &m, &w->e);
	return r ? r : drover_place_receive(&fake_ops, &w->f, &w->f.ram, 0, w->m.d, &m, &w->n,
					    &w->e);
}

static uint8_t byte_of(const struct world *w, uint64_t page)
{
	return w->f.ram.host[drover_page_off(page) + 100];
}

static bool untouched(const struct world *w)
{
	uint64_t i;

	for (i = 0; i < w->f.ram.size; i++)
		if (w->f.ram.host[i])
			return false;
	return true;
}

static void test_runs(void)
{
	static const struct drover_page_run run[] = {
		{ 3, 2, DROVER_PAGES_RAW, 8192 }, { 5, 1, DROVER_PAGES_RAW, 4096 },
		{ 6, 100, DROVER_PAGES_ZERO, 0 }, { 200, 1, DROVER_PAGES_RAW, 4096 },
	};
	struct world w;

	setup(&w);
	tap_ok(pass(&w, run, 4) == 0, "raw and zero runs: %s", w.e.msg);
	tap_ok(byte_of(&w, 3) == 1 && byte_of(&w, 4) == 2 && byte_of(&w, 5) == 3 &&
	       byte_of(&w, 200) == 4 && !byte_of(&w, 2) && !byte_of(&w, 6),
	       "content lands in its page");
	tap_ok(w.n.raw == 4 && w.n.zero == 100, "pages are counted");
	tap_ok(w.f.claimed[3] == 1 && w.f.claimed[200] == 1 && !w.f.claimed[6],
	       "each page is claimed once, and zero runs by the place itself");
	tap_ok(w.f.published[4] == 1 && w.f.published[200] == 1 && w.f.publishes == 1 &&
	       !w.f.early, "all are published at once, after their content");
	tap_ok(w.f.zeroed[6] == 1 && w.f.zeroed[105] == 1 && !w.f.zeroed[106], "zero runs are zeroed");
	tap_ok(pass(&w, &run[2], 1) == 0 && w.n.raw == 0 && w.f.publishes == 1,
	       "a message of zeros has nothing to publish");
	teardown(&w);
}

static void test_second_copy(void)
{
	static const struct drover_page_run run[] = { { 10, 6, DROVER_PAGES_RAW, 24576 } };
	struct world w;

	setup(&w);
	w.f.taken[12] = w.f.taken[13] = true;
	tap_ok(pass(&w, run, 1) == 0 && byte_of(&w, 11) == 2 && byte_of(&w, 14) == 5 &&
	       byte_of(&w, 15) == 6, "content around a page of somebody else's: %s", w.e.msg);
	tap_ok(!byte_of(&w, 12) && !byte_of(&w, 13) && !w.f.published[12] && !w.f.published[13],
	       "a second copy goes to scratch and is not published");
	tap_ok(w.f.published[11] == 1 && w.f.published[14] == 1, "the others are");
	memset(w.f.taken, true, sizeof(w.f.taken));
	tap_ok(pass(&w, run, 1) == 0 && w.f.publishes == 1 && w.n.raw == 6,
	       "a message of second copies only is received and published nowhere");
	teardown(&w);
}

static void test_pieces(void)
{
	struct drover_page_run run[DROVER_PAGE_RUNS_MAX];
	struct world w;
	unsigned int i;
	int r;

	setup(&w);
	for (i = 0; i < DROVER_PAGE_RUNS_MAX; i++)
		run[i] = (struct drover_page_run){ 2 * i, 1, DROVER_PAGES_RAW, 4096 };
	tap_ok(pass(&w, run, DROVER_PAGE_RUNS_MAX) == 0 && w.f.publishes == 1 &&
	       byte_of(&w, 2 * 1023) == 1023 % 255 + 1, "as many runs as a message has: %s", w.e.msg);
	for (i = 0; i < PAGES; i++)
		w.f.taken[i] = i % 2;
	run[0] = (struct drover_page_run){ 0, PAGES, DROVER_PAGES_RAW, PAGES * 4096 };
	memset(w.f.ram.host, 0, w.f.ram.size);
	r = pass(&w, run, 1);
	tap_ok(r == 0 && w.f.publishes == 3 && !w.f.early && !byte_of(&w, 2047) &&
	       byte_of(&w, 2046) == 2046 % 255 + 1,
	       "more pieces than one receive takes: %s", w.e.msg);
	teardown(&w);
}

static void test_hostile(void)
{
	static const struct drover_page_run outside[] = {
		{ 1, 1, DROVER_PAGES_RAW, 4096 }, { PAGES - 1, 2, DROVER_PAGES_RAW, 8192 },
	};
	static const struct drover_page_run far[] = {
		{ DROVER_WIRE_PAGES_MAX - 1, 1, DROVER_PAGES_ZERO, 0 },
	};
	static const struct drover_page_run overlap[] = {
		{ 5, 3, DROVER_PAGES_RAW, 12288 }, { 7, 1, DROVER_PAGES_RAW, 4096 },
	};
	static const struct drover_page_run kind[] = { { 0, 1, DROVER_PAGES_ZSTD, 100 } };
	struct world w;

	setup(&w);
	tap_ok(pass(&w, outside, 2) == -ERANGE && untouched(&w) && !w.f.publishes,
	       "a run beyond the block, and nothing of its message is written: %s", w.e.msg);
	teardown(&w);
	setup(&w);
	tap_ok(pass(&w, far, 1) == -ERANGE, "a zero run far beyond it: %s", w.e.msg);
	teardown(&w);
	setup(&w);
	tap_ok(pass(&w, overlap, 2) < 0 && untouched(&w), "runs that overlap");
	teardown(&w);
	setup(&w);
	tap_ok(pass(&w, kind, 1) == -EBADMSG && strstr(w.e.msg, "not negotiated"),
	       "a kind that was not negotiated: %s", w.e.msg);
	teardown(&w);
}

/* The frame says more than the runs do, or the stream ends before the payload. */
static void test_short(void)
{
	static const struct drover_page_run run[] = { { 0, 2, DROVER_PAGES_RAW, 8192 } };
	const struct drover_msg_pages sent = { .round = 1, .n = 1, .run = run };
	struct drover_msg_pages m;
	struct drover_frame f;
	struct world w;
	uint8_t body[64];
	uint8_t data[4096] = { 1 };
	struct iovec iov = { data, sizeof(data) };
	int n = drover_pages_encode(&sent, body, sizeof(body));

	setup(&w);
	drover_link_send(w.m.s, DROVER_MSG_PAGES, body, (size_t)n, &iov, 1, sizeof(data), NULL);
	tap_ok(drover_link_recv(w.m.d, &f, &w.e) == 0 &&
	       drover_body_pages(w.m.d, &f, &m, &w.e) == -EBADMSG,
	       "a payload that is shorter than the runs: %s", w.e.msg);
	teardown(&w);
	setup(&w);
	if (mem_send_pages(&w.m, &sent) < 0)
		abort();
	w.m.down.len -= 4096;
	tap_ok(drover_link_recv(w.m.d, &f, &w.e) == 0 &&
	       drover_body_pages(w.m.d, &f, &m, &w.e) == 0 &&
	       drover_place_receive(&fake_ops, &w.f, &w.f.ram, 0, w.m.d, &m, &w.n, &w.e) ==
	       -EPIPE && !w.f.publishes && !w.n.raw,
	       "a stream that ends within a page publishes none of the message: %s", w.e.msg);
	teardown(&w);
}

static void test_refusals(void)
{
	static const struct drover_page_run run[] = {
		{ 0, 1, DROVER_PAGES_ZERO, 0 }, { 1, 1, DROVER_PAGES_RAW, 4096 },
	};
	struct world w;

	setup(&w);
	w.f.fail_zero = -EPERM;
	tap_ok(pass(&w, run, 2) == -EPERM && strstr(w.e.msg, "message PAGES"),
	       "what the place refuses to clear: %s", w.e.msg);
	teardown(&w);
	setup(&w);
	w.f.fail_claim = -EPERM;
	tap_ok(pass(&w, run, 2) == -EPERM && untouched(&w), "to give: %s", w.e.msg);
	teardown(&w);
	setup(&w);
	w.f.fail_publish = -EIO;
	tap_ok(pass(&w, run, 2) == -EIO && !w.n.raw, "to publish: %s", w.e.msg);
	teardown(&w);
}

int main(void)
{
	test_runs();
	test_second_copy();
	test_pieces();
	test_hostile();
	test_short();
	test_refusals();
	return tap_done();
}
