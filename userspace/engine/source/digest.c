// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * DIGEST and its answer on the source. Two-way: digests of groups of 512 pages; where
 * groups differ, both sides go down to pages, so that an error names them. One-way: all
 * page digests travel, since nobody can ask.
 *
 * Groups are digested while the guest still runs, and again only where pages were sent
 * since, so that the downtime of an idle guest holds the peer's part only.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bitmap.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/page-digest.h"
#include "base/parallel.h"
#include "channel/channel.h"
#include "engine/source/source.h"

/* Groups that a thread digests at a time: some 100 us. */
#define GROUP_STEP 512u
/* So many tell how long one takes. */
#define GROUPS_TELL 16u

static int send_digests(struct drover_source *s, unsigned int block, uint16_t level,
			uint64_t first, const uint64_t *d, uint32_t n, bool last,
			struct drover_error *e)
{
	struct drover_msg_digest m = {
		.block = block,
		.level = level,
		.flags = last ? DROVER_DIGEST_LAST : 0,
		.first = first,
		.n = n,
		.raw = d,
	};
	_cleanup_free_ uint8_t *body = malloc(65536);
	int len, r;

	if (!body)
		return drover_err(e, -ENOMEM, "DIGEST: out of memory");
	len = drover_digest_encode(&m, body, 65536);
	if (len < 0)
		return drover_err(e, len, "DIGEST: %s", drover_strerror(len));
	r = drover_link_send(s->main, DROVER_MSG_DIGEST, body, (size_t)len, NULL, 0, 0, e);
	return r;
}

static uint64_t groups_of(uint64_t npages)
{
	return (npages + DROVER_DIGEST_GROUP - 1) / DROVER_DIGEST_GROUP;
}

/* Memory for all digests: switching to postcopy writes those of what was not sent. */
static void touch(volatile uint64_t *digest, uint64_t n)
{
	uint64_t i;

	for (i = 0; i < n; i += DROVER_PAGE_SIZE / sizeof(*digest))
		digest[i] = 0;
}

int source_digest_init(struct drover_source *s, struct drover_error *e)
{
	unsigned int i;

	for (i = 0; i < s->m->ram->n; i++) {
		uint64_t npages = drover_pages(s->m->ram->block[i].size), n = groups_of(npages);

		if (s->one_way || !s->mem.block[i].digest || s->mem.block[i].group)
			continue;
		if (s->m->config->postcopy_ram)
			touch(s->mem.block[i].digest, npages);
		s->mem.block[i].group = calloc(n, sizeof(*s->mem.block[i].group));
		s->mem.block[i].fresh = calloc(n, sizeof(*s->mem.block[i].fresh));
		if (!s->mem.block[i].group || !s->mem.block[i].fresh)
			return drover_err(e, -ENOMEM, "migration: digests: out of memory");
	}
	return 0;
}

uint64_t source_digest_stale(struct drover_source *s)
{
	uint64_t stale = 0;
	unsigned int i;

	for (i = 0; i < s->m->ram->n; i++) {
		uint64_t npages = drover_pages(s->m->ram->block[i].size), at = 0, page = 0, n;

		if (!s->mem.block[i].fresh)
			continue;
		while ((n = drover_bitmap_next_run(s->mem.block[i].dirty, npages, at, &page))) {
			uint64_t first = page / DROVER_DIGEST_GROUP;
			uint64_t end = groups_of(page + n);

			memset(&s->mem.block[i].fresh[first], false, end - first);
			stale += end - first;
			at = end * DROVER_DIGEST_GROUP;
		}
	}
	return stale;
}

struct group_walk {
	struct drover_source *s;
	unsigned int block;
	bool all;               /* no page is dirty any more */
	_Atomic uint64_t done;
};

static int group_step(void *arg, uint64_t g, uint64_t end)
{
	struct group_walk *w = arg;
	struct drover_source *s = w->s;
	uint64_t npages = drover_pages(s->m->ram->block[w->block].size), done = 0;

	for (; g < end; g++) {
		uint64_t p = g * DROVER_DIGEST_GROUP, dirty;
		uint64_t len = npages - p < DROVER_DIGEST_GROUP ? npages - p : DROVER_DIGEST_GROUP;

		if (s->mem.block[w->block].fresh[g] ||
		    (!w->all && drover_bitmap_next_run(s->mem.block[w->block].dirty, p + len, p, &dirty)))
			continue;
		s->mem.block[w->block].group[g] = drover_digest_group(&s->mem.block[w->block].digest[p], len);
		s->mem.block[w->block].fresh[g] = true;
		done++;
	}
	atomic_fetch_add(&w->done, done);
	return 0;
}

static void make_groups(struct drover_source *s, unsigned int block, bool all)
{
	uint64_t n = groups_of(drover_pages(s->m->ram->block[block].size)), t = drover_now_ns();
	struct group_walk w = { .s = s, .block = block, .all = all };

	drover_parallel(n, GROUP_STEP, group_step, &w);
	/* A few say more about starting threads than about groups; one piece starts none. */
	if (w.done >= (n <= GROUP_STEP ? GROUPS_TELL : 2 * GROUP_STEP))
		s->group_ns = (drover_now_ns() - t) / w.done;
}

void source_digest_ahead(struct drover_source *s)
{
	unsigned int i;

	for (i = 0; i < s->m->ram->n; i++)
		if (s->mem.block[i].fresh)
			make_groups(s, i, false);
}

void source_digest_now(struct drover_source *s)
{
	unsigned int i;

	for (i = 0; i < s->m->ram->n; i++)
		if (s->mem.block[i].fresh)
			make_groups(s, i, true);
}

static int digest_block(struct drover_source *s, unsigned int i, uint16_t level,
			struct drover_error *e)
{
	uint64_t npages = drover_pages(s->m->ram->block[i].size), at = 0;
	uint64_t total = level ? groups_of(npages) : npages;
	const uint64_t *d = level ? s->mem.block[i].group : s->mem.block[i].digest;
	int r = 0;

	if (level)
		make_groups(s, i, true);
	while (at < total && r >= 0) {
		uint32_t n = total - at < DROVER_DIGEST_MAX ? (uint32_t)(total - at) :
			     DROVER_DIGEST_MAX;

		r = send_digests(s, i, level, at, &d[at], n, false, e);
		at += n;
	}
	return r;
}

int source_digest(struct drover_source *s, struct drover_error *e)
{
	unsigned int i;
	int r;

	if (s->m->config->verify == DROVER_VERIFY_NONE)
		return 0;
	for (i = 0; i < s->m->ram->n; i++) {
		if (s->mem.block[i].skip)
			continue;
		r = digest_block(s, i, s->one_way ? 0 : 1, e);
		if (r < 0)
			return r;
	}
	return send_digests(s, 0, 0, 0, NULL, 0, true, e);
}

int source_digest_known(struct drover_source *s, struct drover_error *e)
{
	unsigned int i;
	int r = 0;

	for (i = 0; i < s->m->ram->n; i++) {
		uint64_t npages = drover_pages(s->m->ram->block[i].size), at = 0, page = 0, n;

		while (r >= 0 && s->mem.block[i].known &&
		       (n = drover_bitmap_next_run(s->mem.block[i].known, npages, at, &page))) {
			if (n > DROVER_DIGEST_MAX)
				n = DROVER_DIGEST_MAX;
			r = send_digests(s, i, 0, page, &s->mem.block[i].digest[page], (uint32_t)n, false, e);
			at = page + n;
		}
	}
	return r < 0 ? r : send_digests(s, 0, 0, 0, NULL, 0, true, e);
}

/* Page digests of the groups that differ; the answer names the pages. */
static int go_down(struct drover_source *s, const struct drover_msg_digest_ack *a,
		   struct drover_error *e)
{
	uint32_t i;
	int r;

	for (i = 0; i < a->n; i++) {
		unsigned int b = a->item[i].block;
		uint64_t npages, p = a->item[i].index * DROVER_DIGEST_GROUP;

		if (b >= s->m->ram->n || s->mem.block[b].skip)
			return drover_err(e, -EBADMSG, "DIGEST_ACK: it names block %u", b);
		npages = drover_pages(s->m->ram->block[b].size);
		if (a->item[i].index >= groups_of(npages))
			return drover_err(e, -EBADMSG, "DIGEST_ACK: it names group %llu",
					  (unsigned long long)a->item[i].index);
		r = send_digests(s, b, 0, p, &s->mem.block[b].digest[p],
				 npages - p < DROVER_DIGEST_GROUP ? (uint32_t)(npages - p) :
				 DROVER_DIGEST_GROUP, false, e);
		if (r < 0)
			return r;
	}
	return send_digests(s, 0, 0, 0, NULL, 0, true, e);
}

static int read_ack(struct drover_source *s, struct drover_msg_digest_ack *a,
		    struct drover_error *e)
{
	size_t len;
	int r;

	r = source_wait(s, DROVER_MSG_DIGEST_ACK, &len, e);
	if (r < 0)
		return r;
	r = drover_digest_ack_decode(s->main->body, len, a, e);
	if (r < 0)
		drover_link_bad(s->main, e);
	return r;
}

static int name_pages(struct drover_source *s, const struct drover_msg_digest_ack *a,
		      struct drover_error *e)
{
	char text[160] = "";
	size_t used = 0;
	uint32_t i;

	for (i = 0; i < a->n; i++) {
		if (a->item[i].block >= s->m->ram->n)
			continue;
		drover_name_page(s->m, s->m->ram->block[a->item[i].block].name, a->item[i].index);
		if (used < sizeof(text) - 96)
			used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s:%llu",
						 used ? ", " : "",
						 s->m->ram->block[a->item[i].block].name,
						 (unsigned long long)a->item[i].index);
	}
	DROVER_INFO(s->m, digest, "differ: %s", text);
	return drover_err(e, -EUCLEAN, "digests differ on %llu pages: %s",
			  (unsigned long long)a->total, text);
}

int source_digest_ack(struct drover_source *s, struct drover_error *e)
{
	_cleanup_free_ struct drover_msg_digest_ack *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return drover_err(e, -ENOMEM, "DIGEST_ACK: out of memory");
	if (s->m->config->verify == DROVER_VERIFY_NONE) {
		DROVER_INFO(s->m, digest, "none");
		return 0;
	}
	r = read_ack(s, a, e);
	if (r < 0)
		return r;
	if (a->status && a->level) {
		r = go_down(s, a, e);
		if (r >= 0)
			r = read_ack(s, a, e);
		if (r < 0)
			return r;
	}
	if (a->status)
		return name_pages(s, a, e);
	DROVER_INFO(s->m, digest, "equal%s",
			 memory_partial(&s->mem) ? "; what another droverd has freed is not compared" : "");
	return 0;
}
