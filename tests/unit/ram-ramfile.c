// SPDX-License-Identifier: GPL-2.0-or-later
/* Files of guest RAM: what one is, how long, whether two are the same, holes. */
#include "ram/ramfile.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tap.h"

#define LEN (64 * 4096ul)

static int file_new(void)
{
	int fd = memfd_create("ramfile", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, LEN) < 0)
		abort();
	return fd;
}

static void test_size(int fd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), event = eventfd(0, EFD_CLOEXEC), p[2];
	uint64_t size = 0;

	if (pipe(p) < 0)
		abort();
	tap_ok(drover_ramfile_size(fd, &size) == 0 && size == LEN, "size of a memfd");
	tap_ok(drover_ramfile_size(p[0], &size) == -EINVAL, "a pipe can't be RAM");
	tap_ok(drover_ramfile_size(null, &size) == -EINVAL, "nor can a device without a length");
	tap_ok(drover_ramfile_size(event, &size) == -EINVAL, "nor can an eventfd");
	tap_ok(drover_ramfile_size(-1, &size) == -EBADF, "nor can nothing");
	close(null);
	close(event);
	close(p[0]);
	close(p[1]);
}

static void test_same(int fd)
{
	int dup_fd = dup(fd), other = file_new();

	tap_ok(drover_ramfile_same(fd, dup_fd), "a file and its duplicate");
	tap_ok(!drover_ramfile_same(fd, other), "two files");
	tap_ok(!drover_ramfile_same(fd, -1), "a file and none");
	close(dup_fd);
	close(other);
}

static void test_punch(int fd)
{
	uint8_t *p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	int event = eventfd(0, EFD_CLOEXEC);

	if (p == MAP_FAILED)
		abort();
	memset(p, 1, LEN);
	tap_ok(!drover_ramfile_punch(fd, 4096, 8192, p + 4096) && p[4095] && !p[4096] &&
	       !p[12287] && p[12288], "punched: these pages and no others");
	tap_ok(!drover_ramfile_punch(event, 16384, 4096, p + 16384) && p[16383] && !p[16384] &&
	       !p[20479] && p[20480], "a descriptor that can't be punched: by the mapping");
	tap_ok(drover_ramfile_punch(-1, 0, 4096, p) == -EBADF && p[0], "other errors are told");
	munmap(p, LEN);
	close(event);
}

int main(void)
{
	int fd = file_new();

	test_size(fd);
	test_same(fd);
	test_punch(fd);
	close(fd);
	return tap_done();
}
