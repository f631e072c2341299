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

/* A bitmap may have 128 MiB: nothing that goes through all of it does so in one step. */
#define STEP (1ul << 22)

static void forget_received(struct drover_region_obj *r)
{
	unsigned long at, n;

	lockdep_assert_held(&r->state);
	for (at = 0; at < r->npages; at += n) {
		n = min(STEP, r->npages - at);
		bitmap_clear(r->received, at, n);
		cond_resched();
	}
}

static bool all_received(struct drover_region_obj *r)
{
	unsigned long at = 0, to;

	for (at = 0; at < r->npages; at = to) {
		to = at + min(STEP, r->npages - at);
		if (find_next_zero_bit(r->received, to, at) < to)
			return false;
		cond_resched();
	}
	return true;
}

/* Faults that found the gate open have made their entries when we get the folios' locks. */
static int pass_all(struct drover_region_obj *r)
{
	struct folio_batch batch;
	pgoff_t at = 0;
	int ret = 0;

	folio_batch_init(&batch);
	while (!ret && filemap_get_folios(r->shm->f_mapping, &at, r->npages - 1, &batch)) {
		unsigned int i;

		for (i = 0; i < folio_batch_count(&batch) && !ret; i++) {
			ret = folio_lock_killable(batch.folios[i]);
			if (!ret)
				folio_unlock(batch.folios[i]);
		}
		folio_batch_release(&batch);
		cond_resched();
	}
	return ret;
}

/*
 * Close the gate: when this returns 0, no gated mapping has an entry of an unpublished page.
 * Nobody makes one after the bit is set but who has looked at it before: fault-around, which
 * synchronize_srcu() waits for, and .fault, which looks again under the folio's lock, so who
 * had the lock before pass_all() has made its entry, and who gets it later sees the bit.
 * Entries that were made are removed last.
 */
static int shut(struct drover_region_obj *r)
{
	unsigned long first = 0, end;
	int ret;

	lockdep_assert_held(&r->state);
	WRITE_ONCE(r->gated, true);
	synchronize_srcu(&r->srcu);
	ret = pass_all(r);
	for (; !ret && (first = find_next_zero_bit(r->received, r->npages, first)) < r->npages;
	     first = end) {
		end = find_next_bit(r->received, r->npages, first);
		if (!drover_debug(DROVER_DEBUG_NO_UNMAP))
			unmap_mapping_pages(r->shm->f_mapping, first, end - first, false);
		cond_resched();
		if (fatal_signal_pending(current))
			ret = -EINTR;
	}
	return ret;
}

static int cmd_gate(struct file *file, void *arg, struct drover_fds *fds)
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
		forget_received(r);
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

/* Pages between two looks at signals: to drop the content of so many takes some ms. */
#define PIECE (1ul << 15)
/* Pages after which a call lets itself be interrupted by a signal that is not fatal. */
#define PATIENCE (1ul << 22)

/**
 * struct publishing - how far a PUBLISH has come
 * @zero: the pages read as zero from now on
 * @pages: looked at
 * @woken: waiters that go on
 */
struct publishing {
	bool zero;
	u64 pages, woken;
};

static int interrupted(const struct publishing *p)
{
	if (fatal_signal_pending(current))
		return -EINTR;
	return p->pages >= PATIENCE && signal_pending(current) ? -EINTR : 0;
}

/*
 * Drop what unpublished pages of [first, end) hold. A published one is the guest's, which
 * may have stored to it: publishing it again must not take that away.
 */
static void drop_unpublished(struct drover_region_obj *r, unsigned long first, unsigned long end)
{
	unsigned long to;

	lockdep_assert_held(&r->state);
	if (drover_debug(DROVER_DEBUG_ZERO_AGAIN))
		bitmap_clear(r->received, first, end - first);
	for (; (first = find_next_zero_bit(r->received, end, first)) < end; first = to) {
		to = find_next_bit(r->received, end, first);
		shmem_truncate_range(file_inode(r->shm), (loff_t)first << PAGE_SHIFT,
				     ((loff_t)to << PAGE_SHIFT) - 1);
	}
}

static int publish_range(struct drover_region_obj *r, const struct drover_range *range,
			 struct publishing *p)
{
	unsigned long first = range->first, end = first + range->npages, at, to;
	u64 woken = p->woken;
	int ret = 0;

	for (at = first; at < end && !ret; at = to) {
		to = end - at < PIECE ? end : at + PIECE;
		if (p->zero)
			drop_unpublished(r, at, to);
		bitmap_set(r->received, at, to - at);
		p->woken += drover_wake(r, at, to);
		p->pages += to - at;
		cond_resched();
		ret = interrupted(p);
	}
	trace_drover_publish(r->id, first, at - first, p->woken - woken);
	return at < end ? ret : 0;
}

static int publish_ranges(struct drover_region_obj *r, const struct drover_range *range,
			  unsigned int n, struct publishing *p)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < n && !ret; i++) {
		ret = publish_range(r, &range[i], p);
		if (!ret && i + 1 < n)
			ret = interrupted(p);
	}
	return ret;
}

static int cmd_publish(struct file *file, void *arg, struct drover_fds *fds)
{
	struct drover_region_obj *r = file->private_data;
	struct drover_publish *a = arg;
	struct publishing p = { .zero = a->flags & DROVER_PUBLISH_ZERO };
	struct drover_range *range;
	int ret;

	if (a->flags & ~DROVER_PUBLISH_ZERO || a->reserved)
		return -EINVAL;
	range = ranges_get(r, a);
	if (IS_ERR(range))
		return PTR_ERR(range);
	if (mutex_lock_interruptible(&r->state)) {
		kvfree(range);
		return -EINTR;
	}
	ret = publish_ranges(r, range, a->nranges, &p);
	mutex_unlock(&r->state);
	a->woken = p.woken;
	kvfree(range);
	return ret;
}

static int cmd_received(struct file *file, void *arg, struct drover_fds *fds)
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

static ssize_t loader_read(struct file *file, char __user *to, size_t len, loff_t *pos)
{
	struct drover_region_obj *r = file->private_data;
	size_t done = 0;
	int ret = 0;

	if (len < sizeof(struct drover_request))
		return -EINVAL;
	do {
		ret = drover_requests_read_one(&r->requests, to + done);
		if (ret >= 0) {
			done += sizeof(struct drover_request);
		} else if (ret == -EAGAIN && !done && !(file->f_flags & O_NONBLOCK)) {
			ret = wait_event_interruptible(r->requests.readers,
						       drover_requests_unread(&r->requests));
			ret = ret ? -EINTR : 0;
		}
	} while (ret >= 0 && len - done >= sizeof(struct drover_request));
	return done ? done : ret;
}

static __poll_t loader_poll(struct file *file, poll_table *wait)
{
	struct drover_region_obj *r = file->private_data;

	poll_wait(file, &r->requests.readers, wait);
	return drover_requests_unread(&r->requests) ? EPOLLIN | EPOLLRDNORM : 0;
}

/* ---- the descriptor ---- */

/* Without a gate: file and operations are shmem's. */
static int loader_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct drover_region_obj *r = file->private_data;
	int ret = drover_region_mmap(r, vma);

	if (!ret)
		vma_set_file(vma, r->shm);
	return ret;
}

/* Waiters go on waiting, for ever or for their time of grace. */
static int loader_release(struct inode *inode, struct file *file)
{
	struct drover_region_obj *r = file->private_data;
	bool missed;

	mutex_lock(&r->state);
	r->loader = false;
	missed = r->gated && !all_received(r);
	if (missed && r->grace_ms) {
		/* 0 says that there is no such time. */
		r->grace_ends = (jiffies + msecs_to_jiffies(r->grace_ms)) ?: 1;
		mod_delayed_work(system_wq, &r->grace, msecs_to_jiffies(r->grace_ms));
	}
	mutex_unlock(&r->state);
	if (missed)
		drover_event_loader_died(r->id, drover_waiters(&r->requests));
	drover_region_put(r);
	return 0;
}

/*
 * What the timer was set for may be over by now: a new loader has come and the time was
 * taken back, and that loader may have gone, too, with a time of its own or with none.
 */
void drover_grace_work(struct work_struct *work)
{
	struct drover_region_obj *r = container_of(to_delayed_work(work),
						   struct drover_region_obj, grace);

	mutex_lock(&r->state);
	WARN_ON_ONCE(r->loader && r->grace_ends && !drover_debug(DROVER_DEBUG_OLD_GRACE));
	if (r->grace_ends && time_after_eq(jiffies, r->grace_ends)) {
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

struct drover_region_obj *drover_loader_region(const struct file *file)
{
	return file->f_op == &loader_fops ? file->private_data : NULL;
}

static int can_load(struct drover_region_obj *r)
{
	lockdep_assert_held(&r->state);
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
 * drover_loader_file - make the loader's file of a region
 * @r: the region, of which the file has a reference
 *
 * There is a loader from now on. When the file is put before anybody had its descriptor, it
 * is as if the loader had died.
 *
 * Return: the file; -EBUSY there is a loader, -EOWNERDEAD its grace has run out.
 */
struct file *drover_loader_file(struct drover_region_obj *r)
{
	struct file *file;
	int ret;

	mutex_lock(&r->state);
	ret = can_load(r);
	file = ret ? ERR_PTR(ret) : anon_inode_getfile("[drover-loader]", &loader_fops, r, O_RDWR);
	if (!IS_ERR(file)) {
		kref_get(&r->kref);
		r->loader = true;
		if (!drover_debug(DROVER_DEBUG_OLD_GRACE))
			r->grace_ends = 0;
		if (!drover_debug(DROVER_DEBUG_NO_REQUEUE))
			drover_requests_unread_all(&r->requests);
	}
	mutex_unlock(&r->state);
	return file;
}
