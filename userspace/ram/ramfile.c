// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Of a device fstat(2) does not tell the length, and fallocate(2) refuses it before the
 * module could answer.
 */
#define _GNU_SOURCE
#include "ram/ramfile.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

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
