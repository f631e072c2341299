// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The commands that start, steer and end a migration. The order of checks is part of
 * the interface: arguments and addresses; transport against config; resume rules;
 * already running; run state; feasibility; then side effects. A command that fails
 * has changed nothing.
 */
#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "daemon/daemon.h"

/**
 * struct request - migrate or migrate-incoming, understood
 * @channels: heap: the list has room for every channel there may be
 * @fd: descriptor an fd address means, still the table's; -1: none
 */
struct request {
	struct drover_config config;
	bool has_config;
	struct drover_presence present;
	struct drover_channel_list *channels;
	int fd;
};

static void request_deinit(struct request *rq)
{
	if (rq->has_config)
		drover_config_deinit(&rq->config);
	if (rq->channels)
		drover_channel_list_deinit(rq->channels);
	free(rq->channels);
}

int channels_of_call(const struct qmp_call *call, bool incoming,
		     struct drover_channel_list **ret, struct drover_error *e)
{
	struct json_object *channels = qmp_arg_get(call, "channels");
	const char *uri = qmp_arg_str(call, "uri");
	_cleanup_free_ struct drover_channel_list *list = NULL;
	int r;

	/* QEMU takes an empty list for none. */
	if (channels && json_object_array_length(channels) == 0)
		channels = NULL;
	if (!uri == !channels)
		return drover_err(e, -EINVAL, "need either 'uri' or 'channels' argument");
	list = calloc(1, sizeof(*list));
	if (!list)
		return drover_err(e, -ENOMEM, "channels: out of memory");
	r = uri ? drover_channel_list_from_uri(uri, list, e) :
		  drover_channel_list_from_json(channels, incoming, list, e);
	if (r >= 0)
		*ret = TAKE_PTR(list);
	return r;
}

/* One descriptor carries one stream: it can only be the main channel's. */
static int resolve_fd(const struct droverd *d, struct request *rq, struct drover_error *e)
{
	unsigned int i;
	int fd;

	for (i = 0; i < rq->channels->n; i++) {
		const struct drover_address *a = &rq->channels->entry[i].addr;

		if (a->transport != DROVER_TRANSPORT_FD)
			continue;
		if (rq->channels->entry[i].type != DROVER_CHANNEL_MAIN)
			return drover_err(e, -EINVAL,
					  "channel %s: transport fd is for the main channel only",
					  drover_channel_type_name(rq->channels->entry[i].type));
		fd = fd_table_find(&d->fds, a->u.fd.str, e);
		if (fd < 0)
			return fd;
		rq->fd = fd;
	}
	return 0;
}

static int make_config(const struct droverd *d, struct json_object *given, struct request *rq,
		       struct drover_error *e)
{
	int r = given ? drover_config_from_request(given, &rq->config, &rq->present, e) :
			drover_config_copy(&d->settings, &rq->config);

	if (r < 0)
		return given ? r : drover_err(e, r, "config: %s", drover_strerror(r));
	rq->has_config = true;
	if (!given)
		drover_config_differs(&rq->config, &rq->present);
	return 0;
}

static int parse_request(const struct qmp_call *call, bool incoming, struct request *rq,
			 struct drover_error *e)
{
	const struct droverd *d = call->opaque;
	int r;

	r = channels_of_call(call, incoming, &rq->channels, e);
	if (r >= 0)
		r = resolve_fd(d, rq, e);
	if (r >= 0)
		r = make_config(d, qmp_arg_get(call, "config"), rq, e);
	return r;
}

static struct drover_migration_params make_params(const struct droverd *d,
						  const struct request *rq,
						  enum drover_side side)
{
	return (struct drover_migration_params) {
		.side = side,
		.config = &rq->config,
		.present = &rq->present,
		.guest = d->guest,
		.channels = rq->channels,
		.fd = rq->fd,
		.announce = d->announcer.n > 0,
		.log = &d->log,
	};
}

static int resume(const struct qmp_call *call, const struct request *rq, struct drover_error *e)
{
	if (qmp_arg_get(call, "config"))
		return drover_err(e, -EINVAL,
				  "'config' can't be given with 'resume': the paused migration has its own");
	return postcopy_resume(call->opaque, rq->channels, e);
}

static bool serving(const struct job *j)
{
	return job_postcopy(j) && j->side == DROVER_SIDE_SOURCE &&
	       drover_migration_state(j->m) == DROVER_STATE_POSTCOPY_PAUSED;
}

static int refuse_serving(const struct droverd *d, struct drover_error *e)
{
	struct drover_migration_info info;

	drover_migration_info(d->job->m, &info);
	return drover_err(e, -EBUSY,
			  "guest: it is serving: where it runs now its RAM is needed still (postcopy session %s, paused); 'migrate' with resume=true goes on with it, migrate-settle with own=false gives it up",
			  info.session);
}

/* What makes any new migration impossible, in either direction. */
static int check_idle(const struct droverd *d, struct drover_error *e)
{
	if (job_in_doubt(d->job))
		return drover_err(e, -EBUSY, JOB_DOUBT_TEXT);
	if (serving(d->job))
		return refuse_serving(d, e);
	/* A destination whose guest runs already is no longer waiting for one. */
	if (job_running(d->job) && (d->job->side == DROVER_SIDE_SOURCE || job_postcopy(d->job)))
		return drover_err(e, -EBUSY, "There's a migration process in progress");
	if (d->guest->ops->status(d->guest) == DROVER_GUEST_GONE)
		return drover_err(e, -ENOTCONN, "guest: its VMM is gone");
	return 0;
}

/* Only who has all of a guest may migrate it. */
static int check_record(const struct droverd *d, struct drover_error *e)
{
	struct owner_record rec;

	if (d->guest->ops->owner_known(d->guest, &rec) < 0)
		return drover_err(e, -EAGAIN, "guest: its VMM has not answered the last request about its record");
	if (rec.missing)
		return drover_err(e, -EBUSY, "guest: memory of it has not arrived yet, so it can't be migrated");
	if (rec.state != OWNER_OWNED)
		return drover_err(e, -EBUSY, "guest: its record is %s: %s", owner_state_name(rec.state),
				  owner_state_lead(rec.state));
	return 0;
}

static int check_source(const struct droverd *d, struct drover_error *e)
{
	int r = check_idle(d, e);

	if (r < 0)
		return r;
	if (run_state_incoming(d))
		return drover_err(e, -EBUSY, "Guest is waiting for an incoming migration");
	if (run_state_postmigrate(d))
		return drover_err(e, -EBUSY,
				  "Can't migrate the vm that was paused due to previous migration");
	return check_record(d, e);
}

static int check_dest(const struct droverd *d, struct drover_error *e)
{
	int r = check_idle(d, e);

	if (r < 0)
		return r;
	if (job_running(d->job))
		return drover_err(e, -EBUSY, "The incoming migration has already been started");
	if (d->job && drover_migration_auditing(d->job->m))
		return drover_err(e, -EBUSY,
				  "guest: its RAM is still being re-hashed (verify=audit) after it was migrated");
	/* A simulated guest is ours to stop. One that keeps a record is somebody's. */
	if (d->guest->ops->status(d->guest) == DROVER_GUEST_RUNNING &&
	    d->guest->ops->traits(d->guest)->keeps_record)
		return drover_err(e, -EBUSY,
				  "guest: it is running, so it can't be a destination");
	return 0;
}

/* The last step: from here on there are side effects. */
static int launch(struct droverd *d, const struct request *rq,
		  const struct drover_migration_params *p, bool exit_on_error,
		  struct drover_error *e)
{
	int r = job_start(d, p, exit_on_error, e);

	if (r >= 0 && rq->fd >= 0)
		fd_table_take(&d->fds, rq->fd);
	return r;
}

int cmd_migrate(struct qmp_call *call, struct drover_error *e)
{
	_cleanup_(request_deinit) struct request rq = { .fd = -1 };
	struct droverd *d = call->opaque;
	struct drover_migration_params p;
	int r;

	r = parse_request(call, false, &rq, e);
	if (r < 0)
		return r;
	p = make_params(d, &rq, DROVER_SIDE_SOURCE);
	r = drover_migration_check_transport(&p, e);
	if (r >= 0 && qmp_arg_bool(call, "resume", false))
		return resume(call, &rq, e);
	if (r >= 0)
		r = check_source(d, e);
	if (r >= 0)
		r = drover_migration_check(&p, e);
	return r < 0 ? r : launch(d, &rq, &p, false, e);
}

int cmd_migrate_incoming(struct qmp_call *call, struct drover_error *e)
{
	bool exit_on_error = qmp_arg_bool(call, "exit-on-error", false);
	_cleanup_(request_deinit) struct request rq = { .fd = -1 };
	struct droverd *d = call->opaque;
	struct drover_migration_params p;
	int r;

	r = parse_request(call, true, &rq, e);
	if (r < 0)
		return r;
	p = make_params(d, &rq, DROVER_SIDE_DEST);
	p.discard = qmp_arg_bool(call, "discard", false);
	r = drover_migration_check_transport(&p, e);
	if (r >= 0)
		r = check_dest(d, e);
	if (r >= 0)
		r = drover_migration_check(&p, e);
	return r < 0 ? r : launch(d, &rq, &p, exit_on_error, e);
}

int cmd_migrate_cancel(struct qmp_call *call, struct drover_error *e)
{
	struct droverd *d = call->opaque;

	if (!d->job)
		return 0;
	if (job_in_doubt(d->job))
		return drover_err(e, -EBUSY,
				  "migration: the guest may have been handed over, too late to cancel; migrate-settle decides");
	if (job_postcopy(d->job))
		return drover_err(e, -EBUSY, "Postcopy migration in progress, cannot cancel.");
	return drover_migration_cancel(d->job->m, e);
}

int cmd_migrate_continue(struct qmp_call *call, struct drover_error *e)
{
	const char *name = qmp_arg_str(call, "state");
	struct droverd *d = call->opaque;
	int state = drover_state_from_name(name);

	if (state < 0)
		return drover_err(e, -EINVAL, "Parameter 'state' does not accept value '%s'", name);
	if (!d->job)
		return drover_err(e, -EINVAL, "Migration not in expected state: %s",
				  drover_state_name(DROVER_STATE_NONE));
	return drover_migration_continue(d->job->m, (enum drover_state)state, e);
}

int cmd_migrate_settle(struct qmp_call *call, struct drover_error *e)
{
	bool own = qmp_arg_bool(call, "own", false);
	struct droverd *d = call->opaque;
	int r = 0;

	if (!job_running(d->job))
		r = owner_settle(d, own, e);
	if (r < 0 && r != -ENOENT)
		return r;
	if (!d->job)
		return drover_err(e, -EINVAL, "settle: nothing is in doubt here");
	return drover_migration_settle(d->job->m, own, e);
}
