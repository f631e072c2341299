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
#include <linux/file.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>

#include "compat.h"
#include "region.h"
#include "trace.h"

/* shmem's operations of a mapping, and ours: the same but for two. Set once, see below. */
static const struct vm_operations_struct *shmem_ops;
static struct vm_operations_struct gate_ops;

/* The mapping pins its file, and that pins the region. */
static struct drover_region_obj *region_of(const struct vm_fault *vmf)
{
	return vmf->vma->vm_file->private_data;
}

/*
 * A fault of a process in user mode is ended by any signal, and comes again when the signal
 * is dealt with. A system call that touches the page can't be left in the middle: the kernel
 * tries again at once, and would do so for as long as the signal is pending, so from the
 * second try on only a fatal one ends the sleep. get_user_pages() with FOLL_INTERRUPTIBLE
 * looks at signals before it comes a second time.
 */
static unsigned int sleep_state(const struct vm_fault *vmf)
{
	if (vmf->flags & FAULT_FLAG_INTERRUPTIBLE &&
	    (vmf->flags & FAULT_FLAG_USER || !(vmf->flags & FAULT_FLAG_TRIED) ||
	     drover_debug(DROVER_DEBUG_SPIN)))
		return TASK_INTERRUPTIBLE;
	return vmf->flags & FAULT_FLAG_KILLABLE ? TASK_KILLABLE : TASK_UNINTERRUPTIBLE;
}

static void sleep_on(struct drover_region_obj *r, struct drover_pending *p, struct vm_fault *vmf)
{
	unsigned int state = sleep_state(vmf);
	bool write = vmf->flags & FAULT_FLAG_WRITE;
	u64 begin = ktime_get_ns();
	DEFINE_WAIT(entry);

	prepare_to_wait(&p->wq, &entry, state);
	/* From here on the mapping may go away, and vmf with it. */
	drover_fault_unlock(vmf);
	/* Whoever sets one of these wakes us afterwards. */
	if (!READ_ONCE(p->done) && drover_blocked(r, p->page) && !READ_ONCE(r->dead))
		schedule();
	finish_wait(&p->wq, &entry);
	trace_drover_fault(r->id, p->page, task_pid_nr(current), write, ktime_get_ns() - begin);
}

/* 0: there is nothing to wait for any more. */
static vm_fault_t wait_for(struct drover_region_obj *r, struct vm_fault *vmf)
{
	bool nowait = vmf->flags & FAULT_FLAG_RETRY_NOWAIT;
	struct drover_pending *p;
	struct file *file;

	if (current->flags & (PF_EXITING | PF_DUMPCORE) || READ_ONCE(r->dead) ||
	    !(vmf->flags & FAULT_FLAG_ALLOW_RETRY))
		return VM_FAULT_SIGBUS;
	if (drover_fault_needs_mmap_lock(vmf))
		return VM_FAULT_RETRY;
	p = drover_request(r, vmf->pgoff, vmf->flags & FAULT_FLAG_WRITE, !nowait);
	if (IS_ERR_OR_NULL(p))
		return p ? VM_FAULT_OOM : 0;
	if (!nowait) {
		/* The mapping holds the region no longer than mmap_lock is held. */
		file = get_file(vmf->vma->vm_file);
		sleep_on(r, p, vmf);
		drover_request_done_waiting(&r->requests, p);
		drover_request_put(p);
		fput(file);
		return VM_FAULT_RETRY;
	}
	drover_request_put(p);
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
	struct drover_region_obj *r = region_of(vmf);
	vm_fault_t ret = 0;

	if (vmf->pgoff >= r->npages)
		return VM_FAULT_SIGBUS;
	for (;;) {
		while (!ret && drover_blocked(r, vmf->pgoff))
			ret = wait_for(r, vmf);
		if (ret)
			return ret;
		ret = shmem_ops->fault(vmf);
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
	struct drover_region_obj *r = region_of(vmf);
	vm_fault_t ret = 0;
	int idx = srcu_read_lock(&r->srcu);

	if (!READ_ONCE(r->gated) || drover_debug(DROVER_DEBUG_NO_CLIP)) {
		ret = shmem_ops->map_pages(vmf, start, end);
	} else if (vmf->pgoff < r->npages && test_bit(vmf->pgoff, r->received) &&
		   !large_at(r, vmf->pgoff)) {
		end = min_t(pgoff_t, end, r->npages - 1);
		end = find_next_zero_bit(r->received, end + 1, vmf->pgoff) - 1;
		start = first_published(r, start, vmf->pgoff);
		ret = shmem_ops->map_pages(vmf, start, end);
	}
	srcu_read_unlock(&r->srcu, idx);
	return ret;
}

/**
 * drover_gate_vma - give a mapping the operations of a gated one
 * @vma: has shmem's; its file is a gate file. mmap_lock is held for writing
 *
 * The operations are shmem's but for .fault and .map_pages. There is no .open and .close,
 * since the kernel counts the references of the file, also when it merges mappings. There is
 * no .page_mkwrite: it would make each first store fault, and later kernels refuse long-term
 * pins where it is.
 */
void drover_gate_vma(struct vm_area_struct *vma)
{
	static DEFINE_MUTEX(lock);

	mutex_lock(&lock);
	if (!shmem_ops) {
		gate_ops = *vma->vm_ops;
		gate_ops.fault = gate_fault;
		gate_ops.map_pages = gate_map_pages;
		shmem_ops = vma->vm_ops;
	}
	mutex_unlock(&lock);
	vma->vm_ops = &gate_ops;
}
