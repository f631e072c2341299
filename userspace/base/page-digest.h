/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_BASE_PAGE_DIGEST_H
#define DROVER_BASE_PAGE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include "base/cpu.h"

/*
 * What both sides keep of each page, and compare. The hash is XXH3-64 with its default
 * secret and no seed, as of the xxHash specification that is frozen since 0.8.0; every
 * variant gives the same value. It finds accidents, not attackers: the peer is trusted
 * with the guest's memory anyway.
 *
 * A page's digest is the hash of its 4096 bytes, but 0 for a page of zeros, and 1 for any
 * other page whose hash happens to be 0. So 0 means "zero, or never sent".
 */
typedef uint64_t (*drover_digest_fn)(const void *page);

/** struct drover_digest_ops - one way to compute it */
struct drover_digest_ops {
	const char *name;
	enum drover_cpu cpu;            /* what it needs */
	drover_digest_fn digest;
};

/* All there are, the fastest first; the last one runs everywhere. For tests and reports. */
const struct drover_digest_ops *drover_digest_table(size_t *ret_n);
/* The fastest this machine runs; the caller keeps it, nothing is remembered here. */
drover_digest_fn drover_digest_select(void);
/* @page: DROVER_PAGE_SIZE bytes. Selects each time, which costs a few ns. */
uint64_t drover_page_digest(const void *page);

/**
 * drover_digest_group() - one number for a group of page digests
 * @d: digests of neighbouring pages
 * @n: how many; 0 is allowed
 *
 * Return: 0 when all are 0, else XXH3-64 over the digests as little-endian 64-bit words
 * (1 if that is 0). Groups are the leaves of the comparison: equal groups need no look
 * at their pages.
 */
uint64_t drover_digest_group(const uint64_t *d, size_t n);

#endif
