// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Populating takes the kernel about 90 ms a GiB for pages that exist and 1 s and more
 * for new ones, a core at a time; the fault paths of different ranges run side by side.
 * Used by the hole tracker at start and by the simulated guest.
 */
#define _GNU_SOURCE
#include "base/populate.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "base/units.h"

#define THREADS_MAX 8
#define STEP_PAGES 2048u                /* 8 MiB: one unit of work */

struct populate {
	uint8_t *map;
	const uint64_t *pages;
	uint64_t npages;
	int advice;
	_Atomic uint64_t next;          /* step */
	_Atomic int error;
};

static void populate_run(struct populate *p, uint64_t page, uint64_t n)
{
	int none = 0;

	if (madvise(p->map + drover_page_off(page), drover_page_off(n), p->advice) < 0)
		atomic_compare_exchange_strong(&p->error, &none, -errno);
}

static void populate_step(struct populate *p, uint64_t page, uint64_t end)
{
	uint64_t n;

	if (!p->pages) {
		populate_run(p, page, end - page);
		return;
	}
	while ((n = drover_bitmap_next_run(p->pages, end, page, &page))) {
		populate_run(p, page, n);
		page += n;
	}
}

static void *populate_main(void *arg)
{
	struct populate *p = arg;
	uint64_t page, end;

	while (!atomic_load(&p->error)) {
		page = atomic_fetch_add(&p->next, 1) * STEP_PAGES;
		if (page >= p->npages)
			break;
		end = p->npages - page < STEP_PAGES ? p->npages : page + STEP_PAGES;
		populate_step(p, page, end);
	}
	return NULL;
}

int drover_populate(void *map, const uint64_t *pages, uint64_t npages, int advice)
{
	struct populate p = { .map = map, .pages = pages, .npages = npages, .advice = advice };
	uint64_t steps = (npages + STEP_PAGES - 1) / STEP_PAGES;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	pthread_t thread[THREADS_MAX];
	int i, n = cpus > THREADS_MAX ? THREADS_MAX : (int)cpus;

	if (steps < (uint64_t)n)
		n = (int)steps;
	/* The caller is one of them, so that it works without any other. */
	for (i = 0; i < n - 1; i++)
		if (pthread_create(&thread[i], NULL, populate_main, &p))
			break;
	n = i;
	populate_main(&p);
	for (i = 0; i < n; i++)
		pthread_join(thread[i], NULL);
	return atomic_load(&p.error);
}
