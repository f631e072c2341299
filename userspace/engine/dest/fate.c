// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * How a session is told to end, from any thread, and how COMMIT and a fence keep out of each
 * other's way: exactly one of them wins. Called by the session's threads, and by seat.c for
 * connections that are about another session's token.
 */
#include "engine/dest/fate.h"

#include <errno.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "engine/dest/dest.h"
#include "engine/dest/session.h"

void fate_init(struct fate *f)
{
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->cond, NULL);
}

void fate_deinit(struct fate *f)
{
	pthread_cond_destroy(&f->cond);
	pthread_mutex_destroy(&f->lock);
}

int fate_begin_commit(struct session *x, struct drover_error *e)
{
	struct fate *f = &x->fate;
	DROVER_LOCK(&f->lock);

	if (f->commit == COMMIT_FENCED || f->dead)
		return drover_err(e, -ECANCELED, "COMMIT: this session was fenced");
	if (!drover_commit_point(x->m))
		return drover_err(e, -ECANCELED, "COMMIT: the incoming migration was cancelled");
	f->commit = COMMIT_ACTING;
	return 0;
}

void fate_end_commit(struct fate *f, bool owned)
{
	DROVER_LOCK(&f->lock);

	f->commit = owned ? COMMIT_DONE : COMMIT_FENCED;
	if (!owned)
		f->dead = true;
	pthread_cond_broadcast(&f->cond);
}

void fate_set_committed(struct fate *f)
{
	DROVER_LOCK(&f->lock);

	f->commit = COMMIT_DONE;
}

bool fate_fence(struct fate *f)
{
	DROVER_LOCK(&f->lock);

	/* Even if it is dead: the VMM may be about to record that it owns the guest. */
	while (f->commit == COMMIT_ACTING)
		pthread_cond_wait(&f->cond, &f->lock);
	if (f->commit == COMMIT_DONE)
		return false;
	f->commit = COMMIT_FENCED;
	return true;
}

/* true: by this call */
static bool die(struct session *x, const struct drover_error *e)
{
	struct fate *f = &x->fate;
	DROVER_LOCK(&f->lock);

	if (f->dead || (f->commit == COMMIT_DONE && !session_armed(x)))
		return false;
	f->dead = true;
	f->error = *e;
	return true;
}

void session_kill(struct session *x, const struct drover_error *e)
{
	/* A dead session's main thread may have freed @pc already. */
	if (!die(x, e))
		return;
	channels_close(&x->channels);
	barrier_wake(&x->barrier);
	if (x->pc)
		pending_wake(&x->pc->pending);
}

int session_alive(struct session *x, struct drover_error *e)
{
	DROVER_LOCK(&x->fate.lock);

	return x->fate.dead ? drover_err(e, -ECONNABORTED, "%s", x->fate.error.msg) : 0;
}

int session_proved(struct session *x, struct drover_error *e)
{
	int r = dest_request(x->d, OWNER_EV_PROVED, x->token, e);

	x->fate.until = x->one_way ? OWNER_NEVER : drover_boot_ns() + OWNER_LEASE_NS;
	return r;
}
