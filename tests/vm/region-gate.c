// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The gate of a region: each way to touch an unpublished page waits or fails as promised,
 * a publish wakes, neighbours are not mapped along, and the loader's death is survived.
 * timeout: 60
 * control: 16 fault-around: one page is published
 * control: 32 shmem_enabled=force: one page is published
 * control: 64 loader: both requests are read again
 * control: 128 closed: what is unpublished is unmapped
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <poll.h>
#include <linux/io_uring.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "kselftest.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

#define PAGES 1024u
#define PAGE 4096u

static struct {
	int dev, vm, loader;
	uint64_t id;
	uint8_t *gated, *plain;
} g;

/* Where the kernel could map a huge page. */
static void *map_of(int fd)
{
	size_t huge = 2u << 20, len = PAGES * PAGE;
	uint8_t *room = mmap(NULL, len + huge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t *at = (uint8_t *)(((uintptr_t)room + huge - 1) & ~(huge - 1));
	void *p;

	if (room == MAP_FAILED)
		return NULL;
	munmap(room, (size_t)(at - room));
	munmap(at + len, huge - (size_t)(at - room));
	p = mmap(at, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void begin(uint32_t flags, uint64_t grace)
{
	struct drover_region r = { .size = sizeof(r), .flags = flags, .bytes = PAGES * PAGE,
				   .grace_ms = grace };

	if (ioctl(g.dev, DROVER_IOC_REGION, &r) < 0)
		ksft_die("region");
	g.vm = r.vm_fd;
	g.loader = r.loader_fd;
	g.id = r.id;
	g.gated = map_of(g.vm);
	g.plain = map_of(g.loader);
	if (!g.gated || !g.plain)
		ksft_die("mmap");
}

static void end(void)
{
	munmap(g.gated, PAGES * PAGE);
	munmap(g.plain, PAGES * PAGE);
	close(g.vm);
	close(g.loader);
}

static long publish(unsigned int first, unsigned int n, uint32_t flags)
{
	struct drover_range range = { first, n };
	struct drover_publish p = { .size = sizeof(p), .flags = flags,
				    .ranges = (uintptr_t)&range, .nranges = 1 };

	return ioctl(g.loader, DROVER_IOC_PUBLISH, &p) < 0 ? -errno : (long)p.woken;
}

static int gate(uint32_t flags)
{
	struct drover_gate a = { .size = sizeof(a), .flags = flags };

	return ioctl(g.loader, DROVER_IOC_GATE, &a) < 0 ? -errno : 0;
}

/* Requests that are there now, or come within @ms. */
static int requests(struct drover_request *q, int n, int ms)
{
	struct pollfd p = { .fd = g.loader, .events = POLLIN };
	ssize_t r = poll(&p, 1, ms * (int)ksft_scale());

	if (r <= 0)
		return (int)r;
	r = read(g.loader, q, sizeof(*q) * (size_t)n);
	return r < 0 ? -errno : (int)(r / (ssize_t)sizeof(*q));
}

/* Did it take less than a second since @t0? What must not wait waits for ever otherwise. */
static bool soon(uint64_t t0)
{
	return ksft_ns() - t0 < 1000000000ull * ksft_scale();
}

/* ---- threads that touch ---- */

struct toucher {
	pthread_t thread;
	int (*fn)(unsigned int page);
	unsigned int page;
	atomic_int tid;
	atomic_bool done;
	int ret;
};

static void *touch(void *arg)
{
	struct toucher *t = arg;

	atomic_store(&t->tid, (int)syscall(SYS_gettid));
	t->ret = t->fn(t->page);
	atomic_store(&t->done, true);
	return NULL;
}

static void start(struct toucher *t, int (*fn)(unsigned int page), unsigned int page)
{
	*t = (struct toucher){ .fn = fn, .page = page };
	if (pthread_create(&t->thread, NULL, touch, t))
		ksft_die("thread");
}

static int join(struct toucher *t)
{
	pthread_join(t->thread, NULL);
	return t->ret;
}

static int t_load(unsigned int page)
{
	return *(volatile uint8_t *)(g.gated + page * PAGE);
}

static int t_store(unsigned int page)
{
	*(volatile uint8_t *)(g.gated + page * PAGE + 1) = 9;
	return g.gated[page * PAGE];
}

static int t_write(unsigned int page)
{
	int s[2], r;

	if (pipe(s) < 0)
		return -errno;
	r = (int)write(s[1], g.gated + page * PAGE, 100);
	close(s[0]);
	close(s[1]);
	return r;
}

static int t_read(unsigned int page)
{
	int fd = open("/proc/self/maps", O_RDONLY);
	int r = (int)read(fd, g.gated + page * PAGE, 100);

	close(fd);
	return r;
}

static int t_vm_readv(unsigned int page)
{
	uint8_t buf[100];
	struct iovec to = { buf, 100 }, from = { g.gated + page * PAGE, 100 };

	return (int)process_vm_readv(getpid(), &to, 1, &from, 1, 0);
}

static int t_populate(unsigned int page)
{
	return madvise(g.gated + page * PAGE, PAGE, MADV_POPULATE_READ) < 0 ? -errno : 0;
}

static const struct {
	const char *name;
	int (*fn)(unsigned int page);
	int want;
} touchers[] = {
	{ "load", t_load, 7 },
	{ "store", t_store, 7 },
	{ "write() from it", t_write, 100 },
	{ "read() into it", t_read, 100 },
	{ "process_vm_readv()", t_vm_readv, 100 },
	{ "MADV_POPULATE_READ", t_populate, 0 },
};

static void test_block(void)
{
	struct drover_request q[4];
	struct toucher t;
	unsigned int i;
	int n;

	begin(DROVER_REGION_GATED, 0);
	for (i = 0; i < KSFT_SIZE(touchers); i++) {
		unsigned int page = 10 + i * 20;

		start(&t, touchers[i].fn, page);
		n = requests(q, 4, 2000);
		ksft_ok(n == 1 && q[0].page == page && q[0].pid == (uint32_t)atomic_load(&t.tid) &&
			!!(q[0].flags & DROVER_REQUEST_WRITE) == (i == 1 || i == 3),
			"gate: %s: asked for once, by that thread", touchers[i].name);
		ksft_msleep(20);
		ksft_ok(!atomic_load(&t.done), "gate: %s: waits", touchers[i].name);
		g.plain[page * PAGE] = 7;
		ksft_ok(publish(page, 1, 0) == 1, "gate: %s: one waiter is woken", touchers[i].name);
		n = join(&t);
		ksft_ok(n == touchers[i].want, "gate: %s: goes on (%d)", touchers[i].name, n);
	}
	ksft_ok(requests(q, 4, 0) == 0, "gate: nothing else was asked for");
	end();
}

/* ---- where nobody may sleep ---- */

static int ring;

static int t_register(unsigned int page)
{
	struct iovec v = { g.gated + page * PAGE, PAGE };

	return syscall(__NR_io_uring_register, ring, IORING_REGISTER_BUFFERS, &v, 1) ? -errno : 0;
}

/*
 * Linux 6.1 can't wait here, and refuses what is not shmem to it. Later kernels wait, as in
 * any other call, and take it then.
 */
static void test_register(void)
{
	struct toucher t;
	bool waits;
	int r;

	start(&t, t_register, 5);
	ksft_msleep(300 * ksft_scale());
	waits = !atomic_load(&t.done);
	ksft_ok(waits || t.ret == -EFAULT, "io_uring register_buffers: %s",
		waits ? "waits" : "EFAULT at once");
	g.plain[5 * PAGE] = 7;
	publish(5, 1, 0);
	r = join(&t);
	if (!waits)
		r = t_register(5);
	ksft_ok(waits ? !r : r == -EOPNOTSUPP, "io_uring register_buffers, published: %s",
		waits ? "goes on" : "refused, a gated mapping is no fixed buffer");
	if (!r)
		syscall(__NR_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, NULL, 0);
}

static void test_refused(void)
{
	struct io_uring_params p = { 0 };
	int fd = open("/proc/self/mem", O_RDONLY);
	struct iovec v;
	uint8_t c;

	ring = (int)syscall(__NR_io_uring_setup, 4, &p);
	begin(DROVER_REGION_GATED, 0);
	ksft_errno(pread(fd, &c, 1, (off_t)(uintptr_t)g.gated), EIO, "/proc/PID/mem: EIO at once");
	test_register();
	v = (struct iovec){ g.plain + 5 * PAGE, PAGE };
	ksft_ok(!syscall(__NR_io_uring_register, ring, IORING_REGISTER_BUFFERS, &v, 1),
		"the loader's mapping is a fixed buffer");
	close(ring);
	close(fd);
	end();
}

/* ---- neighbours ---- */

static unsigned int mapped(unsigned int first, unsigned int n)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	unsigned int i, sum = 0;
	uint64_t e;

	for (i = first; i < first + n; i++)
		if (pread(fd, &e, 8, (off_t)((uintptr_t)g.gated / PAGE + i) * 8) == 8)
			sum += e >> 63;
	close(fd);
	return sum;
}

static void thp(const char *how)
{
	int fd = open("/sys/kernel/mm/transparent_hugepage/shmem_enabled", O_WRONLY);

	if (fd < 0 || write(fd, how, strlen(how)) < 0)
		ksft_die("shmem_enabled");
	close(fd);
}

static void one_page(const char *name)
{
	int n;

	begin(DROVER_REGION_GATED, 0);
	memset(g.plain, 3, PAGES * PAGE);
	publish(520, 1, 0);
	n = t_load(520);
	ksft_ok(n == 3 && mapped(0, PAGES) == 1, "%s: one page is published: %u mapped", name,
		mapped(0, PAGES));
	publish(530, 6, 0);
	ksft_ok(t_load(532) == 3 && mapped(0, PAGES) <= 7 && mapped(530, 6) >= 1,
		"%s: six more: only they are mapped along (%u)", name, mapped(530, 6));
	end();
}

static void test_neighbours(void)
{
	one_page("fault-around");
	thp("always");
	one_page("shmem_enabled=always");
	thp("force");
	one_page("shmem_enabled=force");
	thp("never");
}

/* ---- signals and death ---- */

static atomic_int signals;

static void on_signal(int sig)
{
	atomic_fetch_add(&signals, sig == SIGUSR1);
}

static void test_signals(void)
{
	struct sigaction sa = { .sa_handler = on_signal };
	struct drover_request q[4];
	uint64_t t0;
	struct toucher t;
	pid_t pid;
	void *p;

	begin(DROVER_REGION_GATED, 0);
	sigaction(SIGUSR1, &sa, NULL);
	start(&t, t_load, 3);
	ksft_ok(requests(q, 4, 2000) == 1, "signals: a thread waits");
	t0 = ksft_ns();
	p = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ksft_ok(p != MAP_FAILED && soon(t0),
		"signals: mmap_lock is free: mmap() goes on");
	pthread_kill(t.thread, SIGUSR1);
	ksft_msleep(200);
	ksft_ok(atomic_load(&signals) == 1 && !atomic_load(&t.done),
		"signals: the handler runs while it waits");
	ksft_ok(requests(q, 4, 50) == 0, "signals: it does not ask twice");
	publish(3, 1, 0);
	ksft_ok(join(&t) == 0, "signals: the fault goes on");
	pid = fork();
	if (!pid) {
		t_load(4);
		_exit(0);
	}
	ksft_ok(requests(q, 4, 2000) == 1 && q[0].page == 4, "signals: another process waits");
	t0 = ksft_ns();
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	ksft_ok(soon(t0), "signals: SIGKILL ends it at once");
	ksft_ok(publish(4, 1, 0) == 0, "signals: nobody is left to be woken");
	end();
}

static void test_gate(void)
{
	struct drover_request q[4];
	struct toucher t;

	begin(0, 0);
	memset(g.plain, 5, PAGES * PAGE);
	ksft_ok(t_load(1) == 5, "open: a load goes on");
	publish(1, 1, 0);
	ksft_ok(t_load(100) == 5 && mapped(100, 1) == 1, "open: mapped");
	ksft_ok(!gate(DROVER_GATE_CLOSED) && mapped(100, 1) == 0, "closed: what is unpublished is unmapped");
	ksft_ok(t_load(1) == 5, "closed: what was published is there");
	start(&t, t_load, 100);
	ksft_ok(requests(q, 4, 2000) == 1 && q[0].page == 100, "closed: a load waits");
	ksft_ok(!gate(0) && join(&t) == 5, "opened: it goes on");
	end();
}

static uint64_t received(void)
{
	uint64_t map[PAGES / 64];
	struct drover_received r = { .size = sizeof(r), .npages = PAGES, .bitmap = (uintptr_t)map };

	return ioctl(g.loader, DROVER_IOC_RECEIVED, &r) < 0 ? ~0ull : r.count;
}

/* A second attempt on the same region. */
static void test_fresh(void)
{
	struct drover_request q[4];
	struct toucher t, u;

	begin(DROVER_REGION_GATED, 0);
	memset(g.plain, 5, PAGES * PAGE);
	publish(0, 64, 0);
	ksft_ok(t_load(1) == 5 && mapped(0, PAGES), "fresh: published pages are there");
	start(&t, t_load, 100);
	ksft_ok(requests(q, 4, 2000) == 1, "fresh: a load waits");
	ksft_ok(!gate(DROVER_GATE_CLOSED) && received() == 64, "fresh: closing again forgets nothing");
	ksft_ok(!gate(DROVER_GATE_CLOSED | DROVER_GATE_FRESH) && received() == 0 &&
		mapped(0, PAGES) == 0, "fresh: what was published is forgotten and unmapped");
	start(&u, t_load, 1);
	ksft_ok(requests(q, 4, 2000) == 1 && q[0].page == 1 && !atomic_load(&t.done),
		"fresh: it is waited for, and who waited before still does");
	ksft_ok(publish(1, 1, 0) == 1 && join(&u) == 5, "fresh: published, a load goes on");
	ksft_ok(publish(100, 1, 0) == 1 && join(&t) == 5, "fresh: and so does the one of before");
	ksft_ok(!gate(DROVER_GATE_FRESH) && received() == 0 && t_load(200) == 5,
		"fresh: opened, and nothing is published");
	end();
}

static void test_publish_zero(void)
{
	struct drover_received r = { .size = sizeof(r), .npages = PAGES };
	uint64_t map[PAGES / 64], i;
	struct toucher t;
	struct drover_request q[4];

	begin(DROVER_REGION_GATED, 0);
	memset(g.plain, 5, PAGES * PAGE);
	start(&t, t_load, 70);
	requests(q, 4, 2000);
	ksft_ok(publish(64, 64, DROVER_PUBLISH_ZERO) == 1 && join(&t) == 0, "publish-zero: reads as zero");
	ksft_ok(lseek(g.vm, 64 * PAGE, SEEK_HOLE) == 64 * PAGE || g.plain[65 * PAGE] == 0,
		"publish-zero: no memory is taken");
	r.bitmap = (uintptr_t)map;
	ksft_ok(!ioctl(g.loader, DROVER_IOC_RECEIVED, &r) && r.count == 64 && map[1] == ~0ull,
		"received: 64 pages");
	for (i = 0; i < PAGES / 64; i++)
		map[i] = i == 1 ? 0 : map[i];
	ksft_ok(!map[0] && !map[2] && !map[PAGES / 64 - 1], "received: and no others");
	ksft_errno(publish(PAGES - 1, 2, 0) < 0 ? (errno = EINVAL, -1) : 0, EINVAL, "publish: past the end");
	ksft_ok(!fallocate(g.vm, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 64 * PAGE, PAGE) &&
		t_load(64) == 0, "a balloon punches a published page: it reads as zero");
	ksft_errno(ftruncate(g.vm, PAGE), EPERM, "its size is sealed");
	ksft_errno(pread(g.vm, map, 8, 0), EINVAL, "no read() around the gate");
	ksft_errno(pwrite(g.vm, map, 8, 0), EINVAL, "no write() around the gate");
	ksft_ok(lseek(g.vm, 0, SEEK_END) == PAGES * PAGE, "llseek gives the size");
	end();
}

static int adopt(void)
{
	struct drover_adopt a = { .size = sizeof(a), .id = g.id };
	int r = ioctl(g.dev, DROVER_IOC_ADOPT, &a);

	return r < 0 ? -errno : r;
}

static sigjmp_buf back;

static void on_bus(int sig)
{
	siglongjmp(back, sig);
}

static int t_bus(unsigned int page)
{
	if (sigsetjmp(back, 1))
		return -SIGBUS;
	return t_load(page);
}

static void test_loader_dies(void)
{
	struct drover_request q[4];
	struct toucher t, u;
	int n;

	begin(DROVER_REGION_GATED, 0);
	ksft_ok(adopt() == -EBUSY, "loader: there is one: EBUSY");
	start(&t, t_load, 11);
	n = requests(q, 4, 2000);
	munmap(g.plain, PAGES * PAGE);
	close(g.loader);
	start(&u, t_load, 12);
	ksft_msleep(100);
	ksft_ok(n == 1 && !atomic_load(&t.done) && !atomic_load(&u.done),
		"loader: it is gone, waiters go on waiting");
	g.loader = adopt();
	g.plain = g.loader >= 0 ? map_of(g.loader) : NULL;
	ksft_ok(g.loader >= 0 && g.plain, "loader: adopted");
	n = requests(q, 4, 2000);
	n = n == 1 ? n + requests(q + 1, 3, 2000) : n;
	ksft_ok(n == 2 && q[0].page + q[1].page == 23, "loader: both requests are read again");
	g.plain[11 * PAGE] = 1;
	g.plain[12 * PAGE] = 2;
	publish(11, 2, 0);
	ksft_ok(join(&t) == 1 && join(&u) == 2, "loader: both go on");
	end();

	signal(SIGBUS, on_bus);
	begin(DROVER_REGION_GATED, 100);
	start(&t, t_bus, 11);
	requests(q, 4, 2000);
	munmap(g.plain, PAGES * PAGE);
	g.plain = map_of(g.vm);
	close(g.loader);
	ksft_ok(join(&t) == -SIGBUS, "loader: with a grace of 100 ms: SIGBUS after it");
	ksft_ok(adopt() == -EOWNERDEAD, "loader: too late to adopt: EOWNERDEAD");
	ksft_ok(t_bus(12) == -SIGBUS, "loader: and for who comes later");
	g.loader = -1;
	end();
	ksft_ok(adopt() == -ENOENT, "loader: the region has ended: ENOENT");
	signal(SIGBUS, SIG_DFL);
}

/* An attach of a region sees who writes, by either descriptor. */
static void test_attach(void)
{
	struct drover_attach a = { .size = sizeof(a) };
	struct drover_arm arm = { .size = sizeof(arm) };
	uint64_t map[PAGES / 64] = { 0 };
	struct drover_harvest h = { .size = sizeof(h), .npages = PAGES, .dirty = (uintptr_t)map };
	int at;

	begin(0, 0);
	memset(g.plain, 1, PAGES * PAGE);
	a.fd = g.loader;
	at = ioctl(g.dev, DROVER_IOC_ATTACH, &a);
	ksft_ok(at >= 0 && a.pages == PAGES && !ioctl(at, DROVER_IOC_ARM, &arm),
		"attach: by the loader's descriptor");
	a.fd = g.vm;
	ksft_errno(ioctl(g.dev, DROVER_IOC_ATTACH, &a), EBUSY, "attach: by the other one it is the same");
	ioctl(at, DROVER_IOC_HARVEST, &h);
	memset(map, 0, sizeof(map));
	g.gated[100 * PAGE] = 2;
	g.plain[200 * PAGE] = 2;
	ksft_ok(!ioctl(at, DROVER_IOC_HARVEST, &h) && h.ndirty == 2 && map[1] >> 36 & 1 &&
		map[3] >> 8 & 1, "attach: stores through both mappings");
	close(at);
	end();
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	g.dev = ksft_device();
	test_block();
	test_refused();
	test_neighbours();
	test_signals();
	test_gate();
	test_fresh();
	test_publish_zero();
	test_loader_dies();
	test_attach();
	return ksft_end();
}
