// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What can be guest RAM: each kind of file and of mapping that is excluded is refused with
 * the block's name, what it is and what to do; the same without the fault is accepted.
 */
#define _GNU_SOURCE
#include "ram/mapping.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "ram/ramfile.h"
#include "tap.h"

#define LEN (64 * 4096ul)
#define PAGE 4096ul

static int memfd(unsigned int flags)
{
	int fd = memfd_create("ram", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);

	if (fd < 0 || ftruncate(fd, 2 << 20) < 0)
		return -1;
	return fd;
}

static void refused(int fd, bool dest, const char *what, const char *part)
{
	struct drover_error e = DROVER_ERROR_INIT;
	int r = drover_ramfile_check(fd, "ram7", dest, &e);

	tap_ok(r == -EOPNOTSUPP && strstr(e.msg, "RAM ram7: ") && strstr(e.msg, part),
	       "%s%s: %s", what, dest ? " as a destination" : "", r ? e.msg : "accepted");
}

static void accepted(int fd, bool dest, const char *what)
{
	struct drover_error e = DROVER_ERROR_INIT;

	tap_ok(drover_ramfile_check(fd, "ram7", dest, &e) == 0, "%s%s is accepted %s", what,
	       dest ? " as a destination" : "", e.msg);
}

static int guest_memfd(void)
{
#ifdef KVM_CREATE_GUEST_MEMFD
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), type, vm = -1, fd = -1;
	struct kvm_create_guest_memfd g = { .size = 2 << 20 };

	for (type = 0; kvm >= 0 && fd < 0 && type < 2; type++) {
		vm = ioctl(kvm, KVM_CREATE_VM, type);
		fd = vm < 0 ? -1 : ioctl(vm, KVM_CREATE_GUEST_MEMFD, &g);
		if (vm >= 0)
			close(vm);
	}
	if (kvm >= 0)
		close(kvm);
	return fd;
#else
	return -1;
#endif
}

/* One of a real file system, beside this program. */
static int disk_file(void)
{
	char path[] = "drover-unit-XXXXXX";
	int fd = mkstemp(path);

	if (fd >= 0 && (unlink(path) < 0 || ftruncate(fd, 2 << 20) < 0))
		return -1;
	return fd;
}

static int reopened(int fd, int flags)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_CLOEXEC);
}

static void kind(int fd, const char *what, const char *part, const char *lacks)
{
	if (fd < 0) {
		tap_skip("%s: %s", what, lacks);
		return;
	}
	refused(fd, false, what, part);
	refused(fd, true, what, part);
	close(fd);
}

static void files(void)
{
	int fd = memfd(0), shm = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600), disk, p[2];

	accepted(fd, false, "a memfd");
	accepted(fd, true, "a memfd");
	if (shm >= 0)
		accepted(shm, true, "a file of a tmpfs");
	close(shm);
	kind(memfd(MFD_HUGETLB), "a memfd of huge pages", "MFD_HUGETLB", "no hugetlbfs here");
	kind((int)syscall(SYS_memfd_secret, FD_CLOEXEC), "secret memory", "memfd_secret",
	     "this kernel has no memfd_secret");
	kind(guest_memfd(), "a guest_memfd", "guest_memfd", "this kernel's KVM has no guest_memfd");
	kind(reopened(fd, O_RDONLY), "a read-only descriptor", "O_RDWR", "no /proc");
	accepted(fd, true, "the same descriptor, writable,");
	fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);
	accepted(fd, true, "a memfd sealed against shrinking");
	fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE);
	kind(fd, "a memfd sealed against later mappings", "F_SEAL_FUTURE_WRITE", "");
	fd = memfd(0);
	fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE);
	kind(fd, "a memfd sealed against writing", "(F_SEAL_WRITE)", "");
	disk = disk_file();
	if (drover_ramfile_kind(disk) == DROVER_RAMFILE_DISK) {
		accepted(disk, false, "a file of a real file system");
		refused(disk, true, "a file of a real file system", "tmpfs");
	} else {
		tap_skip("this directory is not on a real file system");
	}
	close(disk);
	if (pipe2(p, O_CLOEXEC) < 0)
		abort();
	tap_ok(drover_ramfile_kind(p[0]) == DROVER_RAMFILE_OTHER, "a pipe is something else");
	close(p[0]);
	close(p[1]);
	p[0] = eventfd(0, EFD_CLOEXEC);
	tap_ok(drover_ramfile_kind(p[0]) == DROVER_RAMFILE_OTHER, "so is an eventfd");
	close(p[0]);
}

/* ---- mappings ---- */

struct block {
	struct drover_ram_block b;
	uint8_t *map;
};

static struct block block_new(uint64_t off, int flags)
{
	struct block k = { .b = { .name = "ram7", .size = LEN, .fd_off = off } };

	k.b.fd = memfd(0);
	k.map = mmap(NULL, LEN, PROT_READ | PROT_WRITE, flags, k.b.fd, (off_t)off);
	if (k.map == MAP_FAILED)
		abort();
	return k;
}

static void block_end(struct block *k)
{
	munmap(k->map, LEN);
	close(k->b.fd);
}

static void mapping(struct block *k, uint64_t base, const char *what, const char *part)
{
	struct drover_error e = DROVER_ERROR_INIT;
	int r = drover_mapping_check(getpid(), &k->b, &base, 1, &e);

	if (!part)
		tap_ok(r == 0, "%s is accepted %s", what, e.msg);
	else
		tap_ok(r == -EOPNOTSUPP && strstr(e.msg, "RAM ram7: ") && strstr(e.msg, part),
		       "%s: %s", what, r ? e.msg : "accepted");
}

/* Map @flags over a part of it. */
static void patch(struct block *k, uint64_t at, uint64_t len, int flags, int fd, uint64_t off)
{
	if (mmap(k->map + at, len, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd,
		 (off_t)off) == MAP_FAILED)
		abort();
}

static void shared_ones(void)
{
	struct block k = block_new(0, MAP_SHARED), o = block_new(3 * PAGE, MAP_SHARED);

	mapping(&k, (uintptr_t)k.map, "a shared mapping", NULL);
	mapping(&o, (uintptr_t)o.map, "one at an offset", NULL);
	mapping(&k, 0, "a shared mapping somewhere", NULL);
	mprotect(k.map + PAGE, 3 * PAGE, PROT_READ);
	mapping(&k, (uintptr_t)k.map, "a part that is read-only for now", NULL);
	patch(&k, 5 * PAGE, 2 * PAGE, MAP_SHARED, k.b.fd, 5 * PAGE);
	mapping(&k, (uintptr_t)k.map, "a part that was mapped anew", NULL);
	block_end(&k);
	block_end(&o);
}

static void others(void)
{
	struct block k = block_new(0, MAP_PRIVATE), other = block_new(0, MAP_SHARED);
	uint64_t base = (uintptr_t)k.map;

	mapping(&k, base, "a private mapping", "MAP_PRIVATE");
	mapping(&k, 0, "nothing but a private mapping", "no MAP_SHARED mapping");
	patch(&k, 0, LEN, MAP_SHARED, k.b.fd, 0);
	mapping(&k, base, "the same mapping, shared,", NULL);
	patch(&k, LEN - PAGE, PAGE, MAP_PRIVATE, k.b.fd, LEN - PAGE);
	mapping(&k, base, "a last page that is private", "share=on");
	patch(&k, LEN - PAGE, PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mapping(&k, base, "a last page that is anonymous", "anonymous");
	patch(&k, LEN - PAGE, PAGE, MAP_SHARED, other.b.fd, LEN - PAGE);
	mapping(&k, base, "a page of another file", "another file");
	patch(&k, LEN - PAGE, PAGE, MAP_SHARED, k.b.fd, LEN);
	mapping(&k, base, "a page of another place in the file", "another place");
	munmap(k.map + LEN - PAGE, PAGE);
	mapping(&k, base, "a page that is not mapped", "maps nothing");
	patch(&k, 0, LEN, MAP_SHARED, k.b.fd, PAGE);
	mapping(&k, base, "all of it one page off", "offset 0x1000, registered 0x0");
	mapping(&k, 0, "the block's first page mapped nowhere", "no MAP_SHARED mapping");
	mapping(&k, base + LEN, "an address where it is not", "");
	block_end(&k);
	block_end(&other);
}

/* Several in one walk: the one that is wrong is named. */
static void several(void)
{
	struct block k[3] = { block_new(0, MAP_SHARED), block_new(PAGE, MAP_SHARED),
			      block_new(0, MAP_SHARED) };
	struct drover_ram_block b[3] = { k[0].b, k[1].b, k[2].b };
	uint64_t base[3] = { (uintptr_t)k[0].map, (uintptr_t)k[1].map, 0 };
	struct drover_error e = DROVER_ERROR_INIT;
	int r;

	strcpy(b[1].name, "second");
	tap_ok(!drover_mapping_check(getpid(), b, base, 3, &e), "three blocks %s", e.msg);
	patch(&k[1], 0, PAGE, MAP_PRIVATE, k[1].b.fd, PAGE);
	r = drover_mapping_check(getpid(), b, base, 3, &e);
	tap_ok(r == -EOPNOTSUPP && strstr(e.msg, "RAM second: "), "the second is private: %s", e.msg);
	for (r = 0; r < 3; r++)
		block_end(&k[r]);
}

/* Of another process, as droverd asks. */
static void another_process(void)
{
	struct block k = block_new(0, MAP_SHARED);
	struct drover_error e = DROVER_ERROR_INIT;
	uint64_t base = (uintptr_t)k.map;
	int go[2], status, r;
	siginfo_t si;
	pid_t pid;

	if (pipe2(go, O_CLOEXEC) < 0)
		abort();
	pid = fork();
	if (!pid) {
		patch(&k, 0, PAGE, MAP_PRIVATE, k.b.fd, 0);
		if (write(go[1], "x", 1) == 1)
			pause();
		_exit(0);
	}
	if (read(go[0], &status, 1) != 1)
		abort();
	r = drover_mapping_check(pid, &k.b, &base, 1, &e);
	tap_ok(r == -EOPNOTSUPP && strstr(e.msg, "MAP_PRIVATE"), "another process's: %s", e.msg);
	mapping(&k, base, "at that address, this process's own", NULL);
	kill(pid, SIGKILL);
	waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT);
	drover_err_clear(&e);
	r = drover_mapping_check(pid, &k.b, &base, 1, &e);
	tap_ok(r == -ESRCH, "one that has ended and nobody has waited for: %s", e.msg);
	waitpid(pid, &status, 0);
	drover_err_clear(&e);
	r = drover_mapping_check(pid, &k.b, &base, 1, &e);
	tap_ok(r == -ENOENT && strstr(e.msg, "of process"), "a process that has gone: %s", e.msg);
	close(go[0]);
	close(go[1]);
	block_end(&k);
}

int main(void)
{
	files();
	shared_ones();
	others();
	several();
	another_process();
	return tap_done();
}
