// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The tracker `kmod`: the kernel module watches the files guest RAM is made of, whoever
 * writes to them. Blocks may share a file, at offsets that are no multiple of a bitmap's
 * word, so each file is harvested once into maps of its own, and these are handed on.
 *
 * It is blind to vCPUs of KVM, which set no dirty bit that it reads. So select.c takes
 * the KVM log along where the guest offers one, and a guest that has vCPUs and offers
 * none is refused here, unless the module write-protects instead.
 *
 * Pinned pages, which a device may write: reported dirty by the first final harvest, as
 * nobody sees such a write; afterwards only drover_tracker_pinned() tells of them, and
 * who wants to know whether they have changed compares their content.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "dev/kmod.h"
#include "ram/ramfile.h"
#include "track/internal.h"

/**
 * struct kmod_file - one file, and what its harvest found
 * @fd: a block's
 * @attach: the module's descriptor; the watch ends with it
 * @first: page the maps begin with, a multiple of 64
 * @npages: length of the maps
 */
struct kmod_file {
	int fd;
	int attach;
	uint64_t first, npages;
	uint64_t *dirty, *hole, *pinned;
};

/**
 * struct kmod_state - an armed tracker
 * @final: the last harvest was a final one
 * @file: @n of them
 * @of: the file of each block
 * @hole: one map a block, as of the last harvest
 * @pinned: the same, as of the last final one
 */
struct kmod_state {
	const struct drover_ram *ram;
	bool final;
	unsigned int n;
	struct kmod_file file[DROVER_RAM_BLOCKS_MAX];
	unsigned int of[DROVER_RAM_BLOCKS_MAX];
	uint64_t *hole[DROVER_RAM_BLOCKS_MAX];
	uint64_t *pinned[DROVER_RAM_BLOCKS_MAX];
};

/* Has this process a virtual machine? 1, 0, or a negative errno when nobody may look. */
static int has_vcpus(int pid)
{
	char path[40], link[64];
	struct dirent *de;
	int r = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	if (!d)
		return -errno;
	while (!r && (de = readdir(d))) {
		ssize_t n = readlinkat(dirfd(d), de->d_name, link, sizeof(link) - 1);

		if (n < 0)      /* . and .., or closed meanwhile */
			continue;
		link[n] = '\0';
		r = strcmp(link, "anon_inode:kvm-vm") == 0;
	}
	closedir(d);
	return r;
}

/* Flags for the attach, or a negative errno when vCPUs would go unseen; then *@why. */
static int attach_flags(const struct drover_track_source *src, const struct drover_caps *caps,
			const char **why)
{
	int r;

	if (src->kvm_log)
		return 0;
	r = src->pid ? has_vcpus(src->pid) : -ESRCH;
	if (r == 0)
		return 0;
	if (caps->features & DROVER_CAP_PROTECT)
		return DROVER_ATTACH_PROTECT;
	*why = r > 0 ? "the guest has vCPUs, which the module does not see, and no KVM dirty log" :
	       "whether the guest has vCPUs, which the module does not see, can't be found out";
	return -EOPNOTSUPP;
}

/* The module, if it can do this. On failure @e says why. */
static int open_module(const struct drover_track_source *src, int *ret_dev, int *ret_flags,
		       struct drover_error *e)
{
	_cleanup_close_ int dev = -EBADF;
	const char *why = "";
	struct drover_caps caps;
	int r = drover_kdev_open(&dev, e);

	if (r >= 0)
		r = drover_kdev_caps(dev, &caps, e);
	if (r < 0)
		return r;
	if (!(caps.features & DROVER_CAP_ATTACH))
		return drover_err(e, -EOPNOTSUPP, DROVER_KDEV_PATH
				  ": this kernel or CPU does not let the module watch memory");
	*ret_flags = attach_flags(src, &caps, &why);
	if (*ret_flags < 0)
		return drover_err(e, *ret_flags, DROVER_KDEV_PATH ": %s", why);
	*ret_dev = TAKE_FD(dev);
	return 0;
}

static void kmod_stop(void *state)
{
	struct kmod_state *s = state;
	unsigned int i;

	if (!s)
		return;
	for (i = 0; i < s->n; i++) {
		drover_closep(&s->file[i].attach);
		free(s->file[i].dirty);
		free(s->file[i].hole);
		free(s->file[i].pinned);
	}
	for (i = 0; i < s->ram->n; i++) {
		free(s->hole[i]);
		free(s->pinned[i]);
	}
	free(s);
}

static void kmod_stopp(struct kmod_state **s)
{
	kmod_stop(*s);
}

/* The block's file, attached when it is a new one. */
static int file_of(struct kmod_state *s, unsigned int block, int dev, int flags,
		   struct drover_error *e)
{
	const struct drover_ram_block *b = &s->ram->block[block];
	uint64_t first = drover_pages(b->fd_off) & ~63ull;
	uint64_t end = drover_pages(b->fd_off) + drover_pages(b->size);
	struct kmod_file *f;
	unsigned int i;
	int r;

	for (i = 0; i < s->n; i++)
		if (drover_ramfile_same(s->file[i].fd, b->fd))
			break;
	f = &s->file[i];
	s->of[block] = i;
	if (i < s->n) {
		uint64_t old = f->first + f->npages;

		f->first = f->first < first ? f->first : first;
		f->npages = (old > end ? old : end) - f->first;
		return 0;
	}
	*f = (struct kmod_file){ .fd = b->fd, .attach = -EBADF, .first = first,
				 .npages = end - first };
	s->n++;
	r = drover_kdev_attach(dev, b->fd, (uint32_t)flags, &f->attach, NULL, e);
	if (r < 0)
		drover_err_prefix(e, "tracker kmod: ram %s: ", b->name);
	return r;
}

static int arm(struct kmod_state *s, struct drover_error *e)
{
	unsigned int i;
	int r;

	for (i = 0; i < s->n; i++) {
		struct kmod_file *f = &s->file[i];

		f->dirty = drover_bitmap_new(f->npages);
		f->hole = drover_bitmap_new(f->npages);
		f->pinned = drover_bitmap_new(f->npages);
		if (!f->dirty || !f->hole || !f->pinned)
			return drover_err(e, -ENOMEM, "tracker kmod: bitmaps: out of memory");
		r = drover_kdev_arm(f->attach, NULL, e);
		if (r < 0)
			return drover_err_prefix(e, "tracker kmod: "), r;
	}
	for (i = 0; i < s->ram->n; i++) {
		s->hole[i] = drover_bitmap_new(drover_pages(s->ram->block[i].size));
		s->pinned[i] = drover_bitmap_new(drover_pages(s->ram->block[i].size));
		if (!s->hole[i] || !s->pinned[i])
			return drover_err(e, -ENOMEM, "tracker kmod: bitmaps: out of memory");
	}
	return 0;
}

static int kmod_probe(const struct drover_track_source *src, char *why, size_t len)
{
	struct drover_error e = DROVER_ERROR_INIT;
	_cleanup_close_ int dev = -EBADF;
	int flags;

	if (open_module(src, &dev, &flags, &e) >= 0)
		return 1;
	snprintf(why, len, "%s", e.msg);
	return 0;
}

static int kmod_start(const struct drover_track_source *src, void **ret_state,
		      struct drover_error *e)
{
	_cleanup_(kmod_stopp) struct kmod_state *s = calloc(1, sizeof(*s));
	_cleanup_close_ int dev = -EBADF;
	unsigned int i;
	int r, flags;

	if (!s)
		return drover_err(e, -ENOMEM, "tracker kmod: out of memory");
	s->ram = src->ram;
	r = open_module(src, &dev, &flags, e);
	for (i = 0; r >= 0 && i < s->ram->n; i++)
		r = file_of(s, i, dev, flags, e);
	if (r >= 0)
		r = arm(s, e);
	if (r < 0)
		return r;
	*ret_state = TAKE_PTR(s);
	return 0;
}

/* 64 bits of @map from any bit on; those past its end are zero. */
static uint64_t bits_at(const uint64_t *map, uint64_t npages, uint64_t at)
{
	size_t word = (size_t)(at / 64), words = drover_bitmap_words(npages);
	unsigned int shift = at % 64;
	uint64_t v = map[word] >> shift;

	return shift && word + 1 < words ? v | map[word + 1] << (64 - shift) : v;
}

/* OR a block's part of a file's map into the block's. */
static void hand_on(uint64_t *to, uint64_t npages, const struct kmod_file *f, const uint64_t *from,
		    uint64_t at)
{
	uint64_t page;

	for (page = 0; page < npages; page += 64) {
		uint64_t v = bits_at(from, f->npages, at + page);

		if (npages - page < 64)
			v &= (1ull << (npages - page)) - 1;
		/* Most words have no news: do not make the map's pages dirty for them. */
		if (v)
			to[page / 64] |= v;
	}
}

/* Clear in a block's map what is set in its part of a file's. */
static void hand_off(uint64_t *map, uint64_t npages, const struct kmod_file *f,
		     const uint64_t *from, uint64_t at)
{
	uint64_t page;

	for (page = 0; page < npages; page += 64)
		if (map[page / 64])
			map[page / 64] &= ~bits_at(from, f->npages, at + page);
}

static int harvest_file(struct kmod_file *f, bool final, struct drover_error *e)
{
	struct drover_kdev_news news = {
		.map_dirty = f->dirty,
		.map_hole = f->hole,
		.map_pinned = final ? f->pinned : NULL,
	};

	memset(f->pinned, 0, drover_bitmap_bytes(f->npages));
	return drover_kdev_harvest(f->attach, f->first, f->npages, final, &news, e);
}

static int kmod_harvest(void *state, uint64_t *const *maps, bool final, struct drover_error *e)
{
	struct kmod_state *s = state;
	unsigned int i;
	int r;

	for (i = 0; i < s->n; i++) {
		/* What the file's maps still hold then is in the next harvest. */
		r = harvest_file(&s->file[i], final, e);
		if (r < 0)
			return drover_err_prefix(e, "tracker kmod: "), r;
	}
	for (i = 0; i < s->ram->n; i++) {
		const struct drover_ram_block *b = &s->ram->block[i];
		const struct kmod_file *f = &s->file[s->of[i]];
		uint64_t n = drover_pages(b->size), at = drover_pages(b->fd_off) - f->first;

		hand_on(maps[i], n, f, f->dirty, at);
		memset(s->hole[i], 0, drover_bitmap_bytes(n));
		hand_on(s->hole[i], n, f, f->hole, at);
		/* In both: something was there again before the harvest had ended. */
		hand_off(s->hole[i], n, f, f->dirty, at);
		memset(s->pinned[i], 0, drover_bitmap_bytes(n));
		hand_on(s->pinned[i], n, f, f->pinned, at);
		if (final && !s->final)
			drover_bitmap_or(maps[i], s->pinned[i], n);
	}
	for (i = 0; i < s->n; i++) {
		memset(s->file[i].dirty, 0, drover_bitmap_bytes(s->file[i].npages));
		memset(s->file[i].hole, 0, drover_bitmap_bytes(s->file[i].npages));
	}
	s->final = final;
	return 0;
}

static const uint64_t *kmod_holes(void *state, unsigned int block)
{
	const struct kmod_state *s = state;

	return s->hole[block];
}

static const uint64_t *kmod_pinned(void *state, unsigned int block)
{
	const struct kmod_state *s = state;

	return block < s->ram->n ? s->pinned[block] : NULL;
}

const struct drover_tracker_ops drover_tracker_kmod = {
	.name = "kmod",
	.guarantee = "every CPU writer through any mapping or system call, and punched holes",
	.no_vcpus = true,
	.sees_all = true,
	.probe = kmod_probe,
	.start = kmod_start,
	.harvest = kmod_harvest,
	.holes = kmod_holes,
	.pinned = kmod_pinned,
	.stop = kmod_stop,
};
