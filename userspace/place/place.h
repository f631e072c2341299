/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_PLACE_PLACE_H
#define DROVER_PLACE_PLACE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "ram/ram.h"

struct drover_cancel;
struct drover_error;

/*
 * The only writer of a destination's RAM. It knows where the RAM is, which pages of
 * it hold memory, and (with digests) what was placed in each page. Different threads
 * may place different pages at the same time; nobody places one page twice at a time.
 */
struct drover_place;

/**
 * drover_place_new() - take stock of the RAM
 * @ram: mapped blocks; outlives the handle
 * @digests: keep an XXH3-64 a page (1/512 of RAM)
 */
int drover_place_new(const struct drover_ram *ram, bool digests, struct drover_place **ret,
		     struct drover_error *e);
struct drover_place *drover_place_free(struct drover_place *p);

/* Keep the block's digests in @digest, one u64 a page, zero by now; it outlives the handle. */
void drover_place_lend_digests(struct drover_place *p, unsigned int block, uint64_t *digest);

/**
 * drover_place_expect() - the source says that these pages may hold data
 *
 * Return: 0, or -ERANGE when the run does not lie in the block.
 */
int drover_place_expect(struct drover_place *p, unsigned int block, uint64_t page,
			  uint64_t npages, struct drover_error *e);

/**
 * drover_place_open() - make the RAM fit to receive
 *
 * Empties everything outside the expected ranges (a page never sent counts as
 * zero, so it is made zero) and populates the expected ranges ahead of the data,
 * in threads of its own, never the holes. Blocks flagged DROVER_RAM_SHARED_DEST are
 * left alone.
 */
int drover_place_open(struct drover_place *p, const struct drover_cancel *c,
		      struct drover_error *e);

/**
 * drover_place_iov() - where a run of raw pages is to be received
 *
 * Return: 0, -ERANGE outside the block, -EPERM once sealed.
 */
int drover_place_iov(struct drover_place *p, unsigned int block, uint64_t page, uint64_t npages,
		     struct iovec *ret, struct drover_error *e);
/* The run's content is complete: digest it. */
void drover_place_done(struct drover_place *p, unsigned int block, uint64_t page, uint64_t npages);
/**
 * drover_place_zero() - a run reads as zero from here on
 *
 * A page that holds memory is cleared, never assumed clear; a hole stays a hole.
 */
int drover_place_zero(struct drover_place *p, unsigned int block, uint64_t page, uint64_t npages,
		      struct drover_error *e);

/* One digest a page of the block, 0 for a zero page; NULL without digests. */
const uint64_t *drover_place_digests(const struct drover_place *p, unsigned int block);

/* From here on every iov() and zero() fails with -EPERM: COMMIT has come. */
void drover_place_seal(struct drover_place *p);

#endif
