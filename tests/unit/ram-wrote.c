// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The file of reported writes: bits where they belong, both ends of it, files that are
 * none; and the order: threads write pages and mark them while another takes the marks and
 * copies the pages, and in the end the copy must be the original. The control marks before
 * it writes, and then the copy is not: the test is able to see a lost write.
 */
#define _GNU_SOURCE
#include "ram/wrote.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "base/clock.h"
#include "base/err.h"
#include "tap.h"

#define PAGES 200u
#define THREADS 4u

static struct drover_ram ram_of(uint64_t a, uint64_t b)
{
	struct drover_ram ram = { .n = 2 };

	ram.block[0].size = a * DROVER_PAGE_SIZE;
	ram.block[1].size = b * DROVER_PAGE_SIZE;
	return ram;
}

static void marks(void)
{
	static const struct { uint64_t first, n; } cases[] = {
		{ 0, 1 }, { 63, 1 }, { 63, 2 }, { 64, 64 }, { 1, 199 }, { 0, 200 }, { 199, 1 },
		{ 60, 140 }, { 5, 0 },
	};
	struct drover_ram ram = ram_of(PAGES, PAGES);
	uint64_t map[4], want[4];
	struct drover_wrote *w = NULL;
	size_t i;

	if (drover_wrote_new(&ram, &w, NULL))
		abort();
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memset(map, 0, sizeof(map));
		memset(want, 0, sizeof(want));
		drover_bitmap_set_range(want, cases[i].first, cases[i].n);
		drover_wrote_mark(w, 1, cases[i].first, cases[i].n);
		drover_wrote_mark(w, 1, cases[i].first, cases[i].n);
		drover_wrote_take(w, 0, PAGES, map);
		tap_ok(!map[0] && !map[1], "block 0 has no mark of block 1");
		drover_wrote_take(w, 1, PAGES, map);
		tap_ok(!memcmp(map, want, sizeof(map)), "pages %llu+%llu",
		       (unsigned long long)cases[i].first, (unsigned long long)cases[i].n);
		memset(map, 0, sizeof(map));
		drover_wrote_take(w, 1, PAGES, map);
		tap_ok(!map[0] && !map[3], "and only once");
	}
	map[0] = 1ull << 40;
	drover_wrote_mark(w, 0, 3, 1);
	drover_wrote_take(w, 0, PAGES, map);
	tap_ok(map[0] == (1ull << 40 | 1 << 3), "marks are added to what is there");
	memset(map, 0, sizeof(map));
	drover_wrote_mark(w, 1, 190, 10);
	drover_wrote_take(w, 1, 195, map);
	tap_ok(map[2] == 3ull << 62 && map[3] == 7, "bits past the last page do not count");
	drover_wrote_free(w);
}

static void refused(const struct drover_ram *ram, int fd, const char *what)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_wrote *w = NULL;

	tap_ok(drover_wrote_open(fd, ram, &w, &e) == -EPROTO && !w && fcntl(fd, F_GETFD) < 0,
	       "%s: %s", what, e.msg);
}

static void ends(void)
{
	struct drover_ram ram = ram_of(PAGES, 7), other = ram_of(PAGES, 70000);
	struct drover_ram one = { .n = 1, .block[0].size = (PAGES + 7) * DROVER_PAGE_SIZE };
	struct drover_wrote *a = NULL, *b = NULL;
	uint64_t map[4] = { 0 };
	int fd = memfd_create("x", MFD_ALLOW_SEALING), fd2 = memfd_create("x", 0);

	if (drover_wrote_new(&ram, &a, NULL) ||
	    drover_wrote_open(dup(drover_wrote_fd(a)), &ram, &b, NULL))
		abort();
	drover_wrote_mark(a, 0, 100, 3);
	drover_wrote_take(b, 0, PAGES, map);
	tap_ok(map[1] == 7ull << 36, "the other end takes what one end marks");
	tap_ok(ftruncate(drover_wrote_fd(a), 4096) < 0, "nobody can shorten it");
	refused(&other, dup(drover_wrote_fd(a)), "a file of other RAM");
	refused(&one, dup(drover_wrote_fd(a)), "a file of another number of blocks");
	if (ftruncate(fd, 3 * 4096) < 0 || ftruncate(fd2, 3 * 4096) < 0)
		abort();
	refused(&ram, fd2, "a file that could be shortened");
	fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK);
	refused(&ram, fd, "an empty file");
	drover_wrote_free(a);
	drover_wrote_free(b);
}

/* ---- requests under way ---- */

static void *begin_elsewhere(void *w)
{
	return (void *)(uintptr_t)(drover_wrote_begin(w) + 1);
}

static void counters(void)
{
	struct drover_ram ram = ram_of(PAGES, 7);
	struct drover_wrote *w = NULL;
	unsigned int a, b, c;
	pthread_t t;
	void *r;

	if (drover_wrote_new(&ram, &w, NULL))
		abort();
	tap_ok(!drover_wrote_under_way(w, 0) && !drover_wrote_under_way(w, 1), "none under way");
	a = drover_wrote_begin(w);
	pthread_create(&t, NULL, begin_elsewhere, w);
	pthread_join(t, &r);
	b = (unsigned int)(uintptr_t)r - 1;
	tap_ok(drover_wrote_under_way(w, 0) == 2 && !drover_wrote_under_way(w, 1),
	       "two, of the first epoch");
	drover_wrote_set_epoch(w, 1);
	c = drover_wrote_begin(w);
	tap_ok(drover_wrote_under_way(w, 0) == 2 && drover_wrote_under_way(w, 1) == 1,
	       "one of the next");
	drover_wrote_end(w, b);
	drover_wrote_end(w, c);
	tap_ok(drover_wrote_under_way(w, 0) == 1 && !drover_wrote_under_way(w, 1),
	       "ended by another thread, in any order");
	drover_wrote_end(w, a);
	tap_ok(!drover_wrote_under_way(w, 0), "all have ended");
	drover_wrote_end(w, a);
	tap_ok(drover_wrote_under_way(w, 0), "ended twice: not none");
	drover_wrote_free(w);
}

/* ---- the order ---- */

struct race {
	struct drover_wrote *w;
	_Atomic uint64_t *page;         /* of which the first word counts */
	bool mark_first;
	atomic_bool stop;
	uint64_t seed;
};

/* Few pages and many threads: the mark is nearly always set already. */
static void *writer(void *arg)
{
	struct race *r = arg;
	uint64_t x = r->seed + (uintptr_t)&x;
	unsigned int i;

	while (!atomic_load_explicit(&r->stop, memory_order_relaxed)) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		i = x % PAGES;
		if (r->mark_first)
			drover_wrote_mark(r->w, 0, i, 1);
		atomic_fetch_add_explicit(&r->page[i], 1, memory_order_relaxed);
		if (!r->mark_first)
			drover_wrote_mark(r->w, 0, i, 1);
	}
	return NULL;
}

static unsigned int take_and_copy(struct race *r, uint64_t *copy)
{
	uint64_t map[4] = { 0 };
	unsigned int i, n = 0;

	drover_wrote_take(r->w, 0, PAGES, map);
	for (i = 0; i < PAGES; i++)
		if (drover_bit_test(map, i)) {
			copy[i] = atomic_load_explicit(&r->page[i], memory_order_relaxed);
			n++;
		}
	return n;
}

/* Pages whose last write was never copied. */
static unsigned int lost(bool mark_first, uint64_t ms)
{
	struct drover_ram ram = ram_of(PAGES, 1);
	uint64_t copy[PAGES] = { 0 }, end = drover_deadline_ms((unsigned int)ms);
	static _Atomic uint64_t page[PAGES];
	struct race r = { .page = page, .mark_first = mark_first, .seed = ms };
	unsigned int i, n, bad = 0, passes = 0;
	pthread_t t[THREADS];

	for (i = 0; i < PAGES; i++)
		atomic_store(&page[i], 0);
	if (drover_wrote_new(&ram, &r.w, NULL))
		abort();
	/* One writer after the other is enough to lose something when the order is wrong. */
	while (drover_now_ns() < end && !bad) {
		atomic_store(&r.stop, false);
		for (i = 0; i < THREADS; i++)
			pthread_create(&t[i], NULL, writer, &r);
		for (n = 0; n < 2000; n++)
			take_and_copy(&r, copy);
		atomic_store(&r.stop, true);
		for (i = 0; i < THREADS; i++)
			pthread_join(t[i], NULL);
		take_and_copy(&r, copy);
		passes++;
		for (i = 0; i < PAGES; i++)
			bad += copy[i] != page[i];
	}
	tap_diag("%u passes, %u of %u pages lost", passes, bad, PAGES);
	drover_wrote_free(r.w);
	return bad;
}

int main(void)
{
	marks();
	ends();
	counters();
	tap_ok(lost(false, 3000) == 0, "written and marked: none is lost");
	tap_ok(lost(true, 20000) > 0, "control: marked and written: some are lost");
	return tap_done();
}
