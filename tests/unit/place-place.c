// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Placement: what was there before is gone unless it was announced, zero runs clear what
 * holds memory and allocate nothing, bounds and the seal hold, digests follow the content.
 */
#include "place/place.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "base/err.h"
#include "base/page-digest.h"
#include "ram/datamap.h"
#include "tap.h"
#include "track/track.h"

#define PAGES 1024u

struct world {
	struct drover_ram ram;
	struct drover_place *p;
	uint64_t *map;
};

static void setup(struct world *w)
{
	struct drover_ram_block *b = &w->ram.block[0];

	memset(w, 0, sizeof(*w));
	w->ram.n = 1;
	strcpy(b->name, "ram0");
	b->size = PAGES * DROVER_PAGE_SIZE;
	b->fd = memfd_create("place", MFD_CLOEXEC);
	if (b->fd < 0 || ftruncate(b->fd, (off_t)b->size) < 0)
		abort();
	b->host = mmap(NULL, b->size, PROT_READ | PROT_WRITE, MAP_SHARED, b->fd, 0);
	w->map = drover_bitmap_new(PAGES);
	/* poison: the first half of the block */
	memset(b->host, 0x5a, b->size / 2);
}

static void teardown(struct world *w)
{
	drover_place_free(w->p);
	munmap(w->ram.block[0].host, w->ram.block[0].size);
	close(w->ram.block[0].fd);
	free(w->map);
}

static uint64_t resident(struct world *w)
{
	struct stat st;

	fstat(w->ram.block[0].fd, &st);
	return (uint64_t)st.st_blocks * 512 / DROVER_PAGE_SIZE;
}

static bool page_is(struct world *w, uint64_t page, uint8_t byte)
{
	const uint8_t *at = w->ram.block[0].host + drover_page_off(page);
	unsigned int i;

	for (i = 0; i < DROVER_PAGE_SIZE; i++)
		if (at[i] != byte)
			return false;
	return true;
}

static void test_empty(struct world *w)
{
	struct drover_error e = DROVER_ERROR_INIT;

	tap_ok(drover_place_new(&w->ram, true, &w->p, &e) == 0, "place: %s", e.msg);
	tap_ok(drover_place_expect(w->p, 0, 100, 50, &e) == 0, "announce");
	tap_ok(drover_place_expect(w->p, 0, PAGES, 1, NULL) == -ERANGE &&
	       drover_place_expect(w->p, 0, 1, UINT64_MAX, NULL) == -ERANGE &&
	       drover_place_expect(w->p, 1, 0, 1, NULL) == -ERANGE,
	       "announcing outside is refused");
	tap_ok(drover_place_open(w->p, NULL, &e) == 0, "open: %s", e.msg);
	tap_ok(drover_datamap_read(&w->ram.block[0], w->map, &e) == 0 &&
	       drover_bitmap_count(w->map, PAGES) == 50 &&
	       drover_bitmap_count_range(w->map, 100, 50) == 50,
	       "all memory outside the announced range is given back");
	tap_ok(page_is(w, 120, 0x5a), "what is announced stays until it is overwritten");
}

static void test_pages(struct world *w)
{
	const uint64_t *d = drover_place_digests(w->p, 0);
	struct drover_error e = DROVER_ERROR_INIT;
	uint64_t before = resident(w);
	struct iovec iov;

	tap_ok(drover_place_zero(w->p, 0, 100, 3, &e) == 0 && page_is(w, 100, 0) &&
	       page_is(w, 102, 0) && page_is(w, 103, 0x5a), "a zero run clears pages with memory");
	tap_ok(drover_place_zero(w->p, 0, 104, 30, &e) == 0 && page_is(w, 120, 0) && !d[120],
	       "a long one too");
	before = resident(w);
	tap_ok(drover_place_zero(w->p, 0, 600, 200, &e) == 0 && resident(w) == before,
	       "over holes it allocates nothing");
	tap_ok(drover_place_iov(w->p, 0, 700, 2, &iov, &e) == 0 &&
	       iov.iov_len == 2 * DROVER_PAGE_SIZE, "an address to receive into");
	memset(iov.iov_base, 7, iov.iov_len);
	drover_place_done(w->p, 0, 700, 2);
	tap_ok(d[700] == drover_page_digest(iov.iov_base) && d[701] == d[700] && d[700],
	       "what was placed is digested");
	tap_ok(drover_place_zero(w->p, 0, 701, 1, &e) == 0 && page_is(w, 701, 0) && !d[701],
	       "a page that was placed is cleared by a later zero run");
	tap_ok(drover_place_iov(w->p, 0, PAGES - 1, 2, &iov, NULL) == -ERANGE &&
	       drover_place_iov(w->p, 0, UINT64_MAX, 2, &iov, NULL) == -ERANGE,
	       "no address outside the block");
	drover_place_seal(w->p);
	tap_ok(drover_place_iov(w->p, 0, 0, 1, &iov, NULL) == -EPERM &&
	       drover_place_zero(w->p, 0, 700, 1, NULL) == -EPERM && page_is(w, 700, 7),
	       "nothing is placed once sealed");
}

int main(void)
{
	struct world w;

	setup(&w);
	test_empty(&w);
	test_pages(&w);
	teardown(&w);
	return tap_done();
}
