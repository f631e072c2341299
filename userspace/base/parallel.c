// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A loop over ranges on several CPUs. It is used to fill and scan page tables: one such system
 * call uses one CPU, but the kernel lets several threads walk one address space at once. The
 * threads live for one loop only; starting one takes some 50 us.
 */
#define _GNU_SOURCE
#include "base/parallel.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define THREADS_MAX 8

struct loop {
	uint64_t n, step;
	drover_parallel_fn *fn;
	void *arg;
	_Atomic uint64_t next;          /* the piece that is taken next */
	_Atomic int error;
};

static void *loop_main(void *arg)
{
	struct loop *l = arg;

	while (!atomic_load_explicit(&l->error, memory_order_relaxed)) {
		uint64_t from = atomic_fetch_add(&l->next, 1) * l->step;
		int none = 0, r;

		if (from >= l->n)
			break;
		r = l->fn(l->arg, from, l->n - from < l->step ? l->n : from + l->step);
		if (r < 0)
			atomic_compare_exchange_strong(&l->error, &none, r);
	}
	return NULL;
}

/* The number of CPUs that this process may use. */
static uint64_t cpus(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) < 0 ? 1 : (uint64_t)CPU_COUNT(&set);
}

int drover_parallel(uint64_t n, uint64_t step, drover_parallel_fn *fn, void *arg)
{
	struct loop l = { .n = n, .step = step, .fn = fn, .arg = arg };
	uint64_t pieces = (n + step - 1) / step, want = pieces > 1 ? cpus() : 1;
	pthread_t thread[THREADS_MAX];
	unsigned int i, helpers = 0;

	if (want > pieces)
		want = pieces;
	if (want > THREADS_MAX)
		want = THREADS_MAX;
	/* The calling thread works, too, so the loop also ends if no thread can be created. */
	while (helpers + 1 < want && !pthread_create(&thread[helpers], NULL, loop_main, &l))
		helpers++;
	loop_main(&l);
	for (i = 0; i < helpers; i++)
		pthread_join(thread[i], NULL);
	return atomic_load(&l.error);
}
