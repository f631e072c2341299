// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Rounds: harvest, open the work to the senders, watch until it is done. The harvest always
 * comes before the sends, so a page written while it is being sent is dirty in the next
 * harvest. Called by the source's thread.
 */
#include "engine/source/rounds.h"

#include <errno.h>

#include "base/clock.h"
#include "base/trace.h"
#include "engine/source/source.h"
#include "peer/send.h"

#define TICK_MS 50

void source_first_harvest(struct drover_source *s)
{
	uint64_t now = drover_now_ns();

	meter_harvest(&s->meter, now, now, memory_dirty(&s->mem));
	DROVER_STAT(s->m, remaining, meter_remaining(&s->meter));
	DROVER_STAT(s->m, dirty_sync_count, 1);
	drover_send_event(s->m, DROVER_EVENT_PASS);
}

/* What has been written since the last look, too; how long looking took. */
static int look(struct drover_source *s, bool final, struct drover_error *e)
{
	uint64_t begin = drover_now_ns(), pages, pinned = 0;
	int r = memory_harvest(&s->mem, final, s->m->log, &pinned, e);

	if (r < 0)
		return r;
	if (final)
		DROVER_STAT(s->m, pinned_pages, pinned);
	pages = memory_dirty(&s->mem);
	source_digest_stale(s);
	meter_harvest(&s->meter, begin, drover_now_ns(), pages);
	work_harvested(&s->work);
	DROVER_STAT(s->m, remaining, meter_remaining(&s->meter));
	return 0;
}

int source_harvest_again(struct drover_source *s, struct drover_error *e)
{
	uint64_t before = s->meter.harvest_us;
	int r = look(s, false, e);

	if (r >= 0)
		meter_harvest_before(&s->meter, before);
	return r;
}

int source_harvest(struct drover_source *s, bool final, struct drover_error *e)
{
	uint64_t before = s->meter.harvest_ns, rate;
	int r = look(s, final, e);

	if (r < 0)
		return r;
	if (!final && meter_dirty_rate(&s->meter, before, &rate))
		source_tell_dirty_rate(s, rate);
	DROVER_STAT(s->m, dirty_sync_count, drover_stat_get(&s->m->stats.dirty_sync_count) + 1);
	drover_send_event(s->m, DROVER_EVENT_PASS);
	return 0;
}

/* The drain rate. One-way nobody answers, so it is what left this host. */
static void measure(struct drover_source *s, uint64_t t0, uint64_t drained0)
{
	uint64_t now = drover_now_ns(), unsent, sent = peer_traffic(&s->peer, &unsent), rate;
	uint64_t drained = sent > unsent ? sent - unsent : 0;

	rate = meter_drained(&s->meter, now - t0, drained > drained0 ? drained - drained0 : 0);
	if (rate)
		DROVER_STAT(s->m, bandwidth, rate);
}

static int end_round_on_main(struct drover_source *s, uint32_t round, bool final,
			     struct drover_error *e)
{
	struct drover_msg_round m = {
		.round = round,
		.flags = final ? DROVER_ROUND_FINAL : 0,
	};

	if (peer_pages_on_main(&s->peer))       /* main's own sender has said it */
		return 0;
	return drover_send_round_end(s->peer.main, &m, e);
}

void source_apply_limit(struct drover_source *s)
{
	pace_apply(&s->pace, s->m, s->handover.sent != 0, peer_traffic(&s->peer, NULL),
		   senders_waiting(s));
}

static int watch_round(struct drover_source *s, struct drover_error *e)
{
	struct drover_error error;
	bool over;
	int r;

	for (;;) {
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
		if (!peer_pages_on_main(&s->peer)) {
			r = source_ping(s, e);
			if (r < 0)
				return r;
		}
		/* Who asks for postcopy does not wait for the rest of a limited round. */
		if (drover_order_postcopy(s->m))
			pace_open(&s->pace);
		else if (!s->handover.stop_ns)
			source_apply_limit(s);
		r = drover_check_stall(s->m, e);
		if (r < 0)
			return r;
	}
}

int source_round(struct drover_source *s, enum work_kind kind, struct drover_error *e)
{
	uint64_t unsent, sent = peer_traffic(&s->peer, &unsent), t0 = drover_now_ns();
	uint32_t round = inbox_next_round(&s->inbox);
	bool final = kind != WORK_ROUND;
	int r;

	DROVER_STAT(s->m, round, round);
	/* Before the first byte: a small guest would be gone by the first tick. */
	if (!s->handover.stop_ns)
		source_apply_limit(s);
	drover_trace_round_begin(round, meter_dirty(&s->meter));
	if (final)
		drover_link_then(s->peer.main, DROVER_MSG_ROUND_END, DROVER_PHASE_FINAL);
	senders_open_round(s, round, kind);
	r = watch_round(s, e);
	source_tell_round(s, t0, sent);
	if (r < 0)
		return r;
	r = end_round_on_main(s, round, final, e);
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
