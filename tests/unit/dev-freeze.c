// SPDX-License-Identifier: GPL-2.0-or-later
/* A process of three busy threads stands still while frozen, and runs on afterwards. */
#define _GNU_SOURCE
#include "dev/freeze.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "tap.h"

#define THREADS 3

struct shared {
	_Atomic unsigned long count[THREADS];
	_Atomic unsigned int signals, index;
};

static struct shared *shared;

static void on_signal(int sig)
{
	(void)sig;
	atomic_fetch_add(&shared->signals, 1);
}

static void *busy(void *arg)
{
	unsigned int i = atomic_fetch_add(&shared->index, 1);
	const struct timespec nap = { .tv_nsec = 200000 };

	(void)arg;
	for (;;) {
		atomic_fetch_add(&shared->count[i], 1);
		if (i == 2)
			nanosleep(&nap, NULL);
	}
	return NULL;
}

static void child(void)
{
	pthread_t t;
	int i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGUSR1, on_signal);
	for (i = 0; i < THREADS - 1; i++)
		pthread_create(&t, NULL, busy, NULL);
	busy(NULL);
}

static void nap_ms(unsigned int ms)
{
	const struct timespec t = { .tv_nsec = ms * 1000000l };

	nanosleep(&t, NULL);
}

static unsigned long sum(void)
{
	return shared->count[0] + shared->count[1] + shared->count[2];
}

/* All threads move within a second? */
static bool all_move(void)
{
	unsigned long was[THREADS];
	int i, ms;

	for (i = 0; i < THREADS; i++)
		was[i] = shared->count[i];
	for (ms = 0; ms < 1000; ms++) {
		nap_ms(1);
		if (shared->count[0] != was[0] && shared->count[1] != was[1] &&
		    shared->count[2] != was[2])
			return true;
	}
	return false;
}

int main(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_freeze *f = NULL;
	unsigned int i, moved = 0, failed = 0;
	pid_t pid;
	int r;

	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid = fork();
	if (pid == 0)
		child();
	tap_ok(all_move(), "three threads run");
	r = drover_freeze(pid, drover_deadline_ms(2000), &f, &e);
	if (r == -EPERM) {
		tap_skip("ptrace is not allowed here: %s", e.msg);
	} else {
		drover_thaw(f);
		for (i = 0; i < 50; i++) {
			unsigned long was;

			failed += drover_freeze(pid, drover_deadline_ms(2000), &f, &e) != 0;
			was = sum();
			if (i % 10 == 0)
				kill(pid, SIGUSR1);
			nap_ms(2);
			moved += sum() != was;
			f = drover_thaw(f);
		}
		tap_ok(!failed && !moved, "50 times: nothing moves while frozen %s", e.msg);
		tap_ok(all_move(), "all threads run on");
		tap_ok(shared->signals == 5, "signals sent meanwhile arrive, %u", shared->signals);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	drover_err_clear(&e);
	tap_ok(drover_freeze(pid, 0, &f, &e) == -ESRCH, "a process that has gone: %s", e.msg);
	return tap_done();
}
