/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_BASE_CPU_H
#define DROVER_BASE_CPU_H

#include <stdbool.h>

/* Instruction sets that some functions have variants for; the build itself assumes only x86-64. */
enum drover_cpu { DROVER_CPU_SSE2, DROVER_CPU_AVX2, DROVER_CPU_AVX512 };

/*
 * May code for @c run here? Both the CPU must have it and the operating system must save its
 * wide registers.
 */
static inline bool drover_cpu_has(enum drover_cpu c)
{
	switch (c) {
	case DROVER_CPU_AVX512:
		return __builtin_cpu_supports("avx512f");
	case DROVER_CPU_AVX2:
		return __builtin_cpu_supports("avx2");
	default:
		return true;
	}
}

#endif
