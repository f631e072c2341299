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
 * what we hold was made since: it is picked up, and is dirty.
 *
 * Bits go through w->dirty and w->hole and leave them only when user space has them.
 */
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/pagevec.h>
#include <linux/sched/signal.h>
#include <linux/swap.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "watch.h"

/* Pages between two looks at signals; also what one TLB flush is for: 1 GiB. */
#define PIECE (1ul << 18)

static int slot_set(struct drover_watch *w, struct folio *folio)
{
	struct folio ***page = &w->slot[folio->index / DROVER_SLOTS];

	if (!*page) {
		*page = (struct folio **)get_zeroed_page(GFP_KERNEL_ACCOUNT);
		if (!*page)
			return -ENOMEM;
		w->memory += PAGE_SIZE;
	}
	(*page)[folio->index % DROVER_SLOTS] = folio;
	w->held += folio_nr_pages(folio);
	return 0;
}

static void mark(struct drover_watch *w, unsigned long *map, struct folio *folio,
		 unsigned long index)
{
	if (index < w->npages)
		bitmap_set(map, index, min_t(unsigned long, folio_nr_pages(folio),
					     w->npages - index));
}

static void slot_drop(struct drover_watch *w, struct folio **slot)
{
	struct folio *folio = *slot;

	*slot = NULL;
	w->held -= folio_nr_pages(folio);
	folio_put(folio);
}

/* One folio of the page cache: ours already, or new. 0, or -ENOMEM */
static int pick_up(struct drover_watch *w, struct folio *folio, bool dirty)
{
	struct folio **slot;
	int r;

	/* Truncated meanwhile: it has no index any more. */
	if (folio->mapping != w->mapping || folio->index >= w->npages)
		return 0;
	slot = drover_slot(w, folio->index);
	if (slot && *slot == folio)
		return 0;
	/* Another one was here and is gone. */
	if (slot && *slot) {
		mark(w, w->hole, *slot, folio->index);
		slot_drop(w, slot);
	}
	folio_get(folio);
	r = slot_set(w, folio);
	if (r < 0) {
		folio_put(folio);
		return r;
	}
	if (dirty)
		mark(w, w->dirty, folio, folio->index);
	return 0;
}

int drover_pick_up(struct drover_watch *w, unsigned long first, unsigned long end, bool dirty)
{
	struct folio_batch batch;
	pgoff_t at = first;
	int r = 0;

	folio_batch_init(&batch);
	while (r >= 0 && at < end && filemap_get_folios(w->mapping, &at, end - 1, &batch)) {
		unsigned int i;

		for (i = 0; i < folio_batch_count(&batch) && r >= 0; i++)
			r = pick_up(w, batch.folios[i], dirty);
		folio_batch_release(&batch);
		cond_resched();
		if (r >= 0 && signal_pending(current))
			r = -EINTR;
	}
	return r;
}

/* PG_dirty and punched folios of [first, end). */
static void sweep(struct drover_watch *w, unsigned long first, unsigned long end)
{
	unsigned long i, next;

	for (i = first; i < end; i = next) {
		struct folio **slot = drover_slot(w, i);

		next = min(end, (i / DROVER_SLOTS + 1) * DROVER_SLOTS);
		for (; slot && i < next; i++, slot++) {
			if (!*slot)
				continue;
			if (READ_ONCE((*slot)->mapping) != w->mapping) {
				mark(w, w->hole, *slot, i);
				slot_drop(w, slot);
			} else if (folio_test_dirty(*slot) && folio_test_clear_dirty(*slot)) {
				mark(w, w->dirty, *slot, i);
			}
		}
		cond_resched();
	}
}

int drover_collect(struct drover_watch *w, unsigned long first, unsigned long end)
{
	drover_walk(w, first, end);
	if (!drover_debug(DROVER_DEBUG_NO_FOLIO_DIRTY))
		sweep(w, first, end);
	/* All of the file or nothing: the count does not say where. */
	if (READ_ONCE(w->mapping->nrpages) == w->held)
		return 0;
	return drover_pick_up(w, 0, w->npages, true);
}

/* Somebody else holds a reference: of the page cache's, the entries' and ours it is none. */
static bool pinned(struct folio *folio)
{
	return folio_ref_count(folio) > drover_folio_mapcount(folio) + folio_nr_pages(folio) + 1;
}

static unsigned long pinned_word(struct drover_watch *w, unsigned long index)
{
	unsigned long word = 0, i;
	struct folio **slot = drover_slot(w, index);

	for (i = 0; slot && i < BITS_PER_LONG && index + i < w->npages; i++)
		if (slot[i] && pinned(slot[i]))
			word |= folio_test_large(slot[i]) ? ~0ul << i : 1ul << i;
	return word;
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

static int give_word(struct drover_watch *w, struct drover_harvest *a, unsigned long index,
		     unsigned long mask)
{
	unsigned long at = index / BITS_PER_LONG, off = (index - a->first) / BITS_PER_LONG;
	unsigned long word;
	int r;

	word = w->dirty[at] & mask;
	r = give((unsigned long __user *)u64_to_user_ptr(a->dirty) + off, word, &a->ndirty);
	if (r < 0)
		return r;
	w->dirty[at] &= ~word;
	word = w->hole[at] & mask;
	if (a->hole) {
		r = give((unsigned long __user *)u64_to_user_ptr(a->hole) + off, word, &a->nhole);
		if (r < 0)
			return r;
	}
	w->hole[at] &= ~word;
	if (!(a->flags & DROVER_HARVEST_FINAL) || !a->pinned)
		return 0;
	return give((unsigned long __user *)u64_to_user_ptr(a->pinned) + off,
		    pinned_word(w, index) & mask, &a->npinned);
}

static int hand_out(struct drover_watch *w, struct drover_harvest *a, unsigned long first,
		    unsigned long end)
{
	unsigned long i;
	int r;

	for (i = first; i < end; i += BITS_PER_LONG) {
		unsigned long left = end - i;

		r = give_word(w, a, i, left < BITS_PER_LONG ? (1ul << left) - 1 : ~0ul);
		if (r < 0)
			return r;
		a->done = min(i + BITS_PER_LONG, end) - a->first;
		if (!(i % DROVER_SLOTS))
			cond_resched();
	}
	return 0;
}

int drover_cmd_harvest(struct file *file, void *arg)
{
	struct drover_watch *w = file->private_data;
	struct drover_harvest *a = arg;
	unsigned long at, end;
	u64 begin = ktime_get_ns(), walked;
	int r = 0;

	if (a->flags & ~DROVER_HARVEST_FINAL || a->first % BITS_PER_LONG || !a->npages || !a->dirty ||
	    a->first >= w->npages || a->npages > w->npages - a->first ||
	    (a->dirty | a->hole | a->pinned) % sizeof(long))
		return -EINVAL;
	a->ndirty = a->nhole = a->npinned = a->done = 0;
	if (mutex_lock_interruptible(&w->lock))
		return -EINTR;
	walked = w->walked;
	if (!w->armed)
		r = -ENXIO;
	at = a->first;
	end = a->first + a->npages;
	while (r >= 0 && at < end) {
		unsigned long to = end - at < PIECE ? end : at + PIECE;

		r = drover_collect(w, at, to);
		if (r >= 0)
			r = hand_out(w, a, at, to);
		at = to;
		if (r >= 0 && at < end && signal_pending(current))
			r = -EINTR;
	}
	if (r >= 0) {
		w->harvests++;
		w->harvest_ns = ktime_get_ns() - begin;
		w->reported = a->ndirty;
		w->walked -= walked;
	}
	mutex_unlock(&w->lock);
	return r;
}

/* Nothing that was written may be lost: a folio without PG_dirty would be thrown away. */
void drover_let_go(struct drover_watch *w)
{
	unsigned long n = DIV_ROUND_UP(w->npages, DROVER_SLOTS), i, k;
	struct folio_batch batch;

	folio_batch_init(&batch);
	for (i = 0; i < n; i++) {
		for (k = 0; w->slot[i] && k < DROVER_SLOTS; k++) {
			struct folio *folio = w->slot[i][k];

			if (!folio)
				continue;
			if (READ_ONCE(folio->mapping) == w->mapping)
				folio_mark_dirty(folio);
			if (folio_batch_add(&batch, folio))
				continue;
			if (!w->was_unevictable)
				check_move_unevictable_folios(&batch);
			folio_batch_release(&batch);
		}
		free_page((unsigned long)w->slot[i]);
		w->slot[i] = NULL;
		cond_resched();
	}
	if (folio_batch_count(&batch) && !w->was_unevictable)
		check_move_unevictable_folios(&batch);
	folio_batch_release(&batch);
	w->held = 0;
}
