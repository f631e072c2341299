// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Whose the guest is. Pausing and resuming it, the VMM's ownership record, and the account
 * of the time for which it ran nowhere. Called by the source's thread alone.
 */
#include "engine/source/handover.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/trace.h"
#include "engine/source/source.h"
#include "guest/ops.h"

void source_look_at_guest(struct drover_source *s)
{
	struct drover_guest *g = s->m->guest;

	s->handover.was_running = g->ops->status(g) == DROVER_GUEST_RUNNING;
}

int source_pause_guest(struct drover_source *s, struct drover_error *e)
{
	struct handover *h = &s->handover;
	struct drover_migration *m = s->m;
	int r;

	h->lap_ns = h->stop_ns = drover_now_ns();
	if (!h->was_running)
		return 0;
	h->paused = true;
	r = m->guest->ops->pause(m->guest, &m->cancel, e);
	if (r < 0)
		return drover_err_prefix(e, "pause: "), r;
	drover_trace_guest_paused((drover_now_ns() - h->stop_ns) / 1000);
	drover_send_event(m, DROVER_EVENT_STOP);
	return 0;
}

void source_resume_guest(struct drover_source *s)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_guest *g = s->m->guest;

	if (!s->handover.paused)
		return;
	/* The record may say in-doubt when COMMIT was prepared but never sent. */
	if (source_record_owned(s, &e) < 0 || g->ops->resume(g, &e) < 0) {
		drover_err_prefix(&e, "the guest stays paused here: ");
		drover_fail(s->m, &e);
		return;
	}
	drover_send_event(s->m, DROVER_EVENT_RESUME);
}

void source_lap(struct drover_source *s, struct drover_measure *part)
{
	uint64_t now = drover_now_ns();

	drover_stat_u64(part, drover_stat_get(part) + (now - s->handover.lap_ns + 500) / 1000);
	s->handover.lap_ns = now;
}

void source_account_downtime(struct drover_source *s)
{
	struct drover_stats *st = &s->m->stats;
	uint64_t ns;

	source_lap(s, &st->dt_commit);
	ns = s->handover.lap_ns - s->handover.stop_ns;
	drover_trace_handed_over(ns / 1000,
				 source_postcopying(s) ? atomic_load(&s->work.left) : 0);
	DROVER_STAT(s->m, downtime_us, ns / 1000);
	DROVER_STAT(s->m, downtime, (ns + DROVER_NS_PER_MS / 2) / DROVER_NS_PER_MS);
	/* The operator's pause was not to be foreseen. */
	if (drover_stat_get(&st->expected_downtime_us))
		drover_stat_f64(&st->expected_error_us, (double)(ns / 1000) -
				(double)drover_stat_get(&st->dt_continue) -
				(double)drover_stat_get(&st->expected_downtime_us));
}

void source_handed_over(struct drover_source *s)
{
	s->handover.sent = peer_traffic(&s->peer, NULL) + 1;
}

int source_record(struct drover_source *s, enum drover_owner_state state, struct drover_error *e)
{
	struct drover_owner_record rec = { .state = state };
	struct drover_guest *g = s->m->guest;
	int r;

	/* An older VMM would refuse it, and stay in doubt; so it goes on as unguarded as it was. */
	if (state == DROVER_OWNER_SERVING && !g->ops->traits(g)->knows_serving)
		rec.state = DROVER_OWNER_RELEASED;
	memcpy(rec.token, s->peer.token, sizeof(rec.token));
	snprintf(rec.peer, sizeof(rec.peer), "%s", s->peer.address);
	r = g->ops->owner_set(g, &rec, e);
	if (r < 0)
		drover_err_prefix(e, "ownership record: ");
	return r;
}

int source_record_owned(struct drover_source *s, struct drover_error *e)
{
	struct drover_owner_record rec = { .state = DROVER_OWNER_OWNED };

	return s->m->guest->ops->owner_set(s->m->guest, &rec, e);
}

int source_adopt_record(struct drover_source *s, struct drover_error *e)
{
	struct drover_owner_record rec;
	struct drover_guest *g = s->m->guest;
	int r = g->ops->owner_get(g, &rec, e);

	if (r < 0)
		return drover_fail(s->m, e), r;
	peer_adopt(&s->peer, &rec);
	return 0;
}

void source_session_text(struct drover_source *s)
{
	const uint8_t *t = s->peer.token;

	DROVER_INFO(s->m, session, "%02x%02x%02x%02x", t[0], t[1], t[2], t[3]);
}
