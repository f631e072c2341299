// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Inherited descriptors. A number in a command could otherwise name any descriptor of
 * ours, guest RAM and the control socket included; so only those are known that were
 * there before we opened one. Each can be handed out once: two owners of one socket
 * would keep the peer from ever reading its end.
 */
#include "daemon/fds.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bitmap.h"
#include "base/err.h"

static bool usable(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 &&
	       (S_ISSOCK(st.st_mode) || S_ISFIFO(st.st_mode) || S_ISREG(st.st_mode));
}

void fd_table_init(struct fd_table *t)
{
	int fd;

	memset(t, 0, sizeof(*t));
	for (fd = 3; fd < FDS_INHERITED_MAX; fd++) {
		if (fcntl(fd, F_GETFD) < 0)
			continue;
		fcntl(fd, F_SETFD, FD_CLOEXEC);
		if (usable(fd))
			drover_bit_set(t->open, (uint64_t)fd);
	}
}

int fd_table_find(const struct fd_table *t, const char *name, struct drover_error *e)
{
	char *end;
	long fd;

	if (name[0] < '0' || name[0] > '9')
		return drover_err(e, -EINVAL,
				  "fd '%s': only numbers of inherited descriptors are known (getfd is not built in)",
				  name);
	errno = 0;
	fd = strtol(name, &end, 10);
	if (*end || errno || fd >= FDS_INHERITED_MAX)
		return drover_err(e, -EINVAL, "fd '%s': not a number below %d", name,
				  FDS_INHERITED_MAX);
	if (drover_bit_test(t->used, (uint64_t)fd))
		return drover_err(e, -EBADF, "fd '%s': was used by an earlier migration", name);
	if (!drover_bit_test(t->open, (uint64_t)fd))
		return drover_err(e, -EBADF,
				  "fd '%s': not a socket, pipe or file inherited at start-up", name);
	return (int)fd;
}

void fd_table_take(struct fd_table *t, int fd)
{
	drover_bit_clear(t->open, (uint64_t)fd);
	drover_bit_set(t->used, (uint64_t)fd);
}
