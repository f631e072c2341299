// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Which descriptors of a VMM let a device write to guest RAM after its page was marked as
 * written: what /proc/PID/fd and /proc/PID/fdinfo say. One row a kind. Called by trackers
 * that do not see such writes (track/select.c).
 */
#define _GNU_SOURCE
#include "dev/devices.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

/* What /proc says of one descriptor. */
struct look {
	int fdinfo;
	const char *name;               /* its number */
	char link[128];
	unsigned long flags, buffers;
};

static bool begins(const char *s, const char *with)
{
	return !strncmp(s, with, strlen(with));
}

static bool is_direct(const struct look *l)
{
	/* Pipes have a meaning of their own for the flag, and no path. */
	return *l->link == '/' && l->flags & O_DIRECT && (l->flags & O_ACCMODE) != O_WRONLY;
}

static bool has_buffers(const struct look *l)
{
	return !strcmp(l->link, "anon_inode:[io_uring]") && l->buffers;
}

static bool is_vfio(const struct look *l)
{
	return begins(l->link, "/dev/vfio/") || begins(l->link, "anon_inode:[vfio-device");
}

static bool is_vdpa(const struct look *l)
{
	return begins(l->link, "/dev/vhost-vdpa");
}

static bool is_rdma(const struct look *l)
{
	return begins(l->link, "/dev/infiniband/uverbs");
}

/* It gives pages back without marking them. */
static bool is_vhost_scsi(const struct look *l)
{
	return begins(l->link, "/dev/vhost-scsi");
}

static const struct {
	bool (*is)(const struct look *l);
	const char *one, *many;
} kinds[] = {
	{ is_direct, "file opened with O_DIRECT", "files opened with O_DIRECT" },
	{ has_buffers, "io_uring with registered buffers", "io_urings with registered buffers" },
	{ is_vfio, "VFIO descriptor", "VFIO descriptors" },
	{ is_vdpa, "vDPA device", "vDPA devices" },
	{ is_rdma, "RDMA device", "RDMA devices" },
	{ is_vhost_scsi, "vhost-scsi device", "vhost-scsi devices" },
};

#define KINDS DROVER_ARRAY_SIZE(kinds)

/* False: it was closed meanwhile, or is . or .. */
static bool look_at(int fds, struct look *l)
{
	ssize_t n = readlinkat(fds, l->name, l->link, sizeof(l->link) - 1);
	_cleanup_fclose_ FILE *f = NULL;
	char line[256];
	int fd;

	if (n < 0)
		return false;
	l->link[n] = '\0';
	l->flags = l->buffers = 0;
	fd = openat(l->fdinfo, l->name, O_RDONLY | O_CLOEXEC);
	f = fd < 0 ? NULL : fdopen(fd, "r");
	if (!f) {
		drover_closep(&fd);
		return true;
	}
	while (fgets(line, sizeof(line), f)) {
		if (begins(line, "flags:"))
			l->flags = strtoul(line + strlen("flags:"), NULL, 8);
		else if (begins(line, "UserBufs:"))
			l->buffers = strtoul(line + strlen("UserBufs:"), NULL, 10);
	}
	return true;
}

static void tell(const unsigned int *count, char (*first)[64], struct drover_devices *ret)
{
	size_t at = 0;
	unsigned int k;

	for (k = 0; k < KINDS && at < sizeof(ret->text); k++) {
		ret->n += count[k];
		if (count[k])
			at += (size_t)snprintf(ret->text + at, sizeof(ret->text) - at,
					       "%s%u %s (%s)", at ? ", " : "", count[k],
					       count[k] > 1 ? kinds[k].many : kinds[k].one,
					       first[k]);
	}
}

int drover_devices_look(int pid, struct drover_devices *ret)
{
	unsigned int count[KINDS] = { 0 }, k;
	_cleanup_close_ int fdinfo = -EBADF;
	char first[KINDS][64], path[40];
	struct dirent *de;
	struct look l;
	DIR *d;

	memset(ret, 0, sizeof(*ret));
	snprintf(path, sizeof(path), "/proc/%d/fdinfo", pid);
	fdinfo = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fdinfo < 0)
		return -errno;
	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	if (!d)
		return -errno;
	l.fdinfo = fdinfo;
	while ((de = readdir(d))) {
		l.name = de->d_name;
		if (!look_at(dirfd(d), &l))
			continue;
		for (k = 0; k < KINDS; k++)
			if (kinds[k].is(&l) && !count[k]++)
				snprintf(first[k], sizeof(first[k]), "%.60s", l.link);
	}
	closedir(d);
	tell(count, first, ret);
	return 0;
}
