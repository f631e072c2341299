// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Descriptors through which a device may write to a process's memory late: each is found
 * and named, what looks like one and is none is not.
 */
#define _GNU_SOURCE
#include "dev/devices.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tap.h"

static struct drover_devices look(void)
{
	struct drover_devices d;

	if (drover_devices_look(getpid(), &d) < 0)
		abort();
	return d;
}

static void direct(const char *path, int flags, bool counts)
{
	int fd = open(path, flags | O_CLOEXEC);
	struct drover_devices d = look();

	if (fd < 0) {
		tap_skip("open %s with flags 0%o: %s", path, (unsigned int)flags, strerror(errno));
		return;
	}
	tap_ok(counts ? d.n == 1 && strstr(d.text, "1 file opened with O_DIRECT (/") : d.n == 0,
	       "flags 0%o: %u %s", (unsigned int)flags, d.n, d.text);
	close(fd);
	d = look();
	tap_ok(d.n == 0 && !*d.text, "closed: none");
}

static void several(const char *path)
{
	int a = open(path, O_RDWR | O_DIRECT), b = open(path, O_RDONLY | O_DIRECT);
	struct drover_devices d = look();

	tap_ok(a < 0 || (d.n == 2 && strstr(d.text, "2 files opened")), "two: %s", d.text);
	close(a);
	close(b);
}

static void rings(void)
{
	static char buf[4096] __attribute__((aligned(4096)));
	struct iovec iov = { buf, sizeof(buf) };
	struct drover_devices d;
	struct io_uring ring;
	int r = io_uring_queue_init(8, &ring, 0);

	if (r < 0) {
		tap_skip("io_uring: %s", strerror(-r));
		return;
	}
	d = look();
	tap_ok(d.n == 0, "an io_uring without buffers");
	r = io_uring_register_buffers(&ring, &iov, 1);
	d = look();
	tap_ok(!r && d.n == 1 && strstr(d.text, "1 io_uring with registered buffers"),
	       "with a registered buffer: %s", d.text);
	io_uring_unregister_buffers(&ring);
	d = look();
	tap_ok(d.n == 0, "without it again");
	io_uring_queue_exit(&ring);
}

static void harmless(void)
{
	int p[2], q[2], fd = memfd_create("x", MFD_CLOEXEC), null = open("/dev/null", O_RDWR);
	struct drover_devices d;

	if (pipe2(p, O_DIRECT | O_CLOEXEC) < 0 || pipe(q) < 0)
		abort();
	d = look();
	tap_ok(d.n == 0, "a pipe of packets, which has the same flag: %s", d.text);
	close(p[0]);
	close(p[1]);
	close(q[0]);
	close(q[1]);
	close(fd);
	close(null);
}

/* Of another process, and of one that is not there. */
static void others(const char *path)
{
	struct drover_devices d;
	int go[2], status, r;
	pid_t pid;
	char c;

	if (pipe2(go, O_CLOEXEC) < 0)
		abort();
	pid = fork();
	if (!pid) {
		if (open(path, O_RDWR | O_DIRECT) < 0 || write(go[1], "x", 1) != 1)
			_exit(1);
		pause();
	}
	close(go[1]);
	if (read(go[0], &c, 1) == 1) {
		r = drover_devices_look(pid, &d);
		tap_ok(!r && d.n == 1, "another process's: %s", d.text);
	} else {
		tap_skip("no O_DIRECT on this file system");
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	tap_ok(drover_devices_look(pid, &d) == -ENOENT && look().n == 0, "one that has gone");
	close(go[0]);
}

int main(void)
{
	char path[] = "drover-unit-XXXXXX";
	int fd = mkstemp(path);

	if (fd < 0)
		return 1;
	close(fd);
	tap_ok(look().n == 0, "none at first: %s", look().text);
	direct(path, O_RDWR | O_DIRECT, true);
	direct(path, O_RDONLY | O_DIRECT, true);
	direct(path, O_WRONLY | O_DIRECT, false);
	direct(path, O_RDWR, false);
	several(path);
	rings();
	harmless();
	others(path);
	unlink(path);
	return tap_done();
}
