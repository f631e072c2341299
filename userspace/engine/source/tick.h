/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_SOURCE_TICK_H
#define DROVER_ENGINE_SOURCE_TICK_H

#include <stdint.h>

struct drover_source;
struct drover_estimate;

/* Statistics as they are now; cheap enough to be called whenever the source's thread looks up. */
void source_tick(struct drover_source *s);
/* The expected downtime and its parts, unless they are unknown. */
void source_tell_expected(struct drover_source *s, const struct drover_estimate *est);
/* The guest dirties @pages a second, and as many bytes as the meter says. */
void source_tell_dirty_rate(struct drover_source *s, uint64_t pages);
/* A round is over: it began at @t0, when @sent0 bytes had been sent. */
void source_tell_round(struct drover_source *s, uint64_t t0, uint64_t sent0);

#endif
