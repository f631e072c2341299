// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * DIGEST and its answer on the source. Two-way: digests of groups of 512 pages; where
 * groups differ, both sides go down to pages, so that an error names them. One-way: all
 * page digests travel, since nobody can ask.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "channel/channel.h"
#include "engine/source.h"

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

static int digest_block(struct drover_source *s, unsigned int i, uint16_t level,
			struct drover_error *e)
{
	uint64_t npages = drover_pages(s->m->ram->block[i].size), at = 0, k;
	uint64_t total = level ? (npages + DROVER_DIGEST_GROUP - 1) / DROVER_DIGEST_GROUP : npages;
	_cleanup_free_ uint64_t *buf = calloc(DROVER_DIGEST_MAX, sizeof(*buf));
	int r = 0;

	if (!buf)
		return drover_err(e, -ENOMEM, "DIGEST: out of memory");
	while (at < total && r >= 0) {
		uint32_t n = total - at < DROVER_DIGEST_MAX ? (uint32_t)(total - at) :
			     DROVER_DIGEST_MAX;

		for (k = 0; k < n; k++) {
			uint64_t p = level ? (at + k) * DROVER_DIGEST_GROUP : at + k;
			uint64_t len = npages - p < DROVER_DIGEST_GROUP ? npages - p :
				       DROVER_DIGEST_GROUP;

			buf[k] = level ? drover_digest_group(&s->digest[i][p], len) :
				 s->digest[i][p];
		}
		r = send_digests(s, i, level, at, buf, n, false, e);
		at += n;
	}
	return r;
}

int source_digest(struct drover_source *s, struct drover_error *e)
{
	unsigned int i;
	int r;

	if (s->m->config.verify == DROVER_VERIFY_NONE)
		return 0;
	for (i = 0; i < s->m->ram->n; i++) {
		if (s->skip[i])
			continue;
		r = digest_block(s, i, s->one_way ? 0 : 1, e);
		if (r < 0)
			return r;
	}
	return send_digests(s, 0, 0, 0, NULL, 0, true, e);
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

		if (b >= s->m->ram->n || s->skip[b])
			return drover_err(e, -EBADMSG, "DIGEST_ACK: it names block %u", b);
		npages = drover_pages(s->m->ram->block[b].size);
		if (a->item[i].index >= (npages + DROVER_DIGEST_GROUP - 1) / DROVER_DIGEST_GROUP)
			return drover_err(e, -EBADMSG, "DIGEST_ACK: it names group %llu",
					  (unsigned long long)a->item[i].index);
		r = send_digests(s, b, 0, p, &s->digest[b][p],
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
	drover_info_text(s->m, s->m->info.digest, sizeof(s->m->info.digest), "differ: %s", text);
	return drover_err(e, -EUCLEAN, "digests differ on %llu pages: %s",
			  (unsigned long long)a->total, text);
}

int source_digest_ack(struct drover_source *s, struct drover_error *e)
{
	_cleanup_free_ struct drover_msg_digest_ack *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return drover_err(e, -ENOMEM, "DIGEST_ACK: out of memory");
	if (s->m->config.verify == DROVER_VERIFY_NONE) {
		drover_info_text(s->m, s->m->info.digest, sizeof(s->m->info.digest), "none");
		return 0;
	}
	r = read_ack(s, a, e);
	if (r < 0)
		return r;
	if (a->status) {
		r = go_down(s, a, e);
		if (r >= 0)
			r = read_ack(s, a, e);
		return r < 0 ? r : name_pages(s, a, e);
	}
	drover_info_text(s->m, s->m->info.digest, sizeof(s->m->info.digest), "equal");
	return 0;
}
