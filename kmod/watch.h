/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef DROVER_KMOD_WATCH_H
#define DROVER_KMOD_WATCH_H

/* What the files of attach share: attach.c, harvest.c, hold.c, walk.c, lru.c. */
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>

#include "internal.h"

#define DROVER_SLOTS (PAGE_SIZE / sizeof(void *))	/* of a page of slots: 2 MiB of the file */
#define DROVER_PIECE (1ul << 18)			/* pages of a piece: 1 GiB of the file */
#define DROVER_MAX_PAGES (1ull << 30)

/**
 * struct drover_piece - what is known of 1 GiB of the file
 * @first: its first page, a multiple of DROVER_PIECE
 * @npages: how many pages of it the watch is about; fewer in the last piece
 * @slot: the slots, in pages of DROVER_SLOTS that are allocated when needed
 * @dirty: written, not yet handed out; a bit a page
 * @hole: punched, not yet handed out
 * @pinned: pinned for DMA when it was last looked at; kept over harvests
 * @others: found by the final harvest under way: somebody else has a reference
 * @npinned: bits in @pinned
 *
 * Each page of the file has a slot of its own, whatever the size of its folio. A slot holds
 *
 * - nothing: the file has no page there, or none that was found yet;
 * - a folio that is alive: it is in the file, and the slot has one reference of it. All pages
 *   of a large folio are put into their slots in one step, and the slots' references keep it
 *   from being split, migrated or collapsed;
 * - a folio that is gone: it has left the file (folio->mapping says so, for good), and its
 *   slot is cleared when that is seen.
 *
 * What the page cache holds for a moment only is never in a slot: who makes a huge page of
 * small ones inserts it locked, and removes it again when that fails. A slot is set under the
 * lock of its folio, after folio->mapping was looked at.
 */
struct drover_piece {
	unsigned long first, npages;
	struct folio **slot[DROVER_PIECE / DROVER_SLOTS];
	unsigned long *dirty, *hole, *pinned, *others;
	unsigned long npinned;
};

/**
 * struct drover_watch - a watched file
 * @lock: one command at a time; guards all below
 * @list: in the list of all, for exclusion by inode; under its own lock
 * @file: the shmem file, referenced
 * @npages: length when it was attached
 * @protect: DROVER_ATTACH_PROTECT
 * @final: the last harvest was a final one, of all of the file
 * @was_unevictable: AS_UNEVICTABLE was set by somebody else, and stays
 * @piece: the pieces; NULL: nothing is held there and nothing is to be told, but for @unseen
 * @unseen: a bit a piece: its holes were never told
 * @held: slots that are set
 *
 * Locks, in the order in which they are taken: @lock, then a folio's lock or the mapping's
 * i_mmap_rwsem, then a page table's.
 */
struct drover_watch {
	struct mutex lock;
	struct list_head list;
	struct file *file;
	struct address_space *mapping;
	unsigned long npages;
	bool armed, was_unevictable, protect, final;
	struct drover_piece **piece;
	unsigned long *unseen;
	unsigned long held;
	u64 harvests, harvest_ns, walked, reported, memory;
};

static inline unsigned long drover_pieces(const struct drover_watch *w)
{
	return DIV_ROUND_UP(w->npages, DROVER_PIECE);
}

/* ---- harvest.c ---- */

int drover_cmd_harvest(struct file *file, void *arg, struct drover_fds *fds);
/**
 * struct drover_collect - what is collected, and how far it came
 * @first: the first page
 * @end: the page after the last one
 * @final: also find who else has references, into drover_piece.others
 * @at: out: what lies before it was looked at
 */
struct drover_collect {
	unsigned long first, end;
	bool final;
	unsigned long at;
};

int drover_collect(struct drover_watch *w, struct drover_collect *c);

/* ---- hold.c; all under w->lock ---- */

int drover_hold_init(struct drover_watch *w);
void drover_let_go(struct drover_watch *w);
/* The piece of the page @first, allocated if there is none; NULL: no memory. */
struct drover_piece *drover_piece_get(struct drover_watch *w, unsigned long first);
int drover_hold(struct drover_watch *w, unsigned long first, unsigned long end);
void drover_slot_gone(struct drover_watch *w, struct drover_piece *p, unsigned long index);
void drover_mark_folio(struct drover_piece *p, unsigned long *map, struct folio *folio);
bool drover_take_folio_dirty(struct folio *folio);

static inline struct folio **drover_slot(struct drover_piece *p, unsigned long index)
{
	struct folio **page = p->slot[(index - p->first) / DROVER_SLOTS];

	return page ? &page[index % DROVER_SLOTS] : NULL;
}

static inline struct folio *drover_held(struct drover_piece *p, unsigned long index)
{
	struct folio **slot = drover_slot(p, index);

	return slot ? *slot : NULL;
}

/* Of a folio in a slot: is it in the file still? Once it is not, it never is again. */
static inline bool drover_alive(const struct drover_watch *w, const struct folio *folio)
{
	return READ_ONCE(folio->mapping) == w->mapping;
}

/* ---- walk.c ---- */

/*
 * Take the dirty bits of all page-table entries that map pages [first, end) of the file, in
 * whatever process, into p->dirty, and flush the TLBs if there were any. May sleep. -EINTR:
 * there is a fatal signal, and not all was looked at; what was taken is in p->dirty.
 */
int drover_walk(struct drover_watch *w, struct drover_piece *p, unsigned long first,
		unsigned long end);

/* ---- lru.c ---- */

void drover_lru_drain(void);
void drover_lru_rescue(struct address_space *mapping);

#endif
