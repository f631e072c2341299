// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The ledger of a destination in postcopy, ledger.h. Where its parts lie follows from the
 * RAM's blocks and is never read from the file: the VMM holds it too, and can write to it.
 * What the header says is compared once, and token and config are copied, when it is opened.
 *
 * Made by the engine; opened by the next droverd's, and by libdrover.
 */
#define _GNU_SOURCE
#include "agent/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/kernel-compat.h"
#include "ram/populate.h"

#define LEDGER_DIGESTS (1u << 0)
/* Pages of one page table: shorter runs that have arrived are dropped along with others. */
#define DROP_GAP 512u

struct ledger_block {
	char name[DROVER_RAM_NAME_MAX + 1];
	uint64_t size;
};

/**
 * struct ledger_header - how the file begins
 * @token: the session's, zeros before it has one; written after @config
 * @config: NUL-terminated
 */
struct ledger_header {
	uint64_t magic;
	uint32_t version;
	uint32_t flags;
	uint32_t nblocks;
	uint32_t reserved;
	uint8_t token[DROVER_LEDGER_TOKEN_LEN];
	struct ledger_block block[DROVER_RAM_BLOCKS_MAX];
	char config[DROVER_LEDGER_CONFIG_MAX];
};

_Static_assert(sizeof(struct ledger_block) == 72, "ledger block");
_Static_assert(sizeof(struct ledger_header) == 40 + 256 * 72 + 32768, "ledger header");

static size_t page_up(size_t len)
{
	return (len + DROVER_PAGE_SIZE - 1) & ~(size_t)(DROVER_PAGE_SIZE - 1);
}

/* Where parts begin, from @map on; returns the file's length. */
static size_t layout(const struct drover_ram *ram, bool digests, uint8_t *map,
		     struct drover_ledger *l)
{
	size_t at = page_up(sizeof(struct ledger_header));
	unsigned int i;

	for (i = 0; i < ram->n; i++) {
		uint64_t pages = drover_pages(ram->block[i].size);

		if (map)
			l->received[i] = (uint64_t *)(void *)(map + at);
		at += page_up(drover_bitmap_bytes(pages));
		if (!digests)
			continue;
		if (map)
			l->digest[i] = (uint64_t *)(void *)(map + at);
		at += page_up(pages * sizeof(uint64_t));
	}
	return at;
}

static void ledger_freep(struct drover_ledger **l)
{
	drover_ledger_free(*l);
}

static struct drover_ledger *ledger_alloc(int fd, unsigned int nblocks)
{
	struct drover_ledger *l = calloc(1, sizeof(*l));

	if (!l) {
		drover_closep(&fd);
		return NULL;
	}
	l->fd = fd;
	l->map = MAP_FAILED;
	l->nblocks = nblocks;
	return l;
}

static int map_file(struct drover_ledger *l, size_t len, int prot, struct drover_error *e)
{
	l->map = mmap(NULL, len, prot, MAP_SHARED, l->fd, 0);
	l->len = len;
	if (l->map == MAP_FAILED)
		return drover_err(e, -errno, "ledger: map %zu bytes: %s", len,
				  drover_strerror(errno));
	return 0;
}

int drover_ledger_new(const struct drover_ram *ram, bool digests, struct drover_ledger **ret,
		      struct drover_error *e)
{
	int fd = memfd_create("drover-ledger", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	size_t len = layout(ram, digests, NULL, NULL);
	_cleanup_(ledger_freep) struct drover_ledger *l = NULL;
	struct ledger_header *h;
	unsigned int i;
	int r;

	if (fd < 0)
		return drover_err(e, -errno, "ledger: memfd_create: %s", drover_strerror(errno));
	l = ledger_alloc(fd, ram->n);
	if (!l)
		return drover_err(e, -ENOMEM, "ledger: out of memory");
	if (ftruncate(fd, (off_t)len) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return drover_err(e, -errno, "ledger: %zu bytes: %s", len, drover_strerror(errno));
	r = map_file(l, len, PROT_READ | PROT_WRITE, e);
	if (r < 0)
		return r;
	h = l->map;
	h->magic = DROVER_LEDGER_MAGIC;
	h->version = DROVER_LEDGER_VERSION;
	h->flags = digests ? LEDGER_DIGESTS : 0;
	h->nblocks = ram->n;
	for (i = 0; i < ram->n; i++) {
		memcpy(h->block[i].name, ram->block[i].name, sizeof(h->block[i].name));
		h->block[i].size = ram->block[i].size;
	}
	layout(ram, digests, l->map, l);
	/* What is first touched in the downtime would be part of it; a page not had is no harm. */
	drover_populate(l->map, NULL, drover_pages(len), MADV_POPULATE_WRITE);
	*ret = TAKE_PTR(l);
	return 0;
}

/* ---- one that somebody else has made ---- */

static int check_file(int fd, size_t *ret_len, struct drover_error *e)
{
	int seals = fcntl(fd, F_GET_SEALS), mode = fcntl(fd, F_GETFL);
	struct stat st;

	if (seals < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return drover_err(e, -EPROTO, "ledger: not a memfd");
	if (!(seals & F_SEAL_SHRINK))
		return drover_err(e, -EPROTO, "ledger: not sealed: it could be shortened under us");
	if (mode < 0 || (mode & O_ACCMODE) != O_RDWR || seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
		return drover_err(e, -EPROTO, "ledger: not writable");
	if ((uint64_t)st.st_size < sizeof(struct ledger_header))
		return drover_err(e, -EPROTO, "ledger: %lld bytes are too short for a header",
				  (long long)st.st_size);
	*ret_len = (size_t)st.st_size;
	return 0;
}

static int check_blocks(const struct ledger_header *h, const struct drover_ram *ram,
			struct drover_error *e)
{
	unsigned int i;

	if (h->nblocks != ram->n)
		return drover_err(e, -EPROTO, "ledger: of %u RAM blocks, the guest has %u",
				  h->nblocks, ram->n);
	for (i = 0; i < ram->n; i++) {
		const struct drover_ram_block *b = &ram->block[i];

		if (strncmp(h->block[i].name, b->name, sizeof(b->name)))
			return drover_err(e, -EPROTO, "ledger: ram %s: it has another name there",
					  b->name);
		if (h->block[i].size != b->size)
			return drover_err(e, -EPROTO, "ledger: ram %s: %llu bytes, the guest has %llu",
					  b->name, (unsigned long long)h->block[i].size,
					  (unsigned long long)b->size);
	}
	return 0;
}

/* @h: a copy, which nobody changes any more. */
static int check_header(const struct ledger_header *h, const struct drover_ram *ram, size_t len,
			struct drover_error *e)
{
	size_t want = layout(ram, h->flags & LEDGER_DIGESTS, NULL, NULL);
	int r;

	if (h->magic != DROVER_LEDGER_MAGIC)
		return drover_err(e, -EPROTO, "ledger: the file is none");
	if (h->version != DROVER_LEDGER_VERSION)
		return drover_err(e, -EPROTO, "ledger: version %u, this droverd knows %u",
				  h->version, DROVER_LEDGER_VERSION);
	if (h->flags & ~LEDGER_DIGESTS || h->reserved)
		return drover_err(e, -EPROTO, "ledger: unknown flags 0x%x, 0x%x", h->flags,
				  h->reserved);
	r = check_blocks(h, ram, e);
	if (r < 0)
		return r;
	if (len != want)
		return drover_err(e, -EPROTO, "ledger: %zu bytes, this RAM needs %zu", len, want);
	if (!memchr(h->config, '\0', sizeof(h->config)))
		return drover_err(e, -EPROTO, "ledger: its config is not terminated");
	return 0;
}

/* A bit beyond the last page would be one of a page that is not there. */
static int check_bits(const struct drover_ledger *l, const struct drover_ram *ram,
		      struct drover_error *e)
{
	unsigned int i;

	for (i = 0; i < ram->n; i++) {
		uint64_t pages = drover_pages(ram->block[i].size);

		if (pages % 64 && l->received[i][pages / 64] >> pages % 64)
			return drover_err(e, -EPROTO, "ledger: ram %s: pages past its end have "
					  "arrived", ram->block[i].name);
	}
	return 0;
}

static int ledger_open(int fd, const struct drover_ram *ram, int prot, struct drover_ledger **ret,
		       struct drover_error *e)
{
	_cleanup_(ledger_freep) struct drover_ledger *l = ledger_alloc(fd, ram->n);
	_cleanup_free_ struct ledger_header *h = malloc(sizeof(*h));
	size_t len = 0;
	int r;

	if (!l || !h)
		return drover_err(e, -ENOMEM, "ledger: out of memory");
	r = check_file(fd, &len, e);
	if (r >= 0)
		r = map_file(l, len, prot, e);
	if (r < 0)
		return r;
	memcpy(h, l->map, sizeof(*h));
	r = check_header(h, ram, len, e);
	if (r < 0)
		return r;
	layout(ram, h->flags & LEDGER_DIGESTS, l->map, l);
	r = check_bits(l, ram, e);
	if (r < 0)
		return r;
	memcpy(l->token, h->token, sizeof(l->token));
	memcpy(l->config, h->config, sizeof(l->config));
	*ret = TAKE_PTR(l);
	return 0;
}

int drover_ledger_open(int fd, const struct drover_ram *ram, struct drover_ledger **ret,
		       struct drover_error *e)
{
	return ledger_open(fd, ram, PROT_READ | PROT_WRITE, ret, e);
}

int drover_ledger_view(int fd, const struct drover_ram *ram, struct drover_ledger **ret,
		       struct drover_error *e)
{
	return ledger_open(fd, ram, PROT_READ, ret, e);
}

int drover_ledger_drop(const struct drover_ledger *l, unsigned int block, void *host,
		       uint64_t npages, struct drover_error *e)
{
	const uint64_t *map = l->received[block];
	uint64_t first, end, next;

	for (first = drover_bitmap_next(map, npages, 0, false); first < npages; first = next) {
		/* A call costs more than the faults of a short run that has arrived. */
		end = next = first;
		while (next < npages && next - end < DROP_GAP) {
			end = drover_bitmap_next(map, npages, next, true);
			next = drover_bitmap_next(map, npages, end, false);
		}
		if (madvise((uint8_t *)host + drover_page_off(first), drover_page_off(end - first),
			    MADV_DONTNEED) < 0)
			return drover_err(e, -errno, "drop pages %llu+%llu of the mapping: %s",
					  (unsigned long long)first,
					  (unsigned long long)(end - first),
					  drover_strerror(errno));
	}
	return 0;
}

struct drover_ledger *drover_ledger_free(struct drover_ledger *l)
{
	if (!l)
		return NULL;
	if (l->map != MAP_FAILED)
		munmap(l->map, l->len);
	drover_closep(&l->fd);
	free(l);
	return NULL;
}

int drover_ledger_bind(struct drover_ledger *l, const uint8_t *token, const char *config,
		       struct drover_error *e)
{
	struct ledger_header *h = l->map;
	size_t len = strlen(config);

	if (len >= sizeof(h->config))
		return drover_err(e, -E2BIG, "ledger: a config of %zu bytes, at most %zu", len,
				  sizeof(h->config) - 1);
	memset(l->config, 0, sizeof(l->config));
	memcpy(l->config, config, len);
	memcpy(l->token, token, sizeof(l->token));
	/*
	 * Killed in between, there is no session: a new attempt begins anew. Who looks later
	 * sees what this process has stored, so the order of the instructions is enough.
	 */
	memset(h->token, 0, sizeof(h->token));
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	memcpy(h->config, l->config, sizeof(h->config));
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	memcpy(h->token, token, sizeof(h->token));
	return 0;
}

const uint8_t *drover_ledger_token(const struct drover_ledger *l)
{
	return l->token;
}

const char *drover_ledger_config(const struct drover_ledger *l)
{
	return l->config;
}
