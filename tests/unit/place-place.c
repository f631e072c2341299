// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Placement: what was there before is gone unless it was announced, zero runs clear what
 * holds memory and allocate nothing, bounds and the seal hold, digests follow the content.
 */
#include "place/place.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
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

/* As the reader of PAGES does it: claim, content, publish. */
static int place(struct world *w, uint64_t page, uint64_t n, uint8_t byte)
{
	const struct drover_ram_run run = { 0, page, n };
	uint64_t got = 0;
	bool mine = false;
	int r = drover_place_precopy.claim(w->p, 0, page, n, &got, &mine, NULL);

	if (r < 0)
		return r;
	if (got != n || !mine)
		return -EIO;
	memset(drover_place_precopy.host(w->p, 0) + drover_page_off(page), byte,
	       drover_page_off(n));
	return drover_place_precopy.publish(w->p, &run, 1, NULL);
}

static int zero(struct world *w, uint64_t page, uint64_t n)
{
	return drover_place_precopy.zero(w->p, 0, page, n, NULL);
}

static void test_pages(struct world *w)
{
	const uint64_t *d = drover_place_digests(w->p, 0);
	const uint8_t *host = w->ram.block[0].host;
	uint64_t before = resident(w);

	tap_ok(zero(w, 100, 3) == 0 && page_is(w, 100, 0) && page_is(w, 102, 0) &&
	       page_is(w, 103, 0x5a), "a zero run clears pages with memory");
	tap_ok(zero(w, 104, 30) == 0 && page_is(w, 120, 0) && !d[120], "a long one too");
	before = resident(w);
	tap_ok(zero(w, 600, 200) == 0 && resident(w) == before, "over holes it allocates nothing");
	tap_ok(place(w, 700, 2, 7) == 0 && page_is(w, 700, 7) && page_is(w, 701, 7),
	       "a claim, and an address to receive into");
	tap_ok(d[700] == drover_page_digest(host + drover_page_off(700)) && d[701] == d[700] &&
	       d[700], "what was placed is digested");
	tap_ok(place(w, 700, 1, 9) == 0 && page_is(w, 700, 9) && d[700] != d[701],
	       "a page may come again, and its digest follows");
	tap_ok(zero(w, 701, 1) == 0 && page_is(w, 701, 0) && !d[701],
	       "a page that was placed is cleared by a later zero run");
	tap_ok(place(w, PAGES - 1, 2, 1) == -ERANGE && place(w, UINT64_MAX, 2, 1) == -ERANGE &&
	       zero(w, PAGES - 1, 2) == -ERANGE, "no claim outside the block");
	drover_place_seal(w->p);
	tap_ok(place(w, 0, 1, 1) == -EPERM && zero(w, 700, 1) == -EPERM && page_is(w, 700, 9),
	       "nothing is placed once sealed");
}

/* May these pages be received into? */
static int may_receive(struct world *w, uint64_t page, struct drover_error *e)
{
	uint64_t n;
	bool mine;

	return drover_place_precopy.claim(w->p, 0, page, 1, &n, &mine, e);
}

/* Memory that another process has is not written, whatever the peer says of it. */
static void test_taken(struct world *w, uint32_t flags, bool vmm)
{
	struct drover_error e = DROVER_ERROR_INIT;
	bool refused = flags && !vmm;
	pid_t pid = fork();
	int r, status;

	if (!pid) {
		pause();
		_exit(0);
	}
	w->ram.block[0].flags = flags;
	w->ram.vmm = vmm ? pid : 0;
	if (drover_place_new(&w->ram, false, &w->p, &e) || drover_place_open(w->p, NULL, &e))
		abort();
	r = may_receive(w, 1, &e);
	tap_ok(r == (refused ? -EPERM : 0), "%s block that %s maps: %s", flags ? "a shared" : "a",
	       vmm ? "the VMM" : "another process", r ? e.msg : "may be written");
	r = drover_place_precopy.zero(w->p, 0, 1, 1, &e);
	tap_ok(r == (refused ? -EPERM : 0) && page_is(w, 1, refused ? 0x5a : 0),
	       "and zero runs: %d", r);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

/* The file ends before the block does: populating finds it, before anything is received. */
static void test_no_memory(struct world *w)
{
	struct drover_error e = DROVER_ERROR_INIT;
	unsigned int i;
	int r = 0;

	if (drover_place_new(&w->ram, true, &w->p, &e) ||
	    drover_place_expect(w->p, 0, 0, PAGES, &e) || ftruncate(w->ram.block[0].fd, 600 * 4096))
		abort();
	tap_ok(drover_place_open(w->p, NULL, &e) == 0, "open with memory missing %s", e.msg);
	for (i = 0; i < 500 && r >= 0; i++) {
		r = may_receive(w, 1, &e);
		usleep(10000);
	}
	tap_ok(r == -EFAULT && strstr(e.msg, "RAM ram0: page 600 can't be touched"),
	       "no page is received any more: %s", e.msg);
}

int main(void)
{
	struct world w;

	setup(&w);
	test_empty(&w);
	test_pages(&w);
	teardown(&w);
	setup(&w);
	test_no_memory(&w);
	teardown(&w);
	setup(&w);
	test_taken(&w, DROVER_RAM_SHARED_DEST, false);
	teardown(&w);
	setup(&w);
	test_taken(&w, DROVER_RAM_SHARED_DEST, true);
	teardown(&w);
	setup(&w);
	test_taken(&w, 0, false);
	teardown(&w);
	return tap_done();
}
