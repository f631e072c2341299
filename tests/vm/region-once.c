// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A loader that pushes pages in order and answers requests meanwhile, and threads that store
 * into the very page it is at. A page that it has published must not be asked for: it would
 * be filled again, over what was stored.
 * timeout: 60
 */
#include <pthread.h>
#include <stdatomic.h>

#include "kselftest.h"

#define NPAGES 32768u
#define THREADS 2u
#define MS 2000u

static struct {
	int loader;
	uint8_t *map, *fill;
	atomic_uint at;
	atomic_bool stop;
	bool published[NPAGES];
	uint32_t stores[THREADS][NPAGES];
	unsigned int requests, again;
} g;

static void publish(unsigned int page)
{
	struct drover_range range = { page, 1 };
	struct drover_publish p = {
		.size = sizeof(p), .ranges = (uintptr_t)&range, .nranges = 1,
	};

	memset(g.fill + page * KSFT_PAGE, 0, KSFT_PAGE);
	if (ioctl(g.loader, DROVER_IOC_PUBLISH, &p))
		ksft_die("DROVER_IOC_PUBLISH");
	g.published[page] = true;
}

static void answer(void)
{
	struct drover_request q[16];
	ssize_t n = read(g.loader, q, sizeof(q)), i;

	for (i = 0; i < n / (ssize_t)sizeof(*q); i++) {
		g.requests++;
		g.again += g.published[q[i].page];
		publish((unsigned int)q[i].page);
	}
}

static void *store(void *arg)
{
	unsigned int n = (unsigned int)(uintptr_t)arg, page, last = NPAGES;

	while (!atomic_load(&g.stop)) {
		/* One is at the page that is being published, the other one is ahead. */
		page = atomic_load(&g.at) + n;
		if (page == last || page >= NPAGES)
			continue;
		last = page;
		g.stores[n][page]++;
		++*(volatile uint32_t *)(g.map + page * KSFT_PAGE + n * 4);
	}
	return NULL;
}

int main(void)
{
	struct drover_region r = {
		.size = sizeof(r), .flags = DROVER_REGION_GATED, .bytes = NPAGES * KSFT_PAGE,
	};
	unsigned int page, n, lost = 0;
	pthread_t thread[THREADS];
	uint64_t end;

	if (ioctl(ksft_device(), DROVER_IOC_REGION, &r) ||
	    fcntl(r.loader_fd, F_SETFL, O_RDWR | O_NONBLOCK))
		ksft_die("DROVER_IOC_REGION");
	g.loader = r.loader_fd;
	g.map = ksft_map(r.vm_fd, NPAGES);
	g.fill = ksft_map(r.loader_fd, NPAGES);
	for (n = 0; n < THREADS; n++)
		if (pthread_create(&thread[n], NULL, store, (void *)(uintptr_t)n))
			ksft_die("a thread");
	end = ksft_ns() + (uint64_t)MS * ksft_scale() * 1000000;
	for (page = 0; page < NPAGES && ksft_ns() < end; page++) {
		atomic_store(&g.at, page);
		answer();
		if (!g.published[page])
			publish(page);
	}
	atomic_store(&g.stop, true);
	/* Who waits for one ahead. */
	for (n = page; n < NPAGES && n < page + THREADS; n++)
		if (!g.published[n])
			publish(n);
	for (n = 0; n < THREADS; n++)
		pthread_join(thread[n], NULL);
	answer();
	for (page = 0; page < NPAGES; page++)
		for (n = 0; n < THREADS; n++)
			lost += *(uint32_t *)(g.fill + page * KSFT_PAGE + n * 4) !=
				g.stores[n][page];
	ksft_ok(g.requests > 10, "%u requests were read", g.requests);
	ksft_ok(!g.again, "%u of them for a page that was published before", g.again);
	ksft_ok(!lost, "%u stores lost", lost);
	return ksft_end();
}
