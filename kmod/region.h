/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef DROVER_KMOD_REGION_H
#define DROVER_KMOD_REGION_H

/* What region.c, fault.c and loader.c share. */
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/srcu.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "internal.h"

/**
 * struct drover_region_obj - a region
 * @kref: one of each descriptor and each gated mapping
 * @end: what is left to do when the last one is gone; whoever that was may hold mmap_lock
 * @list: in the list of all, by which it is adopted; under regions_lock
 * @shm: the memory, an unlinked file of a tmpfs without huge pages
 * @minor: of /dev/drover-@name; -1 without a name
 * @shmem_ops: of its mappings, as shmem has set them; NULL before the first one
 * @vm_ops: the same with our own fault, map_pages, open and close
 * @gated: the gate is closed. Readers of @srcu, and who holds a folio's lock, see the change
 * @received: published pages, bits only ever set but by DROVER_GATE_FRESH
 * @requests: struct drover_wait of each page that somebody waits for, under its own lock
 * @queue: of those the ones that the loader hasn't read, oldest first; under the same lock
 * @readers: the loader waits here for requests
 * @state: guards the members below
 * @loader: there is one
 * @dead: there was none for longer than @grace_ms; for ever
 */
struct drover_region_obj {
	struct kref kref;
	struct work_struct end;
	struct list_head list;
	u64 id, grace_ms;
	kuid_t uid;
	unsigned long npages;
	struct file *shm;
	const struct vm_operations_struct *shmem_ops;
	struct vm_operations_struct vm_ops;
	char name[DROVER_NAME_LEN];
	int minor;

	bool gated;
	unsigned long *received;
	struct srcu_struct srcu;

	struct xarray requests;
	struct list_head queue;
	wait_queue_head_t readers;
	struct delayed_work stall;

	struct mutex state;
	bool loader, dead;
	struct delayed_work grace;
};

/**
 * struct drover_wait - a page that somebody waits for
 * @kref: one of the table of requests, one of each waiter
 * @queue: in the region's queue, or empty
 * @waiters: threads that sleep; under the lock of the table
 * @done: published, or all is over; under the lock of the table
 * @told: a stall was reported
 * @wq: where they sleep
 */
struct drover_wait {
	struct kref kref;
	struct list_head queue;
	unsigned long page;
	u64 time_ns;
	struct pid *pid;
	u32 flags;
	unsigned int waiters;
	bool done, told;
	wait_queue_head_t wq;
};

/* ---- region.c ---- */

void drover_region_put(struct drover_region_obj *r);
/* A mapping of the memory, within it and in small pages; shmem's until the caller changes it. */
int drover_region_mmap(struct drover_region_obj *r, struct vm_area_struct *vma);
/* From a file's operations; NULL if it is no descriptor of a region. */
struct drover_region_obj *drover_region_of(struct file *file);

/* ---- fault.c ---- */

/* Must who touches this page wait? */
static inline bool drover_blocked(struct drover_region_obj *r, unsigned long page)
{
	return READ_ONCE(r->gated) && !test_bit(page, r->received);
}

void drover_gate_ops(struct drover_region_obj *r, const struct vm_operations_struct *shmem);
/* Requests of [first, end) are answered. Returns how many threads go on. */
u64 drover_wake(struct drover_region_obj *r, unsigned long first, unsigned long end);
u64 drover_waiters(struct drover_region_obj *r);
void drover_wait_put(struct drover_wait *w);
void drover_stall_work(struct work_struct *work);

/* ---- loader.c ---- */

int drover_loader_open(struct drover_region_obj *r);
int drover_loader_check(struct drover_region_obj *r);
bool drover_is_loader(const struct file *file);
void drover_grace_work(struct work_struct *work);

#endif
