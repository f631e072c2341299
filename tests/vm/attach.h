/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_VM_ATTACH_H
#define DROVER_VM_ATTACH_H

/* A watched file and its harvest, for the programs that test attach. */
#include <stdatomic.h>

#include "kselftest.h"

#define PAGES 4096u
#define PAGE 4096u
#define WORDS (PAGES / 64)

/* A watched file, mapped twice. */
struct attach_fixture {
	int dev, fd, at;
	uint8_t *map, *other;
};

static struct attach_fixture g;
static unsigned int attach_flags;

static struct {
	uint64_t dirty[WORDS], hole[WORDS], pinned[WORDS];
	struct drover_harvest h;
} news;

static inline int harvest(unsigned int flags)
{
	memset(&news, 0, sizeof(news));
	news.h = (struct drover_harvest){
		.size = sizeof(news.h), .flags = flags, .npages = PAGES,
		.dirty = (uintptr_t)news.dirty, .hole = (uintptr_t)news.hole,
		.pinned = (uintptr_t)news.pinned,
	};
	int r;

	/* Not only signals end a call early. */
	do {
		r = ioctl(g.at, DROVER_IOC_HARVEST, &news.h) < 0 ? -errno : 0;
	} while (r == -EINTR);
	return r;
}

static inline bool in(const uint64_t *map, unsigned int page)
{
	return map[page / 64] >> (page % 64) & 1;
}

static inline int attach(int fd)
{
	struct drover_attach a = { .size = sizeof(a), .flags = attach_flags, .fd = fd };

	int r = ioctl(g.dev, DROVER_IOC_ATTACH, &a);

	return r < 0 ? -errno : r;
}

static inline int arm(int at)
{
	struct drover_arm a = { .size = sizeof(a) };

	return ioctl(at, DROVER_IOC_ARM, &a) < 0 ? -errno : 0;
}

static inline uint8_t *map_file(int fd, int prot, int flags)
{
	uint8_t *p = mmap(NULL, PAGES * PAGE, prot, flags, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* A new file with content, watched. */
static inline void begin(void)
{
	g.fd = memfd_create("attach-test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (g.fd < 0 || ftruncate(g.fd, PAGES * PAGE) < 0)
		exit(1);
	g.map = map_file(g.fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	g.other = map_file(g.fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	memset(g.map, 1, PAGES * PAGE);
	g.at = attach(g.fd);
	if (g.at < 0 || arm(g.at) < 0) {
		printf("# attach: %s\n", strerror(g.at < 0 ? -g.at : errno));
		exit(1);
	}
}

static inline void end(void)
{
	close(g.at);
	munmap(g.map, PAGES * PAGE);
	munmap(g.other, PAGES * PAGE);
	close(g.fd);
}

/* ---- a race: writers against harvests, a shadow made of what was reported ---- */

#define RACE_PAGES 1024u	/* that are written: fewer make more harvests */
#define RACE_WRITERS 2u
#define RACE_BESIDE 5u

struct race {
	unsigned int ms;
	bool writers_exit;	/* before the final harvest; else they only stop */
	bool protect;		/* DROVER_ATTACH_PROTECT */
	bool truncates;		/* no load from beyond the end */
	/* What a writer does until race_stop; NULL: stores everywhere. @n: which one it is */
	void (*writer)(unsigned int n);
	/* Each in a process of its own, again and again; they end before the final harvest */
	void (*beside[RACE_BESIDE])(void);
	/* out */
	unsigned int rounds, lost, late, failed;
};

static atomic_bool *race_stop;

static inline uint64_t race_random(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

static inline void race_store(unsigned int n)
{
	uint64_t s = 88172645463325252ull + n + (uint64_t)getpid();

	while (!atomic_load_explicit(race_stop, memory_order_relaxed))
		++*(uint64_t *)(g.map + race_random(&s) % RACE_PAGES * PAGE + 8 * n);
}

static inline void race_read(const struct race *r, unsigned int page, uint8_t *to)
{
	/* With PROTECT an entry of our own that could write is taken for a writer's. */
	if (!r->truncates && !r->protect)
		memcpy(to, g.other + page * PAGE, PAGE);
	else if (pread(g.fd, to, PAGE, (off_t)page * PAGE) != (ssize_t)PAGE)
		memset(to, 0, PAGE);
}

static inline void race_harvest(struct race *r, uint8_t *shadow, unsigned int flags)
{
	int err = harvest(flags);

	if (err < 0 && !r->failed++)
		ksft_note("harvest %u: %s", r->rounds, strerror(-err));
	for (unsigned int i = 0; i < PAGES; i++)
		if (in(news.dirty, i))
			race_read(r, i, shadow + i * PAGE);
		else if (in(news.hole, i))	/* not to be read, see drover.h */
			memset(shadow + i * PAGE, 0, PAGE);
	r->rounds++;
}

/* One that stops at race_stop, and then waits for its end or ends. */
static inline pid_t race_fork(const struct race *r, unsigned int n, void (*again)(void), int done)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	if (again)
		while (!atomic_load(race_stop))
			again();
	else if (r->writer)
		r->writer(n);
	else
		race_store(n);
	if (write(done, "d", 1) != 1)
		_exit(1);
	while (!again && !r->writers_exit)
		pause();
	_exit(0);
}

/* On g, whose content the caller has made; what was not reported is in r->lost. */
static inline void race_run(struct race *r)
{
	uint8_t *shadow = malloc(PAGES * PAGE), *now = malloc(PAGE);
	pid_t pid[RACE_WRITERS + RACE_BESIDE];
	unsigned int i, n = 0;
	int done[2];
	uint64_t t0;
	char c;

	race_stop = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!shadow || !now || race_stop == MAP_FAILED || pipe(done))
		ksft_die("race");
	for (i = 0; i < PAGES; i++)
		race_read(r, i, shadow + i * PAGE);
	for (i = 0; i < RACE_WRITERS; i++)
		pid[n++] = race_fork(r, i, NULL, done[1]);
	for (i = 0; i < RACE_BESIDE && r->beside[i]; i++)
		pid[n++] = race_fork(r, i, r->beside[i], done[1]);
	/* A busy host or a slow kernel gets more time: a few harvests prove little. */
	for (t0 = ksft_ns(); r->rounds < 4 || ksft_ns() - t0 <
	     r->ms * (r->rounds < 10 ? 2 * ksft_scale() : 1) * 1000000ull;)
		race_harvest(r, shadow, 0);
	atomic_store(race_stop, true);
	for (i = 0; i < n; i++)
		if (read(done[0], &c, 1) != 1)
			ksft_die("race");
	for (i = 0; i < n; i++)
		if (i >= RACE_WRITERS || r->writers_exit)
			waitpid(pid[i], NULL, 0);
	race_harvest(r, shadow, DROVER_HARVEST_FINAL);
	for (i = 0; i < PAGES; i++) {
		race_read(r, i, now);
		r->lost += memcmp(shadow + i * PAGE, now, PAGE) != 0;
	}
	r->failed += harvest(DROVER_HARVEST_FINAL) < 0;
	r->late = (unsigned int)news.h.ndirty;
	for (i = 0; i < RACE_WRITERS && !r->writers_exit; i++) {
		kill(pid[i], SIGKILL);
		waitpid(pid[i], NULL, 0);
	}
	close(done[0]);
	close(done[1]);
	munmap(race_stop, PAGE);
	free(shadow);
	free(now);
}

static inline void race_result(const struct race *r, const char *name)
{
	ksft_ok(!r->lost && !r->late && !r->failed,
		"race: %s: %u harvests, %u failed, %u pages lost, %u late", name, r->rounds,
		r->failed, r->lost, r->late);
}

/* A file of its own, all of it resident. */
static inline void race_test(struct race r, const char *name)
{
	attach_flags = r.protect ? DROVER_ATTACH_PROTECT : 0;
	begin();
	attach_flags = 0;
	race_run(&r);
	race_result(&r, name);
	end();
}

#endif
