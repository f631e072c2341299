/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_BASE_THREAD_H
#define DROVER_BASE_THREAD_H

#include <pthread.h>
#include <stdio.h>
#include <time.h>

/**
 * drover_thread_name() - set the name that top, perf and a debugger show for this thread
 * @kind: what the thread does; together with the number at most 15 characters
 * @number: which of several such threads it is; negative: it is the only one
 */
static inline void drover_thread_name(const char *kind, int number)
{
	char name[16];

	if (number < 0)
		snprintf(name, sizeof(name), "%s", kind);
	else
		snprintf(name, sizeof(name), "%.10s/%d", kind, number % 1000);
	pthread_setname_np(pthread_self(), name);
}

/*
 * Wait until @cond is signalled or @ms have passed. The caller must check its condition again in
 * either case. The time is CLOCK_MONOTONIC: setting the system's clock back must not make the
 * wait longer.
 */
static inline void drover_cond_wait_ms(pthread_cond_t *cond, pthread_mutex_t *lock, unsigned int ms)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_nsec += ms * 1000000l;
	ts.tv_sec += ts.tv_nsec / 1000000000;
	ts.tv_nsec %= 1000000000;
	pthread_cond_clockwait(cond, lock, CLOCK_MONOTONIC, &ts);
}

#endif
