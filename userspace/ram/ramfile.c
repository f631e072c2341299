// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Of a device fstat(2) does not tell the length, and fallocate(2) refuses it before the
 * module could answer.
 */
#define _GNU_SOURCE
#include "ram/ramfile.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/err.h"

#ifndef HUGETLBFS_MAGIC
#define HUGETLBFS_MAGIC 0x958458f6
#endif
#ifndef SECRETMEM_MAGIC
#define SECRETMEM_MAGIC 0x5345434d
#endif
#ifndef GUEST_MEMFD_MAGIC
#define GUEST_MEMFD_MAGIC 0x474d454d
#endif
#ifndef ANON_INODE_FS_MAGIC
#define ANON_INODE_FS_MAGIC 0x09041934
#endif
#ifndef DMA_BUF_MAGIC
#define DMA_BUF_MAGIC 0x444d4142
#endif

/* Before it had a file system of its own, only its name told. */
static bool is_guest_memfd(int fd)
{
	char path[40], link[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, link, sizeof(link) - 1);
	if (n < 0)
		return false;
	link[n] = '\0';
	return strstr(link, "[kvm-gmem]") != NULL;
}

enum drover_ramfile_kind drover_ramfile_kind(int fd)
{
	struct statfs fs;
	struct stat st;

	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		return DROVER_RAMFILE_OTHER;
	if (fs.f_type == GUEST_MEMFD_MAGIC || is_guest_memfd(fd))
		return DROVER_RAMFILE_GUEST_MEMFD;
	if (S_ISCHR(st.st_mode))
		return DROVER_RAMFILE_DEVICE;
	if (!S_ISREG(st.st_mode))
		return DROVER_RAMFILE_OTHER;
	switch (fs.f_type) {
	case TMPFS_MAGIC:
		return DROVER_RAMFILE_SHMEM;
	case HUGETLBFS_MAGIC:
		return DROVER_RAMFILE_HUGETLB;
	case SECRETMEM_MAGIC:
		return DROVER_RAMFILE_SECRET;
	case ANON_INODE_FS_MAGIC:
	case DMA_BUF_MAGIC:
		return DROVER_RAMFILE_OTHER;
	default:
		return DROVER_RAMFILE_DISK;
	}
}

static int check_access(int fd, const char *name, struct drover_error *e)
{
	int mode = fcntl(fd, F_GETFL), seals = fcntl(fd, F_GET_SEALS);

	if (mode >= 0 && (mode & O_ACCMODE) != O_RDWR)
		return drover_err(e, -EOPNOTSUPP, "RAM %s: its descriptor is read-only: droverd "
				  "writes to it; register one opened with O_RDWR", name);
	if (seals >= 0 && seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
		return drover_err(e, -EOPNOTSUPP, "RAM %s: its memfd is sealed against writing "
				  "(%s), and droverd must write to it; seal it with F_SEAL_SHRINK "
				  "and F_SEAL_GROW only", name,
				  seals & F_SEAL_WRITE ? "F_SEAL_WRITE" : "F_SEAL_FUTURE_WRITE");
	return 0;
}

int drover_ramfile_check(int fd, const char *name, bool dest, struct drover_error *e)
{
	static const char *const why[] = {
		[DROVER_RAMFILE_HUGETLB] = "is of hugetlbfs, which no tracker sees; use a memfd "
			"without MFD_HUGETLB (transparent huge pages are fine)",
		[DROVER_RAMFILE_SECRET] = "is secret memory (memfd_secret), which no other process "
			"can read; use memfd_create()",
		[DROVER_RAMFILE_GUEST_MEMFD] = "is a guest_memfd of KVM, which no other process can "
			"read; a guest with private memory cannot be moved",
	};
	enum drover_ramfile_kind kind = drover_ramfile_kind(fd);

	if (kind < sizeof(why) / sizeof(why[0]) && why[kind])
		return drover_err(e, -EOPNOTSUPP, "RAM %s: its file %s", name, why[kind]);
	if (kind == DROVER_RAMFILE_DISK && dest)
		return drover_err(e, -EOPNOTSUPP, "RAM %s: its file is of a real file system, for "
				  "which a destination has no userfaultfd; use a memfd or a tmpfs",
				  name);
	/* What it is then is said by who asks for its size. */
	return kind == DROVER_RAMFILE_OTHER ? 0 : check_access(fd, name, e);
}

int drover_ramfile_size(int fd, uint64_t *ret)
{
	struct stat st;
	off_t end;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISREG(st.st_mode)) {
		*ret = (uint64_t)st.st_size;
		return 0;
	}
	end = S_ISCHR(st.st_mode) ? lseek(fd, 0, SEEK_END) : -1;
	if (end <= 0)
		return -EINVAL;
	*ret = (uint64_t)end;
	return 0;
}

bool drover_ramfile_same(int a, int b)
{
	struct stat sa, sb;

	return fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
	       sa.st_ino == sb.st_ino;
}

int drover_ramfile_punch(int fd, uint64_t off, uint64_t len, void *host)
{
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len) == 0)
		return 0;
	if (errno != ENODEV && errno != EOPNOTSUPP)
		return -errno;
	return madvise(host, len, MADV_REMOVE) < 0 ? -errno : 0;
}
