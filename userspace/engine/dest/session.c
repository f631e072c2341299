// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A session on the destination: its main channel, from the answered HELLO to COMMIT_ACK
 * and RELEASED, and what each of its messages does. Whatever breaks before COMMIT ends the
 * session, tells the source, makes the guest fit for the next one, and leaves the listening
 * as it was. Called by listen.c, in the connection's thread.
 */
#include <errno.h>

#include "base/clock.h"
#include "engine/dest/dest.h"
#include "engine/dest/session.h"
#include "peer/send.h"

#define TICK_MS 100

static void tick(struct session *x)
{
	struct drover_migration *m = x->m;
	uint64_t raw = atomic_load(&x->placed.raw), zero = atomic_load(&x->placed.zero);
	uint64_t bytes = atomic_load(&drover_channel_stats(x->main->ch)->rx_bytes) +
			 channels_rx_bytes(&x->channels);

	if (bytes > drover_stat_get(&m->stats.transferred))
		DROVER_STAT(m, transferred, bytes);
	DROVER_STAT(m, normal, raw);
	DROVER_STAT(m, normal_bytes, raw * DROVER_PAGE_SIZE);
	DROVER_STAT(m, duplicate, zero);
	if (session_armed(x))
		DROVER_STAT(m, remaining, pending_missing(&x->pc->pending) * DROVER_PAGE_SIZE);
	DROVER_STAT(m, total_time, (drover_now_ns() - m->time.started_ns) / DROVER_NS_PER_MS);
}

static int pong(struct session *x, size_t len, struct drover_error *e)
{
	struct drover_msg_ping p;
	int r = drover_body_ping(x->main, len, &p, e);

	return r < 0 ? r : drover_send_ping(x->main, DROVER_MSG_PONG, &p, e);
}

static int round_end(struct session *x, const struct drover_frame *f, struct drover_error *e)
{
	struct drover_msg_round ack = { 0 };
	uint32_t round;
	int r;

	r = session_round_end(x, x->main, f, &round, e);
	if (r >= 0 && barrier_is_final(&x->barrier))
		r = drover_link_move(x->main, session_armed(x) ? DROVER_PHASE_DRAINING :
				     DROVER_PHASE_FINAL, e);
	if (r < 0)
		return r;
	DROVER_STAT(x->m, round, round);
	DROVER_STAT(x->m, dirty_sync_count, round);
	tick(x);
	if (x->one_way)
		return 0;
	if (session_armed(x)) {
		r = session_wait_all(x, e);
		while (r >= 0 && (r = session_release(x, e)) > 0)
			;
		if (r < 0)
			return r;
		drover_link_then(x->main, DROVER_MSG_ROUND_ACK, x->verify ? DROVER_PHASE_PROVING :
				 DROVER_PHASE_PROVED);
	}
	ack.round = round;
	ack.bytes = drover_stat_get(&x->m->stats.transferred);
	return drover_send_round_ack(x->main, &ack, e);
}

/* What one message does. 1: the session is over, and all went well */
static int dispatch(struct session *x, const struct drover_frame *f, struct drover_error *e)
{
	switch (f->type) {
	case DROVER_MSG_PAGES:
		/* In postcopy a page that was asked for on main comes on main. */
		if (!channels_none(&x->channels) && !session_armed(x))
			break;
		return session_pages(x, x->main, f, e);
	case DROVER_MSG_ROUND_END:
		return round_end(x, f, e);
	case DROVER_MSG_PING:
		return pong(x, f->body_len, e);
	case DROVER_MSG_SWITCHOVER_REQ:
		return drover_send_bare(x->main, DROVER_MSG_SWITCHOVER_ACK, e);
	case DROVER_MSG_DISCARD:
		return session_discard(x, f->body_len, e);
	case DROVER_MSG_PAUSED:
		if (!x->pc || !fate_committed(&x->fate))
			break;
		return drover_err(e, -ECONNABORTED, "the source has paused the migration");
	case DROVER_MSG_STATE:
		return session_state(x, f, e);
	case DROVER_MSG_DIGEST:
		return session_digest(x, f->body_len, e);
	case DROVER_MSG_COMMIT:
		return session_commit(x, f->body_len, e);
	case DROVER_MSG_RELEASED:
		return session_released(x, f->body_len, e);
	case DROVER_MSG_END:
		return session_end_one_way(x, f->body_len, e);
	case DROVER_MSG_FAIL:
		return drover_peer_failed(x->main, f->body_len, e);
	default:
		break;
	}
	return drover_err(e, -EBADMSG, "channel main: message %s: not now", x->main->info->name);
}

/*
 * migrate-pause and release-ram: what is due in a postcopy, looked at between messages too,
 * since main may carry all pages and never be idle.
 */
static int postcopy_beat(struct session *x, struct drover_error *e)
{
	uint64_t now = drover_now_ns();

	if (now - x->beat_ns < TICK_MS * DROVER_NS_PER_MS)
		return 0;
	x->beat_ns = now;
	if (fate_committed(&x->fate) && drover_order_pause(x->m))
		return drover_err(e, -EINTR, "paused by migrate-pause");
	return session_release(x, e) < 0 ? e->code : 0;
}

/* Until something can be read on main. */
static int await_message(struct session *x, struct drover_error *e)
{
	int r;

	for (;;) {
		r = drover_link_poll(x->main, drover_deadline_ms(TICK_MS));
		if (r < 0)
			return drover_err(e, r, "channel main: %s", drover_strerror(r));
		if (r > 0)
			return 0;
		tick(x);
		r = session_alive(x, e);
		if (r >= 0)
			r = drover_check_stall(x->m, e);
		if (r >= 0 && x->pc)
			r = postcopy_beat(x, e);
		if (r < 0)
			return r;
	}
}

static int next_message(struct session *x, struct drover_error *e)
{
	struct drover_runtime rt;
	struct drover_frame f;
	int r = await_message(x, e);

	if (r < 0)
		return r;
	/* A message has begun, so its rest must come in time; between messages a pause is no stall. */
	drover_runtime_get(x->m, &rt);
	drover_channel_set_stall(x->main->ch, rt.stall_timeout);
	r = drover_link_recv(x->main, &f, e);
	if (r == DROVER_CHANNEL_E_EOF)
		return fate_committed(&x->fate) && !session_armed(x) ? 1 :
			drover_err(e, -ECONNRESET, "channel main: the source (%s) closed it",
				   drover_channel_peer(x->main->ch));
	if (r < 0)
		return r;
	drover_progress(x->m, drover_now_ns());
	r = dispatch(x, &f, e);
	if (r == 0)
		r = session_alive(x, e);
	return r == 0 && x->pc ? postcopy_beat(x, e) : r;
}

void session_main(struct session *x)
{
	struct drover_error e = DROVER_ERROR_INIT;
	int r = 0;

	while (r == 0)
		r = next_message(x, &e);
	if (fate_committed(&x->fate))
		tick(x);
	/* Before COMMIT the source is told; after it the log and the counter tell. */
	if (r == -EBADMSG && fate_committed(&x->fate))
		dest_refuse(x->d, e.msg);
	if (r < 0 && !fate_committed(&x->fate))
		session_failed(x, r, &e);
	else if (r < 0 && session_armed(x))
		session_pause(x, r, &e);
	else
		session_over(x);
	drover_link_forget(x->m, x->main);
	session_free(x);
}
