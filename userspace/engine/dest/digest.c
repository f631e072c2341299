// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * DIGEST on the destination: the comparison, which knows neither session nor channel, and
 * below it what the session does with its outcome. Called by the thread of main.
 */
#include "engine/dest/digest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bitmap.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/page-digest.h"
#include "base/parallel.h"
#include "engine/dest/dest.h"
#include "engine/dest/session.h"
#include "peer/send.h"

/* Groups that a thread digests at a time: some 100 us. */
#define GROUP_STEP 512u

int digest_init(struct digest_in *in, const struct drover_ram *ram, bool one_way,
		struct drover_error *e)
{
	in->ram = ram;
	in->one_way = one_way;
	in->diff = calloc(1, sizeof(*in->diff));
	return in->diff ? 0 : drover_err(e, -ENOMEM, "DIGEST: out of memory");
}

void digest_deinit(struct digest_in *in)
{
	unsigned int i;

	for (i = 0; in->early && i < in->ram->n; i++) {
		free(in->early[i].group);
		free(in->early[i].page);
	}
	free(in->early);
	free(in->diff);
}

void digest_blocks(struct digest_in *in, const struct dest_block *block, unsigned int n)
{
	in->block = block;
	in->nblocks = n;
}

void digest_again(struct digest_in *in)
{
	in->owned = true;
	in->step = DIGEST_ALL;
	in->at = 0;
	in->next = 0;
	memset(in->diff, 0, sizeof(*in->diff));
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

static uint64_t groups(uint64_t npages)
{
	return (npages + DROVER_DIGEST_GROUP - 1) / DROVER_DIGEST_GROUP;
}

int digest_keep_early(struct digest_in *in, unsigned int b, const uint64_t *digest,
		      const uint64_t *received, struct drover_error *e)
{
	uint64_t npages = drover_pages(in->ram->block[b].size);
	struct group_walk w = { .digest = digest, .npages = npages };

	if (!in->early)
		in->early = calloc(in->ram->n, sizeof(*in->early));
	if (!in->early)
		return drover_err(e, -ENOMEM, "DIGEST: out of memory");
	w.group = in->early[b].group = calloc(groups(npages), sizeof(*w.group));
	in->early[b].page = drover_bitmap_new(npages);
	if (!w.group || !in->early[b].page)
		return drover_err(e, -ENOMEM, "DIGEST: out of memory");
	memcpy(in->early[b].page, received, drover_bitmap_bytes(npages));
	drover_parallel(groups(npages), GROUP_STEP, group_step, &w);
	return 0;
}

static uint64_t pages_of(const struct digest_in *in, unsigned int block)
{
	return drover_pages(in->ram->block[in->block[block].ours].size);
}

static void skip_unsent(struct digest_in *in)
{
	while (in->at < in->nblocks && in->block[in->at].skip)
		in->at++;
}

/* In DIGEST_ALL nothing may be left out: the next item is always the next of the block. */
static int check_order(struct digest_in *in, const struct drover_msg_digest *m,
		       struct drover_error *e)
{
	uint64_t total;

	if (m->block >= in->nblocks || in->block[m->block].skip)
		return drover_err(e, -EBADMSG, "DIGEST: of block %u", m->block);
	total = m->level ? groups(pages_of(in, m->block)) : pages_of(in, m->block);
	if (m->first > total || m->n > total - m->first)
		return drover_err(e, -EBADMSG, "DIGEST: %llu+%u of %llu",
				  (unsigned long long)m->first, m->n, (unsigned long long)total);
	if (in->step == DIGEST_SOME)
		return m->level ? drover_err(e, -EBADMSG, "DIGEST: groups a second time") : 0;
	/* A source's new droverd may know only the digests of what it has sent itself. */
	if (in->owned && !m->level) {
		in->partial = true;
		return 0;
	}
	if (m->level != (in->one_way ? 0 : 1))
		return drover_err(e, -EBADMSG, "DIGEST: level %u", m->level);
	skip_unsent(in);
	if (m->block != in->at || m->first != in->next)
		return drover_err(e, -EBADMSG, "DIGEST: block %u from %llu, expected block %u from %llu",
				  m->block, (unsigned long long)m->first, in->at,
				  (unsigned long long)in->next);
	in->next += m->n;
	if (in->next == total) {
		in->at++;
		in->next = 0;
	}
	return 0;
}

static void note_difference(struct digest_in *in, uint32_t block, uint64_t index)
{
	in->diff->total++;
	if (in->diff->n == DROVER_DIGEST_ACK_MAX)
		return;
	in->diff->item[in->diff->n].block = block;
	in->diff->item[in->diff->n++].index = index;
}

int digest_compare(struct digest_in *in, const struct drover_msg_digest *m,
		   const uint64_t *mine, struct drover_error *e)
{
	const struct digest_early *early = NULL;
	_cleanup_free_ uint64_t *group = NULL;
	const uint64_t *have = NULL;
	uint32_t i;
	int r = check_order(in, m, e);

	if (r < 0)
		return r;
	if (in->early && !in->owned)
		early = &in->early[in->block[m->block].ours];
	if (m->level && early) {
		have = early->group + m->first;
	} else if (m->level) {
		struct group_walk w = {
			.digest = mine, .npages = pages_of(in, m->block), .first = m->first,
		};

		have = w.group = group = calloc(m->n, sizeof(*group));
		if (!group)
			return drover_err(e, -ENOMEM, "DIGEST: out of memory");
		drover_parallel(m->n, GROUP_STEP, group_step, &w);
	}
	for (i = 0; i < m->n; i++) {
		uint64_t page = m->first + i, d;

		if (have)
			d = have[i];
		else
			d = early && !drover_bit_test(early->page, page) ? 0 : mine[page];
		if (d != drover_msg_digest_at(m, i))
			note_difference(in, m->block, page);
	}
	return 0;
}

/* Are the differences that were found pages, and not groups? */
static bool by_page(const struct digest_in *in)
{
	return in->one_way || in->step == DIGEST_SOME || in->partial;
}

int digest_end(struct digest_in *in, bool nothing, struct drover_error *e)
{
	/* All that this source could compare was sent by another droverd, which has freed it. */
	if (nothing && !in->at && !in->next)
		in->partial = true;
	skip_unsent(in);
	if (in->step == DIGEST_ALL && !in->partial && in->at != in->nblocks)
		return drover_err(e, -EBADMSG, "DIGEST: it ends before block %u", in->at);
	in->diff->status = in->diff->total ? 1 : 0;
	in->diff->level = by_page(in) ? 0 : 1;
	return 0;
}

int digest_verdict(struct digest_in *in, enum digest_verdict *ret, struct drover_error *e)
{
	if (!in->diff->total && in->step == DIGEST_SOME)
		return drover_err(e, -EBADMSG, "DIGEST: groups differ, their pages do not");
	*ret = !in->diff->total ? DIGEST_EQUAL : by_page(in) ? DIGEST_DIFFER : DIGEST_NAME_PAGES;
	if (*ret == DIGEST_NAME_PAGES) {
		in->step = DIGEST_SOME;
		memset(in->diff, 0, sizeof(*in->diff));
	} else if (*ret == DIGEST_EQUAL || in->owned) {
		in->step = DIGEST_DONE;
	}
	return 0;
}

/* ---- the session ---- */

static int differ(struct session *x, struct drover_error *e)
{
	const struct drover_msg_digest_ack *diff = x->digest.diff;
	const char *name = "?";
	uint64_t page = 0;
	uint32_t i;

	for (i = 0; i < diff->n; i++) {
		name = x->m->ram->block[x->block[diff->item[i].block].ours].name;
		page = diff->item[i].index;
		drover_name_page(x->m, name, page);
	}
	DROVER_INFO(x->m, digest, "differ: %s:%llu", name, (unsigned long long)page);
	return drover_err(e, -EUCLEAN, "digests differ on %llu pages, %s:%llu among them",
			  (unsigned long long)diff->total, name, (unsigned long long)page);
}

static int conclude(struct session *x, struct drover_error *e)
{
	enum digest_verdict verdict;
	int r = digest_verdict(&x->digest, &verdict, e);

	if (r < 0 || verdict == DIGEST_NAME_PAGES)
		return r;
	if (verdict == DIGEST_EQUAL)
		DROVER_INFO(x->m, digest, "equal%s", x->digest.partial ?
			    "; what another droverd has freed is not compared" : "");
	else
		r = differ(x, e);
	if (!x->digest.owned)
		return r < 0 ? r : drover_link_move(x->main, DROVER_PHASE_READY, e);
	/* The guest runs here already, so a difference is told and nothing else. */
	if (r < 0)
		drover_fail(x->m, e);
	drover_err_clear(e);
	pending_proved(&x->pc->pending);
	return drover_link_move(x->main, DROVER_PHASE_PROVED, e);
}

int session_digest(struct session *x, size_t len, struct drover_error *e)
{
	struct drover_msg_digest m;
	int r = drover_body_digest(x->main, len, &m, e);

	if (r < 0)
		return r;
	if (!x->verify || state_step(&x->state) < STATE_WHOLE || x->digest.step == DIGEST_DONE ||
	    (fate_committed(&x->fate) && !(x->pc && pending_step(&x->pc->pending) >= PENDING_HERE)))
		return drover_err(e, -EBADMSG, "DIGEST: not now");
	if (m.n && m.block < x->nblocks)
		r = digest_compare(&x->digest, &m, session_digests(x, x->block[m.block].ours), e);
	else if (m.n)
		r = drover_err(e, -EBADMSG, "DIGEST: of block %u", m.block);
	if (r < 0 || !(m.flags & DROVER_DIGEST_LAST))
		return r;
	r = digest_end(&x->digest, x->digest.owned && x->m->config->release_ram, e);
	/* First the VMM: a source that has read the answer may hand the guest over. */
	if (r >= 0 && !x->digest.owned && x->digest.step != DIGEST_SOME && !x->digest.diff->total)
		r = session_proved(x, e);
	if (r >= 0 && !x->one_way)
		r = drover_send_digest_ack(x->main, x->digest.diff, e);
	return r < 0 ? r : conclude(x, e);
}
