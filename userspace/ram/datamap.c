// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Which pages of a block's file hold memory, asked with SEEK_DATA and SEEK_HOLE, which
 * look at the page cache and never fill it. SEEK_DATA skips a hole of any size at once;
 * SEEK_HOLE walks all data up to the next hole (7 ns a page), so those who ask about
 * few pages ask with SEEK_DATA, page by page.
 */
#define _GNU_SOURCE
#include "ram/datamap.h"

#include <errno.h>
#include <fcntl.h>

#include "base/bitmap.h"
#include "base/cleanup.h"
#include "base/err.h"

int drover_datamap_open(const struct drover_ram_block *b)
{
	char path[40];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", b->fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fd = fcntl(b->fd, F_DUPFD_CLOEXEC, 3);
	return fd < 0 ? -errno : fd;
}

/* @whence at a page of the block, answered in pages, the end of the block at most. */
static int seek_page(int fd, const struct drover_ram_block *b, uint64_t page, int whence,
		     uint64_t *ret)
{
	uint64_t end = b->fd_off + b->size, at;
	off_t off = lseek(fd, (off_t)(b->fd_off + drover_page_off(page)), whence);

	if (off < 0 && errno != ENXIO)
		return -errno;
	at = off < 0 || (uint64_t)off > end ? end : (uint64_t)off;
	/* A file system may keep parts of pages: half a page of data is a page of data. */
	if (whence == SEEK_HOLE)
		at += DROVER_PAGE_SIZE - 1;
	at = drover_pages(at - b->fd_off);
	*ret = at < page ? page : at;
	return 0;
}

int drover_datamap_next(int fd, const struct drover_ram_block *b, uint64_t page, uint64_t *ret)
{
	return seek_page(fd, b, page, SEEK_DATA, ret);
}

int drover_datamap_end(int fd, const struct drover_ram_block *b, uint64_t page, uint64_t *ret)
{
	uint64_t end = page;
	int r = seek_page(fd, b, page, SEEK_HOLE, &end);

	if (r < 0)
		return r;
	/* It may have been punched since SEEK_DATA found it; then it counts as data once. */
	*ret = end > page ? end : page + 1;
	return 0;
}

int drover_datamap_read(const struct drover_ram_block *b, uint64_t *map, struct drover_error *e)
{
	uint64_t npages = drover_pages(b->size), page = 0, end = 0;
	_cleanup_close_ int fd = drover_datamap_open(b);
	int r = fd < 0 ? fd : 0;

	drover_bitmap_clear_range(map, 0, npages);
	while (r >= 0 && page < npages) {
		r = drover_datamap_next(fd, b, page, &page);
		if (r < 0 || page >= npages)
			break;
		r = drover_datamap_end(fd, b, page, &end);
		if (r < 0)
			break;
		drover_bitmap_set_range(map, page, end - page);
		page = end;
	}
	if (r < 0)
		return drover_err(e, r, "ram %s: map of data: %s", b->name, drover_strerror(r));
	return 0;
}
