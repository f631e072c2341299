// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Each way in which a CPU can write to a file must be in the next harvest, and nothing else.
 * control: 2 writer: pwrite(): seen
 * control: 8 writer: store: seen
 */
#include <linux/io_uring.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "attach.h"

/* ---- the writers ---- */

static void w_store(unsigned int p) { g.map[p * PAGE] = 2; }

static void w_recv(unsigned int p)
{
	int s[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, s) < 0 || write(s[0], "xyz", 3) != 3 ||
	    recv(s[1], g.map + p * PAGE, 3, 0) != 3)
		perror("recv");
	close(s[0]);
	close(s[1]);
}

static void w_pwrite(unsigned int p)
{
	if (pwrite(g.fd, "abc", 3, (off_t)p * PAGE) != 3)
		perror("pwrite");
}

static void w_splice(unsigned int p)
{
	loff_t off = (loff_t)p * PAGE;
	int s[2];

	if (pipe(s) < 0 || write(s[1], "abc", 3) != 3 || splice(s[0], NULL, g.fd, &off, 3, 0) != 3)
		perror("splice");
	close(s[0]);
	close(s[1]);
}

static void w_exit(unsigned int p)
{
	pid_t pid = fork();

	if (!pid) {
		uint8_t *m = map_file(g.fd, PROT_READ | PROT_WRITE, MAP_SHARED);

		m[p * PAGE] = 3;
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

static void w_munmap(unsigned int p)
{
	uint8_t *m = map_file(g.fd, PROT_READ | PROT_WRITE, MAP_SHARED);

	m[p * PAGE] = 4;
	munmap(m, PAGES * PAGE);
}

static void w_dontneed(unsigned int p)
{
	g.map[p * PAGE] = 5;
	madvise(g.map + p * PAGE, PAGE, MADV_DONTNEED);
}

static void w_vm_writev(unsigned int p)
{
	struct iovec from = { "abc", 3 }, to = { g.map + p * PAGE, 3 };
	pid_t parent = getpid(), pid = fork();

	if (!pid)
		_exit(process_vm_writev(parent, &from, 1, &to, 1, 0) != 3);
	waitpid(pid, NULL, 0);
}

static void w_proc_mem(unsigned int p)
{
	int fd = open("/proc/self/mem", O_RDWR);

	if (pwrite(fd, "mem", 3, (off_t)(uintptr_t)(g.map + p * PAGE)) != 3)
		perror("/proc/self/mem");
	close(fd);
}

static void w_fork(unsigned int p)
{
	pid_t pid = fork();

	if (!pid) {
		g.map[p * PAGE] = 6;
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

static void w_mremap(unsigned int p)
{
	uint8_t *m = map_file(g.fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	uint8_t *n = mmap(NULL, PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	m[p * PAGE] = 7;
	n = mremap(m, PAGES * PAGE, PAGES * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, n);
	n[(p + 1) * PAGE] = 7;
	harvest(0);
	n[p * PAGE] = 8;
	munmap(n, PAGES * PAGE);
}

static void w_read_only_then_write(unsigned int p)
{
	uint8_t *m = map_file(g.fd, PROT_READ, MAP_SHARED);

	mprotect(m, PAGES * PAGE, PROT_READ | PROT_WRITE);
	m[p * PAGE] = 9;
	munmap(m, PAGES * PAGE);
}

static const struct {
	const char *name;
	void (*write)(unsigned int page);
} writers[] = {
	{ "store", w_store },
	{ "recv()", w_recv },
	{ "pwrite()", w_pwrite },
	{ "splice()", w_splice },
	{ "store and exit", w_exit },
	{ "store and munmap", w_munmap },
	{ "store and MADV_DONTNEED", w_dontneed },
	{ "process_vm_writev()", w_vm_writev },
	{ "/proc/self/mem", w_proc_mem },
	{ "store after fork", w_fork },
	{ "store through a moved mapping", w_mremap },
	{ "store after mprotect", w_read_only_then_write },
};

static void test_writers(void)
{
	unsigned int i, page;

	begin();
	/* In the way of a walk that ends at the first mapping without a right to write. */
	uint8_t *priv = map_file(g.fd, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	int ro_fd, r;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", g.fd);
	ro_fd = open(path, O_RDONLY);
	uint8_t *ro = map_file(ro_fd, PROT_READ, MAP_SHARED);

	munmap(g.map, PAGES * PAGE);
	g.map = map_file(g.fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	/* A first store's fault marks the folio. */
	memset(g.map, 1, PAGES * PAGE);

	for (i = 0; i < sizeof(writers) / sizeof(writers[0]); i++) {
		page = 100 + i * 10;
		r = harvest(0);
		writers[i].write(page);
		r = r ? r : harvest(0);
		ksft_ok(!r && in(news.dirty, page) && news.h.ndirty <= 2 && !news.h.nhole,
		   "writer: %s: seen, %llu pages reported", writers[i].name,
		   (unsigned long long)news.h.ndirty);
		r = harvest(0);
		ksft_ok(!r && !news.h.ndirty, "writer: %s: once", writers[i].name);
	}
	priv[7 * PAGE] = 1;
	harvest(0);
	ksft_ok(!news.h.ndirty && ro[7 * PAGE] == 1, "a private copy is not the file");
	munmap(priv, PAGES * PAGE);
	munmap(ro, PAGES * PAGE);
	close(ro_fd);
	end();
}

static void test_holes(void)
{
	volatile uint8_t c;
	int r;

	begin();
	r = fallocate(g.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 10 * PAGE, 3 * PAGE);
	r |= harvest(0);
	ksft_ok(!r && in(news.hole, 10) && in(news.hole, 12) && news.h.nhole == 3, "punched: %llu holes",
	   (unsigned long long)news.h.nhole);
	ksft_ok(!harvest(0) && !news.h.nhole, "told once");
	fallocate(g.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 20 * PAGE, PAGE);
	c = g.map[20 * PAGE];
	harvest(0);
	ksft_ok(!c && in(news.hole, 20), "punched and read again: a hole");
	fallocate(g.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 30 * PAGE, PAGE);
	g.map[30 * PAGE] = 1;
	harvest(0);
	ksft_ok(in(news.hole, 30) && in(news.dirty, 30), "punched and written: both");
	g.map[10 * PAGE] = 1;
	harvest(0);
	ksft_ok(in(news.dirty, 10), "a store into a hole, made after arm");
	harvest(0);
	ksft_ok(pwrite(g.fd, "x", 1, 11 * PAGE) == 1 && !harvest(0) && in(news.dirty, 11),
	   "pwrite into a hole that nobody maps");
	ksft_ok(!harvest(0) && !news.h.ndirty && !news.h.nhole, "a write into a hole: told once");
	madvise(g.map + 40 * PAGE, PAGE, MADV_REMOVE);
	harvest(0);
	ksft_ok(in(news.hole, 40), "MADV_REMOVE");
	end();
}

/* Who can't write, and was there first, hides nobody. */
static void test_observers(void)
{
	uint8_t *seen;
	int fd = ksft_memfd(PAGES), ro, i;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ro = open(path, O_RDONLY);
	for (i = 0; i < 2; i++) {
		seen = map_file(i ? ro : fd, PROT_READ, i ? MAP_SHARED : MAP_PRIVATE);
		g.map = map_file(fd, PROT_READ | PROT_WRITE, MAP_SHARED);
		memset(g.map, i + 1, PAGES * PAGE);
		g.at = attach(fd);
		if (!seen || g.at < 0 || arm(g.at))
			ksft_die("observer");
		g.map[77 * PAGE] = 9;
		harvest(0);
		ksft_ok(in(news.dirty, 77) && news.h.ndirty == 1 && seen[77 * PAGE] == 9,
			"observer: %s was mapped before: a store is seen",
			i ? "a read-only descriptor" : "a private mapping");
		close(g.at);
		munmap(g.map, PAGES * PAGE);
		munmap(seen, PAGES * PAGE);
	}
	close(ro);
	close(fd);
}

static void test_pinned(void)
{
	struct io_uring_params p = { 0 };
	int fd = (int)syscall(__NR_io_uring_setup, 4, &p);
	struct iovec v;

	begin();
	v = (struct iovec){ g.map + 50 * PAGE, PAGE };
	ksft_ok(!harvest(DROVER_HARVEST_FINAL) && !in(news.pinned, 50), "nobody holds page 50");
	if (ksft_ok(fd >= 0 && !syscall(__NR_io_uring_register, fd, IORING_REGISTER_BUFFERS, &v, 1),
	       "a registered buffer"))
		ksft_ok(!harvest(DROVER_HARVEST_FINAL) && in(news.pinned, 50) && news.h.npinned == 1,
		   "its page is pinned, and no other");
	close(fd);
	end();
}

static uint64_t seed = 88172645463325252ull;

static unsigned int rnd(unsigned int n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned int)(seed % n);
}

/* Each write in exactly the next harvest: two processes, and pwrite. */
static void test_exact(void)
{
	unsigned int round, i, missed = 0, extra = 0;

	begin();
	harvest(0);
	for (round = 0; round < 40; round++) {
		uint64_t want[WORDS] = { 0 };
		unsigned int page[100];
		pid_t pid;

		for (i = 0; i < 100; i++) {
			page[i] = rnd(PAGES);
			want[page[i] / 64] |= 1ull << (page[i] % 64);
		}
		for (i = 0; i < 50; i++)
			g.map[page[i] * PAGE + round] ^= 1;
		pid = fork();
		if (!pid) {
			for (i = 50; i < 90; i++)
				g.other[page[i] * PAGE + round] ^= 1;
			_exit(0);
		}
		waitpid(pid, NULL, 0);
		for (i = 90; i < 100; i++)
			w_pwrite(page[i]);
		harvest(0);
		for (i = 0; i < WORDS; i++) {
			missed += (unsigned int)__builtin_popcountll(want[i] & ~news.dirty[i]);
			extra += (unsigned int)__builtin_popcountll(news.dirty[i] & ~want[i]);
		}
	}
	ksft_ok(!missed && !extra, "exact: 40 rounds of 100 writes: %u missed, %u extra", missed, extra);
	end();
}

int main(void)
{
	g.dev = ksft_device();
	test_writers();
	test_holes();
	test_observers();
	test_pinned();
	test_exact();
	return ksft_end();
}
