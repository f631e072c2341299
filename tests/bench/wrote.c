// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a completion costs a VMM: drover_agent_wrote() of 64 KiB, and a pair of
 * drover_agent_io_begin() and _end(), by several threads, while a harvest takes the marks
 * every 10 ms as a migration in its rounds would. CPU time a call, so that a busy machine
 * or fewer processors than threads do not count. Prints one line a case.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "lib/internal.h"
#include "ram/wrote.h"

#define SIZE (1ull << 30)
#define LEN 65536u
#define CALLS 2000000u
#define THREADS_MAX 8u

enum what { WROTE, ONE_BUFFER, COUNT };

struct job {
	struct drover_agent *agent;
	enum what what;
	uint64_t seed, ns;
	pthread_t thread;
};

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static void *work(void *arg)
{
	struct job *j = arg;
	uint64_t x = j->seed, begin = cpu_ns();
	unsigned int i;

	for (i = 0; i < CALLS; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		if (j->what == COUNT)
			drover_agent_io_end(j->agent, drover_agent_io_begin(j->agent));
		else
			drover_agent_wrote(j->agent, 0, j->what == WROTE ? x % (SIZE / LEN) * LEN :
					   j->seed * LEN, LEN);
	}
	j->ns = cpu_ns() - begin;
	return NULL;
}

static atomic_bool stop;

static void *harvest(void *arg)
{
	struct drover_agent *a = arg;
	uint64_t *map = drover_bitmap_new(SIZE / 4096);

	while (!atomic_load(&stop)) {
		drover_wrote_take(a->wrote, 0, SIZE / 4096, map);
		usleep(10000);
	}
	free(map);
	return NULL;
}

static void run(struct drover_agent *a, enum what what, unsigned int threads, bool taken,
		const char *name)
{
	struct job job[THREADS_MAX];
	uint64_t sum = 0;
	pthread_t taker;
	unsigned int i;

	atomic_store(&stop, false);
	if (taken)
		pthread_create(&taker, NULL, harvest, a);
	for (i = 0; i < threads; i++) {
		job[i] = (struct job){ .agent = a, .what = what, .seed = i + 1 };
		pthread_create(&job[i].thread, NULL, work, &job[i]);
	}
	for (i = 0; i < threads; i++) {
		pthread_join(job[i].thread, NULL);
		sum += job[i].ns;
	}
	atomic_store(&stop, true);
	if (taken)
		pthread_join(taker, NULL);
	printf("%-34s %u threads%s: %.1f ns a call\n", name, threads,
	       taken ? ", harvested every 10 ms" : "", (double)sum / threads / CALLS);
}

static int none(void *opaque, struct drover_text *why)
{
	(void)opaque;
	(void)why;
	return 0;
}

int main(void)
{
	struct drover_agent_ops ops = { .size = sizeof(ops), .pause = none, .resume = none };
	struct drover_agent_opts opts = { .size = sizeof(opts), .ops = &ops,
					  .flags = DROVER_AGENT_OPT_REPORTS_WRITES };
	struct drover_agent_ram_opts ram = { .size = sizeof(ram), .name = "ram", .len = SIZE };
	struct drover_text why = { "" };
	struct drover_agent *a = NULL;
	char path[64];
	unsigned int n;
	int r;

	snprintf(path, sizeof(path), "/tmp/drover-bench-%d", (int)getpid());
	opts.path = path;
	ram.fd = memfd_create("ram", MFD_CLOEXEC);
	r = ftruncate(ram.fd, SIZE);
	ram.host = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, ram.fd, 0);
	if (r >= 0)
		r = drover_agent_new(&opts, &a, &why);
	if (r >= 0)
		r = drover_agent_add_ram(a, &ram, &why);
	if (r >= 0)
		r = drover_agent_listen(a, &why);
	if (r < 0) {
		fprintf(stderr, "%s\n", why.text);
		return 1;
	}
	for (n = 1; n <= THREADS_MAX; n *= THREADS_MAX) {
		run(a, WROTE, n, false, "wrote, 64 KiB anywhere in 1 GiB");
		run(a, WROTE, n, true, "wrote, 64 KiB anywhere in 1 GiB");
		run(a, ONE_BUFFER, n, true, "wrote, a buffer a thread");
		run(a, COUNT, n, true, "io_begin and io_end");
	}
	drover_agent_free(a);
	return 0;
}
