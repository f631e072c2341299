/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_TESTS_VMM_PAIR_H
#define DROVER_TESTS_VMM_PAIR_H

/* Two drover-vmm, source and destination, and this test in the place of their droverds. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"
#include "guest/guest.h"
#include "owner-kit.h"
#include "tap.h"

#define WAIT_MS 30000u

struct side {
	pid_t pid;
	char sock[128];
	struct drover_guest *g;
	const struct drover_ram *ram;
};

struct pair {
	char dir[64], vmm[512];
	struct side s, d;
};

/* The session under way: prepare() begins one. */
static uint8_t session_nr = 6;

/* Reads "ready" from the VMM; 77 when KVM is refused, -1 on another end. */
static inline int wait_ready(pid_t pid, int fd)
{
	char line[256];
	ssize_t n = read(fd, line, sizeof(line) - 1);
	int status;

	if (n > 0)
		return 0;
	waitpid(pid, &status, 0);
	return WIFEXITED(status) && WEXITSTATUS(status) == 77 ? 77 : -1;
}

static inline int spawn(struct pair *p, struct side *s, const char *name, const char *const *extra)
{
	const char *argv[16] = { p->vmm, "--agent", s->sock, "--mem", "32M", "--dirty", "20M" };
	_cleanup_close_ int out = -EBADF;
	int pipefd[2], n = 7;

	snprintf(s->sock, sizeof(s->sock), "%s/%s", p->dir, name);
	for (; extra && *extra && n < 15; extra++)
		argv[n++] = *extra;
	if (pipe2(pipefd, O_CLOEXEC) < 0)
		return -1;
	s->pid = fork();
	if (!s->pid) {
		dup2(pipefd[1], 1);
		execv(p->vmm, (char **)argv);
		_exit(127);
	}
	close(pipefd[1]);
	out = pipefd[0];
	return wait_ready(s->pid, out);
}

static inline bool attach(struct side *s)
{
	struct drover_error e = DROVER_ERROR_INIT;

	if (drover_agent_open(s->sock, NULL, &s->g, &e) < 0) {
		tap_diag("%s", e.msg);
		return false;
	}
	s->ram = s->g->ops->ram(s->g);
	return true;
}

static inline void end(struct side *s)
{
	if (s->g)
		s->g = drover_guest_free(s->g);
	if (s->pid > 0) {
		kill(s->pid, SIGTERM);
		waitpid(s->pid, NULL, 0);
	}
	s->pid = 0;
}

static inline int pair_begin(struct pair *p, const char *const *src, const char *const *dst)
{
	const char *in[8] = { "--incoming" };
	int i, r;

	for (i = 0; dst && dst[i] && i < 6; i++)
		in[i + 1] = dst[i];
	r = spawn(p, &p->s, "src", src);
	if (!r)
		r = spawn(p, &p->d, "dst", in);
	if (!r && (!attach(&p->s) || !attach(&p->d)))
		r = -1;
	return r;
}

static inline void pair_end(struct pair *p)
{
	end(&p->s);
	end(&p->d);
}

static inline bool good(int r, struct drover_error *e)
{
	if (r < 0)
		tap_diag("%s", e->msg);
	return r >= 0;
}

static inline void copy_all(struct side *from, struct side *to)
{
	unsigned int i;

	for (i = 0; i < from->ram->n; i++)
		memcpy(to->ram->block[i].host, from->ram->block[i].host, from->ram->block[i].size);
}

static inline bool step(struct side *s, enum owner_event ev)
{
	struct drover_error e = DROVER_ERROR_INIT;

	return good(ask(s->g, ev, session_nr, &e), &e) && !e.code;
}

static inline int load_state(struct side *s, int fd, struct drover_error *e)
{
	struct owner_token t = { { session_nr } };

	return s->g->ops->load(s->g, &t, fd, e);
}

/* After the RAM: state, ownership, go. */
static inline bool hand_over(struct side *from, struct side *to)
{
	_cleanup_close_ int fd = -EBADF;
	struct drover_error e = DROVER_ERROR_INIT;

	return good(from->g->ops->save(from->g, &fd, &e), &e) &&
	       good(load_state(to, fd, &e), &e) && step(to, OWNER_EV_PROVED) &&
	       step(from, OWNER_EV_DOUBT) && step(to, OWNER_EV_OWN) &&
	       step(from, OWNER_EV_RELEASE);
}

static inline bool pause_source(struct side *s)
{
	return step(s, OWNER_EV_PAUSE) && s->g->ops->status(s->g) == DROVER_GUEST_PAUSED;
}

/* A destination, for a session of its own */
static inline bool prepare(struct side *s)
{
	session_nr++;
	return step(s, OWNER_EV_PREPARE) && step(s, OWNER_EV_INCOMING) &&
	       s->g->ops->status(s->g) == DROVER_GUEST_INCOMING;
}

static inline const char *member(struct json_object *o, const char *name)
{
	struct json_object *v;

	return json_object_object_get_ex(o, name, &v) ? json_object_get_string(v) : "";
}

/* Wait for passed or failed; @bad gets first-bad-page. */
static inline bool verdict(struct side *s, const char *want, char *bad, size_t bad_size)
{
	uint64_t deadline = drover_deadline_ms(WAIT_MS);
	bool ok = false;

	while (drover_now_ns() < deadline) {
		struct pollfd p = { .fd = s->g->ops->watch_fd(s->g), .events = POLLIN };
		_cleanup_json_ struct json_object *o = NULL;
		const char *v;

		s->g->ops->watch(s->g);
		o = s->g->ops->check(s->g);
		v = o ? member(o, "verdict") : "";
		if (!strcmp(v, "passed") || !strcmp(v, "failed")) {
			ok = !strcmp(v, want);
			if (!ok || *bad == '?')
				tap_diag("%s", json_object_to_json_string(o));
			snprintf(bad, bad_size, "%s", member(o, "first-bad-page"));
			return ok;
		}
		if (s->g->ops->status(s->g) == DROVER_GUEST_GONE)
			break;
		poll(&p, 1, 100);
	}
	return false;
}

static inline bool passed(struct side *s)
{
	char bad[96] = "";

	return verdict(s, "passed", bad, sizeof(bad));
}

/* One row of a table of tests: each has a pair of VMMs of its own. */
struct pair_test {
	void (*fn)(struct pair *p);
	const char *arg[4];
};

/* Runs them all; returns main's status. */
static inline int pair_run(const struct pair_test *tests, size_t ntests)
{
	struct pair p = { .dir = "/tmp/drover-test-XXXXXX" };
	ssize_t n = readlink("/proc/self/exe", p.vmm, sizeof(p.vmm) - 32);
	size_t i;
	int r;

	/* B/tests/unit/NAME -> B/drover-vmm */
	for (i = 0; n > 0 && i < 3; n--)
		i += p.vmm[n - 1] == '/';
	strcpy(p.vmm + (n < 0 ? 0 : n), "/drover-vmm");
	if (access(p.vmm, X_OK) < 0 || !mkdtemp(p.dir)) {
		tap_ok(false, "%s: %s", p.vmm, strerror(errno));
		return tap_done();
	}
	for (i = 0; i < ntests; i++) {
		r = pair_begin(&p, tests[i].arg, tests[i].arg);
		if (r == 77) {
			tap_skip("/dev/kvm is missing or refuses (see stderr)");
			break;
		}
		if (r)
			tap_ok(false, "start two VMMs");
		else
			tests[i].fn(&p);
		pair_end(&p);
	}
	rmdir(p.dir);
	return tap_done();
}

#endif
