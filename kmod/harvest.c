// SPDX-License-Identifier: GPL-2.0-only
/*
 * Harvest. Three channels, in this order:
 *
 * 1. dirty bits of page-table entries (walk.c);
 * 2. PG_dirty of the folios. Whenever an entry goes away, by munmap, exit, reclaim or
 *    migration, its bit moves there under the page-table lock; write(2), splice and all that
 *    writes through get_user_pages sets it, too. For shmem it has no other meaning than "not
 *    to be thrown away", so while we hold a reference of the folio we may clear it. That
 *    reference also keeps it from migrating between 1 and 2;
 * 3. in the final harvest, references that nobody here accounts for: pages pinned for DMA,
 *    whose writes no bit shows.
 *
 * A folio whose mapping is gone was punched or truncated. What the page cache holds beyond
 * what we hold was made since, and is picked up (hold.c).
 *
 * Bits go through w->dirty and w->hole and leave them only when user space has them; all of
 * the range is looked at before the first one is handed out.
 */
#include <linux/cpu.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/pagevec.h>
#include <linux/rmap.h>
#include <linux/sched/signal.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>

#include "compat.h"
#include "watch.h"

/* Pages between two looks at signals; also what one TLB flush is for: 1 GiB. */
#define PIECE (1ul << 18)

/* PG_dirty and punched folios of [first, end). */
static void sweep(struct drover_watch *w, unsigned long first, unsigned long end)
{
	unsigned long i, next;

	for (i = first; i < end; i = next) {
		struct folio **slot = drover_slot(w, i);

		next = min(end, (i / DROVER_SLOTS + 1) * DROVER_SLOTS);
		for (; slot && i < next; i++, slot++) {
			struct folio *folio = *slot;

			if (!folio)
				continue;
			if (READ_ONCE(folio->mapping) != w->mapping) {
				/* The page cache's entry changes before the folio does. */
				smp_rmb();
				drover_slot_gone(w, slot, i, xa_load(&w->mapping->i_pages, i));
			} else if (folio_test_dirty(folio) && drover_take_folio_dirty(folio)) {
				drover_mark(w, w->dirty, folio, i);
			}
		}
		cond_resched();
	}
}

/*
 * Instead of 1: let each store fault. It also makes KVM drop its entries, which moves what
 * vCPUs have written to PG_dirty. Entries that are writable count as written.
 */
static void protect(struct drover_watch *w, unsigned long first, unsigned long end)
{
	unsigned long i;

	for (i = first; i < end; i++) {
		struct folio **slot = drover_slot(w, i);

		if (!slot) {
			i |= DROVER_SLOTS - 1;
			continue;
		}
		if (!*slot)
			continue;
		folio_lock(*slot);
		if ((*slot)->mapping == w->mapping && folio_mkclean(*slot))
			drover_mark(w, w->dirty, *slot, i);
		folio_unlock(*slot);
		if (!(i % 64))
			cond_resched();
	}
}

static void collect_piece(struct drover_watch *w, unsigned long first, unsigned long end)
{
	if (w->protect)
		protect(w, first, end);
	else
		drover_walk(w, first, end);
	if (!drover_debug(DROVER_DEBUG_NO_FOLIO_DIRTY))
		sweep(w, first, end);
}

int drover_collect(struct drover_watch *w, unsigned long first, unsigned long *end)
{
	bool all = !first && *end == w->npages;
	unsigned long at, to;
	int r, ret = 0;

	for (at = first; at < *end; at = to) {
		to = *end - at < PIECE ? *end : at + PIECE;
		/* What comes often must not keep us from getting on. */
		if (at > first && w->armed && signal_pending(current))
			ret = -EINTR;
		if (fatal_signal_pending(current))
			ret = -EINTR;
		if (ret < 0)
			break;
		collect_piece(w, at, to);
	}
	*end = at;
	/* A part of the file may have lost what another one has gained. */
	if (all && !ret && READ_ONCE(w->mapping->nrpages) == w->held &&
	    !READ_ONCE(SHMEM_I(w->mapping->host)->swapped))
		return 0;
	r = drover_pick_up(w, first, *end);
	return r < 0 ? r : ret;
}

/* Somebody else holds a reference: of the page cache's, the entries' and ours it is none. */
static bool pinned(struct folio *folio)
{
	return folio_ref_count(folio) > drover_folio_mapcount(folio) + folio_nr_pages(folio) + 1;
}

/* The folio we hold of a page, if any; a large one is in the slot of its first page. */
static struct folio *held(struct drover_watch *w, unsigned long index)
{
	struct folio **slot = drover_slot(w, index);

	if (!slot || *slot)
		return slot ? *slot : NULL;
	slot = drover_slot(w, round_down(index, HPAGE_PMD_NR));
	return slot && *slot && folio_test_large(*slot) ? *slot : NULL;
}

static unsigned long pinned_word(struct drover_watch *w, unsigned long index)
{
	unsigned long word = 0, i;

	for (i = 0; i < BITS_PER_LONG && index + i < w->npages; i++) {
		struct folio *folio = held(w, index + i);

		if (folio && pinned(folio))
			word |= 1ul << i;
	}
	return word;
}

static void drain_cpu(struct work_struct *work)
{
	struct folio_batch batch;
	struct folio *folio = page_folio(ZERO_PAGE(0));

	folio_batch_init(&batch);
	folio_get(folio);
	folio_batch_add(&batch, folio);
	/* Nothing that only drains is exported. */
	folio_batch_release(&batch);
}

/*
 * Each CPU keeps references of the pages it has touched first, until it has some more of
 * them for the lists of reclaim. Not to be taken for somebody's: let all CPUs do it now.
 */
static int drain_lru(void)
{
	struct work_struct *work = kcalloc(nr_cpu_ids, sizeof(*work), GFP_KERNEL);
	unsigned int cpu;

	if (!work)
		return -ENOMEM;
	cpus_read_lock();
	for_each_online_cpu(cpu) {
		INIT_WORK(&work[cpu], drain_cpu);
		queue_work_on(cpu, system_wq, &work[cpu]);
	}
	for_each_online_cpu(cpu)
		flush_work(&work[cpu]);
	cpus_read_unlock();
	kfree(work);
	return 0;
}

/* OR into user memory what is not there yet, if anything. */
static int give(unsigned long __user *user, unsigned long word, u64 *count)
{
	unsigned long old;

	if (!word)
		return 0;
	if (get_user(old, user) || put_user(old | word, user))
		return -EFAULT;
	*count += hweight_long(word);
	return 0;
}

/**
 * struct late - what a final harvest has found of others' writes: pages they hold and, when
 * the one before was final, too, pages that were written since
 * @first: the first page
 * @n: how many
 */
struct late {
	u64 first, n;
};

static void tell_late(struct late *late, unsigned long index, unsigned long word)
{
	if (word && !late->n)
		late->first = index + __ffs(word);
	late->n += hweight_long(word);
}

/*
 * Only what is held is dirty: its end would be told. The rest was punched again meanwhile,
 * and reads as zero until the next harvest says something else.
 */
static void only_held(struct drover_watch *w, unsigned long index)
{
	unsigned long at = index / BITS_PER_LONG, left = w->dirty[at], bit;

	for (; left; left &= left - 1) {
		bit = left & -left;
		if (held(w, index + __ffs(left)))
			continue;
		w->dirty[at] &= ~bit;
		w->hole[at] |= bit;
	}
}

static int give_word(struct drover_watch *w, struct drover_harvest *a, unsigned long index,
		     unsigned long mask, struct late *late)
{
	unsigned long at = index / BITS_PER_LONG, off = (index - a->first) / BITS_PER_LONG;
	unsigned long word, told;
	bool final = a->flags & DROVER_HARVEST_FINAL;
	int r;

	if (a->hole && !drover_debug(DROVER_DEBUG_NO_HOLD))
		only_held(w, index);
	word = w->dirty[at] & mask;
	r = give((unsigned long __user *)u64_to_user_ptr(a->dirty) + off, word, &a->ndirty);
	if (r < 0)
		return r;
	w->dirty[at] &= ~word;
	told = word;
	word = a->hole ? w->hole[at] & mask : 0;
	r = give((unsigned long __user *)u64_to_user_ptr(a->hole) + off, word, &a->nhole);
	if (r < 0)
		return r;
	w->hole[at] &= ~word;
	if (!final)
		return 0;
	/* After a plain one the writers run again, and what they write is no news. */
	told = w->final ? told | word : 0;
	word = a->pinned ? pinned_word(w, index) & mask : 0;
	tell_late(late, index, told | word);
	return give((unsigned long __user *)u64_to_user_ptr(a->pinned) + off, word, &a->npinned);
}

static int hand_out(struct drover_watch *w, struct drover_harvest *a, unsigned long end,
		    struct late *late)
{
	unsigned long i;
	int r;

	for (i = a->first; i < end; i += BITS_PER_LONG) {
		unsigned long left = end - i;

		r = give_word(w, a, i, left < BITS_PER_LONG ? (1ul << left) - 1 : ~0ul, late);
		if (r < 0)
			return r;
		a->done = min(i + BITS_PER_LONG, end) - a->first;
		if (!(i % DROVER_SLOTS))
			cond_resched();
	}
	return 0;
}

static int harvest(struct drover_watch *w, struct drover_harvest *a, struct late *late)
{
	unsigned long end = a->first + a->npages;
	u64 begin = ktime_get_ns(), walked = w->walked;
	int r, ret = 0;

	if (!w->armed)
		return -ENXIO;
	r = drover_collect(w, a->first, &end);
	if (r >= 0 && a->flags & DROVER_HARVEST_FINAL && a->pinned)
		r = drain_lru();
	/* Of a harvest that was interrupted what was looked at is handed out. */
	if (r >= 0 || r == -EINTR)
		ret = hand_out(w, a, end, late);
	r = ret < 0 ? ret : r;
	w->walked -= walked;
	if (r < 0)
		return r;
	w->final = a->flags & DROVER_HARVEST_FINAL && a->npages == w->npages;
	w->harvests++;
	w->harvest_ns = ktime_get_ns() - begin;
	w->reported = a->ndirty;
	drover_event_harvest(file_inode(w->file)->i_ino, a, w->harvest_ns);
	return 0;
}

int drover_cmd_harvest(struct file *file, void *arg)
{
	struct drover_watch *w = file->private_data;
	struct drover_harvest *a = arg;
	struct late late = {};
	int r;

	if (a->flags & ~DROVER_HARVEST_FINAL || a->first % BITS_PER_LONG || !a->npages || !a->dirty ||
	    a->first >= w->npages || a->npages > w->npages - a->first ||
	    (a->dirty | a->hole | a->pinned) % sizeof(long))
		return -EINVAL;
	a->ndirty = a->nhole = a->npinned = a->done = 0;
	if (mutex_lock_interruptible(&w->lock))
		return -EINTR;
	r = harvest(w, a, &late);
	mutex_unlock(&w->lock);
	if (late.n)
		drover_event_late(file_inode(w->file)->i_ino, late.first, late.n);
	return r;
}
