/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_ESTIMATE_H
#define DROVER_ENGINE_ESTIMATE_H

#include <stdint.h>

/*
 * The downtime if the guest were stopped now, in the parts that it is accounted in
 * afterwards (downtime-*-us). Pure functions of what was measured in this migration:
 * nothing is known about the machine beforehand.
 */

/* Expected downtime when nothing is known about the time that pages take. */
#define DROVER_ESTIMATE_UNKNOWN UINT64_MAX

/**
 * struct drover_drain - what rounds took, from the first byte until all was placed
 *
 * Weighted sums for a straight line, time = wait + bytes / speed, fitted so that the error
 * relative to a round's time is least: short rounds, which the last one will resemble,
 * count as much as the first. A round counts half of the one after it. All zeros: nothing yet.
 */
struct drover_drain {
	double n, x, y, xx, xy;
};

/* Add a round of @bytes that took @us; rounds that sent nothing say something, too. */
void drover_drain_add(struct drover_drain *d, uint64_t bytes, uint64_t us);
/*
 * How long @bytes would take: us, DROVER_ESTIMATE_UNKNOWN before the first round.
 * @least: of any round: the answer's way
 */
uint64_t drover_drain_us(const struct drover_drain *d, uint64_t bytes, uint64_t least);

/**
 * struct drover_estimate_input - what was measured; all zeros is a valid start
 * @drain: rounds so far
 * @bandwidth: bytes/s that the user promises for the switchover; 0: by @drain
 * @remaining: bytes dirty at the last harvest
 * @dirty_rate: bytes/s written by the guest
 * @since_us: since that harvest began; what is written until the stop is not in @remaining
 * @rtt_us: round trip on the main channel
 * @harvest_us: a harvest soon after another
 * @digest_us: groups to digest here when the guest has stopped
 * @compare_us: all groups, on the destination; 0 with verify=none
 */
struct drover_estimate_input {
	struct drover_drain drain;
	uint64_t bandwidth;
	uint64_t remaining;
	uint64_t dirty_rate;
	uint64_t since_us;
	uint64_t rtt_us;
	uint64_t harvest_us;
	uint64_t digest_us;
	uint64_t compare_us;
};

/**
 * struct drover_estimate - the parts in us, and their sum; saturated
 *
 * What stopping the guest, saving and loading its state and resuming it take is not known
 * before it is done: of these only the round trips are in.
 */
struct drover_estimate {
	uint64_t harvest;
	uint64_t pages;
	uint64_t state;
	uint64_t digest;
	uint64_t commit;
	uint64_t whole;         /* DROVER_ESTIMATE_UNKNOWN when a part is unknown */
	uint64_t least;         /* the whole if no page remained */
};

void drover_estimate(const struct drover_estimate_input *in, struct drover_estimate *ret);

#endif
