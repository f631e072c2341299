// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Socket transports end to end: bytes both ways with checksums, port ranges, stale socket
 * paths, and what refused connections say.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "channel/internal.h"

#include "channel-test.h"

static int make_pair(const struct drover_address *at, struct drover_listener **l,
		     struct drover_channel **a, struct drover_channel **b, struct drover_error *e)
{
	struct drover_channel_opts o = opts();
	int r = drover_listener_new(at, &o, l, e);

	if (r < 0)
		return r;
	r = drover_channel_connect(drover_listener_address(*l), &o, a, e);
	return r < 0 ? r : drover_listener_accept(*l, &o, b, e);
}

static void sockets(const char *what, const struct drover_address *at)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_listener *l = NULL;
	struct drover_channel *a = NULL, *b = NULL;
	int r = make_pair(at, &l, &a, &b, &e);

	if (r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL) {
		tap_skip("%s: %s", what, e.msg);
		drover_listener_free(l);
		return;
	}
	if (!tap_ok(!r, "%s: connected%s%s", what, r ? ": " : "", e.msg))
		return;
	tap_diag("peers %s and %s", drover_channel_peer(a), drover_channel_peer(b));
	tap_ok(drover_channel_offers(a) == drover_address_offers(at), "%s: offers", what);
	both_ways(what, a, b);
	ends(a, b);
	l = drover_listener_free(l);
}

static void uri(const char *text)
{
	struct drover_address a = { 0 };

	if (tap_ok(!drover_address_from_uri(text, &a, NULL), "%s", text))
		sockets(text, &a);
	drover_address_deinit(&a);
}

/* ---- UNIX paths ---- */

static void test_unix(const char *dir)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_channel_opts o = opts();
	struct drover_listener *l = NULL, *l2 = NULL;
	struct drover_address a = { 0 };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	char text[128];
	struct stat st;
	int fd;

	snprintf(text, sizeof(text), "unix:%s/s", dir);
	uri(text);
	drover_address_from_uri(text, &a, NULL);
	tap_ok(lstat(a.u.unix_.path, &st) < 0 && errno == ENOENT, "the path is removed at free");
	snprintf(un.sun_path, sizeof(un.sun_path), "%s/s", dir);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (bind(fd, (struct sockaddr *)&un, sizeof(un)) < 0)
		return;
	close(fd);
	tap_ok(!drover_listener_new(&a, &o, &l, &e), "a stale socket is taken over");
	tap_ok(!lstat(a.u.unix_.path, &st) && (st.st_mode & 0777) == 0600, "its mode is 0600");
	tap_ok(drover_listener_new(&a, &o, &l2, &e) == -EADDRINUSE && strstr(e.msg, dir),
	       "a living one is not: %s", e.msg);
	rename(a.u.unix_.path, text + 5);
	unlink(a.u.unix_.path);
	fd = open(a.u.unix_.path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	l = drover_listener_free(l);
	tap_ok(!lstat(a.u.unix_.path, &st) && S_ISREG(st.st_mode),
	       "a path that is no longer ours is left alone");
	drover_err_clear(&e);
	tap_ok(drover_listener_new(&a, &o, &l, &e) == -EADDRINUSE, "a file is never unlinked");
	unlink(a.u.unix_.path);
	drover_err_clear(&e);
	{
		struct drover_channel *ch;

		tap_ok(drover_channel_connect(&a, &o, &ch, &e) == -ENOENT && strstr(e.msg, dir),
		       "nobody there: %s", e.msg);
	}
	drover_address_deinit(&a);
}

static void test_abstract(void)
{
	char name[64];
	struct drover_address a = { .transport = DROVER_TRANSPORT_UNIX };
	int i;

	snprintf(name, sizeof(name), "drover-test-%d", (int)getpid());
	for (i = 0; i < 2; i++) {
		a.u.unix_.path = name;
		a.u.unix_.abstract = DROVER_ON;
		a.u.unix_.tight = i ? DROVER_OFF : DROVER_UNSET;
		sockets(i ? "abstract, not tight" : "abstract", &a);
	}
}

/* ---- inet ---- */

static void test_ports(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_channel_opts o = opts();
	struct drover_address a = { 0 };
	struct drover_listener *l[3] = { NULL };
	const struct drover_address *at;
	struct drover_channel *ch;
	char text[64];
	unsigned int port;

	drover_address_from_uri("tcp:127.0.0.1:0", &a, NULL);
	if (!tap_ok(!drover_listener_new(&a, &o, &l[0], &e), "port 0"))
		return;
	at = drover_listener_address(l[0]);
	port = (unsigned int)atoi(at->u.inet.port);
	tap_ok(port > 0 && !strcmp(at->u.inet.host, "127.0.0.1"), "the real port is reported: %u",
	       port);
	drover_address_deinit(&a);
	if (port > 65500) {
		tap_skip("no room above port %u", port);
		return;
	}
	snprintf(text, sizeof(text), "tcp:127.0.0.1:%u,to=%u", port, port + 30);
	drover_address_from_uri(text, &a, NULL);
	tap_ok(!drover_listener_new(&a, &o, &l[1], &e) &&
	       atoi(drover_listener_address(l[1])->u.inet.port) > (int)port &&
	       !drover_listener_address(l[1])->u.inet.to, "%s takes %s", text,
	       l[1] ? drover_listener_address(l[1])->u.inet.port : "nothing");
	drover_address_deinit(&a);
	snprintf(text, sizeof(text), "tcp:127.0.0.1:%u,to=%u", port, port);
	drover_address_from_uri(text, &a, NULL);
	drover_err_clear(&e);
	tap_ok(drover_listener_new(&a, &o, &l[2], &e) == -EADDRINUSE &&
	       strstr(e.msg, "127.0.0.1"), "a port in use: %s", e.msg);
	l[0] = drover_listener_free(l[0]);
	drover_err_clear(&e);
	tap_ok(drover_channel_connect(&a, &o, &ch, &e) == -ECONNREFUSED &&
	       strstr(e.msg, "Failed to connect to '127.0.0.1:") &&
	       strstr(e.msg, "Connection refused"), "refused: %s", e.msg);
	l[1] = drover_listener_free(l[1]);
	drover_address_deinit(&a);
}

/* With no host one listener serves both families. */
static void test_any(void)
{
	static const char *const hosts[] = { "127.0.0.1", "::1", "localhost" };
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_channel_opts o = opts();
	struct drover_address a = { 0 };
	struct drover_listener *l = NULL;
	unsigned int i;

	drover_address_from_uri("tcp::0", &a, NULL);
	if (!tap_ok(!drover_listener_new(&a, &o, &l, &e), "listen without a host"))
		return;
	drover_address_deinit(&a);
	for (i = 0; i < DROVER_ARRAY_SIZE(hosts); i++) {
		struct drover_channel *ch = NULL;
		int r;

		drover_address_copy(drover_listener_address(l), &a);
		free(a.u.inet.host);
		a.u.inet.host = strdup(hosts[i]);
		drover_err_clear(&e);
		r = drover_channel_connect(&a, &o, &ch, &e);
		if (r == -EADDRNOTAVAIL || r == -EAFNOSUPPORT || r == -ENETUNREACH)
			tap_skip("this machine has no IPv6: %s", e.msg);
		else
			tap_ok(!r, "%s reaches it %s", hosts[i], e.msg);
		ch = drover_channel_free(ch);
		drover_address_deinit(&a);
	}
	l = drover_listener_free(l);
}

static void test_inet_options(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_channel_opts o = opts();
	struct drover_listener *l = NULL;
	struct drover_channel *a = NULL, *b = NULL;
	struct drover_address at = { 0 };
	int r;

	uri("tcp:127.0.0.1:0,keep-alive=on,keep-alive-count=3,keep-alive-idle=20,"
	    "keep-alive-interval=5");
	drover_address_from_uri("tcp:127.0.0.1:0,keep-alive=on,keep-alive-count=1000", &at, NULL);
	tap_ok(drover_listener_new(&at, &o, &l, &e) == -EINVAL &&
	       strstr(e.msg, "keep-alive-count=1000"), "out of the kernel's range: %s", e.msg);
	drover_address_deinit(&at);
	drover_address_from_uri("tcp:127.0.0.1:0,mptcp=on", &at, NULL);
	drover_err_clear(&e);
	r = make_pair(&at, &l, &a, &b, &e);
	if (r < 0) {
		tap_ok(strstr(e.msg, "mptcp"), "no MPTCP here: %s", e.msg);
	} else {
		both_ways("mptcp", a, b);
		a = drover_channel_free(a);
		b = drover_channel_free(b);
	}
	l = drover_listener_free(l);
	drover_address_deinit(&at);
	drover_address_from_uri("tcp::4444", &at, NULL);
	drover_err_clear(&e);
	tap_ok(drover_channel_connect(&at, &o, &a, &e) == -EINVAL &&
	       strstr(e.msg, "host not specified"), "connect without a host: %s", e.msg);
	drover_address_deinit(&at);
	drover_address_from_uri("tcp:name.invalid:1,numeric=on", &at, NULL);
	drover_err_clear(&e);
	tap_ok(drover_channel_connect(&at, &o, &a, &e) < 0 &&
	       strstr(e.msg, "address resolution failed for name.invalid:1"), "%s", e.msg);
	drover_address_deinit(&at);
	drover_address_from_uri("tcp:127.0.0.1:no-such-service", &at, NULL);
	drover_err_clear(&e);
	tap_ok(drover_channel_connect(&at, &o, &a, &e) < 0 &&
	       strstr(e.msg, "address resolution failed"), "%s", e.msg);
	drover_address_deinit(&at);
}

/* What is queued on loopback stays short of the cache; elsewhere the kernel knows better. */
static void test_queue(const char *where, bool is_short)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_channel *a = NULL, *b = NULL;
	struct drover_listener *l = NULL;
	struct drover_address at = { 0 };
	int size = 0, usual = 0, r;
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	socklen_t len = sizeof(size);

	drover_address_from_uri(where, &at, NULL);
	r = make_pair(&at, &l, &a, &b, &e);
	tap_ok(r >= 0, "%s: %s", where, e.msg);
	getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &usual, &len);
	if (r >= 0 && !getsockopt(a->wfd, SOL_SOCKET, SO_SNDBUF, &size, &len))
		tap_ok(is_short ? size > 0 && size <= 512 * 1024 : size == usual,
		       "%s: send buffer of %d bytes", where, size);
	drover_channel_free(a);
	drover_channel_free(b);
	drover_listener_free(l);
	drover_address_deinit(&at);
}

static void test_others(void)
{
	static const struct {
		const char *uri;
		const char *text;
	} row[] = {
		{ "vsock:2:1", "vsock:2:1" },
		{ "rdma:h:1", "rdma: not built in" },
	};
	unsigned int i;

	for (i = 0; i < DROVER_ARRAY_SIZE(row); i++) {
		struct drover_error e = DROVER_ERROR_INIT;
		struct drover_channel_opts o = opts();
		struct drover_channel *ch = NULL;
		struct drover_listener *l = NULL;
		struct drover_address a = { 0 };

		o.deadline = drover_deadline_ms(500);
		drover_address_from_uri(row[i].uri, &a, NULL);
		tap_ok(drover_channel_connect(&a, &o, &ch, &e) < 0 && strstr(e.msg, row[i].text),
		       "%s", e.msg);
		if (a.transport == DROVER_TRANSPORT_RDMA) {
			drover_err_clear(&e);
			tap_ok(drover_listener_new(&a, &o, &l, &e) == -EOPNOTSUPP, "%s", e.msg);
		}
		drover_address_deinit(&a);
	}
}

int main(void)
{
	char dir[] = "/tmp/drover-test-XXXXXX";
	unsigned int fds = open_fds();

	if (!mkdtemp(dir)) {
		tap_ok(false, "mkdtemp");
		return tap_done();
	}
	uri("tcp:127.0.0.1:0");
	uri("tcp:[::1]:0");
	uri("tcp:localhost:0,ipv4=on");
	test_ports();
	test_any();
	test_inet_options();
	test_queue("tcp:127.0.0.1:0", true);
	test_queue("tcp:[::1]:0", true);
	test_queue("unix:@drover-test-queue", false);
	test_unix(dir);
	test_abstract();
	test_others();
	tap_ok(!rmdir(dir), "nothing is left behind");
	tap_ok(open_fds() == fds, "no descriptor is left open: %u, %u before", open_fds(), fds);
	return tap_done();
}
