// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Large folios of shmem below 2 MiB, beside small ones and at any place: they are told page
 * by page through page tables, as a whole through their flag, and never as holes.
 * since: 6.11
 * timeout: 60
 */
#include "attach.h"

#define SIZES "/sys/kernel/mm/transparent_hugepage/hugepages-%ukB/"
#define END 512u

static void set(unsigned int kib, const char *how)
{
	char path[100];
	int fd;

	snprintf(path, sizeof(path), SIZES "shmem_enabled", kib);
	fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, how, strlen(how)) < 0)
		ksft_die("%s", path);
	close(fd);
}

static unsigned int made(unsigned int kib)
{
	unsigned int n = 0;
	char path[100];
	FILE *f;

	snprintf(path, sizeof(path), SIZES "stats/shmem_alloc", kib);
	f = fopen(path, "r");
	if (!f || fscanf(f, "%u", &n) != 1)
		ksft_die("%s", path);
	fclose(f);
	return n;
}

static unsigned int count(const uint64_t *map, unsigned int from, unsigned int to)
{
	unsigned int n = 0;

	for (; from < to; from++)
		n += in(map, from);
	return n;
}

static void one_size(unsigned int kib)
{
	const unsigned int pages = kib / 4, from = pages > 16 ? pages : 16;
	unsigned int i, before = made(kib);

	g.fd = ksft_memfd(PAGES);
	/* A small folio at the beginning of 2 MiB. */
	if (pwrite(g.fd, "a", 1, 0) != 1)
		ksft_die("pwrite");
	set(kib, "always");
	g.map = mmap(NULL, PAGES * PAGE + (2 << 20), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	g.map = (uint8_t *)(((uintptr_t)g.map + (2 << 20) - 1) & ~((2ul << 20) - 1));
	g.map = mmap(g.map, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, g.fd, 0);
	g.other = ksft_map(g.fd, PAGES);
	for (i = from; i < END; i++)
		g.map[i * PAGE] = 1;
	ksft_ok(made(kib) - before >= (END - from) / pages, "%u KiB: %u folios", kib,
		made(kib) - before);
	g.at = attach(g.fd);
	if (g.at < 0 || arm(g.at) || harvest(0) || harvest(0))
		ksft_die("attach");
	for (i = from; i < END; i++)
		g.map[i * PAGE] = 2;
	harvest(0);
	ksft_ok(count(news.dirty, from, END) == END - from && !news.h.nhole,
		"%u KiB: %u pages are stored to: %u told as dirty, %llu as holes", kib, END - from,
		count(news.dirty, from, END), (unsigned long long)news.h.nhole);
	ksft_ok(!harvest(0) && !news.h.ndirty, "%u KiB: idle", kib);
	i = END - pages / 2;
	if (pwrite(g.fd, "x", 1, (off_t)i * PAGE) != 1)
		ksft_die("pwrite");
	harvest(0);
	ksft_ok(in(news.dirty, i) && news.h.ndirty == pages &&
			count(news.dirty, END - pages, END) == pages,
		"%u KiB: pwrite(): its folio is told (%llu pages)", kib,
		(unsigned long long)news.h.ndirty);
	ksft_ok(!harvest(DROVER_HARVEST_FINAL) && !news.h.ndirty && !news.h.npinned,
		"%u KiB: final: nobody holds anything (%llu pinned)", kib,
		(unsigned long long)news.h.npinned);
	/* A part of one is punched: the rest stays. */
	if (fallocate(g.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(END - 2) * PAGE,
		      PAGE))
		ksft_die("fallocate");
	harvest(0);
	ksft_ok((in(news.dirty, END - 2) || in(news.hole, END - 2)) && !g.map[(END - 2) * PAGE] &&
			g.map[(END - 1) * PAGE] == 2 &&
			!(in(news.hole, END - 1) && !in(news.dirty, END - 1)),
		"%u KiB: a page of it is punched: told, and the rest is no hole", kib);
	if (fallocate(g.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(END - pages) * PAGE,
		      (off_t)pages * PAGE))
		ksft_die("fallocate");
	harvest(0);
	ksft_ok(count(news.hole, END - pages, END) == pages,
		"%u KiB: all of it is punched: %u holes", kib, count(news.hole, END - pages, END));
	set(kib, "never");
	end();
}

int main(void)
{
	static const unsigned int kib[] = { 16, 64, 256, 1024 };
	unsigned int i;

	g.dev = ksft_device();
	for (i = 0; i < KSFT_SIZE(kib); i++)
		one_size(kib[i]);
	return ksft_end();
}
