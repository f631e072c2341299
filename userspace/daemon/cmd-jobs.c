// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The migration as a QMP job, for clients that manage long operations by jobs. There
 * is one at most, and it stays, concluded, until it is dismissed or the next migration
 * takes its place. A job that only settles a guest's ownership is none of theirs.
 */
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "daemon/daemon.h"
#include "daemon/job-status.h"

#define JOB_ID_MAX 32

static const struct {
	const char *name;
	bool cancel;
} table[] = {
#define JOB_STATUS(id, name, cancel) [JOB_##id] = { name, cancel },
#include "daemon/job-status.def"
};

static const enum job_status of_state[] = {
#define JOB_STATE(state, status) [DROVER_STATE_##state] = JOB_##status,
#include "daemon/job-status.def"
};

_Static_assert(DROVER_ARRAY_SIZE(of_state) == DROVER_STATE_COUNT, "a status for every state");

const char *job_status_name(size_t status)
{
	return status < JOB_STATUS_COUNT ? table[status].name : NULL;
}

enum job_status job_status_of(enum drover_state state)
{
	return of_state[state];
}

static void name_job(const struct job *j, char ret[JOB_ID_MAX])
{
	snprintf(ret, JOB_ID_MAX, JOB_TYPE "-%" PRIu64, j->id);
}

static bool visible(const struct job *j)
{
	return j && !j->settle && !j->dismissed;
}

static enum job_status status_of(const struct job *j)
{
	return job_status_of(drover_migration_state(j->m));
}

static void tell(struct job *j, enum job_status status, uint64_t realtime_us)
{
	struct json_object *data;
	char id[JOB_ID_MAX];

	if (!visible(j) || status == j->told || status == JOB_UNDEFINED)
		return;
	j->told = status;
	name_job(j, id);
	data = json_object_new_object();
	json_object_object_add(data, "id", json_object_new_string(id));
	json_object_object_add(data, "status", json_object_new_string(table[status].name));
	qmp_server_event(&j->d->server, "JOB_STATUS_CHANGE", data, realtime_us);
	json_object_put(data);
}

void job_tell_state(struct droverd *d, const struct queued_event *qe)
{
	if (qe->ev.type == DROVER_EVENT_STATE && d->job && d->job->id == qe->job)
		tell(d->job, job_status_of(qe->ev.state), qe->realtime_us);
}

void job_dismiss(struct job *j)
{
	uint64_t now = drover_realtime_us();

	/* Its last changes may still be queued: whoever follows them must see the end. */
	tell(j, job_running(j) ? JOB_ABORTING : JOB_CONCLUDED, now);
	tell(j, JOB_NULL, now);
	j->dismissed = true;
}

static uint64_t stat(const struct drover_measure *m)
{
	return atomic_load_explicit(&m->value, memory_order_relaxed);
}

static struct json_object *job_info(const struct job *j)
{
	const struct drover_stats *stats = drover_migration_stats(j->m);
	enum job_status status = status_of(j);
	uint64_t done = stat(&stats->transferred);
	struct drover_migration_info info;
	struct json_object *o;
	char id[JOB_ID_MAX];

	drover_migration_info(j->m, &info);
	name_job(j, id);
	o = json_object_new_object();
	json_object_object_add(o, "id", json_object_new_string(id));
	json_object_object_add(o, "type", json_object_new_string(JOB_TYPE));
	json_object_object_add(o, "status", json_object_new_string(table[status].name));
	json_object_object_add(o, "current-progress", json_object_new_uint64(done));
	json_object_object_add(o, "total-progress",
			       json_object_new_uint64(done + stat(&stats->remaining)));
	if (status == JOB_CONCLUDED && info.error_desc[0])
		json_object_object_add(o, "error", json_object_new_string(info.error_desc));
	return o;
}

int cmd_query_jobs(struct qmp_call *call, struct drover_error *e)
{
	const struct droverd *d = call->opaque;

	(void)e;
	call->ret = json_object_new_array();
	if (visible(d->job))
		json_object_array_add(call->ret, job_info(d->job));
	return 0;
}

static struct job *find_job(const struct qmp_call *call, struct drover_error *e)
{
	const struct droverd *d = call->opaque;
	char id[JOB_ID_MAX];

	if (visible(d->job)) {
		name_job(d->job, id);
		if (strcmp(id, qmp_arg_str(call, "id")) == 0)
			return d->job;
	}
	drover_err(e, -ENOENT, "Job not found");
	return NULL;
}

static int refuse_verb(const struct qmp_call *call, enum job_status status, const char *verb,
		       struct drover_error *e)
{
	return drover_err(e, -EBUSY, "Job '%s' in state '%s' cannot accept command verb '%s'",
			  qmp_arg_str(call, "id"), table[status].name, verb);
}

int cmd_job_cancel(struct qmp_call *call, struct drover_error *e)
{
	struct job *j = find_job(call, e);
	enum job_status status;

	if (!j)
		return -ENOENT;
	status = status_of(j);
	if (!table[status].cancel)
		return refuse_verb(call, status, "cancel", e);
	return cmd_migrate_cancel(call, e);
}

int cmd_job_dismiss(struct qmp_call *call, struct drover_error *e)
{
	struct job *j = find_job(call, e);
	enum job_status status;

	if (!j)
		return -ENOENT;
	status = status_of(j);
	if (status != JOB_CONCLUDED)
		return refuse_verb(call, status, "dismiss", e);
	job_dismiss(j);
	return 0;
}
