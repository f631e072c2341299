// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A mutex of a debug build knows its holder: the assertion passes for the holder, and ends a
 * process that does not hold it, whether nobody does or another thread.
 */
#undef DROVER_LOCK_DEBUG
#define DROVER_LOCK_DEBUG
#include "base/lock.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tap.h"

static pthread_mutex_t lock;

static void *take(void *arg)
{
	pthread_mutex_lock(&lock);
	(void)arg;
	return NULL;
}

/* Does the assertion end a process in which this thread does not hold the lock? */
static bool caught(bool by_another)
{
	const struct rlimit none = { 0, 0 };
	pthread_t t;
	int status;
	pid_t pid = fork();

	if (!pid) {
		setrlimit(RLIMIT_CORE, &none);
		if (!freopen("/dev/null", "w", stderr))
			_exit(2);
		if (by_another) {
			pthread_create(&t, NULL, take, NULL);
			pthread_join(t, NULL);
		}
		drover_assert_held(&lock);
		_exit(0);
	}
	return waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) &&
	       WTERMSIG(status) == SIGABRT;
}

int main(void)
{
	drover_lock_init(&lock);
	pthread_mutex_lock(&lock);
	drover_assert_held(&lock);
	pthread_mutex_unlock(&lock);
	tap_ok(true, "the holder passes, and still holds it once");
	tap_ok(caught(false), "a lock that nobody holds is caught");
	tap_ok(caught(true), "a lock that another thread holds is caught");
	pthread_mutex_destroy(&lock);
	return tap_done();
}
