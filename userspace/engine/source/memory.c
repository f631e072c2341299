// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The guest's RAM as the source sees it. Bitmaps and digests have one entry a page and are
 * never resized. The source's thread allocates, harvests and frees while no other thread of
 * the source runs; what threads share is said at struct source_block.
 */
#include "engine/source/memory.h"

#include <errno.h>
#include <stdlib.h>

#include "base/bitmap.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/log.h"
#include "base/page-digest.h"
#include "guest/ops.h"
#include "ram/datamap.h"
#include "track/track.h"

static int block_init(struct source_block *b, bool digests, struct drover_error *e)
{
	b->dirty = drover_bitmap_new(b->npages);
	if (digests && !b->skip)
		b->digest = calloc(b->npages, sizeof(*b->digest));
	if (!b->dirty || (digests && !b->skip && !b->digest))
		return drover_err(e, -ENOMEM, "block %s: bitmaps and digests: out of memory",
				  b->ram->name);
	return 0;
}

int memory_init(struct source_memory *mem, const struct drover_ram *ram, bool ignore_shared,
		bool digests, struct drover_error *e)
{
	unsigned int i;
	int r = 0;

	mem->n = ram->n;
	for (i = 0; i < ram->n && r >= 0; i++) {
		struct source_block *b = &mem->block[i];

		b->ram = &ram->block[i];
		b->npages = drover_pages(ram->block[i].size);
		b->index = i;
		b->skip = ignore_shared && (ram->block[i].flags & DROVER_RAM_SHARED_DEST);
		r = block_init(b, digests, e);
	}
	return r;
}

void memory_deinit(struct source_memory *mem)
{
	unsigned int i;

	mem->tracker = drover_tracker_free(mem->tracker);
	free(mem->track_source);
	mem->track_source = NULL;
	for (i = 0; i < mem->n; i++) {
		struct source_block *b = &mem->block[i];

		free(b->dirty);
		free(b->digest);
		free(b->group);
		free(b->fresh);
		free(b->data_map);
		free(b->known);
	}
	mem->n = 0;
}

struct source_block *memory_next(struct source_memory *mem, struct source_block *b)
{
	unsigned int i = b ? b->index + 1 : 0;

	while (i < mem->n && mem->block[i].skip)
		i++;
	return i < mem->n ? &mem->block[i] : NULL;
}

struct source_block *memory_block(struct source_memory *mem, uint32_t index)
{
	return index < mem->n && !mem->block[index].skip ? &mem->block[index] : NULL;
}

int memory_track(struct source_memory *mem, struct drover_guest *g, const struct track_opts *o,
		 struct drover_error *e)
{
	int r;

	mem->track_source = calloc(1, sizeof(*mem->track_source));
	if (!mem->track_source)
		return drover_err(e, -ENOMEM, "tracker: out of memory");
	r = g->ops->track_source(g, mem->track_source, e);
	mem->track_source->blind_devices = o->blind_devices;
	if (r >= 0)
		r = drover_tracker_select(mem->track_source, o->tracker, o->log, &mem->tracker, e);
	return r < 0 ? r : drover_tracker_start(mem->tracker, e);
}

void memory_untrack(struct source_memory *mem)
{
	if (mem->tracker)
		drover_tracker_stop(mem->tracker);
}

const uint64_t *memory_data(const struct source_memory *mem, const struct source_block *b)
{
	return b->data_map ? b->data_map : drover_tracker_data(mem->tracker, b->index);
}

/* No tracker sees DMA: only a pinned page's content tells. With verify=none nothing does. */
static uint64_t compare_pinned(struct source_memory *mem, struct source_block *b,
			       const struct drover_log *log)
{
	const uint64_t *pinned = drover_tracker_pinned(mem->tracker, b->index);
	uint64_t total = 0, page = 0;

	for (; pinned; page++) {
		page = drover_bitmap_next(pinned, b->npages, page, true);
		if (page == b->npages)
			break;
		total++;
		if (b->digest &&
		    b->digest[page] != drover_page_digest(b->ram->host + drover_page_off(page)))
			drover_bit_set(b->dirty, page);
		drover_debug(log, "pinned, a device may write it: %s:%llu", b->ram->name,
			     (unsigned long long)page);
	}
	return total;
}

int memory_harvest(struct source_memory *mem, bool final, const struct drover_log *log,
		   uint64_t *ret_pinned, struct drover_error *e)
{
	uint64_t *map[DROVER_RAM_BLOCKS_MAX], pinned = 0;
	struct source_block *b;
	unsigned int i;
	int r;

	for (i = 0; i < mem->n; i++)
		map[i] = mem->block[i].dirty;
	r = drover_tracker_harvest(mem->tracker, map, final, e);
	if (r < 0 || !final)
		return r;
	MEMORY_EACH(mem, b)
		pinned += compare_pinned(mem, b, log);
	*ret_pinned = pinned;
	return 0;
}

uint64_t memory_bytes(struct source_memory *mem)
{
	struct source_block *b;
	uint64_t sum = 0;

	MEMORY_EACH(mem, b)
		sum += b->ram->size;
	return sum;
}

uint64_t memory_dirty(struct source_memory *mem)
{
	struct source_block *b;
	uint64_t sum = 0;

	MEMORY_EACH(mem, b)
		sum += drover_bitmap_count(b->dirty, b->npages);
	return sum;
}

void memory_forget(struct source_memory *mem)
{
	struct source_block *b;

	MEMORY_EACH(mem, b)
		drover_bitmap_set_range(b->dirty, 0, b->npages);
}

void memory_arrived(struct source_block *b, uint64_t page, uint64_t npages)
{
	drover_bitmap_clear_range(b->dirty, page, npages);
}

/* The data map comes last: a block that has one is complete, and is not looked at again. */
static int adopt_block(struct source_block *b, bool digests, bool freed, struct drover_error *e)
{
	_cleanup_free_ uint64_t *data = NULL;
	int r;

	if (b->data_map)
		return 0;
	data = drover_bitmap_new(b->npages);
	if (digests && !b->digest)
		b->digest = calloc(b->npages, sizeof(*b->digest));
	if (freed && !b->known)
		b->known = drover_bitmap_new(b->npages);
	if (!data || (digests && !b->digest) || (freed && !b->known))
		return drover_err(e, -ENOMEM, "resume: block %s: bitmaps and digests: out of memory",
				  b->ram->name);
	r = drover_datamap_read(b->ram, data, e);
	if (r < 0)
		return r;
	if (freed)
		drover_bitmap_or(b->known, b->dirty, b->npages);
	b->data_map = TAKE_PTR(data);
	return 0;
}

int memory_adopt(struct source_memory *mem, bool digests, bool freed, struct drover_error *e)
{
	struct source_block *b;
	int r = 0;

	for (b = memory_next(mem, NULL); b && r >= 0; b = memory_next(mem, b))
		r = adopt_block(b, digests, freed, e);
	return r;
}

bool memory_partial(const struct source_memory *mem)
{
	unsigned int i;

	for (i = 0; i < mem->n; i++)
		if (mem->block[i].known)
			return true;
	return false;
}
