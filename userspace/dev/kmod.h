/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_DEV_KMOD_H
#define DROVER_DEV_KMOD_H

#include <stdbool.h>
#include <stdint.h>

#include <linux/drover.h>

struct drover_error;

/*
 * The kernel module, one function a command; uapi/linux/drover.h says what the commands
 * promise. Errors name the command and what to do about it. All are negative errnos.
 * A signal never ends a call: it goes on where it was.
 */
#define DROVER_KDEV_PATH "/dev/drover"

/** drover_kdev_open() - the device. -ENOENT: not loaded; -EACCES: not for this user */
int drover_kdev_open(int *ret_fd, struct drover_error *e);
int drover_kdev_caps(int dev, struct drover_caps *ret, struct drover_error *e);

/**
 * drover_kdev_attach() - watch @fd; close the result to end it
 * @flags: DROVER_ATTACH_*
 * @ret_pages: length of the file; may be NULL
 */
int drover_kdev_attach(int dev, int fd, uint32_t flags, int *ret_fd, uint64_t *ret_pages,
		       struct drover_error *e);
/* @ret_resident may be NULL. */
int drover_kdev_arm(int attach, uint64_t *ret_resident, struct drover_error *e);

/**
 * struct drover_kdev_news - where a harvest puts its bits, and how many they were
 * @map_dirty, @map_hole, @map_pinned: bit n for page first + n, whole words. Bits are set,
 *	none is cleared. The last two may be NULL; @map_pinned needs a final harvest
 * @dirty, @hole, @pinned: bits reported
 */
struct drover_kdev_news {
	uint64_t *map_dirty;
	uint64_t *map_hole;
	uint64_t *map_pinned;
	uint64_t dirty, hole, pinned;
};

/* @first: a multiple of 64. On failure, bits that were reported already are in the maps. */
int drover_kdev_harvest(int attach, uint64_t first, uint64_t npages, bool final,
			struct drover_kdev_news *news, struct drover_error *e);
/* Give bits back: they are in the next harvest. @first: a multiple of 64. */
int drover_kdev_set_dirty(int attach, uint64_t first, uint64_t npages, const uint64_t *map,
			  struct drover_error *e);
int drover_kdev_stat(int attach, struct drover_stat *ret, struct drover_error *e);

/**
 * struct drover_kdev_region - memory with a gate
 * @bytes, @grace_ms, @name, @gated: what is asked for; @name "" or NULL for none
 * @vm_fd, @loader_fd, @id: what is given; the descriptors are the caller's
 */
struct drover_kdev_region {
	uint64_t bytes;
	uint64_t grace_ms;
	const char *name;
	bool gated;
	int vm_fd;
	int loader_fd;
	uint64_t id;
};

int drover_kdev_region_create(int dev, struct drover_kdev_region *region, struct drover_error *e);
/* Become the loader of a region that has lost its own. */
int drover_kdev_adopt(int dev, uint64_t id, int *ret_loader, struct drover_error *e);
/*
 * The same, by its vm descriptor. -ENODEV: that is no region's. With @ret_loader NULL
 * nothing is changed: could it be done?
 */
int drover_kdev_adopt_fd(int dev, int vm_fd, int *ret_loader, struct drover_error *e);
/* Reading requests never waits from here on. */
int drover_kdev_nonblock(int loader, struct drover_error *e);
/* @flags: DROVER_GATE_* */
int drover_kdev_gate(int loader, uint32_t flags, struct drover_error *e);
/**
 * drover_kdev_publish() - these pages are complete
 * @n: any number of ranges
 * @zero: drop what they hold, they read as zero
 * @ret_woken: waiters that go on; may be NULL
 *
 * More than DROVER_RANGES_MAX ranges are several commands: of those before one that
 * fails, pages are published.
 */
int drover_kdev_publish(int loader, const struct drover_range *ranges, uint32_t n, bool zero,
			uint64_t *ret_woken, struct drover_error *e);
/* Overwrites @map with the published pages; @first: a multiple of 64. @ret_count may be NULL. */
int drover_kdev_received(int loader, uint64_t first, uint64_t npages, uint64_t *map,
			 uint64_t *ret_count, struct drover_error *e);
/**
 * drover_kdev_read_requests() - pages that are waited for
 * @loader: waits when there are none, unless it is O_NONBLOCK
 *
 * Return: how many of @max were filled in, 0 when there are none now.
 */
int drover_kdev_read_requests(int loader, struct drover_request *req, unsigned int max,
			      struct drover_error *e);

#endif
