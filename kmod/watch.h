/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef DROVER_KMOD_WATCH_H
#define DROVER_KMOD_WATCH_H

/* What attach.c, harvest.c, hold.c and walk.c share. */
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>

#include "internal.h"

#define DROVER_SLOTS (PAGE_SIZE / sizeof(void *))       /* folios a page of the array holds */
#define DROVER_MAX_PAGES (1ull << 30)

/**
 * struct drover_watch - a watched file
 * @lock: one command at a time; guards all below
 * @list: in the list of all, for exclusion by inode; under its own lock
 * @file: the shmem file, referenced
 * @npages: length when it was attached
 * @protect: DROVER_ATTACH_PROTECT
 * @final: the last harvest was a final one, of all of the file
 * @was_unevictable: AS_UNEVICTABLE was set by somebody else, and stays
 * @slot: pages of DROVER_SLOTS folio pointers each, allocated when needed. A folio is
 *	referenced from when it is found until disarm or until it is known to be punched. A
 *	large one is in the slot of its first page only
 * @dirty: written, not yet handed out; a bit a page
 * @hole: punched, not yet handed out
 * @held: pages of the folios in slots
 */
struct drover_watch {
	struct mutex lock;
	struct list_head list;
	struct file *file;
	struct address_space *mapping;
	unsigned long npages;
	bool armed, was_unevictable, protect, final;
	struct folio ***slot;
	unsigned long *dirty, *hole;
	unsigned long held;
	u64 harvests, harvest_ns, walked, reported, memory;
};

/* ---- harvest.c ---- */

int drover_cmd_harvest(struct file *file, void *arg);
/*
 * Bits of entries, then PG_dirty, of [first, *end) into w->dirty and w->hole; under w->lock.
 * After -EINTR *end is how far it came.
 */
int drover_collect(struct drover_watch *w, unsigned long first, unsigned long *end);

/* ---- hold.c; all under w->lock ---- */

/* Reference what the page cache holds and @w does not, and take its PG_dirty. */
int drover_pick_up(struct drover_watch *w, unsigned long first, unsigned long end);
void drover_tell_holes(struct drover_watch *w);
void drover_let_go(struct drover_watch *w);
void drover_mark(struct drover_watch *w, unsigned long *map, struct folio *folio,
		 unsigned long index);
void drover_slot_drop(struct drover_watch *w, struct folio **slot);
void drover_slot_gone(struct drover_watch *w, struct folio **slot, unsigned long index,
		      const void *now);
bool drover_take_folio_dirty(struct folio *folio);

static inline struct folio **drover_slot(struct drover_watch *w, unsigned long index)
{
	struct folio **p = w->slot[index / DROVER_SLOTS];

	return p ? &p[index % DROVER_SLOTS] : NULL;
}

/* ---- walk.c ---- */

/*
 * Take the dirty bits of all page-table entries that map pages [first, end) of the file,
 * in whatever process, into w->dirty, and flush the TLBs. May sleep.
 */
void drover_walk(struct drover_watch *w, unsigned long first, unsigned long end);

#endif
