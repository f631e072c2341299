// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The incoming side of an address. A socket is bound at once, so that the command that gave a
 * wrong address fails with the reason. For the same reason exec, fd and file are opened at once;
 * accept then gives their only channel. The listening socket is O_NONBLOCK: a connection that
 * goes away between poll and accept must not block the caller.
 *
 * Called by the engine's destination.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/vm_sockets.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "channel/internal.h"

/**
 * struct drover_listener
 * @fd: listening socket; -1: none
 * @addr: the address that was really bound
 * @path_dev, @path_ino: identity of the bound path, so that only this listener's own socket is
 *	removed in the end; 0: none
 * @one: the channel of a transport that has only one, until accept gives it away
 */
struct drover_listener {
	int fd;
	struct drover_address addr;
	dev_t path_dev;
	ino_t path_ino;
	struct drover_channel *one;
};

typedef int listen_fn(const struct drover_address *a, const struct drover_channel_opts *o,
		      int *ret, struct drover_error *e);

/* NULL: the transport is opened, not bound */
static listen_fn *const binders[DROVER_TRANSPORT_COUNT] = {
	[DROVER_TRANSPORT_INET] = drover_inet_listen,
	[DROVER_TRANSPORT_UNIX] = drover_unix_listen,
	[DROVER_TRANSPORT_VSOCK] = drover_vsock_listen,
};

struct drover_listener *drover_listener_free(struct drover_listener *l)
{
	struct stat st;

	if (!l)
		return NULL;
	drover_channel_free(l->one);
	if (l->path_ino && !lstat(l->addr.u.unix_.path, &st) && st.st_dev == l->path_dev &&
	    st.st_ino == l->path_ino)
		unlink(l->addr.u.unix_.path);
	drover_closep(&l->fd);
	drover_address_deinit(&l->addr);
	free(l);
	return NULL;
}

static void freep(struct drover_listener **l)
{
	drover_listener_free(*l);
}

static int replace(char **s, const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		return -ENOMEM;
	free(*s);
	*s = copy;
	return 0;
}

/* Note what was really bound: the port of a range or for port 0, the address of a name. */
static int learn_inet(struct drover_address *a, const struct sockaddr_storage *sa, socklen_t len)
{
	char host[NI_MAXHOST], port[NI_MAXSERV];

	if (getnameinfo((const struct sockaddr *)sa, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV))
		return -EIO;
	a->u.inet.to = 0;
	if (replace(&a->u.inet.host, host) < 0)
		return -ENOMEM;
	return replace(&a->u.inet.port, port);
}

static int learn_vsock(struct drover_address *a, const struct sockaddr_storage *sa)
{
	const struct sockaddr_vm *vm = (const struct sockaddr_vm *)sa;
	char port[16];

	snprintf(port, sizeof(port), "%u", vm->svm_port);
	return replace(&a->u.vsock.port, port);
}

static int learn(struct drover_listener *l, struct drover_error *e)
{
	struct sockaddr_storage sa = { 0 };
	socklen_t len = sizeof(sa);
	struct stat st;
	int r = 0;

	if (getsockname(l->fd, (struct sockaddr *)&sa, &len) < 0)
		return drover_err(e, -errno, "listen: getsockname: %s", drover_strerror(errno));
	if (sa.ss_family == AF_INET || sa.ss_family == AF_INET6) {
		r = learn_inet(&l->addr, &sa, len);
	} else if (sa.ss_family == AF_VSOCK) {
		r = learn_vsock(&l->addr, &sa);
	} else if (l->addr.u.unix_.abstract != DROVER_ON &&
		   !lstat(l->addr.u.unix_.path, &st)) {
		l->path_dev = st.st_dev;
		l->path_ino = st.st_ino;
	}
	return r < 0 ? drover_err(e, r, "listen: the bound address: %s", drover_strerror(r)) : 0;
}

int drover_listener_new(const struct drover_address *a, const struct drover_channel_opts *o,
			struct drover_listener **ret, struct drover_error *e)
{
	_cleanup_(freep) struct drover_listener *l = calloc(1, sizeof(*l));
	struct drover_channel_opts in = *o;
	int r;

	if (!l)
		return drover_err(e, -ENOMEM, "listen: out of memory");
	l->fd = -1;
	if (drover_address_copy(a, &l->addr) < 0)
		return drover_err(e, -ENOMEM, "listen: out of memory");
	if (binders[a->transport]) {
		r = binders[a->transport](a, o, &l->fd, e);
		if (!r)
			r = learn(l, e);
	} else {
		in.incoming = true;
		r = drover_channel_connect(a, &in, &l->one, e);
	}
	if (r < 0)
		return r;
	*ret = TAKE_PTR(l);
	return 0;
}

int drover_listener_fd(const struct drover_listener *l)
{
	return l->fd;
}

const struct drover_address *drover_listener_address(const struct drover_listener *l)
{
	return &l->addr;
}

static int take_one(struct drover_listener *l, const struct drover_channel_opts *o,
		    struct drover_channel **ret, struct drover_error *e)
{
	if (!l->one)
		return drover_err(e, -ENOENT, "accept: the only channel of this transport "
				  "is taken");
	drover_channel_set_cancel(l->one, o->cancel);
	drover_channel_set_stall(l->one, o->stall_ms);
	*ret = TAKE_PTR(l->one);
	return 0;
}

/* Errors of a connection that failed before it was accepted; the next one may be fine. */
static bool is_transient(int err)
{
	return err == EAGAIN || err == EINTR || err == ECONNABORTED || err == EPROTO ||
	       err == ENETDOWN || err == ENOPROTOOPT || err == EHOSTDOWN || err == ENONET ||
	       err == EHOSTUNREACH || err == ENETUNREACH || err == EPERM;
}

int drover_listener_accept(struct drover_listener *l, const struct drover_channel_opts *o,
			   struct drover_channel **ret, struct drover_error *e)
{
	if (l->fd < 0)
		return take_one(l, o, ret, e);
	for (;;) {
		_cleanup_close_ int fd = -EBADF;
		int r = drover_wait_fd(l->fd, POLLIN, o->cancel, o->deadline);

		if (r < 0)
			return drover_err(e, r, "accept: %s", r == -ECANCELED ? "cancelled" :
					  r == -ETIMEDOUT ? "timed out" : drover_strerror(r));
		fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0 && is_transient(errno))
			continue;
		if (fd < 0)
			return drover_err(e, -errno, "accept: %s", drover_strerror(errno));
		r = drover_socket_channel(fd, drover_address_offers(&l->addr), NULL, o, ret, e);
		if (!r)
			fd = -EBADF;
		return r;
	}
}
