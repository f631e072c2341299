/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_SOURCE_PRECOPY_H
#define DROVER_ENGINE_SOURCE_PRECOPY_H

#include <stdint.h>

struct drover_error;
struct drover_source;

/**
 * struct converge - the policy's memory from one round to the next; written by precopy.c
 *	alone, in the source's thread
 * @throttle: percent taken from the guest now
 * @high_rounds: rounds in a row in which the guest wrote too fast
 * @lowest, @lowest_round: bytes: the least that remained, and after which round
 */
struct converge {
	unsigned int throttle;
	unsigned int high_rounds;
	uint64_t lowest;
	uint32_t lowest_round;
};

/* Rounds, until the guest is to be stopped. */
int source_precopy(struct drover_source *s, struct drover_error *e);
/* What comes after a round */
enum decision { DECIDE_ROUND, DECIDE_STOP, DECIDE_STOP_POSTCOPY };
/* enum decision; or < 0: give up */
int source_decide(struct drover_source *s, struct drover_error *e);
/* The guest runs at full speed again. */
void source_unthrottle(struct drover_source *s);

#endif
