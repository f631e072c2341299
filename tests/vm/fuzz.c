// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Random calls, of the module and of whatever moves memory about, by several processes, with
 * oracles: a shadow copy of a watched file, made of what harvests have told, must be equal
 * whenever the writers rest; no load through a gate may see what was not published.
 * SEED (the time) and SECONDS (60) in the kernel's command line.
 * needs: brd
 * set: fuzz
 * timeout: 900
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <sys/uio.h>

#include "attach.h"
#include "churn.h"

#define WRITERS 3u
#define ROUND_MS 400u
#define POISON 0xee

#ifndef MADV_COLD
#define MADV_COLD 20
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* What the processes share. */
static struct {
	atomic_bool pause, stop;
	atomic_uint resting, leaks;
	atomic_ulong calls[16];
} *all;

enum { C_STORE, C_WRITE, C_PUNCH, C_SIZE, C_ADVISE, C_MAP, C_FORK, C_SYSTEM, C_HARVEST, C_REGION,
       C_IOCTL, C_TOUCH, C_KINDS };
static const char *const kind_name[] = {
	"stores", "write calls", "punches", "truncations", "madvise", "mappings", "forks",
	"of the system", "harvests", "regions", "random ioctls", "gated loads",
};

static uint64_t rnd;

static uint64_t any(uint64_t below)
{
	return race_random(&rnd) % below;
}

static void count(unsigned int kind)
{
	atomic_fetch_add(&all->calls[kind], 1);
}

/* ---- writers of the watched file ---- */

static uint8_t *mine;	/* a mapping of this process */

static void map_again(void)
{
	size_t two = 2u << 20;
	uint8_t *room;

	munmap(mine, PAGES * PAGE);
	room = mmap(NULL, PAGES * PAGE + two, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (room == MAP_FAILED)
		_exit(3);
	munmap(room, PAGES * PAGE + two);
	room = (uint8_t *)(((uintptr_t)room + two - 1) & ~(two - 1));
	mine = mmap(room + any(2) * PAGE, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, g.fd,
		    0);
	if (mine == MAP_FAILED)
		_exit(3);
}

/* Fails where advice has split the mapping: then it stays where it is. */
static void move_mapping(void)
{
	uint8_t *to = mmap(NULL, PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t *p = mremap(mine, PAGES * PAGE, PAGES * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to);

	if (p != MAP_FAILED)
		mine = p;
	else
		munmap(to, PAGES * PAGE);
}

/* A file that was made shorter has no page there: the store is a SIGBUS, and ends nothing. */
static void on_bus(int sig)
{
	(void)sig;
	mmap(mine, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
	     -1, 0);
}

static void op_store(void)
{
	unsigned int i, n = 1 + (unsigned int)any(40), page = (unsigned int)any(PAGES);

	for (i = 0; i < n; i++)
		*(volatile uint64_t *)(mine + (page + i * any(3)) % PAGES * PAGE + 8 * any(512)) =
			any(~0ull);
	count(C_STORE);
}

static void op_write(void)
{
	struct iovec from = { &rnd, 8 }, to = { mine + any(PAGES) * PAGE + 8 * any(512), 8 };

	if (any(2))
		process_vm_writev(getpid(), &from, 1, &to, 1, 0);
	else
		(void)!pwrite(g.fd, &rnd, 8, (off_t)(any(PAGES) * PAGE + any(4000)));
	count(C_WRITE);
}

static void op_punch(void)
{
	off_t at = (off_t)(any(PAGES) * PAGE + (any(4) ? 0 : any(PAGE)));

	fallocate(g.fd, (any(8) ? FALLOC_FL_PUNCH_HOLE : 0) | FALLOC_FL_KEEP_SIZE, at,
		  (off_t)(any(20) ? any(16) + 1 : any(PAGES) + 1) * PAGE);
	count(C_PUNCH);
}

static void op_advise(void)
{
	static const int advice[] = {
		MADV_DONTNEED, MADV_REMOVE, MADV_COLD, MADV_PAGEOUT, MADV_POPULATE_READ,
		MADV_POPULATE_WRITE, MADV_COLLAPSE, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_MERGEABLE,
		MADV_WILLNEED,
	};
	uint64_t first = any(PAGES), n = any(PAGES - first) + 1;

	if (any(3))
		n = n % 64 + 1;
	if (first + n > PAGES)
		n = PAGES - first;
	madvise(mine + first * PAGE, n * PAGE, advice[any(KSFT_SIZE(advice))]);
	count(C_ADVISE);
}

static void op_map(void)
{
	uint8_t *p;

	switch (any(5)) {
	case 0:
		map_again();
		break;
	case 1:
		move_mapping();
		break;
	case 2:
		mprotect(mine, PAGES / 2 * PAGE, PROT_READ);
		mprotect(mine, PAGES * PAGE, PROT_READ | PROT_WRITE);
		break;
	case 3:
		p = map_file(g.fd, PROT_READ, any(2) ? MAP_PRIVATE : MAP_SHARED);
		if (p) {
			(void)*(volatile uint8_t *)(p + any(PAGES) * PAGE);
			munmap(p, PAGES * PAGE);
		}
		break;
	default:
		if (!mlock(mine, 64 * PAGE))
			munlock(mine, 64 * PAGE);
	}
	count(C_MAP);
}

static void op_fork(void)
{
	pid_t pid = fork();
	int st;

	if (!pid) {
		op_store();
		op_write();
		if (any(2))
			kill(getpid(), SIGKILL);
		_exit(0);
	}
	if (pid > 0)
		waitpid(pid, &st, 0);
	count(C_FORK);
}

static void op_system(void)
{
	if (any(4))
		compact();
	else
		write_text("/proc/sys/vm/drop_caches", "1");
	count(C_SYSTEM);
}

static void op_size(void)
{
	if (!ftruncate(g.fd, (off_t)(PAGES - any(PAGES / 4)) * PAGE))
		(void)!ftruncate(g.fd, PAGES * PAGE);
	count(C_SIZE);
}

static const struct {
	void (*fn)(void);
	unsigned int weight;
} ops[] = {
	{ op_store, 60 }, { op_write, 30 }, { op_punch, 6 }, { op_advise, 12 }, { op_map, 5 },
	{ op_fork, 3 }, { op_system, 1 }, { op_size, 1 },
};

static void one_op(void)
{
	unsigned int i, sum = 0;
	uint64_t at;

	for (i = 0; i < KSFT_SIZE(ops); i++)
		sum += ops[i].weight;
	at = any(sum);
	for (i = 0; at >= ops[i].weight; i++)
		at -= ops[i].weight;
	ops[i].fn();
}

static void writer(uint64_t seed)
{
	struct sigaction sa = { .sa_handler = on_bus };

	rnd = seed;
	sigaction(SIGBUS, &sa, NULL);
	mine = ksft_map(g.fd, PAGES);
	while (!atomic_load(&all->stop)) {
		if (!atomic_load(&all->pause)) {
			one_op();
			continue;
		}
		/* What a child of ours was doing is over, too: it was waited for. */
		atomic_fetch_add(&all->resting, 1);
		while (atomic_load(&all->pause) && !atomic_load(&all->stop))
			ksft_msleep(1);
		atomic_fetch_sub(&all->resting, 1);
	}
	_exit(0);
}

/* ---- regions ---- */

static struct drover_region reg;
static uint8_t *reg_plain, *reg_gated;
#define REG_PAGES 600u

static void *toucher(void *arg)
{
	uint64_t s = (uintptr_t)arg * 88172645463325252ull | 1;

	while (!atomic_load(&all->stop)) {
		if (*(volatile uint8_t *)(reg_gated + race_random(&s) % REG_PAGES * PAGE) == POISON)
			atomic_fetch_add(&all->leaks, 1);
		atomic_fetch_add(&all->calls[C_TOUCH], 1);
	}
	return NULL;
}

/* In a process that is killed while it waits. */
static void touch_and_die(uint64_t seed)
{
	pthread_t t[2];
	unsigned int i;

	/* Its last close is how the module learns that the loader has died. */
	close(reg.loader_fd);
	reg_gated = ksft_map(reg.vm_fd, REG_PAGES);
	for (i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, toucher, (void *)(uintptr_t)(seed + i));
	for (;;)
		pause();
}

static void publish_some(void)
{
	struct drover_range r[4];
	struct drover_publish p = { .size = sizeof(p), .ranges = (uintptr_t)r, .nranges = 4,
				    .flags = any(4) ? 0 : DROVER_PUBLISH_ZERO };
	unsigned int i, k;

	for (i = 0; i < 4; i++) {
		r[i].first = any(REG_PAGES);
		r[i].npages = any(REG_PAGES - r[i].first) % 20 + 1;
		if (r[i].first + r[i].npages > REG_PAGES)
			r[i].npages = 1;
		for (k = 0; k < r[i].npages; k++)
			reg_plain[(r[i].first + k) * PAGE] = 1;
	}
	ioctl(reg.loader_fd, DROVER_IOC_PUBLISH, &p);
}

/* Nobody has the poison published: it is put there while the gate is shut, all fresh. */
static void gate_fresh(void)
{
	struct drover_gate a = {.size = sizeof(a), .flags = DROVER_GATE_CLOSED | DROVER_GATE_FRESH};
	unsigned int i;

	if (ioctl(reg.loader_fd, DROVER_IOC_GATE, &a))
		return;
	for (i = 0; i < REG_PAGES; i++)
		reg_plain[i * PAGE] = POISON;
}

static void new_loader(void)
{
	struct drover_adopt a = { .size = sizeof(a), .id = reg.id };

	munmap(reg_plain, REG_PAGES * PAGE);
	close(reg.loader_fd);
	reg.loader_fd = ioctl(g.dev, DROVER_IOC_ADOPT, &a);
	if (reg.loader_fd < 0)
		ksft_die("ADOPT");
	reg_plain = ksft_map(reg.loader_fd, REG_PAGES);
}

static void random_ioctl(void)
{
	static const unsigned int cmds[] = {
		DROVER_IOC_CAPS, DROVER_IOC_ATTACH, DROVER_IOC_ARM, DROVER_IOC_HARVEST,
		DROVER_IOC_SET_DIRTY, DROVER_IOC_STAT, DROVER_IOC_PUBLISH, DROVER_IOC_RECEIVED,
	};
	const int on[] = { g.dev, reg.loader_fd, reg.vm_fd, g.fd };
	uint64_t buf[16];
	unsigned int i;
	uint32_t size;
	int r;

	for (i = 0; i < 16; i++)
		buf[i] = any(3) ? any(1u << any(20)) : any(~0ull);
	size = (uint32_t)(any(4) ? 8 + 8 * any(12) : any(200));
	memcpy(buf, &size, sizeof(size));
	/* Of ATTACH the descriptor is anything but the watched file's or the region's. */
	r = ioctl(on[any(KSFT_SIZE(on))], cmds[any(KSFT_SIZE(cmds))], buf);
	if (r > 2 && r != g.fd)
		close(r);
	count(C_IOCTL);
}

static void region_round(void)
{
	struct drover_request q[8];
	unsigned int i;
	pid_t pid;

	reg = (struct drover_region){ .size = sizeof(reg), .bytes = REG_PAGES * PAGE,
				      .flags = DROVER_REGION_GATED };
	snprintf(reg.name, sizeof(reg.name), any(2) ? "" : "fuzz");
	if (ioctl(g.dev, DROVER_IOC_REGION, &reg))
		return;
	reg_plain = ksft_map(reg.loader_fd, REG_PAGES);
	fcntl(reg.loader_fd, F_SETFL, O_RDWR | O_NONBLOCK);
	memset(reg_plain, POISON, REG_PAGES * PAGE);
	pid = fork();
	if (!pid)
		touch_and_die(rnd);
	for (i = 0; i < 60 && !atomic_load(&all->stop); i++) {
		publish_some();
		(void)!read(reg.loader_fd, q, sizeof(q));
		if (!any(10))
			gate_fresh();
		if (!any(15))
			new_loader();
		if (!any(3))
			random_ioctl();
		fallocate(reg.vm_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			  any(2) ? PAGE : 0);
	}
	if (any(2)) {
		close(reg.loader_fd);
		reg.loader_fd = -1;
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	munmap(reg_plain, REG_PAGES * PAGE);
	close(reg.loader_fd);
	close(reg.vm_fd);
	count(C_REGION);
}

static void regions(uint64_t seed)
{
	rnd = seed;
	while (!atomic_load(&all->stop))
		region_round();
	_exit(0);
}

/* ---- the oracle ---- */

static uint8_t *shadow;

static void take(unsigned int page)
{
	if (pread(g.fd, shadow + page * PAGE, PAGE, (off_t)page * PAGE) != (ssize_t)PAGE)
		memset(shadow + page * PAGE, 0, PAGE);
}

static void harvest_once(unsigned int flags)
{
	unsigned int i;

	if (harvest(flags))
		ksft_die("harvest");
	for (i = 0; i < PAGES; i++)
		if (in(news.dirty, i) || (flags && in(news.pinned, i)))
			take(i);
		else if (in(news.hole, i))
			memset(shadow + i * PAGE, 0, PAGE);
	count(C_HARVEST);
}

static unsigned int differ(void)
{
	static uint8_t now[PAGE];
	unsigned int i, n = 0;

	for (i = 0; i < PAGES; i++) {
		if (pread(g.fd, now, PAGE, (off_t)i * PAGE) != (ssize_t)PAGE)
			memset(now, 0, PAGE);
		n += memcmp(now, shadow + i * PAGE, PAGE) != 0;
	}
	return n;
}

static void watch_anew(void)
{
	unsigned int i;

	if (g.at >= 0)
		close(g.at);
	attach_flags = any(4) ? 0 : DROVER_ATTACH_PROTECT;
	g.at = attach(g.fd);
	if (g.at < 0 || arm(g.at))
		ksft_die("attach");
	for (i = 0; i < PAGES; i++)
		take(i);
}

static unsigned int seconds(void)
{
	const char *text = getenv("SECONDS");
	int n = text ? atoi(text) : 60;

	return n > 0 ? (unsigned int)n : 60;
}

int main(void)
{
	const char *text = getenv("SEED");
	uint64_t seed = text ? strtoull(text, NULL, 0) : ksft_ns(), t0, begin_at;
	unsigned int i, rounds = 0, lost = 0, late = 0;
	pid_t pid[WRITERS + 1];

	ksft_note("SEED=%#llx SECONDS=%u", (unsigned long long)seed, seconds());
	rnd = seed | 1;
	all = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	shadow = malloc(PAGES * PAGE);
	g.dev = ksft_device();
	g.fd = ksft_memfd(PAGES);
	g.at = -1;
	swap_on();
	fflush(stdout);
	for (i = 0; i <= WRITERS; i++) {
		pid[i] = fork();
		if (!pid[i] && i < WRITERS)
			writer(seed * (2 * i + 3) | 1);
		if (!pid[i])
			regions(seed * 77 | 1);
	}
	for (begin_at = ksft_ns(); ksft_ns() - begin_at < seconds() * 1000000000ull; rounds++) {
		unsigned int bad;

		/* While they write, too: nothing of before is told, and nothing of after is lost.
		 */
		if (!any(8) || !rounds)
			watch_anew();
		for (t0 = ksft_ns(); ksft_ns() - t0 < ROUND_MS * 1000000ull;)
			harvest_once(any(5) ? 0 : DROVER_HARVEST_FINAL);
		atomic_store(&all->pause, true);
		for (i = 0; i < WRITERS; i++)
			if (waitpid(pid[i], NULL, WNOHANG))
				ksft_die("a writer has ended");
		while (atomic_load(&all->resting) < WRITERS)
			ksft_msleep(1);
		harvest_once(DROVER_HARVEST_FINAL);
		bad = differ();
		lost += bad;
		if (bad)
			ksft_note("round %u: %u pages differ", rounds, bad);
		harvest_once(DROVER_HARVEST_FINAL);
		late += (unsigned int)news.h.ndirty;
		atomic_store(&all->pause, false);
	}
	atomic_store(&all->stop, true);
	for (i = 0; i <= WRITERS; i++)
		waitpid(pid[i], NULL, 0);
	close(g.at);
	swap_off();
	for (i = 0; i < C_KINDS; i++)
		ksft_note("%10lu %s", atomic_load(&all->calls[i]), kind_name[i]);
	ksft_ok(rounds && !lost && !late, "watched: %u rounds: %u pages lost, %u late", rounds,
		lost, late);
	ksft_ok(atomic_load(&all->calls[C_TOUCH]) && !atomic_load(&all->leaks),
		"gated: %u loads of what was not published", atomic_load(&all->leaks));
	return ksft_end();
}
