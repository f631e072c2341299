// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A udmabuf maps pages of a file by a mapping that is not the file's, so no harvest sees what
 * is stored through it. The pages are pinned for as long: a final harvest says so, and when
 * they are let go of they are told as dirty.
 * since: 6.12
 */
#include <linux/udmabuf.h>

#include "attach.h"

#define BUF_PAGES 64u

static unsigned int count(const uint64_t *map, unsigned int from, unsigned int n)
{
	unsigned int i, sum = 0;

	for (i = from; i < from + n; i++)
		sum += in(map, i);
	return sum;
}

int main(void)
{
	struct udmabuf_create c = { .flags = UDMABUF_FLAGS_CLOEXEC, .offset = 8 * PAGE,
				    .size = BUF_PAGES * PAGE };
	int u = open("/dev/udmabuf", O_RDWR | O_CLOEXEC), buf;
	uint8_t *p;

	g.dev = ksft_device();
	begin();
	if (fcntl(g.fd, F_ADD_SEALS, F_SEAL_SHRINK))
		ksft_die("F_SEAL_SHRINK");
	c.memfd = (uint32_t)g.fd;
	buf = ioctl(u, UDMABUF_CREATE, &c);
	if (u < 0 || buf < 0)
		ksft_die("/dev/udmabuf");
	p = ksft_map(buf, BUF_PAGES);
	harvest(0);
	harvest(0);
	p[5 * PAGE] = 99;
	ksft_ok(!harvest(DROVER_HARVEST_FINAL) && g.map[13 * PAGE] == 99 && in(news.pinned, 13),
		"a store through a udmabuf: its page is pinned in a final harvest");
	ksft_ok(count(news.pinned, 8, BUF_PAGES) == BUF_PAGES && news.h.npinned == BUF_PAGES,
		"all pages of the udmabuf are, and no others: %llu",
		(unsigned long long)news.h.npinned);
	p[6 * PAGE] = 98;
	munmap(p, BUF_PAGES * PAGE);
	close(buf);
	ksft_msleep(100 * ksft_scale());
	harvest(0);
	ksft_ok(count(news.dirty, 8, BUF_PAGES) == BUF_PAGES && news.h.ndirty == BUF_PAGES,
		"let go of: all of them are told as dirty (%llu)",
		(unsigned long long)news.h.ndirty);
	ksft_ok(!harvest(DROVER_HARVEST_FINAL) && !news.h.ndirty && !news.h.npinned, "once");
	end();
	close(u);
	return ksft_end();
}
