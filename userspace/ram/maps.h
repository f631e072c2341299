/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_RAM_MAPS_H
#define DROVER_RAM_MAPS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/**
 * struct drover_vma - one line of /proc/PID/maps
 * @off: in the file
 * @dev, @ino: of the file; 0 for anonymous memory
 * @write, @shared: its permissions say 'w', 's'
 */
struct drover_vma {
	uint64_t start, end, off, ino;
	dev_t dev;
	bool write, shared;
};

/**
 * drover_maps_fn - takes one mapping, in the order of addresses
 *
 * A non-zero return ends the walk and becomes its result.
 */
typedef int drover_maps_fn(void *arg, const struct drover_vma *vma);

/**
 * drover_maps_walk() - the mappings of process @pid
 *
 * Return: 0, what @fn returned, or a negative errno: -ENOENT or -ESRCH there is no such
 * process or it has ended, -EACCES nobody of this user may look.
 */
int drover_maps_walk(int pid, drover_maps_fn *fn, void *arg);

#endif
