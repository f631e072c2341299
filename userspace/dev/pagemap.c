// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * /proc/PID/pagemap: the PAGEMAP_SCAN ioctl and, for older kernels, its entries. The
 * descriptor may come from a VMM and be anything, so nothing that it yields leaves
 * here unchecked: ranges are aligned, ascending and inside what was asked for.
 */
#define _GNU_SOURCE
#include "dev/pagemap.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/units.h"

/* Buffers on the stack. The kernel's own for regions has 512. */
#define BUF_REGIONS 1024u
#define BUF_ENTRIES 4096u

void drover_pagemap_init(struct drover_pagemap *p, int fd)
{
	*p = (struct drover_pagemap){ .fd = fd };
}

int drover_pagemap_open(struct drover_pagemap *p, int pid, struct drover_error *e)
{
	char path[64] = "/proc/self/pagemap";
	int fd;

	*p = (struct drover_pagemap){ .fd = -EBADF };
	if (pid)
		snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return drover_err(e, -errno, "%s: open: %s", path, drover_strerror(errno));
	p->fd = fd;
	p->own_fd = true;
	return 0;
}

void drover_pagemap_deinit(struct drover_pagemap *p)
{
	if (p->own_fd)
		drover_closep(&p->fd);
	*p = (struct drover_pagemap){ .fd = -EBADF };
}

int drover_pagemap_can_scan(struct drover_pagemap *p)
{
	struct pm_scan_arg a = { .size = sizeof(a), .return_mask = PAGE_IS_PRESENT };

	/* An empty range: the kernel that knows the request does nothing. */
	a.category_mask = PAGE_IS_PRESENT;
	return ioctl(p->fd, PAGEMAP_SCAN, &a) < 0 ? -errno : 0;
}

static int hand_out(const struct page_region *v, int n, uint64_t start, uint64_t end,
		    drover_pagemap_fn *fn, void *arg)
{
	int i, r;

	for (i = 0; i < n; i++) {
		uint64_t align = (v[i].start | v[i].end) & (DROVER_PAGE_SIZE - 1);

		if (align || v[i].start < start || v[i].end > end || v[i].end <= v[i].start)
			return -EBADMSG;
		r = fn(arg, v[i].start, v[i].end);
		if (r)
			return r;
		start = v[i].end;
	}
	return 0;
}

int drover_pagemap_scan(struct drover_pagemap *p, const struct drover_pagemap_query *q,
			uint64_t start, uint64_t len, drover_pagemap_fn *fn, void *arg)
{
	struct page_region buf[BUF_REGIONS];
	uint64_t end = start + len;
	int n, r;

	while (start < end) {
		/* mask == return_mask == PAGE_IS_WRITTEN is the kernel's fast path */
		struct pm_scan_arg a = {
			.size = sizeof(a),
			.flags = q->flags,
			.start = start,
			.end = end,
			.vec = (uint64_t)(uintptr_t)buf,
			.vec_len = BUF_REGIONS,
			.category_mask = q->mask,
			.category_inverted = q->inverted,
			.return_mask = q->mask,
		};

		n = ioctl(p->fd, PAGEMAP_SCAN, &a);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if ((size_t)n > BUF_REGIONS || a.walk_end <= start || a.walk_end > end)
			return -EBADMSG;
		r = hand_out(buf, n, start, end, fn, arg);
		if (r)
			return r;
		/*
		 * walk_end may lie before the last region: when the kernel's own buffer
		 * (512 regions) ran over on the way and the walk then came to its end, it
		 * keeps the address of that overflow. Whichever is further was reached.
		 */
		start = a.walk_end;
		if (n && buf[n - 1].end > start)
			start = buf[n - 1].end;
	}
	return 0;
}

int drover_pagemap_read(struct drover_pagemap *p, uint64_t bit, bool value, uint64_t start,
			uint64_t len, drover_pagemap_fn *fn, void *arg)
{
	uint64_t page = drover_pages(start), left = drover_pages(len);
	uint64_t entry[BUF_ENTRIES];
	int r;

	while (left) {
		size_t want = left < BUF_ENTRIES ? (size_t)left : BUF_ENTRIES, got, i, run = 0;
		ssize_t n = pread(p->fd, entry, want * 8, (off_t)(page * 8));

		if (n < 0)
			return -errno;
		got = (size_t)n / 8;
		if (!got)
			return -ESRCH;
		for (i = 0; i < got; i++) {
			if (!(entry[i] & bit) == !value)
				run++;
			if (run && (i + 1 == got || !(entry[i + 1] & bit) != !value)) {
				r = fn(arg, drover_page_off(page + i + 1 - run),
				       drover_page_off(page + i + 1));
				if (r)
					return r;
				run = 0;
			}
		}
		page += got;
		left -= got;
	}
	return 0;
}
