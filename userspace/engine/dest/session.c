// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A session on the destination: its main channel, from the answered HELLO to COMMIT_ACK
 * and RELEASED. Whatever breaks before COMMIT ends the session, tells the source, makes
 * the guest fit for the next one, and leaves the listening as it was.
 */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "engine/dest/dest.h"

#define TICK_MS 100
#define FAREWELL_MS 1000

void session_kill(struct session *x, const struct drover_error *e)
{
	unsigned int i;
	DROVER_LOCK(&x->lock);

	if (!x->dead && (!x->committed || (x->pc && x->pc->armed))) {
		x->dead = true;
		x->error = *e;
	}
	for (i = 0; i < x->ndata && x->dead; i++)
		if (x->data[i])
			drover_channel_shutdown(x->data[i]->ch);
	for (i = 0; i < x->npostcopy && x->dead; i++)
		if (x->urgent[i])
			drover_channel_shutdown(x->urgent[i]->ch);
	pthread_cond_broadcast(&x->cond);
}

bool session_dead(struct session *x)
{
	DROVER_LOCK(&x->lock);

	return x->dead;
}

static void tick(struct session *x)
{
	struct drover_migration *m = x->m;
	uint64_t raw = atomic_load(&x->raw_pages), zero = atomic_load(&x->zero_pages);
	uint64_t bytes = atomic_load(&drover_channel_stats(x->main->ch)->rx_bytes);
	unsigned int i;

	pthread_mutex_lock(&x->lock);
	for (i = 0; i < x->ndata; i++)
		if (x->data[i])
			bytes += atomic_load(&drover_channel_stats(x->data[i]->ch)->rx_bytes);
	for (i = 0; i < x->npostcopy; i++)
		if (x->urgent[i])
			bytes += atomic_load(&drover_channel_stats(x->urgent[i]->ch)->rx_bytes);
	pthread_mutex_unlock(&x->lock);
	if (bytes > drover_stat_get(&m->stats.transferred))
		DROVER_STAT(m, transferred, bytes);
	DROVER_STAT(m, normal, raw);
	DROVER_STAT(m, normal_bytes, raw * DROVER_PAGE_SIZE);
	DROVER_STAT(m, duplicate, zero);
	if (x->pc && x->pc->armed)
		DROVER_STAT(m, remaining, atomic_load(&x->pc->missing) * DROVER_PAGE_SIZE);
	DROVER_STAT(m, total_time, (drover_now_ns() - m->started_ns) / DROVER_NS_PER_MS);
}

static int pong(struct session *x, size_t len, struct drover_error *e)
{
	struct drover_msg_ping p;
	uint8_t body[8];
	int n, r = drover_ping_decode(x->main->body, len, &p, e);

	if (r < 0)
		return drover_link_bad(x->main, e), r;
	n = drover_ping_encode(&p, body, sizeof(body));
	return drover_link_send(x->main, DROVER_MSG_PONG, body, (size_t)n, NULL, 0, 0, e);
}

static int round_end(struct session *x, const struct drover_frame *f, struct drover_error *e)
{
	struct drover_msg_round ack = { 0 };
	uint8_t body[16];
	uint32_t round;
	int n, r;

	r = session_round_end(x, x->main, f, &round, e);
	if (r < 0)
		return r;
	DROVER_STAT(x->m, round, round);
	DROVER_STAT(x->m, dirty_sync_count, round);
	tick(x);
	if (x->one_way)
		return 0;
	if (x->pc && x->pc->armed) {
		r = pc_wait_all(x, e);
		while (r >= 0 && (r = pc_release(x, e)) > 0)
			;
		if (r < 0)
			return r;
	}
	ack.round = round;
	ack.bytes = drover_stat_get(&x->m->stats.transferred);
	n = drover_round_ack_encode(&ack, body, sizeof(body));
	return drover_link_send(x->main, DROVER_MSG_ROUND_ACK, body, (size_t)n, NULL, 0, 0, e);
}

static int peer_failed(struct session *x, size_t len, struct drover_error *e)
{
	struct drover_msg_status m;
	int r = drover_status_decode(x->main->body, len, &m, e);

	if (r < 0)
		return drover_link_bad(x->main, e), r;
	return drover_err(e, -EREMOTEIO, "source: %.*s", (int)m.text_len, m.text);
}

/* 1: the session is over and well */
static int dispatch(struct session *x, const struct drover_frame *f, struct drover_error *e)
{
	switch (f->type) {
	case DROVER_MSG_PAGES:
		/* With postcopy what was asked for on main comes on main. */
		if (x->ndata && !(x->pc && x->pc->armed))
			break;
		return session_pages(x, x->main, f, e);
	case DROVER_MSG_ROUND_END:
		return round_end(x, f, e);
	case DROVER_MSG_PING:
		return pong(x, f->body_len, e);
	case DROVER_MSG_SWITCHOVER_REQ:
		return drover_link_send(x->main, DROVER_MSG_SWITCHOVER_ACK, NULL, 0, NULL, 0, 0, e);
	case DROVER_MSG_DISCARD:
		return session_discard(x, f->body_len, e);
	case DROVER_MSG_PAUSED:
		if (!x->pc || !x->committed)
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
		return peer_failed(x, f->body_len, e);
	default:
		break;
	}
	return drover_err(e, -EBADMSG, "channel main: message %s: not now", x->main->info->name);
}

/* migrate-pause; release-ram. Main may carry all pages, and be idle never. */
static int postcopy_beat(struct session *x, struct drover_error *e)
{
	uint64_t now = drover_now_ns();

	if (now - x->beat_ns < TICK_MS * DROVER_NS_PER_MS)
		return 0;
	x->beat_ns = now;
	if (x->committed && drover_order_pause(x->m))
		return drover_err(e, -EINTR, "paused by migrate-pause");
	return pc_release(x, e) < 0 ? e->code : 0;
}

static int next_message(struct session *x, struct drover_error *e)
{
	struct drover_runtime rt;
	struct drover_frame f;
	int r;

	for (;;) {
		r = drover_link_poll(x->main, drover_deadline_ms(TICK_MS));
		if (r < 0)
			return drover_err(e, r, "channel main: %s", drover_strerror(r));
		if (r > 0)
			break;
		tick(x);
		if (session_dead(x))
			return drover_err(e, -ECONNABORTED, "%s", x->error.msg);
		r = drover_check_stall(x->m, e);
		if (r >= 0 && x->pc)
			r = postcopy_beat(x, e);
		if (r < 0)
			return r;
	}
	/* A message has begun: the rest of it must come, however long the pauses between two. */
	drover_runtime_get(x->m, &rt);
	drover_channel_set_stall(x->main->ch, rt.stall_timeout);
	r = drover_link_recv(x->main, &f, e);
	if (r == DROVER_CHANNEL_E_EOF)
		return x->committed && !(x->pc && x->pc->armed) ? 1 :
			drover_err(e, -ECONNRESET, "channel main: the source (%s) closed it",
				   drover_channel_peer(x->main->ch));
	if (r < 0)
		return r;
	drover_progress(x->m, drover_now_ns());
	r = dispatch(x, &f, e);
	if (r == 0 && session_dead(x))
		return drover_err(e, -ECONNABORTED, "%s", x->error.msg);
	return r == 0 && x->pc ? postcopy_beat(x, e) : r;
}

static void wait_data_threads(struct session *x)
{
	DROVER_LOCK(&x->lock);

	while (x->refs)
		pthread_cond_wait(&x->cond, &x->lock);
}

static void end_session(struct session *x)
{
	struct drover_error e = DROVER_ERROR_INIT;
	unsigned int i;

	drover_err(&e, -ESHUTDOWN, "the session is over");
	session_kill(x, &e);
	pthread_mutex_lock(&x->lock);
	for (i = 0; i < x->ndata; i++)
		if (x->data[i])
			drover_channel_shutdown(x->data[i]->ch);
	for (i = 0; i < x->npostcopy; i++)
		if (x->urgent[i])
			drover_channel_shutdown(x->urgent[i]->ch);
	pthread_mutex_unlock(&x->lock);
	wait_data_threads(x);
}

/* Fit for the next HELLO: empty, record fenced for this one. */
static void reset_guest(struct session *x)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_migration *m = x->m;
	int r;

	dest_fence(x->d, x->token);
	r = dest_prepare_guest(x->d, &e);
	if (r >= 0)
		r = dest_record(x->d, DROVER_OWNER_FENCED, x->token, &e);
	if (r < 0)
		drover_fail(m, &e);
}

static void session_failed(struct session *x, int r, const struct drover_error *e)
{
	struct drover_migration *m = x->m;

	drover_fail(m, e);
	drover_state_set(m, drover_state_get(m), DROVER_STATE_FAILING);
	if (r != -EREMOTEIO && !x->one_way) {
		drover_channel_set_cancel(x->main->ch, NULL);
		drover_channel_set_stall(x->main->ch, FAREWELL_MS);
		drover_link_fail(x->main, r, e->msg);
		drover_link_linger(x->main, drover_deadline_ms(FAREWELL_MS));
	}
	end_session(x);
	x->place = drover_place_free(x->place);
	if (x->pc) {
		drover_channel_shutdown(x->main->ch);
		pc_offline(x->pc);
		x->pc = pc_free(x->pc, true);
	}
	reset_guest(x);
	pthread_mutex_lock(&x->d->lock);
	x->d->session = NULL;
	pthread_mutex_unlock(&x->d->lock);
	drover_state_set(m, DROVER_STATE_FAILING, DROVER_STATE_FAILED);
}

void session_pause(struct session *x, int r, const struct drover_error *e)
{
	struct drover_error error = DROVER_ERROR_INIT;
	struct drover_migration *m = x->m;
	struct postcopy *pc = x->pc;

	if (r == -EINTR || r == -ETIMEDOUT) {
		drover_channel_set_stall(x->main->ch, FAREWELL_MS);
		drover_link_send_token(x->main, DROVER_MSG_PAUSED, x->token, NULL);
	}
	drover_channel_shutdown(x->main->ch);
	end_session(x);
	pc_offline(pc);
	if (atomic_load(&pc->here) && (pc->proved || !x->verify)) {
		/* The source may not know it yet; it will when it comes again. */
		if (drover_state_get(m) != DROVER_STATE_COMPLETED && pc_finish(pc, &error) < 0)
			drover_fail(m, &error);
		drover_state_set(m, drover_state_get(m), DROVER_STATE_COMPLETED);
	} else {
		drover_err(&error, r, "postcopy paused: %.900s", e->msg);
		drover_unfail(m);
		drover_fail(m, &error);
		drover_state_set(m, drover_state_get(m), DROVER_STATE_POSTCOPY_PAUSED);
	}
	pthread_mutex_lock(&x->d->lock);
	x->d->session = NULL;
	pthread_mutex_unlock(&x->d->lock);
}

void session_main(struct session *x)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_dest *d = x->d;
	int r = 0;

	while (r == 0)
		r = next_message(x, &e);
	if (r < 0 && !x->committed) {
		session_failed(x, r, &e);
	} else if (r < 0 && x->pc && x->pc->armed) {
		tick(x);
		session_pause(x, r, &e);
	} else {
		/* After COMMIT nothing that happens on the wire matters to the guest. */
		tick(x);
		end_session(x);
		if (x->pc)
			pc_offline(x->pc);
		pthread_mutex_lock(&d->lock);
		d->session = NULL;
		pthread_mutex_unlock(&d->lock);
	}
	drover_link_forget(x->m, x->main);
	session_free(x);
}
