// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What is explored. Faults are a budget of all hosts together, given by the command line;
 * restarts and the operator's commands are no faults. An own by force at a destination
 * whose source lives, and then a migration on, is a corner that nobody can close
 * (Documentation/ownership.rst): three hosts in a row are explored without force.
 */
#include "model.h"

#define PRE OWNER_KIND_PRECOPY
#define POST OWNER_KIND_POSTCOPY
#define ONE OWNER_KIND_ONE_WAY

const struct scenario scenarios[] = {
	{ .name = "precopy", .hosts = 2, .sessions = 1, .plan = { { 0, 1, PRE } }, .cancels = 1 },
	{ .name = "precopy, tried twice", .hosts = 2, .sessions = 2,
	  .plan = { { 0, 1, PRE }, { 0, 1, PRE } }, .cancels = 1, .stray = true },
	{ .name = "precopy, the user types", .hosts = 2, .sessions = 1, .plan = { { 0, 1, PRE } },
	  .users = 2, .cancels = 1 },
	{ .name = "a stopped guest", .hosts = 2, .sessions = 1, .plan = { { 0, 1, PRE } },
	  .users = 2, .cancels = 1, .stopped = true },
	{ .name = "own and release by force", .hosts = 2, .sessions = 1, .plan = { { 0, 1, PRE } },
	  .users = 1, .force = true, .stray = true },
	{ .name = "a VMM dies", .hosts = 2, .sessions = 1, .plan = { { 0, 1, PRE } }, .users = 1,
	  .deaths = 1, .force = true, .stray = true },
	{ .name = "copies are discarded", .hosts = 2, .sessions = 1, .plan = { { 0, 1, PRE } },
	  .force = true, .stray = true, .discard = true },
	{ .name = "postcopy", .hosts = 2, .sessions = 1, .plan = { { 0, 1, POST } }, .users = 1,
	  .cancels = 1, .stray = true },
	{ .name = "postcopy, by force, a VMM dies", .hosts = 2, .sessions = 1,
	  .plan = { { 0, 1, POST } }, .deaths = 1, .force = true, .stray = true },
	{ .name = "one-way", .hosts = 2, .sessions = 1, .plan = { { 0, 1, ONE } }, .users = 1,
	  .cancels = 1, .force = true },
	{ .name = "shared RAM, a stranger", .hosts = 2, .sessions = 1, .plan = { { 0, 1, PRE } },
	  .cancels = 1, .shared = true, .stranger = true, .stray = true },
	{ .name = "a stranger", .hosts = 2, .sessions = 1, .plan = { { 0, 1, PRE } }, .cancels = 1,
	  .stranger = true, .stray = true },
	{ .name = "there and back", .hosts = 2, .sessions = 2,
	  .plan = { { 0, 1, PRE }, { 1, 0, PRE } }, .users = 1, .stray = true },
	{ .name = "there and back, by force", .hosts = 2, .sessions = 2,
	  .plan = { { 0, 1, PRE }, { 1, 0, PRE } }, .force = true },
	{ .name = "there and back, postcopy", .hosts = 2, .sessions = 2,
	  .plan = { { 0, 1, POST }, { 1, 0, POST } }, .stray = true },
	{ .name = "there and back, a VMM dies", .hosts = 2, .sessions = 2,
	  .plan = { { 0, 1, PRE }, { 1, 0, PRE } }, .deaths = 1, .force = true, .less = 1 },
	{ .name = "three hosts in a row", .hosts = 3, .sessions = 2,
	  .plan = { { 0, 1, PRE }, { 1, 2, PRE } }, .stray = true },
	{ .name = "three hosts, postcopy first", .hosts = 3, .sessions = 2,
	  .plan = { { 0, 1, POST }, { 1, 2, PRE } } },
	{ .name = "three hosts, a VMM dies", .hosts = 3, .sessions = 2,
	  .plan = { { 0, 1, PRE }, { 1, 2, PRE } }, .deaths = 1, .less = 1 },
	{ .name = "three hosts, round", .hosts = 3, .sessions = 3,
	  .plan = { { 0, 1, PRE }, { 1, 2, PRE }, { 2, 0, PRE } } },
};

const unsigned int nscenarios = sizeof(scenarios) / sizeof(scenarios[0]);
