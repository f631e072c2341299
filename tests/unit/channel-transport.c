// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Every transport end to end: bytes both ways with checksums, files and pipes, commands
 * and how they end, port ranges, stale socket paths, and what refused connections say.
 */
#define _GNU_SOURCE
#include "channel/channel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <xxhash.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"

#include "tap.h"

#define BIG (24u << 20)
#define PIECES 1500u

static struct drover_channel_opts opts(void)
{
	return (struct drover_channel_opts){
		.deadline = drover_deadline_ms(10000), .stall_ms = 10000, .fd = -1,
	};
}

static uint8_t *noise(size_t len, uint64_t seed)
{
	uint8_t *p = malloc(len);
	size_t i;

	for (i = 0; p && i + 8 <= len; i += 8) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		memcpy(p + i, &seed, 8);
	}
	return p;
}

/* Uneven pieces, some empty, more than one system call takes. */
static void split(struct iovec *iov, uint8_t *p, size_t len)
{
	unsigned int i;
	size_t at = 0;

	for (i = 0; i < PIECES; i++) {
		size_t k = i % 7 == 3 ? 0 : (len / PIECES) + i % 5 * 100;

		if (k > len - at)
			k = len - at;
		if (i == PIECES - 1)
			k = len - at;
		iov[i] = (struct iovec){ p + at, k };
		at += k;
	}
}

struct mover {
	pthread_t thread;
	struct drover_channel *ch;
	uint8_t *p;
	size_t len;
	int r;
	struct drover_error e;
};

static void *send_main(void *arg)
{
	struct mover *m = arg;
	static _Thread_local struct iovec iov[PIECES];

	split(iov, m->p, m->len);
	m->r = drover_channel_sendv(m->ch, iov, PIECES, 0, &m->e);
	return NULL;
}

static void *recv_main(void *arg)
{
	struct mover *m = arg;
	static _Thread_local struct iovec iov[PIECES];
	size_t got = 0;

	split(iov, m->p, m->len);
	m->r = drover_channel_recvv(m->ch, iov, PIECES, m->len, &got, &m->e);
	if (!m->r && got != m->len)
		m->r = -EIO;
	return NULL;
}

static int one(struct drover_channel *ch, bool send, void *p, size_t len, size_t min,
	       size_t *got, struct drover_error *e)
{
	struct iovec iov = { p, len };

	return send ? drover_channel_sendv(ch, &iov, 1, 0, e) :
		      drover_channel_recvv(ch, &iov, 1, min, got, e);
}

/* Full load in both directions at once. */
static void both_ways(const char *what, struct drover_channel *a, struct drover_channel *b)
{
	struct mover m[4] = { 0 };
	uint8_t *x = noise(BIG, 1), *y = noise(BIG, 2);
	uint8_t *x2 = calloc(1, BIG), *y2 = calloc(1, BIG);
	bool ok = true;
	unsigned int i;

	m[0] = (struct mover){ .ch = a, .p = x, .len = BIG };
	m[1] = (struct mover){ .ch = b, .p = x2, .len = BIG };
	m[2] = (struct mover){ .ch = b, .p = y, .len = BIG };
	m[3] = (struct mover){ .ch = a, .p = y2, .len = BIG };
	for (i = 0; i < 4; i++)
		pthread_create(&m[i].thread, NULL, i % 2 ? recv_main : send_main, &m[i]);
	for (i = 0; i < 4; i++) {
		pthread_join(m[i].thread, NULL);
		if (m[i].r)
			tap_diag("%s", m[i].e.msg);
		ok = ok && !m[i].r;
	}
	tap_ok(ok && XXH3_64bits(x, BIG) == XXH3_64bits(x2, BIG) &&
	       XXH3_64bits(y, BIG) == XXH3_64bits(y2, BIG),
	       "%s: %u MiB in %u pieces both ways", what, BIG >> 20, PIECES);
	tap_ok(drover_channel_stats(a)->tx_bytes == BIG &&
	       drover_channel_stats(a)->rx_bytes == BIG &&
	       drover_channel_stats(b)->rx_bytes == BIG, "... all counted");
	free(x);
	free(y);
	free(x2);
	free(y2);
}

/* Ends of a stream, on a connected pair; frees both. */
static void ends(struct drover_channel *a, struct drover_channel *b)
{
	struct drover_error e = DROVER_ERROR_INIT;
	char in[16] = "";
	size_t got = 0;

	tap_ok(!one(a, true, "hello", 5, 0, NULL, &e) &&
	       !one(b, false, in, sizeof(in), 1, &got, &e) && got == 5 && !strcmp(in, "hello"),
	       "a receive of at least 1 takes what is there");
	tap_ok(drover_channel_poll_in(b, drover_deadline_ms(20)) == 0, "nothing to receive");
	one(a, true, "abc", 3, 0, NULL, &e);
	tap_ok(drover_channel_poll_in(b, drover_deadline_ms(2000)) == 1, "something to receive");
	tap_ok(!drover_channel_finish(a, &e), "finish");
	tap_ok(one(b, false, in, 5, 5, &got, &e) == -EPIPE && strstr(e.msg, "after 3 of 5 bytes"),
	       "closed in the middle: %s", e.msg);
	drover_err_clear(&e);
	tap_ok(one(b, false, in, 5, 5, &got, &e) == DROVER_CHANNEL_E_EOF && !e.code,
	       "closed before the first byte");
	tap_ok(!one(b, true, "back", 4, 0, NULL, &e) && !one(a, false, in, 4, 4, &got, &e),
	       "the other direction is open still");
	b = drover_channel_free(b);
	while (!one(a, true, in, sizeof(in), 0, NULL, &e))
		;
	tap_ok(e.code == -EPIPE || e.code == -ECONNRESET, "the peer is gone: %s", e.msg);
	a = drover_channel_free(a);
}

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

/* ---- fd ---- */

static struct drover_channel *from_fd(int fd, bool incoming, struct drover_error *e)
{
	struct drover_channel_opts o = opts();
	struct drover_channel *ch = NULL;

	o.incoming = incoming;
	drover_err_clear(e);
	if (drover_channel_from_fd(fd, "x", &o, &ch, e) < 0)
		return NULL;
	return ch;
}

static void test_fd(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_channel *a, *b;
	char in[8] = "";
	size_t got = 0;
	int sv[2], p[2], fd;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sv) < 0)
		return;
	a = from_fd(sv[0], false, &e);
	b = from_fd(sv[1], true, &e);
	if (!tap_ok(a && b && (drover_channel_offers(a) & DROVER_TRANSPORT_TWOWAY) &&
		    fcntl(sv[0], F_GETFD) == FD_CLOEXEC, "fd: a socket pair"))
		return;
	both_ways("fd", a, b);
	ends(a, b);
	if (pipe(p) < 0)
		return;
	tap_ok(!from_fd(p[0], false, &e) && strstr(e.msg, "not open for writing"), "%s", e.msg);
	tap_ok(!from_fd(p[1], true, &e) && strstr(e.msg, "not open for reading"), "%s", e.msg);
	a = from_fd(p[1], false, &e);
	b = from_fd(p[0], true, &e);
	if (!tap_ok(a && b && !(drover_channel_offers(a) & DROVER_TRANSPORT_TWOWAY),
		    "a pipe is not two-way"))
		return;
	tap_ok(!one(a, true, "pipe", 4, 0, NULL, &e) && !one(b, false, in, 8, 4, &got, &e) &&
	       !strcmp(in, "pipe"), "through a pipe");
	tap_ok(one(b, true, "x", 1, 0, NULL, &e) == -EBADF, "not backwards: %s", e.msg);
	drover_err_clear(&e);
	tap_ok(!drover_channel_finish(a, &e) &&
	       one(b, false, in, 1, 1, &got, &e) == DROVER_CHANNEL_E_EOF, "its end is seen");
	a = drover_channel_free(a);
	b = drover_channel_free(b);
	if (pipe(p) < 0)
		return;
	a = from_fd(p[1], false, &e);
	close(p[0]);
	signal(SIGPIPE, SIG_DFL);
	tap_ok(one(a, true, "x", 1, 0, NULL, &e) == -EPIPE, "no reader: an error, no signal: %s",
	       e.msg);
	a = drover_channel_free(a);
	fd = open("/dev/null", O_RDWR);
	tap_ok(!from_fd(fd, false, &e) && strstr(e.msg, "not a socket"), "%s", e.msg);
	close(fd);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	tap_ok(!from_fd(fd, false, &e) && strstr(e.msg, "not a connected socket"), "%s", e.msg);
	close(fd);
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	tap_ok(!from_fd(fd, false, &e) && strstr(e.msg, "not a stream socket"), "%s", e.msg);
	close(fd);
	tap_ok(!from_fd(-1, false, &e) && e.code == -EBADF, "%s", e.msg);
}

/* ---- file ---- */

static struct drover_channel *open_file(const char *text, bool incoming, struct drover_error *e)
{
	struct drover_channel_opts o = opts();
	struct drover_address a = { 0 };
	struct drover_listener *l = NULL;
	struct drover_channel *ch = NULL;

	drover_err_clear(e);
	o.incoming = incoming;
	if (drover_address_from_uri(text, &a, e) < 0)
		return NULL;
	if (!incoming) {
		drover_channel_connect(&a, &o, &ch, e);
	} else if (!drover_listener_new(&a, &o, &l, e)) {
		struct drover_channel *second;

		drover_listener_accept(l, &o, &ch, e);
		tap_ok(drover_listener_fd(l) == -1 &&
		       drover_listener_accept(l, &o, &second, NULL) == -ENOENT,
		       "file: one channel only");
		l = drover_listener_free(l);
	}
	drover_address_deinit(&a);
	return ch;
}

static void test_file(const char *dir)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_channel *ch;
	struct mover m = { .len = BIG };
	char text[160], path[128], in[16] = "";
	size_t got = 0;
	struct stat st;
	uint8_t *x = noise(BIG, 3);
	int fd;

	snprintf(path, sizeof(path), "%s/f", dir);
	snprintf(text, sizeof(text), "file:%s", path);
	ch = open_file(text, false, &e);
	m = (struct mover){ .ch = ch, .p = x, .len = BIG };
	send_main(&m);
	tap_ok(ch && !m.r && !drover_channel_finish(ch, &e) && !drover_channel_sync(ch, &e) &&
	       !stat(path, &st) && st.st_size == BIG && (st.st_mode & 0777) == 0600,
	       "file: written, synced, mode 0600 %s", m.e.msg);
	ch = drover_channel_free(ch);
	ch = open_file(text, true, &e);
	m = (struct mover){ .ch = ch, .p = calloc(1, BIG), .len = BIG };
	recv_main(&m);
	tap_ok(!m.r && XXH3_64bits(x, BIG) == XXH3_64bits(m.p, BIG), "file: read back");
	tap_ok(one(ch, false, in, 1, 1, &got, &e) == DROVER_CHANNEL_E_EOF, "file: its end");
	ch = drover_channel_free(ch);
	free(m.p);
	free(x);
	snprintf(text, sizeof(text), "file:%s,offset=4k", path);
	ch = open_file(text, false, &e);
	tap_ok(!one(ch, true, "tail", 4, 0, NULL, &e) && !one(ch, true, "end", 3, 0, NULL, &e) &&
	       !stat(path, &st) && st.st_size == 4096 + 7,
	       "file: with an offset the head is kept and the rest replaced");
	ch = drover_channel_free(ch);
	ch = open_file(text, true, &e);
	tap_ok(!one(ch, false, in, 16, 7, &got, &e) && !memcmp(in, "tailend", 7),
	       "file: read from the offset");
	ch = drover_channel_free(ch);
	snprintf(text, sizeof(text), "file:%s,offset=1M", path);
	tap_ok(!open_file(text, true, &e) && strstr(e.msg, "behind the end"), "%s", e.msg);
	tap_ok(!open_file("file:/nonexistent/x", true, &e) && e.code == -ENOENT, "%s", e.msg);
	snprintf(path, sizeof(path), "%s/fifo", dir);
	snprintf(text, sizeof(text), "file:%s", path);
	mkfifo(path, 0600);
	tap_ok(!open_file(text, true, &e) && strstr(e.msg, "not a regular file"), "%s", e.msg);
	unlink(path);
	snprintf(path, sizeof(path), "%s/f", dir);
	fd = open(path, O_RDWR);
	if (lseek(fd, 4096, SEEK_SET) < 0)
		return;
	ch = from_fd(fd, true, &e);
	tap_ok(ch && (drover_channel_offers(ch) & DROVER_TRANSPORT_SEEK) &&
	       !one(ch, false, in, 4, 4, &got, &e) && !memcmp(in, "tail", 4),
	       "fd: a file is read from where it stands");
	ch = drover_channel_free(ch);
	unlink(path);
}

/* ---- exec ---- */

static struct drover_channel *run(const char *cmd, bool one_way, bool incoming,
				  struct drover_error *e)
{
	struct drover_channel_opts o = opts();
	struct drover_channel *ch = NULL;
	struct drover_address a = { 0 };
	char text[256];

	drover_err_clear(e);
	o.one_way = one_way;
	o.incoming = incoming;
	snprintf(text, sizeof(text), "exec:%s", cmd);
	if (!drover_address_from_uri(text, &a, e))
		drover_channel_connect(&a, &o, &ch, e);
	drover_address_deinit(&a);
	return ch;
}

static void test_exec(const char *dir)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_channel_opts o = opts();
	struct drover_channel *ch;
	char *argv[] = { "/nonexistent/command", NULL };
	struct drover_address bad = { .transport = DROVER_TRANSPORT_EXEC, .u.exec.args = argv };
	struct mover m[2] = { 0 };
	uint8_t *x = noise(BIG, 4);
	char text[200], in[16] = "";
	uint64_t t0;
	size_t got = 0;
	struct stat st;

	ch = run("cat", false, false, &e);
	m[0] = (struct mover){ .ch = ch, .p = x, .len = BIG };
	m[1] = (struct mover){ .ch = ch, .p = calloc(1, BIG), .len = BIG };
	pthread_create(&m[0].thread, NULL, send_main, &m[0]);
	recv_main(&m[1]);
	pthread_join(m[0].thread, NULL);
	tap_ok(!m[0].r && !m[1].r && !memcmp(x, m[1].p, BIG) &&
	       (drover_channel_offers(ch) & DROVER_TRANSPORT_TWOWAY), "exec: through cat and back");
	tap_ok(!drover_channel_finish(ch, &e) &&
	       one(ch, false, in, 1, 1, &got, &e) == DROVER_CHANNEL_E_EOF,
	       "exec: cat ends well, and that is no error");
	ch = drover_channel_free(ch);
	free(m[1].p);
	snprintf(text, sizeof(text), "echo noise; sleep 0.2; cat > %s/out", dir);
	ch = run(text, true, false, &e);
	m[0] = (struct mover){ .ch = ch, .p = x, .len = BIG };
	send_main(&m[0]);
	snprintf(text, sizeof(text), "%s/out", dir);
	tap_ok(!m[0].r && !(drover_channel_offers(ch) & DROVER_TRANSPORT_TWOWAY) &&
	       !drover_channel_finish(ch, &e) && !drover_channel_sync(ch, &e) &&
	       !stat(text, &st) && st.st_size == BIG,
	       "exec: sync waits until a one-way command has taken all");
	ch = drover_channel_free(ch);
	unlink(text);
	free(x);
	ch = run("cat > /dev/null; exit 3", true, false, &e);
	one(ch, true, "x", 1, 0, NULL, &e);
	drover_channel_finish(ch, &e);
	tap_ok(drover_channel_sync(ch, &e) < 0 && strstr(e.msg, "exited with status 3"),
	       "exec: %s", e.msg);
	ch = drover_channel_free(ch);
	ch = run("exit 7", false, true, &e);
	tap_ok(one(ch, false, in, 1, 1, &got, &e) == -EPIPE &&
	       strstr(e.msg, "exited with status 7"), "exec: %s", e.msg);
	ch = drover_channel_free(ch);
	ch = run("kill -9 $$", false, false, &e);
	while (!one(ch, true, in, sizeof(in), 0, NULL, &e))
		;
	tap_ok(strstr(e.msg, "killed by signal 9"), "exec: %s", e.msg);
	ch = drover_channel_free(ch);
	drover_err_clear(&e);
	tap_ok(drover_channel_connect(&bad, &o, &ch, &e) == -ENOENT &&
	       strstr(e.msg, "/nonexistent/command"), "%s", e.msg);
	ch = run("trap '' TERM; sleep 60 & wait; sleep 60", false, false, &e);
	drover_channel_shutdown(ch);
	t0 = drover_now_ns();
	ch = drover_channel_free(ch);
	tap_ok(drover_now_ns() - t0 < 3 * DROVER_NS_PER_S, "exec: a stubborn command is killed");
}

int main(void)
{
	char dir[] = "/tmp/drover-test-XXXXXX";

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
	test_unix(dir);
	test_abstract();
	test_others();
	test_fd();
	test_file(dir);
	test_exec(dir);
	tap_ok(!rmdir(dir), "nothing is left behind");
	return tap_done();
}
