// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The public face of dev/kmod.c: the same calls, with the text type of the library.
 * Structs of the kernel's interface carry their size for it; callers need not set it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "dev/kmod.h"
#include "lib/drover.h"

static int told(int r, const struct drover_error *e, struct drover_text *why)
{
	if (r < 0 && why)
		snprintf(why->text, sizeof(why->text), "%.*s",
			 (int)sizeof(why->text) - 1, e->msg);
	return r;
}

int drover_kmod_open(int *fd, struct drover_text *why)
{
	struct drover_error e = DROVER_ERROR_INIT;

	return told(drover_kdev_open(fd, &e), &e, why);
}

int drover_kmod_caps(int dev, struct drover_caps *caps, struct drover_text *why)
{
	struct drover_error e = DROVER_ERROR_INIT;

	return told(drover_kdev_caps(dev, caps, &e), &e, why);
}

int drover_kmod_attach(int dev, int fd, uint32_t flags, int *attach, uint64_t *pages,
		       struct drover_text *why)
{
	struct drover_error e = DROVER_ERROR_INIT;

	return told(drover_kdev_attach(dev, fd, flags, attach, pages, &e), &e, why);
}

int drover_kmod_arm(int attach, uint64_t *resident, struct drover_text *why)
{
	struct drover_error e = DROVER_ERROR_INIT;

	return told(drover_kdev_arm(attach, resident, &e), &e, why);
}

int drover_kmod_harvest(int attach, uint64_t first, uint64_t npages, int final, uint64_t *dirty,
			uint64_t *hole, uint64_t *pinned, struct drover_text *why)
{
	struct drover_kdev_news news = { .map_dirty = dirty, .map_hole = hole,
					 .map_pinned = pinned };
	struct drover_error e = DROVER_ERROR_INIT;

	return told(drover_kdev_harvest(attach, first, npages, final, &news, &e), &e, why);
}

int drover_kmod_set_dirty(int attach, uint64_t first, uint64_t npages, const uint64_t *map,
			  struct drover_text *why)
{
	struct drover_error e = DROVER_ERROR_INIT;

	return told(drover_kdev_set_dirty(attach, first, npages, map, &e), &e, why);
}

int drover_kmod_stat(int attach, struct drover_stat *stat, struct drover_text *why)
{
	struct drover_error e = DROVER_ERROR_INIT;

	return told(drover_kdev_stat(attach, stat, &e), &e, why);
}

int drover_kmod_region(int dev, struct drover_region *region, struct drover_text *why)
{
	struct drover_error e = DROVER_ERROR_INIT;
	char name[DROVER_NAME_LEN + 1] = "";
	struct drover_kdev_region k = {
		.bytes = region->bytes,
		.grace_ms = region->grace_ms,
		.gated = region->flags & DROVER_REGION_GATED,
		.name = name,
	};
	int r;

	if (region->flags & ~DROVER_REGION_GATED)
		return told(drover_err(&e, -EINVAL, "module: region: flags 0x%x: not known",
				       region->flags), &e, why);
	memcpy(name, region->name, sizeof(region->name));
	r = drover_kdev_region_create(dev, &k, &e);
	if (r < 0)
		return told(r, &e, why);
	region->vm_fd = k.vm_fd;
	region->loader_fd = k.loader_fd;
	region->id = k.id;
	return 0;
}

int drover_kmod_adopt(int dev, uint64_t id, int *loader, struct drover_text *why)
{
	struct drover_error e = DROVER_ERROR_INIT;

	return told(drover_kdev_adopt(dev, id, loader, &e), &e, why);
}

int drover_kmod_gate(int loader, int closed, struct drover_text *why)
{
	struct drover_error e = DROVER_ERROR_INIT;

	return told(drover_kdev_gate(loader, closed ? DROVER_GATE_CLOSED : 0, &e), &e, why);
}

int drover_kmod_publish(int loader, const struct drover_range *ranges, uint32_t n, int zero,
			uint64_t *woken, struct drover_text *why)
{
	struct drover_error e = DROVER_ERROR_INIT;

	return told(drover_kdev_publish(loader, ranges, n, zero, woken, &e), &e, why);
}

int drover_kmod_received(int loader, uint64_t first, uint64_t npages, uint64_t *map,
			 uint64_t *count, struct drover_text *why)
{
	struct drover_error e = DROVER_ERROR_INIT;

	return told(drover_kdev_received(loader, first, npages, map, count, &e), &e, why);
}

int drover_kmod_read_requests(int loader, struct drover_request *req, unsigned int max,
			      struct drover_text *why)
{
	struct drover_error e = DROVER_ERROR_INIT;

	return told(drover_kdev_read_requests(loader, req, max, &e), &e, why);
}
