// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The host's limit. The file is the only thing that the migrations of a host have in
 * common: numbers that anybody who may write it can change, so none of them is trusted to
 * size or index anything, and the worst they do is a wrong rate.
 */
#include "engine/hostlimit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"

#define MAGIC 0x64726f76686c6d74ull
#define STALE_NS (2 * DROVER_NS_PER_S)
#define REOPEN_NS DROVER_NS_PER_S
/* A rate is measured over at least this long. */
#define MEASURE_NS (100 * DROVER_NS_PER_MS)

/**
 * struct slot - a migration
 * @owner: who it is; 0: free
 * @beat: CLOCK_MONOTONIC of its last call
 * @need: bytes/s it could do with, UINT64_MAX: more than it has
 */
struct slot {
	_Atomic uint64_t owner, beat, need;
};

struct shared {
	_Atomic uint64_t magic, rate;
	struct slot slot[DROVER_HOSTLIMIT_SLOTS];
};

struct drover_hostlimit {
	char *path;
	struct shared *shm;
	uint64_t me, opened, measured, sent, share;
	unsigned int slot;
	bool held;
};

/* Only what root or we have made; a link could name anything. */
static int open_file(const char *path, int flags, struct shared **ret)
{
	_cleanup_close_ int fd = open(path, flags | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct stat st;
	void *p;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || (st.st_uid && st.st_uid != geteuid()))
		return -EPERM;
	if (flags & O_CREAT && ftruncate(fd, sizeof(struct shared)) < 0)
		return -errno;
	if (!(flags & O_CREAT) && (uint64_t)st.st_size < sizeof(struct shared))
		return -EBADMSG;
	p = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	*ret = p;
	return 0;
}

static void close_file(struct shared *shm)
{
	munmap(shm, sizeof(*shm));
}

uint64_t drover_hostlimit_split(uint64_t rate, const uint64_t *need, unsigned int n,
				unsigned int me)
{
	bool met[DROVER_HOSTLIMIT_SLOTS] = { false };
	unsigned int i, left = n;
	bool changed = true;

	/* Each pass meets the needs below an even part of what is left. */
	while (changed && left) {
		uint64_t part = rate / left;

		changed = false;
		for (i = 0; i < n; i++) {
			if (met[i] || need[i] >= part)
				continue;
			met[i] = changed = true;
			rate -= need[i];
			left--;
		}
	}
	return met[me] ? need[me] : left ? rate / left : 0;
}

static bool live(const struct slot *s, uint64_t now)
{
	uint64_t beat = atomic_load(&s->beat);

	/* A clock ahead of ours by little is another CPU's; by much, it is nonsense. */
	return atomic_load(&s->owner) && (beat > now ? beat - now : now - beat) < STALE_NS;
}

/* Ours, or one that nobody has beaten for a while. */
static bool have_slot(struct drover_hostlimit *h, uint64_t now)
{
	unsigned int i;

	if (h->slot < DROVER_HOSTLIMIT_SLOTS &&
	    atomic_load(&h->shm->slot[h->slot].owner) == h->me)
		return true;
	for (i = 0; i < DROVER_HOSTLIMIT_SLOTS; i++) {
		struct slot *s = &h->shm->slot[i];
		uint64_t owner = atomic_load(&s->owner);

		if (live(s, now))
			continue;
		atomic_store(&s->beat, now);
		if (!atomic_compare_exchange_strong(&s->owner, &owner, h->me))
			continue;
		h->slot = i;
		h->share = 0;
		return true;
	}
	h->slot = DROVER_HOSTLIMIT_SLOTS;
	return false;
}

/* Who sends clearly less than it may has no use for more than a bit above that. */
static void measure(struct drover_hostlimit *h, uint64_t limit, uint64_t now, uint64_t sent,
		    bool held)
{
	uint64_t dt = now - h->measured, rate, need = UINT64_MAX;

	/* At a low rate a send takes longer than this: nothing was sent, all is needed. */
	h->held |= held;
	if (dt < MEASURE_NS)
		return;
	rate = (uint64_t)((double)(sent - h->sent) * (double)DROVER_NS_PER_S / (double)dt);
	if (h->measured && h->share && !h->held && rate < h->share / 4 * 3)
		need = rate + rate / 4 + limit / DROVER_HOSTLIMIT_SLOTS;
	h->measured = now;
	h->sent = sent;
	h->held = held;
	atomic_store(&h->shm->slot[h->slot].need, need);
}

static uint64_t share_of(struct drover_hostlimit *h, uint64_t rate, uint64_t now)
{
	uint64_t need[DROVER_HOSTLIMIT_SLOTS];
	unsigned int i, n = 0, me = 0;

	for (i = 0; i < DROVER_HOSTLIMIT_SLOTS; i++) {
		if (i == h->slot)
			me = n;
		else if (!live(&h->shm->slot[i], now))
			continue;
		need[n++] = atomic_load(&h->shm->slot[i].need);
	}
	return drover_hostlimit_split(rate, need, n, me);
}

uint64_t drover_hostlimit_share(struct drover_hostlimit *h, uint64_t now, uint64_t sent, bool held)
{
	uint64_t rate;

	if (!h->shm) {
		if (h->opened && now - h->opened < REOPEN_NS)
			return 0;
		h->opened = now;
		if (open_file(h->path, 0, &h->shm) < 0)
			return 0;
	}
	rate = atomic_load(&h->shm->rate);
	if (atomic_load(&h->shm->magic) != MAGIC || !rate)
		return 0;
	if (!have_slot(h, now))
		return rate / DROVER_HOSTLIMIT_SLOTS + 1;
	atomic_store(&h->shm->slot[h->slot].beat, now);
	measure(h, rate, now, sent, held);
	h->share = share_of(h, rate, now);
	return h->share ? h->share : 1;
}

int drover_hostlimit_new(const char *path, struct drover_hostlimit **ret, struct drover_error *e)
{
	struct drover_hostlimit *h = calloc(1, sizeof(*h));

	if (h)
		h->path = strdup(path);
	if (!h || !h->path) {
		free(h);
		return drover_err(e, -ENOMEM, "host limit: out of memory");
	}
	h->slot = DROVER_HOSTLIMIT_SLOTS;
	/* Unlike anybody else's: several migrations of one process may have lived at once. */
	h->me = (uint64_t)getpid() << 32 | ((drover_now_ns() ^ (uintptr_t)h >> 4) & 0xffffffffu) | 1;
	*ret = h;
	return 0;
}

struct drover_hostlimit *drover_hostlimit_free(struct drover_hostlimit *h)
{
	uint64_t me;

	if (!h)
		return NULL;
	me = h->me;
	if (h->shm && h->slot < DROVER_HOSTLIMIT_SLOTS)
		atomic_compare_exchange_strong(&h->shm->slot[h->slot].owner, &me, 0);
	if (h->shm)
		close_file(h->shm);
	free(h->path);
	free(h);
	return NULL;
}

int drover_hostlimit_set(const char *path, uint64_t rate, struct drover_error *e)
{
	struct shared *shm;
	int r = open_file(path, O_CREAT, &shm);

	if (r < 0)
		return drover_err(e, r, "host limit: %s: %s", path, drover_strerror(r));
	atomic_store(&shm->rate, rate);
	atomic_store(&shm->magic, MAGIC);
	close_file(shm);
	return 0;
}

int drover_hostlimit_get(const char *path, uint64_t *ret_rate, unsigned int *ret_migrations,
			 struct drover_error *e)
{
	uint64_t now = drover_now_ns();
	unsigned int i, n = 0;
	struct shared *shm;
	int r = open_file(path, 0, &shm);

	*ret_rate = 0;
	if (ret_migrations)
		*ret_migrations = 0;
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return drover_err(e, r, "host limit: %s: %s", path, drover_strerror(r));
	if (atomic_load(&shm->magic) == MAGIC)
		*ret_rate = atomic_load(&shm->rate);
	for (i = 0; i < DROVER_HOSTLIMIT_SLOTS; i++)
		n += live(&shm->slot[i], now);
	if (ret_migrations)
		*ret_migrations = n;
	close_file(shm);
	return 0;
}
