// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The decision after each harvest. No I/O, no clock, no memory: whatever must be known
 * from earlier calls is in the sample. Arithmetic saturates: a peer's round trip or a
 * user's limit may be anything. Called by the source's rounds; the table of cases is the
 * unit test.
 */
#include "engine/policy.h"

#include <inttypes.h>
#include <stdio.h>

#include "config/config.h"
#include "engine/estimate.h"

#define US_PER_S UINT64_C(1000000)
#define US_PER_MS UINT64_C(1000)
/* Harvests with a guest that is too fast before the next step. */
#define HIGH_ROUNDS 2u

typedef unsigned __int128 u128;

/* a * b / c, c > 0 */
static uint64_t sat_mul_div(uint64_t a, uint64_t b, uint64_t c)
{
	u128 v = (u128)a * b / c;

	return v > UINT64_MAX ? UINT64_MAX : (uint64_t)v;
}

static const char *text_ms(uint64_t us, char buf[32])
{
	if (us == DROVER_ESTIMATE_UNKNOWN)
		return "unknown";
	snprintf(buf, 32, "%" PRIu64 ".%" PRIu64 " ms", us / US_PER_MS, us % US_PER_MS / 100);
	return buf;
}

/* Which limit has been reached, or NULL. */
static const char *limit_reached(const struct drover_policy_sample *s,
				 const struct drover_policy_params *p)
{
	if (p->max_rounds && s->round >= p->max_rounds)
		return "max-rounds";
	if (p->total_timeout_s && s->elapsed_s >= p->total_timeout_s)
		return "total-timeout";
	return NULL;
}

/* What on-no-converge makes of a reached limit; CONTINUE: nothing. */
static enum drover_action no_converge(const struct drover_policy_sample *s,
				      const struct drover_policy_params *p)
{
	switch (p->on_no_converge) {
	case DROVER_ON_NO_CONVERGE_CANCEL:
		return DROVER_ACTION_GIVE_UP;
	case DROVER_ON_NO_CONVERGE_SWITCHOVER:
		return s->ack_pending ? DROVER_ACTION_CONTINUE : DROVER_ACTION_SWITCHOVER;
	case DROVER_ON_NO_CONVERGE_POSTCOPY:
		return s->ack_pending || !s->can_postcopy ? DROVER_ACTION_CONTINUE :
							    DROVER_ACTION_POSTCOPY;
	default:
		return DROVER_ACTION_CONTINUE;
	}
}

static unsigned int next_throttle(const struct drover_policy_sample *s,
				  const struct drover_policy_params *p, uint64_t threshold)
{
	uint64_t now = s->throttle_percent, step = p->throttle_increment, next;

	if (!now) {
		next = p->throttle_initial;
	} else {
		if (p->throttle_tailslow && now < 100) {
			uint64_t cpu = 100 - now;
			uint64_t ideal = sat_mul_div(cpu, threshold, s->dirty_rate);

			if (cpu - ideal < step)
				step = cpu - ideal;
		}
		next = now + step;
	}
	return (unsigned int)(next < p->throttle_max ? next : p->throttle_max);
}

/* One step of auto-converge when it is due; counts in s->high_rounds. */
static bool throttle_due(struct drover_policy_sample *s, const struct drover_policy_params *p)
{
	uint64_t threshold = sat_mul_div(s->bandwidth, p->throttle_trigger, 100);

	if (!p->auto_converge || !s->can_throttle || s->guest_paused || !s->bandwidth)
		return false;
	if (s->dirty_rate <= threshold || ++s->high_rounds < HIGH_ROUNDS)
		return false;
	s->high_rounds = 0;
	s->throttle_next = next_throttle(s, p, threshold);
	return s->throttle_next != s->throttle_percent;
}

/* The reason for another round. */
static void why_continue(const struct drover_policy_sample *s,
			 const struct drover_policy_params *p, uint64_t expected, char *why,
			 size_t size)
{
	uint64_t limit = sat_mul_div(p->downtime_limit_ms, US_PER_MS, 1);
	char a[32], b[32];

	if (s->ack_pending && (expected <= limit || !s->remaining))
		snprintf(why, size, "the destination has not allowed the switchover yet");
	else if (expected == DROVER_ESTIMATE_UNKNOWN)
		snprintf(why, size, "no bandwidth is known yet");
	else if (s->least_us > limit)
		snprintf(why, size,
			 "all but the pages takes %s, more than downtime-limit %s",
			 text_ms(s->least_us, a), text_ms(limit, b));
	else if (s->stalled_rounds)
		snprintf(why, size, "expected downtime %s is above downtime-limit %s, "
			 "no progress for %" PRIu64 " rounds", text_ms(expected, a),
			 text_ms(limit, b), s->stalled_rounds);
	else
		snprintf(why, size, "expected downtime %s is above downtime-limit %s",
			 text_ms(expected, a), text_ms(limit, b));
}

enum drover_action drover_policy_next(struct drover_policy_sample *s,
				      const struct drover_policy_params *p, char *why, size_t size)
{
	uint64_t expected = s->expected_us;
	uint64_t limit = sat_mul_div(p->downtime_limit_ms, US_PER_MS, 1);
	const char *reached = limit_reached(s, p);
	enum drover_action act;
	char a[32], b[32];

	s->throttle_next = s->throttle_percent;
	if (s->can_postcopy && !s->ack_pending && s->postcopy_requested) {
		snprintf(why, size, "postcopy: asked for");
		return DROVER_ACTION_POSTCOPY;
	}
	if (!s->ack_pending && expected != DROVER_ESTIMATE_UNKNOWN && expected <= limit) {
		snprintf(why, size, "expected downtime %s is within downtime-limit %s",
			 text_ms(expected, a), text_ms(limit, b));
		return DROVER_ACTION_SWITCHOVER;
	}
	if (!s->ack_pending && !s->remaining) {
		snprintf(why, size,
			 "nothing remains to be sent; expected downtime %s, downtime-limit %s",
			 text_ms(expected, a), text_ms(limit, b));
		return DROVER_ACTION_SWITCHOVER;
	}
	act = reached ? no_converge(s, p) : DROVER_ACTION_CONTINUE;
	if (act != DROVER_ACTION_CONTINUE) {
		snprintf(why, size, "%s reached after %" PRIu64 " rounds and %" PRIu64
			 " s; expected downtime %s, downtime-limit %s", reached, s->round,
			 s->elapsed_s, text_ms(expected, a), text_ms(limit, b));
		return act;
	}
	if (throttle_due(s, p)) {
		snprintf(why, size, "guest writes %" PRIu64 " bytes/s, %" PRIu64
			 " are sent: throttle %u %%", s->dirty_rate, s->bandwidth,
			 s->throttle_next);
		return DROVER_ACTION_THROTTLE;
	}
	why_continue(s, p, expected, why, size);
	return DROVER_ACTION_CONTINUE;
}
