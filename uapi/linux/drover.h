/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
#ifndef _UAPI_LINUX_DROVER_H
#define _UAPI_LINUX_DROVER_H

/*
 * The interface of drover.ko: /dev/drover, mode 0600.
 *
 * Two kinds of objects, each behind descriptors that this device hands out:
 *
 * An *attach* watches a memfd or another shmem file. Every write of a CPU to it, through
 * any mapping of any process or through a system call, is in the next harvest.
 *
 * A *region* is shmem that belongs to the module and can be gated: who touches a page
 * that was not published sleeps until it is. Its vm descriptor is what a VMM maps, its
 * loader descriptor fills and publishes pages. Both of its descriptors can be attached.
 *
 * Structures. Each begins with its size as the caller knows it. A shorter one than the
 * kernel's is taken as if zeros followed; a longer one is refused with E2BIG unless the
 * rest is zero. Members named reserved, and flags that the kernel does not know, must be
 * zero (EINVAL). Outputs are written up to the size given.
 *
 * Errors that all commands have:
 *   ENOTTY   no such command on this descriptor
 *   EINVAL   size below that of the first version, unknown flag, reserved member set,
 *            numbers out of order or range
 *   E2BIG    a longer structure whose tail is not zero
 *   EFAULT   a pointer that can't be read or written
 *   ENOMEM   no memory, or over the caller's memory cgroup limit
 *   EINTR    a signal came; what was done so far is said by the command
 *
 * All numbers of pages are units of 4096 bytes, counted from the beginning of the file.
 */
#include <linux/ioctl.h>
#include <linux/types.h>

#define DROVER_IOC_MAGIC 0xd7

/**
 * struct drover_caps - what this module on this kernel can do
 * @size: in: sizeof(struct drover_caps)
 * @flags: in: 0
 * @features: out: DROVER_CAP_*
 * @max_pages: out: largest file that can be attached, in pages
 * @version: out: of the interface, DROVER_UAPI_VERSION of this header or later
 * @reserved: 0
 */
struct drover_caps {
	__u32 size;
	__u32 flags;
	__aligned_u64 features;
	__aligned_u64 max_pages;
	__u32 version;
	__u32 reserved;
};

#define DROVER_UAPI_VERSION 1

#define DROVER_CAP_ATTACH	(1ULL << 0)	/* DROVER_IOC_ATTACH */
#define DROVER_CAP_PROTECT	(1ULL << 1)	/* DROVER_ATTACH_PROTECT */
#define DROVER_CAP_REGION	(1ULL << 2)	/* DROVER_IOC_REGION */
#define DROVER_CAP_NAMED	(1ULL << 3)	/* regions with a name are at /dev/drover-NAME */
#define DROVER_CAP_THP_2M	(1ULL << 4)	/* large folios are seen at a grain of 2 MiB */
#define DROVER_CAP_DEBUG	(1ULL << 5)	/* built with switches that break it, for tests */
#define DROVER_CAP_FRESH	(1ULL << 6)	/* DROVER_GATE_FRESH */

/**
 * struct drover_attach - watch a file
 * @size: in: sizeof(struct drover_attach)
 * @flags: in: DROVER_ATTACH_*
 * @fd: in: memfd, shmem file, or either descriptor of a region, open for writing
 * @reserved: 0
 * @pages: out: length of the file
 *
 * The command returns the attach descriptor (O_CLOEXEC). Nothing is watched before
 * DROVER_IOC_ARM. One attach per file. Closing the last reference of the descriptor, by
 * whatever way, disarms it and leaves the file as it was: nothing that was written is lost,
 * and all of it can be reclaimed again. While it is armed, F_SEAL_WRITE can't be added to the
 * file (EBUSY), since its pages are in use; a file that grows is watched up to @pages.
 *
 * Errors: EBADF @fd is no descriptor or not open for writing (it is @fd that is asked, also
 * when it is one of a region's); ENODEV not shmem;
 * EMEDIUMTYPE hugetlb; EPERM sealed against writing (F_SEAL_WRITE, F_SEAL_FUTURE_WRITE);
 * EFBIG longer than max_pages; EBUSY attached already; EOPNOTSUPP a Xen PV guest, a CPU or
 * kernel whose TLBs the module can't flush, or a flag without its capability.
 */
struct drover_attach {
	__u32 size;
	__u32 flags;
	__s32 fd;
	__u32 reserved;
	__aligned_u64 pages;
};

/*
 * Write-protect instead of reading dirty bits: also sees vCPUs of a KVM that keeps no log
 * for us, at a write fault a page and round, and reports more than was written.
 */
#define DROVER_ATTACH_PROTECT	(1U << 0)

/**
 * struct drover_arm - begin to watch
 * @size: in: sizeof(struct drover_arm)
 * @flags: in: 0
 * @resident: out: pages that held memory, each of which is referenced from now on
 *
 * Every write that ends after the return is in a harvest. Brings back what is swapped, and
 * takes a reference of each page that holds memory, which keeps it where it is until
 * disarm: no swap, no migration.
 * After EINTR nothing is armed. EALREADY armed before.
 */
struct drover_arm {
	__u32 size;
	__u32 flags;
	__aligned_u64 resident;
};

/**
 * struct drover_harvest - what was written since the last harvest
 * @size: in: sizeof(struct drover_harvest)
 * @flags: in: DROVER_HARVEST_*
 * @first: in: first page, a multiple of 64
 * @npages: in: number of pages; up to the end of the file
 * @dirty: in: address of a bitmap, bit n for page @first + n: bits of written pages are
 *	set, none is cleared, words without news are not touched
 * @hole: in: the same for pages that were punched or truncated, in the first harvest after
 *	ARM also for those that hold no memory; 0: not wanted, they are kept for later
 * @pinned: in: the same for pages that somebody else may write by DMA, or has just written,
 *	found only with DROVER_HARVEST_FINAL; 0: not wanted. Until it is let go of, a page is in
 *	each final harvest
 * @ndirty: out: bits set in @dirty
 * @nhole: out: bits set in @hole. In @hole alone: it reads as zero, and if that changes
 *	the next harvest has it: it must not be read, as what is written to a hole and
 *	punched again between two harvests is not told. In both: it may be either, read it
 * @npinned: out: bits set in @pinned
 * @done: out: pages looked at; less than @npages after EINTR or EFAULT
 *
 * Exact: a write of a CPU that ended before the call is in this harvest or was in an earlier
 * one. Copy pages after the return. Of devices:
 *
 * - Direct I/O into the file may be complete some time before the kernel marks its page. It is
 *   in the harvest after the mark; a final one has the page in @dirty or in @pinned.
 * - A page that was pinned for DMA (a registered buffer, VFIO, RDMA) when a harvest looked at
 *   it, and is not any more, is in @dirty of the harvest that finds it so.
 *
 * Errors: ENXIO not armed; bits that could not be stored (EFAULT) are in the next harvest. A
 * signal ends the call after 1 GiB at the earliest, a fatal one within milliseconds.
 */
struct drover_harvest {
	__u32 size;
	__u32 flags;
	__aligned_u64 first;
	__aligned_u64 npages;
	__aligned_u64 dirty;
	__aligned_u64 hole;
	__aligned_u64 pinned;
	__aligned_u64 ndirty;
	__aligned_u64 nhole;
	__aligned_u64 npinned;
	__aligned_u64 done;
};

/* The writers are stopped: also tell what others hold references of. */
#define DROVER_HARVEST_FINAL	(1U << 0)

/**
 * struct drover_set_dirty - give bits back: a send of these pages failed
 * @size: in: sizeof(struct drover_set_dirty)
 * @flags: in: 0
 * @first: in: first page, a multiple of 64
 * @npages: in: number of pages
 * @bitmap: in: address of a bitmap; pages whose bit is set are in the next harvest
 *
 * ENXIO not armed.
 */
struct drover_set_dirty {
	__u32 size;
	__u32 flags;
	__aligned_u64 first;
	__aligned_u64 npages;
	__aligned_u64 bitmap;
};

/**
 * struct drover_stat - an attach's account
 * @size: in: sizeof(struct drover_stat)
 * @flags: in: 0
 * @pages: out: length of the file
 * @held: out: pages referenced now
 * @harvests: out: finished ones
 * @harvest_ns: out: how long the last one took
 * @walked: out: page-table entries it looked at
 * @dirty: out: pages it reported
 * @memory: out: bytes the kernel holds for this attach, without the pages
 */
struct drover_stat {
	__u32 size;
	__u32 flags;
	__aligned_u64 pages;
	__aligned_u64 held;
	__aligned_u64 harvests;
	__aligned_u64 harvest_ns;
	__aligned_u64 walked;
	__aligned_u64 dirty;
	__aligned_u64 memory;
};

#define DROVER_NAME_LEN 32

/**
 * struct drover_region - make a region
 * @size: in: sizeof(struct drover_region)
 * @flags: in: DROVER_REGION_*
 * @bytes: in: length, a multiple of 4096
 * @grace_ms: in: how long waiters wait for a new loader after the last one has gone, before
 *	they get SIGBUS; 0: for ever
 * @vm_fd: out: what a VMM maps (MAP_SHARED); O_CLOEXEC
 * @loader_fd: out: maps without a gate, reads requests, publishes; O_CLOEXEC. Never give
 *	it to the VMM: its last close is how the module learns that the loader has died
 * @id: out: for DROVER_IOC_ADOPT
 * @name: in: [a-z0-9_.-], NUL-terminated: also a device /dev/drover-NAME that behaves
 *	like @vm_fd, until the region ends; empty: none
 *
 * Both mappings are made of pages of 4096 bytes (VM_NOHUGEPAGE). The vm descriptor can be
 * mapped, asked for its size and its holes, and punched (fallocate); it can't be read or
 * written. A file that is opened by a path to it (/proc/PID/fd; its mode is 0600) is one more
 * vm descriptor. Its mappings are VM_DONTEXPAND: mremap() can move and shrink, not grow them.
 * The memory is never swapped, so mlock() has nothing to do and does nothing.
 *
 * The region ends with its last descriptor and mapping; then the name is free. Errors: EEXIST
 * the name is taken; EFBIG.
 */
struct drover_region {
	__u32 size;
	__u32 flags;
	__aligned_u64 bytes;
	__aligned_u64 grace_ms;
	__s32 vm_fd;
	__s32 loader_fd;
	__aligned_u64 id;
	char name[DROVER_NAME_LEN];
};

#define DROVER_REGION_GATED	(1U << 0)	/* the gate is closed from the start */

/**
 * struct drover_gate - close or open the gate (loader)
 * @size: in: sizeof(struct drover_gate)
 * @flags: in: DROVER_GATE_*; without DROVER_GATE_CLOSED: open, all waiters go on
 *
 * Closing it makes every page unpublished that has no received bit; entries of page tables
 * that exist for those are removed.
 */
struct drover_gate {
	__u32 size;
	__u32 flags;
};

#define DROVER_GATE_CLOSED	(1U << 0)
/* First forget which pages were published; what they hold stays. */
#define DROVER_GATE_FRESH	(1U << 1)

/** struct drover_range - pages [@first, @first + @npages) */
struct drover_range {
	__aligned_u64 first;
	__aligned_u64 npages;
};

/**
 * struct drover_publish - these pages are complete (loader)
 * @size: in: sizeof(struct drover_publish)
 * @flags: in: DROVER_PUBLISH_*
 * @ranges: in: address of an array of struct drover_range
 * @nranges: in: its length, at most DROVER_RANGES_MAX
 * @reserved: 0
 * @woken: out: waiters that go on
 *
 * Publishing a page again is harmless, and changes nothing. Nothing is published when a range
 * is bad (EINVAL). After EINTR some pages are published: give the command again.
 */
struct drover_publish {
	__u32 size;
	__u32 flags;
	__aligned_u64 ranges;
	__u32 nranges;
	__u32 reserved;
	__aligned_u64 woken;
};

/*
 * They read as zero: what they hold is dropped, no memory is taken. Pages that are published
 * already keep what they hold.
 */
#define DROVER_PUBLISH_ZERO	(1U << 0)
#define DROVER_RANGES_MAX	4096

/**
 * struct drover_received - which pages are published (loader)
 * @size: in: sizeof(struct drover_received)
 * @flags: in: 0
 * @first: in: first page, a multiple of 64
 * @npages: in: number of pages
 * @bitmap: in: address of a bitmap, which is overwritten
 * @count: out: bits set
 */
struct drover_received {
	__u32 size;
	__u32 flags;
	__aligned_u64 first;
	__aligned_u64 npages;
	__aligned_u64 bitmap;
	__aligned_u64 count;
};

/**
 * struct drover_adopt - become the loader of a region whose loader has died
 * @size: in: sizeof(struct drover_adopt)
 * @flags: in: DROVER_ADOPT_*
 * @id: in: of the region; with DROVER_ADOPT_FD its vm descriptor, open for writing
 *
 * Returns a new loader descriptor; requests that nobody has answered are queued again.
 * Errors: ENOENT no such region, or another user's; EBADF no descriptor, or not open for
 * writing; ENODEV not one of a region; EBUSY it has a loader; EOWNERDEAD its
 * grace has run out, its waiters got SIGBUS.
 */
struct drover_adopt {
	__u32 size;
	__u32 flags;
	__aligned_u64 id;
};

#define DROVER_ADOPT_FD		(1U << 0)	/* who can write to it may load it */
#define DROVER_ADOPT_CHECK	(1U << 1)	/* change nothing, return 0 if it could be adopted */

/**
 * struct drover_request - somebody waits for a page: read(2) from the loader descriptor
 * @page: which one
 * @time_ns: CLOCK_MONOTONIC when it was first asked for
 * @pid: thread that asked first, in the reader's pid namespace; 0: not in it
 * @flags: DROVER_REQUEST_*
 *
 * read(2) gives as many whole requests as fit, EAGAIN when there are none and the
 * descriptor is O_NONBLOCK; poll(2) says POLLIN. Each page is asked for once, and once
 * more after DROVER_IOC_ADOPT.
 */
struct drover_request {
	__aligned_u64 page;
	__aligned_u64 time_ns;
	__u32 pid;
	__u32 flags;
};

#define DROVER_REQUEST_WRITE	(1U << 0)

/* The table of commands: on /dev/drover */
#define DROVER_IOC_CAPS		_IOWR(DROVER_IOC_MAGIC, 0x00, struct drover_caps)
#define DROVER_IOC_ATTACH	_IOWR(DROVER_IOC_MAGIC, 0x01, struct drover_attach)
#define DROVER_IOC_REGION	_IOWR(DROVER_IOC_MAGIC, 0x02, struct drover_region)
#define DROVER_IOC_ADOPT	_IOWR(DROVER_IOC_MAGIC, 0x03, struct drover_adopt)
/* on an attach descriptor */
#define DROVER_IOC_ARM		_IOWR(DROVER_IOC_MAGIC, 0x10, struct drover_arm)
#define DROVER_IOC_HARVEST	_IOWR(DROVER_IOC_MAGIC, 0x11, struct drover_harvest)
#define DROVER_IOC_SET_DIRTY	_IOWR(DROVER_IOC_MAGIC, 0x12, struct drover_set_dirty)
#define DROVER_IOC_STAT		_IOWR(DROVER_IOC_MAGIC, 0x13, struct drover_stat)
/* on a loader descriptor */
#define DROVER_IOC_GATE		_IOWR(DROVER_IOC_MAGIC, 0x20, struct drover_gate)
#define DROVER_IOC_PUBLISH	_IOWR(DROVER_IOC_MAGIC, 0x21, struct drover_publish)
#define DROVER_IOC_RECEIVED	_IOWR(DROVER_IOC_MAGIC, 0x22, struct drover_received)

/*
 * Events: generic netlink, family DROVER_NL_FAMILY, multicast group DROVER_NL_GROUP, for
 * CAP_NET_ADMIN of the initial namespaces. Best effort and bounded: what a listener is too
 * slow for is lost. Each message has DROVER_NL_A_TIME_NS and the attributes in brackets.
 */
#define DROVER_NL_FAMILY	"drover"
#define DROVER_NL_GROUP		"events"
#define DROVER_NL_VERSION	1

/**
 * enum drover_nl_cmd - what has happened
 * @DROVER_NL_UNSPEC: never sent
 * @DROVER_NL_ATTACH: a file is watched [INO, PAGES]
 * @DROVER_NL_RELEASE: not any more [INO]
 * @DROVER_NL_REGION_NEW: a region was made [REGION, PAGES, NAME if it has one]
 * @DROVER_NL_REGION_END: and has ended [REGION]
 * @DROVER_NL_LOADER_DIED: a gated region has no loader [REGION, WAITERS]
 * @DROVER_NL_LOADER_ADOPTED: it has one again [REGION]
 * @DROVER_NL_STALL: a fault waits for too long [REGION, PAGE, PID, WAIT_MS]
 * @DROVER_NL_LATE: a final harvest, or one after it, found others that may write
 *	[INO, PAGE: the first, COUNT]
 */
enum drover_nl_cmd {
	DROVER_NL_UNSPEC,
	DROVER_NL_ATTACH,
	DROVER_NL_RELEASE,
	DROVER_NL_REGION_NEW,
	DROVER_NL_REGION_END,
	DROVER_NL_LOADER_DIED,
	DROVER_NL_LOADER_ADOPTED,
	DROVER_NL_STALL,
	DROVER_NL_LATE,
	__DROVER_NL_CMD_END,
};
#define DROVER_NL_CMD_MAX	(__DROVER_NL_CMD_END - 1)

/**
 * enum drover_nl_attr - what is known of it
 * @DROVER_NL_A_UNSPEC: never sent
 * @DROVER_NL_A_PAD: aligns numbers of 64 bits
 * @DROVER_NL_A_TIME_NS: u64: CLOCK_MONOTONIC
 * @DROVER_NL_A_INO: u64: inode of the watched file
 * @DROVER_NL_A_PAGES: u64: length of the file or region
 * @DROVER_NL_A_REGION: u64: number of the region, as for DROVER_IOC_ADOPT
 * @DROVER_NL_A_NAME: string: of the region
 * @DROVER_NL_A_PAGE: u64
 * @DROVER_NL_A_COUNT: u64: pages
 * @DROVER_NL_A_WAITERS: u64: threads that sleep
 * @DROVER_NL_A_PID: u32: thread, in the initial pid namespace
 * @DROVER_NL_A_WAIT_MS: u64: for how long it has waited
 */
enum drover_nl_attr {
	DROVER_NL_A_UNSPEC,
	DROVER_NL_A_PAD,
	DROVER_NL_A_TIME_NS,
	DROVER_NL_A_INO,
	DROVER_NL_A_PAGES,
	DROVER_NL_A_REGION,
	DROVER_NL_A_NAME,
	DROVER_NL_A_PAGE,
	DROVER_NL_A_COUNT,
	DROVER_NL_A_WAITERS,
	DROVER_NL_A_PID,
	DROVER_NL_A_WAIT_MS,
	__DROVER_NL_A_END,
};
#define DROVER_NL_A_MAX		(__DROVER_NL_A_END - 1)

#endif
