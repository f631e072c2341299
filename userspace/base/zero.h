/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_BASE_ZERO_H
#define DROVER_BASE_ZERO_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cpu.h"

/*
 * Is this page all zeros? @page: DROVER_PAGE_SIZE bytes, 64-byte aligned; may change
 * meanwhile (then the answer is about some mixture, and the tracker sees the write).
 * Ends at the first cache line that is not zero.
 */
typedef bool (*drover_zero_fn)(const void *page);

/** struct drover_zero_ops - one way to find out */
struct drover_zero_ops {
	const char *name;
	enum drover_cpu cpu;            /* what it needs */
	drover_zero_fn is_zero;
};

/* All there are, the fastest first; the last one runs everywhere. For tests and reports. */
const struct drover_zero_ops *drover_zero_table(size_t *ret_n);
/* The fastest this machine runs; the caller keeps it, nothing is remembered here. */
drover_zero_fn drover_zero_select(void);
/* For callers that look at few pages: selects each time. */
bool drover_page_is_zero(const void *page);

#endif
