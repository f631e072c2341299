// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A thousand regions, made and left in every way: closed, mapped when closed, waited for
 * when killed, by name; and the loader killed at each step of its work.
 * set: long
 * timeout: 240
 */
#include <dirent.h>

#include "kselftest.h"

#define PAGES 64u
#define PAGE 4096u

static int dev;

static int region(const char *name, struct drover_region *r)
{
	*r = (struct drover_region){ .size = sizeof(*r), .flags = DROVER_REGION_GATED,
				     .bytes = PAGES * PAGE };
	snprintf(r->name, sizeof(r->name), "%s", name);
	return ioctl(dev, DROVER_IOC_REGION, r) < 0 ? -errno : 0;
}

static int publish(int loader, unsigned int first, unsigned int n)
{
	struct drover_range range = { first, n };
	struct drover_publish p = { .size = sizeof(p), .ranges = (uintptr_t)&range, .nranges = 1 };

	return ioctl(loader, DROVER_IOC_PUBLISH, &p);
}

static unsigned int descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned int n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

/* A process that makes one, has a thread wait or not, and is killed. */
static void killed(unsigned int round, const char *name)
{
	pid_t pid = fork();

	if (!pid) {
		struct drover_region r;
		uint8_t *p;

		if (region(name, &r))
			_exit(1);
		p = ksft_map(r.vm_fd, PAGES);
		if (round % 2)
			p[0] = 1;	/* nobody will ever answer */
		pause();
	}
	ksft_msleep(round % 5);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void thousand(void)
{
	unsigned int i, failed = 0, before = descriptors();
	struct drover_region r;

	for (i = 0; i < 1000; i++) {
		char name[32] = "";
		uint8_t *p;

		if (i % 3 == 0)
			snprintf(name, sizeof(name), "many%u", i % 7);
		if (i % 10 == 9) {
			killed(i / 10, name);
			continue;
		}
		if (region(name, &r)) {
			failed++;
			continue;
		}
		p = ksft_map(r.vm_fd, PAGES);
		failed += publish(r.loader_fd, 0, i % PAGES + 1) < 0 || *p;
		close(i % 2 ? r.vm_fd : r.loader_fd);
		if (i % 4 < 2)
			munmap(p, PAGES * PAGE);
		close(i % 2 ? r.loader_fd : r.vm_fd);
		if (i % 4 >= 2)
			munmap(p, PAGES * PAGE);
	}
	ksft_ok(!failed, "1000 regions: %u failed", failed);
	ksft_ok(descriptors() == before, "no descriptor is left");
	ksft_ok(!region("many0", &r), "a name is free again: %s", strerror(errno));
	close(r.vm_fd);
	close(r.loader_fd);
}

/* ---- the loader is killed at each step; another one goes on ---- */

enum { STEP_START, STEP_READ, STEP_FILLED, STEP_PUBLISHED, STEPS };

static void load(int loader, unsigned int until)
{
	uint8_t *plain = ksft_map(loader, PAGES);
	struct drover_request q;

	while (until != STEP_START && read(loader, &q, sizeof(q)) == sizeof(q)) {
		if (until == STEP_READ)
			break;
		plain[q.page * PAGE] = (uint8_t)(q.page + 1);
		if (until == STEP_FILLED)
			break;
		publish(loader, (unsigned int)q.page, 1);
		if (until == STEP_PUBLISHED)
			break;
	}
}

static pid_t loader_process(const struct drover_region *r, unsigned int until, int told)
{
	struct drover_adopt a = { .size = sizeof(a), .id = r->id };
	pid_t pid = fork();
	int loader;

	if (pid)
		return pid;
	loader = ioctl(dev, DROVER_IOC_ADOPT, &a);
	if (loader < 0)
		_exit(1);
	load(loader, until);
	if (write(told, "x", 1) != 1)
		_exit(1);
	pause();
	_exit(0);
}

static void loader_dies(unsigned int step)
{
	struct drover_region r;
	unsigned int i, bad = 0;
	pid_t guest, pid;
	int s[2], st;
	char c;

	if (region("", &r) || pipe(s) < 0)
		ksft_die("region");
	close(r.loader_fd);
	guest = fork();
	if (!guest) {
		volatile uint8_t *p = ksft_map(r.vm_fd, PAGES);

		for (i = 0; i < PAGES; i++)
			bad += p[i * PAGE] != (uint8_t)(i + 1);
		_exit(bad != 0);
	}
	/* Some of them, one after the other, then one that stays. */
	for (i = 0; i < 5; i++) {
		pid = loader_process(&r, step, s[1]);
		if (read(s[0], &c, 1) != 1)
			ksft_die("pipe");
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	pid = loader_process(&r, STEPS, s[1]);
	waitpid(guest, &st, 0);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	ksft_ok(WIFEXITED(st) && !WEXITSTATUS(st), "loaders killed at step %u: the guest reads all", step);
	close(r.vm_fd);
	close(s[0]);
	close(s[1]);
}

int main(void)
{
	unsigned int step;

	dev = ksft_device();
	thousand();
	for (step = STEP_START; step < STEPS; step++)
		loader_dies(step);
	return ksft_end();
}
