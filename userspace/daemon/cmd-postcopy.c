// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Postcopy in the operator's hands: begin it, pause it, let it go on. Texts are QEMU's.
 * Whoever died, the same commands bring it back: a new daemon finds in its guest's VMM
 * what the old one left there.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "daemon/daemon.h"

/* The stored settings when nothing moves, as in QEMU; else the migration's own. */
static bool postcopy_on(const struct droverd *d)
{
	struct drover_config c;
	bool on = d->settings.postcopy_ram;

	if (d->job && d->job->side == DROVER_SIDE_SOURCE &&
	    drover_migration_config(d->job->m, &c) >= 0) {
		on = c.postcopy_ram;
		drover_config_deinit(&c);
	}
	return on;
}

int cmd_migrate_start_postcopy(struct qmp_call *call, struct drover_error *e)
{
	struct droverd *d = call->opaque;

	if (!postcopy_on(d))
		return drover_err(e, -EINVAL,
				  "Enable postcopy with migrate_set_capability before the start of migration");
	if (!d->job || d->job->settle || d->job->side != DROVER_SIDE_SOURCE)
		return drover_err(e, -EINVAL,
				  "Postcopy must be started after migration has been started");
	switch (drover_migration_state(d->job->m)) {
	case DROVER_STATE_SETUP:
	case DROVER_STATE_WAIT_UNPLUG:
	case DROVER_STATE_ACTIVE:
	case DROVER_STATE_PRE_SWITCHOVER:
		return drover_migration_start_postcopy(d->job->m, e);
	default:
		/* Over, or at its switchover: nobody can know that who sends this. */
		return 0;
	}
}

int cmd_migrate_pause(struct qmp_call *call, struct drover_error *e)
{
	struct droverd *d = call->opaque;

	if (job_postcopy(d->job) && !job_in_doubt(d->job) &&
	    drover_migration_state(d->job->m) != DROVER_STATE_POSTCOPY_PAUSED)
		return drover_migration_pause(d->job->m, e);
	return drover_err(e, -EINVAL,
			  "migrate-pause is currently only supported during postcopy-active or postcopy-recover state");
}

static bool paused(const struct job *j, enum drover_side side)
{
	return j && !j->settle && j->side == side && !job_in_doubt(j) &&
	       drover_migration_state(j->m) == DROVER_STATE_POSTCOPY_PAUSED;
}

/* One that could not even begin to take up what it found is no better than none. */
static bool alive(const struct job *j)
{
	return job_running(j) && !drover_migration_ended(j->m);
}

/* Can these carry what this session needs, and be used a second time? */
static int check_channels(const struct droverd *d, const struct drover_channel_list *list,
			  struct drover_error *e)
{
	struct drover_migration_params p = { .side = d->job->side, .channels = list };
	struct drover_config c;
	unsigned int i;
	int r;

	r = drover_migration_config(d->job->m, &c);
	if (r < 0)
		return drover_err(e, r, "config: %s", drover_strerror(r));
	p.config = &c;
	r = drover_migration_check_transport(&p, e);
	drover_config_deinit(&c);
	for (i = 0; r >= 0 && i < list->n; i++)
		if (!(drover_address_offers(&list->entry[i].addr) & DROVER_TRANSPORT_RECONNECT))
			r = drover_err(e, -EINVAL,
				       "channel %s: this transport can't be connected again",
				       drover_channel_type_name(list->entry[i].type));
	return r;
}

int postcopy_resume(struct droverd *d, const struct drover_channel_list *list,
		    struct drover_error *e)
{
	const struct job *j = d->job;
	int r;

	if (paused(j, DROVER_SIDE_SOURCE) && alive(j)) {
		r = check_channels(d, list, e);
		return r < 0 ? r : drover_migration_resume(j->m, list, e);
	}
	if (job_in_doubt(j))
		return drover_err(e, -EBUSY, JOB_DOUBT_TEXT);
	/* One that only settled whose guest it is knows nothing of pages. */
	r = -ENOENT;
	if (!alive(j) && (!j || j->settle || paused(j, DROVER_SIDE_SOURCE)))
		r = owner_take_up(d, DROVER_SIDE_SOURCE, list, e);
	return r != -ENOENT ? r :
	       drover_err(e, -EINVAL, "Cannot resume if there is no paused migration");
}

int cmd_migrate_recover(struct qmp_call *call, struct drover_error *e)
{
	struct drover_channel_list *list = NULL;
	struct droverd *d = call->opaque;
	int r = channels_of_call(call, true, &list, e);

	if (r < 0)
		return r;
	r = -ENOENT;
	if (paused(d->job, DROVER_SIDE_DEST) && alive(d->job)) {
		r = check_channels(d, list, e);
		if (r >= 0)
			r = drover_migration_recover(d->job->m, list, e);
	} else if (!alive(d->job)) {
		r = owner_take_up(d, DROVER_SIDE_DEST, list, e);
	}
	drover_channel_list_deinit(list);
	free(list);
	return r != -ENOENT ? r :
	       drover_err(e, -EINVAL, "Migrate recover can only be run when postcopy is paused.");
}
