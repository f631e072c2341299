// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Precopy: rounds, and after each the question what comes next. The answer is the policy's, a
 * pure function (policy.c); here it gets its sample, and what it says is done. Called by the
 * source's thread.
 */
#include "engine/source/precopy.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/policy.h"
#include "engine/source/source.h"
#include "guest/ops.h"

/* Between harvests of a guest that does not converge, so that they do not spin. */
#define MIN_ROUND_MS 5

static void fill_sample(struct drover_source *s, const struct drover_estimate *est,
			struct drover_policy_sample *p)
{
	struct converge *c = &s->converge;

	memset(p, 0, sizeof(*p));
	p->remaining = meter_remaining(&s->meter);
	p->bandwidth = s->meter.bandwidth;
	p->dirty_rate = s->meter.dirty_rate;
	p->round = s->inbox.round;
	p->expected_us = est->whole;
	p->least_us = est->least;
	p->elapsed_s = (drover_now_ns() - s->m->time.started_ns) / DROVER_NS_PER_S;
	p->throttle_percent = c->throttle;
	p->can_throttle = s->m->config->auto_converge &&
			  s->m->guest->ops->traits(s->m->guest)->can_throttle;
	p->high_rounds = c->high_rounds;
	p->ack_pending = s->inbox.asked && !s->inbox.may_switch;
	if (p->remaining < c->lowest || p->round == 1) {
		c->lowest = p->remaining;
		c->lowest_round = p->round;
	}
	p->stalled_rounds = p->round - c->lowest_round;
	p->guest_paused = !s->handover.was_running;
	p->can_postcopy = s->m->config->postcopy_ram && !source_one_way(s);
	p->postcopy_requested = drover_order_postcopy(s->m);
}

static void fill_params(struct drover_source *s, const struct drover_runtime *rt,
			struct drover_policy_params *p)
{
	const struct drover_config *c = s->m->config;

	memset(p, 0, sizeof(*p));
	p->downtime_limit_ms = rt->downtime_limit;
	p->max_rounds = rt->max_rounds;
	p->total_timeout_s = rt->total_timeout;
	p->on_no_converge = rt->on_no_converge;
	p->auto_converge = c->auto_converge;
	p->throttle_initial = c->cpu_throttle_initial;
	p->throttle_increment = c->cpu_throttle_increment;
	p->throttle_max = c->max_cpu_throttle;
	p->throttle_tailslow = c->cpu_throttle_tailslow;
	p->throttle_trigger = c->throttle_trigger_threshold;
}

static int throttle(struct drover_source *s, unsigned int percent, struct drover_error *e)
{
	s->converge.throttle = percent;
	DROVER_STAT(s->m, cpu_throttle_percentage, percent);
	return s->m->guest->ops->throttle(s->m->guest, percent, e);
}

void source_unthrottle(struct drover_source *s)
{
	if (s->converge.throttle)
		throttle(s, 0, NULL);
}

int source_decide(struct drover_source *s, struct drover_error *e)
{
	struct drover_policy_params params;
	struct drover_policy_sample sample;
	struct drover_estimate est;
	struct drover_runtime rt;
	enum drover_action act;
	char why[256] = "";

	drover_runtime_get(s->m, &rt);
	meter_expect(&s->meter, drover_now_ns(), rt.avail_switchover_bandwidth,
		     s->handover.was_running, source_digest_due_us(s), source_digest_all_us(s),
		     &est);
	source_tell_expected(s, &est);
	fill_sample(s, &est, &sample);
	fill_params(s, &rt, &params);
	act = drover_policy_next(&sample, &params, why, sizeof(why));
	s->converge.high_rounds = sample.high_rounds;
	drover_debug(s->m->log, "round %u: %s", s->inbox.round, why);
	switch (act) {
	case DROVER_ACTION_SWITCHOVER:
		return DECIDE_STOP;
	case DROVER_ACTION_THROTTLE:
		return throttle(s, sample.throttle_next, e);
	case DROVER_ACTION_GIVE_UP:
		return drover_err(e, -ETIME, "migration does not converge: %s", why);
	case DROVER_ACTION_POSTCOPY:
		meter_expect_no_pages(&s->meter, &est);
		source_tell_expected(s, &est);
		return DECIDE_STOP_POSTCOPY;
	default:
		return DECIDE_ROUND;
	}
}

static int breathe(struct drover_source *s, struct drover_error *e)
{
	int r = drover_wait_fd(-1, 0, &s->m->cancel, drover_deadline_ms(MIN_ROUND_MS));

	return r == -ECANCELED ? drover_err(e, r, "migration: cancelled") : 0;
}

/*
 * Before the guest stops: the harvests that it will wait for come soon after another and
 * find little, unlike one after a round. Looking again costs the guest nothing.
 */
static int decide_again(struct drover_source *s, struct drover_error *e)
{
	int r;

	if (!s->handover.was_running)
		return DECIDE_STOP;
	r = source_measure_rtt(s, e);
	if (r >= 0)
		r = source_harvest_again(s, e);
	if (r < 0)
		return r;
	source_digest_ahead(s);
	return source_decide(s, e);
}

/* 1: the guest is to be stopped */
static int round_and_decide(struct drover_source *s, struct drover_error *e)
{
	int decision, r = source_round(s, WORK_ROUND, e);

	if (r >= 0 && !drover_order_postcopy(s->m))
		r = source_harvest(s, false, e);
	if (r >= 0)
		r = source_poll(s, e);
	if (r < 0)
		return r;
	source_digest_ahead(s);
	decision = source_decide(s, e);
	if (decision == DECIDE_STOP)
		decision = decide_again(s, e);
	if (decision <= DECIDE_ROUND)
		return decision;
	r = source_ask_switchover(s, e);
	/* Not before the destination has agreed: until then rounds go on, and they are precopy's. */
	if (r == 1 && decision == DECIDE_STOP_POSTCOPY)
		source_enter(s, SOURCE_POSTCOPY);
	return r;
}

int source_precopy(struct drover_source *s, struct drover_error *e)
{
	int r = source_digest_init(s, e);

	if (r < 0)
		return r;
	source_first_harvest(s);
	if (s->m->config->postcopy_from_start && !source_one_way(s)) {
		source_enter(s, SOURCE_POSTCOPY);
		return 0;
	}
	for (;;) {
		r = round_and_decide(s, e);
		if (r)
			return r < 0 ? r : 0;
		r = breathe(s, e);
		if (r < 0)
			return r;
	}
}
