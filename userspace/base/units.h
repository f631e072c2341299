/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_BASE_UNITS_H
#define DROVER_BASE_UNITS_H

#include <stddef.h>
#include <stdint.h>

/* The unit of tracking, placement and digests, whatever page size the backing memory has. */
#define DROVER_PAGE_SHIFT 12
#define DROVER_PAGE_SIZE (1ull << DROVER_PAGE_SHIFT)

/*
 * A variable's name tells what its integer is: `page` is the index of a page in its RAM block,
 * `npages` a number of pages, `off` a byte offset into a block, `fd_off` a byte offset into the
 * backing file, `gpa` a guest physical address, `len` a number of bytes.
 */
static inline uint64_t drover_page_off(uint64_t page)
{
	return page << DROVER_PAGE_SHIFT;
}

static inline uint64_t drover_pages(uint64_t len)
{
	return len >> DROVER_PAGE_SHIFT;
}

#endif
