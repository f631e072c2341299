/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_DEV_PAGEMAP_H
#define DROVER_DEV_PAGEMAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/kernel-compat.h"

struct drover_error;

/* Bits of an entry of /proc/PID/pagemap */
#define DROVER_PAGEMAP_SOFT_DIRTY (1ull << 55)
#define DROVER_PAGEMAP_PRESENT (1ull << 63)

/**
 * struct drover_pagemap - one process's /proc/PID/pagemap
 * @fd: owned when it was opened here
 *
 * Several threads may look at it at once. The address space is the one of the process that
 * opened the file, whoever holds the descriptor.
 */
struct drover_pagemap {
	int fd;
	bool own_fd;
};

/* Wrap a descriptor somebody passed; it stays theirs. */
void drover_pagemap_init(struct drover_pagemap *p, int fd);
/* Open the file of @pid, 0 for this process. */
int drover_pagemap_open(struct drover_pagemap *p, int pid, struct drover_error *e);
/* Accepts what init or open left behind on failure, and a zeroed struct. */
void drover_pagemap_deinit(struct drover_pagemap *p);

/**
 * drover_pagemap_fn - takes one range of pages, [start, end), in address order
 *
 * A non-zero return ends the walk and becomes its result.
 */
typedef int drover_pagemap_fn(void *arg, uint64_t start, uint64_t end);

/**
 * struct drover_pagemap_query - which pages PAGEMAP_SCAN looks for
 * @flags: PM_SCAN_*
 * @mask: PAGE_IS_* a page must have
 * @inverted: those of @mask it must not have
 */
struct drover_pagemap_query {
	uint64_t flags;
	uint64_t mask;
	uint64_t inverted;
};

/* Does the kernel know PAGEMAP_SCAN? 0, or -ENOTTY before Linux 6.7, or another negative errno. */
int drover_pagemap_can_scan(struct drover_pagemap *p);

/**
 * drover_pagemap_scan() - PAGEMAP_SCAN over [start, start+len), to its end
 *
 * With PM_SCAN_WP_MATCHING each page is write-protected as it is found, atomically
 * with respect to its writers, whether or not @fn then fails.
 *
 * Return: 0, what @fn returned, or a negative errno.
 */
int drover_pagemap_scan(struct drover_pagemap *p, const struct drover_pagemap_query *q,
			uint64_t start, uint64_t len, drover_pagemap_fn *fn, void *arg);

/* Ranges of [start, start+len) whose entry has @bit equal to @value, by read(2): any kernel. */
int drover_pagemap_read(struct drover_pagemap *p, uint64_t bit, bool value, uint64_t start,
			uint64_t len, drover_pagemap_fn *fn, void *arg);

#endif
