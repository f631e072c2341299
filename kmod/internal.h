/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef DROVER_KMOD_INTERNAL_H
#define DROVER_KMOD_INTERNAL_H

/*
 * What the files of drover.ko share.
 *
 *	main.c		/dev/drover, the dispatcher of commands
 *	attach.c	the attach object: its descriptor, arm, disarm, commands
 *	harvest.c	the three channels of a harvest
 *	hold.c		the slots: references held of an attached file's folios
 *	lru.c		the kernel's lists of pages for reclaim
 *	walk.c		page tables of all mappings of a file
 *	region.c	regions: life, lookup, commands
 *	gate.c		what a VMM maps of a region, /dev/drover-NAME
 *	fault.c		faults of gated mappings
 *	requests.c	pages that somebody waits for
 *	loader.c	the loader's descriptor
 *	events.c	tracepoints' definitions, generic netlink
 */
#include <linux/build_bug.h>
#include <linux/fs.h>
#include <linux/types.h>

#include <linux/drover.h>

/**
 * struct drover_fds - descriptors that a command is going to return
 * @n: how many
 * @at: number and file of each. The number is reserved and the file is nobody's but ours:
 *	the dispatcher installs all of them once the command has succeeded and its outputs are
 *	written, which can't fail, or none. So nobody sees a descriptor that is taken back
 */
struct drover_fds {
	unsigned int n;
	struct {
		int fd;
		struct file *file;
	} at[2];
};

/**
 * drover_fd_add - return a file as a descriptor
 * @fds: the command's
 * @file: taken over, also on failure; or an error pointer
 *
 * Return: the descriptor (O_CLOEXEC), which is not installed yet, or an error.
 */
int drover_fd_add(struct drover_fds *fds, struct file *file);

/**
 * struct drover_cmd - one command of a descriptor
 * @cmd: DROVER_IOC_*; only its magic and number are matched, the caller's structure may
 *	have another size
 * @min: size of the structure in its first version
 * @size: size of the structure as this module knows it, at most DROVER_ARG_MAX
 * @fn: gets the structure in kernel memory, with zeros where the caller's was shorter.
 *	Checks flags and reserved members itself. What it changes is written back for the
 *	caller when it returns >= 0, -EINTR or -EFAULT. Returns the value of the ioctl
 * @abort: takes back what @fn has done, but for descriptors, when the outputs can't be
 *	written; may be NULL
 */
struct drover_cmd {
	unsigned int cmd;
	size_t min;
	size_t size;
	int (*fn)(struct file *file, void *arg, struct drover_fds *fds);
	void (*abort)(struct file *file);
};

#define DROVER_ARG_MAX 128

#define DROVER_CMD(_cmd, _type, _min, _fn, _abort) { \
	.cmd = (_cmd), \
	.min = (_min), \
	.size = sizeof(_type) + BUILD_BUG_ON_ZERO(sizeof(_type) > DROVER_ARG_MAX), \
	.fn = (_fn), \
	.abort = (_abort), \
}

/* main.c */
long drover_ioctl(const struct drover_cmd *table, unsigned int n, struct file *file,
		  unsigned int cmd, unsigned long arg);

/* attach.c */
int drover_cmd_attach(struct file *file, void *arg, struct drover_fds *fds);
u64 drover_attach_features(void);
u64 drover_attach_max_pages(void);
/* lru.c */
int drover_lru_init(void);
void drover_lru_exit(void);

/* region.c */
int drover_cmd_region(struct file *file, void *arg, struct drover_fds *fds);
int drover_cmd_adopt(struct file *file, void *arg, struct drover_fds *fds);
int drover_region_init(void);
void drover_region_exit(void);

/**
 * drover_region_shm - the shmem file behind a descriptor of a region
 * @file: any file
 *
 * Return: the file, without a new reference; NULL if @file is neither a vm nor a loader
 * descriptor.
 */
struct file *drover_region_shm(struct file *file);

/*
 * events.c. From process context, under no spinlock; they allocate, but only when somebody
 * listens, and never wait for listeners. Those of an attach are tracepoints, too, harvest is
 * nothing else. Inode numbers and pages as in drover.h; @pid is in
 * the initial pid namespace, @name is "" for a region without one.
 */
int drover_events_init(void);
void drover_events_exit(void);
void drover_event_attach(u64 ino, u64 pages);
void drover_event_release(u64 ino);
void drover_event_late(u64 ino, u64 page, u64 n);
void drover_event_harvest(u64 ino, const struct drover_harvest *a, u64 ns);
void drover_event_region_new(u64 id, u64 pages, const char *name);
void drover_event_region_end(u64 id);
void drover_event_loader_died(u64 id, u64 waiters);
void drover_event_loader_adopted(u64 id);
void drover_event_stall(u64 id, u64 page, u32 pid, u64 wait_ms);

/*
 * Switches that break the harvest on purpose, for tests that must see that breakage. They
 * exist only in a build with DROVER_DEBUG=1: module parameter "debug", a sum of these.
 */
#define DROVER_DEBUG_NO_FLUSH		(1U << 0)	/* no TLB flush after the walk */
#define DROVER_DEBUG_NO_FOLIO_DIRTY	(1U << 1)	/* the folios' own flag isn't read */
#define DROVER_DEBUG_NO_HOLD		(1U << 2)	/* references are dropped */
#define DROVER_DEBUG_STOP_AT_SKIP	(1U << 3)	/* the walk ends at what it skips */
#define DROVER_DEBUG_NO_CLIP		(1U << 4)	/* neighbours are mapped along */
#define DROVER_DEBUG_HUGE		(1U << 5)	/* gated mappings may be of huge pages */
#define DROVER_DEBUG_NO_REQUEUE		(1U << 6)	/* a new loader is not told what was asked */
#define DROVER_DEBUG_NO_UNMAP		(1U << 7)	/* closing the gate leaves entries alone */
#define DROVER_DEBUG_ASK_TWICE		(1U << 8)	/* a published page may be asked for */
#define DROVER_DEBUG_OPEN_PLAIN		(1U << 9)	/* the memory's inode stays shmem's */
#define DROVER_DEBUG_COLLAPSE		(1U << 10)	/* gated mappings without VM_DONTEXPAND */
#define DROVER_DEBUG_ZERO_AGAIN		(1U << 11)	/* PUBLISH_ZERO drops published pages */
#define DROVER_DEBUG_OLD_GRACE		(1U << 12)	/* a new loader leaves the old timer */
#define DROVER_DEBUG_SPIN		(1U << 13)	/* any signal ends a sleep in the kernel */
#define DROVER_DEBUG_HOLD_LATE		(1U << 14)	/* what is new is held after its entries */
#define DROVER_DEBUG_FORGET_PINS	(1U << 15)	/* a pin that is gone is forgotten */
#define DROVER_DEBUG_COUNT_LATE		(1U << 16)	/* the file's pages are counted last */
#define DROVER_DEBUG_NO_RESCUE		(1U << 17)	/* pages stay on the unevictable list */
#define DROVER_DEBUG_HOLD_UNLOCKED	(1U << 18)	/* slots are set without the folio's lock */

#ifdef DROVER_DEBUG
bool drover_debug(unsigned int what);
#else
static inline bool drover_debug(unsigned int what)
{
	return false;
}
#endif

#endif
