// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Zero-copy: what arrives is right, every send's buffers come back, and where the kernel
 * copies anyway a channel stops asking within its first few sends and says why.
 */
#include "channel/channel.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"

#include "tap.h"

#define LEN 262144u
#define PAGES (LEN / 4096)
#define SENDS 200u

static uint8_t block[LEN], in[LEN];

struct reader {
	pthread_t thread;
	struct drover_channel *ch;
	unsigned int n;
	bool same;
};

static void *reader_main(void *arg)
{
	struct reader *r = arg;
	unsigned int i;

	r->same = true;
	for (i = 0; i < r->n && r->same; i++) {
		struct iovec iov = { in, LEN };
		size_t got = 0;

		r->same = !drover_channel_recvv(r->ch, &iov, 1, LEN, &got, NULL) &&
			  !memcmp(in, block, LEN);
	}
	return NULL;
}

/* A block as the engine sends it: a head and many pages. */
static int send_block(struct drover_channel *ch, unsigned int flags, struct drover_error *e)
{
	struct iovec iov[PAGES];
	unsigned int i;

	for (i = 0; i < PAGES; i++)
		iov[i] = (struct iovec){ block + i * 4096, 4096 };
	return drover_channel_sendv(ch, iov, PAGES, flags, e);
}

static bool tcp(struct drover_channel **a, struct drover_channel **b, struct drover_cancel *bell)
{
	struct drover_channel_opts o = { .cancel = bell, .stall_ms = 10000, .fd = -1 };
	struct drover_address at = { 0 };
	struct drover_listener *l = NULL;
	bool ok;

	o.deadline = drover_deadline_ms(5000);
	drover_address_from_uri("tcp:127.0.0.1:0", &at, NULL);
	ok = !drover_listener_new(&at, &o, &l, NULL) &&
	     !drover_channel_connect(drover_listener_address(l), &o, a, NULL) &&
	     !drover_listener_accept(l, &o, b, NULL);
	drover_listener_free(l);
	drover_address_deinit(&at);
	return ok;
}

static void test_loopback(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_channel *a = NULL, *b = NULL;
	struct drover_channel_stats *st;
	struct reader r = { .n = SENDS };
	bool ok = true, ordered = true;
	uint64_t last = 0;
	unsigned int i;

	if (!tap_ok(tcp(&a, &b, NULL), "connected"))
		return;
	tap_ok(!drover_channel_zc_reason(a) && drover_channel_zc_seq(a) == 0, "a fresh channel");
	r.ch = b;
	st = drover_channel_stats(a);
	pthread_create(&r.thread, NULL, reader_main, &r);
	for (i = 0; i < SENDS && ok; i++) {
		uint64_t done = drover_channel_zc_done(a);

		ok = !send_block(a, DROVER_SEND_ZC, &e);
		ordered = ordered && done >= last && done <= drover_channel_zc_seq(a);
		last = done;
	}
	pthread_join(r.thread, NULL);
	tap_ok(ok && r.same, "%u blocks arrive %s", SENDS, e.msg);
	tap_ok(ordered, "what is done only grows");
	tap_ok(!drover_channel_drain(a, &e) && drover_channel_zc_pending(a) == 0 &&
	       drover_channel_zc_done(a) == drover_channel_zc_seq(a), "drained: nothing pending");
	tap_ok(st->zc_off && drover_channel_zc_reason(a), "fell back: %s",
	       drover_channel_zc_reason(a));
	tap_ok(st->zc_sends <= 16, "within the first few sends: %u",
	       (unsigned int)st->zc_sends);
	tap_ok(st->tx_bytes == (uint64_t)LEN * SENDS, "all bytes counted once");
	tap_diag("%u notifications, %u of them copies", (unsigned int)st->zc_sends,
		 (unsigned int)st->zc_copied);
	a = drover_channel_free(a);
	b = drover_channel_free(b);
}

static void test_small(void)
{
	struct drover_channel *a = NULL, *b = NULL;
	struct iovec iov = { block, 1000 };

	if (!tcp(&a, &b, NULL))
		return;
	drover_channel_sendv(a, &iov, 1, DROVER_SEND_ZC, NULL);
	tap_ok(drover_channel_zc_seq(a) == 0, "a small send is not worth a notification");
	tap_ok(!drover_channel_zc_reason(a), "... and judges nothing");
	a = drover_channel_free(a);
	b = drover_channel_free(b);
}

static void test_unix(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_channel_opts o = { .stall_ms = 10000, .fd = -1 };
	struct drover_channel *a = NULL, *b = NULL;
	struct reader r = { .n = 4 };
	int sv[2], i, bad = 0;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sv) ||
	    drover_channel_from_fd(sv[0], "a", &o, &a, NULL) ||
	    drover_channel_from_fd(sv[1], "b", &o, &b, NULL))
		return;
	r.ch = b;
	pthread_create(&r.thread, NULL, reader_main, &r);
	for (i = 0; i < 4; i++)
		bad |= send_block(a, DROVER_SEND_ZC, &e);
	pthread_join(r.thread, NULL);
	tap_ok(!bad && r.same && drover_channel_stats(a)->zc_off && drover_channel_zc_reason(a),
	       "a UNIX socket sends plainly: %s", drover_channel_zc_reason(a));
	a = drover_channel_free(a);
	b = drover_channel_free(b);
}

/* The peer reads nothing: notifications are outstanding when the channel goes. */
static void test_free_pending(bool ring)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_channel *a = NULL, *b = NULL;
	struct drover_cancel bell;
	unsigned int pending;
	uint64_t t0;
	int r = 0;

	if (drover_cancel_init(&bell, NULL) || !tcp(&a, &b, &bell))
		return;
	drover_channel_set_stall(a, 100);
	while (!r)
		r = send_block(a, DROVER_SEND_ZC, &e);
	pending = drover_channel_zc_pending(a);
	tap_ok(r == -ETIMEDOUT && pending > 0, "the peer reads nothing: %u pending", pending);
	drover_err_clear(&e);
	tap_ok(drover_channel_drain(a, &e) == -ETIMEDOUT, "drain stalls: %s", e.msg);
	if (ring)
		drover_cancel_ring(&bell);
	t0 = drover_now_ns();
	a = drover_channel_free(a);
	tap_ok(drover_now_ns() - t0 < DROVER_NS_PER_S, "a broken connection is freed at once");
	b = drover_channel_free(b);
	drover_cancel_deinit(&bell);
}

/* What was sent before a plain free must still reach the peer. */
static void test_free_delivers(void)
{
	struct drover_channel *a = NULL, *b = NULL;
	struct reader r = { .n = 3 };
	int i;

	if (!tcp(&a, &b, NULL))
		return;
	r.ch = b;
	pthread_create(&r.thread, NULL, reader_main, &r);
	for (i = 0; i < 3; i++)
		send_block(a, DROVER_SEND_ZC, NULL);
	a = drover_channel_free(a);
	pthread_join(r.thread, NULL);
	tap_ok(r.same, "free delivers what was sent");
	b = drover_channel_free(b);
}

/* Sends two blocks as a user without CAP_IPC_LOCK and with little memory to lock. */
static int memlock_child(void)
{
	/* enough for the rings themselves, not for a block */
	struct rlimit little = { LEN / 2, LEN / 2 };
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_channel *a = NULL, *b = NULL;
	struct reader r = { .n = 2 };
	const char *why;
	int bad;

	if (geteuid() == 0 && (setgid(65534) || setuid(65534)))
		return 77;
	if (setrlimit(RLIMIT_MEMLOCK, &little) || !tcp(&a, &b, NULL))
		return 1;
	r.ch = b;
	pthread_create(&r.thread, NULL, reader_main, &r);
	bad = send_block(a, DROVER_SEND_ZC, &e) || send_block(a, DROVER_SEND_ZC, &e);
	if (bad)
		drover_channel_shutdown(b);
	pthread_join(r.thread, NULL);
	why = drover_channel_zc_reason(a);
	tap_diag("%s %s", why ? why : "no reason", e.msg);
	bad = bad || !r.same || !why || !strstr(why, "RLIMIT_MEMLOCK");
	drover_channel_free(a);
	drover_channel_free(b);
	return bad;
}

static void test_memlock(void)
{
	pid_t pid = fork();
	int status = 0;

	if (!pid)
		_exit(memlock_child());
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		tap_skip("another user id is needed to feel RLIMIT_MEMLOCK");
	else
		tap_ok(!status, "without memory to lock sends go plainly");
}

int main(void)
{
	unsigned int i;

	for (i = 0; i < LEN; i++)
		block[i] = (uint8_t)(i * 2654435761u >> 13);
	test_loopback();
	test_small();
	test_unix();
	test_free_pending(false);
	test_free_pending(true);
	test_free_delivers();
	test_memlock();
	return tap_done();
}
