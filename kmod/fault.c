// SPDX-License-Identifier: GPL-2.0-only
/*
 * The gate: who touches a page that is not published waits until it is.
 *
 * As in userfaultfd, a fault that has to wait lets go of mmap_lock first, and is retried
 * from the beginning afterwards. Where the caller can't have that (access from another
 * process, get_user_pages without a lock to drop) the access fails: sleeping there would
 * hold the lock for as long as the network takes. Where it can't sleep (KVM's first try of
 * a vCPU's fault) the page is asked for, and it comes again.
 *
 * Nothing but .fault and the clipped .map_pages makes entries, and both look at the gate
 * where who closes it (loader.c) can wait for them: .map_pages under srcu, .fault once more
 * when the folio is locked.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#include <linux/delay.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/pagemap.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "compat.h"
#include "region.h"
#include "trace.h"

static unsigned int stall_ms = 1000;
module_param(stall_ms, uint, 0644);
MODULE_PARM_DESC(stall_ms, "a fault that waits for longer is reported, in ms; 0: never");

static void wait_free(struct kref *kref)
{
	struct drover_wait *w = container_of(kref, struct drover_wait, kref);

	put_pid(w->pid);
	kfree(w);
}

void drover_wait_put(struct drover_wait *w)
{
	kref_put(&w->kref, wait_free);
}

static struct drover_wait *wait_new(unsigned long page, bool write)
{
	struct drover_wait *w = kzalloc(sizeof(*w), GFP_KERNEL_ACCOUNT);

	if (!w)
		return NULL;
	kref_init(&w->kref);
	INIT_LIST_HEAD(&w->queue);
	init_waitqueue_head(&w->wq);
	w->page = page;
	w->time_ns = ktime_get_ns();
	w->pid = get_pid(task_pid(current));
	w->flags = write ? DROVER_REQUEST_WRITE : 0;
	return w;
}

/* Look for stalls when the oldest request may have become one. */
static void watch_stalls(struct drover_region_obj *r)
{
	unsigned int ms = READ_ONCE(stall_ms);

	if (ms)
		schedule_delayed_work(&r->stall, msecs_to_jiffies(ms));
}

/*
 * The request for a page, with a reference: the one that is there, or a new one, which the
 * loader can read. As a waiter, if @wait. NULL: the page has been published meanwhile;
 * who publishes sets the bit first and then looks for requests, so one of us sees the
 * other. An error pointer: no memory.
 */
static struct drover_wait *ask(struct drover_region_obj *r, unsigned long page, bool write,
			       bool wait)
{
	struct drover_wait *w, *new = wait_new(page, write);
	int err = 0;

	if (!new)
		return ERR_PTR(-ENOMEM);
	/* Enough time to be published by somebody else. */
	if (drover_debug(DROVER_DEBUG_ASK_TWICE))
		msleep(2);
	xa_lock(&r->requests);
	do {
		w = xa_load(&r->requests, page);
		if (!w)
			err = __xa_insert(&r->requests, page, new, GFP_KERNEL_ACCOUNT);
	} while (!w && err == -EBUSY);
	/* Not before: the insertion lets go of the lock to allocate. */
	if (!w && !err && !drover_blocked(r, page) && !drover_debug(DROVER_DEBUG_ASK_TWICE)) {
		__xa_erase(&r->requests, page);
		xa_unlock(&r->requests);
		drover_wait_put(new);
		return NULL;
	}
	if (!w && !err) {
		w = new;
		list_add_tail(&w->queue, &r->queue);
	}
	if (w) {
		kref_get(&w->kref);
		w->waiters += wait;
	}
	xa_unlock(&r->requests);
	if (w == new) {
		wake_up_interruptible_poll(&r->readers, EPOLLIN | EPOLLRDNORM);
		watch_stalls(r);
		return w;
	}
	drover_wait_put(new);
	return w ?: ERR_PTR(err);
}

/* Answered; under the lock of the table, whose reference is returned. */
static struct drover_wait *answer(struct drover_region_obj *r, struct drover_wait *w)
{
	__xa_erase(&r->requests, w->page);
	list_del_init(&w->queue);
	w->done = true;
	wake_up_all(&w->wq);
	return w;
}

u64 drover_wake(struct drover_region_obj *r, unsigned long first, unsigned long end)
{
	unsigned long page = first;
	struct drover_wait *w;
	u64 woken = 0;

	for (;;) {
		xa_lock(&r->requests);
		w = xa_find(&r->requests, &page, end - 1, XA_PRESENT);
		if (w) {
			woken += w->waiters;
			answer(r, w);
		}
		xa_unlock(&r->requests);
		if (!w)
			return woken;
		drover_wait_put(w);
		cond_resched();
	}
}

u64 drover_waiters(struct drover_region_obj *r)
{
	struct drover_wait *w;
	unsigned long page;
	u64 n = 0;

	xa_lock(&r->requests);
	xa_for_each(&r->requests, page, w)
		n += w->waiters;
	xa_unlock(&r->requests);
	return n;
}

/* One stall at a time, oldest or not: the lock isn't held while it is told. */
static struct drover_wait *next_stall(struct drover_region_obj *r, u64 before, bool *more)
{
	struct drover_wait *w;
	unsigned long page;

	*more = false;
	xa_lock(&r->requests);
	xa_for_each(&r->requests, page, w) {
		if (w->told || !w->waiters)
			continue;
		*more = true;
		if (w->time_ns > before)
			continue;
		w->told = true;
		kref_get(&w->kref);
		break;
	}
	xa_unlock(&r->requests);
	return w;
}

void drover_stall_work(struct work_struct *work)
{
	struct drover_region_obj *r = container_of(to_delayed_work(work),
						   struct drover_region_obj, stall);
	u64 now = ktime_get_ns(), ms = READ_ONCE(stall_ms);
	struct drover_wait *w;
	bool more;

	if (!ms)
		return;
	while ((w = next_stall(r, now - ms * NSEC_PER_MSEC, &more))) {
		drover_event_stall(r->id, w->page, pid_nr(w->pid),
				   div_u64(now - w->time_ns, NSEC_PER_MSEC));
		drover_wait_put(w);
	}
	if (more)
		watch_stalls(r);
}

static unsigned int sleep_state(const struct vm_fault *vmf)
{
	if (vmf->flags & FAULT_FLAG_INTERRUPTIBLE)
		return TASK_INTERRUPTIBLE;
	return vmf->flags & FAULT_FLAG_KILLABLE ? TASK_KILLABLE : TASK_UNINTERRUPTIBLE;
}

static void sleep_on(struct drover_region_obj *r, struct drover_wait *w, struct vm_fault *vmf)
{
	unsigned int state = sleep_state(vmf);
	bool write = vmf->flags & FAULT_FLAG_WRITE;
	u64 begin = ktime_get_ns();
	unsigned long page = vmf->pgoff;
	DEFINE_WAIT(entry);

	prepare_to_wait(&w->wq, &entry, state);
	/* From here on the mapping may go away, and vmf with it. */
	drover_fault_unlock(vmf);
	/* Whoever sets one of these wakes us afterwards. */
	if (!READ_ONCE(w->done) && drover_blocked(r, page) && !READ_ONCE(r->dead))
		schedule();
	finish_wait(&w->wq, &entry);
	trace_drover_fault(r->id, page, task_pid_nr(current), write, ktime_get_ns() - begin);
}

/* 0: there is nothing to wait for any more. */
static vm_fault_t wait_for(struct drover_region_obj *r, struct vm_fault *vmf)
{
	bool nowait = vmf->flags & FAULT_FLAG_RETRY_NOWAIT;
	struct drover_wait *w;

	if (current->flags & (PF_EXITING | PF_DUMPCORE) || READ_ONCE(r->dead) ||
	    !(vmf->flags & FAULT_FLAG_ALLOW_RETRY))
		return VM_FAULT_SIGBUS;
	if (drover_fault_needs_mmap_lock(vmf))
		return VM_FAULT_RETRY;
	w = ask(r, vmf->pgoff, vmf->flags & FAULT_FLAG_WRITE, !nowait);
	if (IS_ERR_OR_NULL(w))
		return w ? VM_FAULT_OOM : 0;
	if (!nowait) {
		/* The mapping holds the region no longer than mmap_lock is held. */
		kref_get(&r->kref);
		sleep_on(r, w, vmf);
		xa_lock(&r->requests);
		w->waiters--;
		xa_unlock(&r->requests);
		drover_region_put(r);
	}
	drover_wait_put(w);
	return VM_FAULT_RETRY;
}

/* Is all of a large folio published? The kernel maps it as one. */
static bool all_published(struct drover_region_obj *r, struct folio *folio)
{
	unsigned long end = min(folio->index + folio_nr_pages(folio), r->npages);

	return find_next_zero_bit(r->received, end, folio->index) >= end;
}

static vm_fault_t give_back(struct vm_fault *vmf)
{
	unlock_page(vmf->page);
	put_page(vmf->page);
	vmf->page = NULL;
	return VM_FAULT_SIGBUS;
}

static vm_fault_t gate_fault(struct vm_fault *vmf)
{
	struct drover_region_obj *r = vmf->vma->vm_private_data;
	vm_fault_t ret = 0;

	if (vmf->pgoff >= r->npages)
		return VM_FAULT_SIGBUS;
	for (;;) {
		while (!ret && drover_blocked(r, vmf->pgoff))
			ret = wait_for(r, vmf);
		if (ret)
			return ret;
		ret = r->shmem_ops->fault(vmf);
		if (!(ret & VM_FAULT_LOCKED) || !drover_blocked(r, vmf->pgoff))
			break;
		/* The gate was closed meanwhile. */
		give_back(vmf);
		ret = 0;
	}
	/* Only who asks for huge pages by force gets here: region.c keeps them away. */
	if (ret & VM_FAULT_LOCKED && READ_ONCE(r->gated) && PageTransCompound(vmf->page) &&
	    !drover_debug(DROVER_DEBUG_HUGE) && !all_published(r, page_folio(vmf->page))) {
		pr_warn_once("region %llu: a huge page is published in part, who touches it gets SIGBUS\n",
			     r->id);
		return give_back(vmf);
	}
	return ret;
}

/* A large folio is mapped as a whole, whatever was asked for. */
static bool large_at(struct drover_region_obj *r, unsigned long page)
{
	struct folio *folio = filemap_get_folio(r->shm->f_mapping, page);
	bool large;

	if (IS_ERR_OR_NULL(folio))
		return false;
	large = folio_test_large(folio);
	folio_put(folio);
	return large;
}

/* The first page from which on all up to @page are published; not before @start. */
static pgoff_t first_published(struct drover_region_obj *r, pgoff_t start, pgoff_t page)
{
	while (page > start && test_bit(page - 1, r->received))
		page--;
	return page;
}

/* Map neighbours along: those that are published. */
static vm_fault_t gate_map_pages(struct vm_fault *vmf, pgoff_t start, pgoff_t end)
{
	struct drover_region_obj *r = vmf->vma->vm_private_data;
	vm_fault_t ret = 0;
	int idx = srcu_read_lock(&r->srcu);

	if (!READ_ONCE(r->gated) || drover_debug(DROVER_DEBUG_NO_CLIP)) {
		ret = r->shmem_ops->map_pages(vmf, start, end);
	} else if (vmf->pgoff < r->npages && test_bit(vmf->pgoff, r->received) &&
		   !large_at(r, vmf->pgoff)) {
		end = min_t(pgoff_t, end, r->npages - 1);
		end = find_next_zero_bit(r->received, end + 1, vmf->pgoff) - 1;
		start = first_published(r, start, vmf->pgoff);
		ret = r->shmem_ops->map_pages(vmf, start, end);
	}
	srcu_read_unlock(&r->srcu, idx);
	return ret;
}

static void gate_open(struct vm_area_struct *vma)
{
	struct drover_region_obj *r = vma->vm_private_data;

	kref_get(&r->kref);
	if (r->shmem_ops->open)
		r->shmem_ops->open(vma);
}

static void gate_close(struct vm_area_struct *vma)
{
	struct drover_region_obj *r = vma->vm_private_data;

	if (r->shmem_ops->close)
		r->shmem_ops->close(vma);
	drover_region_put(r);
}

/**
 * drover_gate_ops - the operations of a region's gated mappings
 * @r: the region; its mutex of state is held
 * @shmem: what shmem has set
 *
 * They are shmem's but for these. No page_mkwrite: it would make each first store fault,
 * and later kernels refuse long-term pins where it is.
 */
void drover_gate_ops(struct drover_region_obj *r, const struct vm_operations_struct *shmem)
{
	if (r->shmem_ops)
		return;
	r->vm_ops = *shmem;
	r->vm_ops.fault = gate_fault;
	r->vm_ops.map_pages = gate_map_pages;
	r->vm_ops.open = gate_open;
	r->vm_ops.close = gate_close;
	r->shmem_ops = shmem;
}
