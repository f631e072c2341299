// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Messages of runs of pages. RANGES and DISCARD go out and are made from the dirty bitmap;
 * RECOVER and RELEASE come in, and each run is checked against its block before it is used.
 * Called by the source's thread while no sender runs, but for RELEASE.
 */
#include "engine/source/ranges.h"

#include <errno.h>
#include <string.h>

#include "base/bitmap.h"
#include "channel/channel.h"
#include "engine/source/source.h"
#include "peer/send.h"
#include "ram/ramfile.h"
#include "track/track.h"

/* With more runs than this a block's ranges are merged to 2 MiB. */
#define RANGES_FINE_MAX 16384u
#define RANGES_MERGE_PAGES 512u

static void merge_ranges(uint64_t *map, uint64_t npages)
{
	uint64_t at = 0, start = 0, n, runs = 0;

	while ((n = drover_bitmap_next_run(map, npages, at, &start))) {
		at = start + n;
		if (++runs > RANGES_FINE_MAX)
			break;
	}
	if (runs <= RANGES_FINE_MAX)
		return;
	at = 0;
	while ((n = drover_bitmap_next_run(map, npages, at, &start))) {
		uint64_t lo = start - start % RANGES_MERGE_PAGES;
		uint64_t hi = (start + n + RANGES_MERGE_PAGES - 1) / RANGES_MERGE_PAGES *
			      RANGES_MERGE_PAGES;

		if (hi > npages)
			hi = npages;
		drover_bitmap_set_range(map, lo, hi - lo);
		at = hi;
	}
}

int source_send_ranges(struct drover_source *s, struct drover_error *e)
{
	struct source_block *b;
	int r;

	MEMORY_EACH(&s->mem, b) {
		memcpy(b->dirty, memory_data(&s->mem, b), drover_bitmap_bytes(b->npages));
		merge_ranges(b->dirty, b->npages);
		r = drover_link_send_runs(s->peer.main, DROVER_MSG_RANGES, b->index, b->dirty,
					  b->npages, e);
		if (r < 0)
			return r;
	}
	drover_link_then(s->peer.main, DROVER_MSG_RANGES,
			 source_one_way(s) ? DROVER_PHASE_ROUNDS : DROVER_PHASE_OFFERED);
	return drover_link_send_last(s->peer.main, DROVER_MSG_RANGES, e);
}

int source_send_discard(struct drover_source *s, struct drover_error *e)
{
	struct source_block *b;
	int r;

	drover_link_then(s->peer.main, DROVER_MSG_DISCARD, DROVER_PHASE_DISCARDING);
	MEMORY_EACH(&s->mem, b) {
		r = drover_link_send_runs(s->peer.main, DROVER_MSG_DISCARD, b->index, b->dirty,
					  b->npages, e);
		if (r < 0)
			return r;
	}
	return 0;
}

int source_send_discard_last(struct drover_source *s, struct drover_error *e)
{
	drover_link_then(s->peer.main, DROVER_MSG_DISCARD, DROVER_PHASE_ARMED);
	return drover_link_send_last(s->peer.main, DROVER_MSG_DISCARD, e);
}

static int bad_run(const struct source_block *b, const struct drover_run *run, const char *msg,
		   const char *why, struct drover_error *e)
{
	return drover_err(e, -EBADMSG, "channel main: message %s: %s:%llu+%llu %s", msg,
			  b->ram->name, (unsigned long long)run->page,
			  (unsigned long long)run->npages, why);
}

static bool fits(const struct source_block *b, const struct drover_run *run)
{
	return run->page < b->npages && run->npages <= b->npages - run->page;
}

static int take_recover(struct drover_source *s, size_t len, uint32_t *ret_flags,
			struct drover_error *e)
{
	struct drover_msg_runs m;
	struct source_block *b;
	uint32_t i;
	int r;

	r = drover_body_runs(s->peer.main, len, &m, e);
	if (r < 0)
		return r;
	b = memory_block(&s->mem, m.block);
	if (m.n && !b)
		return drover_err(e, -EBADMSG, "resume: RECOVER of block %u", m.block);
	for (i = 0; i < m.n; i++) {
		struct drover_run run = drover_msg_run_at(&m, i);

		if (!fits(b, &run))
			return bad_run(b, &run, "RECOVER", "is not in the block", e);
		memory_arrived(b, run.page, run.npages);
	}
	*ret_flags = m.flags;
	return 0;
}

int source_read_recover(struct drover_source *s, uint64_t deadline, struct drover_error *e)
{
	struct drover_frame f;
	uint32_t flags = 0;
	int r;

	memory_forget(&s->mem);
	while (!(flags & DROVER_RUNS_LAST)) {
		r = drover_link_poll(s->peer.main, deadline);
		if (r <= 0)
			return drover_err(e, r ? r : -ETIMEDOUT,
					  "resume: no RECOVER within handshake-timeout");
		r = drover_expect(s->peer.main, DROVER_MSG_RECOVER, &f, e);
		if (r == DROVER_CHANNEL_E_EOF)
			return drover_err(e, -ECONNRESET, "resume: closed before RECOVER");
		if (r >= 0)
			r = take_recover(s, f.body_len, &flags, e);
		if (r < 0)
			return drover_err_prefix(e, "resume: "), r;
	}
	return 0;
}

/* Senders and urgent threads clear bits of the same words meanwhile. */
static bool any_unsent(const struct source_block *b, const struct drover_run *run)
{
	uint64_t page;

	for (page = run->page; page < run->page + run->npages; page++)
		if (drover_bit_test_acquire(b->dirty, page))
			return true;
	return false;
}

/* The source keeps no page that the destination has, holds and has hashed. */
static int release_run(struct source_block *b, const struct drover_run *run,
		       struct drover_error *e)
{
	const struct drover_ram_block *ram = b->ram;
	int r;

	if (!fits(b, run) || any_unsent(b, run))
		return bad_run(b, run, "RELEASE", "has not been sent", e);
	r = drover_ramfile_punch(ram->fd, ram->fd_off + drover_page_off(run->page),
				 drover_page_off(run->npages),
				 ram->host + drover_page_off(run->page));
	return r < 0 ? drover_err(e, r, "release-ram: block %s: %s", ram->name,
				  drover_strerror(r)) : 0;
}

int source_release(struct drover_source *s, size_t len, struct drover_error *e)
{
	struct drover_msg_runs m;
	struct source_block *b;
	uint32_t i;
	int r;

	r = drover_body_runs(s->peer.main, len, &m, e);
	if (r < 0)
		return r;
	b = memory_block(&s->mem, m.block);
	if (!source_postcopying(s) || !s->m->config->release_ram || !b)
		return drover_err(e, -EBADMSG, "channel main: message RELEASE: not now");
	for (i = 0; i < m.n; i++) {
		struct drover_run run = drover_msg_run_at(&m, i);

		r = release_run(b, &run, e);
		if (r < 0)
			return r;
	}
	return 0;
}
