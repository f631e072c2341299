// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * PAGES on the destination, from whichever channel, and the barrier between rounds: a
 * page must never be overwritten by an older copy, so nobody reads past ROUND_END(n)
 * until all channels have reached it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/thread.h"
#include "engine/dest/dest.h"
#include "peer/send.h"
#include "place/receive.h"

#define WAIT_TICK_MS 200

static int check_pages(struct session *x, const struct drover_msg_pages *m, struct drover_error *e)
{
	if (m->block >= x->nblocks || x->skip[m->block])
		return drover_err(e, -EBADMSG, "pages of block %u, which is not migrated",
				  m->block);
	if (x->pc && x->pc->armed)
		return atomic_load(&x->pc->here) ?
			drover_err(e, -EBADMSG, "pages after all have arrived") : 0;
	if (m->round != x->round)
		return drover_err(e, -EBADMSG, "pages of round %u in round %u", m->round, x->round);
	if (x->state_done)
		return drover_err(e, -EBADMSG, "pages after the device state");
	return 0;
}

int session_pages(struct session *x, struct drover_link *l, const struct drover_frame *f,
		  struct drover_error *e)
{
	const struct drover_ram *ram = x->m->ram;
	struct arrival a = { x, drover_channel_name(l->ch) };
	struct drover_received n;
	struct drover_msg_pages m;
	unsigned int block;
	int r = drover_body_pages(l, f, &m, e);

	if (r < 0)
		return r;
	r = check_pages(x, &m, e);
	if (r < 0)
		return drover_link_bad(l, e), r;
	block = x->block[m.block];
	r = x->pc && x->pc->armed ?
		drover_place_receive(&pending_place, &a, &ram->block[block], block, l, &m, &n, e) :
		drover_place_receive(&drover_place_precopy, x->place, &ram->block[block], block, l,
				     &m, &n, e);
	if (r < 0)
		return r;
	atomic_fetch_add_explicit(&x->raw_pages, n.raw, memory_order_relaxed);
	atomic_fetch_add_explicit(&x->zero_pages, n.zero, memory_order_relaxed);
	drover_progress(x->m, drover_now_ns());
	return 0;
}

/* No byte from anybody for stall-timeout; what waits unread on main proves a live peer. */
static int check_peer(struct session *x, struct drover_link *l, struct drover_error *e)
{
	int r = drover_check_stall(x->m, e);

	if (r == -ETIMEDOUT && l == x->main && drover_link_poll(l, drover_now_ns()) > 0) {
		drover_err_clear(e);
		return 0;
	}
	return r;
}

static int barrier_wait(struct session *x, struct drover_link *l, uint32_t round,
			struct drover_error *e)
{
	int r = 0;

	pthread_mutex_lock(&x->lock);
	if (++x->arrived == x->ndata + 1) {
		x->arrived = 0;
		x->round++;
		pthread_cond_broadcast(&x->cond);
	}
	while (x->round == round && !x->dead && r >= 0) {
		drover_cond_wait_ms(&x->cond, &x->lock, WAIT_TICK_MS);
		pthread_mutex_unlock(&x->lock);
		r = check_peer(x, l, e);
		pthread_mutex_lock(&x->lock);
	}
	if (x->dead && r >= 0)
		r = drover_err(e, -ECONNABORTED, "%s", x->error.msg);
	pthread_mutex_unlock(&x->lock);
	return r;
}

int session_round_end(struct session *x, struct drover_link *l, const struct drover_frame *f,
		      uint32_t *ret_round, struct drover_error *e)
{
	struct drover_msg_round m;
	int r;

	r = drover_round_end_decode(l->body, f->body_len, &m, e);
	if (r < 0)
		return drover_link_bad(l, e), r;
	if (m.round != x->round)
		return drover_err(e, -EBADMSG, "channel %s: ROUND_END(%u) in round %u",
				  drover_channel_name(l->ch), m.round, x->round);
	if ((m.flags & DROVER_ROUND_FINAL) && l == x->main && !x->final_ns)
		x->final_ns = drover_now_ns();
	*ret_round = m.round;
	return barrier_wait(x, l, m.round, e);
}

static int data_loop(struct session *x, struct drover_link *l, struct drover_error *e)
{
	struct drover_frame f;
	uint32_t round;
	int r;

	for (;;) {
		r = drover_link_recv(l, &f, e);
		if (r == DROVER_CHANNEL_E_EOF)
			return x->state_done && (!x->pc || !atomic_load(&x->pc->missing)) ? 0 :
				drover_err(e, -ECONNRESET, "channel %s: the source closed it",
					   drover_channel_name(l->ch));
		if (r < 0)
			return r;
		if (f.type == DROVER_MSG_PAGES)
			r = session_pages(x, l, &f, e);
		else if (f.type == DROVER_MSG_ROUND_END && l->kind == DROVER_ON_D)
			r = session_round_end(x, l, &f, &round, e);
		else
			r = drover_err(e, -EBADMSG, "channel %s: message %s: not on a data channel",
				       drover_channel_name(l->ch), l->info->name);
		if (r < 0)
			return r;
	}
}

/* The session this ATTACH belongs to, with a reference, or NULL. */
static struct session *join_session(struct drover_dest *d, struct drover_link *l,
				    const struct drover_msg_attach *a)
{
	struct drover_link **slot;
	struct session *x;
	DROVER_LOCK(&d->lock);

	x = d->session;
	if (!x || memcmp(x->token, a->token, sizeof(x->token)))
		return NULL;
	pthread_mutex_lock(&x->lock);
	slot = a->type == DROVER_CHANNEL_DATA ? &x->data[a->index] : &x->urgent[a->index];
	if (x->dead || *slot ||
	    a->index >= (a->type == DROVER_CHANNEL_DATA ? x->ndata : x->npostcopy)) {
		pthread_mutex_unlock(&x->lock);
		return NULL;
	}
	*slot = l;
	x->refs++;
	pthread_mutex_unlock(&x->lock);
	return x;
}

static void leave_session(struct session *x, const struct drover_msg_attach *a)
{
	DROVER_LOCK(&x->lock);

	if (a->type == DROVER_CHANNEL_DATA)
		x->data[a->index] = NULL;
	else
		x->urgent[a->index] = NULL;
	x->refs--;
	pthread_cond_broadcast(&x->cond);
}

static int attach_answer(struct drover_link *l, uint32_t status, const char *text,
			 struct drover_error *e)
{
	struct drover_msg_status st = {
		.status = status,
		.text = text,
		.text_len = (uint32_t)strlen(text),
	};
	uint8_t body[512];
	int n = drover_status_encode(&st, body, sizeof(body));

	return drover_link_send(l, DROVER_MSG_ATTACH_ACK, body, (size_t)n, NULL, 0, 0, e);
}

void session_attach(struct drover_dest *d, struct drover_link *l, size_t len)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_msg_attach a;
	struct session *x;
	char name[32];
	int r;

	drover_link_set(l, DROVER_ON_D, 0);
	if (drover_attach_decode(l->body, len, &a, &e) < 0) {
		dest_refuse(d, e.msg);
		return;
	}
	/* The refusal, too, must be one that the source can read. */
	if (a.type == DROVER_CHANNEL_DATA)
		drover_link_set(l, DROVER_ON_D, (uint16_t)(a.index + 1));
	else
		drover_link_set(l, DROVER_ON_P,
				(uint16_t)(DROVER_FRAME_CHANNEL_POSTCOPY + a.index));
	x = join_session(d, l, &a);
	if (!x) {
		dest_refuse(d, "ATTACH: no session here wants this channel");
		attach_answer(l, DROVER_ACK_REFUSED, "no session here wants this channel", NULL);
		drover_link_linger(l, drover_deadline_ms(500));
		return;
	}
	snprintf(name, sizeof(name), "%s/%u", drover_channel_type_name(a.type), a.index);
	drover_thread_name(a.type == DROVER_CHANNEL_DATA ? "recv" : "urgent", (int)a.index);
	drover_channel_set_name(l->ch, name);
	drover_channel_set_stall(l->ch, 0);
	drover_link_register(d->m, l);
	r = attach_answer(l, DROVER_ACK_OK, "", &e);
	if (r >= 0 && a.type == DROVER_CHANNEL_POSTCOPY && x->pc) {
		drover_channel_set_direct(l->ch);
		pc_urgent(x->pc, a.index, l);
	}
	if (r >= 0)
		r = data_loop(x, l, &e);
	if (r < 0)
		session_kill(x, &e);
	/* A fault thread may be stuck in a send on it. */
	drover_channel_shutdown(l->ch);
	if (a.type == DROVER_CHANNEL_POSTCOPY && x->pc)
		pc_urgent(x->pc, a.index, NULL);
	drover_link_forget(d->m, l);
	leave_session(x, &a);
}
