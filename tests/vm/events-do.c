// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What tests/vm/events.sh needs somebody to do:
 *	events-do run			one attach with a harvest of each kind; says what the
 *					script must find: NAME=VALUE lines
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

static void final_harvest(void)
{
	must(harvest(DROVER_HARVEST_FINAL), "final harvest");
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
	must(harvest(0), "harvest");
	g.map[3 * PAGE] = 2;
	g.map[5 * PAGE] = 2;
	g.other[9 * PAGE] = 2;
	must(fallocate(g.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 20 * PAGE, 2 * PAGE) < 0 ?
	     -errno : 0, "fallocate");
	must(harvest(0), "harvest");
	told("plain");
	final_harvest();
	told("final");
	/* The writers were said to be stopped. */
	must(pwrite(g.fd, "late", 4, 7 * PAGE) != 4 ? -errno : 0, "pwrite");
	g.other[8 * PAGE] = 3;
	final_harvest();
	told("late");
	/* Not by close(): that leaves it to a worker. */
	must(syscall(__NR_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, NULL, 0) < 0 ?
	     -errno : 0, "io_uring_register");
	close(ring);
	/*
	 * Nobody is late: the guest has run on since. New pages wait in a batch of the CPU
	 * they were touched on, with a reference each, for their list: that is no pin.
	 */
	must(harvest(0), "harvest after");
	on_cpu(1);
	g.map[11 * PAGE] = 3;
	g.map[20 * PAGE] = 3;
	g.map[21 * PAGE] = 3;
	on_cpu(0);
	final_harvest();
	told("again");
	end();
	printf("before=%llu after=%llu\n", (unsigned long long)before,
	       (unsigned long long)ksft_ns());
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
	if (argc == 3 && !strcmp(argv[1], "many"))
		return many(atoi(argv[2]));
	fprintf(stderr, "usage: events-do run | many N | as HOW PROGRAM...\n");
	return 2;
}
