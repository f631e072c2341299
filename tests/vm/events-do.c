// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What tests/vm/events.sh needs somebody to do:
 *	events-do run			one attach with a harvest of each kind; says what the
 *					script must find: NAME=VALUE lines
 *	events-do region NAME		one region: two wait, the loader dies, another one publishes
 *	events-do many N		N attaches, one after the other
 *	events-do as HOW PROGRAM...	starts PROGRAM as root with less:
 *		capless	every capability but CAP_NET_ADMIN
 *		user	every capability, of a user namespace of its own
 *		net	the same, and a network namespace that it owns
 *		nobody	another user
 */
#include <linux/capability.h>
#include <linux/io_uring.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "attach.h"

#define REGION_PAGES 64ul
#define HELD 50u	/* the page in a registered buffer */

static void must(int r, const char *what)
{
	if (r < 0) {
		fprintf(stderr, "events-do: %s: %s\n", what, strerror(-r));
		exit(1);
	}
}

static uint64_t inode(int fd)
{
	struct stat st;

	must(fstat(fd, &st) < 0 ? -errno : 0, "fstat");
	return st.st_ino;
}

/* io_uring writes to it without a word to anybody; until the ring's end. */
static int hold(unsigned int page)
{
	struct io_uring_params p = { 0 };
	int fd = (int)syscall(__NR_io_uring_setup, 4, &p);
	struct iovec v = { g.map + page * PAGE, PAGE };

	must(fd < 0 ? -errno : 0, "io_uring_setup");
	must(syscall(__NR_io_uring_register, fd, IORING_REGISTER_BUFFERS, &v, 1) < 0 ? -errno : 0,
	     "io_uring_register");
	return fd;
}

static void on_cpu(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	must(sched_setaffinity(0, sizeof(set), &set) < 0 ? -errno : 0, "sched_setaffinity");
}

/* EINTR needs no signal: io_uring has its own ways to call a thread back. */
static void must_harvest(unsigned int flags)
{
	int r;

	do {
		r = harvest(flags);
	} while (r == -EINTR);
	must(r, "harvest");
}

static void told(const char *name)
{
	printf("%s='dirty=%llu holes=%llu pinned=%llu'\n", name, (unsigned long long)news.h.ndirty,
	       (unsigned long long)news.h.nhole, (unsigned long long)news.h.npinned);
}

static int run(void)
{
	uint64_t before = ksft_ns();
	int ring;

	begin();
	printf("ino=%llu pages=%u\n", (unsigned long long)inode(g.fd), PAGES);
	ring = hold(HELD);
	must_harvest(0);
	g.map[3 * PAGE] = 2;
	g.map[5 * PAGE] = 2;
	g.other[9 * PAGE] = 2;
	must(fallocate(g.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 20 * PAGE, 2 * PAGE) < 0 ?
	     -errno : 0, "fallocate");
	must_harvest(0);
	told("plain");
	must_harvest(DROVER_HARVEST_FINAL);
	told("final");
	/* The writers were said to be stopped. */
	must(pwrite(g.fd, "late", 4, 7 * PAGE) != 4 ? -errno : 0, "pwrite");
	g.other[8 * PAGE] = 3;
	must_harvest(DROVER_HARVEST_FINAL);
	told("late");
	/* Not by close(): that leaves it to a worker. */
	must(syscall(__NR_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, NULL, 0) < 0 ?
	     -errno : 0, "io_uring_register");
	close(ring);
	/*
	 * Nobody is late: the guest has run on since. New pages wait in a batch of the CPU
	 * they were touched on, with a reference each, for their list: that is no pin.
	 */
	must_harvest(0);
	on_cpu(1);
	g.map[11 * PAGE] = 3;
	g.map[20 * PAGE] = 3;
	g.map[21 * PAGE] = 3;
	on_cpu(0);
	must_harvest(DROVER_HARVEST_FINAL);
	told("again");
	end();
	printf("before=%llu after=%llu\n", (unsigned long long)before,
	       (unsigned long long)ksft_ns());
	return 0;
}

/* A process that touches a page of the region, and sleeps. */
static pid_t toucher(const struct drover_region *a, unsigned int page, bool write)
{
	pid_t pid = fork();

	if (!pid) {
		volatile uint8_t *p = mmap(NULL, REGION_PAGES * PAGE, PROT_READ | PROT_WRITE,
					   MAP_SHARED, a->vm_fd, 0);

		/* A loader that others hold does not die. */
		close(a->loader_fd);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		must(p == MAP_FAILED ? -errno : 0, "mmap of the region");
		if (write)
			p[page * PAGE] = 1;
		_exit(p[page * PAGE] == write ? 0 : 1);
	}
	return pid;
}

/* Until a page is asked for: then somebody waits. */
static void asked(int loader, unsigned int page)
{
	struct drover_request q;

	must(read(loader, &q, sizeof(q)) != sizeof(q) ? -errno : 0, "read a request");
	must(q.page != page ? -EPROTO : 0, "the page asked for");
}

static void went_on(pid_t pid)
{
	int status = 0;

	must(waitpid(pid, &status, 0) != pid || status ? -EPROTO : 0, "who has waited");
}

static int region(const char *name)
{
	struct drover_region a = { .size = sizeof(a), .flags = DROVER_REGION_GATED,
				   .bytes = REGION_PAGES * PAGE };
	struct drover_range range = { .first = 5, .npages = 3 };
	struct drover_publish pub = { .size = sizeof(pub), .ranges = (uintptr_t)&range,
				      .nranges = 1 };
	struct drover_adopt adopt = { .size = sizeof(adopt) };
	struct drover_gate gate = { .size = sizeof(gate) };
	pid_t writer, reader;
	int loader;

	snprintf(a.name, sizeof(a.name), "%s", name);
	must(ioctl(g.dev, DROVER_IOC_REGION, &a) < 0 ? -errno : 0, "DROVER_IOC_REGION");
	writer = toucher(&a, 7, true);
	asked(a.loader_fd, 7);
	reader = toucher(&a, 6, false);
	asked(a.loader_fd, 6);
	/* Both stall: the script has set how long that takes. */
	ksft_msleep(600);
	close(a.loader_fd);
	adopt.id = a.id;
	loader = ioctl(g.dev, DROVER_IOC_ADOPT, &adopt);
	must(loader < 0 ? -errno : 0, "DROVER_IOC_ADOPT");
	must(ioctl(loader, DROVER_IOC_PUBLISH, &pub) < 0 ? -errno : 0, "DROVER_IOC_PUBLISH");
	went_on(writer);
	went_on(reader);
	/* A loader of an open gate does not die, it ends. */
	must(ioctl(loader, DROVER_IOC_GATE, &gate) < 0 ? -errno : 0, "DROVER_IOC_GATE");
	printf("region=%llu writer=%d reader=%d\n", (unsigned long long)a.id, (int)writer,
	       (int)reader);
	return 0;
}

static int many(int n)
{
	int fd = ksft_memfd(1), i, at;

	for (i = 0; i < n; i++) {
		at = attach(fd);
		must(at, "attach");
		close(at);
	}
	return 0;
}

static void become(const char *how)
{
	int r = 0;

	if (!strcmp(how, "capless"))
		/* What a program of root's gets at exec is what is in the bounding set. */
		r = prctl(PR_CAPBSET_DROP, CAP_NET_ADMIN, 0, 0, 0);
	else if (!strcmp(how, "user"))
		r = unshare(CLONE_NEWUSER);
	else if (!strcmp(how, "net"))
		r = unshare(CLONE_NEWUSER | CLONE_NEWNET);
	else if (!strcmp(how, "nobody"))
		r = setgid(65534) || setuid(65534) ? -1 : 0;
	else
		r = -(errno = EINVAL);
	must(r < 0 ? -errno : 0, how);
}

int main(int argc, char **argv)
{
	if (argc > 3 && !strcmp(argv[1], "as")) {
		become(argv[2]);
		execvp(argv[3], argv + 3);
		must(-errno, argv[3]);
	}
	g.dev = ksft_device();
	if (argc == 2 && !strcmp(argv[1], "run"))
		return run();
	if (argc == 3 && !strcmp(argv[1], "region"))
		return region(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "many"))
		return many(atoi(argv[2]));
	fprintf(stderr, "usage: events-do run | region NAME | many N | as HOW PROGRAM...\n");
	return 2;
}
