/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_SOURCE_METER_H
#define DROVER_ENGINE_SOURCE_METER_H

/*
 * What the source has measured. Pure arithmetic: every time is an argument, so that tests
 * need no clock.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/estimate.h"

/**
 * struct meter - written by meter.c alone; all but @raw and @zero in the source's thread
 * @raw, @zero: pages sent, by any thread
 * @dirty_pages, @harvest_ns, @harvest_us: what the last harvest found, when it began, how long
 *	it took
 * @dirty_rate: bytes/s that the guest writes
 * @drain: how long rounds took
 * @bandwidth: bytes/s that arrive, 0: not known yet
 * @rate_ns, @rate_bytes: measured, and too short to be in @bandwidth yet
 * @rtt_us: of the main channel
 * @expected_us: downtime; DROVER_ESTIMATE_UNKNOWN: nobody knows
 * @tick_ns, @tick_bytes, @tick_pages: where the last interval ended, for the rates shown
 */
struct meter {
	_Atomic uint64_t raw, zero;
	uint64_t dirty_pages, harvest_ns, harvest_us;
	uint64_t dirty_rate;
	struct drover_drain drain;
	uint64_t bandwidth;
	uint64_t rate_ns, rate_bytes;
	uint64_t rtt_us;
	uint64_t expected_us;
	uint64_t tick_ns, tick_bytes, tick_pages;
};

void meter_start(struct meter *t, uint64_t now);
/* Pages have been sent. Any thread. */
void meter_sent(struct meter *t, uint64_t raw, uint64_t zero);

/* A harvest from @begin to @end found @pages dirty. */
void meter_harvest(struct meter *t, uint64_t begin, uint64_t end, uint64_t pages);
/**
 * meter_dirty_rate() - how fast the guest writes
 * @before: when the harvest before the last one began; 0: there was none
 * @ret_pages: pages/s
 *
 * Return: false: it can't be told, and nothing has changed.
 */
bool meter_dirty_rate(struct meter *t, uint64_t before, uint64_t *ret_pages);
/* The harvest before the last one took @us: what disturbs one makes it longer, never shorter. */
void meter_harvest_before(struct meter *t, uint64_t us);
/* What the last harvest found: pages, and bytes */
static inline uint64_t meter_dirty(const struct meter *t)
{
	return t->dirty_pages;
}

uint64_t meter_remaining(const struct meter *t);

/**
 * meter_drained() - a round is over
 * @bytes: that arrived, not what was put into socket buffers
 *
 * Return: the new bandwidth, 0: short rounds are added up until they say something.
 */
uint64_t meter_drained(struct meter *t, uint64_t ns, uint64_t bytes);
void meter_rtt(struct meter *t, uint64_t us);

/**
 * meter_expect() - the downtime if the guest were stopped at @now
 * @bandwidth: what the user promises for the switchover; 0: nothing
 * @digest_us, @compare_us: for groups that are stale, and for all
 * @running: the guest runs, and so dirties more until then
 */
void meter_expect(struct meter *t, uint64_t now, uint64_t bandwidth, bool running,
		  uint64_t digest_us, uint64_t compare_us, struct drover_estimate *ret);
/* The same when the guest does not wait for its pages (postcopy). */
void meter_expect_no_pages(struct meter *t, struct drover_estimate *est);

/** struct meter_rates - of an interval */
struct meter_rates {
	double mbps;
	uint64_t pages_per_second;
};
/* At most every 100 ms; false: not yet. */
bool meter_rates(struct meter *t, uint64_t now, uint64_t bytes, struct meter_rates *ret);

#endif
