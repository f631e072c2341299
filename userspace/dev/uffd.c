// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * userfaultfd(2) with types. No policy: which features, modes and ranges is the
 * trackers' and fault handlers' business. A file descriptor belongs to the address
 * space it was created in, so every call works on another process's memory too.
 */
#define _GNU_SOURCE
#include "dev/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "base/err.h"

/* Root may call the system call; others need access to the device node. */
static int uffd_open(void)
{
	_cleanup_close_ int dev = -EBADF;
	long fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0)
		return (int)fd;
	if (errno != EPERM)
		return -errno;
	dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (dev < 0)
		return -EPERM;
	fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	return fd < 0 ? -errno : (int)fd;
}

/* The handshake can be done once a descriptor, so asking costs one of its own. */
static int uffd_query(uint64_t *ret)
{
	struct uffdio_api api = { .api = UFFD_API };
	_cleanup_close_ int fd = uffd_open();

	if (fd < 0)
		return fd;
	if (ioctl(fd, UFFDIO_API, &api) < 0)
		return -errno;
	*ret = api.features;
	return 0;
}

uint64_t drover_uffd_kernel_features(void)
{
	uint64_t features = 0;

	return uffd_query(&features) < 0 ? 0 : features;
}

int drover_uffd_new(uint64_t want, int *ret_fd, uint64_t *ret_features, struct drover_error *e)
{
	_cleanup_close_ int fd = -EBADF;
	struct uffdio_api api = { .api = UFFD_API };
	uint64_t have;
	int r = uffd_query(&have);

	if (r < 0)
		return drover_err(e, r, "userfaultfd: create: %s", drover_strerror(r));
	fd = uffd_open();
	if (fd < 0)
		return drover_err(e, fd, "userfaultfd: create: %s", drover_strerror(fd));
	api.features = want & have;
	if (ioctl(fd, UFFDIO_API, &api) < 0)
		return drover_err(e, -errno, "userfaultfd: handshake: %s", drover_strerror(errno));
	if (ret_features)
		*ret_features = want & have;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int drover_uffd_register(int fd, uint64_t start, uint64_t len, uint64_t mode)
{
	struct uffdio_register a = { .range = { start, len }, .mode = mode };

	return ioctl(fd, UFFDIO_REGISTER, &a) < 0 ? -errno : 0;
}

int drover_uffd_unregister(int fd, uint64_t start, uint64_t len)
{
	struct uffdio_range a = { start, len };

	if (ioctl(fd, UFFDIO_UNREGISTER, &a) < 0)
		return -errno;
	/*
	 * The kernel wakes who waits before it takes the registration away; who comes to wait
	 * in between, under the lock of the mapping alone (Linux 6.8 and later), sleeps for ever.
	 */
	return ioctl(fd, UFFDIO_WAKE, &a) < 0 ? -errno : 0;
}

int drover_uffd_writeprotect(int fd, uint64_t start, uint64_t len, bool protect)
{
	struct uffdio_writeprotect a = {
		.range = { start, len },
		.mode = protect ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	/* EAGAIN: the address space was changing; nothing was protected. */
	while (ioctl(fd, UFFDIO_WRITEPROTECT, &a) < 0)
		if (errno != EAGAIN)
			return -errno;
	return 0;
}

int drover_uffd_continue(int fd, uint64_t start, uint64_t len, uint64_t *ret_done)
{
	struct uffdio_continue a = { .range = { start, len } };
	int r = ioctl(fd, UFFDIO_CONTINUE, &a) < 0 ? -errno : 0;

	*ret_done = a.mapped > 0 ? (uint64_t)a.mapped : 0;
	return r;
}

int drover_uffd_zeropage(int fd, uint64_t page_addr)
{
	struct uffdio_zeropage a = { .range = { page_addr, 4096 } };

	return ioctl(fd, UFFDIO_ZEROPAGE, &a) < 0 ? -errno : 0;
}

int drover_uffd_wake(int fd, uint64_t start, uint64_t len)
{
	struct uffdio_range a = { start, len };

	return ioctl(fd, UFFDIO_WAKE, &a) < 0 ? -errno : 0;
}
