/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_VM_CHURN_H
#define DROVER_VM_CHURN_H

/*
 * What a kernel does to a file's pages behind its users' backs, made to happen; most of it
 * for race.beside. Swap needs the module brd.
 */
#include <sys/swap.h>
#include <sys/syscall.h>

#include "attach.h"

#define SWAP_DEVICE "/dev/ram0"

static inline void swap_on(void)
{
	static uint8_t header[PAGE];
	uint32_t version = 1, last = 16384 / 4 - 1;
	int fd = open(SWAP_DEVICE, O_RDWR | O_CLOEXEC);

	memcpy(header + 1024, &version, 4);
	memcpy(header + 1028, &last, 4);
	memcpy(header + PAGE - 10, "SWAPSPACE2", 10);
	if (fd < 0 || pwrite(fd, header, PAGE, 0) != (ssize_t)PAGE || fsync(fd) || close(fd) ||
	    swapon(SWAP_DEVICE, 0))
		ksft_die(SWAP_DEVICE);
}

static inline void swap_off(void)
{
	if (swapoff(SWAP_DEVICE))
		ksft_die("swapoff");
}

static inline bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return good;
}

static inline void compact(void)
{
	write_text("/proc/sys/vm/compact_memory", "1");
}

static inline void drop_caches(void)
{
	if (!write_text("/proc/sys/vm/drop_caches", "3"))
		ksft_die("drop_caches");
}

/* All of the file to the one node, then to the other; how many pages have gone there. */
static inline unsigned int move_to_other_node(void)
{
	static void *page[PAGES];
	static int node[PAGES], status[PAGES], to;
	unsigned int i, n = 0;

	to = !to;
	for (i = 0; i < PAGES; i++) {
		page[i] = g.map + i * PAGE;
		node[i] = to;
		(void)*(volatile uint8_t *)page[i];
	}
	if (syscall(__NR_move_pages, 0, (unsigned long)PAGES, page, node, status, 1 << 2) < 0)
		ksft_die("move_pages");
	for (i = 0; i < PAGES; i++)
		n += status[i] == to;
	return n;
}

static inline void move_nodes(void)
{
	move_to_other_node();
}

/* Reclaim of what can be reclaimed, whoever maps it. */
static inline void reclaim(void)
{
	if (madvise(g.map, PAGES * PAGE, MADV_PAGEOUT))
		ksft_die("MADV_PAGEOUT");
	drop_caches();
}

/* A mapping that can't write, for a moment. */
static inline void observe(void)
{
	uint8_t *m = map_file(g.fd, PROT_READ, MAP_PRIVATE);
	unsigned int i, sum = 0;

	for (i = 0; i < PAGES; i += 64)
		sum += *(volatile uint8_t *)(m + i * PAGE);
	munmap(m, PAGES * PAGE);
	if (sum == 1)	/* is never so; keeps the loads */
		ksft_msleep(1);
}

#endif
