// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * DIGEST on the destination: what was sent against what was placed. Groups first; where
 * they differ the source sends the pages' digests and the answer names the pages. Every
 * group (one-way: page) must have been compared, in order, or the digests do not agree.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bitmap.h"
#include "base/cleanup.h"
#include "base/page-digest.h"
#include "base/parallel.h"
#include "engine/dest/dest.h"

/* Groups that a thread digests at a time: some 100 us. */
#define GROUP_STEP 512u

static uint64_t items(const struct session *x, unsigned int block, unsigned int level)
{
	uint64_t n = drover_pages(x->m->ram->block[x->block[block]].size);

	return level ? (n + DROVER_DIGEST_GROUP - 1) / DROVER_DIGEST_GROUP : n;
}

static void skip_unsent(struct session *x)
{
	while (x->digest_block < x->nblocks && x->skip[x->digest_block])
		x->digest_block++;
}

/* In the first pass nothing may be left out: the next item is always the next of the block. */
static int check_order(struct session *x, const struct drover_msg_digest *m,
		       struct drover_error *e)
{
	uint64_t total;

	if (m->block >= x->nblocks || x->skip[m->block])
		return drover_err(e, -EBADMSG, "DIGEST: of block %u", m->block);
	total = items(x, m->block, m->level);
	if (m->first > total || m->n > total - m->first)
		return drover_err(e, -EBADMSG, "DIGEST: %llu+%u of %llu",
				  (unsigned long long)m->first, m->n, (unsigned long long)total);
	if (x->digest_asked_pages)
		return m->level ? drover_err(e, -EBADMSG, "DIGEST: groups a second time") : 0;
	/* A source's new droverd may know a part only: what it has sent itself. */
	if (x->committed && !m->level) {
		x->digest_partial = true;
		return 0;
	}
	if (m->level != (x->one_way ? 0 : 1))
		return drover_err(e, -EBADMSG, "DIGEST: level %u", m->level);
	skip_unsent(x);
	if (m->block != x->digest_block || m->first != x->digest_next)
		return drover_err(e, -EBADMSG, "DIGEST: block %u from %llu, expected block %u from %llu",
				  m->block, (unsigned long long)m->first, x->digest_block,
				  (unsigned long long)x->digest_next);
	x->digest_next += m->n;
	if (x->digest_next == total) {
		x->digest_block++;
		x->digest_next = 0;
	}
	return 0;
}

struct group_walk {
	const uint64_t *digest;
	uint64_t npages;
	uint64_t first;         /* group */
	uint64_t *group;
};

static int group_step(void *arg, uint64_t i, uint64_t end)
{
	struct group_walk *w = arg;

	for (; i < end; i++) {
		uint64_t p = (w->first + i) * DROVER_DIGEST_GROUP, left = w->npages - p;

		w->group[i] = drover_digest_group(&w->digest[p], left < DROVER_DIGEST_GROUP ?
						  left : DROVER_DIGEST_GROUP);
	}
	return 0;
}

static const uint64_t *digests_of(const struct session *x, unsigned int block)
{
	return x->pc ? x->pc->ledger->digest[block] : drover_place_digests(x->place, block);
}

void session_digest_again(struct session *x)
{
	x->digest_ok = x->digest_asked_pages = false;
	x->digest_next = 0;
	x->digest_block = 0;
	memset(x->diff, 0, sizeof(*x->diff));
}

int session_digest_first(struct session *x, struct drover_error *e)
{
	struct postcopy *pc = x->pc;
	unsigned int i;

	for (i = 0; x->verify && i < x->m->ram->n; i++) {
		uint64_t npages = drover_pages(x->m->ram->block[i].size);
		uint64_t n = (npages + DROVER_DIGEST_GROUP - 1) / DROVER_DIGEST_GROUP;
		struct group_walk w = { .digest = pc->ledger->digest[i], .npages = npages };

		w.group = pc->group[i] = calloc(n, sizeof(*w.group));
		pc->first[i] = drover_bitmap_new(npages);
		if (!pc->group[i] || !pc->first[i])
			return drover_err(e, -ENOMEM, "DIGEST: out of memory");
		memcpy(pc->first[i], pc->ledger->received[i], drover_bitmap_bytes(npages));
		drover_parallel(n, GROUP_STEP, group_step, &w);
	}
	return 0;
}

/* Before COMMIT pages may come that the VMM touches while it loads: they don't count yet. */
static uint64_t page_digest(const struct session *x, unsigned int block, uint64_t page)
{
	if (x->pc && x->pc->first[block] && !x->committed &&
	    !drover_bit_test(x->pc->first[block], page))
		return 0;
	return digests_of(x, block)[page];
}

static int compare(struct session *x, const struct drover_msg_digest *m, struct drover_error *e)
{
	unsigned int block = x->block[m->block];
	const uint64_t *mine = NULL;
	_cleanup_free_ uint64_t *group = NULL;
	uint32_t i;

	if (m->level && x->pc && x->pc->group[block] && !x->committed) {
		mine = x->pc->group[block] + m->first;
	} else if (m->level) {
		struct group_walk w = {
			.digest = digests_of(x, block),
			.npages = items(x, m->block, 0),
			.first = m->first,
		};

		w.group = group = calloc(m->n, sizeof(*group));
		if (!group)
			return drover_err(e, -ENOMEM, "DIGEST: out of memory");
		drover_parallel(m->n, GROUP_STEP, group_step, &w);
		mine = group;
	}
	for (i = 0; i < m->n; i++) {
		if ((mine ? mine[i] : page_digest(x, block, m->first + i)) ==
		    drover_msg_digest_at(m, i))
			continue;
		x->diff->total++;
		if (x->diff->n < DROVER_DIGEST_ACK_MAX) {
			x->diff->item[x->diff->n].block = m->block;
			x->diff->item[x->diff->n++].index = m->first + i;
		}
	}
	return 0;
}

static int answer(struct session *x, uint16_t level, struct drover_error *e)
{
	uint8_t body[4096];
	int n;

	if (x->one_way)
		return 0;
	x->diff->status = x->diff->total ? 1 : 0;
	x->diff->level = level;
	n = drover_digest_ack_encode(x->diff, body, sizeof(body));
	if (n < 0)
		return drover_err(e, n, "DIGEST_ACK: %s", drover_strerror(n));
	return drover_link_send(x->main, DROVER_MSG_DIGEST_ACK, body, (size_t)n, NULL, 0, 0, e);
}

static int differ(struct session *x, struct drover_error *e)
{
	const char *name = "?";
	uint64_t page = 0;
	uint32_t i;

	for (i = 0; i < x->diff->n; i++) {
		name = x->m->ram->block[x->block[x->diff->item[i].block]].name;
		page = x->diff->item[i].index;
		drover_name_page(x->m, name, page);
	}
	DROVER_INFO(x->m, digest, "differ: %s:%llu", name,
			 (unsigned long long)page);
	return drover_err(e, -EUCLEAN, "digests differ on %llu pages, %s:%llu among them",
			  (unsigned long long)x->diff->total, name, (unsigned long long)page);
}

int session_digest(struct session *x, size_t len, struct drover_error *e)
{
	struct drover_msg_digest m;
	int r;

	r = drover_digest_decode(x->main->body, len, &m, e);
	if (r < 0)
		return drover_link_bad(x->main, e), r;
	if (!x->verify || !x->state_done || x->digest_ok ||
	    (x->committed && !atomic_load(&x->pc->here)))
		return drover_err(e, -EBADMSG, "DIGEST: not now");
	if (m.n) {
		r = check_order(x, &m, e);
		if (r >= 0)
			r = compare(x, &m, e);
		if (r < 0)
			return r;
	}
	if (!(m.flags & DROVER_DIGEST_LAST))
		return 0;
	/* That part may be nothing: it was all sent by one that is dead, and freed. */
	if (x->committed && x->m->config->release_ram && !x->digest_block && !x->digest_next)
		x->digest_partial = true;
	skip_unsent(x);
	if (!x->digest_asked_pages && !x->digest_partial && x->digest_block != x->nblocks)
		return drover_err(e, -EBADMSG, "DIGEST: it ends before block %u", x->digest_block);
	r = answer(x, x->one_way || x->digest_asked_pages || x->digest_partial ? 0 : 1, e);
	if (r < 0)
		return r;
	if (!x->diff->total) {
		if (x->digest_asked_pages)
			return drover_err(e, -EBADMSG, "DIGEST: groups differ, their pages do not");
		x->digest_ok = true;
		if (x->committed)
			x->pc->proved = true;
		DROVER_INFO(x->m, digest, "equal%s",
				 x->digest_partial ?
				 "; what another droverd has freed is not compared" : "");
		return 0;
	}
	if (x->one_way || x->digest_asked_pages || x->digest_partial) {
		r = differ(x, e);
		if (!x->committed)
			return r;
		/* The guest runs here already: it is told, and that is all. */
		x->pc->proved = x->digest_ok = true;
		drover_fail(x->m, e);
		drover_err_clear(e);
		return 0;
	}
	x->digest_asked_pages = true;
	memset(x->diff, 0, sizeof(*x->diff));
	return 0;
}
