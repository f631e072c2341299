// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The source's statistics, for query-migrate and the report. Called by the source's thread
 * alone; it only looks at what others have measured.
 */
#include "engine/source/tick.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/trace.h"
#include "engine/source/source.h"

static uint64_t remaining(struct drover_source *s)
{
	uint64_t taken = atomic_load(&s->work.taken), dirty = meter_dirty(&s->meter);

	if (source_postcopying(s))
		return atomic_load(&s->work.left) * DROVER_PAGE_SIZE;
	return taken < dirty ? (dirty - taken) * DROVER_PAGE_SIZE : 0;
}

/* Bytes belong to the guest's last phase at the source, or to postcopy. */
static void tick_phase(struct drover_source *s, uint64_t bytes)
{
	struct drover_migration *m = s->m;

	if (s->handover.sent)
		DROVER_STAT(m, postcopy_bytes, bytes - s->handover.sent);
	else if (s->handover.stop_ns)
		DROVER_STAT(m, downtime_bytes, bytes - drover_stat_get(&m->stats.precopy_bytes));
	else
		DROVER_STAT(m, precopy_bytes, bytes);
}

static void tick_data(struct drover_source *s)
{
	struct peer_data_traffic t;

	peer_data_traffic(&s->peer, &t);
	DROVER_STAT(s->m, multifd_bytes, t.bytes);
	DROVER_STAT(s->m, zc_sends, t.zc_sends);
	DROVER_STAT(s->m, dirty_sync_missed_zero_copy, t.zc_copied);
}

void source_tick(struct drover_source *s)
{
	uint64_t now = drover_now_ns(), bytes = peer_traffic(&s->peer, NULL);
	uint64_t raw = atomic_load(&s->meter.raw);
	struct drover_migration *m = s->m;
	struct meter_rates rates;

	DROVER_STAT(m, transferred, bytes);
	DROVER_STAT(m, normal, raw);
	DROVER_STAT(m, normal_bytes, raw * DROVER_PAGE_SIZE);
	DROVER_STAT(m, duplicate, atomic_load(&s->meter.zero));
	DROVER_STAT(m, remaining, remaining(s));
	tick_phase(s, bytes);
	DROVER_STAT(m, total_time, (now - m->time.started_ns) / DROVER_NS_PER_MS);
	tick_data(s);
	if (meter_rates(&s->meter, now, bytes, &rates)) {
		drover_stat_f64(&m->stats.mbps, rates.mbps);
		DROVER_STAT(m, pages_per_second, rates.pages_per_second);
	}
}

void source_tell_expected(struct drover_source *s, const struct drover_estimate *est)
{
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

void source_tell_dirty_rate(struct drover_source *s, uint64_t pages)
{
	DROVER_STAT(s->m, dirty_pages_rate, pages);
	DROVER_STAT(s->m, dirty_bytes_rate, s->meter.dirty_rate);
}

void source_tell_round(struct drover_source *s, uint64_t t0, uint64_t sent0)
{
	const struct meter *t = &s->meter;
	struct drover_round r = {
		.round = s->inbox.round,
		.rounds = 1,
		.at_us = (t0 - s->m->time.started_ns) / 1000,
		.duration_us = (drover_now_ns() - t0) / 1000,
		.harvest_us = t->harvest_us,
		.dirty_bytes = meter_remaining(t),
		.sent_bytes = peer_traffic(&s->peer, NULL) - sent0,
		.dirty_rate = t->dirty_rate,
		.expected_us = t->expected_us == DROVER_ESTIMATE_UNKNOWN ? 0 : t->expected_us,
		.stopped = s->handover.stop_ns != 0,
	};
	DROVER_LOCK(&s->m->lock);

	drover_trace_round_end(r.round, r.sent_bytes, r.duration_us);
	drover_rounds_add(&s->m->view.rounds, &r);
}
