// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The tracker `soft-dirty`: bit 55 of another process's pagemap, cleared through
 * /proc/PID/clear_refs. It needs nothing of the VMM but its process number, so it serves
 * old kernels and hypervisors that pass no descriptors.
 *
 * Reading the bits and clearing them are two steps, and a write between them would be
 * lost: the VMM's threads are stopped for both. Kernel threads that write to its memory
 * (vhost) are not stopped by that, and a page that is swapped out loses its bit; hence
 * the wording of the guarantee, and hence the refusal where swap is on.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/bitmap.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "dev/freeze.h"
#include "dev/pagemap.h"
#include "track/internal.h"

#define FREEZE_MS 2000u

struct soft_state {
	const struct drover_track_source *src;
	struct drover_pagemap pagemap;
	int clear_fd;
};

struct soft_walk {
	uint64_t base;
	uint64_t *map;
};

static int count(void *arg, uint64_t start, uint64_t end)
{
	*(uint64_t *)arg += end - start;
	return 0;
}

static int report(void *arg, uint64_t start, uint64_t end)
{
	struct soft_walk *w = arg;

	drover_bitmap_set_range(w->map, drover_pages(start - w->base), drover_pages(end - start));
	return 0;
}

/* A page of our own that was just written has the bit, if this kernel knows it at all. */
static bool kernel_has_soft_dirty(void)
{
	_cleanup_(drover_pagemap_deinit) struct drover_pagemap p = { .fd = -EBADF };
	uint64_t found = 0;
	volatile uint8_t *page = mmap(NULL, DROVER_PAGE_SIZE, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return false;
	*page = 1;
	if (drover_pagemap_open(&p, 0, NULL) >= 0)
		drover_pagemap_read(&p, DROVER_PAGEMAP_SOFT_DIRTY, true, (uintptr_t)page,
				    DROVER_PAGE_SIZE, count, &found);
	munmap((void *)page, DROVER_PAGE_SIZE);
	return found == DROVER_PAGE_SIZE;
}

/* The first line of /proc/swaps is a heading. */
static bool swap_is_on(void)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/swaps", "re");
	char line[256];

	return f && fgets(line, sizeof(line), f) && fgets(line, sizeof(line), f);
}

static int open_clear(int pid)
{
	char path[40];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/clear_refs", pid);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int soft_probe(const struct drover_track_source *src, char *why, size_t len)
{
	_cleanup_close_ int fd = -EBADF;
	const char *text = NULL;
	unsigned int i;

	if (!kernel_has_soft_dirty())
		text = "this kernel was built without CONFIG_MEM_SOFT_DIRTY";
	else if (!src->pid)
		text = "the guest did not name its process";
	else if (src->pid == getpid())
		text = "the guest runs in this very process, which cannot stop itself";
	else if (swap_is_on())
		text = "swap is on: a page that is swapped out forgets that it was written";
	for (i = 0; !text && i < src->ram->n; i++)
		if (!src->block[i].base)
			text = "the guest did not say where it maps its memory";
	if (!text) {
		fd = open_clear(src->pid);
		if (fd >= 0)
			return 1;
		text = drover_strerror(fd);
	}
	snprintf(why, len, "%s", text);
	return 0;
}

static void soft_stop(void *state)
{
	struct soft_state *s = state;

	if (!s)
		return;
	drover_pagemap_deinit(&s->pagemap);
	drover_closep(&s->clear_fd);
	free(s);
}

static void soft_stopp(struct soft_state **s)
{
	soft_stop(*s);
}

static int soft_clear(struct soft_state *s, struct drover_error *e)
{
	if (write(s->clear_fd, "4", 1) != 1)
		return drover_err(e, -errno, "tracker soft-dirty: clear: %s",
				  drover_strerror(errno));
	return 0;
}

static int soft_start(const struct drover_track_source *src, void **ret_state,
		      struct drover_error *e)
{
	_cleanup_(soft_stopp) struct soft_state *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return drover_err(e, -ENOMEM, "tracker soft-dirty: out of memory");
	s->src = src;
	s->pagemap.fd = -EBADF;
	s->clear_fd = open_clear(src->pid);
	if (s->clear_fd < 0)
		return drover_err(e, s->clear_fd, "tracker soft-dirty: process %d: clear_refs: %s",
				  src->pid, drover_strerror(s->clear_fd));
	r = drover_pagemap_open(&s->pagemap, src->pid, e);
	if (r < 0)
		return r;
	r = soft_clear(s, e);
	if (r < 0)
		return r;
	*ret_state = TAKE_PTR(s);
	return 0;
}

static int soft_read(struct soft_state *s, uint64_t *const *maps, struct drover_error *e)
{
	unsigned int i;
	int r;

	for (i = 0; i < s->src->ram->n; i++) {
		struct soft_walk w = { .base = s->src->block[i].base, .map = maps[i] };

		r = drover_pagemap_read(&s->pagemap, DROVER_PAGEMAP_SOFT_DIRTY, true, w.base,
					s->src->ram->block[i].size, report, &w);
		if (r < 0)
			return drover_err(e, r, "tracker soft-dirty: ram %s: read: %s",
					  s->src->ram->block[i].name, drover_strerror(r));
	}
	return 0;
}

static int soft_harvest(void *state, uint64_t *const *maps, bool final, struct drover_error *e)
{
	struct soft_state *s = state;
	struct drover_freeze *f;
	int r = drover_freeze(s->src->pid, drover_deadline_ms(FREEZE_MS), &f, e);

	(void)final;
	if (r < 0)
		return r;
	r = soft_read(s, maps, e);
	if (r >= 0)
		r = soft_clear(s, e);
	drover_thaw(f);
	return r;
}

const struct drover_tracker_ops drover_tracker_soft_dirty = {
	.name = "soft-dirty",
	.guarantee = "every write through the VMM's own mapping by its threads and vCPUs; "
		"not by kernel threads (vhost) that write during a harvest",
	.probe = soft_probe,
	.start = soft_start,
	.harvest = soft_harvest,
	.stop = soft_stop,
};
