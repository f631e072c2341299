/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_PLACE_AHEAD_H
#define DROVER_PLACE_AHEAD_H

#include <stdbool.h>
#include <stdint.h>

struct drover_cancel;
struct drover_error;
struct drover_ram;

/*
 * Memory for pages that are about to be received, allocated by threads of its own while the
 * caller goes on: the first touch of a page costs more than its transfer. Best effort: what
 * is not populated in time, or fails to be, is populated by the receive itself.
 */
struct drover_ahead;

/**
 * struct drover_ahead_block - a mapping
 * @host: page-aligned
 * @map: one bit a page; others may set bits meanwhile, atomically. Outlives the handle
 * @npages: 0: nothing is populated here
 */
struct drover_ahead_block {
	uint8_t *host;
	const uint64_t *map;
	uint64_t npages;
};

/**
 * struct drover_ahead_opts - how
 * @value: populate the pages whose bit in the map is so
 * @step: pages a thread takes at a time
 * @threads: at most DROVER_AHEAD_THREADS
 * @nice: of the threads; 0: as the caller's
 * @ram: the blocks are these, by number, and pages that there is no memory for are remembered
 *	(ram/bus.h); NULL: nobody is told. Outlives the handle
 * @cancel: the threads end when it rings; NULL: none. Outlives the handle
 */
struct drover_ahead_opts {
	bool value;
	uint64_t step;
	unsigned int threads;
	int nice;
	const struct drover_ram *ram;
	const struct drover_cancel *cancel;
};

#define DROVER_AHEAD_THREADS 4u

/* @block is copied. */
int drover_ahead_start(const struct drover_ahead_block *block, unsigned int n,
		       const struct drover_ahead_opts *o, struct drover_ahead **ret,
		       struct drover_error *e);
/* Waits for the threads, which end after at most one step more. NULL is fine. Returns NULL */
struct drover_ahead *drover_ahead_free(struct drover_ahead *a);

#endif
