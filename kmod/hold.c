// SPDX-License-Identifier: GPL-2.0-only
/*
 * The references held of a watched file's folios: its slots, see struct drover_piece.
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
#include <linux/sched/signal.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/xarray.h>

#include "compat.h"
#include "watch.h"

/* Entries of the page cache that are looked at without a chance for others to run. */
#define STRETCH 4096u

/* ---- pieces ---- */

static size_t piece_map_bytes(const struct drover_piece *p)
{
	return BITS_TO_LONGS(p->npages) * sizeof(long);
}

static void piece_free(struct drover_piece *p)
{
	kvfree(p->dirty);
	kvfree(p->hole);
	kvfree(p->pinned);
	kvfree(p->others);
	kvfree(p);
}

static struct drover_piece *piece_alloc(const struct drover_watch *w, unsigned long first)
{
	struct drover_piece *p = kvzalloc(sizeof(*p), GFP_KERNEL_ACCOUNT);
	size_t bytes;

	if (!p)
		return NULL;
	p->first = first;
	p->npages = min(DROVER_PIECE, w->npages - first);
	bytes = piece_map_bytes(p);
	p->dirty = kvzalloc(bytes, GFP_KERNEL_ACCOUNT);
	p->hole = kvzalloc(bytes, GFP_KERNEL_ACCOUNT);
	p->pinned = kvzalloc(bytes, GFP_KERNEL_ACCOUNT);
	p->others = kvzalloc(bytes, GFP_KERNEL_ACCOUNT);
	if (p->dirty && p->hole && p->pinned && p->others)
		return p;
	piece_free(p);
	return NULL;
}

struct drover_piece *drover_piece_get(struct drover_watch *w, unsigned long first)
{
	unsigned long n = first / DROVER_PIECE;
	struct drover_piece *p = w->piece[n];

	lockdep_assert_held(&w->lock);
	if (p)
		return p;
	p = piece_alloc(w, n * DROVER_PIECE);
	if (!p)
		return NULL;
	/* Its holes were to be told: now it has bits to say which. */
	if (test_and_clear_bit(n, w->unseen))
		bitmap_fill(p->hole, p->npages);
	w->piece[n] = p;
	w->memory += sizeof(*p) + 4 * piece_map_bytes(p);
	return p;
}

int drover_hold_init(struct drover_watch *w)
{
	unsigned long n = drover_pieces(w);

	lockdep_assert_held(&w->lock);
	w->piece = kvcalloc(n, sizeof(*w->piece), GFP_KERNEL_ACCOUNT);
	w->unseen = bitmap_alloc(n, GFP_KERNEL_ACCOUNT);
	if (!w->piece || !w->unseen)
		return -ENOMEM;
	bitmap_fill(w->unseen, n);
	w->memory = n * sizeof(*w->piece) + BITS_TO_LONGS(n) * sizeof(long);
	return 0;
}

/* ---- slots ---- */

static struct folio **slots_get(struct drover_watch *w, struct drover_piece *p,
				unsigned long index)
{
	struct folio ***page = &p->slot[(index - p->first) / DROVER_SLOTS];

	if (!*page) {
		*page = (struct folio **)get_zeroed_page(GFP_KERNEL_ACCOUNT);
		if (!*page)
			return NULL;
		w->memory += PAGE_SIZE;
	}
	return &(*page)[index % DROVER_SLOTS];
}

/* Bits of the pages of an alive folio that the watch is about. */
void drover_mark_folio(struct drover_piece *p, unsigned long *map, struct folio *folio)
{
	unsigned long at = folio->index - p->first;

	if (at < p->npages)
		bitmap_set(map, at, min_t(unsigned long, folio_nr_pages(folio), p->npages - at));
}

/**
 * drover_slot_gone - clear a slot whose folio has left the file
 * @w: the watch
 * @p: the piece
 * @index: the page
 *
 * If the page cache has nothing there now, the page was punched or truncated. Anything else
 * may be the same page back from swap (reclaim was at it when the file became unevictable),
 * or a new one: then it is told as both, and the caller has to look at it.
 */
void drover_slot_gone(struct drover_watch *w, struct drover_piece *p, unsigned long index)
{
	struct folio **slot = drover_slot(p, index), *folio = *slot;

	lockdep_assert_held(&w->lock);
	/* The page cache's entry changes before the folio does: it is as of after that. */
	smp_rmb();
	if (index - p->first < p->npages) {
		__set_bit(index - p->first, p->hole);
		if (xa_load(&w->mapping->i_pages, index))
			__set_bit(index - p->first, p->dirty);
		if (test_and_clear_bit(index - p->first, p->pinned))
			p->npinned--;
		__clear_bit(index - p->first, p->others);
	}
	*slot = NULL;
	w->held--;
	folio_put(folio);
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

/* All pages of a folio get into their slots. Its lock is held, and it is in the file. */
static int slots_set(struct drover_watch *w, struct drover_piece *p, struct folio *folio)
{
	unsigned long index = folio->index, i, n = 0;
	struct folio **slot = slots_get(w, p, index);

	VM_WARN_ON_ONCE(!drover_debug(DROVER_DEBUG_HOLD_UNLOCKED) &&
			(!folio_test_locked(folio) || !drover_alive(w, folio)));
	if (!slot)
		return -ENOMEM;
	for (i = 0; i < folio_nr_pages(folio); i++) {
		if (slot[i] == folio)
			continue;
		/* Another folio was here and is gone. */
		if (slot[i])
			drover_slot_gone(w, p, index + i);
		slot[i] = folio;
		n++;
	}
	if (n)
		folio_ref_add(folio, n);
	w->held += n;
	return 0;
}

/*
 * Hold a folio that was found in the file and is not in its slots. It may be on its way out,
 * and an entry that is there for a moment only (see struct drover_piece) is locked: so its
 * lock is waited for, and then it is in the file or it is not.
 */
static int hold_folio(struct drover_watch *w, struct drover_piece *p, struct folio *folio)
{
	bool unlocked = drover_debug(DROVER_DEBUG_HOLD_UNLOCKED);
	int r = 0;

	if (!unlocked && folio_lock_killable(folio))
		return -EINTR;
	if (drover_alive(w, folio)) {
		r = drover_debug(DROVER_DEBUG_NO_HOLD) ? 0 : slots_set(w, p, folio);
		/*
		 * Clean and new is what a read has made of a hole: zeros, as before. What
		 * was stored through a mapping is still in an entry, or in p->dirty already.
		 */
		if (!r && folio_test_dirty(folio)) {
			folio_clear_dirty(folio);
			drover_mark_folio(p, p->dirty, folio);
		}
	}
	if (!unlocked)
		folio_unlock(folio);
	return r;
}

/* Nothing is swapped out any more, so this ends. What comes back has PG_dirty set. */
static int swap_in(struct drover_watch *w, unsigned long index)
{
	struct page *page = shmem_read_mapping_page_gfp(w->mapping, index,
							mapping_gfp_mask(w->mapping));

	if (PTR_ERR_OR_ZERO(page) == -ENOMEM)
		return -ENOMEM;
	/* What can't be read is lost already: who touches it gets SIGBUS. */
	if (IS_ERR(page))
		return 1;
	put_page(page);
	return 0;
}

/* Make the slot of a page what the file has there. Returns 0 or an error. */
static int hold_page(struct drover_watch *w, struct drover_piece *p, unsigned long index)
{
	for (;;) {
		void *entry = xa_load(&w->mapping->i_pages, index);
		struct folio *folio;
		int r;

		cond_resched();
		if (fatal_signal_pending(current))
			return -EINTR;
		if (!entry || entry == drover_held(p, index))
			return 0;
		if (xa_is_value(entry)) {
			r = swap_in(w, index);
			if (r)
				return min(r, 0);
			continue;
		}
		folio = filemap_get_folio(w->mapping, index);
		if (IS_ERR_OR_NULL(folio))
			continue;
		r = hold_folio(w, p, folio);
		folio_put(folio);
		/* Without references there is nothing to compare with: once is enough. */
		if (r || drover_debug(DROVER_DEBUG_NO_HOLD))
			return r;
	}
}

/* The first page from @at on whose entry is not what its slot holds; @end if there is none. */
static unsigned long next_unheld(struct drover_watch *w, struct drover_piece *p,
				 unsigned long at, unsigned long end)
{
	XA_STATE(xas, &w->mapping->i_pages, at);
	unsigned int n = 0;
	void *entry;

	rcu_read_lock();
	xas_for_each(&xas, entry, end - 1) {
		if (xas_retry(&xas, entry))
			continue;
		if (entry != drover_held(p, xas.xa_index))
			break;
		if (++n % STRETCH == 0) {
			xas_pause(&xas);
			rcu_read_unlock();
			cond_resched();
			rcu_read_lock();
		}
	}
	rcu_read_unlock();
	return entry ? max(xas.xa_index, at) : end;
}

/**
 * drover_hold - reference what the page cache has and the slots have not
 * @w: the watch
 * @first: first page
 * @end: page after the last one, in the same piece
 *
 * Takes the dirty flag of what is new to it. When it returns 0, each page that was in the file
 * when it was called, and still is, is in its slot.
 *
 * Return: 0; -ENOMEM; -EINTR, there is a fatal signal.
 */
int drover_hold(struct drover_watch *w, unsigned long first, unsigned long end)
{
	struct drover_piece *p = w->piece[first / DROVER_PIECE];
	unsigned long at = first;
	int r = 0;

	lockdep_assert_held(&w->lock);
	while (!r && (at = next_unheld(w, p, at, end)) < end)
		r = hold_page(w, p, at++);
	return r;
}

/* ---- the end ---- */

/* Nothing that was written may be lost: a folio without PG_dirty would be thrown away. */
static void slots_let_go(struct drover_watch *w, struct folio **slot)
{
	unsigned long i;

	for (i = 0; i < DROVER_SLOTS; i++) {
		if (!slot[i])
			continue;
		if (drover_alive(w, slot[i]) && !folio_test_dirty(slot[i]))
			folio_mark_dirty(slot[i]);
		folio_put(slot[i]);
		w->held--;
	}
	free_page((unsigned long)slot);
}

/* Undo drover_hold_init() and all of drover_hold(). */
void drover_let_go(struct drover_watch *w)
{
	unsigned long n, i;

	lockdep_assert_held(&w->lock);
	for (n = 0; w->piece && n < drover_pieces(w); n++) {
		struct drover_piece *p = w->piece[n];

		if (!p)
			continue;
		for (i = 0; i < ARRAY_SIZE(p->slot); i++) {
			if (p->slot[i])
				slots_let_go(w, p->slot[i]);
			cond_resched();
		}
		piece_free(p);
	}
	WARN_ON_ONCE(w->held);
	kvfree(w->piece);
	bitmap_free(w->unseen);
	w->piece = NULL;
	w->unseen = NULL;
	w->held = 0;
	w->memory = 0;
}
