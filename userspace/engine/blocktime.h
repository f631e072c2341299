/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_BLOCKTIME_H
#define DROVER_ENGINE_BLOCKTIME_H

#include <stdint.h>

struct drover_fault;

/*
 * How long a guest in postcopy waits for its pages. QEMU's postcopy-blocktime, but of any
 * thread of the VMM: a fault tells a thread's id and not what the thread is for, so "vCPU"
 * means here "thread that waited", and "not a vCPU" a waiter nobody knows.
 *
 * Any thread may call anything but free at any time; faults on different pages share no
 * lock. No wait is missed or stays for ever when the caller keeps to this order: first
 * drover_blocktime_fault(), then look whether the page has arrived, and if it has,
 * drover_blocktime_placed(); who places a page first marks it as arrived, then calls
 * drover_blocktime_placed().
 */
struct drover_blocktime;

/* Bucket N counts waits of [2^N, 2^(N+1)) us; shorter ones are in the first, longer in the last. */
#define DROVER_BLOCKTIME_BUCKETS 24u
#define DROVER_BLOCKTIME_THREADS 1024u

/**
 * struct drover_blocktime_thread - a thread that waited
 * @tid: as in struct drover_fault
 * @count: waits that have ended
 * @total_ns: what they took in all
 */
struct drover_blocktime_thread {
	int tid;
	uint64_t count;
	uint64_t total_ns;
};

/**
 * struct drover_blocktime_report - waits that have ended
 * @blocked_ns: for so long all threads that ever waited did so at once
 * @count, @total_ns: of all waits
 * @unknown_count, @unknown_ns: those of them that no known thread waited
 * @bucket: how many of all waits took how long
 * @waiting: waits that have not ended
 * @dropped: faults not counted, because too many waited already
 * @thread: by ascending tid, @nthreads of them
 */
struct drover_blocktime_report {
	uint64_t blocked_ns;
	uint64_t count, total_ns;
	uint64_t unknown_count, unknown_ns;
	uint64_t bucket[DROVER_BLOCKTIME_BUCKETS];
	uint64_t waiting;
	uint64_t dropped;
	unsigned int nthreads;
	struct drover_blocktime_thread thread[DROVER_BLOCKTIME_THREADS];
};

/* NULL: out of memory */
struct drover_blocktime *drover_blocktime_new(void);
/* Nobody may be in any other call. NULL is fine. Returns NULL */
struct drover_blocktime *drover_blocktime_free(struct drover_blocktime *bt);

/**
 * drover_blocktime_fault() - a thread begins to wait
 * @f: f->time_ns may be 0: since @now_ns. Told twice is told once
 * @now_ns: CLOCK_MONOTONIC
 *
 * A thread waits for one page at a time: what it waited for before has ended by now.
 */
void drover_blocktime_fault(struct drover_blocktime *bt, const struct drover_fault *f,
			    uint64_t now_ns);
/* Pages [@page, @page + @npages) are there: who waits for one of them goes on. */
void drover_blocktime_placed(struct drover_blocktime *bt, unsigned int block, uint64_t page,
			     uint64_t npages, uint64_t now_ns);
void drover_blocktime_report(struct drover_blocktime *bt, struct drover_blocktime_report *ret);

#endif
