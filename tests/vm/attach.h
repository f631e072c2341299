/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_VM_ATTACH_H
#define DROVER_VM_ATTACH_H

/* A watched file and its harvest, for the programs that test attach. */
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
	return ioctl(g.at, DROVER_IOC_HARVEST, &news.h) < 0 ? -errno : 0;
}

static inline bool in(const uint64_t *map, unsigned int page)
{
	return map[page / 64] >> (page % 64) & 1;
}

static inline int attach(int fd)
{
	struct drover_attach a = { .size = sizeof(a), .fd = fd };

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

#endif
