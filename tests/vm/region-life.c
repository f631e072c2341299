// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A region over time: what is published again, time of grace that was taken back, names that
 * come and go, signals that meet a call, large ranges, and the module, which stays for as long
 * as anything of a region does.
 * timeout: 90
 * control: 2048 as zero once more
 * control: 4096 grace: adopted in time
 * control: 8192 signal: write() from
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#include "region.h"

#define PAGES 64u

/* ---- published again ---- */

static void test_again(void)
{
	struct drover_range range[3] = { { 0, 8 }, { 4, 8 }, { 40, 1 } };
	struct drover_publish p = { .size = sizeof(p), .flags = DROVER_PUBLISH_ZERO,
				    .ranges = (uintptr_t)range, .nranges = 3 };
	uint8_t *guest, *plain;

	reg_new("", PAGES, DROVER_REGION_GATED, 0);
	plain = ksft_map(reg.loader_fd, PAGES);
	guest = ksft_map(reg.vm_fd, PAGES);
	memset(plain, 1, PAGES * PAGE);
	reg_publish(5, 1, 0);
	guest[5 * PAGE] = 0xaa;
	reg_publish(40, 1, 0);
	guest[40 * PAGE] = 0xbb;
	ksft_ok(!reg_publish(5, 1, 0) && guest[5 * PAGE] == 0xaa, "again: the guest's store stays");
	ksft_ok(!reg_publish(5, 1, DROVER_PUBLISH_ZERO) && guest[5 * PAGE] == 0xaa,
		"again, as zero once more: the guest's store stays");
	ksft_ok(!ioctl(reg.loader_fd, DROVER_IOC_PUBLISH, &p) && guest[5 * PAGE] == 0xaa &&
			guest[40 * PAGE] == 0xbb,
		"ranges as zero once more, that lie over each other: it stays");
	ksft_ok(!guest[4 * PAGE] && !guest[6 * PAGE] && !guest[11 * PAGE],
		"and what was not published reads as zero");
	munmap(plain, PAGES * PAGE);
	munmap(guest, PAGES * PAGE);
	reg_close();
}

/* ---- time of grace ---- */

static int gate_open(int loader)
{
	struct drover_gate g = { .size = sizeof(g) };

	return ioctl(loader, DROVER_IOC_GATE, &g);
}

static void test_grace(void)
{
	const unsigned int ms = 300 * ksft_scale();
	uint8_t *guest;
	int l;

	reg_new("", PAGES, DROVER_REGION_GATED, ms);
	guest = ksft_map(reg.vm_fd, PAGES);
	close(reg.loader_fd);
	l = reg_adopt();
	if (l < 0 || gate_open(l))
		ksft_die("adopt");
	close(l);
	ksft_msleep(2 * ms);
	l = reg_adopt();
	ksft_ok(l >= 0 && reg_load(guest) == 0,
		"grace: adopted in time, opened, left: no old timer ends the region (%d)", l);
	close(l);
	close(reg.vm_fd);
	munmap(guest, PAGES * PAGE);

	/* Each loader has all of the time. */
	reg_new("", PAGES, DROVER_REGION_GATED, 2 * ms);
	close(reg.loader_fd);
	ksft_msleep(ms);
	close(reg_adopt());
	ksft_msleep(ms + ms / 2);
	l = reg_adopt();
	ksft_ok(l >= 0, "grace: begins anew with each loader that dies (%d)", l);
	close(l);
	ksft_msleep(4 * ms);
	ksft_ok(reg_adopt() == -EOWNERDEAD, "grace: and ends");
	close(reg.vm_fd);
}

/* ---- signals ---- */

static void nothing(int sig)
{
	(void)sig;
}

static uint8_t *gated;

static int call_write(void)
{
	int s[2];

	return pipe(s) ? -1 : (int)write(s[1], gated, 100);
}

static int call_read(void)
{
	int fd = open("/proc/self/maps", O_RDONLY);

	return (int)read(fd, gated + PAGE, 100);
}

static int call_uname(void)
{
	return (int)syscall(SYS_uname, gated + 2 * PAGE);
}

static const struct {
	const char *name;
	int (*fn)(void);
} in_kernel[] = {
	{"write() from", call_write},
	{"read() into", call_read},
	{"uname() into", call_uname},
};

/* CPU time that a process takes in half a second. */
static double cpu_share(pid_t pid)
{
	struct timespec a, b;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock))
		return 100;
	clock_gettime(clock, &a);
	ksft_msleep(500);
	clock_gettime(clock, &b);
	return ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / 5e8;
}

static void test_signal_in_call(void)
{
	unsigned int i;

	for (i = 0; i < KSFT_SIZE(in_kernel); i++) {
		double share;
		pid_t pid;
		int st;

		reg_new("", PAGES, DROVER_REGION_GATED, 0);
		gated = ksft_map(reg.vm_fd, PAGES);
		pid = fork();
		if (!pid) {
			signal(SIGUSR1, nothing);
			_exit(in_kernel[i].fn() < 0);
		}
		ksft_msleep(200 * ksft_scale());
		kill(pid, SIGUSR1);
		ksft_msleep(50);
		share = cpu_share(pid);
		ksft_ok(share < 0.3 && waitpid(pid, &st, WNOHANG) == 0,
			"signal: %s a page that waits, a signal pending: it sleeps (%.0f %% of a "
			"CPU)",
			in_kernel[i].name, share * 100);
		reg_publish(0, 8, 0);
		waitpid(pid, &st, 0);
		ksft_ok(WIFEXITED(st) && !WEXITSTATUS(st),
			"signal: and goes on when it is published");
		munmap(gated, PAGES * PAGE);
		reg_close();
	}
}

/* ---- large ---- */

#define HUGE_PAGES (1ull << 30)	/* 4 TiB */

static void publish_much(uint32_t flags)
{
	static struct drover_range range[DROVER_RANGES_MAX];
	struct drover_publish p = { .size = sizeof(p), .flags = flags, .ranges = (uintptr_t)range,
				    .nranges = DROVER_RANGES_MAX };
	unsigned int i;

	for (i = 0; i < DROVER_RANGES_MAX; i++)
		range[i] = (struct drover_range){ 0, HUGE_PAGES };
	_exit(ioctl(reg.loader_fd, DROVER_IOC_PUBLISH, &p) ? 1 : 0);
}

static void test_kill(uint32_t flags, const char *name)
{
	uint64_t t0;
	pid_t pid;
	int st;

	if (reg_try("", HUGE_PAGES, DROVER_REGION_GATED, 0)) {
		ksft_ok(errno == ENOMEM, "%s: no memory for a region of 4 TiB here", name);
		return;
	}
	pid = fork();
	if (!pid)
		publish_much(flags);
	ksft_msleep(300);
	ksft_ok(waitpid(pid, &st, WNOHANG) == 0, "%s: 4,096 ranges of 4 TiB take long", name);
	t0 = ksft_ns();
	kill(pid, SIGKILL);
	waitpid(pid, &st, 0);
	t0 = (ksft_ns() - t0) / 1000000;
	ksft_ok(t0 < 500 * ksft_scale() && WIFSIGNALED(st), "%s: SIGKILL ends it (%llu ms)", name,
		(unsigned long long)t0);
	reg_close();
}

/* ---- names ---- */

static void *make_and_leave(void *arg)
{
	atomic_uint *made = arg;
	unsigned int i;

	for (i = 0; i < 300; i++) {
		struct drover_region r = { .size = sizeof(r), .bytes = PAGE, .name = "same" };

		if (ioctl(reg_dev, DROVER_IOC_REGION, &r)) {
			if (errno != EEXIST)
				return (void *)1;
			continue;
		}
		atomic_fetch_add(made, 1);
		close(r.vm_fd);
		close(r.loader_fd);
	}
	return NULL;
}

static void test_names(void)
{
	atomic_uint made = 0;
	pthread_t t[3];
	unsigned int i;
	void *bad, *any = NULL;

	for (i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, make_and_leave, &made);
	for (i = 0; i < 3; i++) {
		pthread_join(t[i], &bad);
		any = bad ? bad : any;
	}
	ksft_ok(!any && atomic_load(&made) >= 10,
		"names: three threads make regions of one name and leave them: %u made, else "
		"EEXIST",
		atomic_load(&made));
	ksft_ok(!reg_try("same", 1, 0, 0), "names: the name is free at once after a close");
	reg_close();
	ksft_ok(!reg_try("same", 1, 0, 0), "names: and again");
	ksft_ok(!access("/dev/drover-same", F_OK), "names: with its device");
	reg_close();
	ksft_ok(access("/dev/drover-same", F_OK) < 0,
		"names: which is gone when the close returns");
}

/* ---- descriptors that are handed out ---- */

static atomic_bool stop;
static atomic_int victim;

/* Whatever number appears is made to be another file. */
static void *replace(void *arg)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC), first = *(int *)arg, i;

	while (!atomic_load(&stop))
		for (i = first; i < first + 3; i++)
			if (fcntl(i, F_GETFD) >= 0 && dup2(null, i) == i)
				atomic_fetch_add(&victim, 1);
	close(null);
	return NULL;
}

/*
 * A command whose outputs can't be written gives back no descriptor, and never closes one
 * that another thread has put in its place.
 */
static void test_descriptors(void)
{
	uint8_t *page =
		mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct drover_region *r = (void *)page;
	int first = dup(0), lost = 0, i;
	pthread_t t;

	close(first);
	/* The thread's own descriptor takes the first number. */
	first++;
	pthread_create(&t, NULL, replace, &first);
	ksft_msleep(20);
	for (i = 0; i < 300; i++) {
		*r = (struct drover_region){ .size = sizeof(*r), .bytes = PAGE };
		mprotect(page, PAGE, PROT_READ);
		if (ioctl(reg_dev, DROVER_IOC_REGION, r) != -1 || errno != EFAULT)
			lost++;
		mprotect(page, PAGE, PROT_READ | PROT_WRITE);
	}
	atomic_store(&stop, true);
	pthread_join(t, NULL);
	ksft_ok(!lost && !atomic_load(&victim),
		"descriptors: outputs that can't be written: nobody sees one that is taken back "
		"(%d)",
		atomic_load(&victim));
	munmap(page, 2 * PAGE);
}

/* ---- the module ---- */

static void test_module(void)
{
	uint8_t *guest, *plain;

	reg_new("", PAGES, DROVER_REGION_GATED, 0);
	guest = ksft_map(reg.vm_fd, PAGES);
	plain = ksft_map(reg.loader_fd, PAGES);
	reg_publish(0, PAGES, 0);
	reg_close();
	close(reg_dev);
	munmap(plain, PAGES * PAGE);
	ksft_errno(syscall(SYS_delete_module, "drover", O_NONBLOCK), EAGAIN,
		   "module: a gated mapping alone keeps it from being unloaded");
	ksft_ok(reg_load(guest + 7 * PAGE) == 0, "module: and faults go on");
	munmap(guest, PAGES * PAGE);
	ksft_errno(syscall(SYS_delete_module, "drover", O_NONBLOCK), 0,
		   "module: when the last mapping is gone it can be");
}

int main(void)
{
	reg_begin();
	test_again();
	test_grace();
	test_signal_in_call();
	test_kill(0, "publish");
	test_kill(DROVER_PUBLISH_ZERO, "publish as zero");
	test_names();
	test_descriptors();
	test_module();
	return ksft_end();
}
