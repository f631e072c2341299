// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The file in which a VMM reports device writes, wrote.h. libdrover makes and marks it,
 * droverd takes the marks at each harvest (track/reported.c).
 *
 * Why no mark is lost. The VMM marks a page after the device has written it:
 *
 *	VMM					droverd
 *	P1  the content is in memory		C1  exchange(word, 0)
 *	P2  full fence				C2  read the page and send it
 *	P3  load the word; set already?
 *	P4  if not: fetch_or(word)
 *
 * If P4 is done, C1 takes the bit in some harvest, and reading the word acquires what P4
 * released: C2 has the content of P1. If P3 finds the bit set and P4 is left out, then the
 * C1 that takes this bit is later than P3 in the order of the word; the fence P2 and the
 * exchange C1 are both sequentially consistent, so what is before P2 is seen after C1, and
 * C2 again has P1. Without P2 the store of P1 may still wait in the processor's store
 * buffer when P3 reads a word that C1 then clears: that is the case the fence is for.
 * A mark that comes too late for one harvest is in the next one, and the last one is made
 * while the VMM is paused, which it is only when all its requests have ended and were marked.
 *
 * P3 is why a disk that fills the same buffers again and again costs no bus traffic: the
 * word stays in every CPU's cache until a harvest takes it.
 *
 * Requests under way are counted in lanes of a cache line each, so that threads seldom meet.
 * Each lane is never negative, and each request is counted in one lane and epoch from before
 * it is submitted until after it has ended: a lane that reads zero has none that began before.
 */
#define _GNU_SOURCE
#include "ram/wrote.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "base/cleanup.h"
#include "base/err.h"

#define WROTE_MAGIC 0x316574726f777264ull       /* "drwrote1" */
#define WROTE_VERSION 1u
#define LANES 16u

/* One cache line. */
struct wrote_lane {
	_Atomic int64_t under_way[2];
	uint64_t reserved[6];
};

/**
 * struct wrote_header - the first page of the file
 * @nblocks: of the RAM; where their bitmaps lie follows from the RAM, too
 * @epoch: droverd's
 */
struct wrote_header {
	uint64_t magic;
	uint32_t version;
	uint32_t nblocks;
	_Atomic uint32_t epoch;
	uint32_t reserved[11];
	struct wrote_lane lane[LANES];
};

_Static_assert(sizeof(struct wrote_lane) == 64, "wrote lane");
_Static_assert(sizeof(struct wrote_header) == 64 + LANES * 64, "wrote header");
_Static_assert(sizeof(struct wrote_header) <= DROVER_PAGE_SIZE, "wrote header");

struct drover_wrote {
	int fd;
	size_t len;
	struct wrote_header *map;
	_Atomic uint64_t *bits[DROVER_RAM_BLOCKS_MAX];
};

/* Where the bitmaps lie in @map, if there is one; returns the file's length. */
static size_t layout(const struct drover_ram *ram, uint8_t *map, struct drover_wrote *w)
{
	size_t at = DROVER_PAGE_SIZE;
	unsigned int i;

	for (i = 0; i < ram->n; i++) {
		if (map)
			w->bits[i] = (_Atomic uint64_t *)(void *)(map + at);
		at += drover_bitmap_bytes(drover_pages(ram->block[i].size));
		at = (at + DROVER_PAGE_SIZE - 1) & ~(size_t)(DROVER_PAGE_SIZE - 1);
	}
	return at;
}

static void wrote_freep(struct drover_wrote **w)
{
	drover_wrote_free(*w);
}

static struct drover_wrote *wrote_alloc(int fd)
{
	struct drover_wrote *w = calloc(1, sizeof(*w));

	if (!w) {
		drover_closep(&fd);
		return NULL;
	}
	w->fd = fd;
	w->map = MAP_FAILED;
	return w;
}

static int map_file(struct drover_wrote *w, const struct drover_ram *ram, struct drover_error *e)
{
	w->len = layout(ram, NULL, NULL);
	w->map = mmap(NULL, w->len, PROT_READ | PROT_WRITE, MAP_SHARED, w->fd, 0);
	if (w->map == MAP_FAILED)
		return drover_err(e, -errno, "reported writes: map %zu bytes: %s", w->len,
				  drover_strerror(errno));
	layout(ram, (uint8_t *)w->map, w);
	return 0;
}

int drover_wrote_new(const struct drover_ram *ram, struct drover_wrote **ret,
		     struct drover_error *e)
{
	int fd = memfd_create("drover-wrote", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	_cleanup_(wrote_freep) struct drover_wrote *w = NULL;
	int r;

	if (fd < 0)
		return drover_err(e, -errno, "reported writes: memfd_create: %s",
				  drover_strerror(errno));
	w = wrote_alloc(fd);
	if (!w)
		return drover_err(e, -ENOMEM, "reported writes: out of memory");
	if (ftruncate(fd, (off_t)layout(ram, NULL, NULL)) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return drover_err(e, -errno, "reported writes: %s", drover_strerror(errno));
	r = map_file(w, ram, e);
	if (r < 0)
		return r;
	w->map->magic = WROTE_MAGIC;
	w->map->version = WROTE_VERSION;
	w->map->nblocks = ram->n;
	/* A completion must not fault: best effort, as memory may be short. */
	madvise(w->map, w->len, MADV_POPULATE_WRITE);
	*ret = TAKE_PTR(w);
	return 0;
}

int drover_wrote_open(int fd, const struct drover_ram *ram, struct drover_wrote **ret,
		      struct drover_error *e)
{
	int seals = fcntl(fd, F_GET_SEALS), r;
	_cleanup_(wrote_freep) struct drover_wrote *w = wrote_alloc(fd);
	size_t want = layout(ram, NULL, NULL);
	struct stat st;

	if (!w)
		return drover_err(e, -ENOMEM, "reported writes: out of memory");
	if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd, &st) < 0)
		return drover_err(e, -EPROTO, "reported writes: not a memfd sealed against "
				  "shrinking");
	if ((uint64_t)st.st_size != want)
		return drover_err(e, -EPROTO, "reported writes: %llu bytes, this RAM needs %zu",
				  (unsigned long long)st.st_size, want);
	r = map_file(w, ram, e);
	if (r < 0)
		return r;
	if (w->map->magic != WROTE_MAGIC || w->map->version != WROTE_VERSION ||
	    w->map->nblocks != ram->n)
		return drover_err(e, -EPROTO, "reported writes: not a file of this RAM and "
				  "version");
	*ret = TAKE_PTR(w);
	return 0;
}

struct drover_wrote *drover_wrote_free(struct drover_wrote *w)
{
	if (!w)
		return NULL;
	if (w->map != MAP_FAILED)
		munmap(w->map, w->len);
	drover_closep(&w->fd);
	free(w);
	return NULL;
}

int drover_wrote_fd(const struct drover_wrote *w)
{
	return w->fd;
}

/* ---- the VMM's ---- */

#if defined(__SANITIZE_THREAD__)
#define WROTE_NO_FENCE 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WROTE_NO_FENCE 1
#endif
#endif

/* P2. ThreadSanitizer knows no fences: there P4 is always done, which is one itself. */
static inline bool fence(void)
{
#ifdef WROTE_NO_FENCE
	return false;
#else
	atomic_thread_fence(memory_order_seq_cst);
	return true;
#endif
}

void drover_wrote_mark(struct drover_wrote *w, unsigned int block, uint64_t first, uint64_t n)
{
	_Atomic uint64_t *word = w->bits[block] + first / 64;
	unsigned int shift = first % 64;
	uint64_t mask, left = n;
	bool fenced = fence();

	for (; left; word++, shift = 0) {
		unsigned int take = left < 64 - shift ? (unsigned int)left : 64 - shift;

		mask = (take == 64 ? ~0ull : (1ull << take) - 1) << shift;
		left -= take;
		if (!fenced || (atomic_load_explicit(word, memory_order_relaxed) & mask) != mask)
			atomic_fetch_or_explicit(word, mask, memory_order_seq_cst);
	}
}

/* Threads have stacks of their own: a lane that neighbours seldom share, and no state. */
static unsigned int lane_of_thread(void)
{
	unsigned int here;
	uintptr_t at = (uintptr_t)&here;

	return (unsigned int)((at >> 12 ^ at >> 20 ^ at >> 23) % LANES);
}

unsigned int drover_wrote_begin(struct drover_wrote *w)
{
	unsigned int epoch = atomic_load_explicit(&w->map->epoch, memory_order_relaxed) & 1;
	unsigned int lane = lane_of_thread();

	/* Full barrier: the submission, which marks the pages, comes after it. */
	atomic_fetch_add_explicit(&w->map->lane[lane].under_way[epoch], 1, memory_order_seq_cst);
	return lane * 2 + epoch;
}

void drover_wrote_end(struct drover_wrote *w, unsigned int token)
{
	/* Releases what the device has written. */
	atomic_fetch_sub_explicit(&w->map->lane[token / 2 % LANES].under_way[token & 1], 1,
				  memory_order_seq_cst);
}

/* ---- droverd's ---- */

void drover_wrote_take(struct drover_wrote *w, unsigned int block, uint64_t npages, uint64_t *map)
{
	size_t i, words = drover_bitmap_words(npages);
	uint64_t news;

	for (i = 0; i < words; i++) {
		/* Most words have no news: they stay in the VMM's caches. */
		if (!atomic_load_explicit(&w->bits[block][i], memory_order_relaxed))
			continue;
		news = atomic_exchange_explicit(&w->bits[block][i], 0, memory_order_seq_cst);
		/* Bits past the last page must stay zero, whatever the VMM wrote there. */
		if (i == words - 1 && npages % 64)
			news &= (1ull << npages % 64) - 1;
		map[i] |= news;
	}
}

unsigned int drover_wrote_epoch(const struct drover_wrote *w)
{
	return atomic_load_explicit(&w->map->epoch, memory_order_relaxed) & 1;
}

void drover_wrote_set_epoch(struct drover_wrote *w, unsigned int epoch)
{
	atomic_store_explicit(&w->map->epoch, epoch & 1, memory_order_seq_cst);
}

uint64_t drover_wrote_under_way(const struct drover_wrote *w, unsigned int epoch)
{
	uint64_t sum = 0;
	unsigned int i;

	for (i = 0; i < LANES; i++) {
		int64_t n = atomic_load_explicit(&w->map->lane[i].under_way[epoch & 1],
						 memory_order_seq_cst);

		/* Only a VMM that ends what it never began makes it negative: nothing is known. */
		sum += n < 0 ? 1 : (uint64_t)n;
	}
	return sum;
}
