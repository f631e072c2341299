// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Populating takes the kernel about 90 ms a GiB for pages that exist and 1 s and more
 * for new ones, a core at a time; the fault paths of different ranges run side by side.
 * Used by the hole tracker at start and by the simulated guest.
 */
#define _GNU_SOURCE
#include "ram/populate.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/bitmap.h"
#include "base/parallel.h"
#include "base/units.h"

#define STEP_PAGES 2048u                /* 8 MiB: one unit of work */

struct populate {
	uint8_t *map;
	const uint64_t *pages;
	int advice;
};

static int populate_run(const struct populate *p, uint64_t page, uint64_t n)
{
	return madvise(p->map + drover_page_off(page), drover_page_off(n), p->advice) < 0 ?
		-errno : 0;
}

static int populate_step(void *arg, uint64_t page, uint64_t end)
{
	const struct populate *p = arg;
	uint64_t n;
	int r = 0;

	if (!p->pages)
		return populate_run(p, page, end - page);
	while (r >= 0 && (n = drover_bitmap_next_run(p->pages, end, page, &page))) {
		r = populate_run(p, page, n);
		page += n;
	}
	return r;
}

int drover_populate(void *map, const uint64_t *pages, uint64_t npages, int advice)
{
	struct populate p = { .map = map, .pages = pages, .advice = advice };

	return drover_parallel(npages, STEP_PAGES, populate_step, &p);
}
