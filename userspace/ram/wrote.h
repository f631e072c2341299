/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_RAM_WROTE_H
#define DROVER_RAM_WROTE_H

#include <stdbool.h>
#include <stdint.h>

#include "ram/ram.h"

struct drover_error;

/*
 * What a VMM says of the writes that no tracker of page tables can see: those of devices.
 * Direct I/O marks a page when the request is submitted and writes to it later, so a
 * harvest in between takes the mark and leaves the write. The VMM therefore says when a
 * request has ended, in a memfd that both processes map: a bit for each page that was
 * written, or, coarser, how many requests are under way.
 *
 * The file: a page that is struct wrote_header in wrote.c, then for each block, in block
 * order, its bitmap (base/bitmap.h), each beginning at a multiple of the page size.
 */
struct drover_wrote;

/** drover_wrote_new() - the VMM's end: make the file. @ret is freed by drover_wrote_free() */
int drover_wrote_new(const struct drover_ram *ram, struct drover_wrote **ret,
		     struct drover_error *e);
/**
 * drover_wrote_open() - droverd's end: map a file that a VMM has made
 * @fd: taken over, also on failure
 *
 * Return: 0, -EPROTO for a file that is not of this RAM or could be shortened, or another
 * negative errno.
 */
int drover_wrote_open(int fd, const struct drover_ram *ram, struct drover_wrote **ret,
		      struct drover_error *e);
struct drover_wrote *drover_wrote_free(struct drover_wrote *w);
/* The descriptor to hand over; stays the handle's. */
int drover_wrote_fd(const struct drover_wrote *w);

/*
 * The VMM's, from any thread, without a lock. mark: pages [first, first + n) of the block
 * have been written. begin, end: around a request whose pages nobody marks; what begin
 * returned goes to end, from any thread.
 */
void drover_wrote_mark(struct drover_wrote *w, unsigned int block, uint64_t first, uint64_t n);
unsigned int drover_wrote_begin(struct drover_wrote *w);
void drover_wrote_end(struct drover_wrote *w, unsigned int token);

/*
 * droverd's, one thread at a time. take: OR into @map what was marked, and forget it; bits
 * past the last page are ignored. The epoch, 0 or 1, is where begin counts new requests;
 * under_way counts those of one epoch, at most as many as there are and no fewer.
 */
void drover_wrote_take(struct drover_wrote *w, unsigned int block, uint64_t npages, uint64_t *map);
unsigned int drover_wrote_epoch(const struct drover_wrote *w);
void drover_wrote_set_epoch(struct drover_wrote *w, unsigned int epoch);
uint64_t drover_wrote_under_way(const struct drover_wrote *w, unsigned int epoch);

#endif
