// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Attach, in the test guest: each way in which a CPU can write to a file must be in the
 * next harvest, and nothing else; what must be refused is, by its errno; races against
 * a shadow copy lose nothing; nothing is lost when the holder dies.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/drover.h>

#define PAGES 4096u
#define PAGE 4096u
#define WORDS (PAGES / 64)

static unsigned int count, bad;

__attribute__((format(printf, 2, 3)))
static bool ok(bool good, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	printf("%sok %u - ", good ? "" : "not ", ++count);
	vprintf(fmt, ap);
	printf("\n");
	va_end(ap);
	fflush(stdout);
	bad += !good;
	return good;
}

/* A watched file, mapped twice. */
static struct {
	int dev, fd, at;
	uint8_t *map, *other;
} g;

static struct {
	uint64_t dirty[WORDS], hole[WORDS], pinned[WORDS];
	struct drover_harvest h;
} news;

static int harvest(unsigned int flags)
{
	memset(&news, 0, sizeof(news));
	news.h = (struct drover_harvest){
		.size = sizeof(news.h), .flags = flags, .npages = PAGES,
		.dirty = (uintptr_t)news.dirty, .hole = (uintptr_t)news.hole,
		.pinned = (uintptr_t)news.pinned,
	};
	return ioctl(g.at, DROVER_IOC_HARVEST, &news.h) < 0 ? -errno : 0;
}

static bool in(const uint64_t *map, unsigned int page)
{
	return map[page / 64] >> (page % 64) & 1;
}

static int attach(int fd)
{
	struct drover_attach a = { .size = sizeof(a), .fd = fd };

	int r = ioctl(g.dev, DROVER_IOC_ATTACH, &a);

	return r < 0 ? -errno : r;
}

static int arm(int at)
{
	struct drover_arm a = { .size = sizeof(a) };

	return ioctl(at, DROVER_IOC_ARM, &a) < 0 ? -errno : 0;
}

static uint8_t *map_file(int fd, int prot, int flags)
{
	uint8_t *p = mmap(NULL, PAGES * PAGE, prot, flags, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* A new file with content, watched. */
static void begin(void)
{
	g.fd = memfd_create("attach-test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (g.fd < 0 || ftruncate(g.fd, PAGES * PAGE) < 0)
		exit(1);
	g.map = map_file(g.fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	g.other = map_file(g.fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	memset(g.map, 1, PAGES * PAGE);
	g.at = attach(g.fd);
	if (g.at < 0 || arm(g.at) < 0) {
		printf("# attach: %s\n", strerror(g.at < 0 ? -g.at : errno));
		exit(1);
	}
}

static void end(void)
{
	close(g.at);
	munmap(g.map, PAGES * PAGE);
	munmap(g.other, PAGES * PAGE);
	close(g.fd);
}

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

	for (i = 0; i < sizeof(writers) / sizeof(writers[0]); i++) {
		page = 100 + i * 10;
		r = harvest(0);
		writers[i].write(page);
		r = r ? r : harvest(0);
		ok(!r && in(news.dirty, page) && news.h.ndirty <= 2 && !news.h.nhole,
		   "writer: %s: seen, %llu pages reported", writers[i].name,
		   (unsigned long long)news.h.ndirty);
		r = harvest(0);
		ok(!r && !news.h.ndirty, "writer: %s: once", writers[i].name);
	}
	priv[7 * PAGE] = 1;
	harvest(0);
	ok(!news.h.ndirty && ro[7 * PAGE] == 1, "a private copy is not the file");
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
	ok(!r && in(news.hole, 10) && in(news.hole, 12) && news.h.nhole == 3, "punched: %llu holes",
	   (unsigned long long)news.h.nhole);
	ok(!harvest(0) && !news.h.nhole, "told once");
	fallocate(g.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 20 * PAGE, PAGE);
	c = g.map[20 * PAGE];
	harvest(0);
	ok(!c && in(news.hole, 20), "punched and read again: a hole");
	fallocate(g.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 30 * PAGE, PAGE);
	g.map[30 * PAGE] = 1;
	harvest(0);
	ok(in(news.hole, 30) && in(news.dirty, 30), "punched and written: both");
	g.map[10 * PAGE] = 1;
	harvest(0);
	ok(in(news.dirty, 10), "a store into a hole, made after arm");
	harvest(0);
	ok(pwrite(g.fd, "x", 1, 11 * PAGE) == 1 && !harvest(0) && in(news.dirty, 11),
	   "pwrite into a hole that nobody maps");
	madvise(g.map + 40 * PAGE, PAGE, MADV_REMOVE);
	harvest(0);
	ok(in(news.hole, 40), "MADV_REMOVE");
	end();
}

static void test_pinned(void)
{
	struct io_uring_params p = { 0 };
	int fd = (int)syscall(__NR_io_uring_setup, 4, &p);
	struct iovec v;

	begin();
	v = (struct iovec){ g.map + 50 * PAGE, PAGE };
	ok(!harvest(DROVER_HARVEST_FINAL) && !in(news.pinned, 50), "nobody holds page 50");
	if (ok(fd >= 0 && !syscall(__NR_io_uring_register, fd, IORING_REGISTER_BUFFERS, &v, 1),
	       "a registered buffer"))
		ok(!harvest(DROVER_HARVEST_FINAL) && in(news.pinned, 50) && news.h.npinned == 1,
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
	ok(!missed && !extra, "exact: 40 rounds of 100 writes: %u missed, %u extra", missed, extra);
	end();
}

/* ---- race: writers against harvests, a shadow made of what was reported ---- */

static void write_on(uint8_t *map, atomic_bool *stop, unsigned int off, uint64_t s)
{
	while (!atomic_load_explicit(stop, memory_order_relaxed)) {
		s ^= s << 13;
		s ^= s >> 7;
		s ^= s << 17;
		++*(uint64_t *)(map + (s % PAGES) * PAGE + off);
	}
}

static unsigned int copy_news(uint8_t *shadow)
{
	unsigned int i, n = 0;

	for (i = 0; i < PAGES; i++)
		if (in(news.dirty, i) || in(news.hole, i)) {
			memcpy(shadow + i * PAGE, g.other + i * PAGE, PAGE);
			n++;
		}
	return n;
}

static void test_race(const char *name, bool writers_exit, bool churn)
{
	atomic_bool *stop = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
				 -1, 0);
	uint8_t *shadow = malloc(PAGES * PAGE);
	unsigned int i, lost = 0, rounds = 0;
	struct timespec t0, t;
	pid_t pid[3] = { 0 };

	begin();
	memcpy(shadow, g.map, PAGES * PAGE);
	for (i = 0; i < 2; i++) {
		pid[i] = fork();
		if (!pid[i]) {
			while (churn && !atomic_load(stop)) {
				/* short lives: the bits move from entries to folios all the time */
				atomic_bool now;
				uint8_t *m = map_file(g.fd, PROT_READ | PROT_WRITE, MAP_SHARED);
				unsigned int k;

				atomic_init(&now, false);
				for (k = 0; k < 200; k++) {
					uint64_t s = seed * (i + 2) + k;

					seed = s * 6364136223846793005ull + 1442695040888963407ull;
					++*(uint64_t *)(m + (seed >> 33) % PAGES * PAGE + 8 * i);
				}
				munmap(m, PAGES * PAGE);
			}
			if (!churn)
				write_on(g.map, stop, 8 * i, seed + i + 1);
			if (!writers_exit)
				pause();
			_exit(0);
		}
	}
	clock_gettime(CLOCK_MONOTONIC, &t0);
	do {
		if (harvest(0) < 0)
			lost++;
		copy_news(shadow);
		rounds++;
		clock_gettime(CLOCK_MONOTONIC, &t);
	} while (t.tv_sec - t0.tv_sec < 2);
	atomic_store(stop, true);
	for (i = 0; i < 2; i++) {
		if (writers_exit) {
			waitpid(pid[i], NULL, 0);
		} else {
			usleep(300000);
		}
	}
	harvest(DROVER_HARVEST_FINAL);
	copy_news(shadow);
	for (i = 0; i < PAGES; i++)
		lost += memcmp(shadow + i * PAGE, g.other + i * PAGE, PAGE) != 0;
	harvest(DROVER_HARVEST_FINAL);
	ok(!lost && !news.h.ndirty, "race: %s: %u harvests, %u pages lost, %llu late", name, rounds,
	   lost, (unsigned long long)news.h.ndirty);
	for (i = 0; i < 2; i++)
		if (!writers_exit) {
			kill(pid[i], SIGKILL);
			waitpid(pid[i], NULL, 0);
		}
	end();
	free(shadow);
	munmap(stop, PAGE);
}

/* ---- nothing of the guest is lost ---- */

static unsigned int unequal(int fd, uint8_t value)
{
	unsigned int i, n = 0;
	uint8_t c;

	for (i = 0; i < PAGES; i++)
		n += pread(fd, &c, 1, (off_t)i * PAGE) != 1 || c != value;
	return n;
}

static void drop_caches(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);

	if (write(fd, "3", 1) != 1)
		perror("drop_caches");
	close(fd);
}

static void test_content(void)
{
	int fd;

	begin();
	munmap(g.map, PAGES * PAGE);
	munmap(g.other, PAGES * PAGE);
	harvest(0);
	drop_caches();
	ok(!unequal(g.fd, 1), "drop_caches while watched and not mapped: content is there");
	fd = g.fd;
	close(g.at);
	drop_caches();
	ok(!unequal(fd, 1), "and after disarm");
	close(fd);
}

static void test_holder_dies(void)
{
	int fd = memfd_create("dies", MFD_CLOEXEC), at, s[2], step;
	uint8_t *m;

	if (ftruncate(fd, PAGES * PAGE) < 0 || pipe(s) < 0)
		exit(1);
	m = map_file(fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	for (step = 0; step < 3; step++) {
		pid_t pid;

		memset(m, 10 + step, PAGES * PAGE);
		pid = fork();
		if (!pid) {
			at = attach(fd);
			if (step > 0)
				arm(at);
			g.at = at;
			if (step > 1)
				harvest(0);
			if (write(s[1], "r", 1) == 1)
				pause();
			_exit(0);
		}
		char c;

		if (read(s[0], &c, 1) != 1)
			exit(1);
		ok(attach(fd) == -EBUSY, "step %d: somebody else's attach is refused", step);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		munmap(m, PAGES * PAGE);
		drop_caches();
		ok(!unequal(fd, (uint8_t)(10 + step)), "step %d: killed, nothing is lost", step);
		at = attach(fd);
		ok(at >= 0 && !arm(at), "step %d: and it can be watched again", step);
		close(at);
		m = map_file(fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	}
	close(fd);
}

static void test_refusals(void)
{
	struct drover_set_dirty sd = { .size = sizeof(sd), .first = 64, .npages = 64 };
	int fd = memfd_create("sealed", MFD_ALLOW_SEALING), huge, ro, r;
	uint64_t bits = 1ull << 5 | 1ull << 63;
	char path[64];

	if (ftruncate(fd, PAGE) < 0)
		exit(1);
	fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);
	r = attach(fd);
	ok(r >= 0, "sealed against shrinking and growing: welcome");
	ok(ioctl(r, DROVER_IOC_HARVEST, &(struct drover_harvest){ .size = sizeof(news.h),
	   .npages = 1, .dirty = (uintptr_t)news.dirty }) < 0 && errno == ENXIO, "not armed: ENXIO");
	ok(!arm(r) && arm(r) == -EALREADY, "armed twice: EALREADY");
	close(r);
	fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE);
	ok(attach(fd) == -EPERM, "sealed against writing: EPERM");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ro = open(path, O_RDONLY);
	ok(attach(ro) == -EBADF, "read-only: EBADF");
	ok(attach(-1) == -EBADF && attach(9999) == -EBADF, "no descriptor: EBADF");
	ok(attach(g.dev) == -ENODEV, "a device: ENODEV");
	r = open("/proc/sys/vm/drop_caches", O_WRONLY);
	ok(attach(r) == -ENODEV, "a file that is not shmem: ENODEV");
	close(r);
	huge = memfd_create("huge", MFD_HUGETLB);
	ok(huge >= 0 && attach(huge) == -EMEDIUMTYPE, "hugetlb: EMEDIUMTYPE");
	close(huge);
	close(ro);
	close(fd);
	fd = memfd_create("empty", 0);
	ok(attach(fd) == -EINVAL, "empty: EINVAL");
	close(fd);
	begin();
	harvest(0);
	sd.bitmap = (uintptr_t)&bits;
	ok(!ioctl(g.at, DROVER_IOC_SET_DIRTY, &sd) && !harvest(0) && in(news.dirty, 69) &&
	   in(news.dirty, 127) && news.h.ndirty == 2, "SET_DIRTY: bits come back");
	g.map[9 * PAGE] = 77;
	news.h.dirty = 8;
	ok(ioctl(g.at, DROVER_IOC_HARVEST, &news.h) < 0 && errno == EFAULT && !news.h.done &&
	   !harvest(0) && in(news.dirty, 9), "EFAULT: the bits are in the next one");
	end();
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	g.dev = open("/dev/drover", O_RDWR | O_CLOEXEC);
	if (g.dev < 0) {
		perror("/dev/drover");
		return 1;
	}
	test_refusals();
	test_writers();
	test_holes();
	test_pinned();
	test_exact();
	test_race("two writers", false, false);
	test_race("writers exit before the final harvest", true, false);
	test_race("mappings come and go", true, true);
	test_content();
	test_holder_dies();
	printf("1..%u\n", count);
	return bad != 0;
}
