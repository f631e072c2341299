/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tracepoints: /sys/kernel/tracing/events/drover. Numbers only, and few arguments, so that
 * BPF programs can take all of them. Pages are counted from the beginning of the file.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM drover

#if !defined(DROVER_KMOD_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define DROVER_KMOD_TRACE_H

#include <linux/tracepoint.h>
#include <linux/types.h>

/**
 * drover_attach - a file is watched
 * @ino: its inode
 * @pages: its length
 */
TRACE_EVENT(drover_attach,
	TP_PROTO(u64 ino, u64 pages),
	TP_ARGS(ino, pages),
	TP_STRUCT__entry(
		__field(u64, ino)
		__field(u64, pages)
	),
	TP_fast_assign(
		__entry->ino = ino;
		__entry->pages = pages;
	),
	TP_printk("ino=%llu pages=%llu", __entry->ino, __entry->pages)
);

/**
 * drover_harvest - a harvest has ended well
 * @ino: inode of the watched file
 * @dirty: written pages, as the caller was told
 * @holes: punched ones
 * @pinned: pages others may write; 0 in any but a final harvest
 * @ns: how long it took
 */
TRACE_EVENT(drover_harvest,
	TP_PROTO(u64 ino, u64 dirty, u64 holes, u64 pinned, u64 ns),
	TP_ARGS(ino, dirty, holes, pinned, ns),
	TP_STRUCT__entry(
		__field(u64, ino)
		__field(u64, dirty)
		__field(u64, holes)
		__field(u64, pinned)
		__field(u64, ns)
	),
	TP_fast_assign(
		__entry->ino = ino;
		__entry->dirty = dirty;
		__entry->holes = holes;
		__entry->pinned = pinned;
		__entry->ns = ns;
	),
	TP_printk("ino=%llu dirty=%llu holes=%llu pinned=%llu ns=%llu", __entry->ino,
		  __entry->dirty, __entry->holes, __entry->pinned, __entry->ns)
);

/**
 * drover_release - a file is not watched any more
 * @ino: its inode
 */
TRACE_EVENT(drover_release,
	TP_PROTO(u64 ino),
	TP_ARGS(ino),
	TP_STRUCT__entry(
		__field(u64, ino)
	),
	TP_fast_assign(
		__entry->ino = ino;
	),
	TP_printk("ino=%llu", __entry->ino)
);

/**
 * drover_fault - a thread has waited at the gate and goes on, for whatever reason
 * @region: number of the region
 * @page: what it touched
 * @pid: the thread, in the initial pid namespace
 * @write: it was going to write
 * @wait_ns: how long it slept
 */
TRACE_EVENT(drover_fault,
	TP_PROTO(u64 region, u64 page, u32 pid, bool write, u64 wait_ns),
	TP_ARGS(region, page, pid, write, wait_ns),
	TP_STRUCT__entry(
		__field(u64, region)
		__field(u64, page)
		__field(u64, wait_ns)
		__field(u32, pid)
		__field(bool, write)
	),
	TP_fast_assign(
		__entry->region = region;
		__entry->page = page;
		__entry->wait_ns = wait_ns;
		__entry->pid = pid;
		__entry->write = write;
	),
	TP_printk("region=%llu page=%llu pid=%u write=%d wait_ns=%llu", __entry->region,
		  __entry->page, __entry->pid, __entry->write, __entry->wait_ns)
);

/**
 * drover_publish - pages of a region are complete; one for each range
 * @region: number of the region
 * @first: first page
 * @npages: how many
 * @woken: threads that go on
 */
TRACE_EVENT(drover_publish,
	TP_PROTO(u64 region, u64 first, u64 npages, u64 woken),
	TP_ARGS(region, first, npages, woken),
	TP_STRUCT__entry(
		__field(u64, region)
		__field(u64, first)
		__field(u64, npages)
		__field(u64, woken)
	),
	TP_fast_assign(
		__entry->region = region;
		__entry->first = first;
		__entry->npages = npages;
		__entry->woken = woken;
	),
	TP_printk("region=%llu first=%llu npages=%llu woken=%llu", __entry->region,
		  __entry->first, __entry->npages, __entry->woken)
);

#endif

/* Out of the tree: define_trace.h finds us by the include path Kbuild gives to events.o. */
#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
