/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_POLICY_H
#define DROVER_ENGINE_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * When to stop the guest, slow it down, or give up: a pure function of what was measured
 * and what was asked for. Asked once after each harvest.
 */
enum drover_action {
	DROVER_ACTION_CONTINUE,         /* send another round */
	DROVER_ACTION_THROTTLE,         /* set throttle_next, then another round */
	DROVER_ACTION_SWITCHOVER,       /* stop the guest now */
	DROVER_ACTION_POSTCOPY,         /* run on the destination, send the rest later */
	DROVER_ACTION_GIVE_UP,          /* fail the migration; the guest runs on here */
	DROVER_ACTION_COUNT
};

/**
 * struct drover_policy_sample - what was measured; all zeros is a valid start
 * @remaining: bytes of guest RAM not sent since they were last written
 * @bandwidth: bytes/s drained, 0: not known
 * @dirty_rate: bytes/s written by the guest, between the last two harvests
 * @round: rounds sent
 * @stalled_rounds: rounds since @remaining was lowest; only told, not acted on
 * @expected_us: downtime if the guest were stopped now, DROVER_ESTIMATE_UNKNOWN: not known
 * @least_us: the same if no page remained
 * @elapsed_s: since migrate
 * @guest_paused: it does not run anyway, so slowing it down is no use
 * @ack_pending: switchover-ack is wanted and has not come: neither stop nor postcopy
 * @can_postcopy: postcopy is on and could start now
 * @postcopy_requested: migrate-start-postcopy came
 * @can_throttle: the guest link can
 * @throttle_percent: in force, 0: none
 * @high_rounds: in and out: harvests since the last step that found the guest too fast;
 *	the caller keeps it from call to call
 * @throttle_next: out, with DROVER_ACTION_THROTTLE: percent to set
 */
struct drover_policy_sample {
	uint64_t remaining;
	uint64_t bandwidth;
	uint64_t dirty_rate;
	uint64_t round;
	uint64_t stalled_rounds;
	uint64_t expected_us;
	uint64_t least_us;
	uint64_t elapsed_s;
	bool guest_paused;
	bool ack_pending;
	bool can_postcopy;
	bool postcopy_requested;
	bool can_throttle;
	unsigned int throttle_percent;
	unsigned int high_rounds;
	unsigned int throttle_next;
};

/** struct drover_policy_params - what was asked for: options by their names, '-' as '_' */
struct drover_policy_params {
	uint64_t downtime_limit_ms;
	uint64_t max_rounds;                    /* 0: no limit */
	uint64_t total_timeout_s;               /* 0: none */
	int on_no_converge;                     /* enum drover_opt_on_no_converge */
	bool auto_converge;
	unsigned int throttle_initial, throttle_increment, throttle_max; /* % */
	bool throttle_tailslow;
	unsigned int throttle_trigger;          /* %, dirty rate against bandwidth */
};

/**
 * drover_policy_next() - what comes next
 * @s: see which members are written
 * @why: one line for a person, without newline; cut to @size
 *
 * In this order: postcopy that was asked for; switchover when it fits the downtime limit,
 * or when nothing remains to be sent, since then waiting gains nothing; what
 * on-no-converge says once max-rounds or total-timeout is reached; auto-converge; else
 * another round. on-no-converge=postcopy waits where postcopy is not possible.
 *
 * auto-converge as in QEMU: two harvests (not necessarily in a row) with a dirty rate above
 * throttle-trigger-threshold percent of the bandwidth take one step: cpu-throttle-initial,
 * then cpu-throttle-increment more up to max-cpu-throttle; with tailslow no more than
 * would make the rates meet.
 */
enum drover_action drover_policy_next(struct drover_policy_sample *s,
				      const struct drover_policy_params *p, char *why,
				      size_t size);

#endif
