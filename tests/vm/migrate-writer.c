// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A writer that has nothing to do with droverd nor with the guest: it opens the file of
 * guest RAM and writes to it, by stores and by pwrite() in turn.
 *
 *	migrate-writer PATH run		until SIGTERM; says how many pages it wrote
 *	migrate-writer PATH fill N	the first N pages, once
 *	migrate-writer PATH once PAGE	one page, by pwrite()
 */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096u
#define BURST 16u               /* pages between two naps */

static volatile sig_atomic_t stop;

static void on_term(int sig)
{
	(void)sig;
	stop = 1;
}

static int put(int fd, uint8_t *map, uint64_t page, uint64_t value, int by_pwrite)
{
	uint8_t buf[PAGE];

	if (!by_pwrite) {
		memcpy(map + page * PAGE + value % (PAGE / 8) * 8, &value, sizeof(value));
		return 0;
	}
	memset(buf, (int)(value | 1), sizeof(buf));
	memcpy(buf, &value, sizeof(value));
	return pwrite(fd, buf, sizeof(buf), (off_t)(page * PAGE)) == (ssize_t)sizeof(buf) ? 0 : -1;
}

static int run(int fd, uint8_t *map, uint64_t npages)
{
	const struct timespec nap = { .tv_nsec = 2000000 };
	uint64_t x = 88172645463325252ull, n = 0;

	signal(SIGTERM, on_term);
	while (!stop) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		if (put(fd, map, x % npages, x, n & 1) < 0)
			return 1;
		if (++n % BURST == 0)
			nanosleep(&nap, NULL);
	}
	printf("%llu\n", (unsigned long long)n);
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t npages, arg = argc > 3 ? strtoull(argv[3], NULL, 10) : 0, i;
	struct stat st;
	uint8_t *map;
	int fd, r = 2;

	if (argc < 3)
		return 2;
	fd = open(argv[1], O_RDWR | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return perror(argv[1]), 1;
	npages = (uint64_t)st.st_size / PAGE;
	map = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED || arg > npages)
		return perror("map"), 1;
	if (!strcmp(argv[2], "run"))
		return run(fd, map, npages);
	if (!strcmp(argv[2], "once"))
		return put(fd, map, arg, 0x1a7e, 1) < 0;
	for (i = 0; !strcmp(argv[2], "fill") && i < arg; i++)
		r = put(fd, map, i, i * 0x9e3779b97f4a7c15ull + 1, 0);
	return r < 0 ? 1 : r;
}
