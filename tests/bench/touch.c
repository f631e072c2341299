// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What bench-postcopy measures with: a VMM without KVM whose guest is threads that touch
 * random pages of a migrated memory, each touch timed by the one who waits; and the limit, a
 * ping-pong of one page over the same kind of socket.
 *
 *	touch [OPTION...] SOCKET MEGABYTES source
 *	touch [OPTION...] SOCKET MEGABYTES dest THREADS TOUCHES	touches a thread, at most
 *	touch pingpong ROUNDS
 *
 *	--region	its memory is a region of the module
 *	--least US	only touches of at least so long were waits for a page (2): others found
 *			it mapped, or, where all is slow, were ordinary faults
 *
 * A destination prints a line of JSON when its threads are done; "wrong" is how many touches
 * found something else than the source had there.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/drover.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/drover.h"

#define PAGE 4096u
#define THREADS_MAX 64u
#define WAIT_US 2u
#define REQUEST 52u
#define REPLY (PAGE + 72u)

struct toucher {
	struct guest *g;
	pthread_t thread;
	uint64_t seed;
	uint64_t *ns;
	unsigned int n, wrong;
};

struct guest {
	int fd;
	volatile uint8_t *ram;
	uint64_t npages;
	unsigned int nthreads, touches;
	uint64_t least_ns;
	int region;
	int started, incoming;
	struct toucher t[THREADS_MAX];
	pthread_t waiter;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t next_random(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

/* What a source has as its @i-th byte: of a 64-bit word made from its number (splitmix64). */
static uint64_t word(uint64_t i)
{
	uint64_t x = (i + 1) * 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static uint8_t byte(uint64_t i)
{
	return (uint8_t)(word(i / 8) >> i % 8 * 8);
}

static void *touch_main(void *arg)
{
	struct toucher *t = arg;
	struct guest *g = t->g;
	unsigned int i;

	for (i = 0; i < g->touches; i++) {
		uint64_t page = next_random(&t->seed) % g->npages, begin = now_ns(), ns;
		uint8_t found = g->ram[page * PAGE + page % PAGE];

		ns = now_ns() - begin;
		t->wrong += found != byte(page * PAGE + page % PAGE);
		if (ns >= g->least_ns)
			t->ns[t->n++] = ns;
	}
	return NULL;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void print_percentiles(uint64_t *ns, unsigned int n, const char *more)
{
	qsort(ns, n, sizeof(*ns), by_value);
	printf("{\"waits\": %u, \"median_us\": %.1f, \"p99_us\": %.1f%s}\n", n,
	       n ? (double)ns[n / 2] / 1000 : 0, n ? (double)ns[n - 1 - n / 100] / 1000 : 0, more);
	fflush(stdout);
}

static void *waiter_main(void *arg)
{
	struct guest *g = arg;
	uint64_t *all = calloc((size_t)g->nthreads * g->touches, sizeof(*all));
	uint64_t begin = now_ns();
	unsigned int i, n = 0, wrong = 0;
	char more[96];

	for (i = 0; i < g->nthreads; i++) {
		pthread_join(g->t[i].thread, NULL);
		if (all)
			memcpy(all + n, g->t[i].ns, g->t[i].n * sizeof(*all));
		n += g->t[i].n;
		wrong += g->t[i].wrong;
	}
	snprintf(more, sizeof(more), ", \"wrong\": %u, \"seconds\": %.3f", wrong,
		 (double)(now_ns() - begin) / 1e9);
	if (all)
		print_percentiles(all, n, more);
	free(all);
	return NULL;
}

static int g_pause(void *o, struct drover_text *why)
{
	(void)o;
	(void)why;
	return 0;
}

/* The touches never write, so a guest that runs on does no harm to anybody. */
static int g_resume(void *o, struct drover_text *why)
{
	struct guest *g = o;
	unsigned int i;

	(void)why;
	if (!g->incoming || g->started)
		return 0;
	g->started = 1;
	printf("{\"resumed_ns\": %llu}\n", (unsigned long long)now_ns());
	fflush(stdout);
	for (i = 0; i < g->nthreads; i++) {
		struct toucher *t = &g->t[i];

		*t = (struct toucher){ .g = g, .seed = 0x9e3779b97f4a7c15u * (i + 1) };
		t->ns = calloc(g->touches, sizeof(*t->ns));
		if (!t->ns || pthread_create(&t->thread, NULL, touch_main, t))
			return -ENOMEM;
	}
	return g->nthreads ? -pthread_create(&g->waiter, NULL, waiter_main, g) : 0;
}

static int g_save(void *o, int fd, struct drover_text *why)
{
	(void)o;
	(void)why;
	return write(fd, "touch", 5) == 5 ? 0 : -EIO;
}

static int g_load(void *o, int fd, uint64_t len, struct drover_text *why)
{
	(void)o;
	(void)fd;
	(void)why;
	return len == 5 ? 0 : -EINVAL;
}

static int g_prepare(void *o, struct drover_text *why)
{
	(void)o;
	(void)why;
	return 0;
}

/* The gate is open; droverd becomes the loader, so a loader descriptor here would be in the way. */
static int make_region(uint64_t len)
{
	struct drover_region region = { .size = sizeof(region), .bytes = len };
	struct drover_text why = { "" };
	int dev = -1, r = drover_kmod_open(&dev, &why);

	if (r >= 0)
		r = drover_kmod_region(dev, &region, &why);
	if (dev >= 0)
		close(dev);
	if (r < 0) {
		fprintf(stderr, "touch: %s\n", why.text);
		return -1;
	}
	close(region.loader_fd);
	return region.vm_fd;
}

static int make_file(uint64_t len)
{
	int fd = memfd_create("touch", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	return fd < 0 || ftruncate(fd, (off_t)len) < 0 ? -1 : fd;
}

static int make_ram(struct guest *g, uint64_t len)
{
	uint64_t i, *p;

	g->fd = g->region ? make_region(len) : make_file(len);
	if (g->fd < 0)
		return -EIO;
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, g->fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	g->ram = (volatile uint8_t *)p;
	g->npages = len / PAGE;
	for (i = 0; i < len / 8 && !g->incoming; i++)
		p[i] = word(i);
	return 0;
}

static int run(struct guest *g, const char *path, uint64_t len)
{
	const struct drover_agent_ops ops = {
		.size = sizeof(ops), .pause = g_pause, .resume = g_resume, .save = g_save,
		.load = g_load, .prepare = g_prepare,
	};
	const struct drover_agent_opts opts = {
		.size = sizeof(opts), .path = path, .ops = &ops, .opaque = g,
		.flags = g->incoming ? DROVER_AGENT_OPT_INCOMING : 0,
	};
	struct drover_agent_ram_opts ram = {
		.size = sizeof(ram), .name = "ram0", .len = len, .fd = g->fd,
		.host = (void *)g->ram,
	};
	struct drover_agent *agent = NULL;
	struct drover_text why = { "" };
	int r = drover_agent_new(&opts, &agent, &why);

	if (r >= 0)
		r = drover_agent_add_ram(agent, &ram, &why);
	if (r >= 0)
		r = drover_agent_listen(agent, &why);
	if (r >= 0 && !g->incoming)
		r = drover_agent_set_running(agent, 1);
	while (r >= 0) {
		struct pollfd p = { .fd = drover_agent_fd(agent), .events = POLLIN };

		if (poll(&p, 1, -1) > 0)
			r = drover_agent_dispatch(agent);
	}
	fprintf(stderr, "touch: %s\n", why.text);
	drover_agent_free(agent);
	return 1;
}

static int whole(int fd, uint8_t *buf, size_t len, int out)
{
	while (len) {
		ssize_t n = out ? send(fd, buf, len, 0) : recv(fd, buf, len, 0);

		if (n <= 0)
			return -1;
		buf += n;
		len -= (size_t)n;
	}
	return 0;
}

static int connected_pair(int fd[2])
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(a);
	int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (l < 0 || fd[0] < 0 || bind(l, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(l, 1) < 0 ||
	    getsockname(l, (struct sockaddr *)&a, &len) < 0 ||
	    connect(fd[0], (struct sockaddr *)&a, sizeof(a)) < 0)
		return -1;
	fd[1] = accept(l, NULL, NULL);
	close(l);
	setsockopt(fd[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd[1], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd[1] < 0 ? -1 : 0;
}

static int pingpong(unsigned int rounds)
{
	static uint8_t buf[REPLY];
	uint64_t *ns = calloc(rounds, sizeof(*ns));
	unsigned int i;
	pid_t child;
	int fd[2];

	if (!ns || !rounds || connected_pair(fd) < 0)
		return 1;
	child = fork();
	if (!child) {
		close(fd[0]);
		while (!whole(fd[1], buf, REQUEST, 0) && !whole(fd[1], buf, REPLY, 1))
			;
		_exit(0);
	}
	close(fd[1]);
	for (i = 0; i < rounds; i++) {
		uint64_t begin = now_ns();

		if (whole(fd[0], buf, REQUEST, 1) || whole(fd[0], buf, REPLY, 0))
			return 1;
		ns[i] = now_ns() - begin;
	}
	close(fd[0]);
	waitpid(child, NULL, 0);
	print_percentiles(ns, rounds, "");
	free(ns);
	return 0;
}

int main(int argc, char **argv)
{
	struct guest g = { .fd = -1, .least_ns = WAIT_US * 1000u };
	uint64_t len;

	for (; argc > 1 && !strncmp(argv[1], "--", 2); argc--, argv++) {
		if (!strcmp(argv[1], "--region")) {
			g.region = 1;
		} else if (!strcmp(argv[1], "--least") && argc > 2) {
			g.least_ns = (uint64_t)atoi(argv[2]) * 1000u;
			argc--;
			argv++;
		} else {
			return 2;
		}
	}
	if (argc == 3 && !strcmp(argv[1], "pingpong"))
		return pingpong((unsigned int)atoi(argv[2]));
	if (argc != 4 && argc != 6)
		return 2;
	len = (uint64_t)atoi(argv[2]) << 20;
	g.incoming = argc == 6;
	if (g.incoming) {
		g.nthreads = (unsigned int)atoi(argv[4]);
		g.touches = (unsigned int)atoi(argv[5]);
	}
	if (!len || g.nthreads > THREADS_MAX || make_ram(&g, len) < 0)
		return 2;
	return run(&g, argv[1], len);
}
