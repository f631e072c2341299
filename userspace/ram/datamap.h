/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_RAM_DATAMAP_H
#define DROVER_RAM_DATAMAP_H

#include <stdint.h>

#include "ram/ram.h"

struct drover_error;

/**
 * drover_datamap_read() - SEEK_DATA/SEEK_HOLE map of one block
 * @map: one bit a page of the block; set where the file has data, cleared elsewhere
 */
int drover_datamap_read(const struct drover_ram_block *b, uint64_t *map, struct drover_error *e);

/*
 * A descriptor for seeking in the block's file. lseek() moves the position of the open
 * file, and the guest's descriptor shares its position with the VMM: so a new one is
 * opened. The caller's to close; negative errno on failure.
 */
int drover_datamap_open(const struct drover_ram_block *b);
/* Next page with data at or after @page, the number of pages when there is none. */
int drover_datamap_next(int fd, const struct drover_ram_block *b, uint64_t page, uint64_t *ret);
/* First page after @page, which has data, that is a hole (or the number of pages). */
int drover_datamap_end(int fd, const struct drover_ram_block *b, uint64_t page, uint64_t *ret);

#endif
