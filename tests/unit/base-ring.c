// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The io_uring wrapper over a socketpair, a pipe, a file and loopback TCP: every
 * operation, its end by a bell or a stall, and the account of notifications.
 */
#define _GNU_SOURCE
#include "base/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cancel.h"
#include "base/clock.h"
#include "base/err.h"

#include "tap.h"

struct late {
	pthread_t thread;
	struct drover_cancel *bell;
	int fd;
	const char *text;
};

/* After 100 ms: ring the bell, or write the text. */
static void *late_main(void *arg)
{
	struct late *l = arg;

	usleep(100000);
	if (l->bell)
		drover_cancel_ring(l->bell);
	if (l->text && write(l->fd, l->text, strlen(l->text)) < 0)
		perror("write");
	return NULL;
}

static ssize_t io1(struct drover_ring *r, enum drover_ring_op op, int fd, void *p, size_t len,
		   uint64_t off, const struct drover_cancel *bell, uint32_t stall_ms)
{
	struct iovec iov = { p, len };
	struct drover_ring_io io = {
		.op = op, .fd = fd, .iov = &iov, .n = 1, .off = off, .bell = bell,
		.stall_ms = stall_ms,
	};

	return drover_ring_run(r, &io);
}

static void test_stream(struct drover_ring *r)
{
	char in[64] = "";
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return;
	tap_ok(io1(r, DROVER_RING_SENDMSG, sv[0], "hello", 5, 0, NULL, 0) == 5, "send");
	tap_ok(io1(r, DROVER_RING_RECVMSG, sv[1], in, sizeof(in), 0, NULL, 0) == 5 &&
	       !strcmp(in, "hello"), "receive what is there");
	tap_ok(io1(r, DROVER_RING_RECVMSG_ALL, sv[1], in, 5, 0, NULL, 50) == -ETIME,
	       "a receive stalls");
	tap_ok(io1(r, DROVER_RING_SENDMSG, sv[0], "abc", 3, 0, NULL, 0) == 3 &&
	       io1(r, DROVER_RING_RECVMSG_ALL, sv[1], in, 5, 0, NULL, 50) == 3 &&
	       !memcmp(in, "abc", 3), "a receive stalled in its middle gives what it has");
	fcntl(sv[1], F_SETFL, O_NONBLOCK);
	{
		struct late l = { .fd = sv[0], .text = "later" };

		pthread_create(&l.thread, NULL, late_main, &l);
		tap_ok(io1(r, DROVER_RING_RECVMSG_ALL, sv[1], in, 5, 0, NULL, 5000) == 5 &&
		       !memcmp(in, "later", 5), "an O_NONBLOCK socket is waited for");
		pthread_join(l.thread, NULL);
	}
	close(sv[0]);
	tap_ok(io1(r, DROVER_RING_RECVMSG, sv[1], in, 5, 0, NULL, 0) == 0, "end of file is 0");
	tap_ok(io1(r, DROVER_RING_SENDMSG, sv[1], in, 5, 0, NULL, 0) == -EPIPE,
	       "a send to nobody: EPIPE, no signal");
	close(sv[1]);
}

static void test_file(struct drover_ring *r)
{
	struct iovec iov[3] = { { "one", 3 }, { "two", 3 }, { "three", 5 } };
	struct drover_ring_io io = { .op = DROVER_RING_WRITEV, .iov = iov, .n = 3, .off = 4096 };
	char in[16] = "";
	int p[2];

	io.fd = memfd_create("ring", MFD_CLOEXEC);
	tap_ok(drover_ring_run(r, &io) == 11 && pread(io.fd, in, 11, 4096) == 11 &&
	       !strcmp(in, "onetwothree"), "a vector written at an offset");
	memset(in, 0, sizeof(in));
	tap_ok(io1(r, DROVER_RING_READV, io.fd, in, 5, 4102, NULL, 0) == 5 &&
	       !strcmp(in, "three"), "read at an offset");
	tap_ok(io1(r, DROVER_RING_READV, io.fd, in, 5, 1 << 20, NULL, 0) == 0,
	       "a read past the end is 0");
	close(io.fd);
	if (pipe2(p, O_CLOEXEC) < 0)
		return;
	memset(in, 0, sizeof(in));
	tap_ok(io1(r, DROVER_RING_WRITEV, p[1], "pipe", 4, (uint64_t)-1, NULL, 0) == 4 &&
	       io1(r, DROVER_RING_READV, p[0], in, 9, (uint64_t)-1, NULL, 0) == 4 &&
	       !strcmp(in, "pipe"), "through a pipe");
	tap_ok(io1(r, DROVER_RING_READV, p[0], in, 9, (uint64_t)-1, NULL, 50) == -ETIME,
	       "a pipe stalls");
	close(p[0]);
	close(p[1]);
}

static void test_bells(struct drover_ring *r)
{
	struct drover_cancel bell, other, stop;
	struct late l = { .bell = &bell };
	struct iovec iov;
	struct drover_ring_io io = { .op = DROVER_RING_RECVMSG, .iov = &iov, .n = 1 };
	uint64_t t0;
	char in[8];
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sv) < 0 || drover_cancel_init(&bell, NULL) ||
	    drover_cancel_init(&other, NULL) || drover_cancel_init(&stop, NULL))
		return;
	iov = (struct iovec){ in, sizeof(in) };
	io.fd = sv[1];
	io.bell = &bell;
	io.bell_gen = 1;
	io.stop = &stop;
	t0 = drover_now_ns();
	pthread_create(&l.thread, NULL, late_main, &l);
	tap_ok(drover_ring_run(r, &io) == -ECANCELED &&
	       drover_now_ns() - t0 < 2 * DROVER_NS_PER_S, "a bell wakes a receive");
	pthread_join(l.thread, NULL);
	tap_ok(drover_ring_run(r, &io) == -ECANCELED, "a rung bell stays rung");
	io.bell = &other;
	io.bell_gen = 2;
	io.stall_ms = 50;
	tap_ok(drover_ring_run(r, &io) == -ETIME, "another bell takes its place");
	l.bell = &other;
	io.stall_ms = 0;
	pthread_create(&l.thread, NULL, late_main, &l);
	tap_ok(drover_ring_run(r, &io) == -ECANCELED, "and wakes");
	pthread_join(l.thread, NULL);
	io.bell = NULL;
	io.bell_gen = 3;
	l.bell = &stop;
	pthread_create(&l.thread, NULL, late_main, &l);
	tap_ok(drover_ring_run(r, &io) == -ESHUTDOWN, "the stop bell wakes with ESHUTDOWN");
	pthread_join(l.thread, NULL);
	tap_ok(write(sv[0], "x", 1) == 1 &&
	       io1(r, DROVER_RING_RECVMSG, sv[1], in, 8, 0, NULL, 0) == 1,
	       "nothing is lost by cancelled receives");
	drover_cancel_deinit(&bell);
	drover_cancel_deinit(&other);
	drover_cancel_deinit(&stop);
	close(sv[0]);
	close(sv[1]);
}

struct handed {
	struct drover_ring *r;
	int fd;
	const struct drover_cancel *bell;
	ssize_t got;
};

static void *handed_main(void *arg)
{
	struct handed *h = arg;

	h->got = io1(h->r, DROVER_RING_SENDMSG, h->fd, "abc", 3, 0, h->bell, 1000);
	return NULL;
}

/* The bell is armed by a thread that is gone when it rings. */
static void test_threads(void)
{
	struct drover_cancel bell;
	struct handed h = { 0 };
	struct late l = { .bell = &bell };
	pthread_t t;
	char in[8];
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sv) < 0 || drover_cancel_init(&bell, NULL) ||
	    drover_ring_new(&h.r, NULL))
		return;
	h.fd = sv[0];
	h.bell = &bell;
	pthread_create(&t, NULL, handed_main, &h);
	pthread_join(t, NULL);
	tap_ok(h.got == 3 &&
	       io1(h.r, DROVER_RING_RECVMSG, sv[1], in, 8, 0, &bell, 1000) == 3,
	       "a ring goes from thread to thread");
	pthread_create(&l.thread, NULL, late_main, &l);
	tap_ok(io1(h.r, DROVER_RING_RECVMSG, sv[1], in, 8, 0, &bell, 5000) == -ECANCELED,
	       "a bell armed by a thread that is gone still wakes");
	pthread_join(l.thread, NULL);
	h.r = drover_ring_free(h.r);
	drover_cancel_deinit(&bell);
	close(sv[0]);
	close(sv[1]);
}

static int tcp_pair(int sv[2])
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(a);
	int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	sv[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(l, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(l, 1) < 0 ||
	    getsockname(l, (struct sockaddr *)&a, &len) < 0 ||
	    connect(sv[0], (struct sockaddr *)&a, sizeof(a)) < 0)
		return -errno;
	sv[1] = accept(l, NULL, NULL);
	close(l);
	return sv[1] < 0 ? -errno : 0;
}

#define ZC_SENDS 40

static void test_zerocopy(void)
{
	static char out[65536], in[65536];
	struct drover_ring *tx, *rx;
	struct drover_ring_io idle = { .stall_ms = 5000 };
	struct drover_ring_zc zc;
	bool sent = true, same = true;
	int sv[2] = { -1, -1 }, i;

	if (drover_ring_new(&tx, NULL) || drover_ring_new(&rx, NULL) || tcp_pair(sv))
		return;
	memset(out, 0x5a, sizeof(out));
	for (i = 0; i < ZC_SENDS; i++) {
		ssize_t n = io1(tx, DROVER_RING_SENDMSG_ZC, sv[0], out, sizeof(out), 0, NULL,
				5000);

		if (!i && (n == -EOPNOTSUPP || n == -EINVAL)) {
			tap_skip("this kernel has no IORING_OP_SENDMSG_ZC (Linux 6.1)");
			return;
		}
		sent = sent && n == sizeof(out);
		memset(in, 0, sizeof(in));
		n = io1(rx, DROVER_RING_RECVMSG_ALL, sv[1], in, sizeof(in), 0, NULL, 5000);
		same = same && n == sizeof(in) && !memcmp(in, out, sizeof(in));
	}
	tap_ok(sent && same, "%d zero-copy sends arrive", ZC_SENDS);
	tap_ok(!drover_ring_drain(tx, &idle), "all notifications come");
	drover_ring_zc(tx, &zc);
	tap_ok(zc.seq == zc.done && zc.seq == ZC_SENDS && zc.notified == ZC_SENDS,
	       "one a send, none missing");
	if (zc.reports)
		tap_ok(zc.copied == zc.notified, "loopback copies, and the kernel says so");
	else
		tap_skip("this kernel has no IORING_SEND_ZC_REPORT_USAGE (Linux 6.2)");
	close(sv[1]);
	for (i = 0; i < 3; i++)
		io1(tx, DROVER_RING_SENDMSG_ZC, sv[0], out, sizeof(out), 0, NULL, 1000);
	tap_ok(io1(tx, DROVER_RING_SENDMSG_ZC, sv[0], out, sizeof(out), 0, NULL, 1000) < 0,
	       "a zero-copy send to nobody fails");
	tap_ok(!drover_ring_drain(tx, &idle), "failed sends leave nothing outstanding");
	close(sv[0]);
	tx = drover_ring_free(tx);
	rx = drover_ring_free(rx);
}

/* Where io_uring is switched off, people must read how to switch it on. */
static int denied_child(int err)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned int)err),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { sizeof(code) / sizeof(code[0]), code };
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_ring *r;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
		return 77;
	if (drover_ring_new(&r, &e) != -err)
		return 1;
	tap_diag("%s", e.msg);
	return !strstr(e.msg, "kernel.io_uring_disabled") || !strstr(e.msg, "seccomp");
}

static void test_denied(int err)
{
	pid_t pid = fork();
	int status = 0;

	if (!pid)
		_exit(denied_child(err));
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		tap_skip("this kernel has no seccomp filters");
	else
		tap_ok(!status, "a kernel without io_uring is named as the cause (errno %d)", err);
}

int main(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_ring *r;

	if (drover_ring_new(&r, &e)) {
		tap_skip("%s", e.msg);
		return tap_done();
	}
	test_stream(r);
	test_file(r);
	test_bells(r);
	test_threads();
	test_zerocopy();
	test_denied(EPERM);
	test_denied(ENOSYS);
	tap_ok(!drover_ring_free(r), "a ring is freed");
	return tap_done();
}
