/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_RAM_MAPPING_H
#define DROVER_RAM_MAPPING_H

#include <stdint.h>

#include "ram/ram.h"

struct drover_error;

/**
 * drover_mapping_check() - does the VMM map blocks so that their files have what the guest wrote?
 * @pid: the VMM's
 * @b: @n blocks, of which @name, @size, @fd and @fd_off are looked at
 * @base: where the VMM maps each; 0: it did not say, then any mapping will do
 *
 * MAP_SHARED, all of it, of this file, at this offset. A private mapping loses every write
 * of the guest: the pages that it wrote are copies, which the file never sees.
 *
 * Return: 0; -EOPNOTSUPP with the block, the mapping and the remedy; or what reading
 * /proc/PID/maps failed with, and then nothing is known.
 */
int drover_mapping_check(int pid, const struct drover_ram_block *b, const uint64_t *base,
			 unsigned int n, struct drover_error *e);

#endif
