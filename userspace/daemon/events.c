// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * From what the engine reports to what clients read. One table tells each event's
 * name and members.
 */
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "daemon/daemon.h"

static struct json_object *data_state(const struct droverd *d,
				      const struct queued_event *qe)
{
	struct json_object *o = json_object_new_object();

	(void)d;
	json_object_object_add(o, "status",
			       json_object_new_string(drover_state_name(qe->ev.state)));
	return o;
}

static struct json_object *data_pass(const struct droverd *d,
				     const struct queued_event *qe)
{
	struct json_object *o = json_object_new_object();

	(void)d;
	json_object_object_add(o, "pass", json_object_new_uint64(qe->ev.pass));
	return o;
}

static struct json_object *data_late_writer(const struct droverd *d,
					    const struct queued_event *qe)
{
	struct json_object *o = json_object_new_object();

	(void)d;
	json_object_object_add(o, "block", json_object_new_string(qe->block));
	json_object_object_add(o, "page", json_object_new_uint64(qe->ev.page));
	return o;
}

static struct json_object *data_audit(const struct droverd *d,
				      const struct queued_event *qe)
{
	struct json_object *o = json_object_new_object();

	(void)d;
	json_object_object_add(o, "pages", json_object_new_uint64(qe->ev.pages));
	json_object_object_add(o, "differences", json_object_new_uint64(qe->ev.differences));
	return o;
}

static struct json_object *data_settled(const struct droverd *d,
					const struct queued_event *qe)
{
	struct json_object *o = json_object_new_object();

	(void)d;
	json_object_object_add(o, "owned", json_object_new_boolean(qe->ev.owned));
	return o;
}

static struct json_object *data_check(const struct droverd *d, const struct queued_event *qe)
{
	(void)qe;
	return d->guest->ops->check ? d->guest->ops->check(d->guest) : NULL;
}

static struct json_object *data_none(const struct droverd *d, const struct queued_event *qe)
{
	(void)d;
	(void)qe;
	return NULL;
}

/* @option: sent only by a migration whose config has `events`, as in QEMU. */
static const struct {
	const char *name;
	bool option;
	struct json_object *(*data)(const struct droverd *d, const struct queued_event *qe);
} table[] = {
#define EVENT(id, name, option, data, doc) [DROVER_EVENT_##id] = { name, option, data },
#include "daemon/events.def"
};

void events_post(void *opaque, const struct drover_event *ev)
{
	struct job *j = opaque;

	event_queue_push(&j->d->events, ev, j->id, j->events);
}

static void log_event(struct droverd *d, const struct queued_event *qe)
{
	if (qe->ev.type == DROVER_EVENT_STATE)
		drover_logf(&d->log, DROVER_LOG_INFO, "migration: %s",
			    drover_state_name(qe->ev.state));
	else if (qe->ev.type == DROVER_EVENT_LATE_WRITER)
		drover_logf(&d->log, DROVER_LOG_WARNING,
			    "migration: block %s page %" PRIu64 ": written after it was sent",
			    qe->block, qe->ev.page);
	else if (qe->ev.type == DROVER_EVENT_SETTLED)
		drover_logf(&d->log, DROVER_LOG_INFO, "migration: settled: the guest %s",
			    qe->ev.owned ? "runs here" : "was handed over");
}

/* The guest begins to run here after its move, or runs here no more. */
static void maybe_moved(struct droverd *d, const struct queued_event *qe)
{
	if (qe->ev.type == DROVER_EVENT_STOP && qe->job)
		announce_left(d);
	if (qe->ev.type != DROVER_EVENT_RESUME || !d->job || d->job->side != DROVER_SIDE_DEST ||
	    qe->job != d->job->id)
		return;
	guest_check_begin(d);
	announce_arrived(d);
}

/* A destination that was told to end with its migration's failure. */
static void maybe_exit_on_error(struct droverd *d, const struct queued_event *qe)
{
	struct drover_migration_info info;

	if (qe->ev.type != DROVER_EVENT_STATE || qe->ev.state != DROVER_STATE_FAILED ||
	    !d->job || !d->job->exit_on_error)
		return;
	drover_migration_info(d->job->m, &info);
	drover_logf(&d->log, DROVER_LOG_ERR, "%s", info.error_desc);
	d->exit_status = 1;
	loop_stop(&d->loop);
}

static void emit(struct droverd *d, const struct queued_event *qe)
{
	struct json_object *data;
	size_t i = qe->ev.type;

	if (i >= DROVER_ARRAY_SIZE(table))
		return;
	if (table[i].option && !qe->migration_events)
		return;
	data = table[i].data(d, qe);
	qmp_server_event(&d->server, table[i].name, data, qe->realtime_us);
	json_object_put(data);
}

void events_ready(void *opaque, uint32_t events)
{
	struct droverd *d = opaque;
	struct queued_event *qe;

	(void)events;
	while ((qe = event_queue_pop(&d->events))) {
		log_event(d, qe);
		emit(d, qe);
		job_tell_state(d, qe);
		maybe_moved(d, qe);
		maybe_exit_on_error(d, qe);
		owner_settled(d, qe);
		free(qe);
	}
}
