// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Stop a process for as long as a step on its memory takes that is not atomic by
 * itself. PTRACE_SEIZE and not SIGSTOP: nothing is delivered to the process or told to
 * its parent, and the kernel lets it go when this process dies in the middle.
 *
 * ptrace knows threads, so the process is walked until a walk finds no new thread:
 * stopped threads make none. Used by the tracker soft-dirty.
 */
#define _GNU_SOURCE
#include "dev/freeze.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"

#define THREADS_MAX 65536u
#define POLL_NS 100000

/**
 * struct frozen - one thread
 * @sig: signal it was about to take when it stopped; handed back, 0: none
 * @stopped: it may be let go
 * @gone: it ended before it stopped
 */
struct frozen {
	pid_t tid;
	int sig;
	bool stopped;
	bool gone;
};

struct drover_freeze {
	struct frozen *thread;
	unsigned int n, cap;
};

static void dir_closep(DIR **d)
{
	if (*d)
		closedir(*d);
}

static void freeze_thawp(struct drover_freeze **f)
{
	drover_thaw(*f);
}

static bool known(const struct drover_freeze *f, pid_t tid)
{
	unsigned int i;

	for (i = 0; i < f->n; i++)
		if (f->thread[i].tid == tid)
			return true;
	return false;
}

static int wait_stop(struct frozen *t, uint64_t deadline)
{
	const struct timespec nap = { .tv_nsec = POLL_NS };

	for (;;) {
		int status;
		pid_t got = waitpid(t->tid, &status, __WALL | WNOHANG);

		if (got < 0 && errno != EINTR)
			return -errno;
		if (got == t->tid && WIFSTOPPED(status)) {
			/* PTRACE_EVENT_STOP is ours; anything else is a signal on its way. */
			if (status >> 16 != PTRACE_EVENT_STOP)
				t->sig = WSTOPSIG(status);
			t->stopped = true;
			return 0;
		}
		if (got == t->tid) {
			t->gone = true;
			return 0;
		}
		if (deadline && drover_now_ns() >= deadline)
			return -ETIMEDOUT;
		nanosleep(&nap, NULL);
	}
}

static int freeze_thread(struct drover_freeze *f, pid_t tid, uint64_t deadline)
{
	struct frozen *t;

	if (f->n == THREADS_MAX)
		return -E2BIG;
	if (f->n == f->cap) {
		unsigned int cap = f->cap ? f->cap * 2 : 16;

		t = realloc(f->thread, cap * sizeof(*t));
		if (!t)
			return -ENOMEM;
		f->thread = t;
		f->cap = cap;
	}
	if (ptrace(PTRACE_SEIZE, tid, NULL, NULL) < 0)
		return errno == ESRCH ? 0 : -errno;
	t = &f->thread[f->n++];
	*t = (struct frozen){ .tid = tid };
	if (ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) < 0 && errno != ESRCH)
		return -errno;
	return wait_stop(t, deadline);
}

/* 1 when a thread was found that was not known yet */
static int freeze_walk(struct drover_freeze *f, int pid, uint64_t deadline)
{
	_cleanup_(dir_closep) DIR *dir = NULL;
	struct dirent *d;
	char path[40];
	int found = 0, r;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	if (!dir)
		return errno == ENOENT ? -ESRCH : -errno;
	while ((d = readdir(dir))) {
		pid_t tid = (pid_t)strtol(d->d_name, NULL, 10);

		if (tid <= 0 || known(f, tid))
			continue;
		r = freeze_thread(f, tid, deadline);
		if (r < 0)
			return r;
		found = 1;
	}
	return found;
}

int drover_freeze(int pid, uint64_t deadline, struct drover_freeze **ret, struct drover_error *e)
{
	_cleanup_(freeze_thawp) struct drover_freeze *f = calloc(1, sizeof(*f));
	int r = f ? 1 : -ENOMEM;

	while (r > 0)
		r = freeze_walk(f, pid, deadline);
	if (r < 0)
		return drover_err(e, r, "process %d: stop: %s", pid, drover_strerror(r));
	*ret = TAKE_PTR(f);
	return 0;
}

struct drover_freeze *drover_thaw(struct drover_freeze *f)
{
	unsigned int i;

	if (!f)
		return NULL;
	for (i = 0; i < f->n; i++) {
		struct frozen *t = &f->thread[i];

		/* One that was too slow would stop later, and nobody would let it go. */
		if (!t->stopped && !t->gone && wait_stop(t, 0) < 0)
			t->gone = true;
		if (!t->gone)
			ptrace(PTRACE_DETACH, t->tid, NULL, (void *)(intptr_t)t->sig);
	}
	free(f->thread);
	free(f);
	return NULL;
}
