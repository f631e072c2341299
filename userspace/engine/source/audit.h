/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_SOURCE_AUDIT_H
#define DROVER_ENGINE_SOURCE_AUDIT_H

#include <stdint.h>

struct drover_error;
struct drover_source;

/* The guest is stopped, and pages are dirty all the same: some of them are named. */
void source_name_late(struct drover_source *s);
/* Re-hash all pages that were sent; @ret_bad of them differ and were named. */
int source_rehash(struct drover_source *s, uint64_t *ret_bad, struct drover_error *e);

#endif
