// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The source after it has handed the guest over before all of its memory: it pushes what
 * is left, serves what is waited for, and whatever breaks on the way only pauses it. The
 * RAM here is frozen and stays until the destination has all of it, so a connection, a
 * daemon, or an attempt to go on may die any number of times.
 */
#include "engine/source/serve.h"

#include <errno.h>

#include "base/clock.h"
#include "base/crash.h"
#include "channel/channel.h"
#include "engine/source/source.h"
#include "peer/send.h"

/* A lost wake-up costs no more than this. */
#define TICK_MS 20
#define FAREWELL_MS 500

/* What is due every now and then; < 0: this connection is over. */
static int beat(struct drover_source *s, struct drover_error *e)
{
	struct drover_error error;
	int r;

	r = drover_link_poll(s->peer.main, drover_deadline_ms(TICK_MS));
	if (r < 0)
		return drover_err(e, r, "channel main: %s", drover_strerror(r));
	r = source_poll(s, e);
	/* Main's own sender may be in a send: no ping is needed then, and it would wait for it. */
	if (r >= 0 && !drover_link_sending(s->peer.main))
		r = source_ping(s, e);
	if (r < 0)
		return r;
	source_tick(s);
	work_over(&s->work, &error);
	if (error.code)
		return source_why(s, &error, e);
	if (drover_order_pause(s->m))
		return drover_err(e, -EINTR, "paused by migrate-pause");
	if (senders_waiting(s))
		drover_progress(s->m, drover_now_ns());
	return drover_check_stall(s->m, e);
}

static int end_round(struct drover_source *s, uint32_t round, struct drover_error *e)
{
	struct drover_msg_round m = { .round = round };
	int r;

	drover_link_then(s->peer.main, DROVER_MSG_ROUND_END, DROVER_PHASE_DRAINING);
	r = drover_send_round_end(s->peer.main, &m, e);
	while (r >= 0 && !inbox_placed(&s->inbox))
		r = beat(s, e);
	return r < 0 ? r : drover_link_move(s->peer.main,
					    s->m->config->verify == DROVER_VERIFY_NONE ?
					    DROVER_PHASE_PROVED : DROVER_PHASE_PROVING, e);
}

/* Of all pages by now. What another daemon sent is hashed from the frozen RAM. */
static int prove(struct drover_source *s, struct drover_error *e)
{
	struct drover_migration *m = s->m;
	int r;

	if (m->config->verify == DROVER_VERIFY_NONE)
		return 0;
	/* What another droverd sent may have been freed by it. */
	source_digest_renew(s, source_adopted(s) && !m->config->release_ram);
	r = source_digest_send(s, e);
	if (r < 0)
		return r;
	r = source_digest_ack(s, e);
	if (r < 0 && r != -EUCLEAN)
		return r;
	/* The guest runs there, so there is no way back: it is told, page by page. */
	if (r < 0)
		drover_fail(m, e);
	drover_err_clear(e);
	return drover_link_move(s->peer.main, DROVER_PHASE_PROVED, e);
}

/*
 * Nothing here is needed any more. A record that can't be changed is settled by another
 * droverd, so the destination must remember the session.
 */
static int release(struct drover_source *s, enum owner_by by, bool tell)
{
	struct drover_error e = DROVER_ERROR_INIT;

	if (source_give(s, by, &e) < 0)
		drover_fail(s->m, &e);
	else if (tell)
		peer_send_token(&s->peer, s->peer.main, DROVER_MSG_RELEASED, NULL);
	drover_crash_point("released");
	return 0;
}

/* Until all has arrived. */
static int serve(struct drover_source *s, struct drover_error *e)
{
	struct drover_error error;
	uint32_t round = inbox_next_round(&s->inbox);
	int r = 0;

	DROVER_STAT(s->m, round, round);
	pace_shut(&s->pace);
	source_apply_limit(s);
	senders_open_round(s, round, WORK_PUSH);
	while (r >= 0 && !work_over(&s->work, &error)) {
		r = beat(s, e);
		source_apply_limit(s);
	}
	if (r >= 0 && error.code)
		r = source_why(s, &error, e);
	if (r >= 0)
		r = end_round(s, round, e);
	drover_crash_point("all-sent");
	if (r >= 0)
		r = prove(s, e);
	drover_crash_point("proved");
	return r < 0 ? r : release(s, OWNER_BY_ANSWER, true);
}

/* End what is left of a connection, and of one that was never whole. */
static void disconnect(struct drover_source *s, bool tell)
{
	struct drover_link *l = s->peer.main;

	peer_shut_data(&s->peer);
	if (tell && l && !peer_pages_on_main(&s->peer)) {
		drover_channel_set_stall(l->ch, FAREWELL_MS);
		peer_send_token(&s->peer, l, DROVER_MSG_PAUSED, NULL);
	}
	if (l)
		drover_channel_shutdown(l->ch);
	urgent_stop(s);
	senders_stop(s);
	peer_close(&s->peer, s->m);
}

static void paused(struct drover_source *s, const struct drover_error *e)
{
	struct drover_migration *m = s->m;
	struct drover_error error = DROVER_ERROR_INIT;

	drover_err(&error, e->code, "postcopy paused: %.900s", e->msg);
	drover_unfail(m);
	drover_fail(m, &error);
	drover_order_pause(m);
	drover_state_set(m, drover_state_get(m), DROVER_STATE_POSTCOPY_PAUSED);
}

/* Nothing is sent any more: all had arrived before, or it was given up. */
static int over(struct drover_source *s, enum owner_by by)
{
	struct drover_migration *m = s->m;

	drover_unfail(m);
	release(s, by, false);
	drover_state_set(m, drover_state_get(m), DROVER_STATE_POSTCOPY_PAUSED);
	drover_state_set(m, DROVER_STATE_POSTCOPY_PAUSED, DROVER_STATE_COMPLETED);
	return 1;
}

static int adopt_memory(struct drover_source *s, struct drover_error *e)
{
	const struct drover_config *c = s->m->config;
	int r = memory_adopt(&s->mem, c->verify != DROVER_VERIFY_NONE, c->release_ram, e);

	return r < 0 ? r : source_digest_init(s, e);
}

/* A daemon that comes after this one looks for the destination there. */
static void note_address(struct drover_source *s)
{
	struct drover_error e = DROVER_ERROR_INIT;

	if (source_request(s, OWNER_EV_MOVE, &e) < 0)
		drover_fail(s->m, &e);
}

/* 1: the destination has all of it, and can't go on with what it has no use for */
static int go_on(struct drover_source *s, struct drover_error *e)
{
	struct drover_migration *m = s->m;
	struct drover_runtime rt;
	int r;

	if (!drover_state_set(m, DROVER_STATE_POSTCOPY_PAUSED, DROVER_STATE_POSTCOPY_RECOVER_SETUP))
		return drover_err(e, -ECANCELED, "resume: the migration has ended");
	drover_progress(m, drover_now_ns());
	r = source_reconnect(s, e);
	if (r == -EREMOTEIO && source_done_there(s))
		return 1;
	if (r >= 0)
		note_address(s);
	if (r >= 0 && source_adopted(s))
		r = adopt_memory(s, e);
	if (r < 0)
		return r;
	/* As since the switchover: what this thread sends it can't watch. */
	drover_runtime_get(m, &rt);
	drover_channel_set_stall(s->peer.main->ch, rt.stall_timeout);
	work_count_left(&s->work);
	inbox_restart(&s->inbox);
	r = senders_start(s, e);
	if (r >= 0)
		r = urgent_start(s, e);
	if (r < 0)
		return r;
	drover_unfail(m);
	drover_state_set(m, DROVER_STATE_POSTCOPY_RECOVER, DROVER_STATE_POSTCOPY_ACTIVE);
	return 0;
}

int source_postcopy(struct drover_source *s, bool is_paused, struct drover_error *e)
{
	struct drover_migration *m = s->m;
	enum owner_by by;
	int r = 0;

	source_handed_over(s);
	source_session_text(s);
	if (is_paused)
		disconnect(s, false);
	else
		drover_state_set(m, DROVER_STATE_POSTCOPY_DEVICE, DROVER_STATE_POSTCOPY_ACTIVE);
	while (!drover_cancelled(&m->cancel)) {
		if (!is_paused) {
			r = r < 0 ? r : serve(s, e);
			if (r >= 0)
				return 0;
			if (drover_cancelled(&m->cancel))
				break;
			disconnect(s, r != -ECONNABORTED);
			paused(s, e);
		}
		drover_err_clear(e);
		is_paused = false;
		r = drover_order_resume(s->m);
		by = r > 0 ? OWNER_BY_HAND : OWNER_BY_ANSWER;
		if (r == 0)
			r = go_on(s, e);
		if (r > 0) {
			disconnect(s, false);
			return over(s, by);
		}
	}
	disconnect(s, false);
	return -ECANCELED;
}
