// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Memory of the simulated guest: one memfd, mapped twice. The guest writes through its
 * own mapping, which is what trackers watch, as with a VMM in another process; droverd
 * reads and places through the other. Pages are filled by several threads.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/parallel.h"
#include "dev/uffd.h"
#include "guest/sim/sim.h"
#include "ram/datamap.h"
#include "ram/populate.h"

#define FILL_STEP 2048u         /* pages: one unit of work */
#define POISON 0xa5

/**
 * struct fill - pages written by several threads
 * @sum: of sim_page_mix() over what was written
 */
struct fill {
	struct drover_sim *sim;
	bool poison;
	_Atomic uint64_t sum;
};

static uint64_t fill_page(struct fill *f, uint64_t page)
{
	const struct sim_args *a = &f->sim->args;
	uint8_t *at = f->sim->ram.block[0].host + drover_page_off(page);

	if (f->poison) {
		memset(at, POISON, DROVER_PAGE_SIZE);
		return 0;
	}
	if (sim_page_untouched(a->seed, page, a->zero))
		return 0;
	sim_page_fill(at, a->seed, page, 1);
	return sim_page_mix(page, 1);
}

static int fill_step(void *arg, uint64_t page, uint64_t end)
{
	struct fill *f = arg;
	uint64_t sum;

	for (sum = 0; page < end; page++)
		sum += fill_page(f, page);
	atomic_fetch_add(&f->sum, sum);
	return 0;
}

static uint64_t fill(struct drover_sim *s, bool poison)
{
	struct fill f = { .sim = s, .poison = poison };

	drover_parallel(s->npages, FILL_STEP, fill_step, &f);
	return atomic_load(&f.sum);
}

static int map(struct drover_sim *s, uint8_t **ret, struct drover_error *e)
{
	void *p = mmap(NULL, s->args.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
		       s->fd, 0);

	if (p == MAP_FAILED)
		return drover_err(e, -errno, "guest sim: map %llu bytes: %s",
				  (unsigned long long)s->args.size, drover_strerror(errno));
	/* Programs started by the exec transport have no business with it. */
	madvise(p, s->args.size, MADV_DONTFORK);
	madvise(p, s->args.size, MADV_DONTDUMP);
	*ret = p;
	return 0;
}

static int open_memfd(struct drover_sim *s, struct drover_error *e)
{
	s->fd = memfd_create("drover-sim", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (s->fd < 0 || ftruncate(s->fd, (off_t)s->args.size) < 0)
		return drover_err(e, -errno, "guest sim: memory of %llu bytes: %s",
				  (unsigned long long)s->args.size, drover_strerror(errno));
	if (fcntl(s->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
		return drover_err(e, -errno, "guest sim: seal: %s", drover_strerror(errno));
	return 0;
}

/* Who finds the file there must not touch it: it may be the RAM of a guest that runs. */
static int open_file(struct drover_sim *s, struct drover_error *e)
{
	const char *path = s->args.file;
	struct stat st;

	s->ram.block[0].flags = DROVER_RAM_SHARED_DEST;
	s->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (s->fd >= 0) {
		if (ftruncate(s->fd, (off_t)s->args.size) == 0)
			return 0;
	} else if (errno == EEXIST) {
		s->found = true;
		s->fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	}
	if (s->fd < 0 || fstat(s->fd, &st) < 0)
		return drover_err(e, -errno, "guest sim: file=%s: %s", path, drover_strerror(errno));
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != s->args.size)
		return drover_err(e, -EINVAL, "guest sim: file=%s: not a file of %llu bytes", path,
				  (unsigned long long)s->args.size);
	return 0;
}

int sim_ram_open(struct drover_sim *s, struct drover_error *e)
{
	struct drover_ram_block *b = &s->ram.block[0];
	int r = *s->args.file ? open_file(s, e) : open_memfd(s, e);

	if (r < 0)
		return r;
	r = map(s, &s->vmm, e);
	if (r >= 0)
		r = map(s, &b->host, e);
	if (r < 0)
		return r;
	snprintf(b->name, sizeof(b->name), "ram0");
	b->size = s->args.size;
	b->fd = s->fd;
	s->ram.n = 1;
	/* A kernel without them has other trackers, or says why not when one is chosen. */
	if (drover_uffd_new(DROVER_UFFD_FEATURES, &s->uffd, NULL, NULL) < 0)
		s->uffd = -EBADF;
	s->pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	return 0;
}

void sim_ram_close(struct drover_sim *s)
{
	struct drover_ram_block *b = &s->ram.block[0];

	if (s->vmm)
		munmap(s->vmm, s->args.size);
	if (b->host)
		munmap(b->host, s->args.size);
	drover_closep(&s->uffd);
	drover_closep(&s->pagemap_fd);
	drover_closep(&s->fd);
}

static int populate(struct drover_sim *s, uint8_t *at, const uint64_t *pages,
		    struct drover_error *e)
{
	int r = drover_populate(at, pages, s->npages, MADV_POPULATE_WRITE);

	if (r < 0)
		return drover_err(e, r, "guest sim: populate: %s", drover_strerror(r));
	return 0;
}

int sim_ram_fill(struct drover_sim *s, struct drover_error *e)
{
	_cleanup_free_ uint64_t *data = drover_bitmap_new(s->npages);
	int r;

	if (!data)
		return drover_err(e, -ENOMEM, "guest sim: out of memory");
	s->sum = fill(s, false);
	/* A guest that has run has its page tables; its writers shall not pay for them later. */
	r = drover_datamap_read(&s->ram.block[0], data, e);
	return r < 0 ? r : populate(s, s->vmm, data, e);
}

int sim_ram_empty(struct drover_sim *s, struct drover_error *e)
{
	int r = 0;

	if (fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
		      (off_t)s->args.size) < 0)
		return drover_err(e, -errno, "guest sim: empty the RAM: %s",
				  drover_strerror(errno));
	if (s->args.prefault)
		r = populate(s, s->ram.block[0].host, NULL, e);
	if (r >= 0 && s->args.poison)
		fill(s, true);
	return r;
}
