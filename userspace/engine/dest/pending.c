// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Which pages of a postcopy are still to come, and how they are placed while the guest runs.
 *
 * A page is claimed before a byte of it is received, so that no second copy ever lands on a
 * page that may be in use already; then come content, digest and received bit, and only then
 * does whoever waits for the page go on. Claims without a received bit are dropped when the
 * connection is gone that they came by. It knows no session and no channel. Called by
 * postcopy.c, by the threads that receive pages (through pending_place), and by faults.c.
 */
#include "engine/dest/pending.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bitmap.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/err.h"
#include "base/thread.h"
#include "base/trace.h"

#define WAIT_TICK_MS 200

static uint64_t pages_of(const struct pending *p, unsigned int block)
{
	return drover_pages(p->ram->block[block].size);
}

int pending_init(struct pending *p, const struct drover_ram *ram, struct drover_ledger *ledger,
		 struct drover_error *e)
{
	unsigned int i;

	p->ram = ram;
	p->ledger = ledger;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->cond, NULL);
	for (i = 0; i < ram->n; i++) {
		p->claim[i] = drover_bitmap_new(pages_of(p, i));
		if (!p->claim[i])
			return drover_err(e, -ENOMEM, "postcopy: bitmaps: out of memory");
	}
	return 0;
}

void pending_deinit(struct pending *p, bool open)
{
	unsigned int i;

	if (p->handler)
		p->ops->stop(p->handler, open);
	for (i = 0; i < DROVER_RAM_BLOCKS_MAX; i++)
		free(p->claim[i]);
	drover_blocktime_free(p->bt);
	drover_ledger_free(p->ledger);
	pthread_cond_destroy(&p->cond);
	pthread_mutex_destroy(&p->lock);
}

void pending_begin_discard(struct pending *p)
{
	unsigned int i;

	if (pending_step(p) != PENDING_OPEN)
		return;
	for (i = 0; i < p->ram->n; i++)
		drover_bitmap_set_range(pending_received(p, i), 0, pages_of(p, i));
	atomic_store(&p->step, PENDING_DISCARD);
}

int pending_discard(struct pending *p, unsigned int block, const struct drover_run *run,
		    struct drover_error *e)
{
	uint64_t npages = pages_of(p, block);

	if (run->page >= npages || run->npages > npages - run->page)
		return drover_err(e, -EBADMSG, "DISCARD: %s:%llu+%llu of %llu",
				  p->ram->block[block].name, (unsigned long long)run->page,
				  (unsigned long long)run->npages, (unsigned long long)npages);
	drover_bitmap_clear_range(pending_received(p, block), run->page, run->npages);
	if (pending_digests(p, block))
		memset(&pending_digests(p, block)[run->page], 0, run->npages * sizeof(uint64_t));
	return 0;
}

void pending_drop_claims(struct pending *p)
{
	uint64_t missing = 0;
	unsigned int i;

	for (i = 0; i < p->ram->n; i++) {
		uint64_t npages = pages_of(p, i);

		memcpy(p->claim[i], pending_received(p, i), drover_bitmap_bytes(npages));
		missing += npages - drover_bitmap_count(p->claim[i], npages);
	}
	atomic_store(&p->missing, missing);
}

int pending_arm(struct pending *p, const struct drover_fault_ops *ops,
		const struct drover_fault_source *src, bool blocktime, struct drover_error *e)
{
	unsigned int i;
	int r;

	p->ops = ops;
	r = ops->start(src, &p->handler, e);
	for (i = 0; r >= 0 && src->adopt && i < p->ram->n; i++)
		r = ops->received(p->handler, i, pending_received(p, i), e);
	if (r < 0)
		return r;
	if (blocktime)
		p->bt = drover_blocktime_new();
	pending_drop_claims(p);
	return 0;
}

bool pending_fault(struct pending *p, const struct drover_fault *f)
{
	struct drover_ram_run run = { f->block, f->page, 1 };

	if (p->bt)
		drover_blocktime_fault(p->bt, f, drover_now_ns());
	if (!drover_bit_test_acquire(pending_received(p, f->block), f->page))
		return true;
	/* It came meanwhile, or was there and is touched for the first time. */
	p->ops->publish(p->handler, &run, 1, false, NULL);
	if (p->bt)
		drover_blocktime_placed(p->bt, f->block, f->page, 1, drover_now_ns());
	return false;
}

/* ---- pending_place ---- */

static int claim(void *place, unsigned int block, uint64_t page, uint64_t n, uint64_t *ret_n,
		 bool *ret_mine, struct drover_error *e)
{
	const struct arrival *a = place;
	uint64_t *map = a->p->claim[block], k = 1;
	bool mine = !drover_bit_test_and_set_atomic(map, page);

	(void)e;
	if (mine) {
		while (k < n && !drover_bit_test_and_set_atomic(map, page + k))
			k++;
		drover_crash_point("claimed");
	}
	*ret_n = k;
	*ret_mine = mine;
	return 0;
}

static uint8_t *host(void *place, unsigned int block)
{
	const struct pending *p = ((struct arrival *)place)->p;

	return p->ops->host(p->handler, block);
}

/* These runs have been published. */
static void arrived(const struct arrival *a, const struct drover_ram_run *run, unsigned int n)
{
	struct pending *p = a->p;
	uint64_t pages = 0, now = p->bt ? drover_now_ns() : 0;
	unsigned int i;

	for (i = 0; i < n; i++) {
		pages += run[i].npages;
		drover_trace_pages_placed(run[i].block, run[i].page, run[i].npages, a->channel);
		if (p->bt)
			drover_blocktime_placed(p->bt, run[i].block, run[i].page, run[i].npages,
						now);
	}
	if (atomic_fetch_sub(&p->missing, pages) == pages)
		pending_wake(p);
}

/* The digests come before whoever waits goes on, since the guest may write from then on. */
static int publish(void *place, const struct drover_ram_run *run, unsigned int n,
		   struct drover_error *e)
{
	const struct arrival *a = place;
	struct pending *p = a->p;
	unsigned int i;
	int r;

	drover_crash_point("received");
	for (i = 0; i < n; i++)
		drover_place_digest(pending_digests(p, run[i].block),
				    p->ops->host(p->handler, run[i].block), &run[i]);
	drover_crash_point("digested");
	r = p->ops->publish(p->handler, run, n, false, e);
	if (r < 0)
		return r;
	drover_crash_point("published");
	arrived(a, run, n);
	return 0;
}

/* Pages that read as zero are dropped, not written. */
static int zero(void *place, unsigned int block, uint64_t page, uint64_t n, struct drover_error *e)
{
	const struct arrival *a = place;
	struct pending *p = a->p;
	uint64_t *map = p->claim[block], end = page + n, at;
	int r = 0;

	while (page < end && r >= 0) {
		struct drover_ram_run run = { block, page, 0 };

		for (at = page; at < end && !drover_bit_test_and_set_atomic(map, at); at++)
			;
		page = at + 1;          /* somebody else has claimed page @at */
		run.npages = at - run.page;
		if (!run.npages)
			continue;
		r = p->ops->publish(p->handler, &run, 1, true, e);
		if (r >= 0)
			arrived(a, &run, 1);
	}
	return r;
}

const struct drover_place_ops pending_place = {
	.claim = claim,
	.host = host,
	.publish = publish,
	.zero = zero,
};

/* ---- the end ---- */

int pending_wait(struct pending *p, int (*idle)(void *arg, struct drover_error *e), void *arg,
		 struct drover_error *e)
{
	int r = 0;

	pthread_mutex_lock(&p->lock);
	while (pending_missing(p) && r >= 0) {
		drover_cond_wait_ms(&p->cond, &p->lock, WAIT_TICK_MS);
		pthread_mutex_unlock(&p->lock);
		r = idle(arg, e);
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	return r;
}

void pending_wake(struct pending *p)
{
	DROVER_LOCK(&p->lock);

	pthread_cond_broadcast(&p->cond);
}

void pending_all_here(struct pending *p)
{
	if (pending_step(p) >= PENDING_HERE)
		return;
	if (p->handler)
		p->ops->stop(p->handler, true);
	p->handler = NULL;
	atomic_store(&p->step, PENDING_HERE);
}

void pending_armed(struct pending *p)
{
	atomic_store(&p->step, PENDING_ARMED);
}

void pending_proved(struct pending *p)
{
	atomic_store(&p->step, PENDING_PROVED);
}
