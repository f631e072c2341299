/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_BASE_TRACE_H
#define DROVER_BASE_TRACE_H

#include <stdint.h>

/*
 * Makes the compiler keep each argument of a tracepoint in a register or as a constant.
 * Otherwise it may choose a place that perf can't read.
 */
#define STAP_SDT_ARG_CONSTRAINT nr
#include <sys/sdt.h>

/*
 * Static tracepoints (USDT). Each drover_trace_NAME() from trace.def is a nop and a note in the
 * ELF file; perf, bpftrace or systemtap puts a breakpoint on the nop while it traces.
 */
#define TRACE1(name, doc, t1, a1) \
	static inline void drover_trace_##name(t1 a1) \
	{ \
		STAP_PROBE1(drover, name, a1); \
	}
#define TRACE2(name, doc, t1, a1, t2, a2) \
	static inline void drover_trace_##name(t1 a1, t2 a2) \
	{ \
		STAP_PROBE2(drover, name, a1, a2); \
	}
#define TRACE3(name, doc, t1, a1, t2, a2, t3, a3) \
	static inline void drover_trace_##name(t1 a1, t2 a2, t3 a3) \
	{ \
		STAP_PROBE3(drover, name, a1, a2, a3); \
	}
#define TRACE4(name, doc, t1, a1, t2, a2, t3, a3, t4, a4) \
	static inline void drover_trace_##name(t1 a1, t2 a2, t3 a3, t4 a4) \
	{ \
		STAP_PROBE4(drover, name, a1, a2, a3, a4); \
	}
#include "base/trace.def"
#undef TRACE1
#undef TRACE2
#undef TRACE3
#undef TRACE4

#endif
