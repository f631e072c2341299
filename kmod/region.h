/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef DROVER_KMOD_REGION_H
#define DROVER_KMOD_REGION_H

/*
 * What the files of regions share.
 *
 * References. A region lives as long as one of these files is open: gate files (a vm
 * descriptor, what a /dev/drover-NAME holds while it is open, what is opened by a path to
 * the memory), each of which has a reference in its private_data, and the loader's. A gated
 * mapping holds its gate file. So a reference is dropped where a file is released, which is
 * under no lock of a process, and code of the module that runs there is pinned by the file.
 *
 * Locks, in the order in which they are taken:
 *
 *	drover_region_obj.state		loader, grace, gate, publish
 *		folio lock		gate: each folio once, so that faults have ended
 *	regions_lock (region.c)		the list of all regions, names, numbers
 *
 * Faults come with mmap_lock or a mapping's lock, perhaps with the locks of the system call
 * that touches the page, and take none of the above but:
 *
 *	requests.table.xa_lock		a spinlock: the requests
 *	drover_region_obj.srcu		read: fault-around looks at the gate
 */
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
 * struct drover_pending - a request: a page that somebody waits for
 * @kref: one of the table, one of each waiter
 * @reading: in drover_requests.unread or .read; empty when it is answered
 * @stall: in drover_requests.stalls; empty once its stall was told or it is answered
 * @page: which page
 * @time_ns: CLOCK_MONOTONIC of the first touch
 * @stall_from_ns: since when the time of a stall runs
 * @pid: who touched first
 * @flags: DROVER_REQUEST_*
 * @waiters: threads that sleep on it
 * @done: the page is published, or all is over; set before @wq is woken
 * @wq: where they sleep
 *
 * All but @kref and @wq are written under the lock of the table only.
 */
struct drover_pending {
	struct kref kref;
	struct list_head reading, stall;
	unsigned long page;
	u64 time_ns, stall_from_ns;
	struct pid *pid;
	u32 flags;
	unsigned int waiters;
	bool done;
	wait_queue_head_t wq;
};

/**
 * struct drover_requests - the requests of a region
 * @table: by page; its lock guards all but @readers
 * @unread: those the loader has not read, oldest first
 * @read: those it has read and not answered
 * @stalls: those whose stall was not told, in the order of their stall_from_ns
 * @waiters: threads that sleep on any of them
 * @readers: the loader waits here
 * @stall_work: looks at the head of @stalls
 */
struct drover_requests {
	struct xarray table;
	struct list_head unread, read, stalls;
	unsigned long waiters;
	wait_queue_head_t readers;
	struct delayed_work stall_work;
};

/**
 * struct drover_region_obj - a region
 * @kref: one of each gate file, one of the loader's file, one of who makes it
 * @list: in the list of all regions; under regions_lock
 * @id: for DROVER_IOC_ADOPT; never reused
 * @grace_ms: how long waiters wait for a new loader; 0: for ever
 * @uid: who made it
 * @npages: length
 * @shm: the memory: an unlinked file of a tmpfs of the module's own, with shmem's
 *	operations; only the loader's mappings are of it
 * @name: "" or unique while the region is in the list
 * @minor: of /dev/drover-@name; -1 without a name
 * @gated: the gate is closed. Readers of @srcu, and who holds a folio's lock, see a change
 *	before drover_region_shut() goes on
 * @received: published pages. Bits are set and cleared under @state; read without a lock
 * @srcu: fault-around
 * @requests: see there
 * @state: guards the members below
 * @loader: there is one
 * @dead: there was none for longer than @grace_ms; for ever. Read without the lock
 * @grace_ends: jiffies at which waiters get SIGBUS; 0: at no time
 * @grace: looks at @grace_ends
 */
struct drover_region_obj {
	struct kref kref;
	struct list_head list;
	u64 id, grace_ms;
	kuid_t uid;
	unsigned long npages;
	struct file *shm;
	char name[DROVER_NAME_LEN];
	int minor;

	bool gated;
	unsigned long *received;
	struct srcu_struct srcu;
	struct drover_requests requests;

	struct mutex state;
	bool loader, dead;
	unsigned long grace_ends;
	struct delayed_work grace;
};

/* ---- region.c ---- */

void drover_region_put(struct drover_region_obj *r);
/* With a reference, or NULL. */
struct drover_region_obj *drover_region_by_minor(int minor);
struct drover_region_obj *drover_region_by_inode(const struct inode *inode);
/* A mapping of the memory, within it and in small pages; shmem's until the caller changes it. */
int drover_region_mmap(struct drover_region_obj *r, struct vm_area_struct *vma);

/* ---- gate.c ---- */

/* The inode of the memory is its owner's, and opened as a gate file, by whatever path. */
void drover_gate_inode(struct inode *inode);
/*
 * A new gate file of @r, with a reference of its own; @flags: O_RDWR or O_RDONLY. Release
 * it with fput(), which may be the end of the region.
 */
struct file *drover_gate_file(struct drover_region_obj *r, unsigned int flags);
/* The region of a gate file, or of a device that is open; NULL for any other. */
struct drover_region_obj *drover_gate_region(const struct file *file);

int drover_device_create(struct drover_region_obj *r);
void drover_device_destroy(struct drover_region_obj *r);
int drover_devices_init(void);
void drover_devices_exit(void);

/* ---- fault.c ---- */

/* Must who touches this page wait? */
static inline bool drover_blocked(struct drover_region_obj *r, unsigned long page)
{
	return READ_ONCE(r->gated) && !test_bit(page, r->received);
}

/* Give @vma, which has shmem's operations, those of a gated mapping. */
void drover_gate_vma(struct vm_area_struct *vma);

/* ---- requests.c ---- */

void drover_requests_init(struct drover_requests *q);
void drover_requests_end(struct drover_requests *q);
struct drover_pending *drover_request(struct drover_region_obj *r, unsigned long page,
				      bool write, bool wait);
void drover_request_done_waiting(struct drover_requests *q, struct drover_pending *p);
void drover_request_put(struct drover_pending *p);
u64 drover_wake(struct drover_region_obj *r, unsigned long first, unsigned long end);
u64 drover_waiters(struct drover_requests *q);
void drover_stall_work(struct work_struct *work);
bool drover_requests_unread(struct drover_requests *q);
int drover_requests_read_one(struct drover_requests *q, char __user *to);
void drover_requests_unread_all(struct drover_requests *q);

/* ---- loader.c ---- */

/* A new loader's file, with a reference of @r; -EBUSY there is one, -EOWNERDEAD too late. */
struct file *drover_loader_file(struct drover_region_obj *r);
int drover_loader_check(struct drover_region_obj *r);
/* The region of a loader's file; NULL for any other. */
struct drover_region_obj *drover_loader_region(const struct file *file);
void drover_grace_work(struct work_struct *work);

#endif
