/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_PLACE_PLACE_H
#define DROVER_PLACE_PLACE_H

#include <stdbool.h>
#include <stdint.h>

#include "ram/ram.h"

struct drover_cancel;
struct drover_error;

/*
 * What writes to a destination's RAM. Content is received into it by one function,
 * drover_place_receive(), in precopy and in postcopy; which pages it may write to, how they
 * become visible and how they are made zero is told by a set of drover_place_ops. There are
 * two: drover_place_precopy below, and the destination engine's for postcopy, which has a
 * fault handler to clear pages and to publish them.
 */

/**
 * struct drover_place_ops - where pages go
 * @claim: of the pages [@page, @page + @n), @n > 0, those at its beginning that are alike:
 *	@ret_n of them, at least one; @ret_mine: nobody had claimed them, and now the caller
 *	has. Nobody receives into a page that it has not claimed
 * @host: where a block's content is received to; asked only with a claim in hand
 * @publish: the content of these runs is complete; all of them were claimed
 * @zero: pages [@page, @page + @n) read as zero from here on, but for those that somebody has
 *	claimed before
 *
 * Called by several threads at once. All but @host return 0 or a negative errno.
 */
struct drover_place_ops {
	int (*claim)(void *place, unsigned int block, uint64_t page, uint64_t n, uint64_t *ret_n,
		     bool *ret_mine, struct drover_error *e);
	uint8_t *(*host)(void *place, unsigned int block);
	int (*publish)(void *place, const struct drover_ram_run *run, unsigned int n,
		       struct drover_error *e);
	int (*zero)(void *place, unsigned int block, uint64_t page, uint64_t n,
		    struct drover_error *e);
};

/*
 * Precopy: knows where the RAM is, which pages of it hold memory, and (with digests) what
 * was placed in each page. Different threads may place different pages at the same time;
 * nobody places one page twice at a time.
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
 * drover_place_precopy - its argument is a struct drover_place
 *
 * Every claim is granted; @claim and @zero fail with -ERANGE outside the block and with
 * -EPERM once sealed. @zero clears a page that holds memory, it never assumes it clear; a
 * hole stays a hole.
 */
extern const struct drover_place_ops drover_place_precopy;

/* The digest of each page of the run, into the block's array; nothing when @digest is NULL. */
void drover_place_digest(uint64_t *digest, const uint8_t *content,
			 const struct drover_ram_run *run);

/* One digest a page of the block, 0 for a zero page; NULL without digests. */
const uint64_t *drover_place_digests(const struct drover_place *p, unsigned int block);

/* COMMIT has come: from here on nothing can be claimed or made zero. */
void drover_place_seal(struct drover_place *p);

#endif
