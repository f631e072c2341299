/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_RAM_MAPPERS_H
#define DROVER_RAM_MAPPERS_H

#include "ram/ram.h"

struct drover_error;

/**
 * struct drover_mappers - other processes that share a guest's RAM
 * @mapped: of each block, a process with a shared mapping of some of it; 0: none was found
 * @writer: the same, of those that may write through it
 * @unseen: processes that this one may not look at
 */
struct drover_mappers {
	int mapped[DROVER_RAM_BLOCKS_MAX];
	int writer[DROVER_RAM_BLOCKS_MAX];
	unsigned int unseen;
};

/**
 * drover_mappers_find() - who else maps these blocks?
 * @vmm: the process whose RAM it is; it and the caller do not count. 0: only the caller
 *
 * What /proc/PID/maps of all processes says now. A process that only holds a descriptor
 * is not found, nor is one in a process namespace that is not seen from here. Takes about 50 us a
 * process.
 *
 * Return: 0, or a negative errno when /proc can't be read.
 */
int drover_mappers_find(const struct drover_ram *ram, int vmm, struct drover_mappers *ret,
			struct drover_error *e);

#endif
