// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Guest RAM that can't be touched: a file that was shortened, a tmpfs that is full, a page
 * that is poisoned. The thread goes on, the first page is named with the cause, the rest of
 * the memory is as it was; afterwards it can be mended. The control dies of it.
 */
#define _GNU_SOURCE
#include "ram/bus.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/page-digest.h"
#include "base/zero.h"
#include "tap.h"

#define PAGES 64u
#define PAGE 4096ul

/* Newer than the headers here. */
#ifndef UFFDIO_POISON
struct uffdio_poison {
	struct uffdio_range range;
	__u64 mode;
	__s64 updated;
};
#define UFFDIO_POISON _IOWR(UFFDIO, 0x08, struct uffdio_poison)
#endif

static struct drover_ram ram;

static void handler(int sig, siginfo_t *si, void *context)
{
	(void)context;
	if (!drover_ram_bus(&ram, si->si_addr))
		signal(sig, SIG_DFL);
}

static void ram_open(int fd)
{
	memset(&ram, 0, sizeof(ram));
	ram.n = 2;
	strcpy(ram.block[0].name, "low");
	strcpy(ram.block[1].name, "high");
	ram.block[0].fd = memfd_create("low", MFD_CLOEXEC);
	ram.block[1].fd = fd;
	ram.block[0].size = ram.block[1].size = PAGES * PAGE;
	if (ftruncate(ram.block[0].fd, PAGES * PAGE) < 0 || ftruncate(fd, PAGES * PAGE) < 0)
		abort();
	for (fd = 0; fd < 2; fd++) {
		ram.block[fd].host = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
					  ram.block[fd].fd, 0);
		if (ram.block[fd].host == MAP_FAILED)
			abort();
	}
}

static void ram_close(void)
{
	unsigned int i;

	for (i = 0; i < 2; i++) {
		munmap(ram.block[i].host, PAGES * PAGE);
		close(ram.block[i].fd);
	}
}

static volatile uint8_t *page(unsigned int n)
{
	return ram.block[1].host + n * PAGE;
}

static void named(unsigned int n, const char *cause, const char *what)
{
	struct drover_error e = DROVER_ERROR_INIT;
	char want[64];

	snprintf(want, sizeof(want), "RAM high: page %u can't be touched: ", n);
	tap_ok(drover_ram_bus_error(&ram, &e) == -EFAULT && strstr(e.msg, want) &&
	       strstr(e.msg, cause), "%s: %s", what, e.msg);
}

static void *digest_all(void *arg)
{
	uint64_t sum = 0;
	unsigned int i;

	(void)arg;
	for (i = 0; i < PAGES; i++)
		sum += drover_page_digest((void *)page(i));
	return (void *)(uintptr_t)sum;
}

static void shortened(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	drover_zero_fn is_zero = drover_zero_select();
	pthread_t t[4];
	unsigned int i;

	ram_open(memfd_create("high", MFD_CLOEXEC));
	memset(ram.block[1].host, 0x5a, PAGES * PAGE);
	tap_ok(drover_ram_bus_error(&ram, &e) == 0 && drover_ram_mend(&ram, &e) == 0, "all is well");
	if (ftruncate(ram.block[1].fd, 40 * PAGE) < 0)
		abort();
	tap_ok(is_zero((void *)page(39)) == false && drover_ram_bus_error(&ram, &e) == 0,
	       "the last page that is left");
	tap_ok(is_zero((void *)page(50)), "a page behind it is taken for zeros");
	named(50, "was shortened", "and named");
	for (i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, digest_all, NULL);
	for (i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	named(50, "was shortened", "the first is remembered, other threads or not");
	tap_ok(*page(0) == 0x5a && *page(39) == 0x5a, "what is left is as it was");
	tap_ok(drover_ram_mend(&ram, &e) == 0 && drover_ram_bus_error(&ram, &e) == 0, "mended");
	tap_ok(*page(45) == 0, "but it is not there");
	named(45, "was shortened", "and found again");
	if (ftruncate(ram.block[1].fd, PAGES * PAGE) < 0)
		abort();
	*page(45) = 9;
	tap_ok(drover_ram_mend(&ram, &e) == 0 && *page(45) == 0 && *page(39) == 0x5a,
	       "lengthened and mended: the file's own pages");
	*page(45) = 7;
	tap_ok(pread(ram.block[1].fd, &i, 1, 45 * PAGE) == 1 && (i & 255) == 7 &&
	       drover_ram_bus_error(&ram, &e) == 0, "stores reach the file again");
	ram_close();
}

/* A tmpfs of 16 pages, of which this process alone knows. */
static void full(void)
{
	char dir[] = "/tmp/drover-unit-XXXXXX", path[64];
	unsigned int i;
	int fd;

	if (!mkdtemp(dir))
		abort();
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("drover", dir, "tmpfs", 0, "size=64k") < 0) {
		tap_skip("a tmpfs of its own: %s", strerror(errno));
		rmdir(dir);
		return;
	}
	snprintf(path, sizeof(path), "%s/ram", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ram_open(fd);
	for (i = 0; i < 16; i++)
		*page(i) = 1;
	tap_ok(drover_ram_bus_error(&ram, NULL) == 0, "as many pages as it has");
	*page(20) = 1;
	named(20, "tmpfs is full", "a store for which there is no page");
	ram_close();
	umount(dir);
	rmdir(dir);
}

static void poisoned(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_poison p = { .mode = 0 };
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	ram_open(memfd_create("high", MFD_CLOEXEC));
	reg.range.start = (uintptr_t)page(0);
	reg.range.len = PAGES * PAGE;
	p.range.start = (uintptr_t)page(30);
	p.range.len = PAGE;
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) || ioctl(uffd, UFFDIO_REGISTER, &reg) ||
	    ioctl(uffd, UFFDIO_POISON, &p)) {
		tap_skip("UFFDIO_POISON (Linux 6.6): %s", strerror(errno));
	} else {
		tap_ok(*page(30) == 0, "a poisoned page");
		named(30, "memory is broken", "it is named");
	}
	close(uffd);
	ram_close();
}

/* Not the guest's memory: the process dies, as it always did. */
static void control(bool handled)
{
	int status, fd = memfd_create("x", MFD_CLOEXEC);
	pid_t pid;

	ram_open(memfd_create("high", MFD_CLOEXEC));
	if (ftruncate(handled ? fd : ram.block[1].fd, 0) < 0)
		abort();
	pid = fork();
	if (!pid) {
		volatile uint8_t *other = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);

		if (!handled)
			signal(SIGBUS, SIG_DFL);
		_exit(handled ? *other : *page(3));
	}
	waitpid(pid, &status, 0);
	tap_ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS, "control: %s", handled ?
	       "memory that is no guest's" : "without the handler");
	ram_close();
	close(fd);
}

int main(void)
{
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };

	sigaction(SIGBUS, &sa, NULL);
	shortened();
	full();
	poisoned();
	control(false);
	control(true);
	return tap_done();
}
