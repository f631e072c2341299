// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The encoder: what a unit of pages becomes, for any page source and any sink. Holes are never
 * touched; a page's digest is stored before the sink has the page; and the frame that a sink
 * makes of a batch is what the wire says.
 */
#include "base/page-digest.h"
#include "ram/bus.h"
#include "source-kit.h"

/* A source of these units, and a sink that keeps what it is given. */
struct ends {
	struct page_source from;
	struct page_sink to;
	struct kit *k;
	const struct page_unit *unit;
	unsigned int nunits, at;
	unsigned int batches;
	struct page_batch last;
	uint64_t raw, zero, payload;
	unsigned int largest;
	bool in_order;
	uint64_t digest_seen;   /* of the first page, when the sink got it */
	int fail_next, fail_put;
};

static int next(struct page_source *from, struct page_unit *ret, struct drover_error *e)
{
	struct ends *x = (void *)((char *)from - offsetof(struct ends, from));

	if (x->at == x->nunits)
		return x->fail_next ? drover_err(e, x->fail_next, "next") : 0;
	*ret = x->unit[x->at++];
	return 1;
}

static int put(struct page_sink *to, struct page_batch *b, struct drover_error *e)
{
	struct ends *x = (void *)((char *)to - offsetof(struct ends, to));
	uint64_t end = 0;
	unsigned int i;

	if (x->fail_put)
		return drover_err(e, x->fail_put, "put");
	x->batches++;
	x->raw += b->raw;
	x->zero += b->zero;
	x->payload += b->payload;
	x->largest = b->nruns > x->largest ? b->nruns : x->largest;
	x->digest_seen = b->block->digest ? b->block->digest[b->run[0].page] : 0;
	for (i = 0; i < b->nruns; i++) {
		x->in_order = x->in_order && b->run[i].page >= end;
		end = b->run[i].page + b->run[i].npages;
	}
	x->last = *b;
	return 0;
}

static struct ends ends_of(struct kit *k, const struct page_unit *u, unsigned int n)
{
	return (struct ends){
		.from.next = next, .to.put = put, .k = k, .unit = u, .nunits = n,
		.in_order = true,
	};
}

static struct page_unit unit(struct kit *k, uint64_t dirty)
{
	struct source_block *b = &k->s.mem.block[0];

	return (struct page_unit){
		.block = b, .n = 1,
		.w[0] = { .word = 0, .dirty = dirty, .data = b->data_map[0] },
	};
}

static void test_runs(void)
{
	const uint64_t size[] = { 64 };
	struct kit *k = kit_new(size, 1);
	struct drover_error e = DROVER_ERROR_INIT;
	struct page_unit u;
	struct ends x;
	unsigned int i;

	for (i = 0; i < 8; i++)
		if (i != 3 && i != 4)
			kit_fill(k, 0, i, (uint8_t)(i + 1));
	u = unit(k, 0xffull);
	x = ends_of(k, &u, 1);
	tap_ok(encode(&k->s.encoder, &x.from, &x.to, &e) == 0 && x.batches == 1, "one batch");
	tap_ok(x.last.nruns == 3 && x.last.run[0].npages == 3 && x.last.run[1].npages == 2 &&
	       x.last.run[2].npages == 3, "raw, zero, raw: three runs");
	tap_ok(x.last.run[0].kind == DROVER_PAGES_RAW && x.last.run[1].kind == DROVER_PAGES_ZERO &&
	       !x.last.run[1].payload, "a zero run has no payload");
	tap_ok(x.last.niov == 3 && x.last.iov[1].iov_base == k->ram.block[0].host &&
	       x.last.iov[1].iov_len == 3 * DROVER_PAGE_SIZE, "raw runs lie in guest RAM");
	tap_ok(x.raw == 6 && x.zero == 2 && x.payload == 6 * DROVER_PAGE_SIZE, "all are counted");
	tap_ok(k->s.mem.block[0].digest[0] == drover_page_digest(k->ram.block[0].host) &&
	       !k->s.mem.block[0].digest[3], "digests: of content, and 0 of a zero page");
	tap_ok(x.digest_seen == k->s.mem.block[0].digest[0] && x.digest_seen,
	       "they are stored before the sink has the page");
	encoder_init(&k->s.encoder, k->m.ram, false);
	x = ends_of(k, &u, 1);
	encode(&k->s.encoder, &x.from, &x.to, &e);
	tap_ok(x.raw == 8 && x.last.nruns == 1, "zero pages are not looked for unless asked");
	kit_free(k);
}

/* What stands for a page that can't be read must not be sent in its place. */
static void test_broken(void)
{
	const uint64_t size[] = { 64 };
	struct kit *k = kit_new(size, 1);
	struct drover_error e = DROVER_ERROR_INIT;
	struct page_unit u = unit(k, 1);
	struct ends x = ends_of(k, &u, 1);

	kit_fill(k, 0, 0, 1);
	drover_ram_bus_note(k->m.ram, 0, 7);
	tap_ok(encode(&k->s.encoder, &x.from, &x.to, &e) == -EFAULT && !x.batches &&
	       strstr(e.msg, "page 7"), "a page that can't be touched ends it: %s", e.msg);
	kit_free(k);
}

static void test_holes(void)
{
	const uint64_t size[] = { 64 };
	struct kit *k = kit_new(size, 1);
	struct page_unit u;
	struct ends x;

	memset(k->s.mem.block[0].digest, 7, 64 * 8);
	drover_bitmap_clear_range(k->s.mem.block[0].data_map, 0, 64);
	mprotect(k->ram.block[0].host, k->ram.block[0].size, PROT_NONE);
	u = unit(k, ~0ull);
	x = ends_of(k, &u, 1);
	tap_ok(encode(&k->s.encoder, &x.from, &x.to, NULL) == 0 && x.zero == 64 &&
	       x.last.nruns == 1, "holes are zero pages, and are never touched");
	tap_ok(!k->s.mem.block[0].digest[63], "nor is their digest anything but 0");
	kit_free(k);
}

/* Every other page: more runs than a batch has. */
static void test_many_runs(void)
{
	const uint64_t size[] = { 64 * UNIT_WORDS };
	struct kit *k = kit_new(size, 1);
	struct page_unit *u = calloc(2, sizeof(*u));
	struct ends x;
	unsigned int i;

	drover_bitmap_clear_range(k->s.mem.block[0].data_map, 0, size[0]);
	u[0].block = &k->s.mem.block[0];
	u[0].n = UNIT_WORDS;
	for (i = 0; i < UNIT_WORDS; i++) {
		u[0].w[i].word = i;
		u[0].w[i].dirty = 0x5555555555555555ull;
	}
	u[1] = u[0];
	x = ends_of(k, u, 2);
	tap_ok(encode(&k->s.encoder, &x.from, &x.to, NULL) == 0 &&
	       x.zero == 2 * 32 * UNIT_WORDS, "a unit of %u runs", 32 * UNIT_WORDS);
	tap_ok(x.largest == BATCH_RUNS && x.batches == 2 * 32 * UNIT_WORDS / BATCH_RUNS,
	       "is batches of at most %u", BATCH_RUNS);
	tap_ok(x.in_order, "whose runs are in order");
	free(u);
	kit_free(k);
}

static void test_errors(void)
{
	const uint64_t size[] = { 64 };
	struct kit *k = kit_new(size, 1);
	struct drover_error e = DROVER_ERROR_INIT;
	struct page_unit u = unit(k, 1);
	struct ends x = ends_of(k, &u, 1);

	x.fail_next = -ECANCELED;
	tap_ok(encode(&k->s.encoder, &x.from, &x.to, &e) == -ECANCELED && x.batches == 1,
	       "what the page source fails with ends it");
	drover_err_clear(&e);
	x = ends_of(k, &u, 1);
	x.fail_put = -EPIPE;
	tap_ok(encode(&k->s.encoder, &x.from, &x.to, &e) == -EPIPE && e.code == -EPIPE,
	       "and what the sink does");
	x = ends_of(k, &u, 0);
	tap_ok(encode(&k->s.encoder, &x.from, &x.to, &e) == 0 && !x.batches,
	       "of nothing comes nothing");
	kit_free(k);
}

/* As both sinks of the source send it. */
static void test_frame(void)
{
	const uint64_t size[] = { 64, 128 };
	struct kit *k = kit_new(size, 2);
	struct source_block *b = &k->s.mem.block[1];
	struct drover_error e = DROVER_ERROR_INIT;
	uint8_t head[BATCH_HEAD];
	struct drover_msg_pages m;
	struct drover_page_run run;
	struct drover_frame f;
	const uint8_t *body;
	struct page_unit u;
	struct ends x;
	int n;

	kit_fill(k, 1, 100, 0xab);
	unit_of_page(&u, b, b->data_map, 100);
	tap_ok(u.n == 1 && u.w[0].word == 1 && u.w[0].dirty == 1ull << 36, "a unit of one page");
	x = ends_of(k, &u, 1);
	encode(&k->s.encoder, &x.from, &x.to, &e);
	n = batch_encode(&x.last, 9, head, sizeof(head), k->main.link, &e);
	tap_ok(n > 0 && batch_send(&x.last, head, (size_t)n, k->main.link, 0, &e) == 0, "is sent");
	tap_ok(kit_sent(&k->main, &f, &body) == DROVER_MSG_PAGES &&
	       f.payload_len == DROVER_PAGE_SIZE && body[f.body_len] == 0xab, "as one PAGES frame");
	tap_ok(drover_pages_decode(body, f.body_len, f.payload_len, &m, &e) == 0 && m.block == 1 &&
	       m.round == 9 && m.n == 1, "of its block and round");
	run = drover_msg_page_run_at(&m, 0);
	tap_ok(run.page == 100 && run.npages == 1 && run.kind == DROVER_PAGES_RAW, "and its page");
	x.last.nruns = 0;
	tap_ok(batch_encode(&x.last, 9, head, sizeof(head), k->main.link, &e) < 0 && e.code,
	       "a batch of nothing is no frame: %s", e.msg);
	kit_free(k);
}

int main(void)
{
	test_runs();
	test_broken();
	test_holes();
	test_many_runs();
	test_errors();
	test_frame();
	return tap_done();
}
