// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * /proc/PID/maps, line by line. The kernel writes whole lines, but a path in one may be of
 * any length; only what stands before the path is read. Used by mapping.c and mappers.c.
 */
#include "ram/maps.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"

static bool parse(const char *line, struct drover_vma *ret)
{
	unsigned int major, minor;
	char perms[5];

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64, &ret->start,
		   &ret->end, perms, &ret->off, &major, &minor, &ret->ino) != 7)
		return false;
	ret->dev = makedev(major, minor);
	ret->write = perms[1] == 'w';
	ret->shared = perms[3] == 's';
	return true;
}

int drover_maps_walk(int pid, drover_maps_fn *fn, void *arg)
{
	_cleanup_fclose_ FILE *f = NULL;
	_cleanup_free_ char *line = NULL;
	struct drover_vma vma;
	bool any = false;
	size_t size = 0;
	char path[40];
	int r;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	errno = 0;
	while (getline(&line, &size, f) > 0) {
		any = true;
		r = parse(line, &vma) ? fn(arg, &vma) : 0;
		if (r)
			return r;
		errno = 0;
	}
	/* One that has ended, and was not waited for yet, has a name and no memory. */
	if (!any && !errno)
		return -ESRCH;
	return errno == ENOMEM || errno == EACCES || errno == EPERM || errno == ESRCH ? -errno : 0;
}
