/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_BASE_CPULIST_H
#define DROVER_BASE_CPULIST_H

#include <stdint.h>

#define DROVER_CPUS_MAX 1024u

/** struct drover_cpus - a set of CPU numbers; the layout of cpu_set_t's words */
struct drover_cpus {
	uint64_t bits[DROVER_CPUS_MAX / 64];
};

/**
 * drover_cpulist_parse() - the kernel's list format: "0-3,8", "" for no CPU
 * @ret: written on success only
 *
 * Return: the number of CPUs in the set, or -EINVAL for wrong syntax, a range that runs
 * backwards, or a CPU number of DROVER_CPUS_MAX or more.
 */
int drover_cpulist_parse(const char *text, struct drover_cpus *ret);

#endif
