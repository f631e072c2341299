// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Placement in precopy: content is received straight into guest RAM. This file tells where,
 * clears, has the memory populated ahead of the data, and digests. Called by the
 * destination's engine and by receive.c.
 *
 * `mem` has a bit for each page that may hold memory: set when a page is expected
 * (it is being populated) or placed. A clear bit is a hole and reads as zero, so a
 * zero run over it costs nothing and, what matters more, allocates nothing.
 */
#define _GNU_SOURCE
#include "place/place.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bitmap.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/kernel-compat.h"
#include "base/page-digest.h"
#include "base/zero.h"
#include "dev/pagemap.h"
#include "place/ahead.h"
#include "ram/bus.h"
#include "ram/datamap.h"
#include "ram/mappers.h"
#include "ram/ramfile.h"

#define POPULATE_THREADS 2u
#define POPULATE_STEP (2ull << 20)
/* A zero run of at least so many pages gives its memory back instead of being cleared. */
#define PUNCH_MIN_PAGES 16u

struct place_block {
	const struct drover_ram_block *ram;
	uint64_t npages;
	uint64_t *mem;          /* may hold memory */
	uint64_t *expected;    /* once open: those that have no page-table entry yet */
	uint64_t *digest;
	bool lent;              /* @digest is not ours */
	int taken;              /* process that has this memory, too, and it is not ours to write */
};

struct drover_place {
	const struct drover_ram *ram;
	struct place_block block[DROVER_RAM_BLOCKS_MAX];
	unsigned int n;
	drover_zero_fn is_zero;
	atomic_bool sealed;
	struct drover_ahead *ahead;
};

struct drover_place *drover_place_free(struct drover_place *p)
{
	unsigned int i;

	if (!p)
		return NULL;
	drover_ahead_free(p->ahead);
	for (i = 0; i < p->n; i++) {
		free(p->block[i].mem);
		free(p->block[i].expected);
		if (!p->block[i].lent)
			free(p->block[i].digest);
	}
	free(p);
	return NULL;
}

static void place_freep(struct drover_place **p)
{
	drover_place_free(*p);
}

/*
 * x-ignore-shared: a block may be the source's, whose guest runs on it. What the peer says of
 * that is not enough, as it may be anybody; who maps it on this host is known here.
 */
static int look_for_owners(struct drover_place *p, struct drover_error *e)
{
	struct drover_mappers m;
	bool any = false;
	unsigned int i;
	int r;

	for (i = 0; i < p->n; i++)
		any |= p->block[i].ram->flags & DROVER_RAM_SHARED_DEST;
	if (!any)
		return 0;
	r = drover_mappers_find(p->ram, p->ram->vmm, &m, e);
	for (i = 0; i < p->n && r >= 0; i++)
		if (p->block[i].ram->flags & DROVER_RAM_SHARED_DEST)
			p->block[i].taken = m.mapped[i];
	return r;
}

int drover_place_new(const struct drover_ram *ram, bool digests, struct drover_place **ret,
		     struct drover_error *e)
{
	_cleanup_(place_freep) struct drover_place *p = calloc(1, sizeof(*p));
	unsigned int i;
	int r;

	if (!p)
		return drover_err(e, -ENOMEM, "placement: out of memory");
	p->is_zero = drover_zero_select();
	p->ram = ram;
	for (i = 0; i < ram->n; i++) {
		struct place_block *b = &p->block[i];

		b->ram = &ram->block[i];
		b->npages = drover_pages(b->ram->size);
		b->mem = drover_bitmap_new(b->npages);
		b->expected = drover_bitmap_new(b->npages);
		if (digests)
			b->digest = calloc(b->npages, sizeof(*b->digest));
		p->n = i + 1;
		if (!b->mem || !b->expected || (digests && !b->digest))
			return drover_err(e, -ENOMEM, "placement: block %s: out of memory",
					  b->ram->name);
		r = drover_datamap_read(b->ram, b->mem, e);
		if (r < 0)
			return r;
	}
	r = look_for_owners(p, e);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(p);
	return 0;
}

void drover_place_lend_digests(struct drover_place *p, unsigned int block, uint64_t *digest)
{
	if (!p->block[block].lent)
		free(p->block[block].digest);
	p->block[block].digest = digest;
	p->block[block].lent = true;
}

static int check_run(const struct drover_place *p, unsigned int block, uint64_t page,
		     uint64_t npages, struct drover_error *e)
{
	if (block >= p->n)
		return drover_err(e, -ERANGE, "placement: block %u of %u", block, p->n);
	if (page > p->block[block].npages || npages > p->block[block].npages - page)
		return drover_err(e, -ERANGE, "placement: block %s: pages %llu+%llu of %llu",
				  p->block[block].ram->name, (unsigned long long)page,
				  (unsigned long long)npages,
				  (unsigned long long)p->block[block].npages);
	return 0;
}

int drover_place_expect(struct drover_place *p, unsigned int block, uint64_t page,
			  uint64_t npages, struct drover_error *e)
{
	int r = check_run(p, block, page, npages, e);

	if (r < 0)
		return r;
	drover_bitmap_set_range(p->block[block].expected, page, npages);
	return 0;
}

static int punch(const struct drover_ram_block *b, uint64_t page, uint64_t npages,
		 struct drover_error *e)
{
	int r = drover_ramfile_punch(b->fd, b->fd_off + drover_page_off(page),
				     drover_page_off(npages), b->host + drover_page_off(page));

	if (r < 0)
		return drover_err(e, r, "block %s: empty pages %llu+%llu: %s", b->name,
				  (unsigned long long)page, (unsigned long long)npages,
				  drover_strerror(r));
	return 0;
}

static int empty_outside(struct place_block *b, struct drover_error *e)
{
	uint64_t at = 0, start = 0, n;
	size_t w;
	int r;

	for (w = 0; w < drover_bitmap_words(b->npages); w++)
		b->mem[w] &= ~b->expected[w];
	while ((n = drover_bitmap_next_run(b->mem, b->npages, at, &start))) {
		r = punch(b->ram, start, n, e);
		if (r < 0)
			return r;
		at = start + n;
	}
	memcpy(b->mem, b->expected, drover_bitmap_bytes(b->npages));
	return 0;
}

static int has_entry(void *arg, uint64_t start, uint64_t end)
{
	struct place_block *b = arg;
	uint64_t base = (uint64_t)(uintptr_t)b->ram->host;

	drover_bitmap_clear_range(b->expected, drover_pages(start - base),
				  drover_pages(end - start));
	return 0;
}

/*
 * Populating what is populated took an eighth of both CPUs during a transfer: the
 * kernel marks each page accessed, under locks that they need. Best effort.
 */
static void drop_mapped(struct place_block *b, struct drover_pagemap *pagemap)
{
	static const struct drover_pagemap_query present = { .mask = PAGE_IS_PRESENT };

	drover_pagemap_scan(pagemap, &present, (uint64_t)(uintptr_t)b->ram->host, b->ram->size,
			    has_entry, b);
}

static int populate_expected(struct drover_place *p, const struct drover_cancel *c,
			     struct drover_error *e)
{
	const struct drover_ahead_opts o = {
		.value = true,
		.step = drover_pages(POPULATE_STEP),
		.threads = POPULATE_THREADS,
		.ram = p->ram,
		.cancel = c,
	};
	_cleanup_free_ struct drover_ahead_block *b = calloc(p->n ? p->n : 1, sizeof(*b));
	unsigned int i;
	int r;

	if (!b)
		return drover_err(e, -ENOMEM, "placement: out of memory");
	for (i = 0; i < p->n; i++)
		if (!(p->block[i].ram->flags & DROVER_RAM_SHARED_DEST))
			b[i] = (struct drover_ahead_block){ p->block[i].ram->host,
							    p->block[i].expected,
							    p->block[i].npages };
	r = drover_ahead_start(b, p->n, &o, &p->ahead, e);
	return r < 0 ? drover_err_prefix(e, "placement: ") : 0;
}

int drover_place_open(struct drover_place *p, const struct drover_cancel *c,
		      struct drover_error *e)
{
	_cleanup_(drover_pagemap_deinit) struct drover_pagemap pagemap = { .fd = -EBADF };
	unsigned int i;
	int r;

	r = drover_pagemap_open(&pagemap, 0, e);
	if (r < 0)
		return r;
	for (i = 0; i < p->n; i++) {
		if (p->block[i].ram->flags & DROVER_RAM_SHARED_DEST)
			continue;
		r = empty_outside(&p->block[i], e);
		if (r < 0)
			return r;
		drop_mapped(&p->block[i], &pagemap);
	}
	return populate_expected(p, c, e);
}

static int check_open(const struct drover_place *p, unsigned int block, uint64_t page,
		      uint64_t npages, struct drover_error *e)
{
	int r = check_run(p, block, page, npages, e);

	if (r >= 0)
		r = drover_ram_bus_error(p->ram, e);
	if (r < 0)
		return r;
	if (p->block[block].taken)
		return drover_err(e, -EPERM, "placement: block %s: process %d has this memory, too "
				  "(x-ignore-shared): it is not written", p->block[block].ram->name,
				  p->block[block].taken);
	if (atomic_load_explicit(&p->sealed, memory_order_acquire))
		return drover_err(e, -EPERM, "placement: block %s: pages after COMMIT",
				  p->block[block].ram->name);
	return 0;
}

/* In precopy a page comes as often as it is written; the barrier keeps the copies apart. */
static int claim(void *place, unsigned int block, uint64_t page, uint64_t npages,
		 uint64_t *ret_n, bool *ret_mine, struct drover_error *e)
{
	int r = check_open(place, block, page, npages, e);

	if (r < 0)
		return r;
	*ret_n = npages;
	*ret_mine = true;
	return 0;
}

static uint8_t *host(void *place, unsigned int block)
{
	struct drover_place *p = place;

	return p->block[block].ram->host;
}

static int publish(void *place, const struct drover_ram_run *run, unsigned int n,
		   struct drover_error *e)
{
	struct drover_place *p = place;
	unsigned int i;

	(void)e;
	for (i = 0; i < n; i++) {
		struct place_block *b = &p->block[run[i].block];

		drover_bitmap_set_range_atomic(b->mem, run[i].page, run[i].npages);
		drover_place_digest(b->digest, b->ram->host, &run[i]);
	}
	return 0;
}

void drover_place_digest(uint64_t *digest, const uint8_t *content, const struct drover_ram_run *run)
{
	uint64_t i;

	for (i = run->page; digest && i < run->page + run->npages; i++)
		digest[i] = drover_page_digest(content + drover_page_off(i));
}

/* Clear what holds memory of pages [page, page + n), all of which `mem` may hold. */
static int clear_run(struct drover_place *p, struct place_block *b, uint64_t page, uint64_t n,
		     struct drover_error *e)
{
	uint64_t i;

	if (n >= PUNCH_MIN_PAGES)
		return punch(b->ram, page, n, e);
	for (i = 0; i < n; i++) {
		uint8_t *at = b->ram->host + drover_page_off(page + i);

		if (!p->is_zero(at))
			memset(at, 0, DROVER_PAGE_SIZE);
	}
	return 0;
}

static int zero(void *place, unsigned int block, uint64_t page, uint64_t npages,
		struct drover_error *e)
{
	struct drover_place *p = place;
	struct place_block *b;
	uint64_t at = page, start = 0, n;
	int r = check_open(p, block, page, npages, e);

	if (r < 0)
		return r;
	b = &p->block[block];
	while (at < page + npages &&
	       (n = drover_bitmap_next_run(b->mem, page + npages, at, &start))) {
		r = clear_run(p, b, start, n, e);
		if (r < 0)
			return r;
		at = start + n;
	}
	if (b->digest)
		memset(&b->digest[page], 0, npages * sizeof(*b->digest));
	return 0;
}

const struct drover_place_ops drover_place_precopy = {
	.claim = claim,
	.host = host,
	.publish = publish,
	.zero = zero,
};

const uint64_t *drover_place_digests(const struct drover_place *p, unsigned int block)
{
	return p->block[block].digest;
}

void drover_place_seal(struct drover_place *p)
{
	atomic_store_explicit(&p->sealed, true, memory_order_release);
}
