// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The order in which a harvest looks at a page: what comes to be, ends or is let go of while
 * it looks is in this harvest or is told by the next one, and in a final one by this one.
 * needs: null_blk configfs
 * timeout: 100
 * control: 16384 PROTECT: a hole is read
 * control: 32768 is told as dirty when it is gone
 * control: 65536 while another page is punched
 */
#define _GNU_SOURCE
#include <linux/io_uring.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "attach.h"
#include "churn.h"

/* ---- a page that came to be since the last harvest ---- */

static void watch_half(uint32_t flags)
{
	g.fd = ksft_memfd(PAGES);
	g.map = ksft_map(g.fd, PAGES);
	g.other = ksft_map(g.fd, PAGES);
	memset(g.map, 1, PAGES / 2 * PAGE);
	attach_flags = flags;
	g.at = attach(g.fd);
	attach_flags = 0;
	if (g.at < 0 || arm(g.at) || harvest(0) || harvest(0))
		ksft_die("attach");
}

/* The load makes a page of zeros, which is clean; the store changes nothing but its entry. */
static void test_new_page(uint32_t flags, unsigned int final, const char *name)
{
	const unsigned int page = PAGES / 2 + 100;
	unsigned int i, missed = 0;

	watch_half(flags);
	for (i = 0; i < 64; i++) {
		(void)*(volatile uint8_t *)(g.map + (page + 7 * i) * PAGE);
		g.map[(page + 7 * i) * PAGE] = 7;
	}
	harvest(final);
	for (i = 0; i < 64; i++)
		missed += !in(news.dirty, page + 7 * i);
	ksft_ok(!missed,
		"%s: a hole is read, then stored to: told by the %s harvest (%u of 64 missed)",
		name, final ? "final" : "next", missed);
	/* The second final one must have no news. */
	harvest(final);
	ksft_ok(!news.h.ndirty && !news.h.nhole, "%s: and by no other one", name);
	end();
}

/* ---- pages are counted, not looked at, when all of them are held ---- */

static struct {
	atomic_uint go, done;
	atomic_ulong delay;
	atomic_bool stop;
} punching;

static void *punch_page_0(void *arg)
{
	unsigned int seen = 0;

	while (!atomic_load(&punching.stop)) {
		uint64_t t0 = ksft_ns();

		if (atomic_load(&punching.go) == seen)
			continue;
		while (ksft_ns() - t0 < atomic_load(&punching.delay))
			;
		fallocate(g.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE);
		atomic_store(&punching.done, ++seen);
	}
	return arg;
}

/* As many pages come as go: page 777 by a write that has ended, page 0 goes meanwhile. */
static void test_count(void)
{
	const off_t page = 777;
	uint64_t end_at, t0, took = 1000000, s = 12345;
	unsigned int rounds = 0, missed = 0;
	pthread_t t;

	begin();
	harvest(0);
	pthread_create(&t, NULL, punch_page_0, NULL);
	for (end_at = ksft_ns() + 6000000000ull; ksft_ns() < end_at; rounds++) {
		if (fallocate(g.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, page * PAGE,
			      PAGE) ||
		    pwrite(g.fd, "x", 1, 0) != 1)
			ksft_die("fallocate");
		harvest(0);
		harvest(0);
		if (pwrite(g.fd, "x", 1, page * PAGE) != 1)
			ksft_die("pwrite");
		atomic_store(&punching.delay, race_random(&s) % took);
		atomic_fetch_add(&punching.go, 1);
		t0 = ksft_ns();
		harvest(0);
		took = (took * 7 + ksft_ns() - t0) / 8;
		missed += !in(news.dirty, (unsigned int)page);
		while (atomic_load(&punching.done) != atomic_load(&punching.go))
			;
	}
	atomic_store(&punching.stop, true);
	pthread_join(t, NULL);
	ksft_ok(!missed,
		"a pwrite to a hole, while another page is punched: %u of %u rounds missed", missed,
		rounds);
	end();
}

/* ---- direct I/O ---- */

#define NULLB "/sys/kernel/config/nullb/order/"

static int blk = -1, ring;
static uint8_t *sq, *cq;
static struct io_uring_sqe *sqe;
static struct io_uring_params ring_p;

static void block_device(void)
{
	uint8_t *out = aligned_alloc(PAGE, PAGE);

	mount("c", "/sys/kernel/config", "configfs", 0, NULL);
	if (mkdir("/sys/kernel/config/nullb/order", 0700) || !write_text(NULLB "size", "64") ||
	    !write_text(NULLB "irqmode", "2") || !write_text(NULLB "completion_nsec", "10000000") ||
	    !write_text(NULLB "memory_backed", "1") || !write_text(NULLB "power", "1"))
		ksft_die("null_blk");
	/* Linux 6.9 and later name it as its directory. */
	blk = open("/dev/order", O_RDWR | O_DIRECT);
	if (blk < 0)
		blk = open("/dev/nullb1", O_RDWR | O_DIRECT);
	memset(out, 0x5a, PAGE);
	if (blk < 0 || pwrite(blk, out, PAGE, 0) != PAGE)
		ksft_die("the block device");
	free(out);
}

static void *ring_map(size_t len, off_t what)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, what);

	if (p == MAP_FAILED)
		ksft_die("io_uring");
	return p;
}

static void ring_new(void)
{
	ring = (int)syscall(__NR_io_uring_setup, 8, &ring_p);
	sq = ring_map(ring_p.sq_off.array + ring_p.sq_entries * 4, IORING_OFF_SQ_RING);
	cq = ring_map(ring_p.cq_off.cqes + ring_p.cq_entries * 16, IORING_OFF_CQ_RING);
	sqe = ring_map(ring_p.sq_entries * 64, IORING_OFF_SQES);
}

static unsigned int *at(uint8_t *base, unsigned int off)
{
	return (unsigned int *)(void *)(base + off);
}

static void submit(uint8_t op, void *to)
{
	unsigned int tail = *at(sq, ring_p.sq_off.tail), i = tail & (ring_p.sq_entries - 1);

	sqe[i] = (struct io_uring_sqe){.opcode = op, .fd = blk, .addr = (uintptr_t)to, .len = PAGE};
	at(sq, ring_p.sq_off.array)[i] = i;
	__atomic_store_n(at(sq, ring_p.sq_off.tail), tail + 1, __ATOMIC_RELEASE);
	if (syscall(__NR_io_uring_enter, ring, 1, 0, 0, NULL, 0) != 1)
		ksft_die("io_uring_enter");
}

static bool completed(void)
{
	return __atomic_load_n(at(cq, ring_p.cq_off.tail), __ATOMIC_ACQUIRE) !=
	       *at(cq, ring_p.cq_off.head);
}

/* Looks for the completion without a system call, so that nobody else gets this CPU. */
static void complete(void)
{
	unsigned int head = *at(cq, ring_p.cq_off.head);
	struct io_uring_cqe *e = (void *)(cq + ring_p.cq_off.cqes);

	while (!completed())
		;
	if (e[head & (ring_p.cq_entries - 1)].res != (int)PAGE)
		ksft_die("READ");
	__atomic_store_n(at(cq, ring_p.cq_off.head), head + 1, __ATOMIC_RELEASE);
}

/*
 * The kernel tells that a read is done, and marks its page afterwards, in a work item, if a
 * harvest has taken the mark meanwhile. It holds the page until then.
 */
static void test_direct_io(int policy, const char *name)
{
	struct sched_param sp = { .sched_priority = policy == SCHED_FIFO ? 50 : 0 };
	unsigned int i, missed = 0, lost = 0, early = 0;

	sched_setscheduler(0, policy, &sp);
	begin();
	for (i = 0; i < 100; i++) {
		unsigned int page = 20 + i;

		g.map[page * PAGE] = 0;
		harvest(0);
		submit(IORING_OP_READ, g.map + page * PAGE);
		harvest(0);
		if (completed()) {	/* perhaps before that harvest */
			early++;
			complete();
			continue;
		}
		complete();
		harvest(DROVER_HARVEST_FINAL);
		if (in(news.dirty, page) || in(news.pinned, page))
			continue;
		missed++;
		harvest(DROVER_HARVEST_FINAL);
		lost += !in(news.dirty, page) && !in(news.pinned, page);
	}
	ksft_ok(!missed && early < 50,
		"direct I/O%s: %u of %u reads neither dirty nor pinned in the "
		"final harvest after their end, %u not in the next one",
		name, missed, 100 - early, lost);
	sp.sched_priority = 0;
	sched_setscheduler(0, SCHED_OTHER, &sp);
	end();
}

/* A registered buffer is written by a device, and nothing says so. */
static void test_pin(unsigned int final)
{
	struct { void *base; size_t len; } v;
	bool before;

	begin();
	v.base = g.map + 50 * PAGE;
	v.len = PAGE;
	if (syscall(__NR_io_uring_register, ring, IORING_REGISTER_BUFFERS, &v, 1))
		ksft_die("IORING_REGISTER_BUFFERS");
	harvest(0);
	harvest(0);
	submit(IORING_OP_READ_FIXED, g.map + 50 * PAGE);
	complete();
	harvest(DROVER_HARVEST_FINAL);
	before = in(news.pinned, 50) && news.h.npinned == 1;
	ksft_ok(before && g.map[50 * PAGE] == 0x5a,
		"pin: a final harvest tells it, and no other page (%llu)",
		(unsigned long long)news.h.npinned);
	syscall(__NR_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, NULL, 0);
	/* The kernel lets go of it a moment later. */
	ksft_msleep(200 * ksft_scale());
	harvest(final);
	ksft_ok(in(news.dirty, 50) || (final && in(news.pinned, 50)),
		"pin: it is told as dirty when it is gone, by a %s harvest",
		final ? "final" : "plain");
	harvest(final);
	ksft_ok(!in(news.dirty, 50) && !in(news.pinned, 50), "pin: once");
	end();
}

int main(void)
{
	g.dev = ksft_device();
	test_new_page(0, 0, "dirty bits");
	test_new_page(0, DROVER_HARVEST_FINAL, "dirty bits");
	test_new_page(DROVER_ATTACH_PROTECT, 0, "PROTECT");
	test_new_page(DROVER_ATTACH_PROTECT, DROVER_HARVEST_FINAL, "PROTECT");
	test_count();
	block_device();
	ring_new();
	test_direct_io(SCHED_OTHER, "");
	test_direct_io(SCHED_FIFO, ", a harvester that nobody interrupts");
	test_pin(0);
	test_pin(DROVER_HARVEST_FINAL);
	close(blk);
	write_text(NULLB "power", "0");
	rmdir("/sys/kernel/config/nullb/order");
	return ksft_end();
}
