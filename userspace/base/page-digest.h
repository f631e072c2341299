/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_BASE_PAGE_DIGEST_H
#define DROVER_BASE_PAGE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include "base/cpu.h"

/*
 * Source and destination keep a digest of each page and compare them. The hash is XXH3-64 with
 * its default secret and no seed, by the xxHash specification that is frozen since 0.8.0; every
 * variant gives the same value. It finds accidents, not attacks: the peer is trusted with the
 * guest's memory anyway.
 *
 * The digest of a page is the hash of its 4096 bytes, with two exceptions: a page of zeros has
 * the digest 0, and any other page whose hash happens to be 0 has the digest 1. So a digest of 0
 * means that the page is zero or was never sent.
 */
typedef uint64_t (*drover_digest_fn)(const void *page);

/** struct drover_digest_ops - one variant of the page digest */
struct drover_digest_ops {
	const char *name;
	enum drover_cpu cpu;            /* the instruction set that it needs */
	drover_digest_fn digest;
};

/* All variants, the fastest first; the last one runs everywhere. For tests and reports. */
const struct drover_digest_ops *drover_digest_table(size_t *ret_n);
/* The fastest variant that runs on this machine. The caller keeps it: there is no cache here. */
drover_digest_fn drover_digest_select(void);
/* @page: DROVER_PAGE_SIZE bytes. Each call selects a variant, which costs a few ns. */
uint64_t drover_page_digest(const void *page);

/**
 * drover_digest_group() - one number for a group of page digests
 * @d: digests of neighbouring pages
 * @n: how many; 0 is allowed
 *
 * The two sides compare groups first: where the number of a group is equal, its page digests
 * need not be compared.
 *
 * Return: 0 when all digests are 0, else XXH3-64 over the digests as little-endian 64-bit words
 * (1 if that is 0).
 */
uint64_t drover_digest_group(const uint64_t *d, size_t n);

#endif
