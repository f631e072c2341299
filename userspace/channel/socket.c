// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What inet, unix and vsock have in common: connecting within a deadline, addresses as text, and
 * the channel over a connected socket. Called by the address families, by the listener, and for
 * descriptors that turn out to be sockets.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "channel/internal.h"

#define LOOPBACK_QUEUE (512 * 1024)

void drover_socket_name(const struct sockaddr_storage *sa, socklen_t len, char *buf, size_t size)
{
	const struct sockaddr_un *un = (const struct sockaddr_un *)sa;
	const struct sockaddr_vm *vm = (const struct sockaddr_vm *)sa;
	char host[NI_MAXHOST], port[NI_MAXSERV];
	size_t path = offsetof(struct sockaddr_un, sun_path);

	switch (sa->ss_family) {
	case AF_INET:
	case AF_INET6:
		if (getnameinfo((const struct sockaddr *)sa, len, host, sizeof(host), port,
				sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV))
			break;
		snprintf(buf, size, sa->ss_family == AF_INET6 ? "[%.64s]:%s" : "%.64s:%s", host,
			 port);
		return;
	case AF_UNIX:
		if (len <= path)
			break;
		if (un->sun_path[0])
			snprintf(buf, size, "%.*s", (int)(len - path), un->sun_path);
		else
			snprintf(buf, size, "@%.*s", (int)(len - path - 1), un->sun_path + 1);
		return;
	case AF_VSOCK:
		snprintf(buf, size, "vsock:%u:%u", vm->svm_cid, vm->svm_port);
		return;
	default:
		break;
	}
	snprintf(buf, size, "unnamed");
}

int drover_socket_connect(int fd, const struct sockaddr *sa, socklen_t len,
			  const struct drover_cancel *bell, uint64_t deadline)
{
	int flags, err = 0, n;
	socklen_t err_len = sizeof(err);

	if (drover_cancelled(bell))
		return -ECANCELED;
	if (connect(fd, sa, len) < 0) {
		if (errno != EINPROGRESS && errno != EINTR)
			return -errno;
		n = drover_wait_fd(fd, POLLOUT, bell, deadline);
		if (n < 0)
			return n;
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &err_len) < 0)
			return -errno;
		if (err)
			return -err;
	}
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
		return -errno;
	return 0;
}

void drover_socket_shutdown(struct drover_channel *ch)
{
	shutdown(ch->wfd, SHUT_RDWR);
}

void drover_socket_close(struct drover_channel *ch)
{
	drover_closep(&ch->wfd);
	ch->rfd = -EBADF;
}

int drover_socket_finish(struct drover_channel *ch, struct drover_error *e)
{
	if (shutdown(ch->wfd, SHUT_WR) < 0)
		return drover_err(e, -errno, "channel %s: finish: %s", ch->name,
				  drover_strerror(errno));
	return 0;
}

void drover_socket_abort(int fd)
{
	static const struct sockaddr none = { .sa_family = AF_UNSPEC };

	/* for TCP this is a reset: the kernel drops all that is queued at once */
	(void)connect(fd, &none, sizeof(none));
}

static const struct channel_ops socket_ops = {
	.sendv = drover_stream_sendv,
	.recvv = drover_stream_recvv,
	.shutdown = drover_socket_shutdown,
	.close = drover_socket_close,
	.finish = drover_socket_finish,
};

/* A connection to any of this host's own addresses goes over the loopback device. */
static bool is_loopback(int fd, const struct sockaddr_storage *peer)
{
	struct sockaddr_storage own = { 0 };
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)peer;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)peer;
	socklen_t len = sizeof(own);

	if (getsockname(fd, (struct sockaddr *)&own, &len) < 0 || own.ss_family != peer->ss_family)
		return false;
	if (peer->ss_family == AF_INET)
		return ntohl(v4->sin_addr.s_addr) >> 24 == 127 ||
		       v4->sin_addr.s_addr == ((struct sockaddr_in *)&own)->sin_addr.s_addr;
	return peer->ss_family == AF_INET6 &&
	       (IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) ||
		IN6_ARE_ADDR_EQUAL(&v6->sin6_addr, &((struct sockaddr_in6 *)&own)->sin6_addr));
}

/*
 * Shorten the send queue of a loopback connection. Loopback has no delay, so a long queue gains
 * nothing, and the receiver copies what waited long in it from memory instead of from the cache.
 * With the kernel's own limit of 4 MiB throughput is a quarter lower. Errors are ignored; the
 * kernel doubles the value.
 */
static void short_queue(int fd)
{
	int bytes = LOOPBACK_QUEUE / 2;

	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

/* The peer of a UNIX socket mostly has no name; then the kernel tells the pid of its process. */
static void name_peer(int fd, const struct sockaddr_storage *sa, socklen_t len, char *buf,
		      size_t size)
{
	struct ucred cred = { 0 };
	socklen_t cred_len = sizeof(cred);

	drover_socket_name(sa, len, buf, size);
	if (sa->ss_family == AF_UNIX && len <= offsetof(struct sockaddr_un, sun_path) &&
	    !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &cred_len) && cred.pid > 0)
		snprintf(buf, size, "unix:pid=%d", (int)cred.pid);
}

int drover_socket_channel(int fd, unsigned int offers, const char *peer,
			  const struct drover_channel_opts *o, struct drover_channel **ret,
			  struct drover_error *e)
{
	struct sockaddr_storage sa = { 0 };
	socklen_t len = sizeof(sa);
	struct drover_channel *ch;
	int r = drover_channel_make(&socket_ops, CHANNEL_SOCKET, fd, fd, o, &ch, e);

	if (r < 0)
		return r;
	ch->offers = offers;
	if (!getpeername(fd, (struct sockaddr *)&sa, &len)) {
		ch->loopback = is_loopback(fd, &sa);
		if (ch->loopback)
			short_queue(fd);
		name_peer(fd, &sa, len, ch->peer, sizeof(ch->peer));
	}
	if (peer)
		snprintf(ch->peer, sizeof(ch->peer), "%s", peer);
	drover_channel_set_name(ch, ch->peer);
	*ret = ch;
	return 0;
}
