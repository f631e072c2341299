// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Memory runs out inside of the module, at each place where it asks for some: every command
 * says ENOMEM, leaves nothing half done and loses no bit; then at random, while a shadow
 * copy is made of what harvests report. What leaks is found by kmemleak after the end.
 * Needs a kernel with fault injection: make check-vm-debug.
 * set: debug
 * timeout: 120
 */
#include <sys/syscall.h>

#include "kselftest.h"

#define NPAGES 1024ul
#define WORDS (NPAGES / 64)
#define HARVESTS 4u		/* an attach, in the random part */

static struct {
	int dev, fd, at;
	int nth, random;
	uint8_t *map;
	uint64_t dirty[WORDS], hole[WORDS];
} g;

static int open_or_die(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0)
		ksft_die("%s", path);
	return fd;
}

static void set(const char *what, const char *name, const char *value)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/sys/kernel/debug/%s/%s", what, name);
	fd = open_or_die(path, O_WRONLY);
	if (write(fd, value, strlen(value)) != (ssize_t)strlen(value))
		ksft_die("%s", path);
	close(fd);
}

static void put(int fd, unsigned int value)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%u", value);

	if (pwrite(fd, text, (size_t)n, 0) != n)
		ksft_die("a switch of fault injection");
}

/* Was the allocation reached that should fail? Ends the waiting for it. */
static bool injected(void)
{
	char text[16] = "";

	if (pread(g.nth, text, sizeof(text) - 1, 0) <= 0)
		ksft_die("fail-nth");
	put(g.nth, 0);
	return !atoi(text);
}

static void setup(void)
{
	static const char *const kinds[] = { "failslab", "fail_page_alloc" };
	size_t i;

	for (i = 0; i < KSFT_SIZE(kinds); i++) {
		set(kinds[i], "task-filter", "Y");
		set(kinds[i], "ignore-gfp-wait", "N");
		set(kinds[i], "verbose", "0");
		set(kinds[i], "times", "-1");
		set(kinds[i], "space", "0");
		set(kinds[i], "probability", "5");
	}
	set("fail_page_alloc", "min-order", "0");
	set("fail_page_alloc", "ignore-gfp-highmem", "N");
	g.nth = open_or_die("/proc/thread-self/fail-nth", O_RDWR);
	g.random = open_or_die("/proc/thread-self/make-it-fail", O_RDWR);
}

/* ---- the commands: 0 or more, or -errno ---- */

static int cmd_attach(void)
{
	struct drover_attach a = { .size = sizeof(a), .fd = g.fd };
	int r = ioctl(g.dev, DROVER_IOC_ATTACH, &a);

	if (r >= 0)
		g.at = r;
	return r < 0 ? -errno : 0;
}

static int cmd_arm(void)
{
	struct drover_arm a = { .size = sizeof(a) };

	return ioctl(g.at, DROVER_IOC_ARM, &a) < 0 ? -errno : 0;
}

static int cmd_harvest(void)
{
	struct drover_harvest h = {
		.size = sizeof(h), .npages = NPAGES, .dirty = (uintptr_t)g.dirty,
		.hole = (uintptr_t)g.hole,
	};

	return ioctl(g.at, DROVER_IOC_HARVEST, &h) < 0 ? -errno : 0;
}

static int cmd_set_dirty(void)
{
	struct drover_set_dirty s = {
		.size = sizeof(s), .npages = NPAGES, .bitmap = (uintptr_t)g.dirty,
	};

	return ioctl(g.at, DROVER_IOC_SET_DIRTY, &s) < 0 ? -errno : 0;
}

static bool in(const uint64_t *bits, size_t i)
{
	return bits[i / 64] >> (i % 64) & 1;
}

static uint64_t *word(size_t page)
{
	return (uint64_t *)(g.map + page * KSFT_PAGE);
}

static void forget(void)
{
	memset(g.dirty, 0, sizeof(g.dirty));
	memset(g.hole, 0, sizeof(g.hole));
}

static void punch(size_t first, size_t n)
{
	if (fallocate(g.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)(first * KSFT_PAGE), (off_t)(n * KSFT_PAGE)))
		ksft_die("fallocate");
}

static void detach(void)
{
	if (g.at >= 0)
		close(g.at);
	g.at = -1;
}

/*
 * @prepare, then @run with its first allocation failing, and again with the second, until
 * one run has no more. @after sees what a failed run has left behind.
 */
static void sweep(const char *name, void (*prepare)(void), int (*run)(void), bool (*after)(void))
{
	unsigned int n, failed = 0, survived = 0;
	bool hit = true, good = true;
	int r = 0;

	for (n = 1; hit && n < 1000; n++) {
		prepare();
		put(g.nth, n);
		r = run();
		hit = injected();
		failed += r == -ENOMEM;
		survived += hit && !r;
		if (r && (!hit || r != -ENOMEM)) {
			ksft_note("%s: allocation %u: %s", name, n, strerror(-r));
			good = false;
		}
		if (!after()) {
			ksft_note("%s: after allocation %u: %s", name, n, strerror(errno));
			good = false;
		}
		detach();
	}
	ksft_ok(good && !hit && !r, "%s: %u allocations fail: %u times ENOMEM, %u times done", name,
		n - 2, failed, survived);
}

static void nothing(void)
{
}

static bool attached_after(void)
{
	detach();
	return !cmd_attach() && !cmd_arm();
}

static void attached(void)
{
	if (cmd_attach())
		ksft_die("attach");
}

static bool armed_after(void)
{
	int r = cmd_arm();

	/* It worked, or nothing is left of the attempt. */
	if (r && r != -EALREADY)
		return false;
	*word(5) += 1;
	forget();
	return !cmd_harvest() && in(g.dirty, 5);
}

/* Pages written before, and pages that were not there before: needs new memory. */
static void armed_and_written(void)
{
	punch(0, NPAGES / 2);
	attached();
	if (cmd_arm())
		ksft_die("arm");
	*word(7) = 1;
	*word(NPAGES - 7) += 1;
	forget();
}

static bool nothing_lost(void)
{
	return !cmd_harvest() && in(g.dirty, 7) && in(g.dirty, NPAGES - 7);
}

/* All that a migration does, with 5 % of all allocations failing. */
static void at_random(unsigned int seconds)
{
	uint64_t end = ksft_ns() + seconds * 1000000000ull, s = 88172645463325252ull;
	unsigned int failed = 0, odd = 0, lost = 0, rounds = 0;
	uint8_t *shadow = calloc(NPAGES, KSFT_PAGE);

	while (ksft_ns() < end) {
		unsigned int k, i;
		int r;

		for (r = -ENOMEM; r == -ENOMEM; failed += r == -ENOMEM) {
			put(g.random, 1);
			r = g.at < 0 ? cmd_attach() : 0;
			if (!r)
				r = cmd_arm();
			put(g.random, 0);
		}
		odd += r != 0;
		memcpy(shadow, g.map, NPAGES * KSFT_PAGE);
		for (k = 0; k < HARVESTS; k++) {
			for (i = 0; i < 50; i++) {
				s = s * 6364136223846793005ull + 1442695040888963407ull;
				*word((s >> 33) % NPAGES) = s;
			}
			punch((s >> 40) % (NPAGES - 8), 8);
			/* A last one without faults, as no news may be left. */
			put(g.random, k < HARVESTS - 1);
			r = cmd_harvest();
			if (!r && !(k % 2))
				r = cmd_set_dirty();
			put(g.random, 0);
			failed += r == -ENOMEM;
			odd += r && r != -ENOMEM;
			for (i = 0; i < NPAGES; i++)
				if (in(g.dirty, i) || in(g.hole, i))
					memcpy(shadow + i * KSFT_PAGE, word(i), KSFT_PAGE);
			forget();
		}
		lost += memcmp(shadow, g.map, NPAGES * KSFT_PAGE) != 0;
		put(g.random, rounds % 2);
		detach();
		put(g.random, 0);
		lost += memcmp(shadow, g.map, NPAGES * KSFT_PAGE) != 0;
		rounds++;
	}
	free(shadow);
	ksft_ok(failed && !odd && !lost && rounds, "at random: %u times ENOMEM in %u attaches, %u other "
		"errors, %u shadows differ", failed, rounds, odd, lost);
}

/* ---- regions ---- */

static struct {
	struct drover_region made;
	uint8_t *vm, *loader;
	size_t page;
} r;

static int cmd_region(void)
{
	r.made = (struct drover_region){
		.size = sizeof(r.made), .flags = DROVER_REGION_GATED, .bytes = NPAGES * KSFT_PAGE,
		.vm_fd = -1, .loader_fd = -1,
	};
	strcpy(r.made.name, "failslab");
	return ioctl(g.dev, DROVER_IOC_REGION, &r.made) < 0 ? -errno : 0;
}

static void end_region(void)
{
	if (r.vm)
		munmap(r.vm, NPAGES * KSFT_PAGE);
	if (r.loader)
		munmap(r.loader, NPAGES * KSFT_PAGE);
	if (r.made.vm_fd >= 0)
		close(r.made.vm_fd);
	if (r.made.loader_fd >= 0)
		close(r.made.loader_fd);
	r.vm = NULL;
	r.loader = NULL;
	r.made.vm_fd = r.made.loader_fd = -1;
}

/* The name must be free again, whatever went wrong. */
static bool region_after(void)
{
	bool good;

	end_region();
	good = !cmd_region();
	end_region();
	return good;
}

static void region_made(void)
{
	if (cmd_region())
		ksft_die("region");
	r.vm = ksft_map(r.made.vm_fd, NPAGES);
	r.loader = ksft_map(r.made.loader_fd, NPAGES);
	r.page = 3;
}

static int cmd_publish(void)
{
	struct drover_range range[] = { { r.page, 1 }, { 100, 2 } };
	struct drover_publish p = {
		.size = sizeof(p), .ranges = (uintptr_t)range, .nranges = KSFT_SIZE(range),
	};

	return ioctl(r.made.loader_fd, DROVER_IOC_PUBLISH, &p) < 0 ? -errno : 0;
}

static bool publish_after(void)
{
	bool good;

	r.loader[r.page * KSFT_PAGE] = 42;
	good = !cmd_publish() && r.vm[r.page * KSFT_PAGE] == 42;
	end_region();
	return good;
}

static int cmd_adopt(void)
{
	struct drover_adopt a = { .size = sizeof(a), .id = r.made.id };
	int fd;

	fd = ioctl(g.dev, DROVER_IOC_ADOPT, &a);
	if (fd < 0)
		return -errno;
	r.made.loader_fd = fd;
	return 0;
}

static void region_orphaned(void)
{
	region_made();
	close(r.made.loader_fd);
	r.made.loader_fd = -1;
}

static bool adopt_after(void)
{
	if (r.made.loader_fd < 0 && cmd_adopt())
		return false;
	return publish_after();
}

/* Somebody touches a page that is not there; 0, 1 when an allocation has failed, or -errno */
static int fault(unsigned int nth)
{
	struct drover_request q = { 0 };
	pid_t pid = fork();
	int status;

	if (!pid) {
		/* Of each thread its own. */
		close(g.nth);
		g.nth = open_or_die("/proc/thread-self/fail-nth", O_RDWR);
		put(g.nth, nth);
		if (*(volatile uint8_t *)&r.vm[r.page * KSFT_PAGE] != 7)
			_exit(2);
		_exit(injected());
	}
	if (read(r.made.loader_fd, &q, sizeof(q)) != (ssize_t)sizeof(q) || q.page != r.page) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return -EIO;
	}
	r.loader[r.page * KSFT_PAGE] = 7;
	if (cmd_publish() || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -EIO;
	return WEXITSTATUS(status) == 2 ? -EILSEQ : WEXITSTATUS(status);
}

static void sweep_faults(void)
{
	unsigned int n;
	int got = 1;

	for (n = 1; got == 1 && n < 100; n++) {
		region_made();
		got = fault(n);
		end_region();
	}
	ksft_ok(!got, "fault: %u allocations fail: it is tried again until the page is there%s%s", n - 2,
		got ? ": " : "", got < 0 ? strerror(-got) : "");
}

int main(void)
{
	struct drover_caps caps = { .size = sizeof(caps) };

	setup();
	g.dev = ksft_device();
	g.at = -1;
	g.fd = ksft_memfd(NPAGES);
	g.map = ksft_map(g.fd, NPAGES);
	memset(g.map, 1, NPAGES * KSFT_PAGE);
	if (ioctl(g.dev, DROVER_IOC_CAPS, &caps))
		ksft_die("DROVER_IOC_CAPS");

	sweep("attach", nothing, cmd_attach, attached_after);
	sweep("arm", attached, cmd_arm, armed_after);
	sweep("harvest", armed_and_written, cmd_harvest, nothing_lost);
	sweep("set_dirty", armed_and_written, cmd_set_dirty, nothing_lost);
	at_random(15);
	if (caps.features & DROVER_CAP_REGION) {
		sweep("region", nothing, cmd_region, region_after);
		sweep("publish", region_made, cmd_publish, publish_after);
		sweep("adopt", region_orphaned, cmd_adopt, adopt_after);
		sweep_faults();
	}
	return ksft_end();
}
