// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Who may have a session here. Everything that looks for the session from outside, by its
 * token, does so here and under one lock: a channel that joins, a source that asks who owns
 * the guest, a source that comes again. Called by the connections' threads.
 */
#include "engine/dest/seat.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "channel/channel.h"
#include "engine/dest/dest.h"
#include "engine/dest/session.h"

void seat_init(struct seat *s)
{
	pthread_mutex_init(&s->lock, NULL);
}

void seat_deinit(struct seat *s)
{
	postcopy_free(s->pc, false);
	pthread_mutex_destroy(&s->lock);
}

int seat_take(struct drover_dest *d, struct session *x, struct drover_error *e)
{
	enum drover_state st = drover_state_get(d->m);
	DROVER_LOCK(&d->seat.lock);

	if (d->m->mode == DROVER_MODE_SETTLE)
		return drover_err(e, -EACCES, "no migrate-incoming is under way here");
	if (d->seat.arrived)
		return drover_err(e, -EBUSY, "a migration has been completed here; the guest has arrived");
	if (d->seat.session || (st != DROVER_STATE_SETUP && st != DROVER_STATE_FAILED))
		return drover_err(e, -EBUSY, "another migration is in progress here");
	d->seat.session = x;
	return 0;
}

int seat_take_again(struct drover_dest *d, struct session *x, struct drover_error *e)
{
	enum drover_state st = drover_state_get(d->m);
	DROVER_LOCK(&d->seat.lock);

	if (d->seat.session ||
	    (st != DROVER_STATE_POSTCOPY_PAUSED && st != DROVER_STATE_COMPLETED))
		return drover_err(e, -EBUSY, "resume: the migration is %s here",
				  drover_state_name(st));
	d->seat.session = x;
	return 0;
}

void seat_leave(struct drover_dest *d, const struct session *x)
{
	DROVER_LOCK(&d->seat.lock);

	if (d->seat.session == x)
		d->seat.session = NULL;
}

void seat_arrived(struct drover_dest *d, struct postcopy *pc)
{
	DROVER_LOCK(&d->seat.lock);

	d->seat.arrived = true;
	if (pc)
		d->seat.pc = pc;
}

struct postcopy *seat_postcopy(struct drover_dest *d)
{
	DROVER_LOCK(&d->seat.lock);

	return d->seat.pc;
}

int seat_blocktime(struct drover_dest *d, struct drover_blocktime_report *ret)
{
	DROVER_LOCK(&d->seat.lock);

	if (!d->seat.pc || !d->seat.pc->pending.bt)
		return -ENOENT;
	drover_blocktime_report(d->seat.pc->pending.bt, ret);
	return 0;
}

struct session *seat_join(struct drover_dest *d, const struct drover_msg_attach *a,
			  struct drover_link *l)
{
	struct session *x;
	DROVER_LOCK(&d->seat.lock);

	x = d->seat.session;
	if (!x || memcmp(x->token, a->token, sizeof(x->token)) ||
	    !drover_link_may_join(x->main) || !channels_join(&x->channels, a, l))
		return NULL;
	return x;
}

void seat_fence_session(struct drover_dest *d, const uint8_t *token)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct session *x;
	DROVER_LOCK(&d->seat.lock);

	x = d->seat.session;
	if (!x || memcmp(x->token, token, DROVER_TOKEN_LEN) || !fate_fence(&x->fate))
		return;
	drover_err(&e, -ECONNABORTED, "the source asked who owns the guest: this session is over");
	session_kill(x, &e);
}

bool seat_end_session(struct drover_dest *d)
{
	struct drover_error e = DROVER_ERROR_INIT;
	DROVER_LOCK(&d->seat.lock);

	if (!d->seat.session)
		return false;
	drover_err(&e, -ECONNRESET, "the source has connected anew");
	session_kill(d->seat.session, &e);
	drover_channel_shutdown(d->seat.session->main->ch);
	return true;
}

void seat_fence(struct drover_dest *d, const uint8_t *token)
{
	DROVER_LOCK(&d->seat.lock);

	memcpy(d->seat.fenced[d->seat.nfenced++ % SEAT_FENCED_MAX], token, DROVER_TOKEN_LEN);
}

bool seat_is_fenced(struct drover_dest *d, const uint8_t *token)
{
	unsigned int i, n;
	DROVER_LOCK(&d->seat.lock);

	n = d->seat.nfenced < SEAT_FENCED_MAX ? d->seat.nfenced : SEAT_FENCED_MAX;
	for (i = 0; i < n; i++)
		if (!memcmp(d->seat.fenced[i], token, DROVER_TOKEN_LEN))
			return true;
	return false;
}

void dest_refuse(struct drover_dest *d, const char *why)
{
	DROVER_LOCK(&d->seat.lock);

	drover_debug(d->m->log, "connection dropped: %s", why);
	snprintf(d->seat.refused, sizeof(d->seat.refused), "%s", why);
	DROVER_STAT(d->m, refused_connections,
		    drover_stat_get(&d->m->stats.refused_connections) + 1);
}

void seat_tell_refusal(struct drover_dest *d, const struct drover_error *e)
{
	enum drover_state st = drover_state_get(d->m);
	DROVER_LOCK(&d->seat.lock);

	if (d->seat.session || d->seat.arrived ||
	    (st != DROVER_STATE_SETUP && st != DROVER_STATE_FAILED))
		return;
	drover_replace_error(d->m, e);
}
