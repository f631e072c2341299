// SPDX-License-Identifier: GPL-2.0-or-later
/* What an attach refuses, each by its errno, and what its commands say. */
#include "attach.h"

static void test_refusals(void)
{
	struct drover_set_dirty sd = { .size = sizeof(sd), .first = 64, .npages = 64 };
	int fd = memfd_create("sealed", MFD_ALLOW_SEALING), huge, ro, r;
	uint64_t bits = 1ull << 5 | 1ull << 63;
	char path[64];

	if (ftruncate(fd, PAGE) < 0)
		exit(1);
	fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);
	r = attach(fd);
	ksft_ok(r >= 0, "sealed against shrinking and growing: welcome");
	ksft_ok(ioctl(r, DROVER_IOC_HARVEST, &(struct drover_harvest){ .size = sizeof(news.h),
	   .npages = 1, .dirty = (uintptr_t)news.dirty }) < 0 && errno == ENXIO, "not armed: ENXIO");
	ksft_ok(!arm(r) && arm(r) == -EALREADY, "armed twice: EALREADY");
	close(r);
	fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE);
	ksft_ok(attach(fd) == -EPERM, "sealed against writing: EPERM");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ro = open(path, O_RDONLY);
	ksft_ok(attach(ro) == -EBADF, "read-only: EBADF");
	ksft_ok(attach(-1) == -EBADF && attach(9999) == -EBADF, "no descriptor: EBADF");
	ksft_ok(attach(g.dev) == -ENODEV, "a device: ENODEV");
	r = open("/proc/sys/vm/drop_caches", O_WRONLY);
	ksft_ok(attach(r) == -ENODEV, "a file that is not shmem: ENODEV");
	close(r);
	huge = memfd_create("huge", MFD_HUGETLB);
	ksft_ok(huge >= 0 && attach(huge) == -EMEDIUMTYPE, "hugetlb: EMEDIUMTYPE");
	close(huge);
	close(ro);
	close(fd);
	fd = memfd_create("empty", 0);
	ksft_ok(attach(fd) == -EINVAL, "empty: EINVAL");
	close(fd);
	begin();
	harvest(0);
	sd.bitmap = (uintptr_t)&bits;
	ksft_ok(!ioctl(g.at, DROVER_IOC_SET_DIRTY, &sd) && !harvest(0) && in(news.dirty, 69) &&
	   in(news.dirty, 127) && news.h.ndirty == 2, "SET_DIRTY: bits come back");
	g.map[9 * PAGE] = 77;
	news.h.dirty = 8;
	ksft_ok(ioctl(g.at, DROVER_IOC_HARVEST, &news.h) < 0 && errno == EFAULT && !news.h.done &&
	   !harvest(0) && in(news.dirty, 9), "EFAULT: the bits are in the next one");
	end();
}

int main(void)
{
	g.dev = ksft_device();
	test_refusals();
	return ksft_end();
}
