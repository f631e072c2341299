/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_BASE_ZERO_H
#define DROVER_BASE_ZERO_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cpu.h"

/*
 * Is this page all zeros? @page: DROVER_PAGE_SIZE bytes, 64-byte aligned. The page may change
 * during the call: then the answer is for a mixture of old and new content, and the tracker
 * reports the write. The scan ends at the first cache line that is not zero.
 */
typedef bool (*drover_zero_fn)(const void *page);

/** struct drover_zero_ops - one variant of the test for zero pages */
struct drover_zero_ops {
	const char *name;
	enum drover_cpu cpu;            /* the instruction set that it needs */
	drover_zero_fn is_zero;
};

/* All variants, the fastest first; the last one runs everywhere. For tests and reports. */
const struct drover_zero_ops *drover_zero_table(size_t *ret_n);
/* The fastest variant that runs on this machine. The caller keeps it: there is no cache here. */
drover_zero_fn drover_zero_select(void);
/* For callers that test few pages: each call selects a variant. */
bool drover_page_is_zero(const void *page);

#endif
