// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The guest's VMM as the destination needs it, one call at a time: it is emptied, loads state,
 * is told who owns the guest, and runs it. Its record and its ledger outlive this process.
 * Called from every thread of the side. Arming faults takes several calls, under the same
 * lock, and is in postcopy.c.
 */
#include "engine/dest/guest.h"

#include <errno.h>
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

static int ask(struct drover_dest *d, enum owner_event ev, const struct owner_args *args,
	       struct drover_error *e)
{
	return d->m->guest->ops->request(d->m->guest, ev, args, NULL, NULL, e);
}

/*
 * A copy that was kept is given up here, as the operator's migrate-incoming or a source that
 * comes anew have it: this protocol has no message yet by which a source says that it has the
 * guest. What was released by hand or to a stream needs the operator's @discard as well.
 */
static int empty(struct drover_dest *d, bool discard, struct drover_error *e)
{
	struct owner_record rec;
	int r = d->m->guest->ops->owner_known(d->m->guest, &rec);

	discard |= r >= 0 && owner_kept_copy(&rec);
	return ask(d, discard ? OWNER_EV_DISCARD : OWNER_EV_PREPARE, NULL, e);
}

int dest_prepare_guest(struct drover_dest *d, struct drover_error *e)
{
	DROVER_LOCK(&d->guest.lock);

	return empty(d, false, e);
}

int dest_become(struct drover_dest *d, struct drover_error *e)
{
	DROVER_LOCK(&d->guest.lock);

	return empty(d, drover_order_discard(d->m), e);
}

static struct owner_args args_of(struct drover_dest *d, const uint8_t *token)
{
	struct owner_args args = { .peer = d->guest.address };

	memcpy(args.token.byte, token, sizeof(args.token.byte));
	return args;
}

int dest_begin(struct drover_dest *d, const uint8_t *token, enum owner_kind kind,
	       struct drover_error *e)
{
	struct owner_args args = args_of(d, token);
	struct owner_record rec;
	int r = 0;
	DROVER_LOCK(&d->guest.lock);

	args.kind = kind;
	if (d->m->guest->ops->owner_known(d->m->guest, &rec) >= 0 && owner_kept_copy(&rec))
		r = empty(d, false, e);
	return r < 0 ? r : ask(d, OWNER_EV_INCOMING, &args, e);
}

int dest_load(struct drover_dest *d, const uint8_t *token, int fd, struct drover_error *e)
{
	struct owner_args args = args_of(d, token);
	DROVER_LOCK(&d->guest.lock);

	return d->m->guest->ops->load(d->m->guest, &args.token, fd, e);
}

int dest_own(struct drover_dest *d, const uint8_t *token, bool will, uint64_t until,
	     struct drover_error *e)
{
	struct owner_args args = args_of(d, token);
	DROVER_LOCK(&d->guest.lock);

	args.will = will;
	args.until = until;
	return ask(d, OWNER_EV_OWN, &args, e);
}

void dest_told(struct drover_dest *d)
{
	struct drover_guest *g = d->m->guest;
	DROVER_LOCK(&d->guest.lock);

	if (g->ops->resumed)
		g->ops->resumed(g);
}

int dest_request(struct drover_dest *d, enum owner_event ev, const uint8_t *token,
		 struct drover_error *e)
{
	struct owner_args args = args_of(d, token);
	DROVER_LOCK(&d->guest.lock);

	return ask(d, ev, &args, e);
}

bool dest_keeps_copy(struct drover_dest *d)
{
	struct owner_record rec;

	return dest_record_get(d, &rec) >= 0 && owner_kept_copy(&rec);
}

int dest_record_get(struct drover_dest *d, struct owner_record *ret)
{
	DROVER_LOCK(&d->guest.lock);

	return d->m->guest->ops->owner_known(d->m->guest, ret);
}

int dest_whole(struct drover_dest *d, struct drover_error *e)
{
	struct drover_guest *g = d->m->guest;
	int r;
	DROVER_LOCK(&d->guest.lock);

	r = ask(d, OWNER_EV_COMPLETE, NULL, e);
	if (g->ops->resumed)
		g->ops->resumed(g);
	return r;
}

int dest_ledger(struct drover_dest *d, int *ret_fd, struct drover_error *e)
{
	struct drover_guest *g = d->m->guest;
	DROVER_LOCK(&d->guest.lock);

	if (!g->ops->ledger_get)
		return drover_err(e, -EOPNOTSUPP, "this guest link keeps no ledger");
	return g->ops->ledger_get(g, ret_fd, e);
}
