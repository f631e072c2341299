// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * DIGEST and its answer on the source. Two-way, the source sends digests of groups of 512
 * pages; where groups differ, both sides go down to pages, so that an error names them.
 * One-way, the digests of all pages travel, since the destination can't ask.
 *
 * The source digests groups while the guest still runs, and again only where it has sent
 * pages since, so that the downtime of an idle guest holds the destination's part only.
 */
#include "engine/source/digest.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bitmap.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/page-digest.h"
#include "base/parallel.h"
#include "engine/source/source.h"
#include "peer/send.h"

/* Groups that a thread digests at a time: some 100 us. */
#define GROUP_STEP 512u
/* So many tell how long one takes. */
#define GROUPS_TELL 16u
/* Pages a thread hashes at a time. */
#define HASH_STEP 4096u
#define BODY_MAX 65536u

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
	struct source_block *b;

	if (source_one_way(s))
		return 0;
	MEMORY_EACH(&s->mem, b) {
		uint64_t n = groups_of(b->npages);

		if (!b->digest || (b->group && b->fresh))
			continue;
		if (s->m->config->postcopy_ram)
			touch(b->digest, b->npages);
		if (!b->group)
			b->group = calloc(n, sizeof(*b->group));
		if (!b->fresh)
			b->fresh = calloc(n, sizeof(*b->fresh));
		if (!b->group || !b->fresh)
			return drover_err(e, -ENOMEM, "migration: digests: out of memory");
	}
	return 0;
}

uint64_t digest_stale(struct source_memory *mem)
{
	struct source_block *b;
	uint64_t stale = 0;

	MEMORY_EACH(mem, b) {
		uint64_t at = 0, page = 0, n;

		while (b->fresh && (n = drover_bitmap_next_run(b->dirty, b->npages, at, &page))) {
			uint64_t first = page / DROVER_DIGEST_GROUP;
			uint64_t end = groups_of(page + n);

			memset(&b->fresh[first], false, end - first);
			stale += end - first;
			at = end * DROVER_DIGEST_GROUP;
		}
	}
	return stale;
}

void source_digest_stale(struct drover_source *s)
{
	s->digests.stale = digest_stale(&s->mem);
}

struct group_walk {
	struct source_block *b;
	bool all;               /* no page is dirty any more */
	_Atomic uint64_t done;
};

static int group_step(void *arg, uint64_t g, uint64_t end)
{
	struct group_walk *w = arg;
	struct source_block *b = w->b;
	uint64_t done = 0;

	for (; g < end; g++) {
		uint64_t p = g * DROVER_DIGEST_GROUP, dirty;
		uint64_t len = b->npages - p < DROVER_DIGEST_GROUP ? b->npages - p :
			       DROVER_DIGEST_GROUP;

		if (b->fresh[g] ||
		    (!w->all && drover_bitmap_next_run(b->dirty, p + len, p, &dirty)))
			continue;
		b->group[g] = drover_digest_group(&b->digest[p], len);
		b->fresh[g] = true;
		done++;
	}
	atomic_fetch_add(&w->done, done);
	return 0;
}

static void make_groups(struct drover_source *s, struct source_block *b, bool all)
{
	uint64_t n = groups_of(b->npages), t = drover_now_ns();
	struct group_walk w = { .b = b, .all = all };

	drover_parallel(n, GROUP_STEP, group_step, &w);
	/* A few say more about starting threads than about groups; one piece starts none. */
	if (w.done >= (n <= GROUP_STEP ? GROUPS_TELL : 2 * GROUP_STEP))
		s->digests.group_ns = (drover_now_ns() - t) / w.done;
}

static void make_all(struct drover_source *s, bool all)
{
	struct source_block *b;

	MEMORY_EACH(&s->mem, b)
		if (b->fresh)
			make_groups(s, b, all);
}

void source_digest_ahead(struct drover_source *s)
{
	make_all(s, false);
}

void source_digest_now(struct drover_source *s)
{
	make_all(s, true);
}

static void forget_block(struct source_block *b)
{
	uint64_t at = 0, start = 0, n;

	while (b->digest && (n = drover_bitmap_next_run(b->dirty, b->npages, at, &start))) {
		memset(&b->digest[start], 0, n * sizeof(*b->digest));
		at = start + n;
	}
}

void source_digest_forget(struct drover_source *s)
{
	struct source_block *b;

	MEMORY_EACH(&s->mem, b)
		forget_block(b);
}

struct hash_walk {
	struct source_block *b;
	const uint64_t *data;
};

static int hash_step(void *arg, uint64_t page, uint64_t end)
{
	struct hash_walk *w = arg;
	const uint8_t *host = w->b->ram->host;

	for (; page < end; page++)
		w->b->digest[page] = drover_bit_test(w->data, page) ?
			drover_page_digest(host + drover_page_off(page)) : 0;
	return 0;
}

void source_digest_renew(struct drover_source *s, bool rehash)
{
	struct source_block *b;

	MEMORY_EACH(&s->mem, b) {
		struct hash_walk w = { .b = b, .data = memory_data(&s->mem, b) };

		if (rehash)
			drover_parallel(b->npages, HASH_STEP, hash_step, &w);
		memset(b->fresh, 0, groups_of(b->npages));
	}
}

uint64_t source_digest_due_us(struct drover_source *s)
{
	return s->digests.stale * s->digests.group_ns / 1000;
}

uint64_t source_digest_all_us(struct drover_source *s)
{
	struct source_block *b;
	uint64_t groups = 0;

	MEMORY_EACH(&s->mem, b)
		if (b->fresh)
			groups += b->npages / DROVER_DIGEST_GROUP;
	return groups * s->digests.group_ns / 1000;
}

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
	_cleanup_free_ uint8_t *body = malloc(BODY_MAX);
	int len;

	if (!body)
		return drover_err(e, -ENOMEM, "DIGEST: out of memory");
	len = drover_digest_encode(&m, body, BODY_MAX);
	if (len < 0)
		return drover_err(e, len, "DIGEST: %s", drover_strerror(len));
	return drover_link_send(s->peer.main, DROVER_MSG_DIGEST, body, (size_t)len, NULL, 0, 0, e);
}

/* @n values from @first on, as many messages as it takes */
static int send_span(struct drover_source *s, const struct source_block *b, uint16_t level,
		     uint64_t first, uint64_t n, struct drover_error *e)
{
	const uint64_t *d = level ? b->group : b->digest;
	int r = 0;

	while (n && r >= 0) {
		uint32_t some = n < DROVER_DIGEST_MAX ? (uint32_t)n : DROVER_DIGEST_MAX;

		r = send_digests(s, b->index, level, first, &d[first], some, false, e);
		first += some;
		n -= some;
	}
	return r;
}

static int send_last(struct drover_source *s, struct drover_error *e)
{
	return send_digests(s, 0, 0, 0, NULL, 0, true, e);
}

/* What another droverd sent, and may have freed, can't be proven: only what we have sent. */
static int send_known(struct drover_source *s, struct source_block *b, struct drover_error *e)
{
	uint64_t at = 0, page = 0, n;
	int r = 0;

	while (r >= 0 && b->known &&
	       (n = drover_bitmap_next_run(b->known, b->npages, at, &page))) {
		r = send_span(s, b, 0, page, n, e);
		at = page + n;
	}
	return r;
}

static int send_block(struct drover_source *s, struct source_block *b, struct drover_error *e)
{
	if (source_one_way(s))
		return send_span(s, b, 0, 0, b->npages, e);
	make_groups(s, b, true);
	return send_span(s, b, 1, 0, groups_of(b->npages), e);
}

int source_digest_send(struct drover_source *s, struct drover_error *e)
{
	bool partial = memory_partial(&s->mem);
	struct source_block *b;
	int r;

	if (s->m->config->verify == DROVER_VERIFY_NONE)
		return 0;
	MEMORY_EACH(&s->mem, b) {
		r = partial ? send_known(s, b, e) : send_block(s, b, e);
		if (r < 0)
			return r;
	}
	return send_last(s, e);
}

/* Page digests of the groups that differ; the answer names the pages. */
static int go_down(struct drover_source *s, const struct drover_msg_digest_ack *a,
		   struct drover_error *e)
{
	uint32_t i;
	int r;

	for (i = 0; i < a->n; i++) {
		struct source_block *b = memory_block(&s->mem, a->item[i].block);
		uint64_t p = a->item[i].index * DROVER_DIGEST_GROUP;

		if (!b)
			return drover_err(e, -EBADMSG, "DIGEST_ACK: it names block %u",
					  a->item[i].block);
		if (a->item[i].index >= groups_of(b->npages))
			return drover_err(e, -EBADMSG, "DIGEST_ACK: it names group %llu",
					  (unsigned long long)a->item[i].index);
		r = send_span(s, b, 0, p, b->npages - p < DROVER_DIGEST_GROUP ? b->npages - p :
			      DROVER_DIGEST_GROUP, e);
		if (r < 0)
			return r;
	}
	return send_last(s, e);
}

static int read_ack(struct drover_source *s, struct drover_msg_digest_ack *a,
		    struct drover_error *e)
{
	size_t len;
	int r = source_wait(s, DROVER_MSG_DIGEST_ACK, &len, e);

	return r < 0 ? r : drover_body_digest_ack(s->peer.main, len, a, e);
}

static int name_pages(struct drover_source *s, const struct drover_msg_digest_ack *a,
		      struct drover_error *e)
{
	char text[160] = "";
	size_t used = 0;
	uint32_t i;

	for (i = 0; i < a->n; i++) {
		const char *name;

		if (a->item[i].block >= s->m->ram->n)
			continue;
		name = s->m->ram->block[a->item[i].block].name;
		drover_name_page(s->m, name, a->item[i].index);
		if (used < sizeof(text) - 96)
			used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s:%llu",
						 used ? ", " : "", name,
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
	DROVER_INFO(s->m, digest, "equal%s", memory_partial(&s->mem) ?
		    "; what another droverd has freed is not compared" : "");
	return 0;
}
