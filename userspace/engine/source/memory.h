/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_SOURCE_MEMORY_H
#define DROVER_ENGINE_SOURCE_MEMORY_H

/*
 * The guest's RAM as the source sees it, block by block: what must still be sent, what was
 * sent last, where data is. And the tracker that tells what the guest has written.
 */
#include <stdbool.h>
#include <stdint.h>

#include "ram/ram.h"

struct drover_error;
struct drover_guest;
struct drover_log;
struct drover_tracker;
struct drover_track_source;

/**
 * struct source_block - one RAM block; memory.c allocates and frees all of it
 * @ram, @npages, @index: the block itself, and its number, on the wire too. They never change,
 *	so any file may look at them
 * @skip: the block is never sent, since the destination maps the same file (x-ignore-shared)
 * @dirty: pages that must still be sent. memory.c sets bits (harvest, RECOVER); ranges.c takes
 *	the first ones over from the tracker; work.c clears them, and whoever clears a bit sends
 *	the page. digest.c and audit.c only look. It is what the source is about, so five
 *	files touch it
 * @digest: of each page, what was sent last; 0: zero, or not sent yet; NULL with verify=none.
 *	encode.c writes it; digest.c for pages that postcopy leaves, or that another droverd
 *	sent; audit.c and, for pinned pages, memory.c compare it
 * @group: one for each group of pages, for DIGEST; digest.c
 * @fresh: one for each group: @group is of the pages as they were sent; digest.c
 * @data_map: set when another droverd began the migration, since there is no tracker then:
 *	pages that hold data
 * @known: then, with release-ram: pages that this droverd sends, and so can prove
 */
struct source_block {
	const struct drover_ram_block *ram;
	uint64_t npages;
	unsigned int index;
	bool skip;
	uint64_t *dirty;
	uint64_t *digest;
	uint64_t *group;
	bool *fresh;
	uint64_t *data_map;
	uint64_t *known;
};

/**
 * struct source_memory - all blocks; written by memory.c alone
 * @track_source: outlives @tracker
 * @tracker: NULL before tracking, and when another droverd began the migration
 */
struct source_memory {
	unsigned int n;
	struct source_block block[DROVER_RAM_BLOCKS_MAX];
	struct drover_track_source *track_source;
	struct drover_tracker *tracker;
};

/**
 * memory_init() - bitmaps, and digests if they are wanted
 * @ignore_shared: blocks that the destination maps, too, are skipped
 *
 * memory_deinit() accepts what a failed call leaves.
 */
int memory_init(struct source_memory *mem, const struct drover_ram *ram, bool ignore_shared,
		bool digests, struct drover_error *e);
void memory_deinit(struct source_memory *mem);

/* The next block that is sent; @b NULL: the first. NULL: there is none. */
struct source_block *memory_next(struct source_memory *mem, struct source_block *b);
#define MEMORY_EACH(mem, b) \
	for ((b) = memory_next((mem), NULL); (b); (b) = memory_next((mem), (b)))
/* A block that the peer names; NULL: there is none, or it is never sent. */
struct source_block *memory_block(struct source_memory *mem, uint32_t index);

/**
 * struct track_opts - how the guest's writes are tracked
 * @tracker: value of the option `tracker`
 * @blind_devices: unsafe-device-writes=allow: device writes that nothing sees are accepted
 * @log: for debug messages
 */
struct track_opts {
	const char *tracker;
	bool blind_devices;
	const struct drover_log *log;
};

/* Arm the tracker. From its return on, every write of the guest is seen. */
int memory_track(struct source_memory *mem, struct drover_guest *g, const struct track_opts *o,
		 struct drover_error *e);
void memory_untrack(struct source_memory *mem);
/* Pages that may hold data; the others read as zero and must not be touched. */
const uint64_t *memory_data(const struct source_memory *mem, const struct source_block *b);

/**
 * memory_harvest() - what has been written since the last harvest is dirty from here on
 * @final: the guest is stopped: pinned pages, which no tracker sees, are compared with what
 *	was sent last, and are dirty when they differ
 * @ret_pinned: with @final: how many pages are pinned
 */
int memory_harvest(struct source_memory *mem, bool final, const struct drover_log *log,
		   uint64_t *ret_pinned, struct drover_error *e);
/* Bytes of all blocks that are sent. */
uint64_t memory_bytes(struct source_memory *mem);
/* Pages that must still be sent. */
uint64_t memory_dirty(struct source_memory *mem);

/* A postcopy goes on: everything is dirty, but for what the destination says it has. */
void memory_forget(struct source_memory *mem);
void memory_arrived(struct source_block *b, uint64_t page, uint64_t npages);
/**
 * memory_adopt() - another droverd has begun the migration: read from the RAM what it knew
 * @freed: that droverd may have freed what it had sent (release-ram)
 *
 * Again after each attempt; what is there already stays.
 */
int memory_adopt(struct source_memory *mem, bool digests, bool freed, struct drover_error *e);
/* Some pages can't be proven, since another droverd may have freed them. */
bool memory_partial(const struct source_memory *mem);

#endif
