// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The fault handler `userfaultfd`: the VMM's mapping of guest RAM is registered with the VMM's own
 * userfaultfd, which the VMM has passed to droverd, for pages that the file does not have
 * (missing faults) and for pages that the file has but the VMM has not mapped (minor faults).
 * Content is received through droverd's mapping of the file, where no access waits; publishing a
 * page maps it in the VMM.
 *
 * A thread of the VMM waits at a page for which the VMM has no page-table entry. So the order at
 * the start is: register, then the VMM drops its entries of pages that have not arrived, then the
 * guest may run. The order for a page is: content, then the received bit, then the entry. A page
 * can have its bit and no entry: it arrived before the handler started, it is a hole, or the VMM
 * has dropped the entry since. next() maps such a page itself and does not report the fault.
 *
 * The registration belongs to the VMM and outlives droverd: vCPUs wait for the next handler. Faults
 * that a dead daemon had read and not answered are lost. So the next handler wakes all waiting
 * threads, which then fault again. Not gated: read(2) and write(2) of the file, and mappings of
 * other processes.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/err.h"
#include "dev/uffd.h"
#include "fault/fault.h"
#include "ram/ramfile.h"

#define MODE (UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR)
#define FEATURES ((uint64_t)UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM)
#define MESSAGES_MAX 32u
/* When a fault hits a page that has arrived, pages around it are mapped: those of a page table. */
#define WINDOW 512u
/* Mapping around stops after so many pages that could not be mapped. */
#define WINDOW_GAPS 8u
/* How often a page is tried again when the kernel answers -EAGAIN. */
#define TRIES_MAX 100000u

/**
 * struct uffd_fault - a handler
 * @src: a copy of what the guest link offers, with the received bitmaps
 * @asked: pages whose fault next() has reported, or is about to
 * @mapped: pages that map_around() skips: mapping them was done or tried once
 */
struct uffd_fault {
	struct drover_fault_source src;
	uint64_t *asked[DROVER_RAM_BLOCKS_MAX];
	uint64_t *mapped[DROVER_RAM_BLOCKS_MAX];
};

static void uffd_free(struct uffd_fault *s)
{
	unsigned int i;

	for (i = 0; i < s->src.ram->n; i++) {
		free(s->asked[i]);
		free(s->mapped[i]);
	}
	free(s);
}

static void uffd_freep(struct uffd_fault **s)
{
	if (*s)
		uffd_free(*s);
}

/* Atomic, since other threads set bits of the same words meanwhile. */
static bool bit(const uint64_t *map, uint64_t page)
{
	return __atomic_load_n(&map[page / 64], __ATOMIC_ACQUIRE) >> (page % 64) & 1;
}

static bool is_received(const struct uffd_fault *s, unsigned int block, uint64_t page)
{
	return bit(s->src.received[block], page);
}

static uint64_t address(const struct uffd_fault *s, unsigned int block, uint64_t page)
{
	return s->src.base[block] + drover_page_off(page);
}

/* ---- can it be used? ---- */

__attribute__((format(printf, 3, 4)))
static int refuse(char *why, size_t len, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, len, fmt, ap);
	va_end(ap);
	return 0;
}

/*
 * Register one page of each block for a moment: only that tells with which features the VMM made
 * its userfaultfd. What an earlier handler has registered must stay registered.
 */
static int probe_register(const struct drover_fault_source *src, char *why, size_t len)
{
	unsigned int i;
	int r;

	for (i = 0; i < src->ram->n; i++) {
		r = drover_uffd_register(src->uffd, src->base[i], DROVER_PAGE_SIZE, MODE);
		if (r < 0)
			return refuse(why, len, "ram %s can't be registered: %s",
				      src->ram->block[i].name,
				      r == -EBUSY ? "another userfaultfd has it" :
				      r == -EINVAL ? "it is no memfd or shmem, or the VMM made its "
						     "userfaultfd without missing and minor faults" :
				      drover_strerror(r));
		if (!src->adopt)
			drover_uffd_unregister(src->uffd, src->base[i], DROVER_PAGE_SIZE);
	}
	return 1;
}

static int uffd_probe(const struct drover_fault_source *src, char *why, size_t len)
{
	unsigned int i;
	int flags;

	if (src->uffd < 0)
		return refuse(why, len, "the guest passed no userfaultfd");
	for (i = 0; i < src->ram->n; i++)
		if (!src->base[i])
			return refuse(why, len, "the guest did not say where it maps %s",
				      src->ram->block[i].name);
	if (!src->arm)
		return refuse(why, len, "the guest can't drop page-table entries (ARM_FAULTS)");
	if (FEATURES & ~drover_uffd_kernel_features())
		return refuse(why, len, "this kernel has no missing and minor faults of shared "
			      "memory (Linux 5.14)");
	flags = fcntl(src->uffd, F_GETFL);
	if (flags < 0 || !(flags & O_NONBLOCK))
		return refuse(why, len, "the guest's userfaultfd is not O_NONBLOCK");
	return probe_register(src, why, len);
}

/* ---- entries of the VMM's page tables ---- */

static int map_failed(const struct uffd_fault *s, unsigned int block, uint64_t page, int r,
		      struct drover_error *e)
{
	return drover_err(e, r, "fault handler userfaultfd: ram %s: map page %llu: %s",
			  s->src.ram->block[block].name, (unsigned long long)page,
			  r == -ESRCH ? "the VMM has gone" :
			  r == -ENOENT ? "the VMM has unmapped it" :
			  r == -EAGAIN ? "the VMM's address space does not come to rest" :
			  drover_strerror(r));
}

/* Map a page that has arrived: the file's content, or zeros for a hole. 0 or the kernel's errno. */
static int map_page(struct uffd_fault *s, unsigned int block, uint64_t page)
{
	uint64_t at = address(s, block, page), done;
	unsigned int tries;
	int r = 0;

	/* A balloon may turn the page into a hole between the two calls, any number of times. */
	for (tries = 0; tries < TRIES_MAX; tries++) {
		r = drover_uffd_continue(s->src.uffd, at, DROVER_PAGE_SIZE, &done);
		if (r == -EFAULT)
			r = drover_uffd_zeropage(s->src.uffd, at);
		else if (r == -EEXIST)
			return drover_uffd_wake(s->src.uffd, at, DROVER_PAGE_SIZE);
		if (r != -EAGAIN && r != -EEXIST)
			break;
		sched_yield();
	}
	return r == -EEXIST ? -EAGAIN : r;
}

/* Map pages of a run that has arrived, up to the first that is a hole or mapped already. */
static uint64_t map_some(struct uffd_fault *s, unsigned int block, uint64_t page, uint64_t n)
{
	uint64_t done;

	drover_uffd_continue(s->src.uffd, address(s, block, page), drover_page_off(n), &done);
	done = drover_pages(done);
	if (done)
		drover_bitmap_set_range_atomic(s->mapped[block], page, done);
	return done;
}

static int map_run(struct uffd_fault *s, unsigned int block, uint64_t page, uint64_t n,
		   struct drover_error *e)
{
	uint64_t done;
	int r;

	while (n) {
		done = n > 1 ? map_some(s, block, page, n) : 0;
		page += done;
		n -= done;
		if (!n)
			break;
		r = map_page(s, block, page);
		if (r < 0)
			return map_failed(s, block, page, r, e);
		drover_bitmap_set_range_atomic(s->mapped[block], page++, 1);
		n--;
	}
	return 0;
}

static bool worth_mapping(const struct uffd_fault *s, unsigned int block, uint64_t page)
{
	return is_received(s, block, page) && !bit(s->mapped[block], page);
}

/* Map pages around one that had arrived before it was touched: each would cost a fault, too. */
static void map_around(struct uffd_fault *s, unsigned int block, uint64_t page)
{
	uint64_t first = page - page % WINDOW, n = drover_pages(s->src.ram->block[block].size);
	uint64_t end = n - first < WINDOW ? n : first + WINDOW, at, to;
	unsigned int gaps = 0;

	for (at = first; at < end && gaps < WINDOW_GAPS; at = to + 1) {
		for (to = at; to < end && worth_mapping(s, block, to); to++)
			;
		if (to > at)
			to = at + map_some(s, block, at, to - at);
		/* A hole, or mapped already: step over it, as more may follow. */
		if (to < end && worth_mapping(s, block, to)) {
			drover_bitmap_set_range_atomic(s->mapped[block], to, 1);
			gaps++;
		}
	}
}

/* Answer a fault on a page that has arrived. */
static int answer(struct uffd_fault *s, unsigned int block, uint64_t page, struct drover_error *e)
{
	int r = map_run(s, block, page, 1, e);

	if (r >= 0)
		map_around(s, block, page);
	return r;
}

/* ---- who waits ---- */

static uint8_t *uffd_host(void *state, unsigned int block)
{
	struct uffd_fault *s = state;

	return s->src.ram->block[block].host;
}

static unsigned int uffd_fds(void *state, int *fd, unsigned int max)
{
	struct uffd_fault *s = state;

	if (max)
		fd[0] = s->src.uffd;
	return max ? 1 : 0;
}

static bool block_of(const struct uffd_fault *s, uint64_t addr, struct drover_fault *ret)
{
	unsigned int i;

	for (i = 0; i < s->src.ram->n; i++) {
		if (addr < s->src.base[i] || addr - s->src.base[i] >= s->src.ram->block[i].size)
			continue;
		ret->block = i;
		ret->page = drover_pages(addr - s->src.base[i]);
		return true;
	}
	return false;
}

/* Handle one event. Returns 1 when the fault @ret is to be reported, 0 when not, or an errno. */
static int look(struct uffd_fault *s, const struct uffd_msg *m, struct drover_fault *ret,
		struct drover_error *e)
{
	struct drover_fault f = {
		.time_ns = drover_now_ns(),
		.pid = (int)m->arg.pagefault.feat.ptid,
		.write = m->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE,
	};
	int r = 0;

	/* Other events, if the VMM enabled any: it waits only until they have been read. */
	if (m->event == UFFD_EVENT_FORK)
		close((int)m->arg.fork.ufd);
	if (m->event != UFFD_EVENT_PAGEFAULT || !block_of(s, m->arg.pagefault.address, &f))
		return 0;
	/*
	 * This thread sets the asked bit and then looks at the received bit; the publisher sets
	 * the received bit and then looks at the asked bit. So at least one of the two sees the
	 * other. If the page was reported before, the publisher maps it, which wakes all waiters.
	 */
	if (!is_received(s, f.block, f.page) &&
	    drover_bit_test_and_set_atomic(s->asked[f.block], f.page) &&
	    !is_received(s, f.block, f.page))
		return 0;
	if (is_received(s, f.block, f.page)) {
		r = answer(s, f.block, f.page, e);
		return r < 0 ? r : 0;
	}
	*ret = f;
	return 1;
}

static int uffd_next(void *state, struct drover_fault *fault, unsigned int max,
		     struct drover_error *e)
{
	struct uffd_fault *s = state;
	struct uffd_msg m[MESSAGES_MAX];
	unsigned int got = 0, i;
	ssize_t n;
	int r;

	/* Read on until there is a fault to report: look() may have answered all that were read. */
	while (max && !got) {
		n = read(s->src.uffd, m, sizeof(m[0]) * (max < MESSAGES_MAX ? max : MESSAGES_MAX));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0)
			return drover_err(e, n < 0 ? -errno : -EIO,
					  "fault handler userfaultfd: read: %s",
					  n < 0 ? drover_strerror(errno) : "no event");
		for (i = 0; i < (size_t)n / sizeof(m[0]); i++) {
			r = look(s, &m[i], &fault[got], e);
			if (r < 0)
				return r;
			got += (unsigned int)r;
		}
	}
	return (int)got;
}

/* ---- what has arrived ---- */

static int bad_run(const struct uffd_fault *s, const struct drover_ram_run *run,
		   struct drover_error *e)
{
	const struct drover_ram *ram = s->src.ram;
	uint64_t n = run->block < ram->n ? drover_pages(ram->block[run->block].size) : 0;

	if (run->npages && run->page < n && run->npages <= n - run->page)
		return 0;
	return drover_err(e, -ERANGE,
			  "fault handler userfaultfd: publish: block %u, page %llu, %llu pages",
			  run->block, (unsigned long long)run->page,
			  (unsigned long long)run->npages);
}

/* Punch out the run's pages that had not arrived; the guest may have written to the others. */
static int drop(const struct uffd_fault *s, const struct drover_ram_run *run,
		struct drover_error *e)
{
	const struct drover_ram_block *b = &s->src.ram->block[run->block];
	uint64_t at, to, end = run->page + run->npages;
	int r;

	for (at = run->page; at < end; at = to + 1) {
		for (to = at; to < end && !is_received(s, run->block, to); to++)
			;
		if (to == at)
			continue;
		r = drover_ramfile_punch(b->fd, b->fd_off + drover_page_off(at),
					 drover_page_off(to - at), b->host + drover_page_off(at));
		if (r < 0)
			return drover_err(e, r, "fault handler userfaultfd: ram %s: punch: %s",
					  b->name, drover_strerror(r));
	}
	return 0;
}

/* Mapping a hole allocates a page, so a page of zeros is mapped only if a thread waits for it. */
static int publish_zero(struct uffd_fault *s, const struct drover_ram_run *run,
			struct drover_error *e)
{
	uint64_t page, end = run->page + run->npages, word = 0;
	int r = drop(s, run, e);

	if (r < 0)
		return r;
	drover_bitmap_set_range_atomic(s->src.received[run->block], run->page, run->npages);
	for (page = run->page; r >= 0 && page < end; page++) {
		/* A read-modify-write: look() sets its bit before it, or sees the received bit. */
		if (page == run->page || page % 64 == 0)
			word = __atomic_fetch_or(&s->asked[run->block][page / 64], 0,
						 __ATOMIC_ACQ_REL);
		if (word >> page % 64 & 1)
			r = map_run(s, run->block, page, 1, e);
	}
	if (r < 0)
		return r;
	/* A thread whose fault next() has not read yet faults again; next() answers it then. */
	r = drover_uffd_wake(s->src.uffd, address(s, run->block, run->page),
			     drover_page_off(run->npages));
	return r < 0 ? map_failed(s, run->block, run->page, r, e) : 0;
}

static int publish_run(struct uffd_fault *s, const struct drover_ram_run *run,
		       struct drover_error *e)
{
	bool again = run->npages == 1 && is_received(s, run->block, run->page);

	if (again)
		return answer(s, run->block, run->page, e);
	drover_bitmap_set_range_atomic(s->src.received[run->block], run->page, run->npages);
	drover_crash_point("arrived");
	return map_run(s, run->block, run->page, run->npages, e);
}

static int uffd_publish(void *state, const struct drover_ram_run *run, unsigned int n, bool zero,
			struct drover_error *e)
{
	struct uffd_fault *s = state;
	unsigned int i;
	int r = 0;

	for (i = 0; i < n; i++)
		if (bad_run(s, &run[i], e) < 0)
			return -ERANGE;
	for (i = 0; r >= 0 && i < n; i++)
		r = zero ? publish_zero(s, &run[i], e) : publish_run(s, &run[i], e);
	return r;
}

static int uffd_received(void *state, unsigned int block, uint64_t *map, struct drover_error *e)
{
	struct uffd_fault *s = state;
	size_t i, words = drover_bitmap_words(drover_pages(s->src.ram->block[block].size));

	(void)e;
	for (i = 0; i < words; i++)
		map[i] |= __atomic_load_n(&s->src.received[block][i], __ATOMIC_ACQUIRE);
	return 0;
}

/* ---- begin and end ---- */

/* Unregister the first @n blocks: threads that wait there go on, and no touch waits any more. */
static void unregister(const struct drover_fault_source *src, unsigned int n)
{
	/* It can only fail if the VMM has exited, and then its memory is gone, too. */
	while (n--)
		drover_uffd_unregister(src->uffd, src->base[n], src->ram->block[n].size);
}

static int register_all(const struct drover_fault_source *src, struct drover_error *e)
{
	unsigned int i;
	int r;

	for (i = 0; i < src->ram->n; i++) {
		r = drover_uffd_register(src->uffd, src->base[i], src->ram->block[i].size, MODE);
		if (r >= 0)
			continue;
		drover_err(e, r, "fault handler userfaultfd: ram %s: register: %s",
			   src->ram->block[i].name, drover_strerror(r));
		/* What an earlier handler has registered stays so: threads may wait there. */
		if (!src->adopt)
			unregister(src, i);
		return r;
	}
	return 0;
}

static struct uffd_fault *uffd_new(const struct drover_fault_source *src)
{
	_cleanup_(uffd_freep) struct uffd_fault *s = calloc(1, sizeof(*s));
	unsigned int i;

	if (!s)
		return NULL;
	s->src = *src;
	for (i = 0; i < src->ram->n; i++) {
		s->asked[i] = drover_bitmap_new(drover_pages(src->ram->block[i].size));
		s->mapped[i] = drover_bitmap_new(drover_pages(src->ram->block[i].size));
		if (!s->asked[i] || !s->mapped[i])
			return NULL;
	}
	return TAKE_PTR(s);
}

static int uffd_start(const struct drover_fault_source *src, void **ret_state,
		      struct drover_error *e)
{
	_cleanup_(uffd_freep) struct uffd_fault *s = uffd_new(src);
	unsigned int i;
	int r;

	if (!s)
		return drover_err(e, -ENOMEM, "fault handler userfaultfd: out of memory");
	r = register_all(src, e);
	if (r < 0)
		return r;
	/* Also when adopting: the earlier handler may have died before it came to this step. */
	r = src->arm(src->opaque, e);
	if (r < 0) {
		if (!src->adopt)
			unregister(src, src->ram->n);
		return drover_err_prefix(e, "fault handler userfaultfd: arm: "), r;
	}
	for (i = 0; src->adopt && r >= 0 && i < src->ram->n; i++)
		r = drover_uffd_wake(src->uffd, src->base[i], src->ram->block[i].size);
	if (r < 0)
		return drover_err(e, r, "fault handler userfaultfd: wake: %s", drover_strerror(r));
	*ret_state = TAKE_PTR(s);
	return 0;
}

static void uffd_stop(void *state, bool open)
{
	struct uffd_fault *s = state;

	if (!s)
		return;
	if (open)
		unregister(&s->src, s->src.ram->n);
	uffd_free(s);
}

const struct drover_fault_ops drover_fault_userfaultfd = {
	.name = "userfaultfd",
	.guarantee = "keeps every thread of the VMM waiting, in its own mapping",
	.probe = uffd_probe,
	.start = uffd_start,
	.host = uffd_host,
	.fds = uffd_fds,
	.next = uffd_next,
	.publish = uffd_publish,
	.received = uffd_received,
	.stop = uffd_stop,
};
