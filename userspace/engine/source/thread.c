// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The source's thread, and the table of contents of this folder: it says what happens in which
 * order, and undoes it when a step fails: trackers off, guest running again, destination told.
 * Ownership decides how far back the source may go: up to the commit point all the way, after
 * it not at all. It calls the other files; none of them calls back.
 */
#include "engine/source/source.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/thread.h"
#include "channel/channel.h"
#include "peer/send.h"
#include "track/track.h"

#define FAREWELL_MS 500

static int source_init(struct drover_source *s, struct drover_migration *m,
		       struct drover_error *e)
{
	const struct drover_config *c = m->config;
	int r;

	s->m = m;
	/* First: source_deinit() undoes it whatever else fails. */
	r = work_init(&s->work, &s->mem, &m->orders.postcopy_asked, e);
	if (r < 0)
		return r;
	if (c->one_way || (drover_address_offers(drover_channel_list_main(m->channels)) &
			   DROVER_TRANSPORT_SEEK))
		source_enter(s, SOURCE_ONE_WAY);
	peer_configure(&s->peer, c);
	inbox_init(&s->inbox, c->switchover_ack);
	meter_start(&s->meter, m->time.started_ns);
	encoder_init(&s->encoder, m->ram,
		     c->zero_page_detection != DROVER_ZERO_PAGE_DETECTION_NONE);
	r = pace_init(&s->pace, m, e);
	if (r >= 0)
		r = memory_init(&s->mem, m->ram, c->x_ignore_shared,
				c->verify != DROVER_VERIFY_NONE, e);
	if (r < 0)
		return r;
	DROVER_STAT(m, total, memory_bytes(&s->mem));
	DROVER_STAT(m, page_size, DROVER_PAGE_SIZE);
	return 0;
}

/* Values of the option, by number; drover_tracker_select() knows the names. */
static const char *const tracker_names[] = {
	[DROVER_TRACKER_AUTO] = "auto",
	[DROVER_TRACKER_KMOD] = "kmod",
	[DROVER_TRACKER_PAGEMAP_SCAN] = "pagemap-scan",
	[DROVER_TRACKER_SOFT_DIRTY] = "soft-dirty",
	[DROVER_TRACKER_KVM_LOG] = "kvm-log",
};

static int start_tracking(struct drover_source *s, struct drover_error *e)
{
	struct drover_migration *m = s->m;
	struct track_opts o = {
		.tracker = tracker_names[m->config->tracker],
		.blind_devices = m->config->unsafe_device_writes ==
				 DROVER_UNSAFE_DEVICE_WRITES_ALLOW,
		.log = m->log,
	};
	int r = memory_track(&s->mem, m->guest, &o, e);

	if (s->mem.tracker) {
		DROVER_INFO(m, tracker, "%s", drover_tracker_name(s->mem.tracker));
		DROVER_INFO(m, tracker_report, "%s", drover_tracker_report(s->mem.tracker));
	}
	return r;
}

/* 0: handed over (or, one-way, complete); 1: in doubt; < 0: failed, all can be undone */
static int migrate(struct drover_source *s, struct drover_error *e)
{
	struct drover_migration *m = s->m;
	int r;

	source_look_at_guest(s);
	r = start_tracking(s, e);
	if (r >= 0)
		r = source_connect(s, e);
	if (r >= 0)
		r = source_measure_rtt(s, e);
	if (r >= 0)
		r = senders_start(s, e);
	if (r < 0)
		return r;
	DROVER_STAT(m, setup_time, (drover_now_ns() - m->time.started_ns) / DROVER_NS_PER_MS);
	if (!drover_state_set(m, DROVER_STATE_SETUP, DROVER_STATE_ACTIVE))
		return drover_err(e, -ECANCELED, "migration: cancelled");
	r = source_precopy(s, e);
	return r < 0 ? r : source_switchover(s, e);
}

static void stop_tracking(struct drover_source *s)
{
	memory_untrack(&s->mem);
	source_unthrottle(s);
}

static void zero_copy_text(struct drover_source *s)
{
	const char *why = peer_zc_reason(&s->peer);
	bool asked = s->peer.zero_copy;

	DROVER_INFO(s->m, zero_copy, "%s%s",
		    !asked ? "not asked for" : why && *why ? "off: " : "on",
		    asked && why ? why : "");
}

/* Tell the peer, if it still listens, and end all channels. */
static void part(struct drover_source *s, int r, const char *text)
{
	struct drover_error error;
	struct drover_link *l = s->peer.main;
	bool idle = !s->pool.n || !peer_pages_on_main(&s->peer) || work_over(&s->work, &error);

	peer_shut_data(&s->peer);
	urgent_stop(s);
	if (!idle)      /* main itself carries pages and may be stuck in one */
		drover_channel_shutdown(l->ch);
	senders_stop(s);
	/* FAIL says that the guest is here. Where nobody knows, nothing is said. */
	if (l && r < 0 && !source_one_way(s) && idle && !s->handover.unknown) {
		drover_channel_set_cancel(l->ch, NULL);
		drover_channel_set_stall(l->ch, FAREWELL_MS);
		drover_link_fail(l, r, text);
	}
}

static void fail(struct drover_source *s, int r, const struct drover_error *e)
{
	struct drover_migration *m = s->m;
	enum drover_state from = drover_state_get(m);
	bool cancelled = r == -ECANCELED && drover_order_cancelled(m);

	drover_state_set(m, from, cancelled ? DROVER_STATE_CANCELLING : DROVER_STATE_FAILING);
	if (!cancelled)
		drover_fail(m, e);
	/*
	 * First the guest: an armed tracker blocks nobody, and disarming takes its time.
	 * Senders read the tracker's maps, so they end before it does.
	 */
	source_resume_guest(s);
	part(s, r, cancelled ? "the migration was cancelled" : e->msg);
	stop_tracking(s);
	drover_state_set(m, drover_state_get(m),
			 cancelled ? DROVER_STATE_CANCELLED : DROVER_STATE_FAILED);
}

static void audit(struct drover_source *s)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_migration *m = s->m;
	uint64_t bad = 0;
	int r;

	if (m->config->verify != DROVER_VERIFY_AUDIT)
		return;
	r = source_rehash(s, &bad, &e);
	if (r < 0)
		drover_fail(m, &e);
	else if (bad)
		DROVER_INFO(m, digest, "equal; audit: %llu pages were written unseen after their last send",
				 (unsigned long long)bad);
	atomic_store(&m->facts.auditing, false);
	/* Who asks when the event has come must find all of it. */
	if (r >= 0)
		drover_send_event(m, DROVER_EVENT_AUDIT_DONE);
}

/* All threads have ended. Accepts what a failed source_init() leaves. */
static void source_deinit(struct drover_source *s)
{
	peer_close(&s->peer, s->m);
	memory_deinit(&s->mem);
	pace_deinit(&s->pace);
	work_deinit(&s->work);
	free(s);
}

static void run(struct drover_source *s, struct drover_error *e)
{
	struct drover_migration *m = s->m;
	int r;

	r = migrate(s, e);
	zero_copy_text(s);
	if (r < 0) {
		fail(s, r, e);
		return;
	}
	if (s->peer.main)
		source_tick(s);
	if (r == 1) {
		part(s, 0, NULL);
		/* In postcopy the tracker's map of the data is wanted still. */
		if (!source_postcopying(s))
			stop_tracking(s);
		if (!source_settle(s) || !source_postcopying(s)) {
			stop_tracking(s);
			return;
		}
	}
	if (source_postcopying(s) && source_postcopy(s, r == 1, e))
		return;
	urgent_stop(s);
	atomic_store(&m->facts.auditing, m->config->verify == DROVER_VERIFY_AUDIT);
	senders_stop(s);
	drover_state_set(m, source_postcopying(s) ? DROVER_STATE_POSTCOPY_ACTIVE : DROVER_STATE_DEVICE,
			 DROVER_STATE_COMPLETED);
	stop_tracking(s);
	/* The channels end only now: the peer's close must not look like a failure. */
	DROVER_INFO(m, peer, "%s",
			 drover_channel_peer(s->peer.main->ch));
	audit(s);
}

/* Another droverd handed the guest over, and died before all of it had arrived. */
static void adopt(struct drover_source *s, struct drover_error *e)
{
	struct drover_migration *m = s->m;

	if (source_adopt_record(s, e) < 0)
		return;
	source_enter(s, SOURCE_ADOPTED);
	drover_commit_point(m);         /* there is nothing to cancel any more */
	source_session_text(s);
	drover_err(e, -EPIPE, "postcopy paused: the droverd that began it is gone");
	drover_fail(m, e);
	if (source_postcopy(s, true, e))
		return;
	urgent_stop(s);
	senders_stop(s);
	drover_state_set(m, DROVER_STATE_POSTCOPY_ACTIVE, DROVER_STATE_COMPLETED);
}

static void settle_only(struct drover_source *s, struct drover_error *e)
{
	if (source_adopt_record(s, e) >= 0)
		source_settle(s);
}

static void *source_main(void *arg)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_migration *m = arg;
	struct drover_source *s = calloc(1, sizeof(*s));
	int r;

	drover_thread_name("source", -1);
	if (!s) {
		drover_err(&e, -ENOMEM, "migration: out of memory");
		drover_fail(m, &e);
		drover_state_set(m, DROVER_STATE_SETUP, DROVER_STATE_FAILING);
		drover_state_set(m, DROVER_STATE_FAILING, DROVER_STATE_FAILED);
		atomic_store(&m->facts.ended, true);
		return NULL;
	}
	r = source_init(s, m, &e);
	if (r < 0)
		fail(s, r, &e);
	else if (m->mode == DROVER_MODE_SETTLE)
		settle_only(s, &e);
	else if (m->mode == DROVER_MODE_TAKE_UP)
		adopt(s, &e);
	else
		run(s, &e);
	source_deinit(s);
	atomic_store(&m->facts.ended, true);
	return NULL;
}

const struct drover_side_ops drover_source_side = {
	.name = "source",
	.run = source_main,
};
