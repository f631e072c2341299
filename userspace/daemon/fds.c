// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Descriptors a migration may be given: inherited ones, by number, and those that came
 * over the control socket, by name. A number in a command could otherwise name any descriptor of
 * ours, guest RAM and the control socket included; so only those are known that were
 * there before we opened one. Each can be handed out once: two owners of one socket
 * would keep the peer from ever reading its end.
 */
#include "daemon/fds.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

static bool is_number(const char *name)
{
	return name[0] >= '0' && name[0] <= '9';
}

/* Index in @named, or -1 */
static int index_of(const struct fd_table *t, const char *name)
{
	int i;

	for (i = 0; i < FDS_NAMED_MAX; i++)
		if (strcmp(t->named[i].name, name) == 0)
			return i;
	return -1;
}

static int find_named(const struct fd_table *t, const char *name, struct drover_error *e)
{
	int i = name[0] ? index_of(t, name) : -1;

	if (i < 0)
		return drover_err(e, -ENOENT, "File descriptor named '%s' has not been found",
				  name);
	if (!usable(t->named[i].fd))
		return drover_err(e, -EBADF, "fd '%s': not a socket, pipe or file", name);
	return t->named[i].fd;
}

int fd_table_find(const struct fd_table *t, const char *name, struct drover_error *e)
{
	char *end;
	long fd;

	if (!is_number(name))
		return find_named(t, name, e);
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
	int i;

	for (i = 0; i < FDS_NAMED_MAX; i++)
		if (t->named[i].name[0] && t->named[i].fd == fd) {
			t->named[i].name[0] = '\0';
			return;
		}
	drover_bit_clear(t->open, (uint64_t)fd);
	drover_bit_set(t->used, (uint64_t)fd);
}

int fd_table_add(struct fd_table *t, const char *name, int fd, struct drover_error *e)
{
	int i;

	if (is_number(name))
		return drover_err(e, -EINVAL,
				  "Parameter 'fdname' expects a name not starting with a digit");
	if (!name[0] || strlen(name) > FDS_NAME_MAX)
		return drover_err(e, -EINVAL, "Parameter 'fdname' expects a name of 1 to %d bytes",
				  FDS_NAME_MAX);
	i = index_of(t, name);
	if (i >= 0)
		close(t->named[i].fd);
	else
		i = index_of(t, "");
	if (i < 0)
		return drover_err(e, -ENOSPC, "fd '%s': there are %d named descriptors already",
				  name, FDS_NAMED_MAX);
	snprintf(t->named[i].name, sizeof(t->named[i].name), "%s", name);
	t->named[i].fd = fd;
	return 0;
}

int fd_table_close(struct fd_table *t, const char *name, struct drover_error *e)
{
	int i = name[0] ? index_of(t, name) : -1;

	if (i < 0)
		return drover_err(e, -ENOENT, "File descriptor named '%s' not found", name);
	close(t->named[i].fd);
	t->named[i].name[0] = '\0';
	return 0;
}
