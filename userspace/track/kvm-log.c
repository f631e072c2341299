// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The tracker `kvm-log`: KVM's own dirty log, by way of the guest link. It costs the
 * guest least, and sees the vCPUs and nothing else: select never uses it alone.
 */
#include <errno.h>
#include <stdio.h>

#include "base/err.h"
#include "track/internal.h"

static int log_probe(const struct drover_track_source *src, char *why, size_t len)
{
	if (src->kvm_log && src->kvm_start && src->kvm_sync && src->kvm_stop)
		return 1;
	snprintf(why, len, "the guest offers no KVM dirty log");
	return 0;
}

static int log_start(const struct drover_track_source *src, void **ret_state,
		     struct drover_error *e)
{
	int r = src->kvm_start(src->opaque, e);

	if (r < 0)
		return drover_err(e, r, "tracker kvm-log: start: %s", drover_strerror(r));
	*ret_state = (void *)src;
	return 0;
}

static int log_harvest(void *state, uint64_t *const *maps, bool final, struct drover_error *e)
{
	const struct drover_track_source *src = state;
	int r = src->kvm_sync(src->opaque, maps, e);

	(void)final;
	if (r < 0)
		return drover_err(e, r, "tracker kvm-log: harvest: %s", drover_strerror(r));
	return 0;
}

static void log_stop(void *state)
{
	const struct drover_track_source *src = state;

	/* A VMM that cannot be told any more has gone. */
	if (src)
		src->kvm_stop(src->opaque, NULL);
}

const struct drover_tracker_ops drover_tracker_kvm_log = {
	.name = "kvm-log",
	.guarantee = "every write of a KVM vCPU, no other",
	.vcpu_only = true,
	.probe = log_probe,
	.start = log_start,
	.harvest = log_harvest,
	.stop = log_stop,
};
