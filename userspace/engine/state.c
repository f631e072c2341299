// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The states of a migration and the edges between them, as states.def says. Who changes a
 * state asks drover_state_edge() first (engine/migration.c); who shows one asks its name.
 */
#include "engine/state.h"

#include <stdint.h>
#include <string.h>

#include "base/cleanup.h"

enum { S = 1, D = 2 };

struct state_row {
	const char *name;
	bool running;
};

static const struct state_row states[DROVER_STATE_COUNT] = {
#define STATE(id, text, run) [DROVER_STATE_##id] = { (text), (run) },
#include "engine/states.def"
};

struct edge_row {
	uint8_t from, to, who;
};

static const struct edge_row edges[] = {
#define EDGE(a, b, w) { DROVER_STATE_##a, DROVER_STATE_##b, (w) },
#include "engine/states.def"
};

const char *drover_state_name(enum drover_state s)
{
	return (unsigned int)s < DROVER_STATE_COUNT ? states[s].name : "unknown";
}

int drover_state_from_name(const char *name)
{
	int s;

	for (s = 0; s < DROVER_STATE_COUNT; s++)
		if (!strcmp(states[s].name, name))
			return s;
	return -1;
}

bool drover_state_running(enum drover_state s)
{
	return (unsigned int)s < DROVER_STATE_COUNT && states[s].running;
}

bool drover_state_edge(enum drover_state from, enum drover_state to, bool source)
{
	size_t i;

	for (i = 0; i < DROVER_ARRAY_SIZE(edges); i++)
		if (edges[i].from == from && edges[i].to == to)
			return edges[i].who & (source ? S : D);
	return false;
}
