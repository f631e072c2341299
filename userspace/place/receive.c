// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The one reader of PAGES, in precopy and in postcopy: it checks each run, claims its pages,
 * receives their content and publishes it. Where the pages are and who may have them already
 * is the business of the drover_place_ops. Called by the destination's threads, one message
 * at a time each.
 */
#include "place/receive.h"

#include <errno.h>
#include <sys/uio.h>

#include "base/err.h"
#include "peer/link.h"

#define PIECES_MAX 1024u

/**
 * struct landing - content under way to pages that are claimed
 * @bytes: sum of @iov
 * @run: pages claimed and not yet published
 * @scratch: where the content of pages goes that somebody else has claimed
 */
struct landing {
	const struct drover_place_ops *ops;
	void *place;
	struct drover_link *link;
	unsigned int block;
	unsigned int niov, nruns;
	uint64_t bytes;
	struct iovec iov[PIECES_MAX];
	struct drover_ram_run run[PIECES_MAX];
	uint8_t scratch[DROVER_PAGE_SIZE];
};

/* Receive what has been laid out, and publish it. */
static int land(struct landing *a, struct drover_error *e)
{
	int r;

	if (!a->niov)
		return 0;
	r = drover_link_payload(a->link, a->iov, a->niov, a->bytes, e);
	if (r >= 0 && a->nruns)
		r = a->ops->publish(a->place, a->run, a->nruns, e);
	a->niov = a->nruns = 0;
	a->bytes = 0;
	return r;
}

static int add_piece(struct landing *a, uint8_t *at, uint64_t bytes, struct drover_error *e)
{
	int r = a->niov == PIECES_MAX ? land(a, e) : 0;

	if (r < 0)
		return r;
	a->iov[a->niov++] = (struct iovec){ at, bytes };
	a->bytes += bytes;
	return 0;
}

static int lay_claimed(struct landing *a, uint64_t page, uint64_t n, struct drover_error *e)
{
	uint8_t *at = a->ops->host(a->place, a->block) + drover_page_off(page);
	struct drover_ram_run *last = a->nruns ? &a->run[a->nruns - 1] : NULL;
	struct iovec *v = a->niov ? &a->iov[a->niov - 1] : NULL;
	int r;

	if (last && last->page + last->npages == page &&
	    (uint8_t *)v->iov_base + v->iov_len == at) {
		last->npages += n;
		v->iov_len += drover_page_off(n);
		a->bytes += drover_page_off(n);
		return 0;
	}
	r = add_piece(a, at, drover_page_off(n), e);
	if (r < 0)
		return r;
	a->run[a->nruns++] = (struct drover_ram_run){ a->block, page, n };
	return 0;
}

static int lay_run(struct landing *a, uint64_t page, uint64_t n, struct drover_error *e)
{
	uint64_t k, i;
	bool mine;
	int r;

	for (; n; page += k, n -= k) {
		r = a->ops->claim(a->place, a->block, page, n, &k, &mine, e);
		if (r < 0)
			return drover_link_bad(a->link, e), r;
		if (mine)
			r = lay_claimed(a, page, k, e);
		for (i = 0; i < k && !mine && r >= 0; i++)
			r = add_piece(a, a->scratch, DROVER_PAGE_SIZE, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int check_run(const struct drover_ram_block *b, const struct drover_page_run *run,
		     struct drover_error *e)
{
	uint64_t npages = drover_pages(b->size);

	if (run->page >= npages || run->npages > npages - run->page)
		return drover_err(e, -ERANGE, "block %s: pages %llu+%u of %llu", b->name,
				  (unsigned long long)run->page, run->npages,
				  (unsigned long long)npages);
	if (run->kind != DROVER_PAGES_ZERO && run->kind != DROVER_PAGES_RAW)
		return drover_err(e, -EBADMSG, "pages of kind %u, which was not negotiated",
				  run->kind);
	return 0;
}

int drover_place_receive(const struct drover_place_ops *ops, void *place,
			 const struct drover_ram_block *b, unsigned int block,
			 struct drover_link *l, const struct drover_msg_pages *m,
			 struct drover_received *ret, struct drover_error *e)
{
	struct drover_received n = { 0 };
	struct landing a;       /* large, and filled in as far as it is used */
	uint32_t i;
	int r;

	a.ops = ops;
	a.place = place;
	a.link = l;
	a.block = block;
	a.niov = a.nruns = 0;
	a.bytes = 0;
	for (i = 0; i < m->n; i++) {
		struct drover_page_run run = drover_msg_page_run_at(m, i);

		r = check_run(b, &run, e);
		if (r >= 0 && run.kind == DROVER_PAGES_ZERO)
			r = ops->zero(place, block, run.page, run.npages, e);
		if (r < 0)
			return drover_link_bad(l, e), r;
		if (run.kind == DROVER_PAGES_ZERO) {
			n.zero += run.npages;
			continue;
		}
		n.raw += run.npages;
		r = lay_run(&a, run.page, run.npages, e);
		if (r < 0)
			return r;
	}
	r = land(&a, e);
	if (r < 0)
		return r;
	*ret = n;
	return 0;
}
