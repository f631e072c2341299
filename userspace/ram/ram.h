/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_RAM_RAM_H
#define DROVER_RAM_RAM_H

#include <stddef.h>
#include <stdint.h>

#include "base/units.h"

#define DROVER_RAM_NAME_MAX 63
#define DROVER_RAM_BLOCKS_MAX 256u

/* struct drover_ram_block flags */
#define DROVER_RAM_SHARED_DEST (1u << 0) /* source and destination can be given the same memory (x-ignore-shared) */

/**
 * struct drover_ram_block - one contiguous range of guest RAM
 * @name: stable on both sides, unique in a guest, [A-Za-z0-9._/-]+
 * @gpa: guest physical address; page aligned
 * @size: bytes, a multiple of the page size, > 0
 * @fd: memfd or shmem file, borrowed from the guest; valid while the guest link is open
 * @fd_off: where the block begins in @fd; page aligned
 * @flags: DROVER_RAM_*
 * @host: droverd's own MAP_SHARED mapping of the block, never NULL once the guest link is open
 */
struct drover_ram_block {
	char name[DROVER_RAM_NAME_MAX + 1];
	uint64_t gpa;
	uint64_t size;
	int fd;
	uint64_t fd_off;
	uint32_t flags;
	uint8_t *host;
};

/**
 * struct drover_ram - all of a guest's blocks, in the order the guest gave
 * @vmm: the process whose RAM it is; 0: this one
 * @bus: the first page that could not be touched (ram/bus.h); atomic, also in a const one
 */
struct drover_ram {
	struct drover_ram_block block[DROVER_RAM_BLOCKS_MAX];
	unsigned int n;
	int vmm;
	uint64_t bus;
};

/** struct drover_ram_run - pages [@page, @page + @npages) of a block */
struct drover_ram_run {
	unsigned int block;
	uint64_t page;
	uint64_t npages;
};

static inline uint64_t drover_ram_pages(const struct drover_ram *ram)
{
	uint64_t sum = 0;
	unsigned int i;

	for (i = 0; i < ram->n; i++)
		sum += drover_pages(ram->block[i].size);
	return sum;
}

#endif
