// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A region with a name as the RAM of QEMU, which takes a path: first the calls that QEMU
 * makes of such a file, then QEMU itself, until the firmware has written to the region.
 * needs: kvm-amd
 * files: qemu-system-x86_64 /usr/share/seabios/bios-256k.bin /usr/share/qemu/kvmvapic.bin
 * timeout: 120
 */
#include <linux/mempolicy.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>

#include "kselftest.h"

#define NAME "qemu-ram"
#define PATH "/dev/drover-" NAME
#define BYTES (64ul << 20)
#define PAGES (BYTES / KSFT_PAGE)
#define FIRMWARE "/tmp/firmware.log"
#define SAVED "/tmp/page0"
/* Firmware in an emulated machine's guest; QEMU's own start is the longer half. */
#define PATIENCE_MS (30000u * ksft_scale())

static struct drover_region region_new(int dev)
{
	struct drover_region r = {
		.size = sizeof(r), .bytes = BYTES, .name = NAME,
	};

	if (ioctl(dev, DROVER_IOC_REGION, &r))
		ksft_die("region " NAME);
	return r;
}

static bool gone(void)
{
	unsigned int i;

	/* devtmpfs removes nodes in a thread of its own. */
	for (i = 0; i < 1000 && access(PATH, F_OK) == 0; i++)
		ksft_msleep(1);
	return access(PATH, F_OK) < 0 && errno == ENOENT;
}

/* ---- what util/mmap-alloc.c, softmmu/physmem.c and backends/hostmem.c call ---- */

static uint8_t *map_as_qemu(int fd)
{
	/* A place with a guard page first, then the file over it. */
	uint8_t *p = mmap(NULL, BYTES + KSFT_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		ksft_die("address space");
	return mmap(p, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
}

static void test_calls(const struct drover_region *r)
{
	int fd = open(PATH, O_RDWR);
	unsigned long node = 1;
	struct statfs fs;
	struct stat st;
	uint8_t *p, *q;

	if (!ksft_errno(fd, 0, "open " PATH))
		return;
	ksft_ok(!fstat(fd, &st) && S_ISCHR(st.st_mode) && !(st.st_mode & 077),
		"a character device, for its owner only");
	ksft_ok(!fstatfs(fd, &fs), "fstatfs");
	ksft_ok(lseek(fd, 0, SEEK_END) == (off_t)BYTES, "lseek tells the size");
	p = map_as_qemu(fd);
	if (!ksft_ok(p != MAP_FAILED, "mmap MAP_SHARED over a reserved place"))
		return;
	ksft_errno(madvise(p, BYTES, MADV_DONTDUMP), 0, "MADV_DONTDUMP (dump=off)");
	ksft_errno(madvise(p, BYTES, MADV_DONTFORK), 0, "MADV_DONTFORK");
	ksft_errno(madvise(p, BYTES, MADV_MERGEABLE), 0, "MADV_MERGEABLE (merge=on)");
	ksft_errno(syscall(SYS_mbind, p, BYTES, MPOL_BIND, &node, 2, MPOL_MF_STRICT | MPOL_MF_MOVE),
		   0, "mbind (policy=bind)");
	ksft_errno(madvise(p, 16 * KSFT_PAGE, MADV_POPULATE_WRITE), 0,
		   "MADV_POPULATE_WRITE (prealloc=on)");
	ksft_errno(mlock(p, 16 * KSFT_PAGE), 0, "mlock (-overcommit mem-lock=on)");
	munlock(p, 16 * KSFT_PAGE);
	q = ksft_map(r->vm_fd, PAGES);
	p[KSFT_PAGE] = 0x5a;
	ksft_ok(q[KSFT_PAGE] == 0x5a, "the device and the vm descriptor are the same memory");
	ksft_errno(madvise(p + KSFT_PAGE, KSFT_PAGE, MADV_REMOVE), 0, "MADV_REMOVE (a balloon)");
	ksft_ok(!q[KSFT_PAGE], "MADV_REMOVE: reads as zero then");
	munmap(q, BYTES);
	munmap(p, BYTES + KSFT_PAGE);
	close(fd);
}

/* ---- QEMU ---- */

struct qemu {
	pid_t pid;
	int in, out;                    /* its QMP */
};

static void qemu_start(struct qemu *q, const char *options)
{
	char object[256];
	int to[2], from[2];

	snprintf(object, sizeof(object), "memory-backend-file,id=ram,size=64M,mem-path=" PATH
		 ",share=on%s", options);
	unlink(FIRMWARE);
	if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
		ksft_die("pipe");
	fflush(stdout);
	q->pid = fork();
	if (!q->pid) {
		dup2(to[0], 0);
		dup2(from[1], 1);
		dup2(from[1], 2);
		execlp("qemu-system-x86_64", "qemu-system-x86_64", "-no-user-config", "-nodefaults",
		       "-display", "none", "-L", "/tests", "-bios", "/tests/bios-256k.bin",
		       "-m", "64M", "-machine", "pc,memory-backend=ram,accel=kvm",
		       "-object", object, "-chardev", "file,id=log,path=" FIRMWARE,
		       "-device", "isa-debugcon,iobase=0x402,chardev=log", "-qmp", "stdio", NULL);
		perror("qemu-system-x86_64");
		_exit(127);
	}
	close(to[0]);
	close(from[1]);
	q->in = to[1];
	q->out = from[0];
}

/* Send @line, if any, and read until there is a line with @want. Others are diagnostics. */
static bool qemu_talk(struct qemu *q, const char *line, const char *want)
{
	struct pollfd p = { .fd = q->out, .events = POLLIN };
	char buf[512];
	size_t n = 0;

	if (line && dprintf(q->in, "%s\n", line) < 0)
		return false;
	while (poll(&p, 1, (int)PATIENCE_MS) == 1 && n < sizeof(buf) - 1 &&
	       read(q->out, buf + n, 1) == 1) {
		if (buf[n] != '\n' && ++n < sizeof(buf) - 1)
			continue;
		buf[n] = '\0';
		if (strstr(buf, want))
			return true;
		ksft_note("QEMU: %s", buf);
		n = 0;
	}
	return false;
}

/* 0 and up: exit status; -1: it doesn't end */
static int qemu_end(struct qemu *q)
{
	int status = 0, ret;
	unsigned int ms;

	ret = qemu_talk(q, "{\"execute\":\"quit\"}", "return") ? 0 : -1;
	for (ms = 0; !ret && ms < PATIENCE_MS && !waitpid(q->pid, &status, WNOHANG); ms++)
		ksft_msleep(1);
	if (ret || ms == PATIENCE_MS) {
		kill(q->pid, SIGKILL);
		waitpid(q->pid, &status, 0);
		ret = -1;
	}
	close(q->in);
	close(q->out);
	return ret ? ret : WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool file_has(const char *path, const char *text, unsigned int ms)
{
	char buf[4096];
	ssize_t n;
	int fd;

	for (; ms; ms -= ms < 10 ? ms : 10, ksft_msleep(10)) {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		n = fd < 0 ? 0 : read(fd, buf, sizeof(buf) - 1);
		if (fd >= 0)
			close(fd);
		buf[n > 0 ? n : 0] = '\0';
		if (strstr(buf, text))
			return true;
	}
	return false;
}

/* What QEMU says page 0 is, with the interrupt vectors, must be what the region holds. */
static bool same_page(const uint8_t *region)
{
	static const uint8_t zeros[KSFT_PAGE];
	uint8_t saved[KSFT_PAGE];
	int fd = open(SAVED, O_RDONLY | O_CLOEXEC);
	bool good = fd >= 0 && read(fd, saved, sizeof(saved)) == (ssize_t)sizeof(saved);

	close(fd);
	unlink(SAVED);
	return good && memcmp(saved, zeros, sizeof(saved)) && !memcmp(saved, region, sizeof(saved));
}

static void test_qemu(const struct drover_region *r, const char *options)
{
	const char *name = *options ? options + 1 : "share=on";
	uint8_t *mem = ksft_map(r->vm_fd, PAGES);
	uint64_t t0 = ksft_ns();
	struct qemu q;

	memset(mem, 0, KSFT_PAGE);
	qemu_start(&q, options);
	ksft_ok(qemu_talk(&q, NULL, "\"QMP\"") &&
		qemu_talk(&q, "{\"execute\":\"qmp_capabilities\"}", "return"),
		"QEMU, %s: starts with its RAM in " PATH, name);
	ksft_ok(file_has(FIRMWARE, "SeaBIOS", PATIENCE_MS), "QEMU, %s: its guest runs", name);
	ksft_note("after %llu ms", (unsigned long long)(ksft_ns() - t0) / 1000000);
	/* The vectors are there by the time the firmware looks for a disk. */
	file_has(FIRMWARE, "No bootable device", 3000 * ksft_scale());
	ksft_ok(qemu_talk(&q, "{\"execute\":\"query-status\"}", "\"running\""),
		"QEMU, %s: and says so", name);
	ksft_ok(qemu_talk(&q, "{\"execute\":\"stop\"}", "return") &&
		qemu_talk(&q, "{\"execute\":\"pmemsave\",\"arguments\":{\"val\":0,\"size\":4096,"
			  "\"filename\":\"" SAVED "\"}}", "return") && same_page(mem),
		"QEMU, %s: what the guest has written is in the region", name);
	ksft_ok(qemu_end(&q) == 0, "QEMU, %s: ends", name);
	munmap(mem, BYTES);
}

int main(void)
{
	int dev = ksft_device();
	struct drover_region r;

	/* A QEMU that has died must be told as such. */
	signal(SIGPIPE, SIG_IGN);
	r = region_new(dev);
	test_calls(&r);
	test_qemu(&r, "");
	test_qemu(&r, ",prealloc=on,merge=on,dump=off,policy=bind,host-nodes=0");
	close(r.loader_fd);
	close(r.vm_fd);
	ksft_ok(gone(), PATH " goes with the region");
	return ksft_end();
}
