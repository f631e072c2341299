// SPDX-License-Identifier: GPL-2.0-only
/*
 * The page-table walk of a harvest: every mapping of the file that can write, in every
 * process. The kernel's own helper (clean_record_shared_mapping_range) ends its walk at
 * the first mapping that can't, so a reader hides the writers behind it; and it makes KVM
 * drop its tables. This one calls no notifier: it changes neither a frame nor a right.
 *
 * Taking a dirty bit while a CPU has the entry cached as dirty would lose the next store,
 * so all TLBs are flushed before the caller may copy a page. Until then mms are marked as
 * having a flush pending, for those who change entries without flushing what isn't dirty.
 *
 * Page tables stay: free_pgtables() unlinks the mapping first, which needs i_mmap_rwsem.
 */
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/pagemap.h>
#include <linux/rbtree.h>
#include <linux/sched/signal.h>
#include <linux/smp.h>

#include "compat.h"
#include "watch.h"

/**
 * struct walk - the walk of one mapping
 * @w: the watch
 * @p: the piece of the file
 * @vma: the mapping; under i_mmap_rwsem
 * @took: a dirty bit was taken, so TLBs must be flushed
 */
struct walk {
	struct drover_watch *w;
	struct drover_piece *p;
	struct vm_area_struct *vma;
	bool took;
};

static unsigned long index_of(const struct walk *k, unsigned long addr)
{
	return k->vma->vm_pgoff + ((addr - k->vma->vm_start) >> PAGE_SHIFT);
}

/*
 * The bit of an entry was taken. If we don't hold the folio yet, the entry was the only
 * record that it has content.
 */
static void bit_taken(struct walk *k, unsigned long index, struct folio *folio)
{
	k->took = true;
	if (drover_held(k->p, index) != folio)
		folio_mark_dirty(folio);
}

static void walk_ptes(struct walk *k, pmd_t *pmd, unsigned long addr, unsigned long end)
{
	spinlock_t *ptl;
	pte_t *start, *pte;

	if (!drover_pte_lock(k->vma->vm_mm, pmd, addr, &start, &ptl))
		return;
	k->w->walked += (end - addr) >> PAGE_SHIFT;
	/* Most entries are clean: one look is all that they cost. */
	for (pte = start; addr != end; pte++, addr += PAGE_SIZE)
		if (drover_maybe_dirty(READ_ONCE(pte->pte)) && pte_present(*pte) &&
		    drover_take_dirty((unsigned long *)&pte->pte)) {
			__set_bit(index_of(k, addr) - k->p->first, k->p->dirty);
			bit_taken(k, index_of(k, addr), page_folio(pte_page(*pte)));
		}
	drover_pte_unlock(start, ptl);
}

/* A huge page is dirty as a whole. It never reaches over the end of a piece. */
static bool walk_huge(struct walk *k, pmd_t *pmd, unsigned long addr)
{
	unsigned long first = index_of(k, addr & PMD_MASK), at = first - k->p->first;
	spinlock_t *ptl;
	bool huge;

	if (!pmd_trans_huge(*pmd))
		return false;
	ptl = pmd_lock(k->vma->vm_mm, pmd);
	huge = pmd_trans_huge(*pmd);
	if (huge && drover_take_dirty((unsigned long *)&pmd->pmd)) {
		bit_taken(k, first, page_folio(pmd_page(*pmd)));
		if (at < k->p->npages)
			bitmap_set(k->p->dirty, at, min_t(unsigned long, PTRS_PER_PTE,
							  k->p->npages - at));
	}
	spin_unlock(ptl);
	k->w->walked++;
	return huge;
}

static void walk_pmds(struct walk *k, pud_t *pud, unsigned long addr, unsigned long end)
{
	pmd_t *pmd = pmd_offset(pud, addr);
	unsigned long next;

	for (; addr != end; pmd++, addr = next) {
		next = pmd_addr_end(addr, end);
		if (!pmd_none(*pmd) && !walk_huge(k, pmd, addr))
			walk_ptes(k, pmd, addr, next);
		cond_resched();
	}
}

static void walk_vma(struct walk *k, unsigned long addr, unsigned long end)
{
	unsigned long next;

	/* Who is being killed doesn't wait for the rest of many mappings. */
	for (; addr != end && !fatal_signal_pending(current); addr = next) {
		pgd_t *pgd = pgd_offset(k->vma->vm_mm, addr);
		p4d_t *p4d;
		pud_t *pud;

		next = pud_addr_end(addr, end);
		if (pgd_none(*pgd) || pgd_bad(*pgd))
			continue;
		p4d = p4d_offset(pgd, addr);
		if (p4d_none(*p4d) || p4d_bad(*p4d))
			continue;
		pud = pud_offset(p4d, addr);
		if (pud_none(*pud) || pud_bad(*pud))
			continue;
		walk_pmds(k, pud, addr, next);
	}
}

/* Can this mapping have written to the file's pages? Private ones write to their own. */
static bool can_write(const struct vm_area_struct *vma)
{
	return (vma->vm_flags & (VM_SHARED | VM_MAYWRITE)) == (VM_SHARED | VM_MAYWRITE);
}

static void flush(void *unused)
{
	drover_flush_local();
}

typedef void vma_fn(struct walk *k, unsigned long addr, unsigned long end);

static void flush_pending(struct walk *k, unsigned long addr, unsigned long end)
{
	inc_tlb_flush_pending(k->vma->vm_mm);
}

static void flush_done(struct walk *k, unsigned long addr, unsigned long end)
{
	dec_tlb_flush_pending(k->vma->vm_mm);
}

/*
 * Call @fn for each mapping of [first, end) that can write. The interval tree's own iterators
 * are not exported; mappings of guest RAM are few.
 */
static void each_vma(struct walk *k, unsigned long first, unsigned long end, vma_fn *fn)
{
	struct rb_node *n;

	lockdep_assert_held(&k->w->mapping->i_mmap_rwsem);
	for (n = rb_first_cached(&k->w->mapping->i_mmap); n; n = rb_next(n)) {
		struct vm_area_struct *vma = rb_entry(n, struct vm_area_struct, shared.rb);
		unsigned long from = vma->vm_pgoff, to = from + vma_pages(vma);

		if (!can_write(vma)) {
			if (drover_debug(DROVER_DEBUG_STOP_AT_SKIP))
				break;
			continue;
		}
		if (from >= end || to <= first)
			continue;
		k->vma = vma;
		fn(k, vma->vm_start + ((max(from, first) - from) << PAGE_SHIFT),
		   vma->vm_start + ((min(to, end) - from) << PAGE_SHIFT));
	}
}

int drover_walk(struct drover_watch *w, struct drover_piece *p, unsigned long first,
		unsigned long end)
{
	struct walk k = { .w = w, .p = p };

	lockdep_assert_held(&w->lock);
	i_mmap_lock_read(w->mapping);
	each_vma(&k, first, end, flush_pending);
	each_vma(&k, first, end, walk_vma);
	if (k.took && !drover_debug(DROVER_DEBUG_NO_FLUSH))
		on_each_cpu(flush, NULL, 1);
	each_vma(&k, first, end, flush_done);
	i_mmap_unlock_read(w->mapping);
	return fatal_signal_pending(current) ? -EINTR : 0;
}
