// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the holder of a region's vm descriptor, a process without any right, could try to
 * reach a page that is not published: every system call that reads or writes a file, opening
 * the file once more, moving and joining mappings, huge pages. And what a descriptor that is
 * open for reading only is good for.
 * timeout: 60
 * control: 512 opened again by nobody
 * control: 1024 MADV_COLLAPSE
 */
#define _GNU_SOURCE
#include <linux/io_uring.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "region.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#define PAGES 1024u

/* ---- system calls on the file ---- */

static struct iovec vec = { (char[8]){ 0 }, 8 };
static int file_fd, pipe_fd[2];

static ssize_t do_read(int fd) { return read(fd, vec.iov_base, 8); }
static ssize_t do_pread(int fd) { return pread(fd, vec.iov_base, 8, 0); }
static ssize_t do_readv(int fd) { return readv(fd, &vec, 1); }
static ssize_t do_preadv(int fd) { return preadv(fd, &vec, 1, 0); }
static ssize_t do_write(int fd) { return write(fd, vec.iov_base, 8); }
static ssize_t do_pwrite(int fd) { return pwrite(fd, vec.iov_base, 8, 0); }
static ssize_t do_writev(int fd) { return writev(fd, &vec, 1); }
static ssize_t do_pwritev(int fd) { return pwritev(fd, &vec, 1, 0); }
static ssize_t do_splice_from(int fd) { return splice(fd, &(loff_t){ 0 }, pipe_fd[1], NULL, 8, 0); }
static ssize_t do_splice_to(int fd) { return splice(pipe_fd[0], NULL, fd, &(loff_t){ 0 }, 8, 0); }
static ssize_t do_sendfile_from(int fd) { return sendfile(file_fd, fd, &(off_t){ 0 }, 8); }
static ssize_t do_sendfile_to(int fd) { return sendfile(fd, file_fd, &(off_t){ 0 }, 8); }
static ssize_t do_copy_from(int fd)
{
	return copy_file_range(fd, &(loff_t){ 0 }, file_fd, &(loff_t){ 0 }, 8, 0);
}

static ssize_t do_copy_to(int fd)
{
	return copy_file_range(file_fd, &(loff_t){ 0 }, fd, &(loff_t){ 0 }, 8, 0);
}

static ssize_t do_allocate(int fd) { return fallocate(fd, 0, 0, PAGE); }
static ssize_t do_zero(int fd) { return fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, PAGE); }
static ssize_t do_truncate(int fd) { return ftruncate(fd, 0); }
static ssize_t do_private(int fd)
{
	return mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED ? -1 : 0;
}

static const struct {
	const char *name;
	ssize_t (*fn)(int fd);
} calls[] = {
	{ "read", do_read }, { "pread", do_pread }, { "readv", do_readv }, { "preadv", do_preadv },
	{ "write", do_write }, { "pwrite", do_pwrite }, { "writev", do_writev },
	{ "pwritev", do_pwritev }, { "splice from", do_splice_from }, { "splice to", do_splice_to },
	{ "sendfile from", do_sendfile_from }, { "sendfile to", do_sendfile_to },
	{ "copy_file_range from", do_copy_from }, { "copy_file_range to", do_copy_to },
	{ "fallocate", do_allocate }, { "fallocate zero", do_zero }, { "ftruncate", do_truncate },
	{ "mmap private", do_private },
};

/* Each of them fails, and the kernel lives. */
static void refuses(int fd, const char *what)
{
	unsigned int i;

	for (i = 0; i < KSFT_SIZE(calls); i++) {
		ssize_t n = calls[i].fn(fd);

		ksft_ok(n < 0, "%s: %s is refused (%s)", what, calls[i].name,
			n < 0 ? strerror(errno) : "it was done");
	}
}

static void calls_begin(void)
{
	file_fd = ksft_memfd(1);
	if (pipe2(pipe_fd, O_NONBLOCK) || write(pipe_fd[1], "12345678", 8) != 8)
		ksft_die("pipe");
}

/* io_uring has a path of its own to a file's operations. */
static int uring_read(int fd)
{
	struct io_uring_params p = { 0 };
	int ring = (int)syscall(__NR_io_uring_setup, 2, &p), res;
	uint8_t *sq =
		mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	struct io_uring_sqe *sqe = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, ring,
					IORING_OFF_SQES);
	struct io_uring_cqe *cqe = (void *)(sq + p.cq_off.cqes);

	if (sq == MAP_FAILED || sqe == (void *)MAP_FAILED)
		ksft_die("io_uring");
	*sqe = (struct io_uring_sqe){ .opcode = IORING_OP_READ, .fd = fd,
				      .addr = (uintptr_t)vec.iov_base, .len = 8 };
	*(unsigned int *)(void *)(sq + p.sq_off.array) = 0;
	__atomic_store_n((unsigned int *)(void *)(sq + p.sq_off.tail), 1, __ATOMIC_RELEASE);
	if (syscall(__NR_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
		ksft_die("io_uring_enter");
	res = cqe->res;
	close(ring);
	return res;
}

/* ---- opening the file once more ---- */

static int open_again(int flags)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", reg.vm_fd);
	return open(path, flags | O_CLOEXEC);
}

static int nobody_opens(void)
{
	int fd = open_again(O_RDWR), ro = open_again(O_RDONLY);
	uint8_t *p = fd < 0 ? MAP_FAILED : mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);

	return ro >= 0 || fd >= 0 || p != MAP_FAILED;
}

static void test_open_again(void)
{
	char path[80];
	struct stat a, b;
	uint8_t *p;
	int fd;

	reg_new("", PAGES, DROVER_REGION_GATED, 0);
	ksft_ok(reg_unprivileged(nobody_opens) == 0, "opened again by nobody: refused");
	fd = open_again(O_RDWR);
	if (!ksft_errno(fd, 0, "opened again by its owner"))
		return;
	ksft_ok(!fstat(fd, &a) && !fstat(reg.vm_fd, &b) && a.st_ino == b.st_ino &&
			a.st_dev == b.st_dev && a.st_size == PAGES * PAGE,
		"opened again: it is the same file");
	refuses(fd, "opened again");
	p = ksft_map(fd, PAGES);
	ksft_ok(reg_load(p + 3 * PAGE) == WAITS, "opened again: a load waits");
	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)p,
		 (unsigned long)(p + PAGES * PAGE));
	close(fd);
	fd = open(path, O_RDWR);
	ksft_ok(fd >= 0 && reg_load(ksft_map(fd, PAGES)) == WAITS, "map_files: a load waits");
	close(fd);
	p = mmap(NULL, PAGES * PAGE, PROT_READ, MAP_SHARED, reg.loader_fd, 0);
	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)p,
		 (unsigned long)(p + PAGES * PAGE));
	fd = open(path, O_RDWR);
	ksft_ok(fd >= 0 && reg_load(ksft_map(fd, PAGES)) == WAITS,
		"map_files of the loader's mapping: a load waits");
	close(fd);
	reg_close();
}

/* ---- mappings ---- */

static int by_remap(void)
{
	uint8_t *p = ksft_map(reg.vm_fd, PAGES);

	if (syscall(SYS_remap_file_pages, p, (size_t)PAGES * PAGE, 0ul, 0ul, MAP_NONBLOCK))
		return 0;
	return reg_load(p + 9 * PAGE) != WAITS;
}

static int by_remap_part(void)
{
	uint8_t *p = ksft_map(reg.vm_fd, PAGES);

	if (syscall(SYS_remap_file_pages, p + 8 * PAGE, 8ul * PAGE, 0ul, 100ul, MAP_NONBLOCK))
		return 0;
	return reg_load(p + 9 * PAGE) != WAITS || reg_load(p) != WAITS;
}

static int by_mremap(void)
{
	uint8_t *p = ksft_map(reg.vm_fd, 16), *q, *twin;

	q = mremap(p, 16 * PAGE, 32 * PAGE, MREMAP_MAYMOVE);
	if (q != MAP_FAILED && reg_load(q + 20 * PAGE) != WAITS)
		return 1;
	twin = mremap(q == MAP_FAILED ? p : q, 0, 16 * PAGE, MREMAP_MAYMOVE);
	return twin != MAP_FAILED && reg_load(twin) != WAITS ? 2 : 0;
}

/* One page is published. 1: a huge page was made; 2: and shows what is not published. */
static int by_collapse(void)
{
	uint8_t *p = reg_map_aligned(reg.vm_fd, PAGES * PAGE);

	if (reg_load(p + 37 * PAGE) != 3)
		return 3;
	madvise(p, PAGES * PAGE, MADV_HUGEPAGE);
	if (madvise(p, 512 * PAGE, MADV_COLLAPSE))
		return 0;
	return reg_load(p + 38 * PAGE) == WAITS ? 1 : 2;
}

static int waits(void)
{
	return reg_load(ksft_map(reg.vm_fd, PAGES)) != WAITS;
}

static void test_mappings(void)
{
	uint8_t *plain;

	reg_new("", PAGES, DROVER_REGION_GATED, 0);
	plain = ksft_map(reg.loader_fd, PAGES);
	memset(plain, 3, PAGES * PAGE);
	ksft_ok(reg_unprivileged(waits) == 0, "a load waits");
	ksft_ok(reg_unprivileged(by_remap) == 0, "remap_file_pages() of all: a load waits");
	ksft_ok(reg_unprivileged(by_remap_part) == 0, "remap_file_pages() of a part: loads wait");
	ksft_ok(reg_unprivileged(by_mremap) == 0, "mremap() to more, and of nothing: loads wait");
	reg_publish(37, 1, 0);
	ksft_ok(reg_unprivileged(by_collapse) == 0,
		"MADV_HUGEPAGE and MADV_COLLAPSE of a mapping with one published page are refused");
	munmap(plain, PAGES * PAGE);
	reg_close();
}

/* ---- mappings that lie side by side ---- */

/* Is the region gone, with nothing left that holds it? */
static bool ends(void)
{
	char path[60];
	unsigned int i;

	snprintf(path, sizeof(path), "/dev/drover-%s", reg.name);
	for (i = 0; i < 200 * ksft_scale() && !access(path, F_OK); i++)
		ksft_msleep(10);
	return access(path, F_OK) < 0;
}

static void test_neighbours(void)
{
	enum { VM, LOADER, DEVICE };
	static const char *const name[] = { "vm", "loader", "device" };
	static const int pairs[][2] = {
		{ LOADER, VM }, { VM, LOADER }, { VM, VM }, { DEVICE, DEVICE }, { LOADER, DEVICE },
		{ VM, DEVICE }, { LOADER, LOADER },
	};
	unsigned int i;

	for (i = 0; i < KSFT_SIZE(pairs); i++) {
		uint8_t *room =
			mmap(NULL, 16 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		unsigned int k, good = 0;
		int fd[3];

		reg_new("side", 16, DROVER_REGION_GATED, 0);
		fd[VM] = reg.vm_fd;
		fd[LOADER] = reg.loader_fd;
		fd[DEVICE] = open("/dev/drover-side", O_RDWR | O_CLOEXEC);
		for (k = 0; k < 2; k++)
			if (mmap(room + k * 8 * PAGE, 8 * PAGE, PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_FIXED, fd[pairs[i][k]],
				 k * 8 * PAGE) == MAP_FAILED)
				ksft_die("mmap");
		for (k = 0; k < 2; k++)
			good += reg_load(room + k * 8 * PAGE) ==
				(pairs[i][k] == LOADER ? 0 : WAITS);
		ksft_ok(good == 2, "%s beside %s: each is what it was", name[pairs[i][0]],
			name[pairs[i][1]]);
		/* A hole in the middle splits both; then nothing is left. */
		munmap(room + 6 * PAGE, 4 * PAGE);
		munmap(room, 16 * PAGE);
		reg_close();
		close(fd[DEVICE]);
		ksft_ok(ends(), "%s beside %s: unmapped, the region ends", name[pairs[i][0]],
			name[pairs[i][1]]);
	}
}

/* ---- for reading only ---- */

static void test_read_only(void)
{
	struct drover_attach at = { .size = sizeof(at) };
	struct drover_adopt ad = { .size = sizeof(ad), .flags = DROVER_ADOPT_FD };
	int fd, again;

	reg_new("ro", 16, 0, 0);
	fd = open("/dev/drover-ro", O_RDONLY | O_CLOEXEC);
	again = open_again(O_RDONLY);
	at.fd = fd;
	ksft_errno(ioctl(reg_dev, DROVER_IOC_ATTACH, &at), EBADF, "read-only device: no ATTACH");
	at.fd = again;
	ksft_errno(ioctl(reg_dev, DROVER_IOC_ATTACH, &at), EBADF, "read-only file: no ATTACH");
	close(reg.loader_fd);
	ad.id = (uint64_t)fd;
	ksft_errno(ioctl(reg_dev, DROVER_IOC_ADOPT, &ad), EBADF, "read-only device: no ADOPT");
	ad.id = (uint64_t)again;
	ksft_errno(ioctl(reg_dev, DROVER_IOC_ADOPT, &ad), EBADF, "read-only file: no ADOPT");
	ksft_ok(mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED && errno == EACCES,
		"read-only device: no mapping that writes");
	ksft_ok(mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, again, 0) == MAP_FAILED && errno == EACCES,
		"read-only file: no mapping that writes");
	ksft_errno(fallocate(again, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE), EBADF,
		   "read-only file: no punching");
	close(again);
	close(fd);
	close(reg.vm_fd);
}

int main(void)
{
	int fd;

	reg_begin();
	calls_begin();
	reg_new("calls", 16, DROVER_REGION_GATED, 0);
	refuses(reg.vm_fd, "vm descriptor");
	ksft_ok(uring_read(reg.vm_fd) < 0, "vm descriptor: a read by io_uring is refused");
	fd = open("/dev/drover-calls", O_RDWR | O_CLOEXEC);
	refuses(fd, "device");
	ksft_ok(uring_read(fd) < 0, "device: a read by io_uring is refused");
	close(fd);
	reg_close();
	test_open_again();
	test_mappings();
	test_neighbours();
	test_read_only();
	return ksft_end();
}
