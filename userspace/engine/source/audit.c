// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The proof that no write was missed. The guest is stopped here, so its RAM must still hold
 * what was sent last. A page whose digest has changed was written by somebody whom no
 * tracker saw. With verify=audit this runs after COMMIT, on droverd's own mapping, which
 * outlives the VMM; with verify=full it runs before COMMIT.
 */
#include "engine/source/audit.h"

#include <errno.h>

#include "base/bitmap.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/page-digest.h"
#include "engine/source/source.h"
#include "ram/datamap.h"

#define AUDIT_BATCH 4096u

static uint64_t rehash_batch(struct drover_source *s, const struct source_block *b,
			     const uint64_t *data, uint64_t first, uint64_t n)
{
	uint64_t page, bad = 0;

	for (page = first; page < first + n; page++) {
		if (drover_bit_test(b->dirty, page))
			continue;       /* postcopy: not sent yet */
		bool has = drover_bit_test(data, page);
		uint64_t now = has ? drover_page_digest(b->ram->host + drover_page_off(page)) : 0;

		if (now == b->digest[page])
			continue;
		bad++;
		drover_late_writer(s->m, b->ram->name, page);
	}
	return bad;
}

static int rehash_block(struct drover_source *s, const struct source_block *b, uint64_t *total,
			uint64_t *bad, struct drover_error *e)
{
	_cleanup_free_ uint64_t *data = drover_bitmap_new(b->npages);
	uint64_t at, n;
	int r;

	if (!data)
		return drover_err(e, -ENOMEM, "audit: out of memory");
	/* Holes are read from the file, so that a page punched or written late shows too. */
	r = drover_datamap_read(b->ram, data, e);
	if (r < 0)
		return r;
	for (at = 0; at < b->npages; at += n) {
		n = b->npages - at < AUDIT_BATCH ? b->npages - at : AUDIT_BATCH;
		if (drover_cancelled(&s->m->cancel))
			return drover_err(e, -ECANCELED, "audit: unfinished: %llu pages re-hashed",
					  (unsigned long long)*total);
		*bad += rehash_batch(s, b, data, at, n);
		*total += n;
		DROVER_STAT(s->m, audited_pages, *total);
		DROVER_STAT(s->m, audit_differences, *bad);
	}
	return 0;
}

void source_name_late(struct drover_source *s)
{
	struct source_block *b;

	MEMORY_EACH(&s->mem, b) {
		uint64_t at = 0, page = 0, n, named = 0;

		while (named < DROVER_PAGE_NAMES_MAX &&
		       (n = drover_bitmap_next_run(b->dirty, b->npages, at, &page))) {
			drover_late_writer(s->m, b->ram->name, page);
			at = page + n;
			named++;
		}
	}
}

int source_rehash(struct drover_source *s, uint64_t *ret_bad, struct drover_error *e)
{
	uint64_t total = 0, bad = 0;
	struct source_block *b;
	int r;

	MEMORY_EACH(&s->mem, b) {
		r = rehash_block(s, b, &total, &bad, e);
		if (r < 0)
			return r;
	}
	*ret_bad = bad;
	return 0;
}
