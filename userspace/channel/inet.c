// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * TCP over IPv4 and IPv6, and MPTCP if the address asks for it. Connecting tries every address to
 * which the name resolves, each for its share of the time left. Listening takes the first address
 * and port that are free. An empty host listens on all addresses, on hosts with IPv6 by one IPv6
 * socket for both families.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "channel/internal.h"

static void freeaddrinfop(struct addrinfo **ai)
{
	if (*ai)
		freeaddrinfo(*ai);
}

static int set_int(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int set_keep_alive(int fd, const struct drover_address *a, struct drover_error *e)
{
	const struct {
		const char *name;
		int level, option;
		uint32_t value;
	} row[] = {
		{ "keep-alive", SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ "keep-alive-count", IPPROTO_TCP, TCP_KEEPCNT, a->u.inet.keep_alive_count },
		{ "keep-alive-idle", IPPROTO_TCP, TCP_KEEPIDLE, a->u.inet.keep_alive_idle },
		{ "keep-alive-interval", IPPROTO_TCP, TCP_KEEPINTVL,
		  a->u.inet.keep_alive_interval },
	};
	unsigned int i;

	if (a->u.inet.keep_alive != DROVER_ON)
		return 0;
	for (i = 0; i < DROVER_ARRAY_SIZE(row); i++) {
		int r;

		if (!row[i].value)
			continue;
		r = row[i].value > INT32_MAX ? -EINVAL :
		    set_int(fd, row[i].level, row[i].option, (int)row[i].value);
		if (r < 0)
			return drover_err(e, r, "%s=%u: %s", row[i].name, row[i].value,
					  drover_strerror(r));
	}
	return 0;
}

/* Make a socket with the options of @a; accepted sockets inherit those of their listener. */
static int make_socket(const struct drover_address *a, const struct addrinfo *ai, int *ret,
		       struct drover_error *e)
{
	_cleanup_close_ int fd = -EBADF;
	bool mptcp = a->u.inet.mptcp == DROVER_ON;
	int r;

	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
		    mptcp ? IPPROTO_MPTCP : IPPROTO_TCP);
	if (fd < 0 && mptcp)
		return drover_err(e, -errno, "mptcp: socket: %s (is MPTCP built into this kernel "
				  "and net.mptcp.enabled set?)", drover_strerror(errno));
	if (fd < 0)
		return drover_err(e, -errno, "socket: %s", drover_strerror(errno));
	r = set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	if (r < 0)
		return drover_err(e, r, "TCP_NODELAY: %s", drover_strerror(r));
	r = set_keep_alive(fd, a, e);
	if (r < 0)
		return r;
	*ret = TAKE_FD(fd);
	return 0;
}

/* ---- connect ---- */

static const char *cause(int r)
{
	return r == -ECANCELED ? "cancelled" : r == -ETIMEDOUT ? "timed out" : drover_strerror(r);
}

/* @name: the address that was tried; the message has it if it differs from what the user gave */
static void prefix_failure(const struct drover_address *a, const char *name,
			   struct drover_error *e)
{
	size_t host = strlen(a->u.inet.host);

	if (!strncmp(name, a->u.inet.host, host) && name[host] == ':' &&
	    !strcmp(name + host + 1, a->u.inet.port))
		drover_err_prefix(e, "Failed to connect to '%s': ", name);
	else
		drover_err_prefix(e, "Failed to connect to '%s:%s' (%s): ", a->u.inet.host,
				  a->u.inet.port, name);
}

static int try_one(const struct drover_address *a, const struct addrinfo *ai,
		   const struct drover_channel_opts *o, uint64_t deadline, int *ret,
		   struct drover_error *e)
{
	struct sockaddr_storage sa = { 0 };
	_cleanup_close_ int fd = -EBADF;
	char name[CHANNEL_PEER_MAX];
	int r = make_socket(a, ai, &fd, e);

	if (!r) {
		r = drover_socket_connect(fd, ai->ai_addr, ai->ai_addrlen, o->cancel, deadline);
		if (r < 0)
			drover_err(e, r, "%s", cause(r));
	}
	if (!r) {
		*ret = TAKE_FD(fd);
		return 0;
	}
	memcpy(&sa, ai->ai_addr, ai->ai_addrlen);
	drover_socket_name(&sa, ai->ai_addrlen, name, sizeof(name));
	prefix_failure(a, name, e);
	return r;
}

/* The time for this address: one that never answers must not use up the time of the others. */
static uint64_t share(uint64_t deadline, unsigned int left)
{
	uint64_t now = drover_now_ns();

	return deadline > now ? now + (deadline - now) / left : deadline;
}

int drover_inet_connect(const struct drover_address *a, const struct drover_channel_opts *o,
			int *ret, struct drover_error *e)
{
	_cleanup_(freeaddrinfop) struct addrinfo *list = NULL;
	struct drover_error last = DROVER_ERROR_INIT;
	const struct addrinfo *ai;
	unsigned int left = 0;
	int r;

	if (!*a->u.inet.host)
		return drover_err(e, -EINVAL, "Failed to connect to ':%s': host not specified",
				  a->u.inet.port);
	r = drover_resolve(a, false, o, &list, e);
	if (r < 0)
		return r;
	for (ai = list; ai; ai = ai->ai_next)
		left++;
	for (ai = list; ai; ai = ai->ai_next) {
		drover_err_clear(&last);
		r = try_one(a, ai, o, o->deadline ? share(o->deadline, left--) : 0, ret, &last);
		if (!r)
			return 0;
		if (r == -ECANCELED)
			break;
	}
	return drover_err(e, r, "%s", last.msg);
}

/* ---- listen ---- */

static int bind_port(int fd, const struct addrinfo *ai, unsigned int port)
{
	struct sockaddr_storage sa = { 0 };

	memcpy(&sa, ai->ai_addr, ai->ai_addrlen);
	if (ai->ai_family == AF_INET6)
		((struct sockaddr_in6 *)&sa)->sin6_port = htons((uint16_t)port);
	else
		((struct sockaddr_in *)&sa)->sin_port = htons((uint16_t)port);
	/* with SO_REUSEADDR two sockets can bind one port; the second one's listen() fails */
	if (bind(fd, (struct sockaddr *)&sa, ai->ai_addrlen) < 0 || listen(fd, SOMAXCONN) < 0)
		return -errno;
	return 0;
}

static unsigned int port_of(const struct addrinfo *ai)
{
	return ntohs(ai->ai_family == AF_INET6 ?
		     ((const struct sockaddr_in6 *)ai->ai_addr)->sin6_port :
		     ((const struct sockaddr_in *)ai->ai_addr)->sin_port);
}

/* Listen on the first free port of the range on one address. */
static int listen_one(const struct drover_address *a, const struct addrinfo *ai, int *ret,
		      struct drover_error *e)
{
	unsigned int first = port_of(ai), last = a->u.inet.to ? a->u.inet.to : first, port;
	int r = -EADDRINUSE;

	for (port = first; port <= last; port++) {
		_cleanup_close_ int fd = -EBADF;

		r = make_socket(a, ai, &fd, e);
		if (r < 0)
			return r;
		set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
		if (ai->ai_family == AF_INET6)
			set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY,
				*a->u.inet.host || a->u.inet.ipv4 == DROVER_OFF);
		r = bind_port(fd, ai, port);
		if (!r) {
			*ret = TAKE_FD(fd);
			return 0;
		}
		if (r != -EADDRINUSE)
			break;
	}
	if (r == -EADDRINUSE && last > first)
		return drover_err(e, r, "Failed to find an available port: %s", drover_strerror(r));
	return drover_err(e, r, "Failed to bind socket: %s", drover_strerror(r));
}

int drover_inet_listen(const struct drover_address *a, const struct drover_channel_opts *o,
		       int *ret, struct drover_error *e)
{
	_cleanup_(freeaddrinfop) struct addrinfo *list = NULL;
	struct drover_error last = DROVER_ERROR_INIT;
	const struct addrinfo *ai;
	unsigned int pass;
	int r = drover_resolve(a, true, o, &list, e);

	if (r < 0)
		return r;
	/* Without a host IPv6 is tried first, since its one socket also serves IPv4. */
	for (pass = 0; pass < 2; pass++)
		for (ai = list; ai; ai = ai->ai_next) {
			bool first = *a->u.inet.host || ai->ai_family == AF_INET6;

			if (first != !pass)
				continue;
			drover_err_clear(&last);
			r = listen_one(a, ai, ret, &last);
			if (!r)
				return 0;
		}
	return drover_err(e, r, "address %s:%s: %s", a->u.inet.host, a->u.inet.port, last.msg);
}
