// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A guest in a process of its own, without KVM: one block of memory, a thread that
 * writes to it and punches a page now and then while the guest runs. For what needs a
 * VMM that is not droverd, on a machine that can't run one.
 *
 *	migrate-guest SOCKET MEGABYTES source|dest
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "lib/drover.h"

#define PAGE 4096u
#define BURST 16u
#define PUNCH_EVERY 64u

struct guest {
	int fd;
	uint8_t *ram;
	uint64_t npages;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	int running;
	uint64_t steps;
};

static int g_pause(void *o, struct drover_text *why)
{
	struct guest *g = o;

	(void)why;
	pthread_mutex_lock(&g->lock);
	g->running = 0;
	pthread_mutex_unlock(&g->lock);
	return 0;
}

static int g_resume(void *o, struct drover_text *why)
{
	struct guest *g = o;

	(void)why;
	pthread_mutex_lock(&g->lock);
	g->running = 1;
	pthread_cond_signal(&g->cond);
	pthread_mutex_unlock(&g->lock);
	return 0;
}

static int g_save(void *o, int fd, struct drover_text *why)
{
	const struct guest *g = o;

	(void)why;
	return write(fd, &g->steps, sizeof(g->steps)) == sizeof(g->steps) ? 0 : -5;
}

static int g_load(void *o, int fd, uint64_t len, struct drover_text *why)
{
	struct guest *g = o;

	(void)why;
	return len == sizeof(g->steps) && pread(fd, &g->steps, len, 0) == (ssize_t)len ? 0 : -22;
}

static int g_prepare(void *o, struct drover_text *why)
{
	return g_pause(o, why);
}

/* Under the lock, so that nothing is written after a pause has returned. */
static void burst(struct guest *g)
{
	unsigned int i;

	for (i = 0; i < BURST; i++) {
		uint64_t x = ++g->steps * 0x9e3779b97f4a7c15ull, page = (x >> 20) % g->npages;

		if (g->steps % PUNCH_EVERY == 0)
			fallocate(g->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				  (off_t)(page * PAGE), PAGE);
		else
			memcpy(g->ram + page * PAGE + x % 512 * 8, &x, sizeof(x));
	}
}

static void *writer(void *arg)
{
	const struct timespec nap = { .tv_nsec = 2000000 };
	struct guest *g = arg;

	for (;;) {
		pthread_mutex_lock(&g->lock);
		while (!g->running)
			pthread_cond_wait(&g->cond, &g->lock);
		burst(g);
		pthread_mutex_unlock(&g->lock);
		nanosleep(&nap, NULL);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	static const struct drover_agent_ops ops = {
		.size = sizeof(ops), .pause = g_pause, .resume = g_resume, .save = g_save,
		.load = g_load, .prepare = g_prepare,
	};
	static struct guest g = { .lock = PTHREAD_MUTEX_INITIALIZER,
				  .cond = PTHREAD_COND_INITIALIZER };
	struct drover_agent_opts opts = { .size = sizeof(opts), .ops = &ops, .opaque = &g };
	struct drover_agent_ram_opts ram = { .size = sizeof(ram), .name = "ram0" };
	struct drover_text why = { "" };
	struct drover_agent *agent;
	struct pollfd p = { .events = POLLIN };
	pthread_t thread;
	uint64_t i;
	int source;

	if (argc != 4)
		return 2;
	source = !strcmp(argv[3], "source");
	opts.path = argv[1];
	opts.flags = source ? 0 : DROVER_AGENT_OPT_INCOMING;
	ram.len = strtoull(argv[2], NULL, 10) << 20;
	g.npages = ram.len / PAGE;
	g.fd = ram.fd = memfd_create("migrate-guest", MFD_CLOEXEC);
	if (g.fd < 0 || ftruncate(g.fd, (off_t)ram.len) < 0)
		return 1;
	g.ram = ram.host = mmap(NULL, ram.len, PROT_READ | PROT_WRITE, MAP_SHARED, g.fd, 0);
	for (i = 0; source && i < g.npages; i += 1 + i % 2)
		memset(g.ram + i * PAGE, (int)(i % 251 + 1), PAGE);
	g.running = source;
	if (drover_agent_new(&opts, &agent, &why) < 0 ||
	    drover_agent_add_ram(agent, &ram, &why) < 0 || drover_agent_listen(agent, &why) < 0 ||
	    pthread_create(&thread, NULL, writer, &g)) {
		fprintf(stderr, "migrate-guest: %s\n", why.text);
		return 1;
	}
	p.fd = drover_agent_fd(agent);
	while (poll(&p, 1, -1) >= 0)
		if (drover_agent_dispatch(agent) < 0)
			return 1;
	return 1;
}
