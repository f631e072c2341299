/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_BASE_LOCK_H
#define DROVER_BASE_LOCK_H

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <time.h>

/*
 * Mutexes that know their holder, in builds with DROVER_LOCK_DEBUG (make check-asan and
 * check-tsan). There a function whose comment says that a lock is held asserts it; in other
 * builds the assertion costs nothing and the mutex is a plain one.
 */

/** drover_lock_init() - to be used instead of pthread_mutex_init() */
static inline void drover_lock_init(pthread_mutex_t *m)
{
#ifdef DROVER_LOCK_DEBUG
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
	pthread_mutex_init(m, &attr);
	pthread_mutexattr_destroy(&attr);
#else
	pthread_mutex_init(m, NULL);
#endif
}

/** drover_assert_held() - this thread holds @m, which drover_lock_init() has made */
static inline void drover_assert_held(pthread_mutex_t *m)
{
#ifdef DROVER_LOCK_DEBUG
	const struct timespec past = { 0, 0 };

	/* Only the holder gets EDEADLK; another thread gets the lock or times out, and fails. */
	assert(pthread_mutex_clocklock(m, CLOCK_MONOTONIC, &past) == EDEADLK);
#else
	(void)m;
#endif
}

#endif
