// SPDX-License-Identifier: GPL-2.0-only
/*
 * The loader's descriptor: reads who waits for what, fills pages through a mapping without
 * a gate, publishes them. There is one loader a region; when its last descriptor is
 * closed, by whatever way, another one may adopt the region.
 */
#include <linux/anon_inodes.h>
#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/pagevec.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "region.h"
#include "trace.h"

static bool range_ok(const struct drover_region_obj *r, u64 first, u64 npages)
{
	return npages && first < r->npages && npages <= r->npages - first;
}

/* ---- the gate ---- */

/* Faults that found the gate open have made their entries when we get the folios' locks. */
static int pass_all(struct drover_region_obj *r)
{
	struct folio_batch batch;
	pgoff_t at = 0;

	folio_batch_init(&batch);
	while (filemap_get_folios(r->shm->f_mapping, &at, r->npages - 1, &batch)) {
		unsigned int i;

		for (i = 0; i < folio_batch_count(&batch); i++) {
			folio_lock(batch.folios[i]);
			folio_unlock(batch.folios[i]);
		}
		folio_batch_release(&batch);
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

static int shut(struct drover_region_obj *r)
{
	unsigned long first = 0, end;
	int ret;

	WRITE_ONCE(r->gated, true);
	synchronize_srcu(&r->srcu);
	ret = pass_all(r);
	if (ret < 0)
		return ret;
	for (; (first = find_next_zero_bit(r->received, r->npages, first)) < r->npages;
	     first = end) {
		end = find_next_bit(r->received, r->npages, first);
		if (!drover_debug(DROVER_DEBUG_NO_UNMAP))
			unmap_mapping_pages(r->shm->f_mapping, first, end - first, false);
		cond_resched();
	}
	return 0;
}

static int cmd_gate(struct file *file, void *arg)
{
	struct drover_region_obj *r = file->private_data;
	struct drover_gate *a = arg;
	int ret = 0;

	if (a->flags & ~(DROVER_GATE_CLOSED | DROVER_GATE_FRESH))
		return -EINVAL;
	if (mutex_lock_interruptible(&r->state))
		return -EINTR;
	/* Who has seen a bit of before is waited for like who has seen the gate open. */
	if (a->flags & DROVER_GATE_FRESH)
		bitmap_zero(r->received, r->npages);
	if (a->flags & DROVER_GATE_CLOSED) {
		ret = shut(r);
	} else {
		WRITE_ONCE(r->gated, false);
		drover_wake(r, 0, r->npages);
	}
	mutex_unlock(&r->state);
	return ret;
}

/* ---- pages ---- */

static struct drover_range *ranges_get(struct drover_region_obj *r, const struct drover_publish *a)
{
	struct drover_range *range;
	unsigned int i;

	if (!a->nranges || a->nranges > DROVER_RANGES_MAX)
		return ERR_PTR(-EINVAL);
	range = vmemdup_user(u64_to_user_ptr(a->ranges), array_size(a->nranges, sizeof(*range)));
	if (IS_ERR(range))
		return range;
	for (i = 0; i < a->nranges; i++) {
		if (!range_ok(r, range[i].first, range[i].npages)) {
			kvfree(range);
			return ERR_PTR(-EINVAL);
		}
	}
	return range;
}

static u64 publish(struct drover_region_obj *r, const struct drover_range *range, bool zero)
{
	u64 woken;

	if (zero)
		shmem_truncate_range(file_inode(r->shm), (loff_t)range->first << PAGE_SHIFT,
				     ((loff_t)(range->first + range->npages) << PAGE_SHIFT) - 1);
	bitmap_set(r->received, range->first, range->npages);
	woken = drover_wake(r, range->first, range->first + range->npages);
	trace_drover_publish(r->id, range->first, range->npages, woken);
	return woken;
}

static int cmd_publish(struct file *file, void *arg)
{
	struct drover_region_obj *r = file->private_data;
	struct drover_publish *a = arg;
	struct drover_range *range;
	unsigned int i;

	if (a->flags & ~DROVER_PUBLISH_ZERO || a->reserved)
		return -EINVAL;
	range = ranges_get(r, a);
	if (IS_ERR(range))
		return PTR_ERR(range);
	if (mutex_lock_interruptible(&r->state)) {
		kvfree(range);
		return -EINTR;
	}
	a->woken = 0;
	for (i = 0; i < a->nranges; i++) {
		a->woken += publish(r, &range[i], a->flags & DROVER_PUBLISH_ZERO);
		cond_resched();
	}
	mutex_unlock(&r->state);
	kvfree(range);
	return 0;
}

static int cmd_received(struct file *file, void *arg)
{
	struct drover_region_obj *r = file->private_data;
	struct drover_received *a = arg;
	u64 __user *to = u64_to_user_ptr(a->bitmap);
	u64 page, left, word;

	if (a->flags || a->first % BITS_PER_LONG || a->bitmap % sizeof(u64) ||
	    !range_ok(r, a->first, a->npages))
		return -EINVAL;
	a->count = 0;
	for (page = 0; page < a->npages; page += BITS_PER_LONG) {
		word = READ_ONCE(r->received[(a->first + page) / BITS_PER_LONG]);
		left = a->npages - page;
		if (left < BITS_PER_LONG)
			word &= (1ul << left) - 1;
		if (put_user(word, to++))
			return -EFAULT;
		a->count += hweight_long(word);
		if (page % (1 << 18))
			continue;
		cond_resched();
		if (signal_pending(current))
			return -EINTR;
	}
	return 0;
}

/* ---- requests ---- */

static struct drover_wait *dequeue(struct drover_region_obj *r)
{
	struct drover_wait *w;

	xa_lock(&r->requests);
	w = list_first_entry_or_null(&r->queue, struct drover_wait, queue);
	if (w) {
		list_del_init(&w->queue);
		kref_get(&w->kref);
	}
	xa_unlock(&r->requests);
	return w;
}

/* It could not be stored: it is the next one to be read, unless it was answered. */
static void put_back(struct drover_region_obj *r, struct drover_wait *w)
{
	xa_lock(&r->requests);
	if (!w->done && list_empty(&w->queue))
		list_add(&w->queue, &r->queue);
	xa_unlock(&r->requests);
}

static int read_one(struct drover_region_obj *r, char __user *to)
{
	struct drover_wait *w = dequeue(r);
	struct drover_request q;
	int ret = 0;

	if (!w)
		return -EAGAIN;
	q = (struct drover_request){
		.page = w->page,
		.time_ns = w->time_ns,
		.pid = pid_vnr(w->pid),
		.flags = w->flags,
	};
	if (copy_to_user(to, &q, sizeof(q))) {
		put_back(r, w);
		ret = -EFAULT;
	}
	drover_wait_put(w);
	return ret;
}

static bool has_requests(struct drover_region_obj *r)
{
	return !list_empty_careful(&r->queue);
}

static ssize_t loader_read(struct file *file, char __user *to, size_t len, loff_t *pos)
{
	struct drover_region_obj *r = file->private_data;
	size_t done = 0;
	int ret = 0;

	if (len < sizeof(struct drover_request))
		return -EINVAL;
	do {
		ret = read_one(r, to + done);
		if (ret >= 0) {
			done += sizeof(struct drover_request);
		} else if (ret == -EAGAIN && !done && !(file->f_flags & O_NONBLOCK)) {
			ret = wait_event_interruptible(r->readers, has_requests(r));
			ret = ret ? -EINTR : 0;
		}
	} while (ret >= 0 && len - done >= sizeof(struct drover_request));
	return done ? done : ret;
}

static __poll_t loader_poll(struct file *file, poll_table *wait)
{
	struct drover_region_obj *r = file->private_data;

	poll_wait(file, &r->readers, wait);
	return has_requests(r) ? EPOLLIN | EPOLLRDNORM : 0;
}

/* ---- the descriptor ---- */

/* Without a gate: the operations stay shmem's. */
static int loader_mmap(struct file *file, struct vm_area_struct *vma)
{
	return drover_region_mmap(file->private_data, vma);
}

/* Waiters go on waiting, for ever or for their time of grace. */
static int loader_release(struct inode *inode, struct file *file)
{
	struct drover_region_obj *r = file->private_data;
	bool missed;

	mutex_lock(&r->state);
	r->loader = false;
	missed = r->gated && !bitmap_full(r->received, r->npages);
	if (missed && r->grace_ms)
		mod_delayed_work(system_wq, &r->grace, msecs_to_jiffies(r->grace_ms));
	mutex_unlock(&r->state);
	if (missed)
		drover_event_loader_died(r->id, drover_waiters(r));
	drover_region_put(r);
	return 0;
}

void drover_grace_work(struct work_struct *work)
{
	struct drover_region_obj *r = container_of(to_delayed_work(work),
						   struct drover_region_obj, grace);

	mutex_lock(&r->state);
	if (!r->loader) {
		WRITE_ONCE(r->dead, true);
		drover_wake(r, 0, r->npages);
	}
	mutex_unlock(&r->state);
}

static const struct drover_cmd commands[] = {
	DROVER_CMD(DROVER_IOC_GATE, struct drover_gate, sizeof(struct drover_gate), cmd_gate,
		   NULL),
	DROVER_CMD(DROVER_IOC_PUBLISH, struct drover_publish, sizeof(struct drover_publish),
		   cmd_publish, NULL),
	DROVER_CMD(DROVER_IOC_RECEIVED, struct drover_received, sizeof(struct drover_received),
		   cmd_received, NULL),
};

static long loader_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return drover_ioctl(commands, ARRAY_SIZE(commands), file, cmd, arg);
}

static const struct file_operations loader_fops = {
	.owner = THIS_MODULE,
	.release = loader_release,
	.read = loader_read,
	.poll = loader_poll,
	.mmap = loader_mmap,
	.unlocked_ioctl = loader_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

bool drover_is_loader(const struct file *file)
{
	return file->f_op == &loader_fops;
}

/* What nobody has answered is read again. */
static void requeue(struct drover_region_obj *r)
{
	struct drover_wait *w;
	unsigned long page;

	xa_lock(&r->requests);
	xa_for_each(&r->requests, page, w)
		if (list_empty(&w->queue))
			list_add_tail(&w->queue, &r->queue);
	xa_unlock(&r->requests);
}

static int can_load(struct drover_region_obj *r)
{
	if (r->dead)
		return -EOWNERDEAD;
	return r->loader ? -EBUSY : 0;
}

/* 0 or an error, as of now. */
int drover_loader_check(struct drover_region_obj *r)
{
	int ret;

	mutex_lock(&r->state);
	ret = can_load(r);
	mutex_unlock(&r->state);
	return ret;
}

/**
 * drover_loader_open - make a descriptor for the loader of a region
 * @r: the region, of which a reference is taken
 *
 * Return: the descriptor; -EBUSY there is a loader, -EOWNERDEAD its grace has run out
 */
int drover_loader_open(struct drover_region_obj *r)
{
	int fd;

	mutex_lock(&r->state);
	fd = can_load(r);
	if (!fd) {
		kref_get(&r->kref);
		fd = anon_inode_getfd("[drover-loader]", &loader_fops, r, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			drover_region_put(r);
	}
	if (fd >= 0) {
		r->loader = true;
		if (!drover_debug(DROVER_DEBUG_NO_REQUEUE))
			requeue(r);
	}
	mutex_unlock(&r->state);
	return fd;
}
