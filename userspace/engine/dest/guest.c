// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The guest's VMM as the destination needs it, one call at a time: it is emptied, loads state,
 * is told who owns the guest, and runs it. Its record and its ledger outlive this process.
 * Called from every thread of the side. Arming faults takes several calls, under the same
 * lock, and is in postcopy.c.
 */
#include "engine/dest/guest.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "engine/dest/dest.h"

void dest_guest_init(struct dest_guest *g)
{
	pthread_mutex_init(&g->lock, NULL);
}

void dest_guest_deinit(struct dest_guest *g)
{
	pthread_mutex_destroy(&g->lock);
}

int dest_prepare_guest(struct drover_dest *d, struct drover_error *e)
{
	struct drover_guest *g = d->m->guest;
	DROVER_LOCK(&d->guest.lock);

	/* RAM that the source runs on must not be emptied under it. */
	return d->shared_ram ? g->ops->prepare_shared(g, e) : g->ops->prepare_incoming(g, e);
}

int dest_load(struct drover_dest *d, int fd, struct drover_error *e)
{
	DROVER_LOCK(&d->guest.lock);

	return d->m->guest->ops->load(d->m->guest, fd, e);
}

int dest_start(struct drover_dest *d, bool ran, bool whole, struct drover_error *e)
{
	struct drover_guest *g = d->m->guest;
	int r = 0;
	DROVER_LOCK(&d->guest.lock);

	if (ran)
		r = g->ops->resume(g, e);
	if (r >= 0 && whole && g->ops->resumed)
		g->ops->resumed(g);
	return r;
}

int dest_whole(struct drover_dest *d, struct drover_error *e)
{
	struct drover_guest *g = d->m->guest;
	int r;
	DROVER_LOCK(&d->guest.lock);

	r = g->ops->ledger_put(g, -1, e);
	if (g->ops->resumed)
		g->ops->resumed(g);
	return r;
}

int dest_record(struct drover_dest *d, enum drover_owner_state state, const uint8_t *token,
		struct drover_error *e)
{
	struct drover_owner_record rec = { .state = state };
	DROVER_LOCK(&d->guest.lock);

	if (token) {
		memcpy(rec.token, token, sizeof(rec.token));
		snprintf(rec.peer, sizeof(rec.peer), "%s", d->guest.address);
	}
	return d->m->guest->ops->owner_set(d->m->guest, &rec, e);
}

int dest_record_get(struct drover_dest *d, struct drover_owner_record *ret, struct drover_error *e)
{
	DROVER_LOCK(&d->guest.lock);

	return d->m->guest->ops->owner_get(d->m->guest, ret, e);
}

int dest_ledger(struct drover_dest *d, int *ret_fd, struct drover_error *e)
{
	struct drover_guest *g = d->m->guest;
	DROVER_LOCK(&d->guest.lock);

	if (!g->ops->ledger_get)
		return drover_err(e, -EOPNOTSUPP, "this guest link keeps no ledger");
	return g->ops->ledger_get(g, ret_fd, e);
}
