/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_GUEST_SIM_PAGE_H
#define DROVER_GUEST_SIM_PAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/units.h"

/*
 * What is in a page of a simulated guest: a pure function of the guest's seed, the
 * page's number and its version, and the version can be read back from the page.
 * Version 0 is a page that was never written, all zeros. A page of version 1 or more
 * never begins with eight zero bytes, and does not compress.
 */

/** sim_page_fill() - write version @version (>= 1) of page @page to @at, page aligned */
void sim_page_fill(uint8_t *at, uint64_t seed, uint64_t page, uint64_t version);

/* The version the page says it has, whatever else is in it. */
uint64_t sim_page_version(const uint8_t *at, uint64_t seed, uint64_t page);

/* Is every byte as it should be in the version it says? */
bool sim_page_ok(const uint8_t *at, uint64_t seed, uint64_t page);

/*
 * Part of one page in the sum over all pages, which wraps. Zero for version 0, so that
 * a page never written adds nothing; otherwise any other version adds something else.
 */
uint64_t sim_page_mix(uint64_t page, uint64_t version);

/* Does the page start out never written? @percent of all pages, spread by @seed. */
bool sim_page_untouched(uint64_t seed, uint64_t page, unsigned int percent);

#endif
