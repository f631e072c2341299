/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_RAM_POPULATE_H
#define DROVER_RAM_POPULATE_H

#include <stdint.h>

/**
 * drover_populate() - page-table entries ahead of their use, in several threads
 * @map: a page-aligned mapping
 * @pages: which of its pages, one bit a page; NULL: all
 * @npages: its length in pages
 * @advice: MADV_POPULATE_READ or MADV_POPULATE_WRITE; either allocates what is a hole
 *
 * Return: 0, or what madvise() failed with in one of the threads; then some are missing.
 */
int drover_populate(void *map, const uint64_t *pages, uint64_t npages, int advice);

#endif
