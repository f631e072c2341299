// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Transports without an address to connect to: descriptors, files and commands; what they
 * carry, where they end, and how a command's end is told.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

#include "channel-test.h"

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

/* Two-way through cat; one-way with a command that talks while nobody listens. */
static void test_exec_streams(const char *dir)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_channel *ch;
	struct mover m[2] = { 0 };
	uint8_t *x = noise(BIG, 4);
	char text[200], in[16] = "";
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
}

/* How a command ends is what people are told. */
static void test_exec_ends(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_channel *ch;
	char in[16] = "";
	uint64_t t0;
	size_t got = 0;

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
	ch = run("trap '' TERM; sleep 60 & wait; sleep 60", false, false, &e);
	drover_channel_shutdown(ch);
	t0 = drover_now_ns();
	ch = drover_channel_free(ch);
	tap_ok(drover_now_ns() - t0 < 3 * DROVER_NS_PER_S, "exec: a stubborn command is killed");
}

/* An argument vector goes to the command as it is: no shell looks at it. */
static void test_exec_argv(void)
{
	char *bad_argv[] = { "/nonexistent/command", NULL };
	char *argv[] = { "printf", "%s", "$HOME; 'x'", NULL };
	struct drover_address bad = { .transport = DROVER_TRANSPORT_EXEC,
				      .u.exec.args = bad_argv };
	struct drover_address good = { .transport = DROVER_TRANSPORT_EXEC, .u.exec.args = argv };
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_channel_opts o = opts();
	struct drover_channel *ch = NULL;
	char in[16] = "";
	size_t got = 0;

	tap_ok(drover_channel_connect(&bad, &o, &ch, &e) == -ENOENT &&
	       strstr(e.msg, "/nonexistent/command"), "%s", e.msg);
	drover_err_clear(&e);
	o.incoming = o.one_way = true;
	tap_ok(!drover_channel_connect(&good, &o, &ch, &e) &&
	       !one(ch, false, in, sizeof(in), 10, &got, &e) && !strcmp(in, "$HOME; 'x'"),
	       "exec: argv without a shell: %s %s", in, e.msg);
	ch = drover_channel_free(ch);
}

int main(void)
{
	char dir[] = "/tmp/drover-test-XXXXXX";
	unsigned int fds = open_fds();

	if (!mkdtemp(dir)) {
		tap_ok(false, "mkdtemp");
		return tap_done();
	}
	test_fd();
	test_file(dir);
	test_exec_streams(dir);
	test_exec_ends();
	test_exec_argv();
	tap_ok(!rmdir(dir), "nothing is left behind");
	tap_ok(open_fds() == fds, "no descriptor is left open: %u, %u before", open_fds(), fds);
	return tap_done();
}
