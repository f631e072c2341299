// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What is watched stays where it is, and what was written stays: against reclaim, swap,
 * locks of others, compaction, migration between nodes, truncation, many attaches at once.
 * needs: brd
 * control: 4 pageout: harvested, clean
 * timeout: 120
 */
#include <sys/ipc.h>
#include <sys/shm.h>

#include "attach.h"
#include "churn.h"

#define FILES 64u
#define KPF_UNEVICTABLE 18
#define HALF (PAGES / 2)	/* what fits into the swap device, with room */

/* ---- swap ---- */

static unsigned long long vmstat(const char *name)
{
	unsigned long long n = 0;
	char key[64];
	FILE *f = fopen("/proc/vmstat", "re");

	while (f && fscanf(f, "%63s %llu", key, &n) == 2)
		if (!strcmp(key, name)) {
			fclose(f);
			return n;
		}
	ksft_die("%s in /proc/vmstat", name);
}

/* How many pages of [map, map + HALF) leave memory when they are to. */
static unsigned long long pageout(uint8_t *map)
{
	unsigned long long before = vmstat("pswpout");

	if (madvise(map, HALF * PAGE, MADV_PAGEOUT))
		ksft_die("MADV_PAGEOUT");
	return vmstat("pswpout") - before;
}

/* One that is in swap is not. */
static bool unevictable(const uint8_t *p)
{
	int map = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	int flags = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	uint64_t entry, bits = 0;

	if (pread(map, &entry, 8, (off_t)((uintptr_t)p / PAGE * 8)) != 8)
		ksft_die("/proc/self/pagemap");
	if (entry >> 63 &&
	    pread(flags, &bits, 8, (off_t)((entry & ((1ull << 55) - 1)) * 8)) != 8)
		ksft_die("/proc/kpageflags");
	close(map);
	close(flags);
	return bits >> KPF_UNEVICTABLE & 1;
}

static unsigned int unequal(const uint8_t *map, unsigned int from, unsigned int to, uint8_t value)
{
	unsigned int i, n = 0;

	for (i = from; i < to; i++)
		n += map[i * PAGE] != value || map[i * PAGE + PAGE - 1] != value;
	return n;
}

/* A file with one mapping, since MADV_PAGEOUT leaves alone what others map too. */
static void file_new(uint8_t value)
{
	g.fd = ksft_memfd(PAGES);
	g.map = ksft_map(g.fd, PAGES);
	g.other = g.map;
	g.at = -1;
	memset(g.map, value, PAGES * PAGE);
}

static void file_end(void)
{
	if (g.at >= 0)
		close(g.at);
	munmap(g.map, PAGES * PAGE);
	close(g.fd);
}

static void watch(void)
{
	g.at = attach(g.fd);
	if (g.at < 0 || arm(g.at))
		ksft_die("attach");
}

static void test_pageout(void)
{
	unsigned long long out;
	unsigned int i, missed = 0;

	swap_on();
	file_new(5);
	out = pageout(g.map);
	ksft_ok(out > HALF / 2, "pageout: not watched: %llu of %u pages go to swap", out, HALF);
	ksft_ok(!unequal(g.map, 0, HALF, 5), "pageout: and come back");
	watch();
	harvest(0);
	for (i = 0; i < HALF; i += 2)
		g.map[i * PAGE] = g.map[i * PAGE + PAGE - 1] = 6;
	out = pageout(g.map);
	ksft_ok(!out, "pageout: watched: %llu pages go to swap", out);
	harvest(0);
	for (i = 0; i < HALF; i++)
		missed += in(news.dirty, i) != !(i % 2);
	ksft_ok(!missed, "pageout: what was written before is in the harvest");
	/* Clean entries, then none: but for our references each page could be dropped. */
	out = pageout(g.map);
	madvise(g.map, HALF * PAGE, MADV_DONTNEED);
	drop_caches();
	for (i = 0, missed = 0; i < HALF; i++)
		missed += unequal(g.map, i, i + 1, i % 2 ? 5 : 6);
	ksft_ok(!out && !missed, "pageout: harvested, clean, not mapped: %u of %u pages lost",
		missed, HALF);
	close(g.at);
	g.at = -1;
	out = pageout(g.map);
	for (i = 0, missed = 0; i < HALF; i++)
		missed += unequal(g.map, i, i + 1, i % 2 ? 5 : 6);
	ksft_ok(out > HALF / 2 && !missed, "pageout: not watched any more: %llu in swap, %u lost",
		out, missed);
	file_end();
	swap_off();
}

/* Half of the file is in swap when it is armed; then swap ends. */
static void test_swapped(bool off)
{
	uint8_t *shadow = malloc(PAGES * PAGE);
	unsigned int i, lost = 0;
	pid_t pid = 0;
	int status = 0;

	swap_on();
	file_new(7);
	memcpy(shadow, g.map, PAGES * PAGE);
	if (pageout(g.map) <= HALF / 2)
		ksft_die("pageout");
	watch();
	if (off) {
		pid = fork();
		if (!pid)
			_exit(swapoff(SWAP_DEVICE) != 0);
	}
	for (i = 0; i < HALF; i += 3)
		g.map[i * PAGE] = (uint8_t)i;
	/* Against the swapoff of the other process. */
	for (i = 0; i < 5; i++) {
		harvest(0);
		for (unsigned int p = 0; p < PAGES; p++)
			if (in(news.dirty, p))
				memcpy(shadow + p * PAGE, g.map + p * PAGE, PAGE);
	}
	if (off)
		waitpid(pid, &status, 0);
	for (i = 1; i < HALF; i += 7)
		g.map[i * PAGE + 9] = (uint8_t)i;
	harvest(DROVER_HARVEST_FINAL);
	for (i = 0; i < PAGES; i++) {
		if (in(news.dirty, i))
			memcpy(shadow + i * PAGE, g.map + i * PAGE, PAGE);
		lost += memcmp(shadow + i * PAGE, g.map + i * PAGE, PAGE) != 0;
	}
	ksft_ok(!status && !lost, "swap: in swap when armed%s: %u pages lost",
		off ? ", and swapoff during harvests" : "", lost);
	ksft_ok(!unequal(g.map, HALF, PAGES, 7) && g.map[3 * PAGE] == 3 && g.map[4 * PAGE] == 7,
		"swap: and content is right");
	file_end();
	if (!off)
		swap_off();
	free(shadow);
}

/* ---- locks of others ---- */

/* What is locked stays so after us; what is not can be reclaimed again. */
static void test_mlock(void)
{
	unsigned long long out;

	swap_on();
	file_new(3);
	if (mlock(g.map, 16 * PAGE))
		ksft_die("mlock");
	watch();
	harvest(0);
	close(g.at);
	g.at = -1;
	ksft_ok(unevictable(g.map) && unevictable(g.map + 15 * PAGE), "mlock: in force after us");
	ksft_ok(!unevictable(g.map + 16 * PAGE) && !unevictable(g.map + (PAGES - 1) * PAGE),
		"mlock: and nothing else can't be evicted");
	munlock(g.map, 16 * PAGE);
	out = pageout(g.map);
	ksft_ok(out > HALF / 2 && !unequal(g.map, 0, PAGES, 3), "munlock: %llu pages go to swap",
		out);
	file_end();
	swap_off();
}

enum when { BEFORE, DURING, UNLOCKED_DURING };

static void test_shm_lock(enum when when)
{
	static const char *const name[] = {
		"before", "while watched", "before, SHM_UNLOCK while watched"
	};
	int id = shmget(IPC_PRIVATE, PAGES * PAGE, IPC_CREAT | 0600);
	unsigned long long out;
	char path[128];

	swap_on();
	g.map = shmat(id, NULL, 0);
	if (id < 0 || g.map == (void *)-1)
		ksft_die("shmget");
	shmctl(id, IPC_RMID, NULL);
	memset(g.map, 4, PAGES * PAGE);
	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)g.map,
		 (unsigned long)(g.map + PAGES * PAGE));
	g.fd = open(path, O_RDWR | O_CLOEXEC);
	if (g.fd < 0)
		ksft_die("%s", path);
	if (when != DURING && shmctl(id, SHM_LOCK, NULL))
		ksft_die("SHM_LOCK");
	watch();
	if (when == DURING && shmctl(id, SHM_LOCK, NULL))
		ksft_die("SHM_LOCK");
	if (when == UNLOCKED_DURING && shmctl(id, SHM_UNLOCK, NULL))
		ksft_die("SHM_UNLOCK");
	harvest(0);
	out = pageout(g.map);
	ksft_ok(!out && !unequal(g.map, 0, PAGES, 4), "SHM_LOCK %s: nothing goes to swap",
		name[when]);
	close(g.at);
	out = pageout(g.map);
	if (when == UNLOCKED_DURING)
		ksft_ok(out > HALF / 2 && !unequal(g.map, 0, PAGES, 4),
			"SHM_LOCK %s: after us %llu pages do", name[when], out);
	else
		ksft_ok(!out && unevictable(g.map) && unevictable(g.map + (HALF - 1) * PAGE),
			"SHM_LOCK %s: is in force after us, %llu pages go to swap",
			name[when], out);
	shmctl(id, SHM_UNLOCK, NULL);
	shmdt(g.map);
	close(g.fd);
	swap_off();
}

/* ---- truncation ---- */

static void test_truncate(void)
{
	unsigned int i, wrong = 0;
	uint8_t *beyond;
	int r;

	begin();
	r = harvest(0) || ftruncate(g.fd, HALF * PAGE) || harvest(0);
	for (i = 0; i < PAGES; i++)
		wrong += in(news.hole, i) != (i >= HALF);
	ksft_ok(!r && !wrong && !news.h.ndirty, "truncate: what is gone is a hole: %llu pages",
		(unsigned long long)news.h.nhole);
	r = ftruncate(g.fd, PAGES * PAGE) || harvest(0);
	ksft_ok(!r && !news.h.ndirty && !news.h.nhole, "grow: is no news");
	g.map[(PAGES - 1) * PAGE] = 1;
	g.map[HALF * PAGE] = 1;
	r = harvest(0);
	ksft_ok(!r && in(news.dirty, HALF) && in(news.dirty, PAGES - 1) && news.h.ndirty == 2,
		"grow: and stores are seen");
	r = ftruncate(g.fd, 2 * PAGES * PAGE);
	beyond = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, g.fd, PAGES * PAGE);
	if (beyond == MAP_FAILED)
		ksft_die("mmap");
	*beyond = 1;
	g.map[9 * PAGE] = 9;
	r = r || harvest(0);
	ksft_ok(!r && in(news.dirty, 9) && news.h.ndirty == 1, "longer than when attached");
	r = harvest(DROVER_HARVEST_FINAL);
	ksft_ok(!r && !news.h.ndirty && !news.h.nhole && !news.h.npinned, "and nothing late");
	munmap(beyond, PAGE);
	r = ftruncate(g.fd, 0) || harvest(0);
	ksft_ok(!r && news.h.nhole == HALF + 2, "truncated to nothing: %llu holes",
		(unsigned long long)news.h.nhole);
	end();
}

/* ---- many ---- */

static void test_many(void)
{
	int fd[FILES], at[FILES], i, busy = 0, wrong = 0, armed = 0;
	uint8_t *map[FILES];

	for (i = 0; i < (int)FILES; i++) {
		fd[i] = ksft_memfd(128);
		map[i] = ksft_map(fd[i], 128);
		memset(map[i], i, 128 * PAGE);
		at[i] = attach(fd[i]);
		armed += at[i] >= 0 && !arm(at[i]);
	}
	ksft_ok(armed == (int)FILES, "many: %u files are watched at once", FILES);
	for (i = 0; i < (int)FILES; i++)
		busy += attach(fd[i]) == -EBUSY;
	ksft_ok(busy == (int)FILES, "many: and each of them by one: EBUSY");
	for (i = 0; i < (int)FILES; i++)
		map[i][i * PAGE] ^= 0xff;
	for (i = 0; i < (int)FILES; i++) {
		uint64_t dirty[2] = { 0 };
		struct drover_harvest h = {
			.size = sizeof(h), .npages = 128, .dirty = (uintptr_t)dirty,
		};

		wrong += ioctl(at[i], DROVER_IOC_HARVEST, &h) || dirty[0] != 1ull << i || dirty[1];
	}
	ksft_ok(!wrong, "many: the harvest of each has its own write and no other's");
	for (i = 0; i < (int)FILES; i++) {
		close(at[i]);
		at[i] = attach(fd[i]);
		wrong += at[i] < 0;
		close(at[i]);
		munmap(map[i], 128 * PAGE);
		close(fd[i]);
	}
	ksft_ok(!wrong, "many: and can be watched again");
}

/* ---- races ---- */

/* There and back, since the file may begin on either node. */
static unsigned int moved(void)
{
	unsigned int there = move_to_other_node(), back = move_to_other_node();

	return there < back ? there : back;
}

static void test_nodes(void)
{
	unsigned int n;

	file_new(2);
	n = moved();
	ksft_ok(n > PAGES / 2, "nodes: not watched: %u of %u pages move", n, PAGES);
	watch();
	n = moved();
	ksft_ok(!n && !unequal(g.map, 0, PAGES, 2), "nodes: watched: %u pages move", n);
	ksft_ok(!harvest(0) && !news.h.ndirty && !news.h.nhole, "nodes: and that is no news");
	close(g.at);
	g.at = -1;
	n = moved();
	ksft_ok(n > PAGES / 2 && !unequal(g.map, 0, PAGES, 2), "nodes: not watched any more: %u",
		n);
	file_end();
}

static void test_races(void)
{
	race_test((struct race){ .ms = 1000, .beside = { compact } }, "compaction");
	race_test((struct race){ .ms = 1000, .beside = { move_nodes } }, "move_pages");
	race_test((struct race){ .ms = 1000, .beside = { drop_caches } }, "drop_caches");
	swap_on();
	race_test((struct race){ .ms = 1000, .beside = { reclaim } }, "pageout and drop_caches");
	swap_off();
}

int main(void)
{
	g.dev = ksft_device();
	test_pageout();
	test_swapped(false);
	test_swapped(true);
	test_mlock();
	test_shm_lock(BEFORE);
	test_shm_lock(UNLOCKED_DURING);
	test_shm_lock(DURING);
	test_truncate();
	test_many();
	test_nodes();
	test_races();
	return ksft_end();
}
