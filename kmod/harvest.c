// SPDX-License-Identifier: GPL-2.0-only
/*
 * A harvest: what was written, punched, and is in others' hands. drover_collect() has the
 * order of its channels, and why it is that order.
 *
 * Bits go through the maps of the pieces (struct drover_piece) and leave them only when user
 * space has them; all of the range is looked at before the first one is handed out.
 */
#include <linux/delay.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/sched/signal.h>
#include <linux/shmem_fs.h>
#include <linux/uaccess.h>
#include <linux/xarray.h>

#include "compat.h"
#include "watch.h"

/* ---- others' references ---- */

/*
 * Has somebody else a reference of this folio? Ours are one a page, the page cache's are, too,
 * and each entry of a page table has one. A folio that is on no list of reclaim is on its way
 * there, or somebody has taken it off: whoever that is, a CPU's batch or an isolation, had
 * one reference before it cleared the flag, and never writes by it.
 */
static __always_inline bool others_have(struct folio *folio)
{
	long known = drover_folio_mapcount(folio) + 2 * folio_nr_pages(folio);

	return folio_ref_count(folio) > known + !folio_test_lru(folio);
}

/* Set or clear the bits of a folio's pages. */
static void mark_or_not(struct drover_piece *p, unsigned long *map, struct folio *folio, bool set)
{
	unsigned long at = folio->index - p->first;

	if (set)
		drover_mark_folio(p, map, folio);
	else if (at < p->npages)
		bitmap_clear(map, at, min_t(unsigned long, folio_nr_pages(folio),
					    p->npages - at));
}

/*
 * Who pins a page for DMA may write to it at any time, and need not say so. Nobody can tell
 * when, but while it is pinned and when it is not pinned any more: then all that was written
 * has been written, and it is told as dirty. @pinned was looked at before.
 */
static void note_pin(struct drover_piece *p, struct folio *folio, bool pinned)
{
	unsigned long at = folio->index - p->first, n;

	if (at >= p->npages || test_bit(at, p->pinned) == pinned)
		return;
	mark_or_not(p, p->pinned, folio, pinned);
	n = min_t(unsigned long, folio_nr_pages(folio), p->npages - at);
	p->npinned = pinned ? p->npinned + n : p->npinned - n;
	if (!pinned)
		drover_mark_folio(p, p->dirty, folio);
}

/* ---- collecting ---- */

/* The references of an alive folio, then its flag. */
static void sweep_folio(struct drover_piece *p, struct folio *folio, bool final)
{
	bool pinned = folio_maybe_dma_pinned(folio);

	if (unlikely(pinned || p->npinned) && !drover_debug(DROVER_DEBUG_FORGET_PINS))
		note_pin(p, folio, pinned);
	if (final)
		mark_or_not(p, p->others, folio, others_have(folio));
	/* Who lets go of a folio sets its flag first. */
	smp_rmb();
	if (folio_test_dirty(folio) && drover_take_folio_dirty(folio))
		drover_mark_folio(p, p->dirty, folio);
}

/* Most folios have no news: what sweep_folio() looks at, in its order, without a call. */
static __always_inline bool no_news(struct drover_piece *p, struct folio *folio, bool final)
{
	if (folio_maybe_dma_pinned(folio) || p->npinned || (final && others_have(folio)))
		return false;
	smp_rmb();
	return !folio_test_dirty(folio);
}

/* All that is in slots: what is gone, what others have, what is dirty. */
static void sweep(struct drover_watch *w, struct drover_piece *p, unsigned long first,
		  unsigned long end, bool final)
{
	struct folio *last = NULL;
	unsigned long i, next;

	lockdep_assert_held(&w->lock);
	if (final)
		bitmap_clear(p->others, first - p->first, end - first);
	for (i = first; i < end; i = next) {
		struct folio **slot = drover_slot(p, i);

		next = min(end, (i / DROVER_SLOTS + 1) * DROVER_SLOTS);
		for (; slot && i < next; i++, slot++) {
			struct folio *folio = *slot;

			/* All slots of a large folio have been dealt with at the first. */
			if (!folio || folio == last)
				continue;
			if (!drover_alive(w, folio)) {
				drover_slot_gone(w, p, i);
				continue;
			}
			if (!no_news(p, folio, final))
				sweep_folio(p, folio, final);
			last = folio;
		}
		cond_resched();
	}
}

/*
 * Let each store fault. It also makes KVM drop its entries, which moves what vCPUs have
 * written to PG_dirty. Entries that are writable count as written.
 */
static int protect(struct drover_watch *w, struct drover_piece *p, unsigned long first,
		   unsigned long end)
{
	struct folio *last = NULL;
	unsigned long i;

	lockdep_assert_held(&w->lock);
	for (i = first; i < end; i++) {
		struct folio **slot = drover_slot(p, i), *folio = slot ? *slot : NULL;

		if (!slot)
			i |= DROVER_SLOTS - 1;
		if (!folio || folio == last)
			continue;
		if (folio_lock_killable(folio))
			return -EINTR;
		if (drover_alive(w, folio) && folio_mkclean(folio))
			drover_mark_folio(p, p->dirty, folio);
		folio_unlock(folio);
		last = folio;
		if (!(i % 64))
			cond_resched();
		if (!(i % 1024) && fatal_signal_pending(current))
			return -EINTR;
	}
	return 0;
}

/*
 * What is write-protected, and whose references are counted, must be in its slot. While the
 * watch is not armed yet nothing is, and holding it first is the shorter way.
 */
static bool hold_first(const struct drover_watch *w, bool final)
{
	if (drover_debug(DROVER_DEBUG_HOLD_LATE))
		return false;
	return w->protect || final || !w->armed;
}

static int collect_piece(struct drover_watch *w, struct drover_piece *p, unsigned long first,
			 unsigned long end, bool final)
{
	int r = 0;

	if (hold_first(w, final))
		r = drover_hold(w, first, end);
	if (!r)
		r = w->protect ? protect(w, p, first, end) : drover_walk(w, p, first, end);
	if (!drover_debug(DROVER_DEBUG_NO_FOLIO_DIRTY))
		sweep(w, p, first, end, final);
	return r;
}

/* What others had may have been a CPU's batch, or is let go of meanwhile: look again. */
static void look_again(struct drover_watch *w, struct drover_piece *p)
{
	unsigned long at;

	for_each_set_bit(at, p->others, p->npages) {
		struct folio *folio = drover_held(p, p->first + at);

		if (folio && drover_alive(w, folio))
			sweep_folio(p, folio, true);
	}
}

static void recount_others(struct drover_watch *w, const struct drover_collect *c)
{
	unsigned long n, first = c->first / DROVER_PIECE, end = DIV_ROUND_UP(c->at, DROVER_PIECE);
	bool any = false;

	for (n = first; n < end && !any; n++)
		any = w->piece[n] && !bitmap_empty(w->piece[n]->others, w->piece[n]->npages);
	if (!any)
		return;
	drover_lru_drain();
	for (n = first; n < end; n++) {
		if (w->piece[n])
			look_again(w, w->piece[n]);
		cond_resched();
	}
}

static int hold_all(struct drover_watch *w, const struct drover_collect *c)
{
	unsigned long at, to;
	int r = 0;

	for (at = c->first; at < c->at && !r; at = to) {
		to = min(c->at, round_down(at, DROVER_PIECE) + DROVER_PIECE);
		if (w->piece[at / DROVER_PIECE])
			r = drover_hold(w, at, to);
		cond_resched();
	}
	return r;
}

/* The first page from @at on that the file has memory or swap for, at this moment. */
static unsigned long next_entry(struct drover_watch *w, unsigned long at)
{
	return xa_find(&w->mapping->i_pages, &at, w->npages - 1, XA_PRESENT) ? at : w->npages;
}

/* Piece by piece; c->at is how far it came. A piece in which nothing can be is passed by. */
static int collect_pieces(struct drover_watch *w, struct drover_collect *c)
{
	unsigned long next = next_entry(w, c->first), to;
	struct drover_piece *p;
	int r = 0;

	for (c->at = c->first; c->at < c->end && !r; c->at = to) {
		to = min(c->end, round_down(c->at, DROVER_PIECE) + DROVER_PIECE);
		p = w->piece[c->at / DROVER_PIECE];
		if (next < c->at)
			next = next_entry(w, c->at);
		if (!p && next >= to)
			continue;
		/* What comes often must not keep us from getting on. */
		if (c->at > c->first && w->armed && signal_pending(current))
			return -EINTR;
		p = drover_piece_get(w, c->at);
		if (!p)
			return -ENOMEM;
		r = collect_piece(w, p, c->at, to, c->final);
		if (r)
			return r;
	}
	return 0;
}

/**
 * drover_collect - collect what was written and punched since the last time
 * @w: the watch, whose lock is held
 * @c: what is wanted, and how far it came
 *
 * The bits are in the maps of the pieces afterwards. What a page goes through is looked at in
 * this order, and each step relies on the ones before:
 *
 * 1. The entries of page tables: their dirty bits are taken, TLBs are flushed (walk.c). Or,
 *    with DROVER_ATTACH_PROTECT, entries are made read-only, for which a page must be in its
 *    slot: so what is new is held first.
 * 2. The folio's references, then its flag PG_dirty. Whenever an entry goes away, by munmap,
 *    exit, reclaim or migration, its bit moves to the flag under the page-table lock, so what
 *    1 did not find any more is found here. write(2), splice and all that writes through
 *    get_user_pages sets the flag, too. Direct I/O does so after its completion was told, but
 *    before it lets go: a reference that is gone here has set the flag, and one that is there
 *    is reported by a final harvest. For shmem the flag has no other meaning than "not to be
 *    thrown away", so while we hold a reference of the folio we may clear it. That reference
 *    also keeps the folio from migrating between 1 and 2.
 * 3. What the page cache has and no slot has was made since the last harvest: it is held, and
 *    its flag is taken under its lock. Its entries were looked at by 1.
 *    To look at the whole page cache can be left out when all the file's pages are in slots.
 *    Their number was read before 1: let it be n, and h the number of slots after 2. Of the
 *    slots at the time n was read, each whose folio had left the file was cleared by 2. So
 *    n - h is at least the number of pages that were in the file then and in no slot, and if it
 *    is 0 there is none. (A huge page that is being made only makes n larger.)
 * 4. In a final harvest 3 comes first, so that 2 sees all. When others have references, the
 *    CPUs get a chance to give back those of their batches, and 2 is done again for these.
 *
 * Return: 0; -EINTR, c->at says how far it came; -ENOMEM.
 */
int drover_collect(struct drover_watch *w, struct drover_collect *c)
{
	bool all = !c->first && c->end == w->npages, counted;
	unsigned long n = READ_ONCE(w->mapping->nrpages);
	int ret;

	lockdep_assert_held(&w->lock);
	ret = collect_pieces(w, c);
	if (drover_debug(DROVER_DEBUG_COUNT_LATE)) {
		usleep_range(4000, 5000);
		n = READ_ONCE(w->mapping->nrpages);
	}
	counted = all && n == w->held && !READ_ONCE(SHMEM_I(w->mapping->host)->swapped);
	if (ret == -ENOMEM)
		return ret;
	if (c->final)
		recount_others(w, c);
	if (hold_first(w, c->final) || (counted && !ret))
		return ret;
	return hold_all(w, c) ?: ret;
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

static void note_late(struct late *late, unsigned long index, unsigned long word)
{
	if (word && !late->n)
		late->first = index + __ffs(word);
	late->n += hweight_long(word);
}

/*
 * Of [index, index + 64) only what is held is dirty: its end would be told. The rest was
 * punched again meanwhile, and reads as zero until the next harvest says something else.
 */
static void only_held(struct drover_piece *p, unsigned long index)
{
	unsigned long at = (index - p->first) / BITS_PER_LONG, left = p->dirty[at], bit;

	for (; left; left &= left - 1) {
		bit = left & -left;
		if (drover_held(p, index + __ffs(left)))
			continue;
		p->dirty[at] &= ~bit;
		p->hole[at] |= bit;
	}
}

/**
 * struct hand_out - where bits go
 * @w: the watch
 * @a: the command, whose counters are updated
 * @late: of a final harvest
 */
struct hand_out {
	struct drover_watch *w;
	struct drover_harvest *a;
	struct late late;
};

static unsigned long __user *word_of(u64 map, const struct drover_harvest *a, unsigned long index)
{
	return (unsigned long __user *)u64_to_user_ptr(map) + (index - a->first) / BITS_PER_LONG;
}

static int give_word(struct hand_out *h, struct drover_piece *p, unsigned long index,
		     unsigned long mask)
{
	unsigned long at = (index - p->first) / BITS_PER_LONG, word, news;
	struct drover_harvest *a = h->a;
	int r;

	if (a->hole && !drover_debug(DROVER_DEBUG_NO_HOLD))
		only_held(p, index);
	word = p->dirty[at] & mask;
	r = give(word_of(a->dirty, a, index), word, &a->ndirty);
	if (r < 0)
		return r;
	p->dirty[at] &= ~word;
	news = word;
	word = a->hole ? p->hole[at] & mask : 0;
	r = give(word_of(a->hole, a, index), word, &a->nhole);
	if (r < 0)
		return r;
	p->hole[at] &= ~word;
	if (!(a->flags & DROVER_HARVEST_FINAL))
		return 0;
	/* After a plain one the writers run again, and what they write is not late. */
	news = h->w->final ? news | word : 0;
	word = a->pinned ? (p->others[at] | p->pinned[at]) & mask : 0;
	note_late(&h->late, index, news | word);
	return give(word_of(a->pinned, a, index), word, &a->npinned);
}

static bool has_news(const struct drover_piece *p, unsigned long index, bool final)
{
	unsigned long at = (index - p->first) / BITS_PER_LONG;

	return p->dirty[at] || p->hole[at] || (final && (p->others[at] || p->pinned[at]));
}

static int give_piece(struct hand_out *h, struct drover_piece *p, unsigned long first,
		      unsigned long end)
{
	bool final = h->a->flags & DROVER_HARVEST_FINAL;
	unsigned long i;
	int r;

	for (i = first; i < end; i += BITS_PER_LONG) {
		unsigned long left = end - i;

		if (has_news(p, i, final)) {
			r = give_word(h, p, i, left < BITS_PER_LONG ? (1ul << left) - 1 : ~0ul);
			if (r < 0)
				return r;
		}
		h->a->done = min(i + BITS_PER_LONG, end) - h->a->first;
		if (!(i % DROVER_SLOTS))
			cond_resched();
	}
	return 0;
}

/* Of the piece @n, which is not there: its holes, once. */
static int give_unseen(struct hand_out *h, unsigned long n, unsigned long first,
		       unsigned long end)
{
	struct drover_harvest *a = h->a;
	unsigned long i, left;
	int r;

	/* If it is told in parts, the piece gets bits to say which. */
	if (first != n * DROVER_PIECE || end != min(h->w->npages, (n + 1) * DROVER_PIECE)) {
		struct drover_piece *p = drover_piece_get(h->w, first);

		return p ? give_piece(h, p, first, end) : -ENOMEM;
	}
	for (i = first; i < end; i += BITS_PER_LONG) {
		left = end - i;
		r = give(word_of(a->hole, a, i), left < BITS_PER_LONG ? (1ul << left) - 1 : ~0ul,
			 &a->nhole);
		if (r < 0)
			return r;
	}
	clear_bit(n, h->w->unseen);
	return 0;
}

static int hand_out(struct hand_out *h, unsigned long end)
{
	unsigned long at, to, n;
	int r = 0;

	for (at = h->a->first; at < end && !r; at = to) {
		n = at / DROVER_PIECE;
		to = min(end, (n + 1) * DROVER_PIECE);
		if (h->w->piece[n])
			r = give_piece(h, h->w->piece[n], at, to);
		else if (h->a->hole && test_bit(n, h->w->unseen))
			r = give_unseen(h, n, at, to);
		if (r < 0)
			return r;
		h->a->done = to - h->a->first;
		cond_resched();
		if (to < end && fatal_signal_pending(current))
			r = -EINTR;
	}
	return r;
}

static int harvest(struct hand_out *h)
{
	struct drover_harvest *a = h->a;
	struct drover_watch *w = h->w;
	struct drover_collect c = {
		.first = a->first,
		.end = a->first + a->npages,
		.final = a->flags & DROVER_HARVEST_FINAL && a->pinned,
	};
	u64 begin = ktime_get_ns(), walked = w->walked;
	int r, ret = 0;

	if (!w->armed)
		return -ENXIO;
	r = drover_collect(w, &c);
	/* Of a harvest that was interrupted what was looked at is handed out. */
	if (r >= 0 || r == -EINTR)
		ret = hand_out(h, c.at);
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

int drover_cmd_harvest(struct file *file, void *arg, struct drover_fds *fds)
{
	struct drover_watch *w = file->private_data;
	struct drover_harvest *a = arg;
	struct hand_out h = { .w = w, .a = a };
	int r;

	if (a->flags & ~DROVER_HARVEST_FINAL || a->first % BITS_PER_LONG || !a->npages ||
	    a->first >= w->npages || a->npages > w->npages - a->first || !a->dirty ||
	    (a->dirty | a->hole | a->pinned) % sizeof(long))
		return -EINVAL;
	a->ndirty = 0;
	a->nhole = 0;
	a->npinned = 0;
	a->done = 0;
	if (mutex_lock_interruptible(&w->lock))
		return -EINTR;
	r = harvest(&h);
	mutex_unlock(&w->lock);
	if (h.late.n)
		drover_event_late(file_inode(w->file)->i_ino, h.late.first, h.late.n);
	return r;
}
