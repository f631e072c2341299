// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The fault handler `kmod`: guest RAM is a region of the kernel module, and droverd becomes the
 * region's loader. The gate and its received bits belong to the module and outlive droverd. Page
 * content is received straight into the final page, through the loader's mapping, which has no
 * gate.
 *
 * publish sets a page's bit in drover_fault_source.received before the module sets its own. So a
 * handler that takes over publishes the pages whose bit is set there and missing in the module.
 *
 * Several blocks may lie in one region, at offsets that are no multiple of a bitmap's word.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "dev/kmod.h"
#include "fault/fault.h"
#include "ram/ramfile.h"

#define RUNS_MAX 256u
#define REQUESTS_MAX 64u

/**
 * struct kmod_region - a region, in which one or more blocks lie
 * @fd: the region's vm descriptor, owned by the guest link
 * @loader: the region's loader descriptor, owned by the handler
 */
struct kmod_region {
	int fd;
	int loader;
};

struct kmod_fault {
	const struct drover_ram *ram;
	unsigned int n;
	struct kmod_region region[DROVER_RAM_BLOCKS_MAX];
	unsigned int of[DROVER_RAM_BLOCKS_MAX];
	uint8_t *host[DROVER_RAM_BLOCKS_MAX];
	uint64_t *got[DROVER_RAM_BLOCKS_MAX];
};

static void kmod_free(struct kmod_fault *s)
{
	unsigned int i;

	for (i = 0; i < s->ram->n; i++)
		if (s->host[i])
			munmap(s->host[i], s->ram->block[i].size);
	for (i = 0; i < s->n; i++)
		drover_closep(&s->region[i].loader);
	free(s);
}

static void kmod_freep(struct kmod_fault **s)
{
	if (*s)
		kmod_free(*s);
}

static int kmod_probe(const struct drover_fault_source *src, char *why, size_t len)
{
	struct drover_error e = DROVER_ERROR_INIT;
	_cleanup_close_ int dev = -EBADF;
	struct drover_caps caps;
	unsigned int i;
	int r = drover_kdev_open(&dev, &e);

	if (r >= 0)
		r = drover_kdev_caps(dev, &caps, &e);
	if (r >= 0 && !(caps.features & DROVER_CAP_REGION))
		r = drover_err(&e, -EOPNOTSUPP, "the module has no regions");
	if (r >= 0 && !(caps.features & DROVER_CAP_FRESH))
		r = drover_err(&e, -EOPNOTSUPP,
			       "the loaded module is too old to forget what was published");
	for (i = 0; r >= 0 && i < src->ram->n; i++) {
		r = drover_kdev_adopt_fd(dev, src->ram->block[i].fd, NULL, &e);
		if (r < 0)
			drover_err_prefix(&e, "ram %s: ", src->ram->block[i].name);
	}
	if (r >= 0)
		return 1;
	snprintf(why, len, "%.*s", (int)len - 1, e.msg);
	return 0;
}

/* Find the block's region; a region that is not in the table yet is adopted. */
static int region_of(struct kmod_fault *s, unsigned int block, int dev, struct drover_error *e)
{
	const struct drover_ram_block *b = &s->ram->block[block];
	struct kmod_region *reg;
	unsigned int i;
	int r;

	for (i = 0; i < s->n; i++)
		if (drover_ramfile_same(s->region[i].fd, b->fd))
			break;
	s->of[block] = i;
	if (i < s->n)
		return 0;
	reg = &s->region[s->n];
	*reg = (struct kmod_region){ .fd = b->fd, .loader = -EBADF };
	r = drover_kdev_adopt_fd(dev, b->fd, &reg->loader, e);
	if (r < 0)
		return r;
	s->n++;
	return drover_kdev_nonblock(reg->loader, e);
}

static int map_block(struct kmod_fault *s, unsigned int block, struct drover_error *e)
{
	const struct drover_ram_block *b = &s->ram->block[block];
	void *p = mmap(NULL, b->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
		       s->region[s->of[block]].loader, (off_t)b->fd_off);

	if (p == MAP_FAILED)
		return drover_err(e, -errno, "map: %s", drover_strerror(errno));
	s->host[block] = p;
	return 0;
}

static uint8_t *kmod_host(void *state, unsigned int block)
{
	struct kmod_fault *s = state;

	return s->host[block];
}

static unsigned int kmod_fds(void *state, int *fd, unsigned int max)
{
	struct kmod_fault *s = state;
	unsigned int i;

	for (i = 0; i < s->n && i < max; i++)
		fd[i] = s->region[i].loader;
	return i;
}

/* Find the block to which a page of a region belongs; there may be none. */
static bool block_of(const struct kmod_fault *s, unsigned int region, uint64_t page,
		     struct drover_fault *ret)
{
	unsigned int i;

	for (i = 0; i < s->ram->n; i++) {
		const struct drover_ram_block *b = &s->ram->block[i];
		uint64_t first = drover_pages(b->fd_off);

		if (s->of[i] != region || page < first || page - first >= drover_pages(b->size))
			continue;
		ret->block = i;
		ret->page = page - first;
		return true;
	}
	return false;
}

/* No content will ever arrive for a page outside all blocks, so it is published as zero. */
static int no_block(const struct kmod_fault *s, unsigned int region, uint64_t page,
		    struct drover_error *e)
{
	const struct drover_range range = { page, 1 };

	return drover_kdev_publish(s->region[region].loader, &range, 1, true, NULL, e);
}

static int next_of(const struct kmod_fault *s, unsigned int region, struct drover_fault *fault,
		   unsigned int max, struct drover_error *e)
{
	struct drover_request q[REQUESTS_MAX];
	int i, n, r, got = 0;

	n = drover_kdev_read_requests(s->region[region].loader, q,
				      max < REQUESTS_MAX ? max : REQUESTS_MAX, e);
	for (i = 0; i < n; i++) {
		struct drover_fault *f = &fault[got];

		*f = (struct drover_fault){
			.time_ns = q[i].time_ns,
			.pid = (int)q[i].pid,
			.write = q[i].flags & DROVER_REQUEST_WRITE,
		};
		if (block_of(s, region, q[i].page, f)) {
			got++;
			continue;
		}
		r = no_block(s, region, q[i].page, e);
		if (r < 0)
			return r;
	}
	return n < 0 ? n : got;
}

static int kmod_next(void *state, struct drover_fault *fault, unsigned int max,
		     struct drover_error *e)
{
	struct kmod_fault *s = state;
	unsigned int i, got = 0;
	int r;

	for (i = 0; i < s->n && got < max; i++) {
		r = next_of(s, i, fault + got, max - got, e);
		if (r < 0)
			return drover_err_prefix(e, "fault handler kmod: "), r;
		got += (unsigned int)r;
	}
	return (int)got;
}

static int bad_run(const struct kmod_fault *s, const struct drover_ram_run *run,
		   struct drover_error *e)
{
	uint64_t n = run->block < s->ram->n ? drover_pages(s->ram->block[run->block].size) : 0;

	if (run->npages && run->page < n && run->npages <= n - run->page)
		return 0;
	return drover_err(e, -ERANGE, "fault handler kmod: publish: block %u, page %llu, %llu pages",
			  run->block, (unsigned long long)run->page,
			  (unsigned long long)run->npages);
}

/* Punch out the run's pages that had not arrived; the guest may have written to the others. */
static int drop(const struct kmod_fault *s, const struct drover_ram_run *run,
		struct drover_error *e)
{
	const struct drover_ram_block *b = &s->ram->block[run->block];
	uint64_t at = run->page, end = run->page + run->npages, next;
	int r;

	for (; (at = drover_bitmap_next(s->got[run->block], end, at, false)) < end; at = next) {
		next = drover_bitmap_next(s->got[run->block], end, at, true);
		r = drover_ramfile_punch(b->fd, b->fd_off + drover_page_off(at), drover_page_off(next - at),
					 s->host[run->block] + drover_page_off(at));
		if (r < 0)
			return drover_err(e, r, "ram %s: punch: %s", b->name, drover_strerror(r));
	}
	return 0;
}

/* Publish runs in the module; consecutive runs in one region go into one command. */
static int tell(const struct kmod_fault *s, const struct drover_ram_run *run, unsigned int n,
		struct drover_error *e)
{
	struct drover_range range[RUNS_MAX];
	unsigned int i, k;
	int r = 0;

	for (i = 0; r >= 0 && i < n; i += k) {
		unsigned int region = s->of[run[i].block];

		for (k = 0; i + k < n && k < RUNS_MAX && s->of[run[i + k].block] == region; k++) {
			const struct drover_ram_run *at = &run[i + k];

			range[k] = (struct drover_range){
				.first = drover_pages(s->ram->block[at->block].fd_off) + at->page,
				.npages = at->npages,
			};
		}
		r = drover_kdev_publish(s->region[region].loader, range, k, false, NULL, e);
	}
	return r;
}

static int kmod_publish(void *state, const struct drover_ram_run *run, unsigned int n, bool zero,
			struct drover_error *e)
{
	struct kmod_fault *s = state;
	unsigned int i;
	int r = 0;

	for (i = 0; i < n; i++)
		if (bad_run(s, &run[i], e) < 0)
			return -ERANGE;
	for (i = 0; zero && r >= 0 && i < n; i++)
		r = drop(s, &run[i], e);
	for (i = 0; r >= 0 && i < n; i++)
		drover_bitmap_set_range_atomic(s->got[run[i].block], run[i].page, run[i].npages);
	if (r >= 0)
		r = tell(s, run, n, e);
	return r < 0 ? drover_err_prefix(e, "fault handler kmod: "), r : 0;
}

/* Add to @map the block's pages that are published in the module. */
static int published(const struct kmod_fault *s, unsigned int block, uint64_t *map,
		     struct drover_error *e)
{
	const struct drover_ram_block *b = &s->ram->block[block];
	uint64_t first = drover_pages(b->fd_off), from = first & ~63ull;
	uint64_t n = drover_pages(b->size), all = first - from + n, i;
	_cleanup_free_ uint64_t *bits = drover_bitmap_new(all);
	int r;

	if (!bits)
		return drover_err(e, -ENOMEM, "received: out of memory");
	r = drover_kdev_received(s->region[s->of[block]].loader, from, all, bits, NULL, e);
	if (r < 0)
		return drover_err_prefix(e, "ram %s: ", b->name), r;
	for (i = drover_bitmap_next(bits, all, first - from, true); i < all;
	     i = drover_bitmap_next(bits, all, i + 1, true))
		drover_bit_set(map, i - (first - from));
	return 0;
}

static int kmod_received(void *state, unsigned int block, uint64_t *map, struct drover_error *e)
{
	int r = published(state, block, map, e);

	return r < 0 ? drover_err_prefix(e, "fault handler kmod: "), r : 0;
}

/* ---- begin and end ---- */

/*
 * Publish in the module what the received bitmap has. With @adopt first add to the bitmap what an
 * earlier handler has published in the module.
 */
static int publish_got(struct kmod_fault *s, unsigned int block, bool adopt,
		       struct drover_error *e)
{
	uint64_t n = drover_pages(s->ram->block[block].size), at = 0, len;
	struct drover_ram_run run[RUNS_MAX];
	unsigned int k = 0;
	int r = adopt ? published(s, block, s->got[block], e) : 0;

	while (r >= 0 && (len = drover_bitmap_next_run(s->got[block], n, at, &at))) {
		run[k++] = (struct drover_ram_run){ block, at, len };
		at += len;
		if (k < RUNS_MAX)
			continue;
		r = tell(s, run, k, e);
		k = 0;
	}
	return r < 0 || !k ? r : tell(s, run, k, e);
}

static int kmod_start(const struct drover_fault_source *src, void **ret_state,
		      struct drover_error *e)
{
	_cleanup_(kmod_freep) struct kmod_fault *s = calloc(1, sizeof(*s));
	uint32_t gate = DROVER_GATE_CLOSED | (src->adopt ? 0 : DROVER_GATE_FRESH);
	_cleanup_close_ int dev = -EBADF;
	unsigned int i;
	int r;

	if (!s)
		return drover_err(e, -ENOMEM, "fault handler kmod: out of memory");
	s->ram = src->ram;
	memcpy(s->got, src->received, sizeof(s->got));
	r = drover_kdev_open(&dev, e);
	for (i = 0; r >= 0 && i < s->ram->n; i++) {
		r = region_of(s, i, dev, e);
		if (r >= 0)
			r = map_block(s, i, e);
		if (r < 0)
			drover_err_prefix(e, "ram %s: ", s->ram->block[i].name);
	}
	/*
	 * The gate is closed before anything is published: a thread that touches a page now waits a
	 * moment, rather than reading content that has not arrived.
	 */
	for (i = 0; r >= 0 && i < s->n; i++)
		r = drover_kdev_gate(s->region[i].loader, gate, e);
	for (i = 0; r >= 0 && i < s->ram->n; i++)
		r = publish_got(s, i, src->adopt, e);
	if (r < 0)
		return drover_err_prefix(e, "fault handler kmod: "), r;
	*ret_state = TAKE_PTR(s);
	return 0;
}

static void kmod_stop(void *state, bool open)
{
	struct kmod_fault *s = state;
	struct drover_error e = DROVER_ERROR_INIT;
	unsigned int i;

	if (!s)
		return;
	for (i = 0; open && i < s->n; i++)
		drover_kdev_gate(s->region[i].loader, 0, &e);
	kmod_free(s);
}

const struct drover_fault_ops drover_fault_kmod = {
	.name = "kmod",
	.guarantee = "keeps every process that maps the region waiting, and survives its handler",
	.probe = kmod_probe,
	.start = kmod_start,
	.host = kmod_host,
	.fds = kmod_fds,
	.next = kmod_next,
	.publish = kmod_publish,
	.received = kmod_received,
	.stop = kmod_stop,
};
