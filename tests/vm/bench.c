// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What dirty tracking costs, three ways in one boot: an attach, soft-dirty, userfaultfd's
 * synchronous write protection. A harvest is all that a tracker does in a round; the cost
 * of the writer is what one store in each page takes afterwards. A page is 4096 bytes, all
 * of them are present and mapped once.
 * set: bench
 * timeout: 600
 */
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "kselftest.h"

#define NPAGES 65536ul
#define ROUNDS 21
/* Each of its writes takes two switches of threads, which last long on a busy host. */
#define WP_PAGES (NPAGES / 16)

static const unsigned int percents[] = { 0, 1, 10, 100 };

static struct {
	int fd;
	uint8_t *map;
	uint64_t bits[NPAGES / 64];
	uint64_t pagemap[NPAGES];
	int device, attach;
	int clear, pm;
	int uffd;
	pthread_t handler;
	int stop[2];
	uint64_t faults;
} g;

/* A way to track. @harvest returns how many pages it says were written. */
struct method {
	const char *name;
	unsigned int rounds;
	size_t npages;
	void (*begin)(void);
	uint64_t (*harvest)(void);
	void (*end)(void);
	/* measured: the best of the rounds, ns */
	double cost[KSFT_SIZE(percents)], writer, faults;
};

static uint64_t minor_faults(void)
{
	struct rusage u;

	getrusage(RUSAGE_THREAD, &u);
	return (uint64_t)u.ru_minflt + (uint64_t)u.ru_majflt;
}

/* What disturbs a round only makes it longer: the host may be busy. */
static double best(const double *v, unsigned int n)
{
	double min = v[0];

	for (; n; n--)
		min = v[n - 1] < min ? v[n - 1] : min;
	return min;
}

/* ---- nothing ---- */

static void begin_none(void)
{
}

static uint64_t harvest_none(void)
{
	return 0;
}

static void end_none(void)
{
}

/* ---- attach ---- */

static void begin_attach(void)
{
	struct drover_attach a = { .size = sizeof(a), .fd = g.fd };
	struct drover_arm arm = { .size = sizeof(arm) };

	g.device = ksft_device();
	g.attach = ioctl(g.device, DROVER_IOC_ATTACH, &a);
	if (g.attach < 0 || ioctl(g.attach, DROVER_IOC_ARM, &arm))
		ksft_die("attach");
}

static uint64_t harvest_attach(void)
{
	struct drover_harvest h = {
		.size = sizeof(h), .npages = NPAGES, .dirty = (uintptr_t)g.bits,
	};

	memset(g.bits, 0, sizeof(g.bits));
	if (ioctl(g.attach, DROVER_IOC_HARVEST, &h))
		ksft_die("harvest");
	return h.ndirty;
}

static void end_attach(void)
{
	close(g.attach);
	close(g.device);
}

/* ---- soft-dirty ---- */

static void begin_soft(void)
{
	g.clear = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
	g.pm = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (g.clear < 0 || g.pm < 0)
		ksft_die("soft-dirty");
}

static uint64_t harvest_soft(void)
{
	off_t at = (off_t)((uintptr_t)g.map / KSFT_PAGE * sizeof(uint64_t));
	uint64_t n = 0;
	size_t i;

	if (pread(g.pm, g.pagemap, sizeof(g.pagemap), at) != (ssize_t)sizeof(g.pagemap) ||
	    write(g.clear, "4", 1) != 1)
		ksft_die("soft-dirty");
	memset(g.bits, 0, sizeof(g.bits));
	for (i = 0; i < NPAGES; i++) {
		uint64_t dirty = g.pagemap[i] >> 55 & 1;

		g.bits[i / 64] |= dirty << (i % 64);
		n += dirty;
	}
	return n;
}

static void end_soft(void)
{
	close(g.clear);
	close(g.pm);
}

/* ---- userfaultfd-wp: who writes waits until the handler has logged and allowed it ---- */

static void protect(void *at, size_t len, uint64_t mode)
{
	struct uffdio_writeprotect wp = { { (uintptr_t)at, len }, mode };

	if (ioctl(g.uffd, UFFDIO_WRITEPROTECT, &wp))
		ksft_die("UFFDIO_WRITEPROTECT");
}

static void *handle(void *unused)
{
	struct pollfd p[2] = { { g.uffd, POLLIN, 0 }, { g.stop[0], POLLIN, 0 } };
	struct uffd_msg m;

	(void)unused;
	while (poll(p, 2, -1) > 0 && !p[1].revents) {
		uintptr_t page;
		size_t i;

		if (read(g.uffd, &m, sizeof(m)) != (ssize_t)sizeof(m))
			continue;
		page = (uintptr_t)m.arg.pagefault.address & ~(KSFT_PAGE - 1);
		i = (page - (uintptr_t)g.map) / KSFT_PAGE;
		g.bits[i / 64] |= 1ull << (i % 64);
		__atomic_add_fetch(&g.faults, 1, __ATOMIC_RELAXED);
		protect((void *)page, KSFT_PAGE, 0);
	}
	return NULL;
}

static void begin_wp(void)
{
	struct uffdio_api api = { UFFD_API, UFFD_FEATURE_WP_HUGETLBFS_SHMEM, 0 };
	struct uffdio_register r = {
		{ (uintptr_t)g.map, WP_PAGES * KSFT_PAGE }, UFFDIO_REGISTER_MODE_WP, 0
	};

	g.uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (g.uffd < 0 || ioctl(g.uffd, UFFDIO_API, &api) || ioctl(g.uffd, UFFDIO_REGISTER, &r) ||
	    pipe2(g.stop, O_CLOEXEC) || pthread_create(&g.handler, NULL, handle, NULL))
		ksft_die("userfaultfd");
}

static uint64_t harvest_wp(void)
{
	uint64_t n = __atomic_exchange_n(&g.faults, 0, __ATOMIC_RELAXED);

	memset(g.bits, 0, sizeof(g.bits));
	protect(g.map, WP_PAGES * KSFT_PAGE, UFFDIO_WRITEPROTECT_MODE_WP);
	return n;
}

static void end_wp(void)
{
	if (write(g.stop[1], "", 1) != 1)
		ksft_die("pipe");
	pthread_join(g.handler, NULL);
	close(g.uffd);
	close(g.stop[0]);
	close(g.stop[1]);
}

/* ---- measuring ---- */

/* A store in @percent of the pages, evenly spread; how many. */
static uint64_t dirty(size_t npages, unsigned int percent, uint64_t value)
{
	uint64_t n = 0;
	size_t i, step;

	if (!percent)
		return 0;
	step = 100 / percent;
	for (i = 0; i < npages; i += step, n++)
		*(volatile uint64_t *)(g.map + i * KSFT_PAGE) = value;
	return n;
}

static void measure(struct method *m)
{
	double cost[KSFT_SIZE(percents)][ROUNDS], writer[ROUNDS];
	bool tracks = m->harvest != harvest_none, right = true;
	uint64_t written = 0, faults = 0;
	unsigned int p, i;

	m->begin();
	/* What it costs to begin is no round's. */
	m->harvest();
	dirty(m->npages, 1, 1);
	m->harvest();
	/* In turns: what the host does meanwhile is in all columns. */
	for (i = 0; i < m->rounds; i++) {
		for (p = 0; p < KSFT_SIZE(percents); p++) {
			uint64_t before = minor_faults(), t = ksft_ns(), n, found;

			n = dirty(m->npages, percents[p], i);
			if (percents[p] == 100) {
				writer[i] = (double)(ksft_ns() - t) / (double)n;
				faults += minor_faults() - before;
				written += n;
			}
			t = ksft_ns();
			found = m->harvest();
			cost[p][i] = (double)(ksft_ns() - t) / (double)m->npages;
			right = right && (!tracks || found == n);
		}
	}
	for (p = 0; p < KSFT_SIZE(percents); p++)
		m->cost[p] = best(cost[p], m->rounds);
	m->writer = best(writer, m->rounds);
	m->faults = (double)faults / (double)written;
	m->end();
	ksft_ok(right, "measured: %s%s", m->name,
		tracks ? ", each harvest found what was written" : "");
}

static void row(const struct method *m)
{
	ksft_note("%-24s %8.1f %8.1f %8.1f %8.1f %12.1f %14.2f", m->name, m->cost[0], m->cost[1],
		  m->cost[2], m->cost[3], m->writer, m->faults);
}

int main(void)
{
	static struct method methods[] = {
		{ "not tracked", ROUNDS, NPAGES, begin_none, harvest_none, end_none, { 0 }, 0, 0 },
		{ "attach", ROUNDS, NPAGES, begin_attach, harvest_attach, end_attach, { 0 }, 0, 0 },
		{ "soft-dirty", 11, NPAGES, begin_soft, harvest_soft, end_soft, { 0 }, 0, 0 },
		{ "userfaultfd-wp, sync", 3, WP_PAGES, begin_wp, harvest_wp, end_wp, { 0 }, 0, 0 },
	};
	const struct method *none = &methods[0], *at = &methods[1], *soft = &methods[2],
			    *wp = &methods[3];
	size_t i;

	g.fd = ksft_memfd(NPAGES);
	g.map = ksft_map(g.fd, NPAGES);
	memset(g.map, 1, NPAGES * KSFT_PAGE);
	memset(g.pagemap, 1, sizeof(g.pagemap));
	for (i = 0; i < KSFT_SIZE(methods); i++)
		measure(&methods[i]);

	ksft_note("%lu pages, %lu for userfaultfd-wp; the best of up to %d rounds", NPAGES, WP_PAGES,
		  ROUNDS);
	ksft_note("%-24s %35s %12s %14s", "", "harvest, ns a page, at % dirty", "writer, ns",
		  "faults a page");
	ksft_note("%-24s %8u %8u %8u %8u %12s %14s", "", percents[0], percents[1], percents[2],
		  percents[3], "a page", "written");
	for (i = 0; i < KSFT_SIZE(methods); i++)
		row(&methods[i]);
	ksft_note("harvest, attach / soft-dirty: %.2f at 0 %%, %.2f at 100 %%; / userfaultfd-wp: "
		  "%.2f, %.2f", at->cost[0] / soft->cost[0], at->cost[3] / soft->cost[3],
		  at->cost[0] / wp->cost[0], at->cost[3] / wp->cost[3]);
	ksft_note("writer, attach / not tracked: %.1f; / soft-dirty: %.3f; / userfaultfd-wp: %.4f",
		  at->writer / none->writer, at->writer / soft->writer, at->writer / wp->writer);
	return ksft_end();
}
