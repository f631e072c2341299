// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel's lists of pages for reclaim. Each CPU keeps batches of pages on their way to a
 * list, with a reference of each: what a final harvest must not take for somebody's pin.
 */
#include <linux/cpu.h>
#include <linux/hrtimer.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/pagevec.h>
#include <linux/refcount.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "compat.h"
#include "watch.h"

#define DRAIN_NS NSEC_PER_MSEC	/* for so long a harvest waits for other CPUs */

/**
 * struct drain - CPUs that were asked to empty their batches
 * @ref: one of each CPU that has not done it, one of who asks
 * @left: CPUs that have not done it
 * @wq: who asks waits here
 * @cpu: the work of each
 */
struct drain {
	refcount_t ref;
	atomic_t left;
	wait_queue_head_t wq;
	struct drain_cpu {
		struct work_struct work;
		struct drain *drain;
	} cpu[];
};

static struct workqueue_struct *queue;

static void drain_put(struct drain *d)
{
	if (refcount_dec_and_test(&d->ref))
		kfree(d);
}

/* Nothing that only drains is exported: this releases a batch, and empties this CPU's first. */
static void drain_here(void)
{
	struct folio *folio = page_folio(ZERO_PAGE(0));
	struct folio_batch batch;

	folio_batch_init(&batch);
	folio_get(folio);
	folio_batch_add(&batch, folio);
	folio_batch_release(&batch);
}

static void drain_work(struct work_struct *work)
{
	struct drain *d = container_of(work, struct drain_cpu, work)->drain;

	drain_here();
	if (atomic_dec_and_test(&d->left))
		wake_up(&d->wq);
	drain_put(d);
}

/**
 * drover_lru_drain - let all CPUs put their batches of pages on the lists
 *
 * Waits for a millisecond at most: a CPU that a real-time task keeps busy does it later, or
 * not at all, and the references it has then are reported as somebody's. A harvest is right
 * without this, and reports less with it.
 */
void drover_lru_drain(void)
{
	struct drain *d = kzalloc(struct_size(d, cpu, nr_cpu_ids), GFP_KERNEL);
	unsigned int cpu;

	drain_here();
	if (!d)
		return;
	refcount_set(&d->ref, 1);
	init_waitqueue_head(&d->wq);
	atomic_set(&d->left, 1);
	for_each_online_cpu(cpu) {
		INIT_WORK(&d->cpu[cpu].work, drain_work);
		d->cpu[cpu].drain = d;
		refcount_inc(&d->ref);
		atomic_inc(&d->left);
		queue_work_on(cpu, queue, &d->cpu[cpu].work);
	}
	if (!atomic_dec_and_test(&d->left))
		wait_event_hrtimeout(d->wq, !atomic_read(&d->left), ns_to_ktime(DRAIN_NS));
	drain_put(d);
}

/**
 * drover_lru_rescue - let all pages of a file be reclaimed again
 * @mapping: of the file, which is not unevictable any more
 *
 * While it was, pages went to the list of what is never looked at: those that were held, and
 * those that came to be since the last harvest, too. A page that is on its way to a list at
 * this moment gets to the right one: who puts it there looks at the file after it has set the
 * page's flag, and this function looks at the flag after the file has changed.
 */
void drover_lru_rescue(struct address_space *mapping)
{
	struct folio_batch batch;
	pgoff_t at = 0;

	if (drover_debug(DROVER_DEBUG_NO_RESCUE))
		return;
	folio_batch_init(&batch);
	while (filemap_get_folios(mapping, &at, ULONG_MAX, &batch)) {
		check_move_unevictable_folios(&batch);
		folio_batch_release(&batch);
		cond_resched();
	}
}

int drover_lru_init(void)
{
	queue = alloc_workqueue("drover", 0, 0);
	return queue ? 0 : -ENOMEM;
}

/* Also waits for CPUs that were asked and have not come to it. */
void drover_lru_exit(void)
{
	destroy_workqueue(queue);
}
