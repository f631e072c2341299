// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A gated region as the RAM of a KVM guest: vCPUs wait for the pages they touch first, each
 * page is asked for once, and nothing that can happen to a vCPU meanwhile hurts.
 * needs: kvm-amd
 */
#include <poll.h>
#include <stdatomic.h>

#include "kvm-vm.h"

#define PAGES 256u
#define WORDS (PAGES / 64)
#define TOUCHED 64u
/* How long a machine under emulation may take for what is done at once. */
#define SOON_MS (5000 * (int)ksft_scale())

static struct {
	int dev;
	struct drover_region r;
	uint8_t *mem, *fill;            /* through the gate, and the loader's */
	struct kvm_vm vm;
} g;

static uint32_t content(unsigned int page)
{
	return 0xd0000000u + page * 0x101u;
}

static void begin(uint64_t grace_ms)
{
	g.r = (struct drover_region){
		.size = sizeof(g.r), .flags = DROVER_REGION_GATED, .bytes = PAGES * KSFT_PAGE,
		.grace_ms = grace_ms,
	};
	if (ioctl(g.dev, DROVER_IOC_REGION, &g.r))
		ksft_die("region");
	g.mem = ksft_map(g.r.vm_fd, PAGES);
	g.fill = ksft_map(g.r.loader_fd, PAGES);
	kvm_vm_new(&g.vm, g.mem, PAGES);
}

static void end(void)
{
	kvm_vm_free(&g.vm);
	munmap(g.mem, PAGES * KSFT_PAGE);
	munmap(g.fill, PAGES * KSFT_PAGE);
	close(g.r.vm_fd);
	close(g.r.loader_fd);
}

/* ---- the loader ---- */

static bool wait_request(int loader, int ms)
{
	struct pollfd p = { .fd = loader, .events = POLLIN };

	return poll(&p, 1, ms) == 1 && p.revents & POLLIN;
}

/* One request; UINT_MAX: none came. */
static unsigned int next_request(int ms)
{
	struct drover_request q;

	if (!wait_request(g.r.loader_fd, ms) ||
	    read(g.r.loader_fd, &q, sizeof(q)) != sizeof(q))
		return UINT32_MAX;
	return (unsigned int)q.page;
}

static void fill_page(unsigned int page)
{
	uint32_t *p = (uint32_t *)(g.fill + page * KSFT_PAGE);
	unsigned int i;

	for (i = 0; i < KSFT_PAGE / 4; i++)
		p[i] = content(page) + i;
}

static bool publish(unsigned int page, uint64_t *woken)
{
	struct drover_range range = { page, 1 };
	struct drover_publish p = { .size = sizeof(p), .ranges = (uintptr_t)&range, .nranges = 1 };
	int r = ioctl(g.r.loader_fd, DROVER_IOC_PUBLISH, &p);

	if (woken)
		*woken = p.woken;
	return r == 0;
}

static struct {
	atomic_bool stop;
	unsigned int bad;
	unsigned int served[PAGES];
} loader;

static void *serve(void *arg)
{
	struct drover_request q[8];
	ssize_t i, n;

	while (!atomic_load(&loader.stop)) {
		if (!wait_request(g.r.loader_fd, 20))
			continue;
		n = read(g.r.loader_fd, q, sizeof(q));
		loader.bad += n <= 0 || n % (ssize_t)sizeof(q[0]);
		for (i = 0; i < n / (ssize_t)sizeof(q[0]); i++) {
			if (q[i].page >= PAGES) {
				loader.bad++;
				continue;
			}
			loader.served[q[i].page]++;
			fill_page((unsigned int)q[i].page);
			loader.bad += !publish((unsigned int)q[i].page, NULL);
		}
	}
	return arg;
}

static pthread_t loader_start(void)
{
	pthread_t t;

	memset(&loader, 0, sizeof(loader));
	if (pthread_create(&t, NULL, serve, NULL))
		ksft_die("loader");
	return t;
}

static void loader_stop(pthread_t t)
{
	atomic_store(&loader.stop, true);
	pthread_join(t, NULL);
}

/* Each of @page once, no other page at all. */
static bool served_once(const unsigned int *page, unsigned int n)
{
	unsigned int i, sum = 0;
	bool good = !loader.bad;

	for (i = 0; i < n; i++)
		good = good && loader.served[page[i]] == 1;
	for (i = 0; i < PAGES; i++)
		sum += loader.served[i];
	if (!good || sum != n)
		ksft_note("%u requests for %u pages, %u bad", sum, n, loader.bad);
	return good && sum == n;
}

/* ---- a vCPU in a thread ---- */

struct runner {
	struct kvm_vm_cpu *cpu;
	const uint8_t *program;
	const unsigned int *page;
	unsigned int n;
	pthread_t thread;
	int r;
	atomic_bool done;
};

static void *run(void *arg)
{
	struct runner *u = arg;

	u->r = kvm_vm_touch(u->cpu, u->program, u->page, u->n, 42);
	atomic_store(&u->done, true);
	return NULL;
}

static void run_start(struct runner *u)
{
	u->r = 0;
	atomic_init(&u->done, false);
	if (pthread_create(&u->thread, NULL, run, u))
		ksft_die("vCPU thread");
}

static bool run_done(struct runner *u, unsigned int ms)
{
	while (!atomic_load(&u->done) && ms--)
		ksft_msleep(1);
	return atomic_load(&u->done);
}

/* ---- tests ---- */

static void pick(unsigned int *page, unsigned int first, bool shuffled)
{
	unsigned int i, k, swap, seed = 4711;

	for (i = 0; i < TOUCHED; i++)
		page[i] = first + i;
	for (i = TOUCHED - 1; shuffled && i; i--) {
		seed = seed * 1103515245u + 12345u;
		k = (seed >> 16) % (i + 1);
		swap = page[i];
		page[i] = page[k];
		page[k] = swap;
	}
}

static bool read_right(const struct kvm_vm_cpu *c, const unsigned int *page)
{
	unsigned int i, bad = 0;

	for (i = 0; i < TOUCHED; i++)
		bad += c->result[i] != content(page[i]);
	if (bad)
		ksft_note("%u pages wrong", bad);
	return !bad;
}

static void test_order(const char *order, unsigned int first, bool shuffled)
{
	unsigned int page[TOUCHED];
	pthread_t t = loader_start();
	uint64_t t0 = ksft_ns();
	int r;

	pick(page, first, shuffled);
	r = kvm_vm_touch(&g.vm.cpu[0], kvm_vm_read, page, TOUCHED, 0);
	t0 = ksft_ns() - t0;
	loader_stop(t);
	ksft_note("%llu us a page", (unsigned long long)t0 / TOUCHED / 1000);
	ksft_ok(!r, "%s: a vCPU reads 64 unpublished pages: KVM_RUN ends with hlt: %d", order, r);
	ksft_ok(read_right(&g.vm.cpu[0], page), "%s: it read what the loader wrote", order);
	ksft_ok(served_once(page, TOUCHED), "%s: each page was asked for once, and no other", order);
	t = loader_start();
	r = kvm_vm_touch(&g.vm.cpu[0], kvm_vm_read, page, TOUCHED, 0);
	loader_stop(t);
	ksft_ok(!r && served_once(page, 0), "%s: published pages are asked for no more", order);
}

static void test_store(unsigned int first)
{
	unsigned int i, page[TOUCHED], bad = 0;
	pthread_t t = loader_start();
	int r;

	pick(page, first, true);
	r = kvm_vm_touch(&g.vm.cpu[0], kvm_vm_write, page, TOUCHED, 42);
	loader_stop(t);
	for (i = 0; i < TOUCHED; i++) {
		const uint32_t *p = (const uint32_t *)(g.fill + page[i] * KSFT_PAGE);

		bad += p[0] != content(page[i]) || p[1] != 42 || p[2] != content(page[i]) + 2;
	}
	ksft_ok(!r && !bad && served_once(page, TOUCHED),
		"stores of a vCPU wait, and go into what the loader wrote: %u wrong", bad);
}

static void test_both(unsigned int first)
{
	unsigned int page[TOUCHED];
	struct runner u[2] = {
		{ .cpu = &g.vm.cpu[0], .program = kvm_vm_read, .page = page, .n = TOUCHED },
		{ .cpu = &g.vm.cpu[1], .program = kvm_vm_read, .page = page, .n = TOUCHED },
	};
	pthread_t t = loader_start();
	unsigned int i;

	pick(page, first, true);
	for (i = 0; i < 2; i++)
		run_start(&u[i]);
	for (i = 0; i < 2; i++)
		pthread_join(u[i].thread, NULL);
	loader_stop(t);
	ksft_ok(!u[0].r && !u[1].r && read_right(&g.vm.cpu[0], page) &&
		read_right(&g.vm.cpu[1], page),
		"two vCPUs touch the same pages: both read what the loader wrote");
	ksft_ok(served_once(page, TOUCHED), "two vCPUs touch the same pages: asked for once");
}

static atomic_int signals;

static void on_signal(int sig)
{
	(void)sig;
	atomic_fetch_add(&signals, 1);
}

static void test_signal(void)
{
	const unsigned int page = 3;
	struct runner u = { .cpu = &g.vm.cpu[0], .program = kvm_vm_read, .page = &page, .n = 1 };
	struct sigaction sa = { .sa_handler = on_signal };
	unsigned int asked;
	uint64_t woken = 0;
	bool early;

	sigaction(SIGUSR1, &sa, NULL);
	run_start(&u);
	asked = next_request(SOON_MS);
	ksft_ok(asked == page, "a vCPU waits: it asked for page %u", asked);
	pthread_kill(u.thread, SIGUSR1);
	early = run_done(&u, 200);
	ksft_note("a signal while a vCPU waits: handled %s", early ? "at once" : "after the publish");
	ksft_ok(next_request(100) == UINT32_MAX, "a signal while a vCPU waits: no second request");
	fill_page(page);
	publish(page, &woken);
	ksft_ok(run_done(&u, SOON_MS) && atomic_load(&signals) == 1,
		"a signal while a vCPU waits: handled once the page is there, at the latest");
	pthread_join(u.thread, NULL);
	if (u.r == -EINTR)      /* The instruction was not done: the machine goes on. */
		u.r = kvm_vm_go(u.cpu);
	ksft_ok(!u.r && u.cpu->result[0] == content(page), "a signal while a vCPU waits: then it reads");
}

/* The loader closes its descriptor, and another one comes. */
static void test_adopt(void)
{
	const unsigned int page = 4;
	struct runner u = { .cpu = &g.vm.cpu[0], .program = kvm_vm_read, .page = &page, .n = 1 };
	struct drover_adopt a = { .size = sizeof(a), .id = g.r.id };
	unsigned int asked;

	run_start(&u);
	asked = next_request(SOON_MS);
	close(g.r.loader_fd);
	ksft_ok(asked == page && !run_done(&u, 100), "the loader dies: the vCPU waits on");
	g.r.loader_fd = ioctl(g.dev, DROVER_IOC_ADOPT, &a);
	asked = g.r.loader_fd < 0 ? UINT32_MAX : next_request(SOON_MS);
	ksft_ok(asked == page, "the loader dies: the next one is asked again, for page %u", asked);
	fill_page(page);
	publish(page, NULL);
	ksft_ok(run_done(&u, SOON_MS) && !u.r && u.cpu->result[0] == content(page),
		"the loader dies: the vCPU has its page from the next one");
	pthread_join(u.thread, NULL);
}

static void test_grace(void)
{
	const unsigned int page = 5;
	struct runner u = { .cpu = &g.vm.cpu[0], .program = kvm_vm_read, .page = &page, .n = 1 };
	bool early;

	begin(400);
	run_start(&u);
	next_request(SOON_MS);
	close(g.r.loader_fd);
	early = run_done(&u, 100);
	pthread_join(u.thread, NULL);
	ksft_ok(!early && u.r == -EFAULT, "grace is over: KVM_RUN fails with EFAULT: %d", u.r);
	g.r.loader_fd = -1;
	end();
}

static void child_waits(unsigned int page)
{
	uint8_t *mem = ksft_map(g.r.vm_fd, PAGES);
	struct kvm_vm vm;

	/* The loader must not live on in here. */
	close(g.r.loader_fd);
	kvm_vm_new(&vm, mem, PAGES);
	kvm_vm_touch(&vm.cpu[0], kvm_vm_read, &page, 1, 0);
	_exit(0);
}

static void test_kill(void)
{
	const unsigned int page = 6;
	unsigned int asked;
	uint64_t t0, woken = ~0ull;
	int status = 0;
	pid_t pid, got = 0;

	fflush(stdout);
	pid = fork();
	if (!pid)
		child_waits(page);
	asked = next_request(SOON_MS);
	ksft_ok(pid > 0 && asked == page && !waitpid(pid, NULL, WNOHANG),
		"another process's vCPU waits for page %u", asked);
	kill(pid, SIGKILL);
	for (t0 = ksft_ns(); !got && ksft_ns() - t0 < SOON_MS * 1000000ull; ksft_msleep(1))
		got = waitpid(pid, &status, WNOHANG);
	t0 = (ksft_ns() - t0) / 1000000;
	ksft_ok(got == pid && WIFSIGNALED(status) && t0 < 1000 * ksft_scale(),
		"SIGKILL while a vCPU waits: dead after %llu ms", (unsigned long long)t0);
	fill_page(page);
	ksft_ok(publish(page, &woken) && !woken, "SIGKILL while a vCPU waits: nobody is woken");
}

static void test_harvest(void)
{
	const unsigned int page[] = { 10, 70, 71, 200 };
	struct drover_attach a = { .size = sizeof(a), .fd = g.r.vm_fd };
	struct drover_arm arm = { .size = sizeof(arm) };
	uint64_t dirty[WORDS] = { 0 }, want[WORDS] = { 0 };
	struct drover_harvest h = { .size = sizeof(h), .npages = PAGES, .dirty = (uintptr_t)dirty };
	int at = ioctl(g.dev, DROVER_IOC_ATTACH, &a);
	unsigned int i;
	bool good;

	if (!ksft_ok(at >= 0 && a.pages == PAGES && !ioctl(at, DROVER_IOC_ARM, &arm) &&
		     !ioctl(at, DROVER_IOC_HARVEST, &h), "a region can be watched"))
		return;
	memset(dirty, 0, sizeof(dirty));
	for (i = 0; i < KSFT_SIZE(page); i++) {
		fill_page(page[i]);
		publish(page[i], NULL);
		want[page[i] / 64] |= 1ull << page[i] % 64;
	}
	good = !ioctl(at, DROVER_IOC_HARVEST, &h) && !memcmp(dirty, want, sizeof(want));
	ksft_ok(good, "the loader's writes are in the harvest: %llu pages",
		(unsigned long long)h.ndirty);
	memset(dirty, 0, sizeof(dirty));
	memset(want, 0, sizeof(want));
	g.mem[page[0] * KSFT_PAGE + 9] ^= 1;
	want[page[0] / 64] |= 1ull << page[0] % 64;
	good = !ioctl(at, DROVER_IOC_HARVEST, &h) && !memcmp(dirty, want, sizeof(want));
	ksft_ok(good, "a store through the gate is in the harvest: %llu pages",
		(unsigned long long)h.ndirty);
	close(at);
}

int main(void)
{
	g.dev = ksft_device();
	begin(0);
	test_order("in order", 0, false);
	test_order("random", 64, true);
	test_store(128);
	test_both(192);
	end();
	begin(0);
	test_signal();
	test_adopt();
	test_kill();
	test_harvest();
	end();
	test_grace();
	return ksft_end();
}
