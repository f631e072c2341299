/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_TESTS_TRACK_VMM_H
#define DROVER_TESTS_TRACK_VMM_H

/*
 * A VMM as trackers see it, in this process: memfd blocks mapped once by "the VMM" and
 * once by "droverd", a userfaultfd and a pagemap.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "base/err.h"
#include "dev/uffd.h"
#include "track/internal.h"
#include "track/track.h"

#define VMM_BLOCKS_MAX 4u

struct vmm {
	struct drover_ram ram;
	struct drover_track_source src;
	uint8_t *map[VMM_BLOCKS_MAX];           /* the VMM's mapping */
	uint64_t *dirty[VMM_BLOCKS_MAX];        /* filled by harvests */
	uint64_t npages[VMM_BLOCKS_MAX];
};

/* Blocks of so many pages; each but the first lies at an offset in its file. */
__attribute__((unused))
static void vmm_open(struct vmm *v, const uint64_t *npages, unsigned int n)
{
	unsigned int i;

	memset(v, 0, sizeof(*v));
	v->ram.n = n;
	v->src.ram = &v->ram;
	v->src.uffd = -1;
	for (i = 0; i < n; i++) {
		struct drover_ram_block *b = &v->ram.block[i];

		snprintf(b->name, sizeof(b->name), "ram%u", i);
		b->size = npages[i] * DROVER_PAGE_SIZE;
		b->fd_off = i * 3 * DROVER_PAGE_SIZE;
		b->gpa = (uint64_t)i << 32;
		b->fd = memfd_create("unit", MFD_CLOEXEC);
		if (b->fd < 0 || ftruncate(b->fd, (off_t)(b->fd_off + b->size)) < 0)
			abort();
		b->host = mmap(NULL, b->size, PROT_READ | PROT_WRITE, MAP_SHARED, b->fd,
			       (off_t)b->fd_off);
		v->map[i] = mmap(NULL, b->size, PROT_READ | PROT_WRITE, MAP_SHARED, b->fd,
				 (off_t)b->fd_off);
		if (b->host == MAP_FAILED || v->map[i] == MAP_FAILED)
			abort();
		v->npages[i] = npages[i];
		v->dirty[i] = drover_bitmap_new(npages[i]);
		v->src.block[i].base = (uintptr_t)v->map[i];
	}
	if (drover_uffd_new(DROVER_UFFD_FEATURES, &v->src.uffd, NULL, NULL) < 0)
		v->src.uffd = -1;
	v->src.pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
}

__attribute__((unused))
static void vmm_close(struct vmm *v)
{
	unsigned int i;

	for (i = 0; i < v->ram.n; i++) {
		munmap(v->ram.block[i].host, v->ram.block[i].size);
		munmap(v->map[i], v->ram.block[i].size);
		close(v->ram.block[i].fd);
		free(v->dirty[i]);
	}
	if (v->src.uffd >= 0)
		close(v->src.uffd);
	close(v->src.pagemap_fd);
}

__attribute__((unused))
static void vmm_punch(struct vmm *v, unsigned int i, uint64_t page, uint64_t n)
{
	struct drover_ram_block *b = &v->ram.block[i];

	if (fallocate(b->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)(b->fd_off + page * DROVER_PAGE_SIZE),
		      (off_t)(n * DROVER_PAGE_SIZE)) < 0)
		abort();
}

__attribute__((unused))
static void vmm_write(struct vmm *v, unsigned int i, uint64_t page, uint8_t byte)
{
	memset(v->map[i] + page * DROVER_PAGE_SIZE, byte, DROVER_PAGE_SIZE);
}

/* droverd's read: the compiler must not drop it. */
__attribute__((unused))
static uint8_t vmm_own_read(struct vmm *v, unsigned int i, uint64_t page)
{
	return *(volatile uint8_t *)(v->ram.block[i].host + page * DROVER_PAGE_SIZE);
}

__attribute__((unused))
static void vmm_clear_dirty(struct vmm *v)
{
	unsigned int i;

	for (i = 0; i < v->ram.n; i++)
		memset(v->dirty[i], 0, drover_bitmap_bytes(v->npages[i]));
}

__attribute__((unused))
static uint64_t vmm_rand(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

/* Is this machine able to run pagemap-scan? Prints why not as a skip. */
#define VMM_NEEDS_SCAN(v)                                                         \
	do {                                                                      \
		char why_[200];                                                   \
		if (drover_tracker_pagemap_scan.probe(&(v)->src, why_,            \
						      sizeof(why_)) <= 0) {       \
			tap_skip("pagemap-scan: %s", why_);                       \
			return tap_done();                                        \
		}                                                                 \
	} while (0)

#endif
