/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_SOURCE_ROUNDS_H
#define DROVER_ENGINE_SOURCE_ROUNDS_H

#include <stdbool.h>

#include "engine/source/work.h"

struct drover_error;
struct drover_source;

/* Before the first round: what RANGES named is what the first harvest would have found. */
void source_first_harvest(struct drover_source *s);
/* @final: the guest is stopped */
int source_harvest(struct drover_source *s, bool final, struct drover_error *e);
/* Look again, between two harvests that count: the guest has had no time to write much. */
int source_harvest_again(struct drover_source *s, struct drover_error *e);
/* Send what the last harvest found, until the destination has placed it. */
int source_round(struct drover_source *s, enum work_kind kind, struct drover_error *e);
/* max-bandwidth, in postcopy max-postcopy-bandwidth, or our share of the host's. */
void source_apply_limit(struct drover_source *s);

#endif
