/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_SOURCE_DIGEST_H
#define DROVER_ENGINE_SOURCE_DIGEST_H

#include <stdbool.h>
#include <stdint.h>

struct drover_error;
struct drover_source;
struct source_memory;

/**
 * struct digests - what digesting groups costs; written by digest.c alone
 * @group_ns: what one group took lately
 * @stale: groups that the last harvest has made stale
 */
struct digests {
	uint64_t group_ns;
	uint64_t stale;
};

/* Memory for the groups of all blocks that have digests; what is there already stays. */
int source_digest_init(struct drover_source *s, struct drover_error *e);
/* After a harvest: groups that hold a dirty page must be digested again; their number. */
uint64_t digest_stale(struct source_memory *mem);
void source_digest_stale(struct drover_source *s);
/* Groups that nothing will be sent of, done before the guest stops. */
void source_digest_ahead(struct drover_source *s);
/* All that are left: in postcopy before the first page is asked for. */
void source_digest_now(struct drover_source *s);
/* Dirty pages count as zero, on both sides, until they are sent. */
void source_digest_forget(struct drover_source *s);
/* No group is right any more. @rehash: nor is any page: all are hashed from the frozen RAM. */
void source_digest_renew(struct drover_source *s, bool rehash);
/* us for what is stale now, and for all groups of the guest */
uint64_t source_digest_due_us(struct drover_source *s);
uint64_t source_digest_all_us(struct drover_source *s);

/* DIGEST of all pages; with release-ram taken over from another droverd, of those we know. */
int source_digest_send(struct drover_source *s, struct drover_error *e);
/* DIGEST_ACK; -EUCLEAN: it names pages that differ */
int source_digest_ack(struct drover_source *s, struct drover_error *e);

#endif
