/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_BASE_CLEANUP_H
#define DROVER_BASE_CLEANUP_H

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/*
 * Scope-bound release, the only idiom for cleaning up in userspace: a function declares a
 * variable with _cleanup_(), hands its value over with TAKE_PTR() or TAKE_FD() on success, and
 * may return anywhere.
 */
#define _cleanup_(f) __attribute__((cleanup(f)))

#define TAKE(var, none)					\
	({						\
		__typeof__(var) *_pvar = &(var);	\
		__typeof__(var) _val = *_pvar;		\
		*_pvar = (none);			\
		_val;					\
	})
#define TAKE_PTR(p) TAKE(p, NULL)
#define TAKE_FD(fd) TAKE(fd, -EBADF)

static inline void drover_closep(int *fd)
{
	if (*fd >= 0) {
		int saved = errno;

		close(*fd);
		errno = saved;
	}
	*fd = -EBADF;
}

static inline void drover_freep(void *p)
{
	free(*(void **)p);
}

static inline void drover_fclosep(FILE **f)
{
	if (*f)
		fclose(*f);
}

static inline void drover_mutex_unlockp(pthread_mutex_t **m)
{
	if (*m)
		pthread_mutex_unlock(*m);
}

static inline pthread_mutex_t *drover_mutex_lock(pthread_mutex_t *m)
{
	pthread_mutex_lock(m);
	return m;
}

#define _cleanup_close_ _cleanup_(drover_closep)
#define _cleanup_free_ _cleanup_(drover_freep)
#define _cleanup_fclose_ _cleanup_(drover_fclosep)

#define DROVER_CONCAT_(a, b) a##b
#define DROVER_CONCAT(a, b) DROVER_CONCAT_(a, b)

/* Holds a mutex until the end of the enclosing block. */
#define DROVER_LOCK(m)                                                          \
	_cleanup_(drover_mutex_unlockp) pthread_mutex_t *DROVER_CONCAT(lock_,     \
		__LINE__) __attribute__((unused)) = drover_mutex_lock(m)

#define DROVER_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#endif
