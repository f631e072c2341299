// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Attach and large folios: writes are seen at a grain of 2 MiB, and punching a part of
 * one loses nothing of the rest.
 */
#include <linux/io_uring.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "attach.h"

#define SHMEM_ENABLED "/sys/kernel/mm/transparent_hugepage/shmem_enabled"
#define HUGE 512u

static void shmem_enabled(const char *how)
{
	int fd = open(SHMEM_ENABLED, O_WRONLY);

	if (fd < 0 || write(fd, how, strlen(how)) < 0)
		ksft_die(SHMEM_ENABLED);
	close(fd);
}

static unsigned int kib_of(const char *path, const char *field)
{
	char line[200], want[50];
	unsigned int n = 0, sum = 0;
	FILE *f = fopen(path, "r");

	snprintf(want, sizeof(want), "%s: %%u kB", field);
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, want, &n) == 1)
			sum += n;
	if (f)
		fclose(f);
	return sum;
}

static unsigned int differ(unsigned int first, unsigned int n, uint8_t value)
{
	unsigned int i, bad = 0;
	uint8_t c;

	for (i = first; i < first + n; i++)
		bad += pread(g.fd, &c, 1, (off_t)i * PAGE) != 1 || c != value;
	return bad;
}

static unsigned int count(const uint64_t *map, unsigned int first, unsigned int n)
{
	unsigned int i, sum = 0;

	for (i = first; i < first + n; i++)
		sum += in(map, i);
	return sum;
}

static void test_pin(void)
{
	struct io_uring_params p = { 0 };
	int fd = (int)syscall(__NR_io_uring_setup, 4, &p);
	struct iovec v = { g.map + (7 * HUGE + 3) * PAGE, PAGE };

	ksft_ok(fd >= 0 && !syscall(__NR_io_uring_register, fd, IORING_REGISTER_BUFFERS, &v, 1) &&
		!harvest(DROVER_HARVEST_FINAL) && news.h.npinned == HUGE &&
		count(news.pinned, 7 * HUGE, HUGE) == HUGE, "thp: a registered buffer: 512 pinned (%llu)",
		(unsigned long long)news.h.npinned);
	close(fd);
}

int main(void)
{
	g.dev = ksft_device();
	shmem_enabled("force");
	begin();
	ksft_ok(kib_of("/proc/meminfo", "ShmemHugePages") >= PAGES * 4,
		"the file is made of large folios");
	harvest(0);
	ksft_ok(!harvest(0) && !news.h.ndirty, "thp: idle: nothing is reported");
	g.map[(5 * HUGE + 7) * PAGE] = 2;
	harvest(0);
	ksft_ok(count(news.dirty, 5 * HUGE, HUGE) == HUGE && news.h.ndirty == HUGE,
		"thp: a store: 2 MiB are reported, and no more (%llu pages)",
		(unsigned long long)news.h.ndirty);
	ksft_ok(pwrite(g.fd, "x", 1, (6 * HUGE + 100) * PAGE) == 1 && !harvest(0) &&
		count(news.dirty, 6 * HUGE, HUGE) == HUGE, "thp: pwrite(): seen");
	ksft_ok(!harvest(DROVER_HARVEST_FINAL) && !news.h.ndirty && !news.h.npinned,
		"thp: the final harvest reports nothing (%llu pinned)",
		(unsigned long long)news.h.npinned);
	test_pin();
	/* clean, as the last harvest has left it: a part is punched */
	ksft_ok(!fallocate(g.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2 * HUGE * PAGE + 8 * PAGE,
			   8 * PAGE), "thp: a part of a large folio is punched");
	ksft_ok(!harvest(0) && count(news.dirty, 2 * HUGE, HUGE) == HUGE, "thp: that is seen");
	ksft_ok(!differ(2 * HUGE, 8, 1) && !differ(2 * HUGE + 16, HUGE - 16, 1),
		"thp: the rest is there");
	ksft_ok(!differ(2 * HUGE + 8, 8, 0), "thp: the part reads as zero");
	fallocate(g.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 3 * HUGE * PAGE, HUGE * PAGE);
	harvest(0);
	ksft_ok(count(news.hole, 3 * HUGE, HUGE) == HUGE && news.h.nhole == HUGE,
		"thp: a whole one is punched: 512 holes (%llu)", (unsigned long long)news.h.nhole);
	close(g.at);
	ksft_ok(!differ(4 * HUGE, HUGE, 1), "thp: after disarm the content is there");
	g.at = attach(g.fd);
	ksft_ok(g.at >= 0 && !arm(g.at), "thp: attached again");
	harvest(0);
	ksft_ok(news.h.nhole == HUGE && count(news.hole, 3 * HUGE, HUGE) == HUGE,
		"the first harvest tells what holds no memory");
	end();
	shmem_enabled("never");
	return ksft_end();
}
