/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_CONFIG_AFFINITY_H
#define DROVER_CONFIG_AFFINITY_H

#include <sched.h>

/**
 * drover_affinity_parse() - the CPU list of option cpu-affinity: "0-3,8"
 * @ret: written on success
 *
 * Return: number of CPUs in the list, 0 for the empty text (any CPU), -EINVAL for
 * anything else: no number, a range backwards, a CPU >= CPU_SETSIZE, a CPU twice.
 */
int drover_affinity_parse(const char *text, cpu_set_t *ret);

#endif
