// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Whose the guest is. Pausing and resuming it, the VMM's ownership record, and the account
 * of the time for which it ran nowhere. Called by the source's thread alone.
 */
#include "engine/source/handover.h"

#include <errno.h>
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

static enum owner_kind kind(const struct drover_source *s)
{
	if (source_one_way(s))
		return OWNER_KIND_ONE_WAY;
	return source_postcopying(s) ? OWNER_KIND_POSTCOPY : OWNER_KIND_PRECOPY;
}

static int ask(struct drover_source *s, enum owner_event ev, enum owner_by by,
	       const struct drover_cancel *c, struct drover_error *e)
{
	struct owner_args args = { .peer = s->peer.address, .kind = kind(s), .by = by };
	int r;

	memcpy(args.token.byte, s->peer.token, sizeof(args.token.byte));
	r = s->m->guest->ops->request(s->m->guest, ev, &args, c, NULL, e);
	if (r == -ETIMEDOUT || r == -ENOTCONN)
		s->handover.unknown = true;
	return r;
}

int source_request(struct drover_source *s, enum owner_event ev, struct drover_error *e)
{
	int r = ask(s, ev, OWNER_BY_NONE, NULL, e);

	return r < 0 ? drover_err_prefix(e, "ownership record: "), r : r;
}

int source_give(struct drover_source *s, enum owner_by by, struct drover_error *e)
{
	int r = ask(s, OWNER_EV_RELEASE, by, NULL, e);

	return r < 0 ? drover_err_prefix(e, "ownership record: "), r : r;
}

int source_pause_guest(struct drover_source *s, struct drover_error *e)
{
	struct handover *h = &s->handover;
	struct drover_migration *m = s->m;
	struct owner_record rec;
	int r;

	h->lap_ns = h->stop_ns = drover_now_ns();
	h->paused = true;
	r = ask(s, OWNER_EV_PAUSE, OWNER_BY_NONE, &m->cancel, e);
	if (r < 0)
		return drover_err_prefix(e, "pause: "), r;
	h->will = m->guest->ops->owner_known(m->guest, &rec) < 0 ? h->was_running : rec.will;
	if (!h->was_running)
		return 0;
	drover_trace_guest_paused((drover_now_ns() - h->stop_ns) / 1000);
	drover_send_event(m, DROVER_EVENT_STOP);
	return 0;
}

void source_hold(struct drover_source *s)
{
	s->handover.held = true;
}

void source_resume_guest(struct drover_source *s)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_guest *g = s->m->guest;
	struct handover *h = &s->handover;
	int r;

	if (!h->paused || h->held)
		return;
	r = source_request(s, OWNER_EV_BACK, &e);
	if (r >= 0 && !e.code) {
		if (h->was_running && g->ops->status(g) == DROVER_GUEST_RUNNING)
			drover_send_event(s->m, DROVER_EVENT_RESUME);
		return;
	}
	drover_err_prefix(&e, h->unknown ? "the guest's VMM does not answer, and goes by its record: " :
			  "the guest stays paused here: ");
	drover_fail(s->m, &e);
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

int source_adopt_record(struct drover_source *s, struct drover_error *e)
{
	struct owner_record rec;
	struct drover_guest *g = s->m->guest;
	int r = g->ops->owner_known(g, &rec);

	if (r < 0) {
		drover_err(e, r, "ownership record: the VMM has not answered the last request about it");
		return drover_fail(s->m, e), r;
	}
	peer_adopt(&s->peer, &rec);
	return 0;
}

void source_session_text(struct drover_source *s)
{
	const uint8_t *t = s->peer.token;

	DROVER_INFO(s->m, session, "%02x%02x%02x%02x", t[0], t[1], t[2], t[3]);
}
