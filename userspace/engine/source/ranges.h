/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_SOURCE_RANGES_H
#define DROVER_ENGINE_SOURCE_RANGES_H

/* Messages of runs of pages: which pages are to come, and which have arrived. */
#include <stddef.h>
#include <stdint.h>

struct drover_error;
struct drover_source;

/* RANGES: the first round sends exactly what they name, so they are what is dirty first. */
int source_send_ranges(struct drover_source *s, struct drover_error *e);
/* DISCARD, after the final round of a postcopy: the pages that are dirty come later. */
int source_send_discard(struct drover_source *s, struct drover_error *e);
int source_send_discard_last(struct drover_source *s, struct drover_error *e);
/* RECOVER, the answer to a resumed HELLO: what the destination does not name is dirty. */
int source_read_recover(struct drover_source *s, uint64_t deadline, struct drover_error *e);
/* A RELEASE of @len bytes came on main: the destination holds these pages for good. */
int source_release(struct drover_source *s, size_t len, struct drover_error *e);

#endif
