// SPDX-License-Identifier: GPL-2.0-only
/*
 * The references held of a watched file's folios, one slot a page.
 *
 * They are what makes it safe to clear PG_dirty: a folio that is clean and not mapped is
 * dropped by reclaim and by drop_caches, even from an unevictable mapping, but never while
 * somebody holds it. They also keep a folio from being migrated between two looks at it, and
 * they show a punched page: we still have its folio, the file has not.
 *
 * A folio that is not held has its flag untouched: walk.c marks what it finds in entries
 * before it is held, so there is no moment in which content is neither dirty nor held.
 */
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/pagevec.h>
#include <linux/sched/signal.h>
#include <linux/shmem_fs.h>
#include <linux/swap.h>

#include "compat.h"
#include "watch.h"

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

void drover_mark(struct drover_watch *w, unsigned long *map, struct folio *folio,
		 unsigned long index)
{
	if (index < w->npages)
		bitmap_set(map, index, min_t(unsigned long, folio_nr_pages(folio),
					     w->npages - index));
}

void drover_slot_drop(struct drover_watch *w, struct folio **slot)
{
	struct folio *folio = *slot;

	*slot = NULL;
	w->held -= folio_nr_pages(folio);
	folio_put(folio);
}

/**
 * drover_slot_gone - the folio of a slot has left the file
 * @w: the watch
 * @slot: which one
 * @index: its page
 * @now: what the page cache has there, as of after it had left
 *
 * Without anything it was punched or truncated. Anything else may be the same page back
 * from swap (reclaim was at it when the file became unevictable), or a new one: then both
 * are told, and the caller has to look.
 */
void drover_slot_gone(struct drover_watch *w, struct folio **slot, unsigned long index,
		      const void *now)
{
	drover_mark(w, w->hole, *slot, index);
	if (now)
		drover_mark(w, w->dirty, *slot, index);
	drover_slot_drop(w, slot);
}

/**
 * drover_take_folio_dirty - take PG_dirty of a folio that is held
 * @folio: the folio
 *
 * Who punches a part of a page sets the flag first and clears the memory afterwards, both
 * under the folio's lock: the flag of a locked one stays, for the next harvest.
 *
 * Return: whether it was set
 */
bool drover_take_folio_dirty(struct folio *folio)
{
	if (!folio_test_dirty(folio))
		return false;
	if (!folio_trylock(folio))
		return true;
	folio_clear_dirty(folio);
	folio_unlock(folio);
	return true;
}

/* One folio of the page cache: ours already, or new. 0, or -ENOMEM */
static int pick_up(struct drover_watch *w, struct folio *folio)
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
	if (slot && *slot)
		drover_slot_gone(w, slot, folio->index, folio);
	if (!drover_debug(DROVER_DEBUG_NO_HOLD)) {
		folio_get(folio);
		r = slot_set(w, folio);
		if (r < 0) {
			folio_put(folio);
			return r;
		}
	}
	/*
	 * Clean and new is what a read has made of a hole: zeros, as before. What was stored
	 * through a mapping is in w->dirty already, as the walk comes first.
	 */
	if (drover_take_folio_dirty(folio))
		drover_mark(w, w->dirty, folio, folio->index);
	return 0;
}

/* Nothing is swapped out any more, so this ends. What comes back has PG_dirty set. */
static int swap_in(struct drover_watch *w, unsigned long first, unsigned long end)
{
	gfp_t gfp = mapping_gfp_mask(w->mapping);
	unsigned long i = first;
	void *entry;

	for (entry = xa_find(&w->mapping->i_pages, &i, end - 1, XA_PRESENT); entry;
	     entry = xa_find_after(&w->mapping->i_pages, &i, end - 1, XA_PRESENT)) {
		struct page *page;
		int r;

		if (!(i % 64))
			cond_resched();
		if (!xa_is_value(entry))
			continue;
		if (fatal_signal_pending(current))
			return -EINTR;
		page = shmem_read_mapping_page_gfp(w->mapping, i, gfp);
		if (PTR_ERR_OR_ZERO(page) == -ENOMEM)
			return -ENOMEM;
		/* What can't be read is lost already: who touches it gets SIGBUS. */
		if (IS_ERR(page))
			continue;
		r = pick_up(w, page_folio(page));
		put_page(page);
		if (r < 0)
			return r;
	}
	return 0;
}

int drover_pick_up(struct drover_watch *w, unsigned long first, unsigned long end)
{
	struct folio_batch batch;
	pgoff_t at = first;
	int r = 0;

	folio_batch_init(&batch);
	while (r >= 0 && at < end && filemap_get_folios(w->mapping, &at, end - 1, &batch)) {
		unsigned int i;

		for (i = 0; i < folio_batch_count(&batch) && r >= 0; i++)
			r = pick_up(w, batch.folios[i]);
		folio_batch_release(&batch);
		cond_resched();
		if (r >= 0 && fatal_signal_pending(current))
			r = -EINTR;
	}
	if (r >= 0 && READ_ONCE(SHMEM_I(w->mapping->host)->swapped))
		r = swap_in(w, first, end);
	return r;
}

/* Of a file that was never harvested: which pages are neither data nor news. */
void drover_tell_holes(struct drover_watch *w)
{
	unsigned long i;

	bitmap_fill(w->hole, w->npages);
	for (i = 0; i < w->npages; i++) {
		struct folio **slot = drover_slot(w, i);

		if (!slot)
			i |= DROVER_SLOTS - 1;
		else if (*slot)
			bitmap_clear(w->hole, i, min_t(unsigned long, folio_nr_pages(*slot),
						       w->npages - i));
		if (!(i % DROVER_SLOTS))
			cond_resched();
	}
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
