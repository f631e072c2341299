// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Switchover on the source: stop the guest, send what is left, its state and the
 * digests, hand over ownership. Up to the commit point everything can be undone and the
 * guest runs on here; from there on only the destination's answer decides.
 *
 * Pages, state and digests are sent without waiting for each other's answers: the
 * downtime holds one round trip for them and one for COMMIT.
 */
#define _GNU_SOURCE
#include "engine/source/switchover.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crash.h"
#include "channel/channel.h"
#include "engine/source/source.h"
#include "guest/ops.h"
#include "owner/advice.h"
#include "peer/send.h"

#define STATE_PIECE (1u << 20)
#define STATE_MAX (1ull << 30)
#define LATE_TRIES 8

/* pause-before-switchover: the guest is stopped, the operator has the word. */
static int wait_continue(struct drover_source *s, struct drover_error *e)
{
	struct drover_migration *m = s->m;
	bool go = false;
	int r = 0;

	if (!m->config->pause_before_switchover)
		return 0;
	drover_state_set(m, DROVER_STATE_ACTIVE, DROVER_STATE_PRE_SWITCHOVER);
	while (!go && r >= 0) {
		go = drover_order_continue(m, 200);
		if (drover_cancelled(&m->cancel))
			return drover_err(e, -ECANCELED, "migration: cancelled");
		drover_progress(m, drover_now_ns());
		r = source_poll(s, e);
		if (r >= 0)
			r = source_ping(s, e);
	}
	return r < 0 ? r : 0;
}

/* Last round; then a second harvest, which must be empty or names a late writer. */
static int last_pages(struct drover_source *s, struct drover_error *e)
{
	uint64_t late = 0;
	unsigned int i;
	int r;

	r = senders_drain(s, e);
	if (r < 0)
		return r;
	source_lap(s, &s->m->stats.dt_pages);
	r = source_harvest(s, true, e);
	if (r < 0)
		return r;
	source_lap(s, &s->m->stats.dt_harvest);
	pace_open(&s->pace);
	for (i = 0; i < LATE_TRIES; i++) {
		r = source_round(s, WORK_LAST, e);
		source_lap(s, &s->m->stats.dt_pages);
		if (r >= 0)
			r = source_harvest(s, true, e);
		source_lap(s, &s->m->stats.dt_harvest);
		if (r < 0)
			return r;
		if (!meter_dirty(&s->meter))
			break;
		late += meter_dirty(&s->meter);
		source_name_late(s);
	}
	DROVER_STAT(s->m, late_pages, late);
	if (meter_dirty(&s->meter))
		return drover_err(e, -EBUSY,
				  "final harvest: %llu pages are still being written although the guest is stopped",
				  (unsigned long long)meter_dirty(&s->meter));
	return 0;
}

/* The destination is told which pages come later, while their groups are digested here. */
static int name_pages_left(struct drover_source *s, struct drover_error *e)
{
	int r;

	work_count_left(&s->work);
	source_digest_forget(s);
	r = source_send_discard(s, e);
	source_digest_stale(s);
	source_digest_now(s);
	return r < 0 ? r : source_send_discard_last(s, e);
}

/*
 * Postcopy: the final round ends without pages, so that all that is under way has arrived;
 * then the source names in DISCARD what its last harvests have found, and sends it later.
 */
static int leave_pages(struct drover_source *s, struct drover_error *e)
{
	int r = senders_drain(s, e);

	if (r >= 0)
		r = source_harvest(s, true, e);
	source_lap(s, &s->m->stats.dt_harvest);
	if (r < 0)
		return r;
	pace_open(&s->pace);
	r = source_round(s, WORK_NONE, e);
	if (r >= 0)
		r = name_pages_left(s, e);
	if (r >= 0)
		r = urgent_start(s, e);
	source_lap(s, &s->m->stats.dt_pages);
	return r;
}

static int send_section(struct drover_source *s, const char *name, const uint8_t *data,
			uint64_t total, bool last, struct drover_error *e)
{
	uint64_t off = 0;

	do {
		uint64_t len = total - off < STATE_PIECE ? total - off : STATE_PIECE;
		struct drover_msg_state m = {
			.version = 1,
			.flags = last && off + len == total ? DROVER_STATE_LAST : 0,
			.total = total,
			.off = off,
		};
		int r;

		snprintf(m.name, sizeof(m.name), "%s", name);
		drover_link_then(s->peer.main, DROVER_MSG_STATE, m.flags & DROVER_STATE_LAST ?
				 DROVER_PHASE_LOADING : DROVER_PHASE_STATE);
		r = drover_send_state(s->peer.main, &m, data + off, len, e);
		if (r < 0)
			return r;
		off += len;
		drover_progress(s->m, drover_now_ns());
	} while (off < total);
	return 0;
}

static int send_state(struct drover_source *s, struct drover_error *e)
{
	struct drover_guest *g = s->m->guest;
	_cleanup_close_ int fd = -EBADF;
	uint8_t run = s->handover.will;
	uint64_t bytes;
	struct stat st;
	void *p;
	int r;

	r = g->ops->save(g, &fd, e);
	if (r < 0)
		return drover_err_prefix(e, "save device state: "), r;
	if (fstat(fd, &st) < 0 || st.st_size <= 0 || (uint64_t)st.st_size > STATE_MAX)
		return drover_err(e, -EINVAL, "save device state: the guest gave %lld bytes",
				  (long long)st.st_size);
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return drover_err(e, -errno, "save device state: mmap: %s", drover_strerror(errno));
	bytes = (uint64_t)st.st_size;
	DROVER_STAT(s->m, state_bytes, bytes);
	r = send_section(s, "drover/run", &run, 1, false, e);
	if (r >= 0)
		r = send_section(s, "guest", p, bytes, true, e);
	munmap(p, (size_t)st.st_size);
	return r;
}

static int wait_state_ack(struct drover_source *s, struct drover_error *e)
{
	struct drover_msg_status st;
	size_t len;
	int r;

	r = source_wait(s, DROVER_MSG_STATE_ACK, &len, e);
	if (r >= 0)
		r = drover_body_status(s->peer.main, len, &st, e);
	if (r < 0)
		return r;
	if (st.status != DROVER_ACK_OK)
		return drover_err(e, -EREMOTEIO, "destination: load device state: %.*s",
				  (int)st.text_len, st.text);
	return drover_link_move(s->peer.main, s->m->config->verify == DROVER_VERIFY_NONE ?
				DROVER_PHASE_READY : DROVER_PHASE_LOADED, e);
}

/* 1: in doubt, nobody knows; 0: handed over; < 0: failed before COMMIT */
static int commit(struct drover_source *s, struct drover_error *e)
{
	struct drover_error ce = DROVER_ERROR_INIT;
	struct drover_msg_token ack;
	size_t len;
	int r;

	if (!drover_commit_point(s->m))
		return drover_err(e, -ECANCELED, "migration: cancelled");
	r = source_request(s, OWNER_EV_DOUBT, e);
	if (r < 0)
		return r;
	drover_crash_point("in-doubt");
	drover_link_then(s->peer.main, DROVER_MSG_COMMIT, DROVER_PHASE_COMMITTING);
	r = peer_send_token(&s->peer, s->peer.main, DROVER_MSG_COMMIT, &ce);
	drover_crash_point("commit-sent");
	if (r >= 0)
		r = source_wait(s, DROVER_MSG_COMMIT_ACK, &len, &ce);
	if (r >= 0)
		r = drover_body_token(s->peer.main, len, &ack, &ce);
	if (r >= 0 && !peer_is_session(&s->peer, ack.token))
		r = drover_err(&ce, -EBADMSG, "message COMMIT_ACK: it is about another session");
	if (r >= 0)
		r = drover_link_move(s->peer.main, source_postcopying(s) ? DROVER_PHASE_SERVING :
				     DROVER_PHASE_COMMITTED, &ce);
	if (r < 0) {
		drover_err_prefix(&ce, "in doubt: COMMIT was not answered: ");
		drover_fail(s->m, &ce);
		return 1;
	}
	source_account_downtime(s);
	drover_crash_point("commit-acked");
	/* In postcopy RELEASED says that all has arrived. */
	r = source_postcopying(s) ? source_request(s, OWNER_EV_SERVE, &ce) :
	    source_give(s, OWNER_BY_ANSWER, &ce);
	drover_crash_point("recorded");
	if (r < 0)      /* handed over all the same; the record can be settled later */
		drover_fail(s->m, &ce);
	else if (!source_postcopying(s))
		peer_send_token(&s->peer, s->peer.main, DROVER_MSG_RELEASED, NULL);
	return 0;
}

/*
 * One-way: the reader never answers. The record is in doubt before anybody can read END, so
 * whatever ends badly from there on, the guest does not run on by itself where it may run
 * elsewhere.
 */
static int finish_one_way(struct drover_source *s, struct drover_error *e)
{
	const struct owner_advice *a = owner_advice(OWNER_IN_DOUBT, OWNER_SIGN_ONE_WAY);
	struct drover_error se = DROVER_ERROR_INIT;
	struct drover_msg_end end = {
		.total_bytes = atomic_load(&s->meter.raw) * DROVER_PAGE_SIZE,
	};
	int r;

	if (!drover_commit_point(s->m))
		return drover_err(e, -ECANCELED, "migration: cancelled");
	r = drover_link_move(s->peer.main, DROVER_PHASE_READY, e);
	if (r >= 0)
		r = source_request(s, OWNER_EV_DOUBT, e);
	if (r < 0)
		return r;
	source_hold(s);
	drover_crash_point("in-doubt");
	drover_link_then(s->peer.main, DROVER_MSG_END, DROVER_PHASE_OVER);
	r = drover_send_end(s->peer.main, &end, &se);
	if (r >= 0)
		r = drover_channel_finish(s->peer.main->ch, &se);
	if (r >= 0)
		r = drover_channel_sync(s->peer.main->ch, &se);
	drover_crash_point("end-sent");
	if (r >= 0)
		r = source_give(s, OWNER_BY_STREAM, &se);
	if (r < 0)
		return drover_err(e, r, "%.700s; the guest stays here in doubt, since its stream may be whole: %s",
				  se.msg, a->typed);
	source_account_downtime(s);
	return 0;
}

static int verify_full(struct drover_source *s, struct drover_error *e)
{
	uint64_t bad = 0;
	int r;

	if (s->m->config->verify != DROVER_VERIFY_FULL)
		return 0;
	r = source_rehash(s, &bad, e);
	if (r >= 0)
		drover_send_event(s->m, DROVER_EVENT_AUDIT_DONE);
	if (r >= 0 && bad)
		return drover_err(e, -EUCLEAN,
				  "verify=full: %llu pages were written after their last send (first: %s)",
				  (unsigned long long)bad, s->m->view.info.bad_page[0]);
	return r;
}

int source_switchover(struct drover_source *s, struct drover_error *e)
{
	struct drover_migration *m = s->m;
	struct drover_runtime rt;
	int r;

	/* State and digests are sent from this thread, which can't watch itself. */
	drover_runtime_get(m, &rt);
	drover_channel_set_stall(s->peer.main->ch, rt.stall_timeout);
	DROVER_STAT(m, precopy_bytes, peer_traffic(&s->peer, NULL));
	r = source_pause_guest(s, e);
	source_lap(s, &m->stats.dt_pause);
	if (r >= 0)
		r = wait_continue(s, e);
	if (r < 0)
		return r;
	if (m->config->pause_before_switchover)
		source_lap(s, &m->stats.dt_continue);
	if (!drover_state_set(m, drover_state_get(m), DROVER_STATE_DEVICE))
		return drover_err(e, -ECANCELED, "migration: cancelled");
	if (source_postcopying(s))
		drover_state_set(m, DROVER_STATE_DEVICE, DROVER_STATE_POSTCOPY_DEVICE);
	r = source_postcopying(s) ? leave_pages(s, e) : last_pages(s, e);
	if (r >= 0)
		r = send_state(s, e);
	source_lap(s, &m->stats.dt_state);
	if (r >= 0)
		r = source_digest_send(s, e);
	if (r >= 0)
		r = verify_full(s, e);
	source_lap(s, &m->stats.dt_digest);
	if (r < 0)
		return r;
	if (source_one_way(s))
		return finish_one_way(s, e);
	r = wait_state_ack(s, e);
	source_lap(s, &m->stats.dt_state);
	if (r >= 0)
		r = source_digest_ack(s, e);
	if (r >= 0)
		r = drover_link_move(s->peer.main, DROVER_PHASE_READY, e);
	source_lap(s, &m->stats.dt_digest);
	return r < 0 ? r : commit(s, e);
}
