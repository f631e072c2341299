// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The fault handler `kmod` as a destination uses it: three blocks in two regions, touchers
 * in several threads, a handler that is killed with requests it has read, another one that
 * takes over, what had arrived before there was a handler, and what an earlier one has left.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>

#include "base/bitmap.h"
#include "base/err.h"
#include "dev/kmod.h"
#include "fault/fault.h"
#include "kselftest.h"

#define PAGE 4096u
#define THREADS 4u

/* Blocks: the second one begins at no multiple of a bitmap's word, the gap is nobody's. */
static const struct { unsigned int region, first, pages; } layout[] = {
	{ 0, 0, 300 }, { 0, 333, 200 }, { 1, 0, 100 },
};

static struct {
	int dev, vm[2];
	uint8_t *map[2];
	struct drover_ram ram;
	struct drover_fault_source src;
} g;

static void begin(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	unsigned int i;

	for (i = 0; i < 2; i++) {
		struct drover_kdev_region r = { .bytes = 600 * PAGE };

		if (drover_kdev_region_create(g.dev, &r, &e) < 0)
			ksft_die("%s", e.msg);
		close(r.loader_fd);
		g.vm[i] = r.vm_fd;
		g.map[i] = ksft_map(r.vm_fd, 600);
	}
	for (i = 0; i < KSFT_SIZE(layout); i++) {
		struct drover_ram_block *b = &g.ram.block[i];

		snprintf(b->name, sizeof(b->name), "ram%u", i);
		b->fd = g.vm[layout[i].region];
		b->fd_off = layout[i].first * (uint64_t)PAGE;
		b->size = layout[i].pages * (uint64_t)PAGE;
	}
	g.ram.n = KSFT_SIZE(layout);
	g.src.ram = &g.ram;
	for (i = 0; i < KSFT_SIZE(layout); i++)
		g.src.received[i] = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
					 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

static uint64_t arrived(unsigned int block)
{
	return drover_bitmap_count(g.src.received[block], layout[block].pages);
}

static uint8_t content(unsigned int block, uint64_t page)
{
	return (uint8_t)(block * 50 + page % 50 + 1);
}

static uint8_t *guest(unsigned int block, uint64_t page)
{
	return g.map[layout[block].region] + (layout[block].first + page) * PAGE;
}

/* Each thread reads all pages, in an order of its own. */
static void *toucher(void *arg)
{
	unsigned int step = 7 + 4 * (unsigned int)(uintptr_t)arg, i, b;
	uintptr_t bad = 0;

	for (b = 0; b < g.ram.n; b++)
		for (i = 0; i < layout[b].pages; i++) {
			uint64_t page = (i * (uint64_t)step + step) % layout[b].pages;

			bad += *(volatile uint8_t *)guest(b, page) != content(b, page);
		}
	return (void *)bad;
}

/* Serve until @n pages were published; how many requests were a second time the same. */
static unsigned int serve(const struct drover_fault_ops *ops, void *h, unsigned int n)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_fault f[16];
	unsigned int i, k, nfds, twice = 0;
	uint64_t *seen[3];
	struct pollfd p[4];
	int fd[4], got;

	for (i = 0; i < g.ram.n; i++)
		seen[i] = drover_bitmap_new(layout[i].pages);
	nfds = ops->fds(h, fd, 4);
	for (i = 0; i < nfds; i++)
		p[i] = (struct pollfd){ .fd = fd[i], .events = POLLIN };
	while (n && poll(p, nfds, 3000 * (int)ksft_scale()) > 0) {
		got = ops->next(h, f, n < 16 ? n : 16, &e);
		if (got < 0)
			ksft_die("%s", e.msg);
		for (k = 0; k < (unsigned int)got; k++) {
			struct drover_ram_run run = { f[k].block, f[k].page, 1 };

			twice += drover_bit_test(seen[run.block], run.page);
			drover_bit_set(seen[run.block], run.page);
			ops->host(h, run.block)[run.page * PAGE] = content(run.block, run.page);
			if (ops->publish(h, &run, 1, false, &e) < 0)
				ksft_die("%s", e.msg);
			n--;
		}
	}
	for (i = 0; i < g.ram.n; i++)
		free(seen[i]);
	return n ? ~0u : twice;
}

/* Reads some requests, answers none, and is killed. */
static void handler_dies(const struct drover_fault_ops *ops)
{
	int s[2];
	char c;
	pid_t pid;

	if (pipe(s) < 0)
		ksft_die("pipe");
	pid = fork();
	if (!pid) {
		struct drover_error e = DROVER_ERROR_INIT;
		struct drover_fault f[16];
		void *h = NULL;
		int n = 0, i;

		if (ops->start(&g.src, &h, &e) < 0)
			_exit(1);
		if (write(s[1], "s", 1) != 1)
			_exit(1);
		for (i = 0; i < 1000 && n < 2; i++) {
			ksft_msleep(2);
			n += ops->next(h, f, 16, &e);
		}
		if (write(s[1], n >= 2 ? "r" : "x", 1) != 1)
			_exit(1);
		pause();
	}
	if (read(s[0], &c, 1) != 1)
		ksft_die("the handler has not started");
	pthread_t t[2];

	pthread_create(&t[0], NULL, toucher, (void *)0);
	pthread_create(&t[1], NULL, toucher, (void *)1);
	ksft_ok(read(s[0], &c, 1) == 1 && c == 'r', "a handler has read requests");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);

	struct drover_error e = DROVER_ERROR_INIT;
	void *h = NULL, *bad[2];

	g.src.adopt = true;
	if (!ksft_ok(ops->start(&g.src, &h, &e) == 0, "killed; another one takes over %s", e.msg))
		return;
	ksft_ok(serve(ops, h, 600) == 0, "it is told of all pages, of each once");
	pthread_join(t[0], &bad[0]);
	pthread_join(t[1], &bad[1]);
	ksft_ok(!bad[0] && !bad[1], "everybody has read what was sent");
	ksft_ok(arrived(0) == 300 && arrived(1) == 200 && arrived(2) == 100,
		"the source's bitmaps have all of it");
	ops->stop(h, true);
	g.src.adopt = false;
}

/* Dies between the two bits of a page: the one who takes over publishes it. */
static void adopted_between(const struct drover_fault_ops *ops)
{
	struct drover_error e = DROVER_ERROR_INIT;
	uint64_t map[5] = { 0 };
	unsigned int b;
	void *h = NULL;

	for (b = 0; b < g.ram.n; b++)
		memset(g.src.received[b], 0, PAGE);
	ops->start(&g.src, &h, &e);
	ops->stop(h, false);
	drover_bit_set(g.src.received[1], 199);
	g.src.adopt = true;
	h = NULL;
	ksft_ok(!ops->start(&g.src, &h, &e) && !ops->received(h, 1, map, &e) &&
		drover_bitmap_count(map, 200) == 1 && drover_bit_test(map, 199),
		"adopted: what had its bit in the source's bitmap is published %s", e.msg);
	ops->stop(h, true);
	g.src.adopt = false;
	drover_bit_clear(g.src.received[1], 199);
}

/* A second attempt, with content of the first one in place: only what it has sent counts. */
static void begins_anew(const struct drover_fault_ops *ops)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_fault f = { 0 };
	uint64_t map[5] = { 0 }, none[5] = { 0 };
	pthread_t t[2];
	void *h = NULL, *bad;
	unsigned int b;

	for (b = 0; b < g.ram.n; b++)
		memset(g.src.received[b], 0, PAGE);
	drover_bitmap_set_range(g.src.received[1], 0, 150);
	drover_bitmap_set_range(g.src.received[1], 151, 49);
	if (!ksft_ok(ops->start(&g.src, &h, &e) == 0, "begun anew %s", e.msg))
		return;
	ksft_ok(*guest(1, 0) == content(1, 0) && *guest(1, 199) == content(1, 199),
		"what has arrived before is there");
	ksft_ok(!ops->received(h, 1, map, &e) && drover_bitmap_count(map, 200) == 199 &&
		!drover_bit_test(map, 150) && !ops->received(h, 0, none, &e) &&
		!drover_bitmap_count(none, 300),
		"what the first attempt has published is forgotten");
	pthread_create(&t[0], NULL, toucher, (void *)0);
	pthread_create(&t[1], NULL, toucher, (void *)1);
	ksft_ok(serve(ops, h, 401) == 0, "and waited for again");
	pthread_join(t[0], &bad);
	ksft_ok(!bad, "one has read what was sent");
	pthread_join(t[1], &bad);
	ksft_ok(!bad, "and so has the other");
	*guest(1, 7) = 99;
	ksft_ok(!ops->publish(h, &(struct drover_ram_run){ 1, 0, 200 }, 1, true, &e) &&
		*guest(1, 7) == 99, "published again as zero: what was written since stays %s", e.msg);
	ksft_ok(ops->next(h, &f, 1, &e) == 0, "nobody waits");
	ops->stop(h, true);
}

int main(void)
{
	char report[DROVER_FAULT_REPORT_MAX];
	struct drover_error e = DROVER_ERROR_INIT;
	const struct drover_fault_ops *ops;
	uint64_t map[5] = { 0 };
	pthread_t t[THREADS];
	unsigned int i;
	void *h = NULL, *ret;
	uintptr_t bad = 0;
	int memfd;

	g.dev = ksft_device();
	begin();
	ops = drover_fault_select(&g.src, "auto", report, &e);
	if (!ksft_ok(ops && !strcmp(ops->name, "kmod"), "auto: %s", report))
		return ksft_end();
	memfd = g.ram.block[1].fd;
	g.ram.block[1].fd = ksft_memfd(600);
	ksft_ok(!drover_fault_select(&g.src, "kmod", report, &e) && strstr(e.msg, "ram1") &&
		strstr(e.msg, "no region"), "a memfd is refused by name: %s", e.msg);
	g.ram.block[1].fd = memfd;
	e = (struct drover_error)DROVER_ERROR_INIT;
	ksft_ok(!drover_fault_select(&g.src, "nonsense", report, &e), "unknown: %s", e.msg);
	e = (struct drover_error)DROVER_ERROR_INIT;

	handler_dies(ops);
	for (i = 0; i < 2; i++)
		close(g.vm[i]);
	begin();
	if (!ksft_ok(ops->start(&g.src, &h, &e) == 0, "started %s", e.msg))
		return ksft_end();
	ksft_ok(!drover_fault_select(&g.src, "kmod", report, &e) && strstr(e.msg, "loader"),
		"a second handler is refused: %s", e.msg);
	e = (struct drover_error)DROVER_ERROR_INIT;
	for (i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, toucher, (void *)(uintptr_t)i);
	ksft_ok(serve(ops, h, 600) == 0, "%u threads: each of 600 pages is asked for once", THREADS);
	for (i = 0; i < THREADS; i++) {
		pthread_join(t[i], &ret);
		bad += (uintptr_t)ret;
	}
	ksft_ok(!bad, "all have read what was sent");
	ksft_ok(!ops->received(h, 1, map, &e) && drover_bitmap_count(map, 200) == 200,
		"received: all of a block that begins within a word");
	ksft_ok(ops->publish(h, &(struct drover_ram_run){ 2, 99, 2 }, 1, false, &e) == -ERANGE,
		"publish past the block: %s", e.msg);
	e = (struct drover_error)DROVER_ERROR_INIT;
	/* A page of the region that is in no block: nothing can arrive there. */
	memset(g.src.received[0], 0, PAGE);
	ksft_ok(ops->publish(h, &(struct drover_ram_run){ 0, 0, 300 }, 1, true, &e) == 0 &&
		!*guest(0, 5) && arrived(0) == 300, "published as zero");
	ops->stop(h, false);
	ksft_ok(*guest(2, 7) == content(2, 7), "stopped: what was received is there");
	begins_anew(ops);
	adopted_between(ops);
	h = NULL;
	ksft_ok(ops->start(&g.src, &h, &e) == 0, "and again %s", e.msg);
	ops->stop(h, true);
	ksft_ok(g.map[0][320 * PAGE] == 0, "open: a page that nobody has sent is there");
	return ksft_end();
}
