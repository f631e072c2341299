/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_BASE_PARALLEL_H
#define DROVER_BASE_PARALLEL_H

#include <stdint.h>

/**
 * drover_parallel_fn - works on items [from, to)
 *
 * Several threads call it at once, each for other items.
 * Return: 0, or a negative errno that ends the whole loop.
 */
typedef int drover_parallel_fn(void *arg, uint64_t from, uint64_t to);

/**
 * drover_parallel() - work on items [0, n) in pieces of @step, on all CPUs
 *
 * At most 8 threads work, the calling thread among them; with one piece or one CPU it works
 * alone. Returns when all threads have ended.
 *
 * Return: 0, or the first error.
 */
int drover_parallel(uint64_t n, uint64_t step, drover_parallel_fn *fn, void *arg);

#endif
