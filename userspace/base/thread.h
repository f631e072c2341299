/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_BASE_THREAD_H
#define DROVER_BASE_THREAD_H

#include <pthread.h>
#include <stdio.h>

/**
 * drover_thread_name() - what top, perf and a debugger call this thread
 * @kind: what it does; with the number at most 15 characters
 * @number: which of several; negative: the only one
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

#endif
