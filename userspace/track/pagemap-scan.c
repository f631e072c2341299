// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The tracker `pagemap-scan`: the VMM's mapping of guest RAM is write-protected through
 * the VMM's own userfaultfd in asynchronous mode, where the kernel lifts the protection
 * at the first write by itself; PAGEMAP_SCAN finds the pages without it and protects
 * them again, each page atomically. Both descriptors work across processes.
 *
 * Sees every write through that mapping: the VMM's threads, KVM's vCPUs (protecting an
 * entry notifies KVM), system calls that write to its memory. Blind to other mappings,
 * to write(2) on the file and to punched holes. Called by tracker.c.
 */
#define _GNU_SOURCE
#include <errno.h>

#include "base/bitmap.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/parallel.h"
#include "dev/pagemap.h"
#include "dev/uffd.h"
#include "track/internal.h"

/* Mask PAGE_IS_WRITTEN and nothing else: the kernel's fast path. */
static const struct drover_pagemap_query take_written = {
	.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
	.mask = PAGE_IS_WRITTEN,
};

/* The same without protecting: does the kernel agree that the range is asynchronous? */
static const struct drover_pagemap_query check_async = {
	.flags = PM_SCAN_CHECK_WPASYNC,
	.mask = PAGE_IS_WRITTEN,
};

struct scan_state {
	const struct drover_track_source *src;
	struct drover_pagemap pagemap;
	unsigned int armed;             /* blocks registered, from the first on */
};

/* What the walk over one block's page tables carries along. */
struct scan_walk {
	struct scan_state *s;
	uint64_t base;
	uint64_t *map;
};

static int ignore(void *arg, uint64_t start, uint64_t end)
{
	(void)arg;
	(void)start;
	(void)end;
	return 0;
}

static int report(void *arg, uint64_t start, uint64_t end)
{
	struct scan_walk *w = arg;

	drover_bitmap_set_range(w->map, drover_pages(start - w->base), drover_pages(end - start));
	return 0;
}

__attribute__((format(printf, 3, 4)))
static int refuse(char *why, size_t len, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, len, fmt, ap);
	va_end(ap);
	return 0;
}

/* Registers one page for a moment: only that tells how the VMM made its userfaultfd. */
static int probe_async(const struct drover_track_source *src, struct drover_pagemap *p, char *why,
		       size_t len)
{
	uint64_t base = src->block[0].base;
	int r = drover_uffd_register(src->uffd, base, DROVER_PAGE_SIZE, UFFDIO_REGISTER_MODE_WP);

	if (r < 0)
		return refuse(why, len, "the VMM's memory cannot be registered: %s",
			      r == -EBUSY ? "another userfaultfd has it" : drover_strerror(r));
	r = drover_pagemap_scan(p, &check_async, base, DROVER_PAGE_SIZE, ignore, NULL);
	drover_uffd_unregister(src->uffd, base, DROVER_PAGE_SIZE);
	if (r == -EPERM)
		return refuse(why, len,
			      "the VMM's userfaultfd was made without UFFD_FEATURE_WP_ASYNC");
	if (r < 0)
		return refuse(why, len, "PAGEMAP_SCAN of the VMM's memory: %s", drover_strerror(r));
	return 1;
}

static int scan_probe(const struct drover_track_source *src, char *why, size_t len)
{
	_cleanup_(drover_pagemap_deinit) struct drover_pagemap p = { .fd = -EBADF };
	unsigned int i;
	int r;

	if (src->uffd < 0)
		return refuse(why, len, "the guest passed no userfaultfd");
	if (src->pagemap_fd < 0)
		return refuse(why, len, "the guest passed no pagemap");
	for (i = 0; i < src->ram->n; i++)
		if (!src->block[i].base)
			return refuse(why, len, "the guest did not say where it maps %s",
				      src->ram->block[i].name);
	if (!(drover_uffd_kernel_features() & UFFD_FEATURE_WP_ASYNC))
		return refuse(why, len, "this kernel has no UFFD_FEATURE_WP_ASYNC (Linux 6.7)");
	drover_pagemap_init(&p, src->pagemap_fd);
	r = drover_pagemap_can_scan(&p);
	if (r < 0)
		return refuse(why, len, "PAGEMAP_SCAN (Linux 6.7): %s", drover_strerror(r));
	return src->ram->n ? probe_async(src, &p, why, len) : 1;
}

static void scan_stop(void *state)
{
	struct scan_state *s = state;

	if (!s)
		return;
	/* Fails only when the VMM has gone, and its memory with it. */
	while (s->armed) {
		s->armed--;
		drover_uffd_unregister(s->src->uffd, s->src->block[s->armed].base,
				       s->src->ram->block[s->armed].size);
	}
	drover_pagemap_deinit(&s->pagemap);
	free(s);
}

static void scan_stopp(struct scan_state **s)
{
	scan_stop(*s);
}

/* Page tables are protected piece by piece on all CPUs; the first write may come at once. */
static int protect_step(void *arg, uint64_t page, uint64_t end)
{
	struct scan_walk *w = arg;

	return drover_uffd_writeprotect(w->s->src->uffd, w->base + drover_page_off(page),
					drover_page_off(end - page), true);
}

static int scan_start(const struct drover_track_source *src, void **ret_state,
		      struct drover_error *e)
{
	_cleanup_(scan_stopp) struct scan_state *s = calloc(1, sizeof(*s));
	unsigned int i;
	int r;

	if (!s)
		return drover_err(e, -ENOMEM, "tracker pagemap-scan: out of memory");
	s->src = src;
	drover_pagemap_init(&s->pagemap, src->pagemap_fd);
	for (i = 0; i < src->ram->n; i++) {
		uint64_t base = src->block[i].base, size = src->ram->block[i].size;
		const char *name = src->ram->block[i].name;

		r = drover_uffd_register(src->uffd, base, size, UFFDIO_REGISTER_MODE_WP);
		if (r < 0)
			return drover_err(e, r, "tracker pagemap-scan: ram %s: register: %s", name,
					  drover_strerror(r));
		s->armed = i + 1;
		/* Asked before anything is protected: without it the VMM's writers would hang. */
		r = drover_pagemap_scan(&s->pagemap, &check_async, base, DROVER_PAGE_SIZE, ignore,
					NULL);
		if (r < 0)
			return drover_err(e, r, "tracker pagemap-scan: ram %s: check: %s", name,
					  drover_strerror(r));
		r = drover_parallel(drover_pages(size), DROVER_SCAN_STEP, protect_step,
				    &(struct scan_walk){ .s = s, .base = base });
		if (r < 0)
			return drover_err(e, r, "tracker pagemap-scan: ram %s: protect: %s", name,
					  drover_strerror(r));
	}
	*ret_state = TAKE_PTR(s);
	return 0;
}

/* Pieces are whole words of the bitmap: each thread writes its own. */
static int harvest_step(void *arg, uint64_t page, uint64_t end)
{
	struct scan_walk *w = arg;

	return drover_pagemap_scan(&w->s->pagemap, &take_written, w->base + drover_page_off(page),
				   drover_page_off(end - page), report, w);
}

static int scan_harvest(void *state, uint64_t *const *maps, bool final, struct drover_error *e)
{
	struct scan_state *s = state;
	unsigned int i;
	int r;

	(void)final;            /* every harvest is exact for the writes finished before it */
	for (i = 0; i < s->src->ram->n; i++) {
		struct scan_walk w = {
			.s = s,
			.base = s->src->block[i].base,
			.map = maps[i],
		};

		r = drover_parallel(drover_pages(s->src->ram->block[i].size), DROVER_SCAN_STEP,
				    harvest_step, &w);
		if (r < 0)
			return drover_err(e, r, "tracker pagemap-scan: ram %s: harvest: %s",
					  s->src->ram->block[i].name, drover_strerror(r));
	}
	return 0;
}

const struct drover_tracker_ops drover_tracker_pagemap_scan = {
	.name = "pagemap-scan",
	.guarantee = "every write through the VMM's own mapping, vCPUs included",
	.probe = scan_probe,
	.start = scan_start,
	.harvest = scan_harvest,
	.stop = scan_stop,
};
