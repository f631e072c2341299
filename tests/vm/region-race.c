// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Touchers against a loader that pushes pages by itself and answers requests in another
 * thread: no page is asked for after it was published (who answers would overwrite what
 * the guest has stored), none twice, nothing stored is lost; then the same with a gate
 * that is closed and opened all the time.
 * timeout: 60
 * control: 256 race: push and answer
 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

#include "kselftest.h"

#define PAGES 512u
#define PAGE 4096u
#define TOUCHERS 2u

static struct {
	int vm, loader;
	uint8_t *gated, *plain;
	atomic_ullong published[PAGES];	/* when the command had returned */
	atomic_bool claimed[PAGES];	/* who fills it */
	atomic_bool stop;
	unsigned int late, twice, wrong, asked;
} g;

static void region(int dev)
{
	struct drover_region r = { .size = sizeof(r), .flags = DROVER_REGION_GATED,
				   .bytes = PAGES * PAGE };
	unsigned int i;

	if (ioctl(dev, DROVER_IOC_REGION, &r) < 0)
		ksft_die("region");
	g.vm = r.vm_fd;
	g.loader = r.loader_fd;
	fcntl(g.loader, F_SETFL, O_RDWR | O_NONBLOCK);
	g.gated = ksft_map(g.vm, PAGES);
	g.plain = ksft_map(g.loader, PAGES);
	for (i = 0; i < PAGES; i++) {
		atomic_store(&g.published[i], 0);
		atomic_store(&g.claimed[i], false);
	}
	atomic_store(&g.stop, false);
}

static void region_end(void)
{
	munmap(g.gated, PAGES * PAGE);
	munmap(g.plain, PAGES * PAGE);
	close(g.vm);
	close(g.loader);
}

static void publish(unsigned int page)
{
	struct drover_range range = { page, 1 };
	struct drover_publish p = { .size = sizeof(p), .ranges = (uintptr_t)&range, .nranges = 1 };

	if (ioctl(g.loader, DROVER_IOC_PUBLISH, &p) < 0)
		ksft_die("publish");
	atomic_store(&g.published[page], ksft_ns());
}

/* Content comes once: whoever claims it first. */
static void fill(unsigned int page)
{
	if (atomic_exchange(&g.claimed[page], true))
		return;
	g.plain[page * PAGE] = (uint8_t)page;
	publish(page);
}

static void *answer(void *arg)
{
	struct pollfd p = { .fd = g.loader, .events = POLLIN };
	static bool seen[PAGES];
	struct drover_request q[16];
	unsigned long long t, done;
	ssize_t i, n;

	memset(seen, 0, sizeof(seen));
	while (!atomic_load(&g.stop)) {
		if (poll(&p, 1, 20) <= 0)
			continue;
		t = ksft_ns();
		/* None, when the other thread has answered it meanwhile. */
		n = read(g.loader, q, sizeof(q)) / (ssize_t)sizeof(q[0]);
		for (i = 0; i < n; i++) {
			done = atomic_load(&g.published[q[i].page]);
			g.late += done && done < t;
			g.twice += seen[q[i].page];
			seen[q[i].page] = true;
			g.asked++;
			fill((unsigned int)q[i].page);
		}
	}
	return arg;
}

static void *push(void *arg)
{
	unsigned int i;

	for (i = 0; i < PAGES; i++)
		fill(i);
	return arg;
}

/* What is read is what was sent, and what is stored stays. */
static void *touch(void *arg)
{
	unsigned int k = (unsigned int)(uintptr_t)arg, i;
	uintptr_t bad = 0;

	for (i = 0; i < PAGES; i++) {
		uint8_t *p = g.gated + (k % 2 ? PAGES - 1 - i : i) * PAGE;

		if (*(volatile uint8_t *)p != (uint8_t)((unsigned int)(p - g.gated) / PAGE))
			bad++;
		p[1 + k] = 0xaa;
	}
	for (i = 0; i < PAGES; i++)
		bad += g.gated[i * PAGE + 1 + k] != 0xaa;
	return (void *)bad;
}

static void push_and_answer(int dev)
{
	uint64_t end = ksft_ns() + 2000000000ull;
	pthread_t t[TOUCHERS + 2];
	unsigned int i, rounds = 0;
	void *bad;

	do {
		region(dev);
		pthread_create(&t[TOUCHERS], NULL, answer, NULL);
		for (i = 0; i < TOUCHERS; i++)
			pthread_create(&t[i], NULL, touch, (void *)(uintptr_t)i);
		pthread_create(&t[TOUCHERS + 1], NULL, push, NULL);
		for (i = 0; i < TOUCHERS; i++) {
			pthread_join(t[i], &bad);
			g.wrong += (unsigned int)(uintptr_t)bad;
		}
		pthread_join(t[TOUCHERS + 1], NULL);
		atomic_store(&g.stop, true);
		pthread_join(t[TOUCHERS], NULL);
		region_end();
		rounds++;
	} while (ksft_ns() < end);
	ksft_ok(!g.late && !g.twice && !g.wrong && g.asked, "race: push and answer: %u rounds, "
		"%u requests: %u after the publish, %u twice, %u pages wrong", rounds, g.asked,
		g.late, g.twice, g.wrong);
}

/* With the gate closed, an unpublished page must have no entry: a load would not wait. */
static void *open_and_close(void *arg)
{
	struct drover_gate shut = { .size = sizeof(shut), .flags = DROVER_GATE_CLOSED };
	struct drover_gate open = { .size = sizeof(open) };
	int fd = *(int *)arg;

	while (!atomic_load(&g.stop)) {
		if (ioctl(fd, DROVER_IOC_GATE, &open) < 0)
			g.wrong++;
		if (ioctl(fd, DROVER_IOC_GATE, &shut) < 0)
			g.wrong++;
		/* Published ones only: these are the loader's while it is closed. */
		g.plain[0] = 1;
		ksft_msleep(1);
		g.plain[0] = 0;
	}
	ioctl(fd, DROVER_IOC_GATE, &open);
	return NULL;
}

static void gate_race(int dev)
{
	uint64_t end = ksft_ns() + 1500000000ull, n = 0, seen = 0;
	pthread_t t;

	g.wrong = 0;
	region(dev);
	g.plain[0] = 0;
	pthread_create(&t, NULL, open_and_close, &g.loader);
	while (ksft_ns() < end) {
		/* Nobody may see the 1: it is there only while the gate is closed. */
		seen += *(volatile uint8_t *)g.gated;
		n++;
	}
	atomic_store(&g.stop, true);
	pthread_join(t, NULL);
	ksft_ok(!seen && !g.wrong && n, "race: gate: %llu loads, %llu through a closed gate",
		(unsigned long long)n, (unsigned long long)seen);
	region_end();
}

int main(void)
{
	int dev = ksft_device();

	push_and_answer(dev);
	gate_race(dev);
	return ksft_end();
}
