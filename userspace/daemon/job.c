// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One migration at a time. The slot always holds the newest job: its numbers are what
 * query-migrate tells, and an ended destination goes on answering OWNER_QUERY from it.
 */
#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/thread.h"
#include "daemon/daemon.h"
#include "guest/guest.h"

bool job_running(const struct job *j)
{
	return j && drover_state_running(drover_migration_state(j->m));
}

bool job_in_doubt(const struct job *j)
{
	return j && drover_migration_in_doubt(j->m);
}

bool job_postcopy(const struct job *j)
{
	if (!j || j->settle || job_in_doubt(j))
		return false;
	switch (drover_migration_state(j->m)) {
	case DROVER_STATE_POSTCOPY_ACTIVE:
	case DROVER_STATE_POSTCOPY_PAUSED:
	case DROVER_STATE_POSTCOPY_RECOVER_SETUP:
	case DROVER_STATE_POSTCOPY_RECOVER:
		return true;
	default:
		return false;
	}
}

static void drop_last(struct droverd *d)
{
	json_object_put(d->last);
	d->last = NULL;
}

/*
 * End the job of the slot; what it reported stays in @last. Returns its handle, retired: to be
 * freed by who may wait. The job itself goes with the handle.
 */
static struct drover_migration *retire(struct droverd *d)
{
	struct job *j = d->job;

	if (!j)
		return NULL;
	job_dismiss(j);
	drop_last(d);
	d->last = info_build(d);
	if (j->side == DROVER_SIDE_SOURCE)
		d->released = drover_migration_state(j->m) == DROVER_STATE_COMPLETED;
	guest_check_end(d);
	d->job = NULL;
	drover_migration_retire(j->m);
	return j->m;
}

/* What is to be freed by who may wait; the guest after its last user. */
struct remains {
	struct drover_migration *m;
	struct drover_guest *guest;
};

static void free_remains(struct remains *rm)
{
	drover_migration_free(rm->m);
	drover_guest_free(rm->guest);
	free(rm);
}

/* Waits for threads that may wait for a VMM. */
static void *free_main(void *rm)
{
	drover_thread_name("end", -1);
	free_remains(rm);
	return NULL;
}

/* The main thread does not wait for them; without a thread it has to. */
static void free_aside(struct droverd *d, struct drover_migration *m, struct drover_guest *guest)
{
	struct remains *rm = calloc(1, sizeof(*rm));

	if (d->ending)
		pthread_join(d->end, NULL);
	d->ending = false;
	if (!rm) {
		drover_migration_free(m);
		drover_guest_free(guest);
		return;
	}
	*rm = (struct remains){ m, guest };
	d->ending = (m || guest) && !pthread_create(&d->end, NULL, free_main, rm);
	if (!d->ending)
		free_remains(rm);
}

void job_leave_guest(struct droverd *d)
{
	struct drover_migration *m = retire(d);

	free_aside(d, m, d->guest);
	d->guest = NULL;
}

static void job_done(void *opaque)
{
	free(opaque);
}

void job_free(struct droverd *d)
{
	drover_migration_free(retire(d));
	if (d->ending)
		pthread_join(d->end, NULL);
	d->ending = false;
	drop_last(d);
}

/* @after: retired; taken over on success */
static int start(struct droverd *d, const struct drover_migration_params *p, bool exit_on_error,
		 struct drover_migration *after, struct drover_error *e)
{
	struct drover_migration_params params = *p;
	_cleanup_free_ struct job *j = calloc(1, sizeof(*j));
	int r;

	if (!j)
		return drover_err(e, -ENOMEM, "migration: out of memory");
	j->d = d;
	j->id = ++d->jobs;
	j->side = p->side;
	j->settle = p->mode == DROVER_MODE_SETTLE;
	j->events = p->config->events;
	j->given = *p->present;
	j->exit_on_error = exit_on_error;
	params.guest = d->guest;
	params.log = &d->log;
	params.host_limit = d->opts.host_limit;
	params.after = after;
	params.event = events_post;
	params.done = job_done;
	params.opaque = j;
	r = drover_migration_start(&params, &j->m, e);
	if (r < 0)
		return r;
	d->job = TAKE_PTR(j);
	return 0;
}

int job_start(struct droverd *d, const struct drover_migration_params *p, bool exit_on_error,
	      struct drover_error *e)
{
	struct drover_migration *after;
	int r;

	loop_timer_arm(&d->settle_retry, 0);
	after = retire(d);
	r = start(d, p, exit_on_error, after, e);
	if (r < 0) {
		free_aside(d, after, NULL);
		if (p->mode == DROVER_MODE_MIGRATE)
			owner_attach(d);
		return r;
	}
	if (p->mode != DROVER_MODE_SETTLE)
		drop_last(d);
	if (p->side == DROVER_SIDE_DEST && p->mode != DROVER_MODE_SETTLE)
		d->released = false;
	return 0;
}
