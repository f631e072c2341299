// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The tracker `kmod`: the kernel module's place in the table. This build says whether
 * the module's device is there, and that it cannot use it yet.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/err.h"
#include "track/internal.h"

static int kmod_probe(const struct drover_track_source *src, char *why, size_t len)
{
	(void)src;
	if (access("/dev/drover", R_OK | W_OK) < 0)
		snprintf(why, len, "/dev/drover: %s", drover_strerror(errno));
	else
		snprintf(why, len, "/dev/drover: this build has no client for the module");
	return 0;
}

static int kmod_start(const struct drover_track_source *src, void **ret_state,
		      struct drover_error *e)
{
	(void)src;
	(void)ret_state;
	return drover_err(e, -EOPNOTSUPP, "tracker kmod: not built in");
}

static int kmod_harvest(void *state, uint64_t *const *maps, bool final, struct drover_error *e)
{
	(void)state;
	(void)maps;
	(void)final;
	return drover_err(e, -EOPNOTSUPP, "tracker kmod: not built in");
}

static void kmod_stop(void *state)
{
	(void)state;
}

const struct drover_tracker_ops drover_tracker_kmod = {
	.name = "kmod",
	.guarantee = "every CPU writer through any mapping or system call, and punched holes",
	.sees_holes = true,
	.probe = kmod_probe,
	.start = kmod_start,
	.harvest = kmod_harvest,
	.stop = kmod_stop,
};
