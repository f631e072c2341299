// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * query-status: RunState in QEMU's words, from what the guest says of itself and what
 * the migration does with it. Pure: no call here waits.
 */
#include "daemon/daemon.h"

bool run_state_incoming(const struct droverd *d)
{
	if (d->job && d->job->side == DROVER_SIDE_DEST && !d->job->settle && job_running(d->job) &&
	    !job_postcopy(d->job))
		return true;
	return d->guest->ops->status(d->guest) == DROVER_GUEST_INCOMING;
}

bool run_state_postmigrate(const struct droverd *d)
{
	const struct job *j = d->job;

	if (d->guest->ops->status(d->guest) != DROVER_GUEST_PAUSED)
		return false;
	if (j && j->side == DROVER_SIDE_SOURCE)
		return drover_migration_state(j->m) == DROVER_STATE_COMPLETED;
	return d->released;
}

static const char *paused_name(const struct droverd *d)
{
	if (run_state_incoming(d))
		return "inmigrate";
	if (run_state_postmigrate(d))
		return "postmigrate";
	return d->job && d->job->side == DROVER_SIDE_SOURCE && job_running(d->job) ?
	       "finish-migrate" : "paused";
}

const char *run_state_name(const struct droverd *d)
{
	switch (d->guest->ops->status(d->guest)) {
	case DROVER_GUEST_RUNNING:
		return "running";
	case DROVER_GUEST_INCOMING:
		return "inmigrate";
	case DROVER_GUEST_GONE:
		return "shutdown";
	case DROVER_GUEST_PAUSED:
		break;
	}
	return paused_name(d);
}
