/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_FEASIBLE_H
#define DROVER_ENGINE_FEASIBLE_H

#include <stdbool.h>

#include "config/config.h"

struct drover_guest;

/* What this build, host and guest link can do on this side; what options need is the config's table. */
void drover_engine_have(struct drover_guest *g, bool source, struct drover_have *ret);

#endif
