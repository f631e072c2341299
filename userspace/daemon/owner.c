// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the guest's ownership record asks of a new daemon. A source in doubt asks its
 * peer until somebody knows; a destination, whatever became of it, answers such a
 * question on the address its peer knows. One whose VMM still has a ledger is in
 * postcopy, and paused; a source that has released its guest may have to serve it yet,
 * and is told so, and where to, by the operator. The record is the VMM's, so it is there
 * when the daemon that wrote it is not.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"
#include "daemon/daemon.h"

#define SETTLE_RETRY_MS 1000
/* Never a listening socket: a session whose peer is unknown waits for the operator. */
#define NOBODY "unix:/dev/null"

static void list_freep(struct drover_channel_list **l)
{
	if (*l)
		drover_channel_list_deinit(*l);
	free(*l);
}

/* The one channel of a recorded address. */
static int list_of_peer(const char *peer, struct drover_channel_list **ret,
			struct drover_error *e)
{
	_cleanup_(list_freep) struct drover_channel_list *list = calloc(1, sizeof(*list));
	_cleanup_json_ struct json_object *o = NULL;
	int r;

	if (!list)
		return drover_err(e, -ENOMEM, "owner: out of memory");
	r = drover_json_parse(peer, strlen(peer), DROVER_OWNER_PEER_MAX, &o, e);
	if (r >= 0)
		r = drover_address_from_json(o, &list->entry[0].addr, e);
	if (r < 0)
		return r;
	list->entry[0].type = DROVER_CHANNEL_MAIN;
	list->n = 1;
	*ret = TAKE_PTR(list);
	return 0;
}

static int list_of_nobody(struct drover_channel_list **ret, struct drover_error *e)
{
	_cleanup_(list_freep) struct drover_channel_list *list = calloc(1, sizeof(*list));
	int r;

	if (!list)
		return drover_err(e, -ENOMEM, "owner: out of memory");
	r = drover_channel_list_from_uri(NOBODY, list, e);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(list);
	return 0;
}

static int settle(struct droverd *d, enum drover_side side,
		  const struct drover_channel_list *list, struct drover_error *e)
{
	struct drover_presence none = { { 0 } };
	struct drover_migration_params p = {
		.side = side,
		.config = &d->settings,
		.present = &none,
		.channels = list,
		.fd = -1,
		.settle = true,
	};

	return job_start(d, &p, false, e);
}

static void settle_source(struct droverd *d, const char *peer)
{
	_cleanup_(list_freep) struct drover_channel_list *list = NULL;
	struct drover_error e = DROVER_ERROR_INIT;
	int r;

	drover_logf(&d->log, DROVER_LOG_WARNING,
		    "guest: its ownership is in doubt; asking %s", *peer ? peer : "nobody");
	if (list_of_peer(peer, &list, &e) < 0) {
		drover_logf(&d->log, DROVER_LOG_ERR,
			    "guest: recorded peer: %s; only migrate-settle can decide", e.msg);
		drover_err_clear(&e);
		if (list_of_nobody(&list, &e) < 0) {
			drover_logf(&d->log, DROVER_LOG_ERR, "%s", e.msg);
			return;
		}
	}
	r = settle(d, DROVER_SIDE_SOURCE, list, &e);
	if (r < 0)
		drover_logf(&d->log, DROVER_LOG_ERR, "guest: settle: %s", e.msg);
}

/* The address may still be held by what used it before; nobody knows for how long. */
static void settle_dest(struct droverd *d, const char *peer)
{
	_cleanup_(list_freep) struct drover_channel_list *list = NULL;
	struct drover_error e = DROVER_ERROR_INIT;

	if (list_of_peer(peer, &list, &e) < 0) {
		drover_logf(&d->log, DROVER_LOG_ERR, "guest: recorded address: %s", e.msg);
		return;
	}
	if (settle(d, DROVER_SIDE_DEST, list, &e) >= 0) {
		drover_logf(&d->log, DROVER_LOG_INFO,
			    "guest: answering for its last session on %s", peer);
		return;
	}
	drover_logf(&d->log, DROVER_LOG_WARNING, "guest: answering on %s: %s; trying again", peer,
		    e.msg);
	loop_timer_arm(&d->settle_retry, SETTLE_RETRY_MS);
}

static bool token_set(const struct drover_owner_record *rec)
{
	static const uint8_t zero[sizeof(rec->token)];

	return memcmp(rec->token, zero, sizeof(zero)) != 0;
}

/* Does the VMM keep a list of what has arrived? Only while something is missing. */
static bool has_ledger(struct droverd *d)
{
	struct drover_error e = DROVER_ERROR_INIT;
	_cleanup_close_ int fd = -EBADF;

	if (!d->guest->ops->ledger_get)
		return false;
	if (d->guest->ops->ledger_get(d->guest, &fd, &e) < 0)
		drover_logf(&d->log, DROVER_LOG_ERR, "guest: ledger of postcopy: %s", e.msg);
	return fd >= 0;
}

static bool has_postcopy(struct droverd *d, enum drover_side side,
			 const struct drover_owner_record *rec)
{
	if (!token_set(rec))
		return false;
	return side == DROVER_SIDE_SOURCE ? rec->state == DROVER_OWNER_RELEASED :
	       rec->state == DROVER_OWNER_OWNED && has_ledger(d);
}

static int take_up(struct droverd *d, enum drover_side side,
		   const struct drover_channel_list *list, struct drover_error *e)
{
	struct drover_presence none = { { 0 } };
	struct drover_migration_params p = {
		.side = side,
		.config = &d->settings,
		.present = &none,
		.channels = list,
		.fd = -1,
		.postcopy = true,
	};
	int r = job_start(d, &p, false, e);

	if (r >= 0 && side == DROVER_SIDE_DEST)
		guest_check_begin(d);
	return r;
}

int owner_take_up(struct droverd *d, enum drover_side side,
		  const struct drover_channel_list *list, struct drover_error *e)
{
	struct drover_owner_record rec;
	int r = d->guest->ops->owner_get(d->guest, &rec, e);

	if (r < 0)
		return drover_err_prefix(e, "guest: ownership record: "), r;
	return has_postcopy(d, side, &rec) ? take_up(d, side, list, e) : -ENOENT;
}

/* Paused, and the source may come: to where it knows us, until the operator names another. */
static void attach_postcopy(struct droverd *d, const char *peer)
{
	_cleanup_(list_freep) struct drover_channel_list *list = NULL;
	struct drover_error e = DROVER_ERROR_INIT;
	int r = list_of_peer(peer, &list, &e);

	if (r < 0) {
		drover_logf(&d->log, DROVER_LOG_ERR,
			    "guest: postcopy: recorded address: %s; waiting for migrate-recover",
			    e.msg);
		return;
	}
	r = take_up(d, DROVER_SIDE_DEST, list, &e);
	if (r >= 0) {
		drover_logf(&d->log, DROVER_LOG_INFO,
			    "guest: its postcopy is paused; listening on %s", peer);
		return;
	}
	drover_logf(&d->log, DROVER_LOG_WARNING, "guest: postcopy: %s; trying again", e.msg);
	loop_timer_arm(&d->settle_retry, SETTLE_RETRY_MS);
}

void owner_attach(struct droverd *d)
{
	struct drover_owner_record rec;
	struct drover_error e = DROVER_ERROR_INIT;

	if (d->guest->ops->owner_get(d->guest, &rec, &e) < 0) {
		drover_logf(&d->log, DROVER_LOG_ERR, "guest: ownership record: %s", e.msg);
		return;
	}
	d->released = rec.state == DROVER_OWNER_RELEASED;
	if (rec.state == DROVER_OWNER_IN_DOUBT)
		settle_source(d, rec.peer);
	else if (has_postcopy(d, DROVER_SIDE_DEST, &rec))
		attach_postcopy(d, rec.peer);
	else if (rec.state != DROVER_OWNER_RELEASED && token_set(&rec) && *rec.peer)
		settle_dest(d, rec.peer);
}
