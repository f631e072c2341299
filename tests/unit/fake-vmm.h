/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_TESTS_FAKE_VMM_H
#define DROVER_TESTS_FAKE_VMM_H

/*
 * A fake VMM on libdrover, in a thread, or in a process of its own where it has to die,
 * and raw datagrams for the other end.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/message.h"
#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"
#include "guest/guest.h"
#include "lib/drover.h"
#include "owner-kit.h"
#include "tap.h"

#define FAKE_STALL_MS 500
#define PAGES 65u               /* not a multiple of 64: the bitmap's tail */

struct fake {
	char path[108];
	struct drover_agent *agent;
	int fd;
	uint8_t *host;
	pthread_t thread;
	int stop[2];
	/* What the callbacks saw; read by the test between requests. */
	_Atomic int running, paused, resumed, prepared, loaded, saved;
	_Atomic int percent, log, closed;
	_Atomic int fail;               /* type of the request whose callback fails */
	_Atomic int die;                /* type of the request in which the VMM dies */
	_Atomic int verdict;
	_Atomic int noted;              /* what drover_agent_set_running() returned last */
};

static inline int act(struct fake *f, int type, struct drover_text *why)
{
	if (f->die == type)
		_exit(0);
	if (f->fail != type)
		return 0;
	snprintf(why->text, sizeof(why->text), "the fake refuses");
	return -EIO;
}

static inline int fake_pause(void *o, struct drover_text *why)
{
	struct fake *f = o;

	f->paused++;
	f->running = 0;
	return act(f, DROVER_AGENT_PAUSE, why);
}

static inline int fake_resume(void *o, struct drover_text *why)
{
	struct fake *f = o;
	int r = act(f, DROVER_AGENT_CONT, why);

	if (!r)
		f->running = 1;
	f->resumed++;
	return r;
}

static inline int fake_save(void *o, int fd, struct drover_text *why)
{
	struct fake *f = o;

	f->saved++;
	return act(f, DROVER_AGENT_SAVE, why) ? -EIO : write(fd, "state", 5) == 5 ? 0 : -EIO;
}

static inline int fake_load(void *o, int fd, uint64_t len, struct drover_text *why)
{
	struct fake *f = o;
	char buf[8] = "";

	f->loaded++;
	if (len != 5 || pread(fd, buf, 5, 0) != 5 || memcmp(buf, "state", 5) != 0) {
		snprintf(why->text, sizeof(why->text), "not my state");
		return -EINVAL;
	}
	return act(f, DROVER_AGENT_LOAD, why);
}

static inline int fake_prepare(void *o, struct drover_text *why)
{
	struct fake *f = o;

	f->prepared++;
	return act(f, DROVER_AGENT_PREPARE, why);
}

static inline int fake_throttle(void *o, unsigned int percent, struct drover_text *why)
{
	struct fake *f = o;

	f->percent = (int)percent;
	return act(f, DROVER_AGENT_THROTTLE, why);
}

static inline int fake_check(void *o, char *json, size_t size)
{
	struct fake *f = o;

	if (f->die == DROVER_AGENT_CHECK)
		_exit(0);
	if (f->verdict)
		snprintf(json, size, "{\"verdict\":\"%d\"}", f->verdict);
	return 0;
}

static inline int fake_log_start(void *o, struct drover_text *why)
{
	struct fake *f = o;

	f->log = 1;
	return act(f, DROVER_AGENT_LOG_START, why);
}

static inline int fake_log_stop(void *o, struct drover_text *why)
{
	struct fake *f = o;

	f->log = 0;
	return act(f, DROVER_AGENT_LOG_STOP, why);
}

static inline int fake_log_sync(void *o, uint64_t *const *maps, struct drover_text *why)
{
	maps[0][0] = 0x11;
	maps[0][1] = ~0ull;             /* bits past the last page, which must not count */
	return act(o, DROVER_AGENT_SYNC_DIRTY, why);
}

static inline void fake_note(void *o, const char *text)
{
	struct fake *f = o;

	(void)text;
	f->closed++;
}

static const struct drover_agent_ops ops = {
	.size = sizeof(ops), .pause = fake_pause, .resume = fake_resume, .save = fake_save,
	.load = fake_load, .prepare = fake_prepare, .throttle = fake_throttle,
	.check = fake_check, .log_start = fake_log_start, .log_sync = fake_log_sync,
	.log_stop = fake_log_stop, .note = fake_note,
};

static inline void *fake_loop(void *arg)
{
	struct fake *f = arg;
	struct pollfd p[2] = { { .fd = drover_agent_fd(f->agent), .events = POLLIN },
			       { .fd = f->stop[0], .events = POLLIN } };
	char c;

	for (;;) {
		poll(p, 2, -1);
		if (!p[1].revents) {
			if (drover_agent_dispatch(f->agent) < 0)
				return NULL;
			continue;
		}
		/* 'v': the verdict changed; 'p', 'r': the user pauses, runs it; 's': it stalls */
		if (read(f->stop[0], &c, 1) != 1 || !strchr("vprs", c))
			return NULL;
		if (c == 'v')
			drover_agent_verdict_changed(f->agent);
		else if (c == 's')
			poll(NULL, 0, FAKE_STALL_MS);
		else
			f->noted = drover_agent_set_running(f->agent, c == 'r');
	}
}

static inline bool fake_open(struct fake *f, const char *dir, uint32_t flags)
{
	static const uint8_t uuid[16] = { 1, 2, 3 };
	struct drover_agent_opts o = { .size = sizeof(o), .ops = &ops, .opaque = f, .uuid = uuid,
				       .path = f->path, .flags = flags };
	struct drover_agent_ram_opts ram = { .size = sizeof(ram), .name = "ram", .gpa = 4096,
					     .len = PAGES * 4096 };
	struct drover_text why = { "" };
	int r;

	memset(f, 0, sizeof(*f));
	snprintf(f->path, sizeof(f->path), "%s/agent", dir);
	f->running = !(flags & (DROVER_AGENT_OPT_INCOMING | DROVER_AGENT_OPT_PAUSED));
	f->fd = ram.fd = memfd_create("ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (ftruncate(f->fd, PAGES * 4096) < 0)
		return false;
	f->host = ram.host = mmap(NULL, ram.len, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);
	memset(f->host, 0x77, ram.len);
	r = drover_agent_new(&o, &f->agent, &why);
	if (r >= 0)
		r = drover_agent_add_ram(f->agent, &ram, &why);
	if (r >= 0)
		r = drover_agent_listen(f->agent, &why);
	if (r < 0)
		tap_diag("%s", why.text);
	return r >= 0 && !pipe2(f->stop, O_CLOEXEC);
}

static inline void fake_close(struct fake *f)
{
	drover_agent_free(f->agent);
	munmap(f->host, PAGES * 4096);
	close(f->fd);
	close(f->stop[0]);
	close(f->stop[1]);
}

static inline void fake_start(struct fake *f, const char *dir, uint32_t flags)
{
	if (!fake_open(f, dir, flags) || pthread_create(&f->thread, NULL, fake_loop, f))
		exit(1);
}

static inline void tell(struct fake *f, char c)
{
	if (write(f->stop[1], &c, 1) != 1)
		exit(1);
}

static inline void fake_end(struct fake *f)
{
	tell(f, 'q');
	pthread_join(f->thread, NULL);
	fake_close(f);
}

static inline struct drover_guest *attach(struct fake *f, struct drover_error *e)
{
	struct drover_guest *g = NULL;

	drover_err_clear(e);
	drover_agent_open(f->path, NULL, &g, e);
	return g;
}

/* The other thread has to see it first. */
static inline bool becomes(_Atomic int *what, int value)
{
	uint64_t deadline = drover_deadline_ms(5000);

	while (*what != value && drover_now_ns() < deadline)
		poll(NULL, 0, 2);
	return *what == value;
}

static inline bool status_becomes(struct drover_guest *g, enum drover_run_state s)
{
	uint64_t deadline = drover_deadline_ms(5000);
	struct pollfd p = { .fd = g->ops->watch_fd(g), .events = POLLIN };

	while (g->ops->status(g) != s && drover_now_ns() < deadline) {
		poll(&p, 1, 100);
		g->ops->watch(g);
	}
	return g->ops->status(g) == s;
}

static inline int state_file(const char *text, bool seal)
{
	int fd = memfd_create("state", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (write(fd, text, strlen(text)) < 0)
		return -1;
	if (seal)
		fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW);
	return fd;
}

static inline int load(struct drover_guest *g, uint8_t token, const char *text, bool seal,
		       struct drover_error *e)
{
	_cleanup_close_ int fd = state_file(text, seal);
	struct owner_token t = { { token } };

	drover_err_clear(e);
	return g->ops->load(g, &t, fd, e);
}

static inline pid_t dying_vmm(struct fake *f, const char *dir, int type, uint32_t flags)
{
	int ready[2];
	char c = 0;
	pid_t pid;

	if (pipe(ready) < 0)
		exit(1);
	pid = fork();
	if (!pid) {
		if (!fake_open(f, dir, flags))
			_exit(1);
		f->die = type;
		if (write(ready[1], &c, 1) == 1)
			fake_loop(f);
		_exit(1);
	}
	close(ready[1]);
	if (read(ready[0], &c, 1) != 1)
		exit(1);
	close(ready[0]);
	snprintf(f->path, sizeof(f->path), "%s/agent", dir);
	return pid;
}

static inline int raw_connect(const struct fake *f)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	memcpy(sa.sun_path, f->path, sizeof(sa.sun_path));
	return connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ? -1 : fd;
}

static inline bool raw_send(int sock, struct drover_agent_hdr h, size_t len, unsigned int nfds)
{
	static uint8_t body[DROVER_AGENT_BODY_MAX + 64];
	char control[CMSG_SPACE(sizeof(int) * 4)] = { 0 };
	struct iovec iov[2] = { { &h, sizeof(h) }, { body, len } };
	struct msghdr mh = { .msg_iov = iov, .msg_iovlen = 2 };
	int i, fds[4] = { 2, 2, 2, 2 };
	struct cmsghdr *c;

	if (nfds) {
		mh.msg_control = control;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
		for (i = 0; i < (int)nfds; i++)
			memcpy(CMSG_DATA(c) + i * (int)sizeof(int), &fds[i], sizeof(int));
	}
	return sendmsg(sock, &mh, MSG_NOSIGNAL) >= 0;
}

/* The next message: its type, 0 when the link was closed, -1 on nothing. */
static inline int raw_recv(int sock, struct drover_agent_msg *m)
{
	struct drover_error e = DROVER_ERROR_INIT;
	int r;

	if (poll(&(struct pollfd){ .fd = sock, .events = POLLIN }, 1, 5000) <= 0)
		return -1;
	r = drover_agent_msg_recv(sock, DROVER_AGENT_FROM_V, m, &e);
	drover_agent_msg_deinit(m);
	return r == DROVER_AGENT_E_MSG ? m->hdr.type : r == -ENOTCONN ? 0 : -1;
}

static inline struct drover_agent_hdr header(unsigned int type, size_t len)
{
	return (struct drover_agent_hdr){ DROVER_AGENT_MAGIC, DROVER_AGENT_VERSION,
					  (uint16_t)type, 1, (uint32_t)len };
}

static inline int raw_hello(const struct fake *f, struct drover_agent_msg *m)
{
	int fd = raw_connect(f);

	if (fd < 0 || !raw_send(fd, header(DROVER_AGENT_HELLO, 16), 16, 0) ||
	    raw_recv(fd, m) != DROVER_AGENT_HELLO_ACK)
		exit(1);
	return fd;
}

#endif
