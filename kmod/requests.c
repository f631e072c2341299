// SPDX-License-Identifier: GPL-2.0-only
/*
 * The requests of a region: pages that somebody waits for and that are not published.
 *
 * A request is in the table of its region from the first touch of its page until it is
 * answered. Meanwhile it is in one of two lists, as the loader has read it or not, and in a
 * third one, ordered by when it is next looked at for a stall. The lock of the table guards
 * all of this, and nobody holds it for longer than a step on one request: taking over from
 * a dead loader joins two lists, the number of waiters is counted as they come and go, and
 * waking happens after the lock is dropped.
 */
#include <linux/delay.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "region.h"

static unsigned int stall_ms = 1000;
module_param(stall_ms, uint, 0644);
MODULE_PARM_DESC(stall_ms, "a fault that waits for longer is reported, in ms; 0: never");

void drover_requests_init(struct drover_requests *q)
{
	xa_init(&q->table);
	INIT_LIST_HEAD(&q->unread);
	INIT_LIST_HEAD(&q->read);
	INIT_LIST_HEAD(&q->stalls);
	init_waitqueue_head(&q->readers);
	INIT_DELAYED_WORK(&q->stall_work, drover_stall_work);
}

void drover_requests_end(struct drover_requests *q)
{
	cancel_delayed_work_sync(&q->stall_work);
	WARN_ON_ONCE(q->waiters || !list_empty(&q->unread) || !list_empty(&q->read));
	xa_destroy(&q->table);
}

static void request_free(struct kref *kref)
{
	struct drover_pending *p = container_of(kref, struct drover_pending, kref);

	put_pid(p->pid);
	kfree(p);
}

void drover_request_put(struct drover_pending *p)
{
	kref_put(&p->kref, request_free);
}

static struct drover_pending *request_new(unsigned long page, bool write)
{
	struct drover_pending *p = kzalloc(sizeof(*p), GFP_KERNEL_ACCOUNT);

	if (!p)
		return NULL;
	kref_init(&p->kref);
	INIT_LIST_HEAD(&p->reading);
	INIT_LIST_HEAD(&p->stall);
	init_waitqueue_head(&p->wq);
	p->page = page;
	p->time_ns = ktime_get_ns();
	p->pid = get_pid(task_pid(current));
	p->flags = write ? DROVER_REQUEST_WRITE : 0;
	return p;
}

/* The stall work looks at the oldest request when that may have become a stall. */
static void watch_stalls(struct drover_requests *q)
{
	unsigned int ms = READ_ONCE(stall_ms);

	if (ms)
		schedule_delayed_work(&q->stall_work, msecs_to_jiffies(ms));
}

/* The request is in the table now: it is the newest of each list. */
static void request_add(struct drover_requests *q, struct drover_pending *p)
{
	lockdep_assert_held(&q->table.xa_lock);
	list_add_tail(&p->reading, &q->unread);
	p->stall_from_ns = p->time_ns;
	list_add_tail(&p->stall, &q->stalls);
}

/**
 * drover_request - ask the loader for a page
 * @r: the region
 * @page: which page
 * @write: the toucher is going to store
 * @wait: the caller is going to sleep on the request, and is counted as a waiter until it
 *	calls drover_request_done_waiting()
 *
 * Who publishes sets the page's bit first and looks for requests afterwards; this function
 * inserts the request first and looks at the bit afterwards. So one of the two sees the
 * other, and no page is asked for that was published before.
 *
 * Return: the request for the page with a reference, an existing one or a new one; NULL if
 * the page has been published meanwhile; an error pointer if there is no memory.
 */
struct drover_pending *drover_request(struct drover_region_obj *r, unsigned long page,
				      bool write, bool wait)
{
	struct drover_pending *p, *new = request_new(page, write);
	struct drover_requests *q = &r->requests;
	int err = 0;

	if (!new)
		return ERR_PTR(-ENOMEM);
	/* Enough time for somebody else to publish the page. */
	if (drover_debug(DROVER_DEBUG_ASK_TWICE))
		usleep_range(2000, 3000);
	xa_lock(&q->table);
	do {
		p = xa_load(&q->table, page);
		if (!p)
			err = __xa_insert(&q->table, page, new, GFP_KERNEL_ACCOUNT);
	} while (!p && err == -EBUSY);
	/* The bit is not read before: the insertion drops the lock to allocate. */
	if (!p && !err && !drover_blocked(r, page) && !drover_debug(DROVER_DEBUG_ASK_TWICE)) {
		__xa_erase(&q->table, page);
		xa_unlock(&q->table);
		drover_request_put(new);
		return NULL;
	}
	if (!p && !err) {
		p = new;
		request_add(q, p);
	}
	if (p) {
		kref_get(&p->kref);
		p->waiters += wait;
		q->waiters += wait;
	}
	xa_unlock(&q->table);
	if (p == new) {
		wake_up_interruptible_poll(&q->readers, EPOLLIN | EPOLLRDNORM);
		watch_stalls(q);
		return p;
	}
	drover_request_put(new);
	return p ?: ERR_PTR(err);
}

/* The waiter that drover_request() has counted does not sleep on @p any more. */
void drover_request_done_waiting(struct drover_requests *q, struct drover_pending *p)
{
	xa_lock(&q->table);
	p->waiters--;
	q->waiters--;
	xa_unlock(&q->table);
}

/* The request leaves the table and all lists; the caller gets the table's reference. */
static void request_answered(struct drover_requests *q, struct drover_pending *p)
{
	lockdep_assert_held(&q->table.xa_lock);
	__xa_erase(&q->table, p->page);
	list_del_init(&p->reading);
	list_del_init(&p->stall);
	WRITE_ONCE(p->done, true);
}

/**
 * drover_wake - requests for the pages [first, end) are answered
 * @r: the region
 * @first: the first page
 * @end: the page after the last one
 *
 * Return: how many threads go on.
 */
u64 drover_wake(struct drover_region_obj *r, unsigned long first, unsigned long end)
{
	struct drover_requests *q = &r->requests;
	unsigned long page = first;
	struct drover_pending *p;
	u64 woken = 0;

	for (;;) {
		xa_lock(&q->table);
		p = xa_find(&q->table, &page, end - 1, XA_PRESENT);
		if (p) {
			woken += p->waiters;
			request_answered(q, p);
		}
		xa_unlock(&q->table);
		if (!p)
			return woken;
		wake_up_all(&p->wq);
		drover_request_put(p);
		cond_resched();
	}
}

/* How many threads sleep at the gate. */
u64 drover_waiters(struct drover_requests *q)
{
	return READ_ONCE(q->waiters);
}

/* ---- stalls ---- */

/*
 * The request at the head of the list, if it has waited since before @before; then it
 * comes back at the tail with its clock set to @now, or, once a stall is told, not at all.
 * @ret_more: the list is not empty afterwards.
 */
static struct drover_pending *next_stall(struct drover_requests *q, u64 before, u64 now,
					 bool *ret_more)
{
	struct drover_pending *p;

	xa_lock(&q->table);
	p = list_first_entry_or_null(&q->stalls, struct drover_pending, stall);
	if (p && p->stall_from_ns <= before) {
		list_del_init(&p->stall);
		/* A vCPU that can't sleep here asks and comes again: nobody waits yet. */
		if (!p->waiters) {
			p->stall_from_ns = now;
			list_add_tail(&p->stall, &q->stalls);
		}
		kref_get(&p->kref);
	} else {
		p = NULL;
	}
	*ret_more = !list_empty(&q->stalls);
	xa_unlock(&q->table);
	return p;
}

void drover_stall_work(struct work_struct *work)
{
	struct drover_requests *q = container_of(to_delayed_work(work), struct drover_requests,
						 stall_work);
	struct drover_region_obj *r = container_of(q, struct drover_region_obj, requests);
	u64 now = ktime_get_ns(), ms = READ_ONCE(stall_ms);
	struct drover_pending *p;
	bool more;

	if (!ms)
		return;
	while ((p = next_stall(q, now - ms * NSEC_PER_MSEC, now, &more))) {
		if (READ_ONCE(p->waiters))
			drover_event_stall(r->id, p->page, pid_nr(p->pid),
					   div_u64(now - p->time_ns, NSEC_PER_MSEC));
		drover_request_put(p);
		cond_resched();
	}
	if (more)
		watch_stalls(q);
}

/* ---- the loader's side ---- */

bool drover_requests_unread(struct drover_requests *q)
{
	return !list_empty_careful(&q->unread);
}

/* The oldest request that was not read, with a reference: it counts as read now. */
static struct drover_pending *next_unread(struct drover_requests *q)
{
	struct drover_pending *p;

	xa_lock(&q->table);
	p = list_first_entry_or_null(&q->unread, struct drover_pending, reading);
	if (p) {
		list_move_tail(&p->reading, &q->read);
		kref_get(&p->kref);
	}
	xa_unlock(&q->table);
	return p;
}

/* The request could not be stored: it is the next one to be read, unless it was answered. */
static void put_back(struct drover_requests *q, struct drover_pending *p)
{
	xa_lock(&q->table);
	if (!p->done)
		list_move(&p->reading, &q->unread);
	xa_unlock(&q->table);
}

/**
 * drover_requests_read_one - store the oldest unread request in user memory
 * @q: the requests
 * @to: where, room for a struct drover_request
 *
 * Return: 0; -EAGAIN if there is none; -EFAULT, then it stays unread.
 */
int drover_requests_read_one(struct drover_requests *q, char __user *to)
{
	struct drover_pending *p = next_unread(q);
	struct drover_request out;
	int ret = 0;

	if (!p)
		return -EAGAIN;
	out = (struct drover_request){
		.page = p->page,
		.time_ns = p->time_ns,
		.pid = pid_vnr(p->pid),
		.flags = p->flags,
	};
	if (copy_to_user(to, &out, sizeof(out))) {
		put_back(q, p);
		ret = -EFAULT;
	}
	drover_request_put(p);
	return ret;
}

/* A new loader reads what the former one has read and not answered, the oldest first. */
void drover_requests_unread_all(struct drover_requests *q)
{
	xa_lock(&q->table);
	list_splice_init(&q->read, &q->unread);
	xa_unlock(&q->table);
}
