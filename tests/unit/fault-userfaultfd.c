// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The fault handler `userfaultfd`, with threads that really wait: who touches what has not
 * arrived is told once and gets what arrives, what arrived before is there without anybody
 * being told, holes read as zero, and a handler that is killed has lost nobody.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "base/clock.h"
#include "base/err.h"
#include "dev/uffd.h"
#include "fault/fault.h"
#include "tap.h"

#define PAGE DROVER_PAGE_SIZE
#define BLOCKS 2u
#define SERVERS 3u
#define TOUCHERS 4u

static const uint64_t npages[BLOCKS] = { 1500, 70 };
static const struct drover_fault_ops *const ops = &drover_fault_userfaultfd;

/**
 * struct vmm - the VMM and droverd in one: what each of them has of the RAM
 * @map: the VMM's mapping
 * @armed: times the VMM was asked to drop its entries
 */
struct vmm {
	struct drover_ram ram;
	struct drover_fault_source src;
	uint8_t *map[BLOCKS];
	atomic_uint armed;
};

static void nap_ms(unsigned int ms)
{
	const struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000l };

	nanosleep(&t, NULL);
}

static void *shared(size_t len, int fd, off_t off)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_SHARED | (fd < 0 ? MAP_ANONYMOUS : 0), fd, off);

	if (p == MAP_FAILED)
		abort();
	return p;
}

static int vmm_arm(void *opaque, struct drover_error *e)
{
	struct vmm *v = opaque;
	unsigned int b;
	uint64_t p;

	for (b = 0; b < BLOCKS; b++)
		for (p = 0; p < npages[b]; p++)
			if (!drover_bit_test(v->src.received[b], p) &&
			    madvise(v->map[b] + p * PAGE, PAGE, MADV_DONTNEED) < 0)
				return drover_err(e, -errno, "madvise");
	atomic_fetch_add(&v->armed, 1);
	return 0;
}

static struct vmm *vmm_new(void)
{
	struct vmm *v = shared(sizeof(*v), -1, 0);
	unsigned int b;

	v->ram.n = BLOCKS;
	for (b = 0; b < BLOCKS; b++) {
		struct drover_ram_block *r = &v->ram.block[b];

		snprintf(r->name, sizeof(r->name), "ram%u", b);
		r->size = npages[b] * PAGE;
		r->fd_off = b * 5 * PAGE;
		r->fd = memfd_create("unit", MFD_CLOEXEC);
		if (r->fd < 0 || ftruncate(r->fd, (off_t)(r->fd_off + r->size)) < 0)
			abort();
		r->host = shared(r->size, r->fd, (off_t)r->fd_off);
		v->map[b] = shared(r->size, r->fd, (off_t)r->fd_off);
		v->src.base[b] = (uintptr_t)v->map[b];
		v->src.received[b] = shared(PAGE, -1, 0);
	}
	v->src.ram = &v->ram;
	v->src.arm = vmm_arm;
	v->src.opaque = v;
	if (drover_uffd_new(DROVER_UFFD_FEATURES, &v->src.uffd, NULL, NULL) < 0)
		v->src.uffd = -1;
	return v;
}

static void vmm_end(struct vmm *v)
{
	unsigned int b;

	for (b = 0; b < BLOCKS; b++) {
		munmap(v->map[b], v->ram.block[b].size);
		munmap(v->ram.block[b].host, v->ram.block[b].size);
		munmap(v->src.received[b], PAGE);
		close(v->ram.block[b].fd);
	}
	close(v->src.uffd);
	munmap(v, sizeof(*v));
}

static uint8_t content(unsigned int block, uint64_t page)
{
	return (uint8_t)(block * 100 + page % 99 + 1);
}

static void fill(struct vmm *v, unsigned int block, uint64_t page, uint64_t n)
{
	for (; n; n--, page++)
		memset(v->ram.block[block].host + page * PAGE, content(block, page), PAGE);
}

static int publish(void *h, unsigned int block, uint64_t page, uint64_t n, bool zero)
{
	struct drover_error e = DROVER_ERROR_INIT;
	int r = ops->publish(h, &(struct drover_ram_run){ block, page, n }, 1, zero, &e);

	if (r < 0)
		tap_diag("%s", e.msg);
	return r;
}

static void *start(struct vmm *v)
{
	struct drover_error e = DROVER_ERROR_INIT;
	void *h = NULL;

	if (ops->start(&v->src, &h, &e) < 0) {
		tap_ok(false, "start: %s", e.msg);
		exit(1);
	}
	return h;
}

/* Faults that are there now, or come within @ms. */
static int faults(void *h, struct drover_fault *f, unsigned int max, int ms)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct pollfd p = { .events = POLLIN };
	int r;

	if (ops->fds(h, &p.fd, 1) != 1 || poll(&p, 1, ms) < 0)
		return -1;
	r = ops->next(h, f, max, &e);
	if (r < 0)
		tap_diag("%s", e.msg);
	return r;
}

static uint64_t mapped(struct vmm *v, unsigned int block, uint64_t first, uint64_t n)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t e, sum = 0;

	for (; n; n--, first++)
		if (pread(fd, &e, 8, (off_t)((uintptr_t)v->map[block] / PAGE + first) * 8) == 8)
			sum += e >> 63;
	close(fd);
	return sum;
}

/* ---- threads that touch ---- */

struct toucher {
	pthread_t thread;
	const volatile uint8_t *at;
	bool write;
	atomic_int tid;
	atomic_bool done;
	uint8_t got;
};

static void *touch(void *arg)
{
	struct toucher *t = arg;

	atomic_store(&t->tid, (int)syscall(SYS_gettid));
	if (t->write)
		*(volatile uint8_t *)(uintptr_t)(t->at + 1) = 0xee;
	t->got = *t->at;
	atomic_store(&t->done, true);
	return NULL;
}

static void touch_begin(struct toucher *t, struct vmm *v, unsigned int block, uint64_t page,
			bool write)
{
	*t = (struct toucher){ .at = v->map[block] + page * PAGE, .write = write };
	if (pthread_create(&t->thread, NULL, touch, t))
		abort();
}

static uint8_t touch_end(struct toucher *t)
{
	pthread_join(t->thread, NULL);
	return t->got;
}

/* ---- is it usable ---- */

static int no_arm(void *opaque, struct drover_error *e)
{
	(void)opaque;
	return drover_err(e, -EIO, "the VMM says no");
}

static void test_probe(struct vmm *v)
{
	char report[DROVER_FAULT_REPORT_MAX], why[256];
	struct drover_fault_source bad = v->src;
	struct drover_error e = DROVER_ERROR_INIT;
	const struct drover_fault_ops *got;
	void *h = NULL;

	got = drover_fault_select(&v->src, "auto", report, &e);
	tap_ok(got == ops && strstr(report, "kmod: ") && strstr(report, "userfaultfd: keeps"),
	       "auto: %s", report);
	tap_ok(drover_fault_select(&v->src, "userfaultfd", report, &e) == ops, "by name: %s", report);
	bad.uffd = -1;
	tap_ok(!ops->probe(&bad, why, sizeof(why)) && strstr(why, "no userfaultfd"), "%s", why);
	bad = v->src;
	bad.arm = NULL;
	tap_ok(!ops->probe(&bad, why, sizeof(why)) && strstr(why, "ARM_FAULTS"), "%s", why);
	bad = v->src;
	bad.base[1] = 0;
	tap_ok(!ops->probe(&bad, why, sizeof(why)) && strstr(why, "ram1"), "%s", why);
	bad = v->src;
	drover_uffd_new(0, &bad.uffd, NULL, NULL);
	drover_uffd_register(v->src.uffd, v->src.base[1], PAGE, UFFDIO_REGISTER_MODE_MISSING);
	tap_ok(!ops->probe(&bad, why, sizeof(why)) && strstr(why, "another userfaultfd"), "%s", why);
	drover_uffd_unregister(v->src.uffd, v->src.base[1], PAGE);
	fcntl(bad.uffd, F_SETFL, 0);
	tap_ok(!ops->probe(&bad, why, sizeof(why)) && strstr(why, "O_NONBLOCK"), "%s", why);
	close(bad.uffd);
	bad = v->src;
	bad.arm = no_arm;
	tap_ok(ops->start(&bad, &h, &e) == -EIO && strstr(e.msg, "arm: the VMM says no") && !h,
	       "%s", e.msg);
	tap_ok(v->map[0][0] == 0, "and nobody waits");
}

/* ---- one after the other ---- */

static void test_missing(struct vmm *v, void *h)
{
	struct toucher t, u, w;
	struct drover_fault f[8];
	int n;

	touch_begin(&t, v, 1, 3, true);
	n = faults(h, f, 8, 2000);
	tap_ok(n == 1 && f[0].block == 1 && f[0].page == 3 && f[0].write && f[0].time_ns &&
	       f[0].pid == atomic_load(&t.tid), "a store into a missing page: told, of that thread");
	touch_begin(&u, v, 1, 3, false);
	tap_ok(faults(h, f, 8, 100) == 0, "another toucher of the same page: not told again");
	touch_begin(&w, v, 0, 1499, false);
	tap_ok(faults(h, f, 8, 2000) == 1 && f[0].block == 0 && f[0].page == 1499 && !f[0].write,
	       "the last page of the other block: told");
	tap_ok(!atomic_load(&t.done) && !atomic_load(&u.done) && !atomic_load(&w.done), "all wait");
	fill(v, 1, 3, 1);
	tap_ok(!publish(h, 1, 3, 1, false) && touch_end(&t) == content(1, 3) &&
	       touch_end(&u) == content(1, 3) && v->ram.block[1].host[3 * PAGE + 1] == 0xee,
	       "published: both go on, and the store is in the file");
	tap_ok(!publish(h, 0, 1499, 1, true) && touch_end(&w) == 0, "published as zero: it goes on");
	tap_ok(drover_bit_test(v->src.received[1], 3) && drover_bit_test(v->src.received[0], 1499),
	       "both have their bits");
}

static void test_minor(struct vmm *v, void *h)
{
	struct drover_fault f[8];
	struct toucher t;

	/* Received by an earlier phase, and what an earlier copy has left. */
	touch_begin(&t, v, 0, 100, false);
	tap_ok(faults(h, f, 8, 1000) == 0 && touch_end(&t) == content(0, 100),
	       "a page that arrived before: nobody is told, it is there");
	tap_ok(mapped(v, 0, 0, 512) == 198, "and so are its neighbours that arrived (%llu)",
	       (unsigned long long)mapped(v, 0, 0, 512));
	touch_begin(&t, v, 0, 300, false);
	tap_ok(faults(h, f, 8, 2000) == 1 && f[0].page == 300 && !atomic_load(&t.done),
	       "a page with old content, without its bit: waits");
	fill(v, 0, 300, 1);
	tap_ok(!publish(h, 0, 300, 1, false) && touch_end(&t) == content(0, 300), "and gets the new one");
	touch_begin(&t, v, 0, 150, false);
	tap_ok(faults(h, f, 8, 1000) == 0 && touch_end(&t) == 0,
	       "a hole that arrived: reads as zero, nobody is told");
	madvise(v->map[0] + 100 * PAGE, PAGE, MADV_DONTNEED);
	touch_begin(&t, v, 0, 100, false);
	tap_ok(faults(h, f, 8, 1000) == 0 && touch_end(&t) == content(0, 100),
	       "dropped by the VMM, touched again: there");
	madvise(v->map[0] + 100 * PAGE, PAGE, MADV_REMOVE);
	touch_begin(&t, v, 0, 100, true);
	tap_ok(faults(h, f, 8, 1000) == 0 && touch_end(&t) == 0,
	       "given up to a balloon, touched again: zero");
}

static void test_publish(struct vmm *v, void *h)
{
	struct drover_ram_run bad[] = {
		{ BLOCKS, 0, 1 }, { 1, 70, 1 }, { 1, 69, 2 }, { 1, 0, 0 }, { 1, ~0ull, 2 },
		{ 1, 1, ~0ull },
	};
	struct drover_ram_run two[2] = { { 1, 20, 2 }, { 0, 1500, 1 } };
	struct drover_error e = DROVER_ERROR_INIT;
	unsigned int i, wrong = 0;
	struct stat before, after;
	uint64_t map[24] = { 0 };

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		wrong += ops->publish(h, &bad[i], 1, false, NULL) != -ERANGE ||
			 ops->publish(h, &bad[i], 1, true, NULL) != -ERANGE;
	tap_ok(!wrong, "runs that are not in a block are refused");
	tap_ok(ops->publish(h, two, 2, false, &e) == -ERANGE &&
	       !drover_bit_test(v->src.received[1], 20), "with a bad one none is published: %s",
	       e.msg);
	fill(v, 0, 600, 500);
	tap_ok(!publish(h, 0, 600, 500, false) && mapped(v, 0, 600, 500) == 500,
	       "a long run is mapped at once");
	tap_ok(!publish(h, 0, 590, 520, false), "once more, and some around");
	v->map[0][700 * PAGE] = 0x77;
	tap_ok(!publish(h, 0, 700, 1, false) && !publish(h, 0, 690, 30, true) &&
	       v->map[0][700 * PAGE] == 0x77, "as zero after the guest has written: it stays");
	fill(v, 0, 1200, 100);
	fstat(v->ram.block[0].fd, &before);
	tap_ok(!publish(h, 0, 1200, 100, true) && v->map[0] && !fstat(v->ram.block[0].fd, &after) &&
	       after.st_blocks == before.st_blocks - 100 * 8, "published as zero: its memory is free");
	tap_ok(!ops->received(h, 0, map, &e) && drover_bitmap_count_range(map, 1200, 100) == 100 &&
	       !drover_bit_test(map, 1300), "received() has them");
	tap_ok(ops->host(h, 1) == v->ram.block[1].host, "host() is droverd's mapping");
}

static void test_one(void)
{
	struct vmm *v = vmm_new();
	struct toucher t;
	struct drover_fault f[8];
	void *h;

	test_probe(v);
	/* The VMM has touched it all; 1..199 but 150 have arrived, then 300 is old. */
	memset(v->map[0], 0xaa, 400 * PAGE);
	drover_bitmap_set_range(v->src.received[0], 1, 199);
	fill(v, 0, 1, 199);
	fallocate(v->ram.block[0].fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 150 * PAGE, PAGE);
	h = start(v);
	tap_ok(atomic_load(&v->armed) == 1 && mapped(v, 0, 200, 200) == 0,
	       "started: the VMM has dropped what has not arrived");
	madvise(v->map[0], 200 * PAGE, MADV_DONTNEED);
	test_missing(v, h);
	test_minor(v, h);
	test_publish(v, h);
	touch_begin(&t, v, 1, 40, false);
	tap_ok(faults(h, f, 8, 2000) == 1, "one more waits");
	ops->stop(h, false);
	nap_ms(50);
	tap_ok(!atomic_load(&t.done), "stopped, not open: it goes on waiting");
	v->src.adopt = true;
	h = start(v);
	tap_ok(faults(h, f, 8, 2000) == 1 && f[0].block == 1 && f[0].page == 40,
	       "the next handler is told of it");
	v->ram.block[1].host[40 * PAGE] = 9;
	ops->stop(h, true);
	tap_ok(touch_end(&t) == 9 && v->map[1][50 * PAGE] == 0, "open: nobody waits any more");
	ops->stop(NULL, true);
	vmm_end(v);
}

/* ---- many at once ---- */

struct crowd {
	struct vmm *v;
	void *h;
	atomic_bool stop;
	atomic_uint told;
	atomic_uint wrong;
	uint64_t asked[BLOCKS][32];
};

static void *server(void *arg)
{
	struct crowd *c = arg;
	struct drover_fault f[8];
	int n, i;

	while (!atomic_load(&c->stop)) {
		n = faults(c->h, f, 8, 20);
		if (n < 0)
			atomic_fetch_add(&c->wrong, 1);
		for (i = 0; i < n; i++) {
			unsigned int b = f[i].block;
			bool zero = f[i].page % 7 == 0;

			atomic_fetch_add(&c->told, 1);
			if (drover_bit_test_and_set_atomic(c->asked[b], f[i].page))
				atomic_fetch_add(&c->wrong, 1);
			if (!zero)
				fill(c->v, b, f[i].page, 1);
			if (publish(c->h, b, f[i].page, 1, zero) < 0)
				atomic_fetch_add(&c->wrong, 1);
		}
	}
	return NULL;
}

/* Reads all pages, in an order of its own; how many were not what was sent. */
static void *reader(void *arg)
{
	struct crowd *c = *(struct crowd **)arg;
	unsigned int step = 7 + 4 * (unsigned int)((uintptr_t)arg / 8 % 64), b;
	uintptr_t bad = 0;
	uint64_t i;

	for (b = 0; b < BLOCKS; b++)
		for (i = 0; i < npages[b]; i++) {
			uint64_t page = (i * step + step) % npages[b];
			const volatile uint8_t *p = c->v->map[b] + page * PAGE;
			uint8_t want = page % 7 ? content(b, page) : 0;

			bad += p[0] != want || p[PAGE - 1] != want;
		}
	return (void *)bad;
}

static void test_crowd(void)
{
	struct vmm *v = vmm_new();
	struct crowd c = { .v = v }, *arg[TOUCHERS];
	pthread_t s[SERVERS], t[TOUCHERS];
	uintptr_t bad = 0;
	unsigned int i;
	void *ret;

	memset(v->ram.block[0].host, 0xaa, v->ram.block[0].size);
	c.h = start(v);
	for (i = 0; i < SERVERS; i++)
		pthread_create(&s[i], NULL, server, &c);
	for (i = 0; i < TOUCHERS; i++) {
		arg[i] = &c;
		pthread_create(&t[i], NULL, reader, &arg[i]);
	}
	for (i = 0; i < TOUCHERS; i++) {
		pthread_join(t[i], &ret);
		bad += (uintptr_t)ret;
	}
	atomic_store(&c.stop, true);
	for (i = 0; i < SERVERS; i++)
		pthread_join(s[i], NULL);
	tap_ok(!bad && !atomic_load(&c.wrong), "%u threads touch, %u serve: all have read what was "
	       "sent", TOUCHERS, SERVERS);
	tap_ok(atomic_load(&c.told) == npages[0] + npages[1], "each page was told once: %u",
	       atomic_load(&c.told));
	ops->stop(c.h, true);
	vmm_end(v);
}

/* ---- death ---- */

/* The VMM's part is the parent's: only there its memory is. */
static int ask_arm(void *opaque, struct drover_error *e)
{
	int *s = opaque;
	char c = 'a';

	if (write(s[1], &c, 1) != 1 || read(s[1], &c, 1) != 1)
		return drover_err(e, -EIO, "the parent does not answer");
	return 0;
}

/* Starts, reads two faults, publishes one page whose waiter it never wakes, and hangs. */
static void handler(struct vmm *v, int *s)
{
	struct drover_fault_source src = v->src;
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_fault f[8];
	void *h = NULL;
	int n = 0;

	src.arm = ask_arm;
	src.opaque = s;
	if (ops->start(&src, &h, &e) < 0 || write(s[1], "s", 1) != 1)
		_exit(1);
	while (n < 3)
		n += faults(h, f, 8, 2000);
	/* It dies between the bit and the entry. */
	fill(v, 0, 10, 1);
	drover_bitmap_set_range_atomic(v->src.received[0], 10, 1);
	if (write(s[1], "r", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

static void test_killed(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct vmm *v = vmm_new();
	struct drover_fault f[8];
	struct toucher t[3];
	int s[2], n;
	unsigned int i;
	void *h;
	pid_t pid;
	char c;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) < 0)
		abort();
	pid = fork();
	if (!pid)
		handler(v, s);
	tap_ok(read(s[0], &c, 1) == 1 && c == 'a' && !vmm_arm(v, &e) && write(s[0], "a", 1) == 1 &&
	       read(s[0], &c, 1) == 1 && c == 's', "a handler in another process has started");
	for (i = 0; i < 3; i++)
		touch_begin(&t[i], v, 0, 10 + i * 600, false);
	tap_ok(read(s[0], &c, 1) == 1 && c == 'r', "and has read who waits");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	nap_ms(50);
	tap_ok(!atomic_load(&t[0].done) && !atomic_load(&t[1].done) && !atomic_load(&t[2].done),
	       "killed: they go on waiting, nobody reads zeros");
	v->src.adopt = true;
	h = start(v);
	for (n = 0, i = 0; i < 20 && (n < 2 || !atomic_load(&t[0].done)); i++)
		n += faults(h, f + n, 8 - (unsigned int)n, 200);
	tap_ok(n == 2 && f[0].page + f[1].page == 610 + 1210,
	       "another one takes over: told again of the two that have not arrived");
	tap_ok(touch_end(&t[0]) == content(0, 10), "the page that had its bit is there");
	fill(v, 0, 610, 1);
	tap_ok(!publish(h, 0, 610, 1, false) && touch_end(&t[1]) == content(0, 610), "so is one");
	tap_ok(!publish(h, 0, 1210, 1, true) && touch_end(&t[2]) == 0, "and the other, as zero");
	ops->stop(h, true);
	close(s[0]);
	close(s[1]);
	vmm_end(v);
}

/* Its userfaultfd comes over a socket, as from a VMM. */
static int recv_fd(int s, uint64_t *base)
{
	char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8)));
	struct iovec iov = { base, sizeof(*base) * BLOCKS };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
			    .msg_controllen = sizeof(control) };
	int fd = -1;

	if (recvmsg(s, &m, MSG_CMSG_CLOEXEC) > 0 && CMSG_FIRSTHDR(&m))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	return fd;
}

static void other_vmm(int s)
{
	char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8))) = { 0 };
	struct vmm *v = vmm_new();
	struct iovec iov = { v->src.base, sizeof(v->src.base[0]) * BLOCKS };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
			    .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	char go;

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &v->src.uffd, sizeof(int));
	if (sendmsg(s, &m, 0) < 0 || read(s, &go, 1) != 1)
		_exit(1);
	munmap(v->map[1], 10 * PAGE);
	if (write(s, "u", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

static int arm_nothing(void *opaque, struct drover_error *e)
{
	(void)opaque;
	(void)e;
	return 0;
}

static void test_vmm_gone(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_ram_run run = { 1, 5, 1 };
	struct vmm *v = vmm_new();
	int s[2];
	void *h;
	pid_t pid;
	char c;

	close(v->src.uffd);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s) < 0)
		abort();
	pid = fork();
	if (!pid)
		other_vmm(s[1]);
	v->src.uffd = recv_fd(s[0], v->src.base);
	v->src.arm = arm_nothing;
	h = start(v);
	tap_ok(!publish(h, 1, 20, 5, false), "pages of another process are published");
	tap_ok(write(s[0], "g", 1) == 1 && read(s[0], &c, 1) == 1 &&
	       ops->publish(h, &run, 1, false, &e) == -ENOENT && strstr(e.msg, "ram1: map page 5") &&
	       strstr(e.msg, "unmapped"), "what the VMM has unmapped: %s", e.msg);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	drover_err_clear(&e);
	run.page = 30;
	tap_ok(ops->publish(h, &run, 1, false, &e) == -ESRCH && strstr(e.msg, "the VMM has gone"),
	       "the VMM has died: %s", e.msg);
	ops->stop(h, true);
	close(s[0]);
	close(s[1]);
	vmm_end(v);
}

/* ---- unregistering leaves nobody behind ---- */

/* Either is enough; a guest under emulation comes to some hundreds. */
#define LEAVES 20000u
#define LEAVES_MS 20000u
#define LEAVE_NO_MORE UINT_MAX

struct leaver {
	const volatile uint8_t *map;
	atomic_uint go, gone;
};

static void *leaver_main(void *arg)
{
	struct leaver *l = arg;
	unsigned int i;

	for (i = 1;; i++) {
		while (atomic_load(&l->go) < i)
			;
		if (atomic_load(&l->go) == LEAVE_NO_MORE)
			return NULL;
		(void)l->map[i % npages[0] * PAGE];
		atomic_store(&l->gone, i);
	}
}

static bool gone_within(struct leaver *l, unsigned int i, unsigned int ms)
{
	uint64_t end = drover_deadline_ms(ms);

	while (atomic_load(&l->gone) < i && drover_now_ns() < end)
		;
	return atomic_load(&l->gone) == i;
}

static void test_leave(void)
{
	struct vmm *v = vmm_new();
	struct leaver l = { .map = v->map[0] };
	struct uffdio_range all = { v->src.base[0], npages[0] * PAGE };
	uint64_t until, end = drover_deadline_ms(LEAVES_MS);
	unsigned int i, left = 0;
	pthread_t t;

	fill(v, 0, 0, npages[0]);
	if (pthread_create(&t, NULL, leaver_main, &l))
		abort();
	for (i = 1; i <= LEAVES && drover_now_ns() < end; i++) {
		if (drover_uffd_register(v->src.uffd, all.start, all.len,
					 UFFDIO_REGISTER_MODE_MISSING |
					 UFFDIO_REGISTER_MODE_MINOR) < 0 ||
		    madvise(v->map[0], all.len, MADV_DONTNEED) < 0)
			abort();
		atomic_store(&l.go, i);
		/* At another point of its way each time. */
		until = drover_now_ns() + i % 200 * 25;
		while (drover_now_ns() < until)
			;
		drover_uffd_unregister(v->src.uffd, all.start, all.len);
		if (gone_within(&l, i, 5000))
			continue;
		left++;
		ioctl(v->src.uffd, UFFDIO_WAKE, &all);
		gone_within(&l, i, 5000);
	}
	atomic_store(&l.go, LEAVE_NO_MORE);
	pthread_join(t, NULL);
	tap_ok(!left && i > 1, "who touches a page while it is unregistered goes on: %u of %u did not",
	       left, i - 1);
	vmm_end(v);
}

int main(void)
{
	char why[256];
	struct vmm *v = vmm_new();

	if (ops->probe(&v->src, why, sizeof(why)) <= 0) {
		tap_skip("userfaultfd: %s", why);
		return tap_done();
	}
	vmm_end(v);
	test_one();
	test_crowd();
	test_killed();
	test_vmm_gone();
	test_leave();
	return tap_done();
}
