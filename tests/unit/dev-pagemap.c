// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * PAGEMAP_SCAN and reading pagemap's entries agree with what was touched, for numbers of
 * regions around the sizes of the kernel's buffer and of ours; write-protecting takes
 * each page exactly once. A descriptor that is no pagemap is refused, never believed.
 */
#define _GNU_SOURCE
#include "dev/pagemap.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "base/units.h"
#include "dev/uffd.h"
#include "tap.h"

#define PAGES 40000u

struct seen {
	uint64_t base;
	uint8_t count[PAGES];
	uint64_t last;
	bool order;
};

static const struct drover_pagemap_query take = {
	.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
	.mask = PAGE_IS_WRITTEN,
};
static const struct drover_pagemap_query not_present = {
	.mask = PAGE_IS_PRESENT,
	.inverted = PAGE_IS_PRESENT,
};

static int see(void *arg, uint64_t start, uint64_t end)
{
	struct seen *s = arg;

	if (start < s->last || end <= start)
		s->order = false;
	s->last = end;
	for (; start < end; start += DROVER_PAGE_SIZE)
		s->count[(start - s->base) / DROVER_PAGE_SIZE]++;
	return 0;
}

static int end_walk(void *arg, uint64_t start, uint64_t end)
{
	(void)arg;
	(void)start;
	(void)end;
	return 77;
}

static void forget(struct seen *s, uint8_t *base)
{
	memset(s, 0, sizeof(*s));
	s->base = (uint64_t)(uintptr_t)base;
	s->order = true;
}

/* Every @step-th page of the first @n, and nothing else, once each? */
static bool just(const struct seen *s, unsigned int n, unsigned int step, bool inverted)
{
	unsigned int i;

	for (i = 0; i < PAGES; i++) {
		bool want = i < n && i % step == 0;

		if (s->count[i] != (want != inverted))
			return false;
	}
	return s->order;
}

static void scans(struct drover_pagemap *p, uint8_t *map, int uffd)
{
	static const unsigned int n[] = { 1, 2, 1022, 1024, 1026, 1500, 2048, 16382, 16384, 16386,
					  20001, PAGES };
	static struct seen s;
	uint64_t at = (uint64_t)(uintptr_t)map, len = PAGES * DROVER_PAGE_SIZE;
	unsigned int i, k, step;
	int r;

	drover_uffd_register(uffd, at, len, UFFDIO_REGISTER_MODE_WP);
	drover_uffd_writeprotect(uffd, at, len, true);
	for (i = 0; i < sizeof(n) / sizeof(n[0]); i++)
		for (step = 1; step <= 2; step++) {
			for (k = 0; k < n[i]; k += step)
				map[k * DROVER_PAGE_SIZE] = (uint8_t)i;
			forget(&s, map);
			r = drover_pagemap_scan(p, &take, at, len, see, &s);
			if (!tap_ok(!r && just(&s, n[i], step, false),
				    "%u pages, step %u: each once, in order", n[i], step))
				tap_diag("result %d", r);
			forget(&s, map);
			r = drover_pagemap_scan(p, &take, at, len, see, &s);
			tap_ok(!r && just(&s, 0, 1, false), "then none");
		}
	drover_uffd_unregister(uffd, at, len);
	tap_ok(drover_pagemap_scan(p, &take, at, len, see, &s) == -EPERM,
	       "a range that is not registered is refused");
}

static void entries(struct drover_pagemap *p, uint8_t *map, bool scan)
{
	static struct seen s;
	uint64_t at = (uint64_t)(uintptr_t)map, len = PAGES * DROVER_PAGE_SIZE;
	unsigned int k;

	for (k = 0; k < PAGES; k += 3)
		map[k * DROVER_PAGE_SIZE] = 1;
	forget(&s, map);
	tap_ok(!drover_pagemap_read(p, DROVER_PAGEMAP_PRESENT, true, at, len, see, &s) &&
	       just(&s, PAGES, 3, false), "read: pages that are present");
	forget(&s, map);
	tap_ok(!drover_pagemap_read(p, DROVER_PAGEMAP_PRESENT, false, at, len, see, &s) &&
	       just(&s, PAGES, 3, true), "read: pages that are not");
	tap_ok(drover_pagemap_read(p, DROVER_PAGEMAP_PRESENT, true, at, len, end_walk, NULL) == 77,
	       "read: the callback ends it");
	if (!scan)
		return;
	forget(&s, map);
	tap_ok(!drover_pagemap_scan(p, &not_present, at, len, see, &s) && just(&s, PAGES, 3, true),
	       "scan: the same pages");
	tap_ok(drover_pagemap_scan(p, &not_present, at, len, end_walk, NULL) == 77,
	       "scan: the callback ends it");
}

static uint8_t *new_map(void)
{
	int fd = memfd_create("unit", MFD_CLOEXEC);
	uint8_t *map;

	if (fd < 0 || ftruncate(fd, PAGES * DROVER_PAGE_SIZE) < 0)
		abort();
	map = mmap(NULL, PAGES * DROVER_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return map;
}

int main(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_pagemap p, null;
	int uffd = -1, fd, r;
	bool scan;

	tap_ok(drover_pagemap_open(&p, 0, &e) == 0, "open %s", e.msg);
	r = drover_pagemap_can_scan(&p);
	scan = r == 0 && drover_uffd_kernel_features() & UFFD_FEATURE_WP_ASYNC &&
	       drover_uffd_new(DROVER_UFFD_FEATURES, &uffd, NULL, &e) == 0;
	if (scan)
		scans(&p, new_map(), uffd);
	else
		tap_skip("PAGEMAP_SCAN with UFFD_FEATURE_WP_ASYNC (Linux 6.7): %s %s",
			 drover_strerror(r), e.msg);
	entries(&p, new_map(), scan);
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	drover_pagemap_init(&null, fd);
	tap_ok(drover_pagemap_can_scan(&null) < 0 &&
	       drover_pagemap_scan(&null, &not_present, 4096, 4096, see, NULL) < 0 &&
	       drover_pagemap_read(&null, DROVER_PAGEMAP_PRESENT, true, 4096, 4096, see, NULL) < 0,
	       "another kind of file is refused");
	drover_pagemap_deinit(&null);
	tap_ok(fcntl(fd, F_GETFD) >= 0, "a descriptor that was passed stays open");
	close(fd);
	drover_pagemap_deinit(&p);
	drover_pagemap_deinit(&p);
	drover_err_clear(&e);
	tap_ok(drover_pagemap_open(&p, 0x7ffffffe, &e) == -ENOENT, "no such process: %s", e.msg);
	drover_pagemap_deinit(&p);
	return tap_done();
}
