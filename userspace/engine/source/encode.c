// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The encoder: zero pages, digests, runs. It reads guest RAM while the guest writes it, so
 * what it finds may be outdated at once: the tracker sees that write, and the page is sent
 * again. A hole is known from the data map and is never touched, since reading it would
 * allocate it.
 *
 * Called by senders and by who serves urgent pages, each with a batch of its own.
 */
#include "engine/source/encode.h"

#include <errno.h>

#include "base/err.h"
#include "base/page-digest.h"
#include "base/units.h"
#include "channel/channel.h"
#include "engine/source/memory.h"
#include "peer/link.h"
#include "ram/bus.h"

void encoder_init(struct encoder *enc, const struct drover_ram *ram, bool detect_zero)
{
	enc->ram = ram;
	enc->is_zero = detect_zero ? drover_zero_select() : NULL;
}

static void batch_start(struct page_batch *b, struct source_block *block)
{
	b->block = block;
	b->nruns = 0;
	b->niov = 1;
	b->payload = b->raw = b->zero = 0;
}

static void add_page(struct page_batch *b, uint64_t page, enum drover_page_kind kind, uint8_t *at)
{
	struct drover_page_run *r = b->nruns ? &b->run[b->nruns - 1] : NULL;

	if (r && r->kind == kind && r->page + r->npages == page) {
		r->npages++;
		if (kind == DROVER_PAGES_RAW) {
			r->payload += DROVER_PAGE_SIZE;
			b->iov[b->niov - 1].iov_len += DROVER_PAGE_SIZE;
		}
	} else {
		b->run[b->nruns++] = (struct drover_page_run){
			.page = page,
			.npages = 1,
			.kind = (uint16_t)kind,
			.payload = kind == DROVER_PAGES_RAW ? DROVER_PAGE_SIZE : 0,
		};
		if (kind == DROVER_PAGES_RAW)
			b->iov[b->niov++] = (struct iovec){ at, DROVER_PAGE_SIZE };
	}
	if (kind == DROVER_PAGES_RAW) {
		b->payload += DROVER_PAGE_SIZE;
		b->raw++;
	} else {
		b->zero++;
	}
}

static void scan_page(const struct encoder *enc, struct page_batch *b, uint64_t page, bool hole)
{
	struct source_block *block = b->block;
	uint8_t *at = block->ram->host + drover_page_off(page);
	bool zero = hole || (enc->is_zero && enc->is_zero(at));

	if (block->digest)
		block->digest[page] = zero ? 0 : drover_page_digest(at);
	add_page(b, page, zero ? DROVER_PAGES_ZERO : DROVER_PAGES_RAW, at);
}

/*
 * The first line of each page is what mostly tells that it isn't zero, and the hardware
 * prefetches no further than a page: without this each costs a full miss.
 */
static void prefetch(const uint8_t *host, uint64_t word, uint64_t bits)
{
	for (; bits; bits &= bits - 1)
		__builtin_prefetch(host + drover_page_off(word * 64 + (uint64_t)
								  __builtin_ctzll(bits)));
}

/* As many pages of the unit as fit into the run table; *i and *bits say how far it came. */
static void scan_unit(const struct encoder *enc, const struct page_unit *u, unsigned int *i,
		      uint64_t *bits, struct page_batch *b)
{
	batch_start(b, u->block);
	while (*i < u->n) {
		prefetch(u->block->ram->host, u->w[*i].word, *bits & u->w[*i].data);
		while (*bits) {
			unsigned int bit = (unsigned int)__builtin_ctzll(*bits);

			if (b->nruns == BATCH_RUNS)
				return;
			*bits &= *bits - 1;
			scan_page(enc, b, u->w[*i].word * 64 + bit, !(u->w[*i].data >> bit & 1));
		}
		if (++*i < u->n)
			*bits = u->w[*i].dirty;
	}
}

int encode(const struct encoder *enc, struct page_source *from, struct page_sink *to,
	   struct drover_error *e)
{
	struct page_batch b;
	struct page_unit u;
	int r;

	while ((r = from->next(from, &u, e)) > 0) {
		uint64_t bits = u.w[0].dirty;
		unsigned int i = 0;

		while (i < u.n) {
			scan_unit(enc, &u, &i, &bits, &b);
			r = drover_ram_bus_error(enc->ram, e);
			if (r >= 0)
				r = to->put(to, &b, e);
			if (r < 0)
				return r;
		}
	}
	return r;
}

void unit_of_page(struct page_unit *u, struct source_block *b, const uint64_t *data, uint64_t page)
{
	u->block = b;
	u->n = 1;
	u->w[0].word = page / 64;
	u->w[0].dirty = 1ull << page % 64;
	u->w[0].data = data[page / 64];
}

int batch_encode(const struct page_batch *b, uint32_t round, uint8_t *head, size_t cap,
		 const struct drover_link *l, struct drover_error *e)
{
	struct drover_msg_pages msg = {
		.block = b->block->index,
		.round = round,
		.n = b->nruns,
		.run = b->run,
	};
	int n = drover_pages_encode(&msg, head + DROVER_FRAME_LEN, cap - DROVER_FRAME_LEN);

	if (n < 0)
		return drover_err(e, n, "channel %s: PAGES of %u runs: %s",
				  drover_channel_name(l->ch), b->nruns, drover_strerror(n));
	return n;
}

int batch_send(struct page_batch *b, uint8_t *head, size_t body_len, struct drover_link *l,
	       unsigned int flags, struct drover_error *e)
{
	b->iov[0] = (struct iovec){ head, DROVER_FRAME_LEN + body_len };
	return drover_link_send_head(l, DROVER_MSG_PAGES, head, body_len, b->iov, b->niov,
				     b->payload, flags, e);
}
