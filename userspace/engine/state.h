/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_STATE_H
#define DROVER_ENGINE_STATE_H

#include <stdatomic.h>
#include <stdbool.h>

/* MigrationStatus of the QMP schema; states.def is the table. */
enum drover_state {
#define STATE(id, name, running) DROVER_STATE_##id,
#include "engine/states.def"
	DROVER_STATE_COUNT
};

const char *drover_state_name(enum drover_state s);
/* -1 for an unknown name */
int drover_state_from_name(const char *name);
/* "running" as QEMU's migration_is_running(): not none, cancelled, completed, failed */
bool drover_state_running(enum drover_state s);
/* @source: whose table */
bool drover_state_edge(enum drover_state from, enum drover_state to, bool source);

#endif
