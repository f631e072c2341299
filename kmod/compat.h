/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef DROVER_COMPAT_H
#define DROVER_COMPAT_H

/*
 * What differs between kernels, and nowhere else. DROVER_HAS_* is what Kbuild has found in the
 * headers and the exported symbols of the kernel that is built against.
 */
#include <linux/device/class.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/shmem_fs.h>
#include <asm/invpcid.h>
#include <asm/tlbflush.h>

#ifndef CONFIG_X86_64
#error "drover.ko is for x86-64: elsewhere dirty is not one bit of a page-table entry"
#endif

/* Pages of this file are shmem's. Kernels export either the test or the operations. */
static inline bool drover_is_shmem(struct address_space *mapping)
{
#ifdef DROVER_HAS_SHMEM_MAPPING
	return shmem_mapping(mapping);
#else
	return mapping->a_ops == &shmem_aops;
#endif
}

/* Can this CPU drop all that it has cached of page tables, of every address space? */
static inline bool drover_can_flush(void)
{
#if defined(DROVER_HAS_FLUSH_TLB_ALL)
	return true;
#elif defined(DROVER_HAS_WRITE_CR4)
	return boot_cpu_has(X86_FEATURE_INVPCID) || boot_cpu_has(X86_FEATURE_PGE);
#else
	return boot_cpu_has(X86_FEATURE_INVPCID);
#endif
}

/* On the CPU it is called on; interrupts are off. */
static inline void drover_flush_local(void)
{
#if defined(DROVER_HAS_FLUSH_TLB_ALL)
	__flush_tlb_all();
#else
	if (boot_cpu_has(X86_FEATURE_INVPCID)) {
		invpcid_flush_all();
		return;
	}
#ifdef DROVER_HAS_WRITE_CR4
	/* To change the bit for global pages drops all entries, of all address spaces. */
	native_write_cr4(native_read_cr4() ^ X86_CR4_PGE);
	native_write_cr4(native_read_cr4() ^ X86_CR4_PGE);
#endif
#endif
}

/* From 6.6 on (shadow stacks) an entry that was dirty and lost its write bit has saved-dirty. */
#if defined(_PAGE_SAVED_DIRTY)
#define DROVER_DIRTY_BITS (_PAGE_DIRTY | _PAGE_SAVED_DIRTY)
#else
#define DROVER_DIRTY_BITS _PAGE_DIRTY
#endif

/* In an entry that is not present these bits mean something else. */
static inline bool drover_maybe_dirty(unsigned long entry)
{
	return entry & DROVER_DIRTY_BITS;
}

/* Take the dirty bit of a present entry, under its lock. */
static inline bool drover_take_dirty(unsigned long *entry)
{
	unsigned long old = READ_ONCE(*entry);

	if (!drover_maybe_dirty(old))
		return false;
	while (!try_cmpxchg(entry, &old, old & ~(unsigned long)DROVER_DIRTY_BITS))
		;
	return true;
}

/* References that page tables have of it: folio_mapcount() is not exported for large ones. */
static inline int drover_folio_mapcount(struct folio *folio)
{
#ifdef DROVER_HAS_FOLIO_MAPCOUNT
	return folio_mapcount(folio);
#else
	long nr = folio_nr_pages(folio), i;
	int sum = 0;

	for (i = 0; i < nr; i++)
		sum += page_mapcount(folio_page(folio, i));
	/* A mapping of the whole is one reference, and counted at each page. */
	if (nr > 1)
		sum -= (nr - 1) * folio_entire_mapcount(folio);
	return sum;
#endif
}

/*
 * The entries under *pmd, mapped and locked, unless it is no page table (any more). Up to
 * 6.4 an inline does it and tables can't vanish under i_mmap_rwsem.
 */
#ifdef __CHECKER__
/* sparse can't follow a lock that is taken or not. */
bool drover_pte_lock_or_not(pte_t **pte);
#define drover_pte_lock(mm, pmd, addr, pte, ptl) \
	__cond_lock(*(ptl), drover_pte_lock_or_not(pte))
#define drover_pte_unlock(pte, ptl) __release(ptl)
#else
static inline bool drover_pte_lock(struct mm_struct *mm, pmd_t *pmd, unsigned long addr,
				   pte_t **pte, spinlock_t **ptl)
{
#ifdef DROVER_HAS_PTE_OFFSET_MAP_RCU
	pmd_t val;

	rcu_read_lock();
again:
	val = pmdp_get_lockless(pmd);
	if (pmd_none(val) || !pmd_present(val) || pmd_trans_huge(val) || pmd_bad(val)) {
		rcu_read_unlock();
		return false;
	}
	*ptl = pte_lockptr(mm, &val);
	*pte = pte_offset_kernel(&val, addr);
	spin_lock(*ptl);
	if (unlikely(!pmd_same(val, pmdp_get_lockless(pmd)))) {
		spin_unlock(*ptl);
		goto again;
	}
	return true;
#else
	if (pmd_none(*pmd) || !pmd_present(*pmd) || pmd_trans_huge(*pmd) || pmd_bad(*pmd))
		return false;
	*pte = pte_offset_map_lock(mm, pmd, addr, ptl);
	return true;
#endif
}

static inline void drover_pte_unlock(pte_t *pte, spinlock_t *ptl)
{
#ifdef DROVER_HAS_PTE_OFFSET_MAP_RCU
	(void)pte;
	spin_unlock(ptl);
	rcu_read_unlock();
#else
	pte_unmap_unlock(pte, ptl);
#endif
}
#endif

/*
 * Let go of what a fault holds before it sleeps. From 6.4 on a fault may hold only its
 * mapping's lock: it is sent back, to come again with mmap_lock.
 */
static inline bool drover_fault_needs_mmap_lock(struct vm_fault *vmf)
{
#ifdef DROVER_HAS_VMA_LOCK
	if (vmf->flags & FAULT_FLAG_VMA_LOCK) {
		vma_end_read(vmf->vma);
		return true;
	}
#endif
	return false;
}

static inline void drover_fault_unlock(struct vm_fault *vmf)
{
	mmap_read_unlock(vmf->vma->vm_mm);
}

static inline void drover_vma_set_flags(struct vm_area_struct *vma, unsigned long flags)
{
#ifdef DROVER_HAS_VM_FLAGS_SET
	vm_flags_set(vma, flags);
#else
	vma->vm_flags |= flags;
#endif
}

static inline struct class *drover_class_create(const char *name)
{
#ifdef DROVER_HAS_CLASS_CREATE_1
	return class_create(name);
#else
	return class_create(THIS_MODULE, name);
#endif
}

#endif
