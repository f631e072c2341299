// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * UNIX stream sockets, by path or abstract name. A path that exists already is removed only if it
 * is a socket of this user on which nobody listens any more. A new socket has mode 0600 from the
 * start, so that there is no moment at which it has more.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "channel/internal.h"

#define BACKLOG_RETRY_MS 10u

static socklen_t fill(const struct drover_address *a, struct sockaddr_un *un)
{
	size_t head = offsetof(struct sockaddr_un, sun_path), len = strlen(a->u.unix_.path);
	bool abstract = a->u.unix_.abstract == DROVER_ON;

	/* address/check.c has limited the length to what fits together with a NUL */
	memset(un, 0, sizeof(*un));
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path + abstract, a->u.unix_.path, len);
	if (abstract && a->u.unix_.tight == DROVER_OFF)
		return sizeof(*un);
	return (socklen_t)(head + len + 1);
}

static int make_socket(int *ret, struct drover_error *e)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return drover_err(e, -errno, "unix: socket: %s", drover_strerror(errno));
	*ret = fd;
	return 0;
}

int drover_unix_connect(const struct drover_address *a, const struct drover_channel_opts *o,
			int *ret, struct drover_error *e)
{
	_cleanup_close_ int fd = -EBADF;
	struct sockaddr_un un;
	socklen_t len = fill(a, &un);
	int r = make_socket(&fd, e);

	if (r < 0)
		return r;
	for (;;) {
		uint64_t retry = drover_deadline_ms(BACKLOG_RETRY_MS);

		r = drover_socket_connect(fd, (struct sockaddr *)&un, len, o->cancel, o->deadline);
		if (r != -EAGAIN)
			break;
		/* The listener's backlog is full. Nothing tells when it has room: try again. */
		if (o->deadline && drover_now_ns() >= o->deadline) {
			r = -ETIMEDOUT;
			break;
		}
		drover_wait_fd(-1, 0, o->cancel, retry);
	}
	if (r < 0)
		return drover_err(e, r, "Failed to connect to '%s%s': %s",
				  a->u.unix_.abstract == DROVER_ON ? "@" : "", a->u.unix_.path,
				  r == -ECANCELED ? "cancelled" : drover_strerror(r));
	*ret = TAKE_FD(fd);
	return 0;
}

/* Is the path a socket of this user without a listener? */
static bool is_stale(const struct sockaddr_un *un, socklen_t len)
{
	_cleanup_close_ int fd = -EBADF;
	struct stat st;

	if (lstat(un->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode) || st.st_uid != geteuid())
		return false;
	if (make_socket(&fd, NULL) < 0)
		return false;
	return connect(fd, (const struct sockaddr *)un, len) < 0 && errno == ECONNREFUSED;
}

static int bind_path(int fd, const struct sockaddr_un *un, socklen_t len)
{
	if (!bind(fd, (const struct sockaddr *)un, len))
		return 0;
	if (errno != EADDRINUSE || !un->sun_path[0])
		return -errno;
	if (!is_stale(un, len))
		return -EADDRINUSE;
	if (unlink(un->sun_path) < 0 && errno != ENOENT)
		return -errno;
	return bind(fd, (const struct sockaddr *)un, len) < 0 ? -errno : 0;
}

int drover_unix_listen(const struct drover_address *a, const struct drover_channel_opts *o,
		       int *ret, struct drover_error *e)
{
	_cleanup_close_ int fd = -EBADF;
	struct sockaddr_un un;
	socklen_t len = fill(a, &un);
	int r = make_socket(&fd, e);

	(void)o;
	if (r < 0)
		return r;
	/* bind(2) gives the path this mode; the umask would be the whole process's */
	if (fchmod(fd, 0600) < 0)
		r = -errno;
	if (!r)
		r = bind_path(fd, &un, len);
	if (r < 0)
		return drover_err(e, r, "Failed to bind socket to %s: %s", a->u.unix_.path,
				  drover_strerror(r));
	if (listen(fd, SOMAXCONN) < 0) {
		r = -errno;
		if (un.sun_path[0])
			unlink(un.sun_path);
		return drover_err(e, r, "Failed to listen on '%s': %s", a->u.unix_.path,
				  drover_strerror(r));
	}
	*ret = TAKE_FD(fd);
	return 0;
}
