// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a page that is not there costs who touches it: from the fault until it goes on, with
 * a thread that fills the page in between. Three ways in one boot, all of shmem: a region
 * (memcpy into the loader's mapping, publish), userfaultfd's missing faults (UFFDIO_COPY)
 * and its minor ones (memcpy into a second mapping, UFFDIO_CONTINUE). No page has memory
 * before, but in a second region that is populated ahead, as droverd does it. None is next to
 * another one, so each is a fault of its own. Ways take turns.
 * set: bench
 * timeout: 300
 */
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sys/syscall.h>

#include "kselftest.h"

#define NPAGES 65536ul
#define FAULTS 2000u
#define TURNS 20u
#define STRIDE 32u

/* A way to be late with a page. @serve answers one request, of which poll(2) has told. */
struct way {
	const char *name;
	void (*begin)(struct way *way);
	void (*serve)(struct way *way);
	int fd;			/* where requests come from */
	int file;		/* descriptor to close, or the same */
	uint8_t *vm, *fill;	/* what is touched; where memory is filled without a gate */
	int stop[2];
	pthread_t loader;
	double us[FAULTS];
	unsigned int n, wrong;
};

static uint8_t source[KSFT_PAGE] __attribute__((aligned(KSFT_PAGE)));
static uint32_t order[NPAGES / STRIDE];

static void begin_region(struct way *w)
{
	struct drover_region r = {
		.size = sizeof(r), .flags = DROVER_REGION_GATED, .bytes = NPAGES * KSFT_PAGE,
	};
	int dev = ksft_device();

	if (ioctl(dev, DROVER_IOC_REGION, &r))
		ksft_die("DROVER_IOC_REGION");
	close(dev);
	w->fd = r.loader_fd;
	w->file = r.vm_fd;
	w->vm = ksft_map(r.vm_fd, NPAGES);
	w->fill = ksft_map(r.loader_fd, NPAGES);
}

static void begin_populated(struct way *w)
{
	begin_region(w);
	if (madvise(w->fill, NPAGES * KSFT_PAGE, MADV_POPULATE_WRITE))
		ksft_die("MADV_POPULATE_WRITE");
}

static void serve_region(struct way *w)
{
	struct drover_request q;
	struct drover_range range;
	struct drover_publish p = {
		.size = sizeof(p), .ranges = (uintptr_t)&range, .nranges = 1,
	};

	if (read(w->fd, &q, sizeof(q)) != (ssize_t)sizeof(q))
		ksft_die("read of a request");
	memcpy(w->fill + q.page * KSFT_PAGE, source, KSFT_PAGE);
	range = (struct drover_range){ q.page, 1 };
	if (ioctl(w->fd, DROVER_IOC_PUBLISH, &p))
		ksft_die("DROVER_IOC_PUBLISH");
}

static void begin_uffd(struct way *w, uint64_t features, uint64_t mode)
{
	struct uffdio_api api = { UFFD_API, features, 0 };
	struct uffdio_register r = { { 0, NPAGES * KSFT_PAGE }, mode, 0 };

	w->file = ksft_memfd(NPAGES);
	w->vm = ksft_map(w->file, NPAGES);
	w->fill = ksft_map(w->file, NPAGES);
	w->fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	r.range.start = (uintptr_t)w->vm;
	if (w->fd < 0 || ioctl(w->fd, UFFDIO_API, &api) || ioctl(w->fd, UFFDIO_REGISTER, &r))
		ksft_die("userfaultfd");
}

static void begin_copy(struct way *w)
{
	begin_uffd(w, UFFD_FEATURE_MISSING_SHMEM, UFFDIO_REGISTER_MODE_MISSING);
}

static void begin_continue(struct way *w)
{
	begin_uffd(w, UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM,
		   UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR);
}

static uintptr_t next_uffd(struct way *w)
{
	struct uffd_msg m;

	if (read(w->fd, &m, sizeof(m)) != (ssize_t)sizeof(m))
		ksft_die("read of a fault");
	return (uintptr_t)m.arg.pagefault.address & ~(KSFT_PAGE - 1);
}

static void serve_copy(struct way *w)
{
	struct uffdio_copy c = { next_uffd(w), (uintptr_t)source, KSFT_PAGE, 0, 0 };

	if (ioctl(w->fd, UFFDIO_COPY, &c))
		ksft_die("UFFDIO_COPY");
}

static void serve_continue(struct way *w)
{
	uintptr_t page = next_uffd(w);
	struct uffdio_continue c = { { page, KSFT_PAGE }, 0, 0 };

	memcpy(w->fill + (page - (uintptr_t)w->vm), source, KSFT_PAGE);
	if (ioctl(w->fd, UFFDIO_CONTINUE, &c))
		ksft_die("UFFDIO_CONTINUE");
}

static void *load(void *arg)
{
	struct way *w = arg;
	struct pollfd p[2] = { { w->fd, POLLIN, 0 }, { w->stop[0], POLLIN, 0 } };

	while (poll(p, 2, -1) > 0 && !p[1].revents)
		w->serve(w);
	return NULL;
}

static void begin(struct way *w)
{
	w->begin(w);
	if (pipe2(w->stop, O_CLOEXEC) || pthread_create(&w->loader, NULL, load, w))
		ksft_die("a thread");
}

static void touch(struct way *w, unsigned int n)
{
	for (; n; n--) {
		size_t page = order[w->n] * (size_t)STRIDE;
		uint64_t t = ksft_ns();
		uint8_t got = *(volatile uint8_t *)(w->vm + page * KSFT_PAGE);

		w->us[w->n++] = (double)(ksft_ns() - t) / 1000;
		w->wrong += got != source[0];
	}
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void end(struct way *w)
{
	if (write(w->stop[1], "", 1) != 1)
		ksft_die("pipe");
	pthread_join(w->loader, NULL);
	qsort(w->us, w->n, sizeof(w->us[0]), by_value);
	munmap(w->vm, NPAGES * KSFT_PAGE);
	munmap(w->fill, NPAGES * KSFT_PAGE);
	close(w->fd);
	close(w->file);
	close(w->stop[0]);
	close(w->stop[1]);
	ksft_ok(w->n == FAULTS && !w->wrong, "measured: %s: %u faults, %u with a wrong page", w->name,
		w->n, w->wrong);
}

int main(void)
{
	static struct way ways[] = {
		{ .name = "region, publish", .begin = begin_region, .serve = serve_region },
		{ .name = "region, populated", .begin = begin_populated, .serve = serve_region },
		{ .name = "userfaultfd, COPY", .begin = begin_copy, .serve = serve_copy },
		{ .name = "userfaultfd, CONTINUE", .begin = begin_continue, .serve = serve_continue },
	};
	uint64_t s = 88172645463325252ull;
	unsigned int turn;
	size_t i;

	memset(source, 0x5a, sizeof(source));
	for (i = 0; i < KSFT_SIZE(order); i++) {
		size_t k;

		s = s * 6364136223846793005ull + 1442695040888963407ull;
		k = (s >> 33) % (i + 1);
		order[i] = order[k];
		order[k] = (uint32_t)i;
	}
	for (i = 0; i < KSFT_SIZE(ways); i++)
		begin(&ways[i]);
	for (turn = 0; turn < TURNS; turn++)
		for (i = 0; i < KSFT_SIZE(ways); i++)
			touch(&ways[i], FAULTS / TURNS);
	for (i = 0; i < KSFT_SIZE(ways); i++)
		end(&ways[i]);

	ksft_note("%u faults, us: %12s %10s %10s", FAULTS, "median", "p10", "p90");
	for (i = 0; i < KSFT_SIZE(ways); i++)
		ksft_note("%-24s %10.1f %10.1f %10.1f", ways[i].name, ways[i].us[FAULTS / 2],
			  ways[i].us[FAULTS / 10], ways[i].us[FAULTS / 10 * 9]);
	for (i = 0; i < 2; i++)
		ksft_note("%s / COPY: %.2f; / CONTINUE: %.2f", ways[i].name,
			  ways[i].us[FAULTS / 2] / ways[2].us[FAULTS / 2],
			  ways[i].us[FAULTS / 2] / ways[3].us[FAULTS / 2]);
	return ksft_end();
}
