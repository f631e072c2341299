/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_VM_REGION_H
#define DROVER_VM_REGION_H

/* A region and ways to touch it that come back, for the programs that test the gate. */
#include <grp.h>
#include <setjmp.h>
#include <sys/time.h>

#include "kselftest.h"

#define PAGE 4096u
#define HUGE_BYTES (2u << 20)

/* What a load gave, if it is no content: it was still waiting, or there was a SIGBUS. */
enum { WAITS = -SIGALRM, NO_PAGE = -SIGBUS };

static struct drover_region reg;
static int reg_dev;
static sigjmp_buf reg_back;

static inline void reg_signal(int sig)
{
	siglongjmp(reg_back, sig);
}

static inline void reg_begin(void)
{
	signal(SIGALRM, reg_signal);
	signal(SIGBUS, reg_signal);
	reg_dev = ksft_device();
}

static inline int reg_try(const char *name, uint64_t pages, uint32_t flags, uint64_t grace_ms)
{
	reg = (struct drover_region){ .size = sizeof(reg), .bytes = pages * PAGE, .flags = flags,
				      .grace_ms = grace_ms };
	snprintf(reg.name, sizeof(reg.name), "%s", name);
	return ioctl(reg_dev, DROVER_IOC_REGION, &reg) ? -errno : 0;
}

static inline void reg_new(const char *name, uint64_t pages, uint32_t flags, uint64_t grace_ms)
{
	if (reg_try(name, pages, flags, grace_ms))
		ksft_die("region");
}

static inline void reg_close(void)
{
	close(reg.vm_fd);
	close(reg.loader_fd);
}

static inline int reg_publish(uint64_t first, uint64_t n, uint32_t flags)
{
	struct drover_range range = { first, n };
	struct drover_publish p = { .size = sizeof(p), .flags = flags,
				    .ranges = (uintptr_t)&range, .nranges = 1 };

	return ioctl(reg.loader_fd, DROVER_IOC_PUBLISH, &p) ? -errno : 0;
}

static inline int reg_adopt(void)
{
	struct drover_adopt a = { .size = sizeof(a), .id = reg.id };
	int fd = ioctl(reg_dev, DROVER_IOC_ADOPT, &a);

	return fd < 0 ? -errno : fd;
}

/* The content of a byte, or WAITS when that takes too long, or NO_PAGE. */
static inline int reg_load(volatile const uint8_t *p)
{
	struct itimerval on = { .it_value = { 0, 300000 * (long)ksft_scale() } }, off = { 0 };
	int sig = sigsetjmp(reg_back, 1), value;

	if (sig)
		return -sig;
	if (ksft_scale() > 3)
		on.it_value = (struct timeval){ 2, 0 };
	setitimer(ITIMER_REAL, &on, NULL);
	value = *p;
	setitimer(ITIMER_REAL, &off, NULL);
	return value;
}

/* A mapping where the kernel could use a huge page. */
static inline uint8_t *reg_map_aligned(int fd, size_t bytes)
{
	uint8_t *room =
		mmap(NULL, bytes + HUGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uintptr_t at = ((uintptr_t)room + HUGE_BYTES - 1) & ~(uintptr_t)(HUGE_BYTES - 1);
	uint8_t *p = mmap((void *)at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);

	if (room == MAP_FAILED || p == MAP_FAILED)
		ksft_die("mmap");
	return p;
}

/* The exit status of @fn in a child with nobody's rights, which has no descriptor but vm_fd. */
static inline int reg_unprivileged(int (*fn)(void))
{
	pid_t pid = fork();
	int st;

	if (!pid) {
		close(reg_dev);
		close(reg.loader_fd);
		if (setgroups(0, NULL) || setgid(65534) || setuid(65534))
			_exit(99);
		_exit(fn());
	}
	if (waitpid(pid, &st, 0) != pid)
		ksft_die("waitpid");
	return WIFEXITED(st) ? WEXITSTATUS(st) : 1000 + WTERMSIG(st);
}

#endif
