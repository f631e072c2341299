// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Make a channel from an address, by a table with one row for each transport, or from a
 * descriptor, by what kind of file it is. Called by the engine, and by the listener for the
 * transports that are opened and not accepted.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "channel/internal.h"

typedef int connect_fn(const struct drover_address *a, const struct drover_channel_opts *o,
		       int *ret, struct drover_error *e);

static connect_fn *const connectors[DROVER_TRANSPORT_COUNT] = {
	[DROVER_TRANSPORT_INET] = drover_inet_connect,
	[DROVER_TRANSPORT_UNIX] = drover_unix_connect,
	[DROVER_TRANSPORT_VSOCK] = drover_vsock_connect,
};

static int connect_socket(const struct drover_address *a, const struct drover_channel_opts *o,
			  struct drover_channel **ret, struct drover_error *e)
{
	_cleanup_close_ int fd = -EBADF;
	int r = connectors[a->transport](a, o, &fd, e);

	if (!r)
		r = drover_socket_channel(fd, drover_address_offers(a), NULL, o, ret, e);
	if (!r)
		fd = -EBADF;
	return r;
}

static int open_fd(const struct drover_address *a, const struct drover_channel_opts *o,
		   struct drover_channel **ret, struct drover_error *e)
{
	return drover_channel_from_fd(o->fd, a->u.fd.str, o, ret, e);
}

static int refuse_rdma(const struct drover_address *a, const struct drover_channel_opts *o,
		       struct drover_channel **ret, struct drover_error *e)
{
	(void)a;
	(void)o;
	(void)ret;
	return drover_err(e, -EOPNOTSUPP, "rdma: not built in");
}

static int (*const openers[DROVER_TRANSPORT_COUNT])(const struct drover_address *a,
						    const struct drover_channel_opts *o,
						    struct drover_channel **ret,
						    struct drover_error *e) = {
	[DROVER_TRANSPORT_INET] = connect_socket,
	[DROVER_TRANSPORT_UNIX] = connect_socket,
	[DROVER_TRANSPORT_VSOCK] = connect_socket,
	[DROVER_TRANSPORT_FD] = open_fd,
	[DROVER_TRANSPORT_EXEC] = drover_exec_open,
	[DROVER_TRANSPORT_RDMA] = refuse_rdma,
	[DROVER_TRANSPORT_FILE] = drover_file_open,
};

int drover_channel_connect(const struct drover_address *a, const struct drover_channel_opts *o,
			   struct drover_channel **ret, struct drover_error *e)
{
	return openers[a->transport](a, o, ret, e);
}

/* ---- descriptors ---- */

static int get_int(int fd, int option)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &len) < 0 ? -1 : value;
}

static int socket_from_fd(int fd, const char *peer, const struct drover_channel_opts *o,
			  struct drover_channel **ret, struct drover_error *e)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	unsigned int offers = DROVER_TRANSPORT_TWOWAY;

	if (get_int(fd, SO_TYPE) != SOCK_STREAM)
		return drover_err(e, -EINVAL, "%s: not a stream socket", peer);
	if (get_int(fd, SO_ACCEPTCONN) == 1)
		return drover_err(e, -EINVAL, "%s: a listening socket, not a connection", peer);
	if (getpeername(fd, (struct sockaddr *)&sa, &len) < 0)
		return drover_err(e, -errno, "%s: not a connected socket: %s", peer,
				  drover_strerror(errno));
	if (get_int(fd, SO_DOMAIN) == AF_UNIX)
		offers |= DROVER_TRANSPORT_FDPASS;
	else
		offers |= DROVER_TRANSPORT_ZEROCOPY;
	return drover_socket_channel(fd, offers, peer, o, ret, e);
}

int drover_channel_from_fd(int fd, const char *name, const struct drover_channel_opts *o,
			   struct drover_channel **ret, struct drover_error *e)
{
	char peer[CHANNEL_PEER_MAX];
	struct stat st;
	off_t pos;
	int r;

	snprintf(peer, sizeof(peer), "fd:%.100s", name);
	if (fd < 0)
		return drover_err(e, -EBADF, "%s: no such file descriptor", peer);
	if (fstat(fd, &st) < 0)
		return drover_err(e, -errno, "%s: %s", peer, drover_strerror(errno));
	if (S_ISSOCK(st.st_mode)) {
		r = socket_from_fd(fd, peer, o, ret, e);
	} else if (S_ISFIFO(st.st_mode)) {
		r = drover_pipe_channel(fd, peer, o, ret, e);
	} else if (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)) {
		pos = lseek(fd, 0, SEEK_CUR);
		if (pos < 0)
			return drover_err(e, -errno, "%s: %s", peer, drover_strerror(errno));
		r = drover_file_channel(fd, (uint64_t)pos, peer, o, ret, e);
	} else {
		return drover_err(e, -EINVAL, "%s: not a socket, a pipe or a regular file", peer);
	}
	if (!r)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
	return r;
}
