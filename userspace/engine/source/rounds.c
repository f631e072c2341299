// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Rounds: harvest, open the work to the senders, watch until it is done; then ask the
 * policy what comes next. The harvest always comes before the sends, so a page written
 * while it is being sent is dirty in the next harvest.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/trace.h"
#include "channel/channel.h"
#include "engine/source/source.h"

#define TICK_MS 50
/* The shortest time over which a drain rate means something. */
#define MIN_RATE_NS (2 * DROVER_NS_PER_MS)
/* Between harvests of a guest that does not converge, so that they do not spin. */
#define MIN_ROUND_MS 5

/* What has been written since the last look, too; how long looking took. */
static int look(struct drover_source *s, bool final, struct drover_error *e)
{
	uint64_t begin = drover_now_ns();
	uint64_t pinned = 0;
	int r = memory_harvest(&s->mem, final, s->m->log, &pinned, e);

	if (r < 0)
		return r;
	if (final)
		DROVER_STAT(s->m, pinned_pages, pinned);
	s->dirty_pages = memory_dirty(&s->mem);
	source_digest_stale(s);
	s->harvest_us = (drover_now_ns() - begin) / 1000;
	s->harvest_ns = begin;
	work_harvested(&s->work);
	DROVER_STAT(s->m, remaining, s->dirty_pages * DROVER_PAGE_SIZE);
	return 0;
}

int source_harvest(struct drover_source *s, bool final, struct drover_error *e)
{
	uint64_t before = s->harvest_ns, interval;
	int r = look(s, final, e);

	if (r < 0)
		return r;
	interval = s->harvest_ns - before;
	if (!final && before && interval) {
		double rate = (double)s->dirty_pages * 1e9 / (double)interval;

		s->dirty_rate = (uint64_t)(rate * DROVER_PAGE_SIZE);
		DROVER_STAT(s->m, dirty_pages_rate, (uint64_t)rate);
		DROVER_STAT(s->m, dirty_bytes_rate, s->dirty_rate);
	}
	DROVER_STAT(s->m, dirty_sync_count, drover_stat_get(&s->m->stats.dirty_sync_count) + 1);
	drover_send_event(s->m, DROVER_EVENT_PASS);
	return 0;
}

/*
 * The drain rate: what arrived, not what was put into socket buffers. One-way nobody
 * answers, so it is what left this host.
 */
static void measure(struct drover_source *s, uint64_t t0, uint64_t drained0)
{
	uint64_t now = drover_now_ns(), unsent, sent = source_sent_bytes(s, &unsent);
	uint64_t drained = sent > unsent ? sent - unsent : 0, rate;

	drover_drain_add(&s->drain, drained > drained0 ? drained - drained0 : 0,
			 (now - t0) / 1000);
	/* Short rounds are added up until they say something. */
	s->rate_ns += now - t0;
	s->rate_bytes += drained > drained0 ? drained - drained0 : 0;
	if (s->rate_ns < MIN_RATE_NS || !s->rate_bytes)
		return;
	rate = (uint64_t)((double)s->rate_bytes * 1e9 / (double)s->rate_ns);
	/* And what they say moves the estimate, but does not make it. */
	if (s->bandwidth && s->rate_ns < 50 * DROVER_NS_PER_MS)
		rate = (s->bandwidth * 3 + rate) / 4;
	s->rate_ns = s->rate_bytes = 0;
	s->bandwidth = rate;
	DROVER_STAT(s->m, bandwidth, rate);
}

static int end_round_on_main(struct drover_source *s, uint32_t round, bool final,
			     struct drover_error *e)
{
	struct drover_msg_round m = {
		.round = round,
		.flags = final ? DROVER_ROUND_FINAL : 0,
	};
	uint8_t body[16];
	int n;

	if (!s->multifd)        /* main's own sender has said it */
		return 0;
	n = drover_round_end_encode(&m, body, sizeof(body));
	return drover_link_send(s->main, DROVER_MSG_ROUND_END, body, (size_t)n, NULL, 0, 0, e);
}

void source_apply_limit(struct drover_source *s)
{
	struct drover_runtime rt;
	uint64_t rate, share = 0;

	drover_runtime_get(s->m, &rt);
	rate = s->handed_over ? rt.max_postcopy_bandwidth : rt.max_bandwidth;
	if (s->hostlimit)
		share = drover_hostlimit_share(s->hostlimit, drover_now_ns(),
					       source_sent_bytes(s, NULL), senders_waiting(s));
	if (share && (!rate || share < rate))
		rate = share;
	drover_limit_set(s->limit, rate);
}

static int watch_round(struct drover_source *s, struct drover_error *e)
{
	int r;

	for (;;) {
		struct drover_error error;
		bool over;

		r = work_wait(&s->work, &s->m->cancel, TICK_MS, e);
		if (r < 0)
			return r;
		source_tick(s);
		r = source_poll(s, e);
		if (r < 0)
			return r;
		over = work_over(&s->work, &error);
		if (error.code)
			return source_why(s, &error, e);
		if (over)
			return 0;
		if (senders_waiting(s))
			drover_progress(s->m, drover_now_ns());
		if (s->multifd) {
			r = source_ping(s, e);
			if (r < 0)
				return r;
		}
		/* Who asks for postcopy does not wait for the rest of a limited round. */
		if (drover_order_postcopy(s->m))
			drover_limit_open(s->limit);
		else if (!s->stop_ns)
			source_apply_limit(s);
		r = drover_check_stall(s->m, e);
		if (r < 0)
			return r;
	}
}

static void remember(struct drover_source *s, uint64_t t0, uint64_t sent0)
{
	struct drover_round r = {
		.round = s->round,
		.rounds = 1,
		.at_us = (t0 - s->m->started_ns) / 1000,
		.duration_us = (drover_now_ns() - t0) / 1000,
		.harvest_us = s->harvest_us,
		.dirty_bytes = s->dirty_pages * DROVER_PAGE_SIZE,
		.sent_bytes = source_sent_bytes(s, NULL) - sent0,
		.dirty_rate = s->dirty_rate,
		.expected_us = s->expected_us == DROVER_ESTIMATE_UNKNOWN ? 0 : s->expected_us,
		.stopped = s->stop_ns != 0,
	};
	DROVER_LOCK(&s->m->lock);

	drover_trace_round_end(s->round, r.sent_bytes, r.duration_us);
	drover_rounds_add(&s->m->view.rounds, &r);
}

int source_round(struct drover_source *s, enum work_kind kind, struct drover_error *e)
{
	bool final = kind != WORK_ROUND;
	uint64_t unsent, sent = source_sent_bytes(s, &unsent), t0 = drover_now_ns();
	int r;

	s->round++;
	DROVER_STAT(s->m, round, s->round);
	/* Before the first byte: a small guest would be gone by the first tick. */
	if (!s->stop_ns)
		source_apply_limit(s);
	drover_trace_round_begin(s->round, s->dirty_pages);
	senders_open_round(s, s->round, kind);
	r = watch_round(s, e);
	remember(s, t0, sent);
	if (r < 0)
		return r;
	r = end_round_on_main(s, s->round, final, e);
	/* Who asked for postcopy waits; the first harvest after a round is the long one. */
	if (r >= 0 && !final && drover_order_postcopy(s->m))
		r = source_harvest(s, false, e);
	/* What still lies in buffers would be in the way of the last pages. */
	if (r >= 0 && !final)
		r = source_wait_round(s, e);
	if (r < 0)
		return r;
	measure(s, t0, sent > unsent ? sent - unsent : 0);
	source_tick(s);
	return 0;
}

static void tell_expected(struct drover_source *s, const struct drover_estimate *est)
{
	s->expected_us = est->whole;
	if (est->whole == DROVER_ESTIMATE_UNKNOWN)
		return;
	DROVER_STAT(s->m, expected_downtime, est->whole / 1000);
	DROVER_STAT(s->m, expected_downtime_us, est->whole);
	DROVER_STAT(s->m, expected_harvest, est->harvest);
	DROVER_STAT(s->m, expected_pages, est->pages);
	DROVER_STAT(s->m, expected_state, est->state);
	DROVER_STAT(s->m, expected_digest, est->digest);
	DROVER_STAT(s->m, expected_commit, est->commit);
}

static void expect_downtime(struct drover_source *s, uint64_t bandwidth,
			    struct drover_estimate *ret)
{
	struct drover_estimate_input in = {
		.drain = s->drain,
		.bandwidth = bandwidth,
		.remaining = s->dirty_pages * DROVER_PAGE_SIZE,
		.dirty_rate = s->was_running ? s->dirty_rate : 0,
		.since_us = (drover_now_ns() - s->harvest_ns) / 1000,
		.rtt_us = s->rtt_us,
		.harvest_us = s->harvest_us,
		.digest_us = source_digest_due_us(s),
		.compare_us = source_digest_all_us(s),
	};

	drover_estimate(&in, ret);
	tell_expected(s, ret);
}

static void fill_sample(struct drover_source *s, const struct drover_estimate *est,
			struct drover_policy_sample *p)
{
	memset(p, 0, sizeof(*p));
	p->remaining = s->dirty_pages * DROVER_PAGE_SIZE;
	p->bandwidth = s->bandwidth;
	p->dirty_rate = s->dirty_rate;
	p->round = s->round;
	p->expected_us = est->whole;
	p->least_us = est->least;
	p->elapsed_s = (drover_now_ns() - s->m->started_ns) / DROVER_NS_PER_S;
	p->throttle_percent = s->throttle;
	p->can_throttle = s->m->config->auto_converge &&
			  s->m->guest->ops->traits(s->m->guest)->can_throttle;
	p->high_rounds = s->high_rounds;
	p->ack_pending = s->switchover_asked && !s->switchover_ok;
	if (p->remaining < s->lowest || s->round == 1) {
		s->lowest = p->remaining;
		s->lowest_round = s->round;
	}
	p->stalled_rounds = s->round - s->lowest_round;
	p->guest_paused = !s->was_running;
	p->can_postcopy = s->m->config->postcopy_ram;
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

/* 1: stop the guest now; 0: another round; < 0: give up */
static int decide(struct drover_source *s, struct drover_error *e)
{
	struct drover_policy_params params;
	struct drover_policy_sample sample;
	struct drover_estimate est;
	struct drover_runtime rt;
	enum drover_action act;
	char why[256] = "";

	drover_runtime_get(s->m, &rt);
	expect_downtime(s, rt.avail_switchover_bandwidth, &est);
	fill_sample(s, &est, &sample);
	fill_params(s, &rt, &params);
	act = drover_policy_next(&sample, &params, why, sizeof(why));
	s->high_rounds = sample.high_rounds;
	drover_debug(s->m->log, "round %u: %s", s->round, why);
	switch (act) {
	case DROVER_ACTION_SWITCHOVER:
		return 1;
	case DROVER_ACTION_THROTTLE:
		s->throttle = sample.throttle_next;
		DROVER_STAT(s->m, cpu_throttle_percentage, s->throttle);
		return s->m->guest->ops->throttle(s->m->guest, s->throttle, e);
	case DROVER_ACTION_GIVE_UP:
		return drover_err(e, -ETIME, "migration does not converge: %s", why);
	case DROVER_ACTION_POSTCOPY:
		/* The guest does not wait for the pages. */
		est.pages = 0;
		est.whole = est.least;
		tell_expected(s, &est);
		s->postcopy = true;
		return 1;
	default:
		return 0;
	}
}

/* switchover-ack: ask once; rounds go on until the answer is there. */
static int ask_switchover(struct drover_source *s, struct drover_error *e)
{
	if (s->switchover_ok)
		return 1;
	if (!s->switchover_asked) {
		s->switchover_asked = true;
		return drover_link_send(s->main, DROVER_MSG_SWITCHOVER_REQ, NULL, 0, NULL, 0, 0, e);
	}
	return 0;
}

static int breathe(struct drover_source *s, struct drover_error *e)
{
	int r = drover_wait_fd(-1, 0, &s->m->cancel, drover_deadline_ms(MIN_ROUND_MS));

	return r == -ECANCELED ? drover_err(e, r, "migration: cancelled") : 0;
}

/*
 * Before the guest stops: the harvests that it will wait for come soon after another and
 * find little, unlike one after a round. What disturbs one makes it longer, never shorter.
 * It costs the guest nothing.
 */
static int decide_again(struct drover_source *s, struct drover_error *e)
{
	uint64_t before = s->harvest_us;
	int r;

	if (!s->was_running || s->postcopy)
		return 1;
	r = source_measure_rtt(s, e);
	if (r >= 0)
		r = look(s, false, e);
	if (r < 0)
		return r;
	if (before < s->harvest_us)
		s->harvest_us = before;
	source_digest_ahead(s);
	return decide(s, e);
}

int source_precopy(struct drover_source *s, struct drover_error *e)
{
	int r = source_digest_init(s, e);

	if (r < 0)
		return r;
	s->harvest_ns = drover_now_ns();
	s->dirty_pages = memory_dirty(&s->mem);
	DROVER_STAT(s->m, remaining, s->dirty_pages * DROVER_PAGE_SIZE);
	DROVER_STAT(s->m, dirty_sync_count, 1);
	drover_send_event(s->m, DROVER_EVENT_PASS);
	if (s->m->config->postcopy_from_start) {
		s->postcopy = true;
		return 0;
	}
	for (;;) {
		r = source_round(s, WORK_ROUND, e);
		if (r >= 0 && !drover_order_postcopy(s->m))
			r = source_harvest(s, false, e);
		if (r >= 0)
			r = source_poll(s, e);
		if (r >= 0) {
			source_digest_ahead(s);
			r = decide(s, e);
		}
		if (r == 1)
			r = decide_again(s, e);
		if (r == 1)
			r = ask_switchover(s, e);
		if (r)
			return r < 0 ? r : 0;
		r = breathe(s, e);
		if (r < 0)
			return r;
	}
}
