/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_KSELFTEST_H
#define DROVER_KSELFTEST_H

/*
 * What a test program in the guest uses: TAP on stdout, the plan at the end, and the
 * few things that each of them opens. A program ends with `return ksft_end();`.
 *
 * Comments of a program that tests/vm/run.sh reads (a line each, anywhere):
 *	needs: MODULE...	modules of the kernel that are loaded before
 *	files: PROGRAM...	programs of build/ that it starts, found in PATH
 *	timeout: SECONDS	when it hangs (30); times TIMEOUT_SCALE
 *	set: NAME		run with this set only (long, bench), not by default
 *	since: VERSION		not run, unless by name, on an older kernel
 *	control: SWITCH TEXT	with module parameter debug=SWITCH, a result whose name has
 *				TEXT must be "not ok" (make check-vm-controls)
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/drover.h>

#define KSFT_PAGE 4096ul
#define KSFT_SIZE(array) (sizeof(array) / sizeof((array)[0]))

struct ksft {
	unsigned int n;
	unsigned int failed;
};

static inline struct ksft *ksft_state(void)
{
	static struct ksft state;

	return &state;
}

static inline __attribute__((format(printf, 2, 0))) bool ksft_result(bool cond, const char *fmt,
								      va_list ap)
{
	struct ksft *k = ksft_state();

	k->n++;
	k->failed += !cond;
	printf("%sok %u - ", cond ? "" : "not ", k->n);
	vprintf(fmt, ap);
	putchar('\n');
	/* What is printed before a crash must be seen. */
	fflush(stdout);
	return cond;
}

/* One result. Returns @cond. */
static inline __attribute__((format(printf, 2, 3))) bool ksft_ok(bool cond, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	ksft_result(cond, fmt, ap);
	va_end(ap);
	return cond;
}

static inline __attribute__((format(printf, 1, 2))) void ksft_note(const char *fmt, ...)
{
	va_list ap;

	printf("# ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

static inline int ksft_end(void)
{
	const struct ksft *k = ksft_state();

	printf("1..%u\n", k->n);
	fflush(stdout);
	return k->failed ? 1 : 0;
}

/* The test can't go on: what it needs to begin with does not work. */
static inline __attribute__((format(printf, 1, 2), noreturn)) void ksft_die(const char *fmt, ...)
{
	int saved = errno;
	va_list ap;

	printf("Bail out! ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf(": %s\n", strerror(saved));
	fflush(stdout);
	_exit(1);
}

/* @ret is what a call returned: it must be -1 with @want in errno, or >= 0 for @want 0. */
#define ksft_errno(ret, want, ...) ({ \
	long ksft_ret = (long)(ret);	/* errno is read after the call, not before */ \
	ksft_errno_at(ksft_ret, errno, (want), __VA_ARGS__); \
})
static inline __attribute__((format(printf, 4, 5))) bool ksft_errno_at(long ret, int err, int want,
									const char *fmt, ...)
{
	bool good = want ? ret < 0 && err == want : ret >= 0;
	va_list ap;

	va_start(ap, fmt);
	ksft_result(good, fmt, ap);
	va_end(ap);
	if (!good)
		ksft_note("returned %ld, %s; expected %s", ret, ret < 0 ? strerror(err) : "no error",
			  want ? strerror(want) : "no error");
	return good;
}

static inline int ksft_device(void)
{
	int fd = open("/dev/drover", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		ksft_die("/dev/drover");
	return fd;
}

static inline int ksft_memfd(uint64_t npages)
{
	int fd = memfd_create("ksft", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, (off_t)(npages * KSFT_PAGE)))
		ksft_die("memfd of %llu pages", (unsigned long long)npages);
	return fd;
}

static inline void *ksft_map(int fd, uint64_t npages)
{
	void *p = mmap(NULL, npages * KSFT_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		ksft_die("mmap of %llu pages", (unsigned long long)npages);
	return p;
}

/* How much longer than usual a test may take: the kernel may be slow. */
static inline unsigned int ksft_scale(void)
{
	const char *text = getenv("TIMEOUT_SCALE");
	int n = text ? atoi(text) : 1;

	return n > 1 ? (unsigned int)n : 1;
}

static inline uint64_t ksft_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline void ksft_msleep(unsigned int ms)
{
	struct timespec t = { ms / 1000, (long)(ms % 1000) * 1000000 };

	while (nanosleep(&t, &t) && errno == EINTR)
		;
}

#endif
