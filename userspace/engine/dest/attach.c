// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A channel beside main: ATTACH makes it the session's that it names, and its thread receives
 * pages until the session ends. Called by listen.c, in the connection's thread.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/thread.h"
#include "engine/dest/dest.h"
#include "engine/dest/session.h"
#include "peer/send.h"

/* The source closes its channels when all has been sent on them. */
static bool may_close(const struct session *x)
{
	return state_step(&x->state) >= STATE_WHOLE &&
	       (!x->pc || !pending_missing(&x->pc->pending));
}

static int data_loop(struct session *x, struct drover_link *l, struct drover_error *e)
{
	struct drover_frame f;
	uint32_t round;
	int r;

	for (;;) {
		r = drover_link_recv(l, &f, e);
		if (r == DROVER_CHANNEL_E_EOF)
			return may_close(x) ? 0 :
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

static int answer(struct drover_link *l, uint32_t status, const char *text, struct drover_error *e)
{
	struct drover_msg_status st = {
		.status = status,
		.text = text,
		.text_len = (uint32_t)strlen(text),
	};

	return drover_send_status(l, DROVER_MSG_ATTACH_ACK, &st, e);
}

static void refuse(struct drover_dest *d, struct drover_link *l)
{
	dest_refuse(d, "ATTACH: no session here wants this channel");
	answer(l, DROVER_ACK_REFUSED, "no session here wants this channel", NULL);
	drover_link_linger(l, drover_deadline_ms(500));
}

/* A channel of the session, until it ends. */
static void take_part(struct session *x, struct drover_link *l, const struct drover_msg_attach *a)
{
	bool urgent = a->type == DROVER_ATTACH_POSTCOPY && x->pc;
	struct drover_error e = DROVER_ERROR_INIT;
	int r = answer(l, DROVER_ACK_OK, "", &e);

	drover_link_join(l, x->main);
	if (r >= 0 && urgent) {
		drover_channel_set_direct(l->ch);
		faults_urgent(&x->pc->faults, a->index, l);
	}
	if (r >= 0)
		r = data_loop(x, l, &e);
	if (r < 0)
		session_kill(x, &e);
	/* A fault thread may be stuck in a send on it. */
	drover_channel_shutdown(l->ch);
	/* First from where arming finds it, or it would be told to the fault threads again. */
	channels_withdraw(&x->channels, a);
	if (urgent)
		faults_urgent(&x->pc->faults, a->index, NULL);
}

void dest_attach(struct drover_dest *d, struct drover_link *l, size_t len)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_msg_attach a;
	struct session *x;
	char name[32];
	bool data;

	drover_link_set(l, DROVER_ON_D, 0);
	drover_link_move(l, DROVER_PHASE_JOINING, NULL);
	if (drover_body_attach(l, len, &a, &e) < 0) {
		dest_refuse(d, e.msg);
		return;
	}
	data = a.type == DROVER_ATTACH_DATA;
	/* The refusal, too, must be one that the source can read. */
	if (data)
		drover_link_set(l, DROVER_ON_D, (uint16_t)(a.index + 1));
	else
		drover_link_set(l, DROVER_ON_P,
				(uint16_t)(DROVER_FRAME_CHANNEL_POSTCOPY + a.index));
	x = seat_join(d, &a, l);
	if (!x) {
		refuse(d, l);
		return;
	}
	snprintf(name, sizeof(name), "%s/%u", drover_channel_type_name(a.type), a.index);
	drover_thread_name(data ? "recv" : "urgent", (int)a.index);
	drover_channel_set_name(l->ch, name);
	drover_channel_set_stall(l->ch, 0);
	drover_link_register(d->m, l);
	take_part(x, l, &a);
	drover_link_forget(d->m, l);
	channels_leave(&x->channels);
}
