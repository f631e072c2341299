/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_CHECK_H
#define DROVER_ENGINE_CHECK_H

#include "config/config.h"

struct drover_guest;

/* What this build and this guest link can do; what options need is the config's table. */
void drover_engine_have(struct drover_guest *g, struct drover_have *ret);

#endif
