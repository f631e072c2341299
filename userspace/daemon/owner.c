// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the guest's ownership record asks of a new daemon. A source in doubt asks its
 * peer until somebody knows; a destination, whatever became of it, answers such a
 * question on the address its peer knows. One whose VMM still has a ledger is in
 * postcopy, and paused, as is a source that is serving: the operator says where it is to
 * connect to. The record is the VMM's, so it is there when the daemon that wrote it is not.
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
	r = drover_json_parse(peer, strlen(peer), OWNER_PEER_MAX, &o, e);
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

/* What the record asks for: @settle: whose is the guest? Else a postcopy goes on. */
static int begin(struct droverd *d, enum drover_side side, bool settle,
		 const struct drover_channel_list *list, struct drover_error *e)
{
	struct drover_presence none = { { 0 } };
	struct drover_migration_params p = {
		.side = side,
		.config = &d->settings,
		.present = &none,
		.channels = list,
		.fd = -1,
		.mode = settle ? DROVER_MODE_SETTLE : DROVER_MODE_TAKE_UP,
	};
	int r = job_start(d, &p, false, e);

	if (r >= 0 && !settle && side == DROVER_SIDE_DEST)
		guest_check_begin(d);
	return r;
}

static void attach_source(struct droverd *d, bool settle, const char *peer)
{
	_cleanup_(list_freep) struct drover_channel_list *list = NULL;
	struct drover_error e = DROVER_ERROR_INIT;
	int r;

	drover_logf(&d->log, DROVER_LOG_WARNING, "guest: %s %s",
		    settle ? "its ownership is in doubt; asking" :
		    "its postcopy is paused, its RAM needed still; it was migrated to",
		    *peer ? peer : "nobody");
	r = list_of_peer(peer, &list, &e);
	if (r < 0) {
		drover_logf(&d->log, DROVER_LOG_ERR, "guest: recorded peer: %s%s", e.msg,
			    settle ? "; only migrate-settle can decide" : "");
		drover_err_clear(&e);
		r = list_of_nobody(&list, &e);
	}
	if (r >= 0)
		r = begin(d, DROVER_SIDE_SOURCE, settle, list, &e);
	if (r < 0)
		drover_logf(&d->log, DROVER_LOG_ERR, "guest: %s: %s",
			    settle ? "settle" : "postcopy", e.msg);
}

/* The address may still be held by what used it before; nobody knows for how long. */
static void attach_dest(struct droverd *d, bool settle, const char *peer)
{
	_cleanup_(list_freep) struct drover_channel_list *list = NULL;
	struct drover_error e = DROVER_ERROR_INIT;

	if (list_of_peer(peer, &list, &e) < 0) {
		drover_logf(&d->log, DROVER_LOG_ERR, "guest: recorded address: %s%s", e.msg,
			    settle ? "" : "; its postcopy waits for migrate-recover");
		return;
	}
	if (begin(d, DROVER_SIDE_DEST, settle, list, &e) >= 0) {
		drover_logf(&d->log, DROVER_LOG_INFO, "guest: %s %s",
			    settle ? "answering for its last session on" :
			    "its postcopy is paused; listening on", peer);
		return;
	}
	drover_logf(&d->log, DROVER_LOG_WARNING, "guest: listening on %s: %s; trying again", peer,
		    e.msg);
	loop_timer_arm(&d->settle_retry, SETTLE_RETRY_MS);
}

/* The record as it is known here: the main thread waits for no VMM. */
static int known(struct droverd *d, struct owner_record *ret, struct drover_error *e)
{
	int r = d->guest->ops->owner_known(d->guest, ret);

	return r < 0 ? drover_err(e, r, "guest: ownership record: not known now, since the VMM did not answer the last request about it") :
	       0;
}

/* Who settled it by hand may not have known that it has to serve. So the operator may try. */
static bool has_postcopy(enum drover_side side, const struct owner_record *rec)
{
	if (!owner_token_set(&rec->token))
		return false;
	return side == DROVER_SIDE_SOURCE ?
	       rec->state == OWNER_SERVING || rec->state == OWNER_RELEASED :
	       rec->state == OWNER_OWNED && rec->missing;
}

int owner_settle(struct droverd *d, bool own, struct drover_error *e)
{
	struct owner_record rec;
	int r = known(d, &rec, e);

	if (r < 0)
		return r;
	if (rec.state != OWNER_IN_DOUBT &&
	    !(own && rec.state == OWNER_RELEASED && rec.by != OWNER_BY_ANSWER) &&
	    !(own && owner_kept_copy(&rec)))
		return -ENOENT;
	attach_source(d, true, rec.peer);
	return d->job && job_in_doubt(d->job) ? 0 : -ENOENT;
}

int owner_take_up(struct droverd *d, enum drover_side side,
		  const struct drover_channel_list *list, struct drover_error *e)
{
	struct owner_record rec;
	int r = known(d, &rec, e);

	if (r < 0)
		return r;
	if (!has_postcopy(side, &rec))
		return -ENOENT;
	r = begin(d, side, false, list, e);
	return r >= 0 && side == DROVER_SIDE_SOURCE ?
	       drover_migration_resume(d->job->m, list, e) : r;
}

/*
 * Where a source may ask this side about a session: that of the record, or the newest of its
 * history at which it was the destination. NULL: nowhere.
 */
static const char *answers_on(const struct owner_record *rec)
{
	bool dest = rec->state == OWNER_OWNED || rec->state == OWNER_INCOMING ||
		    rec->state == OWNER_FENCED;
	unsigned int i;

	if (dest && owner_token_set(&rec->token) && *rec->peer)
		return rec->peer;
	for (i = 0; i < OWNER_HISTORY; i++)
		if (rec->history[i].outcome != OWNER_OUTCOME_NONE &&
		    rec->history[i].outcome != OWNER_OUTCOME_MINE && *rec->history[i].peer)
			return rec->history[i].peer;
	return NULL;
}

void owner_attach(struct droverd *d)
{
	struct owner_record rec;
	struct drover_error e = DROVER_ERROR_INIT;
	const char *peer;

	if (known(d, &rec, &e) < 0) {
		drover_logf(&d->log, DROVER_LOG_ERR, "%s", e.msg);
		return;
	}
	d->released = rec.state == OWNER_RELEASED;
	peer = answers_on(&rec);
	if (rec.state == OWNER_IN_DOUBT || rec.state == OWNER_SERVING)
		attach_source(d, rec.state == OWNER_IN_DOUBT, rec.peer);
	else if (has_postcopy(DROVER_SIDE_DEST, &rec))
		attach_dest(d, false, rec.peer);
	else if (peer)
		attach_dest(d, true, peer);
}

void owner_settled(struct droverd *d, const struct queued_event *qe)
{
	struct job *j = d->job;

	/* It was a postcopy, it turned out, and another droverd's. */
	if (qe->ev.type == DROVER_EVENT_SETTLED && !qe->ev.owned && j && j->id == qe->job &&
	    j->settle)
		owner_attach(d);
}
