// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Who owns the guest of a session? The answer comes from the VMM's record, which outlives
 * this process, and from the sessions that ended here before COMMIT. "Not committed" is a
 * promise: the token is fenced first, so that a COMMIT that is still under way somewhere
 * will be refused.
 */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "engine/dest/dest.h"

void dest_fence(struct drover_dest *d, const uint8_t *token)
{
	DROVER_LOCK(&d->lock);

	memcpy(d->fenced[d->nfenced++ % DEST_FENCED_MAX], token, DROVER_TOKEN_LEN);
}

static bool is_fenced(struct drover_dest *d, const uint8_t *token)
{
	unsigned int i, n;
	DROVER_LOCK(&d->lock);

	n = d->nfenced < DEST_FENCED_MAX ? d->nfenced : DEST_FENCED_MAX;
	for (i = 0; i < n; i++)
		if (!memcmp(d->fenced[i], token, DROVER_TOKEN_LEN))
			return true;
	return false;
}

/* Fence a live session, or wait for the COMMIT it is acting on. */
static void stop_session(struct drover_dest *d, const uint8_t *token)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct session *x;
	bool kill = false;

	drover_err(&e, -ECONNABORTED, "the source asked who owns the guest: this session is over");
	pthread_mutex_lock(&d->lock);
	x = d->session;
	if (x && !memcmp(x->token, token, DROVER_TOKEN_LEN)) {
		pthread_mutex_lock(&x->lock);
		while (x->committing && !x->committed && !x->dead)
			pthread_cond_wait(&x->cond, &x->lock);
		if (!x->committed) {
			x->fenced = true;
			kill = true;
		}
		pthread_mutex_unlock(&x->lock);
	}
	if (kill)
		session_kill(x, &e);
	pthread_mutex_unlock(&d->lock);
}

/* A ledger is there exactly as long as something is missing, or not proved. */
static enum drover_owner_answer committed(struct drover_dest *d, struct drover_error *e)
{
	struct drover_guest *g = d->m->guest;
	_cleanup_close_ int fd = -EBADF;
	int r = 0;
	DROVER_LOCK(&d->guest);

	if (g->ops->ledger_get)
		r = g->ops->ledger_get(g, &fd, e);
	if (r < 0)
		return DROVER_OWNER_UNKNOWN;
	return fd >= 0 ? DROVER_OWNER_INCOMPLETE : DROVER_OWNER_COMMITTED;
}

static enum drover_owner_answer decide(struct drover_dest *d, const uint8_t *token,
				       struct drover_error *e)
{
	struct drover_owner_record rec;
	int r;

	stop_session(d, token);
	pthread_mutex_lock(&d->guest);
	r = d->m->guest->ops->owner_get(d->m->guest, &rec, e);
	pthread_mutex_unlock(&d->guest);
	if (r < 0)
		return DROVER_OWNER_UNKNOWN;
	if (memcmp(rec.token, token, DROVER_TOKEN_LEN)) {
		drover_err(e, -ENOENT, "no record of this session");
		return is_fenced(d, token) ? DROVER_OWNER_NOT_COMMITTED : DROVER_OWNER_UNKNOWN;
	}
	switch (rec.state) {
	case DROVER_OWNER_OWNED:
		return committed(d, e);
	case DROVER_OWNER_FENCED:
		return DROVER_OWNER_NOT_COMMITTED;
	case DROVER_OWNER_INCOMING:
		r = dest_record(d, DROVER_OWNER_FENCED, token, e);
		return r < 0 ? DROVER_OWNER_UNKNOWN : DROVER_OWNER_NOT_COMMITTED;
	default:
		drover_err(e, -EINVAL, "the record is not a destination's");
		return DROVER_OWNER_UNKNOWN;
	}
}

void dest_owner_query(struct drover_dest *d, struct drover_link *l, size_t len)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_msg_token q;
	struct drover_msg_owner a = { 0 };
	uint8_t body[DROVER_ERR_MAX + 32];
	int n;

	if (drover_token_decode(l->body, len, &q, &e) < 0) {
		dest_refuse(d, e.msg);
		return;
	}
	memcpy(a.token, q.token, sizeof(a.token));
	a.answer = decide(d, q.token, &e);
	a.text = a.answer == DROVER_OWNER_UNKNOWN ? e.msg : "";
	a.text_len = (uint32_t)strlen(a.text);
	n = drover_owner_encode(&a, body, sizeof(body));
	if (n > 0 && drover_link_send(l, DROVER_MSG_OWNER, body, (size_t)n, NULL, 0, 0, NULL) >= 0)
		drover_link_linger(l, drover_deadline_ms(1000));
}
