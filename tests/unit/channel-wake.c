// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Nothing that blocks can't be woken: bells, deadlines, stalls, shutdown and resets, for
 * each step that waits.
 */
#include "channel/channel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"

#include "tap.h"

static char big[1 << 20];

struct later {
	pthread_t thread;
	struct drover_cancel *bell;
	struct drover_channel *ch;
};

static void *later_main(void *arg)
{
	struct later *l = arg;

	usleep(100000);
	if (l->bell)
		drover_cancel_ring(l->bell);
	if (l->ch)
		drover_channel_shutdown(l->ch);
	return NULL;
}

static struct drover_channel_opts opts(struct drover_cancel *bell, uint32_t deadline_ms,
				       uint32_t stall_ms)
{
	return (struct drover_channel_opts){
		.cancel = bell, .deadline = drover_deadline_ms(deadline_ms),
		.stall_ms = stall_ms, .fd = -1,
	};
}

/* Did it return r, between 50 ms and 3 s after t0? */
static bool woken(int r, int want, uint64_t t0, const char *what, const struct drover_error *e)
{
	uint64_t ms = (drover_now_ns() - t0) / DROVER_NS_PER_MS;

	return tap_ok(r == want && ms >= 50 && ms < 3000, "%s: %s, after %u ms", what,
		      e ? e->msg : "", (unsigned int)ms);
}

static int io(struct drover_channel *ch, bool send, size_t len, struct drover_error *e)
{
	struct iovec iov = { big, len };
	size_t got;

	if (!send)
		return drover_channel_recvv(ch, &iov, 1, len, &got, e);
	return drover_channel_sendv(ch, &iov, 1, 0, e);
}

/* Until the peer's buffers are full and it blocks. */
static int send_for_ever(struct drover_channel *ch, struct drover_error *e)
{
	int r;

	do
		r = io(ch, true, sizeof(big), e);
	while (!r);
	return r;
}

enum pair_kind { PAIR_TCP, PAIR_UNIX, PAIR_PIPE, PAIR_EXEC, PAIR_COUNT };

static const char *const pair_names[] = { "tcp", "socket pair", "pipe", "exec" };

static int tcp_pair(int sv[2])
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(a);
	int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	sv[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	sv[1] = -1;
	if (!bind(l, (struct sockaddr *)&a, sizeof(a)) && !listen(l, 1) &&
	    !getsockname(l, (struct sockaddr *)&a, &len) &&
	    !connect(sv[0], (struct sockaddr *)&a, sizeof(a)))
		sv[1] = accept(l, NULL, NULL);
	close(l);
	return sv[1] < 0 ? -1 : 0;
}

/* a sends, b receives; b is NULL for exec, whose peer does neither. */
static bool make_pair(enum pair_kind kind, struct drover_cancel *bell, uint32_t stall_ms,
		      struct drover_channel **a, struct drover_channel **b)
{
	struct drover_channel_opts o = opts(bell, 0, stall_ms), in = o;
	struct drover_address cmd = { 0 };
	int fd[2], r;

	*a = *b = NULL;
	in.incoming = true;
	if (kind == PAIR_EXEC) {
		drover_address_from_uri("exec:exec sleep 60", &cmd, NULL);
		r = drover_channel_connect(&cmd, &o, a, NULL);
		drover_address_deinit(&cmd);
		return !r;
	}
	if (kind == PAIR_PIPE) {
		r = pipe(fd);
		if (!r) {
			int t = fd[0];

			fd[0] = fd[1];
			fd[1] = t;
		}
	} else {
		r = kind == PAIR_TCP ? tcp_pair(fd) : socketpair(AF_UNIX, SOCK_STREAM, 0, fd);
	}
	return !r && !drover_channel_from_fd(fd[0], "a", &o, a, NULL) &&
	       !drover_channel_from_fd(fd[1], "b", &in, b, NULL);
}

static void test_cancel(enum pair_kind kind)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_channel *a, *b;
	struct drover_cancel bell;
	struct later l = { .bell = &bell };
	char what[64];
	uint64_t t0;
	int i;

	for (i = 0; i < 3; i++) {
		int r;

		if (drover_cancel_init(&bell, NULL) || !make_pair(kind, &bell, 0, &a, &b)) {
			tap_ok(false, "%s", pair_names[kind]);
			return;
		}
		drover_err_clear(&e);
		t0 = drover_now_ns();
		pthread_create(&l.thread, NULL, later_main, &l);
		snprintf(what, sizeof(what), "%s: a bell wakes %s", pair_names[kind],
			 i == 0 ? "a send" : i == 1 ? "a receive" : "poll");
		if (i == 0)
			r = send_for_ever(a, &e);
		else if (i == 1)
			r = io(b ? b : a, false, 16, &e);
		else
			r = drover_channel_poll_in(b ? b : a, 0);
		woken(r, -ECANCELED, t0, what, &e);
		pthread_join(l.thread, NULL);
		a = drover_channel_free(a);
		b = drover_channel_free(b);
		drover_cancel_deinit(&bell);
	}
}

static void test_shutdown(enum pair_kind kind)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_channel *a, *b;
	struct later l = { 0 };
	char what[64];
	uint64_t t0;
	int i;

	for (i = 0; i < 3; i++) {
		int r;

		if (!make_pair(kind, NULL, 0, &a, &b)) {
			tap_ok(false, "%s", pair_names[kind]);
			return;
		}
		drover_err_clear(&e);
		l.ch = i && b ? b : a;
		t0 = drover_now_ns();
		pthread_create(&l.thread, NULL, later_main, &l);
		snprintf(what, sizeof(what), "%s: shutdown wakes %s", pair_names[kind],
			 i == 0 ? "a send" : i == 1 ? "a receive" : "poll");
		if (i == 0)
			r = send_for_ever(l.ch, &e);
		else if (i == 1)
			r = io(l.ch, false, 16, &e);
		else
			r = drover_channel_poll_in(l.ch, 0);
		woken(r, -ESHUTDOWN, t0, what, &e);
		pthread_join(l.thread, NULL);
		drover_err_clear(&e);
		tap_ok(io(l.ch, !i, 1, &e) == -ESHUTDOWN, "... and it stays shut: %s", e.msg);
		a = drover_channel_free(a);
		b = drover_channel_free(b);
	}
}

static void test_stall(enum pair_kind kind)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_channel *a, *b;
	char what[64];
	uint64_t t0 = drover_now_ns();

	if (!make_pair(kind, NULL, 200, &a, &b)) {
		tap_ok(false, "%s", pair_names[kind]);
		return;
	}
	snprintf(what, sizeof(what), "%s: a send stalls", pair_names[kind]);
	woken(send_for_ever(a, &e), -ETIMEDOUT, t0, what, &e);
	a = drover_channel_free(a);
	b = drover_channel_free(b);
	if (!make_pair(kind, NULL, 60000, &a, &b))
		return;
	drover_channel_set_stall(b ? b : a, 200);
	drover_err_clear(&e);
	t0 = drover_now_ns();
	snprintf(what, sizeof(what), "%s: a receive stalls", pair_names[kind]);
	woken(io(b ? b : a, false, 16, &e), -ETIMEDOUT, t0, what, &e);
	tap_ok(strstr(e.msg, "200 ms"), "... and says for how long");
	a = drover_channel_free(a);
	b = drover_channel_free(b);
}

/* A slow peer is no stall. */
static void *drip(void *arg)
{
	int i;

	for (i = 0; i < 8; i++) {
		usleep(60000);
		io(arg, true, 2, NULL);
	}
	return NULL;
}

static void test_drip(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_channel *a, *b;
	pthread_t t;

	if (!make_pair(PAIR_TCP, NULL, 150, &a, &b))
		return;
	pthread_create(&t, NULL, drip, a);
	tap_ok(!io(b, false, 16, &e), "two bytes every 60 ms do not stall at 150 ms %s", e.msg);
	pthread_join(t, NULL);
	a = drover_channel_free(a);
	b = drover_channel_free(b);
}

/* ---- connect and accept ---- */

/* A listener with a full backlog: a UNIX connect then blocks. */
static void test_connect_unix(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct drover_cancel bell;
	struct later l = { .bell = &bell };
	struct drover_channel_opts o = opts(&bell, 30000, 0);
	char name[64];
	struct drover_address a = { .transport = DROVER_TRANSPORT_UNIX };
	struct drover_channel *ch = NULL;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), c = socket(AF_UNIX, SOCK_STREAM, 0);
	socklen_t len;
	uint64_t t0;

	snprintf(name, sizeof(name), "drover-wake-%d", (int)getpid());
	strcpy(un.sun_path + 1, name);
	len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
	a.u.unix_.path = name;
	a.u.unix_.abstract = DROVER_ON;
	a.u.unix_.tight = DROVER_UNSET;
	if (bind(fd, (struct sockaddr *)&un, len) || listen(fd, 0) ||
	    connect(c, (struct sockaddr *)&un, len) || drover_cancel_init(&bell, NULL))
		return;
	t0 = drover_now_ns();
	pthread_create(&l.thread, NULL, later_main, &l);
	woken(drover_channel_connect(&a, &o, &ch, &e), -ECANCELED, t0, "connect, bell", &e);
	pthread_join(l.thread, NULL);
	drover_err_clear(&e);
	o = opts(NULL, 150, 0);
	t0 = drover_now_ns();
	woken(drover_channel_connect(&a, &o, &ch, &e), -ETIMEDOUT, t0, "connect, deadline", &e);
	close(fd);
	close(c);
	drover_cancel_deinit(&bell);
}

/* The same by TCP: SYNs to a full backlog are dropped. */
static void test_connect_tcp(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct sockaddr_in sa = { .sin_family = AF_INET,
				  .sin_addr = { htonl(INADDR_LOOPBACK) } };
	struct drover_cancel bell;
	struct later l = { .bell = &bell };
	struct drover_channel_opts o = opts(&bell, 30000, 0);
	struct drover_address a = { 0 };
	struct drover_channel *ch = NULL;
	int fd = socket(AF_INET, SOCK_STREAM, 0), c[4], i;
	socklen_t len = sizeof(sa);
	char text[64];
	uint64_t t0;

	if (bind(fd, (struct sockaddr *)&sa, len) || listen(fd, 0) ||
	    getsockname(fd, (struct sockaddr *)&sa, &len) || drover_cancel_init(&bell, NULL))
		return;
	for (i = 0; i < 4; i++) {
		c[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		if (connect(c[i], (struct sockaddr *)&sa, len) && errno != EINPROGRESS)
			return;
	}
	snprintf(text, sizeof(text), "tcp:127.0.0.1:%d", ntohs(sa.sin_port));
	drover_address_from_uri(text, &a, NULL);
	t0 = drover_now_ns();
	pthread_create(&l.thread, NULL, later_main, &l);
	woken(drover_channel_connect(&a, &o, &ch, &e), -ECANCELED, t0, "connect, bell", &e);
	pthread_join(l.thread, NULL);
	drover_err_clear(&e);
	o = opts(NULL, 150, 0);
	t0 = drover_now_ns();
	woken(drover_channel_connect(&a, &o, &ch, &e), -ETIMEDOUT, t0, "connect, deadline", &e);
	for (i = 0; i < 4; i++)
		close(c[i]);
	close(fd);
	drover_address_deinit(&a);
	drover_cancel_deinit(&bell);
}

static void test_accept(const char *uri)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_cancel bell;
	struct later l = { .bell = &bell };
	struct drover_channel_opts o = opts(&bell, 30000, 0);
	struct drover_address a = { 0 };
	struct drover_listener *ln = NULL;
	struct drover_channel *ch = NULL;
	uint64_t t0;

	if (drover_cancel_init(&bell, NULL) || drover_address_from_uri(uri, &a, NULL) ||
	    drover_listener_new(&a, &o, &ln, NULL))
		return;
	t0 = drover_now_ns();
	pthread_create(&l.thread, NULL, later_main, &l);
	woken(drover_listener_accept(ln, &o, &ch, &e), -ECANCELED, t0, "accept, bell", &e);
	pthread_join(l.thread, NULL);
	drover_err_clear(&e);
	o = opts(NULL, 150, 0);
	t0 = drover_now_ns();
	woken(drover_listener_accept(ln, &o, &ch, &e), -ETIMEDOUT, t0, "accept, deadline", &e);
	ln = drover_listener_free(ln);
	drover_address_deinit(&a);
	drover_cancel_deinit(&bell);
}

static void test_rung_before(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_cancel bell;
	struct drover_channel_opts o = opts(&bell, 30000, 0);
	struct drover_address a = { 0 };
	struct drover_channel *ch = NULL;

	if (drover_cancel_init(&bell, NULL))
		return;
	drover_cancel_ring(&bell);
	drover_address_from_uri("tcp:name.invalid:1", &a, NULL);
	tap_ok(drover_channel_connect(&a, &o, &ch, &e) == -ECANCELED,
	       "a name is not waited for when the bell has rung: %s", e.msg);
	drover_address_deinit(&a);
	drover_cancel_deinit(&bell);
}

/* ---- a channel that outlives its migration's bell; resets ---- */

static void test_set_cancel(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_cancel bell;
	struct later l = { .bell = &bell };
	struct drover_channel *a, *b;
	uint64_t t0;

	if (drover_cancel_init(&bell, NULL) || !make_pair(PAIR_TCP, &bell, 1000, &a, &b))
		return;
	tap_ok(!io(a, true, 8, &e) && !io(b, false, 8, &e), "bell armed");
	drover_cancel_ring(&bell);
	tap_ok(io(a, true, 8, &e) == -ECANCELED, "rung");
	drover_channel_set_cancel(a, NULL);
	drover_channel_set_cancel(b, NULL);
	drover_cancel_deinit(&bell);
	drover_err_clear(&e);
	tap_ok(!io(a, true, 8, &e) && !io(b, false, 8, &e), "forgotten: bytes flow again %s",
	       e.msg);
	/* the new bell has the old one's address and very likely its descriptor */
	if (drover_cancel_init(&bell, NULL))
		return;
	drover_channel_set_cancel(b, &bell);
	t0 = drover_now_ns();
	pthread_create(&l.thread, NULL, later_main, &l);
	woken(io(b, false, 8, &e), -ECANCELED, t0, "another bell", &e);
	pthread_join(l.thread, NULL);
	a = drover_channel_free(a);
	b = drover_channel_free(b);
	drover_cancel_deinit(&bell);
}

static void test_reset(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_channel_opts o = opts(NULL, 0, 5000);
	struct linger now = { 1, 0 };
	struct drover_channel *a = NULL;
	int sv[2];

	if (tcp_pair(sv) || drover_channel_from_fd(sv[0], "a", &o, &a, NULL))
		return;
	drover_channel_set_name(a, "data/1");
	tap_ok(!io(a, true, 8, &e), "alive");
	setsockopt(sv[1], SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(sv[1]);
	tap_ok(io(a, false, 8, &e) == -ECONNRESET &&
	       !strcmp(e.msg, "channel data/1: receive: Connection reset by peer"), "%s", e.msg);
	drover_err_clear(&e);
	tap_ok(send_for_ever(a, &e) == -EPIPE, "%s", e.msg);
	a = drover_channel_free(a);
}

int main(void)
{
	int kind;

	for (kind = 0; kind < PAIR_COUNT; kind++) {
		test_cancel((enum pair_kind)kind);
		test_shutdown((enum pair_kind)kind);
		test_stall((enum pair_kind)kind);
	}
	test_drip();
	test_connect_unix();
	test_connect_tcp();
	test_accept("tcp:127.0.0.1:0");
	test_rung_before();
	test_set_cancel();
	test_reset();
	return tap_done();
}
