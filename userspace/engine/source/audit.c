// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The proof that no write was missed: the source's RAM is frozen, so what it holds must
 * still be what was sent last. A page whose digest has changed was written by somebody
 * whom no tracker saw. With verify=audit this runs after COMMIT, on this side's own
 * mapping, which outlives the VMM; with verify=full before it.
 */
#include <errno.h>

#include "base/bitmap.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/page-digest.h"
#include "engine/source/source.h"
#include "ram/datamap.h"

#define AUDIT_BATCH 4096u

static uint64_t rehash_batch(struct drover_source *s, unsigned int i, const uint64_t *data,
			     uint64_t first, uint64_t n)
{
	const struct drover_ram_block *b = &s->m->ram->block[i];
	uint64_t page, bad = 0;

	for (page = first; page < first + n; page++) {
		if (drover_bit_test(s->dirty[i], page))
			continue;       /* postcopy: not sent yet */
		bool has = drover_bit_test(data, page);
		uint64_t now = has ? drover_page_digest(b->host + drover_page_off(page)) : 0;

		if (now == s->digest[i][page])
			continue;
		bad++;
		drover_late_writer(s->m, b->name, page);
	}
	return bad;
}

static int rehash_block(struct drover_source *s, unsigned int i, uint64_t *total, uint64_t *bad,
			struct drover_error *e)
{
	const struct drover_ram_block *b = &s->m->ram->block[i];
	uint64_t npages = drover_pages(b->size), at, n;
	_cleanup_free_ uint64_t *data = drover_bitmap_new(npages);
	int r;

	if (!data)
		return drover_err(e, -ENOMEM, "audit: out of memory");
	/* Holes are read from the file, so that a page punched or written late shows too. */
	r = drover_datamap_read(b, data, e);
	if (r < 0)
		return r;
	for (at = 0; at < npages; at += n) {
		n = npages - at < AUDIT_BATCH ? npages - at : AUDIT_BATCH;
		if (drover_cancelled(&s->m->cancel))
			return drover_err(e, -ECANCELED, "audit: unfinished: %llu pages re-hashed",
					  (unsigned long long)*total);
		*bad += rehash_batch(s, i, data, at, n);
		*total += n;
		DROVER_STAT(s->m, audited_pages, *total);
		DROVER_STAT(s->m, audit_differences, *bad);
	}
	return 0;
}

/* Nobody sees DMA: only a pinned page's content tells. Without digests nothing does. */
void source_pinned(struct drover_source *s)
{
	uint64_t total = 0;
	unsigned int i;

	for (i = 0; i < s->m->ram->n; i++) {
		const struct drover_ram_block *b = &s->m->ram->block[i];
		const uint64_t *pinned = drover_tracker_pinned(s->tracker, i);
		uint64_t npages = drover_pages(b->size), page = 0;

		for (; pinned && !s->skip[i]; page++) {
			page = drover_bitmap_next(pinned, npages, page, true);
			if (page == npages)
				break;
			total++;
			if (s->digest[i] && s->digest[i][page] !=
			    drover_page_digest(b->host + drover_page_off(page)))
				drover_bit_set(s->dirty[i], page);
			drover_debug(s->m->log, "pinned, a device may write it: %s:%llu", b->name,
				     (unsigned long long)page);
		}
	}
	DROVER_STAT(s->m, pinned_pages, total);
}

int source_rehash(struct drover_source *s, uint64_t *ret_bad, struct drover_error *e)
{
	uint64_t total = 0, bad = 0;
	unsigned int i;
	int r;

	for (i = 0; i < s->m->ram->n; i++) {
		if (s->skip[i])
			continue;
		r = rehash_block(s, i, &total, &bad, e);
		if (r < 0)
			return r;
	}
	*ret_bad = bad;
	return 0;
}
