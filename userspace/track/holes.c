// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The hole tracker: which pages hold data, and which were punched since the last look,
 * for trackers that see writes only. A full pass of SEEK_HOLE is too slow for the
 * downtime and misses a page that was punched and then allocated again by a read. So:
 *
 * Each block has a mapping that only this file touches, the watch. Every page with data
 * has a page-table entry there. A punch removes the entries of all mappings before it
 * returns, and nothing but harvest puts one of the watch back. So a data page without an
 * entry was punched, or it was reclaimed or moved, which is then reported for nothing.
 * The mapping the senders read through cannot serve: a read of a punched page puts the
 * entry back. (Write-protecting it by userfaultfd does not help: a punch turns
 * the protection into a marker, and the entry that a read makes of it is protected again.)
 *
 * Two rules keep it exact. A harvest scans the whole block before it puts any entry
 * back. And entries are put back by write faults, one page each: a read fault maps the
 * neighbours too, and one that was punched after the scan, and allocated again by a
 * read, would have an entry at the next scan without ever having been reported.
 *
 * Looking at a million entries takes milliseconds of the downtime. A punch changes the
 * file's ctime after it has removed the entries, so while that stands still there is no
 * need to look. It is a coarse clock's time: two changes within one tick may leave the
 * same. Only a ctime that was older than the clock when it was read says anything later.
 *
 * An entry for a page whose data bit is clear means nothing. Such a page has been read
 * but not written since it was a hole, or its writer's tracker has yet to report it.
 *
 * Called by select.c, from one thread at a time.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>

#include "base/bitmap.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/parallel.h"
#include "dev/pagemap.h"
#include "dev/uffd.h"
#include "ram/datamap.h"
#include "ram/populate.h"
#include "ram/ramfile.h"
#include "track/internal.h"

/* Up to so many pages SEEK_DATA one by one is cheaper than one SEEK_HOLE may be. */
#define SEEK_ONE_BY_ONE 4096u

/**
 * struct hole_block - one RAM block
 * @fd: for seeking
 * @watch: see above; NULL when holes are seen by another tracker
 * @data: pages that hold data
 * @ctime: of the file, read before the watch was last looked at
 * @settled: a later change of the file can't have that time
 * @known_start, @known_end: an extent of data found by SEEK_HOLE in this harvest. It may
 *	have shrunk since: then the punch is seen in the next harvest, or is reported now
 */
struct hole_block {
	const struct drover_ram_block *ram;
	int fd;
	uint8_t *watch;
	uint64_t npages;
	uint64_t *data;
	struct timespec ctime;
	bool settled;
	bool tmpfs;                     /* ctime is known to behave as said at the top */
	uint64_t known_start, known_end;
};

struct drover_holes {
	enum drover_holes_how how;
	int uffd;                       /* see one_page_faults(); -EBADF: none */
	struct drover_pagemap pagemap;
	unsigned int n;
	struct hole_block block[];
};

/* What the walk over one block's page tables carries along. */
struct hole_walk {
	struct drover_holes *h;
	struct hole_block *b;
	uint64_t *map;
};

static int block_err(const struct hole_block *b, int r, const char *step, struct drover_error *e)
{
	return drover_err(e, r, "ram %s: holes: %s: %s", b->ram->name, step, drover_strerror(r));
}

/* By write faults, see the top. Never called for a hole: it would be allocated. */
static int put_back(struct hole_block *b, uint64_t page, uint64_t n, struct drover_error *e)
{
	if (!b->watch || !n)
		return 0;
	if (madvise(b->watch + drover_page_off(page), drover_page_off(n), MADV_POPULATE_WRITE) < 0)
		return block_err(b, -errno, "populate the watch", e);
	return 0;
}

/* End of the extent of data that begins at @page, @end at most. */
static int data_run(struct hole_block *b, uint64_t page, uint64_t end, uint64_t *ret)
{
	uint64_t at, next;
	int r;

	if (end - page > SEEK_ONE_BY_ONE) {
		r = drover_datamap_end(b->fd, b->ram, page, &at);
		if (r < 0)
			return r;
		b->known_start = page;
		b->known_end = at;
		*ret = at < end ? at : end;
		return 0;
	}
	for (at = page + 1; at < end; at++) {
		r = drover_datamap_next(b->fd, b->ram, at, &next);
		if (r < 0)
			return r;
		if (next != at)
			break;
	}
	*ret = at;
	return 0;
}

/* Look at [page, end) afresh: data bits, and entries in the watch for what has data. */
static int look_again(struct hole_block *b, uint64_t page, uint64_t end, struct drover_error *e)
{
	uint64_t data, stop;
	int r;

	while (page < end) {
		if (page >= b->known_start && page < b->known_end) {
			data = page;
			stop = b->known_end < end ? b->known_end : end;
		} else {
			r = drover_datamap_next(b->fd, b->ram, page, &data);
			if (r < 0)
				return block_err(b, r, "seek", e);
			if (data > end)
				data = end;
			drover_bitmap_clear_range(b->data, page, data - page);
			if (data == end)
				return 0;
			r = data_run(b, data, end, &stop);
			if (r < 0)
				return block_err(b, r, "seek", e);
		}
		drover_bitmap_set_range(b->data, data, stop - data);
		r = put_back(b, data, stop - data, e);
		if (r < 0)
			return r;
		page = stop;
	}
	return 0;
}

/*
 * Pages without an entry in the watch: those that had data are news. They lose their
 * data bit here, and look_at_new() finds out whether they get it back.
 */
static int absent(void *arg, uint64_t start, uint64_t end)
{
	struct hole_walk *w = arg;
	struct hole_block *b = w->b;
	uint64_t base = (uint64_t)(uintptr_t)b->watch, at = drover_pages(start - base), n;

	end = drover_pages(end - base);
	while ((n = drover_bitmap_next_run(b->data, end, at, &at))) {
		drover_bitmap_set_range(w->map, at, n);
		drover_bitmap_clear_range(b->data, at, n);
		at += n;
	}
	return 0;
}

/* First page from @from on whose being dirty without a data bit is @value. */
static uint64_t next_new(const struct hole_block *b, const uint64_t *map, uint64_t from, bool value)
{
	uint64_t flip = value ? 0 : ~0ull, w;
	size_t i, words = drover_bitmap_words(b->npages);

	if (from >= b->npages)
		return b->npages;
	i = (size_t)(from / 64);
	w = ((map[i] & ~b->data[i]) ^ flip) & (~0ull << (from % 64));
	while (!w) {
		if (++i == words)
			return b->npages;
		w = (map[i] & ~b->data[i]) ^ flip;
	}
	from = (uint64_t)i * 64 + (uint64_t)__builtin_ctzll(w);
	return from < b->npages ? from : b->npages;
}

/* Reported pages whose data bit is clear: written holes, and what absent() found. */
static int look_at_new(struct hole_block *b, const uint64_t *map, struct drover_error *e)
{
	uint64_t page = 0, end;
	int r;

	while ((page = next_new(b, map, page, true)) < b->npages) {
		end = next_new(b, map, page, false);
		r = look_again(b, page, end, e);
		if (r < 0)
			return r;
		page = end;
	}
	return 0;
}

/* Pieces are whole words of the bitmaps: each thread has its own. */
static int scan_step(void *arg, uint64_t page, uint64_t end)
{
	static const struct drover_pagemap_query not_present = {
		.mask = PAGE_IS_PRESENT,
		.inverted = PAGE_IS_PRESENT,
	};
	struct hole_walk *w = arg;
	uint64_t start = (uint64_t)(uintptr_t)w->b->watch + drover_page_off(page);
	uint64_t len = drover_page_off(end - page);

	if (w->h->how == DROVER_HOLES_READ)
		return drover_pagemap_read(&w->h->pagemap, DROVER_PAGEMAP_PRESENT, false, start,
					   len, absent, w);
	return drover_pagemap_scan(&w->h->pagemap, &not_present, start, len, absent, w);
}

/* Nothing was punched since the last look: see the top. Remembers what the next one needs. */
static bool untouched(struct hole_block *b)
{
	struct timespec now, old = b->ctime;
	bool settled = b->settled;
	struct stat st;

	b->settled = false;
	if (clock_gettime(CLOCK_REALTIME_COARSE, &now) < 0 || fstat(b->fd, &st) < 0)
		return false;
	b->ctime = st.st_ctim;
	b->settled = b->tmpfs && (st.st_ctim.tv_sec < now.tv_sec ||
				  (st.st_ctim.tv_sec == now.tv_sec &&
				   st.st_ctim.tv_nsec < now.tv_nsec));
	return settled && st.st_ctim.tv_sec == old.tv_sec && st.st_ctim.tv_nsec == old.tv_nsec;
}

static int block_harvest(struct drover_holes *h, struct hole_block *b, uint64_t *map,
			 struct drover_error *e)
{
	struct hole_walk w = { .h = h, .b = b, .map = map };
	int r;

	b->known_start = b->known_end = 0;
	if (b->watch && !untouched(b)) {
		r = drover_parallel(b->npages, DROVER_SCAN_STEP, scan_step, &w);
		if (r < 0)
			return block_err(b, r, "scan the watch", e);
	}
	return look_at_new(b, map, e);
}

void drover_holes_seen(struct drover_holes *h, unsigned int block, const uint64_t *hole,
		       uint64_t *map)
{
	struct hole_block *b = &h->block[block];
	size_t i, words = drover_bitmap_words(b->npages);

	for (i = 0; i < words; i++) {
		uint64_t data = (b->data[i] & ~hole[i]) | map[i];

		/* Most words have no news: do not make the maps' pages dirty for them. */
		if (data != b->data[i])
			b->data[i] = data;
		if (hole[i] & ~map[i])
			map[i] |= hole[i];
	}
}

int drover_holes_harvest(struct drover_holes *h, uint64_t *const *maps, struct drover_error *e)
{
	unsigned int i;
	int r;

	for (i = 0; i < h->n && h->how != DROVER_HOLES_SEEN; i++) {
		r = block_harvest(h, &h->block[i], maps[i], e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int map_watch(struct hole_block *b, struct drover_error *e)
{
	void *p = mmap(NULL, b->ram->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
		       b->ram->fd, (off_t)b->ram->fd_off);

	if (p == MAP_FAILED)
		return block_err(b, -errno, "map the watch", e);
	b->watch = p;
	/* A child that outlives a fork must not hold the guest's memory; best effort. */
	madvise(p, b->ram->size, MADV_DONTFORK);
	madvise(p, b->ram->size, MADV_DONTDUMP);
	return 0;
}

/*
 * Write faults map one page each, but where the file has large pages the kernel may map
 * the rest of one along, if none of it had an entry. Not so in a range that is registered
 * with a userfaultfd; nothing in it is ever protected, so it raises no event. Best
 * effort: without userfaultfd that rare case remains.
 */
static void one_page_faults(struct drover_holes *h, struct hole_block *b)
{
	if (h->uffd >= 0)
		drover_uffd_register(h->uffd, (uint64_t)(uintptr_t)b->watch, b->ram->size,
				     UFFDIO_REGISTER_MODE_WP);
}

static int block_open(struct drover_holes *h, struct hole_block *b,
		      const struct drover_ram_block *ram, struct drover_error *e)
{
	struct statfs fs;
	uint64_t size;
	int r;

	b->ram = ram;
	b->npages = drover_pages(ram->size);
	b->data = drover_bitmap_new(b->npages);
	if (!b->data)
		return block_err(b, -ENOMEM, "map of data", e);
	/* Data until the first harvest says what is none. */
	if (h->how == DROVER_HOLES_SEEN) {
		drover_bitmap_set_range(b->data, 0, b->npages);
		return 0;
	}
	b->fd = drover_datamap_open(ram);
	if (b->fd < 0)
		return block_err(b, b->fd, "open", e);
	r = drover_ramfile_size(b->fd, &size);
	if (r >= 0 && fstatfs(b->fd, &fs) < 0)
		r = -errno;
	if (r < 0)
		return block_err(b, r, "stat", e);
	b->tmpfs = fs.f_type == TMPFS_MAGIC;
	if (ram->fd_off > size || ram->size > size - ram->fd_off)
		return drover_err(e, -EINVAL, "ram %s: holes: the file ends before the block does",
				  ram->name);
	r = map_watch(b, e);
	if (r >= 0)
		r = drover_datamap_read(ram, b->data, e);
	if (r < 0)
		return r;
	/* Read faults and their neighbours are welcome here: nothing is promised yet. */
	r = drover_populate(b->watch, b->data, b->npages, MADV_POPULATE_READ);
	if (r < 0)
		return block_err(b, r, "populate the watch", e);
	one_page_faults(h, b);
	return 0;
}

static void holes_freep(struct drover_holes **h)
{
	drover_holes_free(*h);
}

int drover_holes_new(const struct drover_ram *ram, enum drover_holes_how how,
		     struct drover_holes **ret, struct drover_error *e)
{
	_cleanup_(holes_freep) struct drover_holes *h =
		calloc(1, sizeof(*h) + ram->n * sizeof(h->block[0]));
	unsigned int i;
	int r;

	if (!h)
		return drover_err(e, -ENOMEM, "holes: out of memory");
	h->how = how;
	h->uffd = -EBADF;
	h->pagemap.fd = -EBADF;
	h->n = ram->n;
	for (i = 0; i < ram->n; i++)
		h->block[i].fd = -EBADF;
	if (how != DROVER_HOLES_SEEN) {
		r = drover_pagemap_open(&h->pagemap, 0, e);
		if (r < 0)
			return r;
		drover_uffd_new(DROVER_UFFD_FEATURES, &h->uffd, NULL, NULL);
	}
	if (how == DROVER_HOLES_BEST && drover_pagemap_can_scan(&h->pagemap) < 0)
		h->how = DROVER_HOLES_READ;
	for (i = 0; i < ram->n; i++) {
		r = block_open(h, &h->block[i], &ram->block[i], e);
		if (r < 0)
			return r;
	}
	*ret = TAKE_PTR(h);
	return 0;
}

struct drover_holes *drover_holes_free(struct drover_holes *h)
{
	unsigned int i;

	if (!h)
		return NULL;
	for (i = 0; i < h->n; i++) {
		struct hole_block *b = &h->block[i];

		if (b->watch)
			munmap(b->watch, b->ram->size);
		drover_closep(&b->fd);
		free(b->data);
	}
	drover_closep(&h->uffd);
	drover_pagemap_deinit(&h->pagemap);
	free(h);
	return NULL;
}

const uint64_t *drover_holes_data(const struct drover_holes *h, unsigned int block)
{
	return block < h->n ? h->block[block].data : NULL;
}
