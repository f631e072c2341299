// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Who sends which page. Whoever clears a page's dirty bit sends that page: senders clear
 * whole words under the lock, urgent pages are cleared bit by bit without it, so both do so
 * with one atomic operation and no page goes twice or is lost.
 */
#include "engine/source/work.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/lock.h"
#include "engine/source/encode.h"
#include "engine/source/memory.h"

int work_init(struct work *w, struct source_memory *mem, const atomic_bool *hurry,
	      struct drover_error *e)
{
	w->mem = mem;
	w->hurry = hurry;
	drover_lock_init(&w->lock);
	pthread_cond_init(&w->cond, NULL);
	w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return w->wake_fd < 0 ? drover_err(e, -errno, "eventfd: %s", drover_strerror(errno)) : 0;
}

void work_deinit(struct work *w)
{
	drover_closep(&w->wake_fd);
	pthread_cond_destroy(&w->cond);
	pthread_mutex_destroy(&w->lock);
}

void work_start(struct work *w)
{
	DROVER_LOCK(&w->lock);

	w->stop = false;
	w->order.generation = 0;
	drover_err_clear(&w->error);
}

void work_stop(struct work *w)
{
	DROVER_LOCK(&w->lock);

	w->stop = true;
	pthread_cond_broadcast(&w->cond);
}

void work_open(struct work *w, uint32_t round, enum work_kind kind, unsigned int nsenders)
{
	DROVER_LOCK(&w->lock);

	w->order.round = round;
	w->order.kind = kind;
	w->block = 0;
	w->word = 0;
	atomic_store(&w->taken, 0);
	w->running = nsenders;
	w->order.generation++;
	pthread_cond_broadcast(&w->cond);
}

bool work_over(struct work *w, struct drover_error *ret)
{
	DROVER_LOCK(&w->lock);

	*ret = w->error;
	return !w->running;
}

int work_wait(struct work *w, const struct drover_cancel *c, uint32_t ms, struct drover_error *e)
{
	uint64_t count;
	int r = drover_wait_fd(w->wake_fd, POLLIN, c, drover_deadline_ms(ms));

	if (r < 0 && r != -ETIMEDOUT)
		return drover_err(e, r, "migration: %s", drover_strerror(r));
	if (r > 0 && read(w->wake_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return drover_err(e, -errno, "eventfd: %s", drover_strerror(errno));
	return 0;
}

void work_harvested(struct work *w)
{
	atomic_store(&w->taken, 0);
}

void work_count_left(struct work *w)
{
	atomic_store(&w->left, memory_dirty(w->mem));
}

static void wake(struct work *w)
{
	uint64_t one = 1;
	ssize_t n = write(w->wake_fd, &one, sizeof(one));

	(void)n;
}

bool work_next(struct work *w, struct work_order *o)
{
	DROVER_LOCK(&w->lock);

	while (!w->stop && w->order.generation == o->generation)
		pthread_cond_wait(&w->cond, &w->lock);
	*o = w->order;
	return !w->stop;
}

/* The caller holds the lock. */
static void remember(struct work *w, const struct drover_error *e)
{
	drover_assert_held(&w->lock);
	if (!w->error.code)
		w->error = *e;
	wake(w);
}

void work_done(struct work *w, int r, const struct drover_error *e)
{
	DROVER_LOCK(&w->lock);

	w->running--;
	if (r < 0)
		remember(w, e);
	else
		wake(w);
}

void work_fail(struct work *w, const struct drover_error *e)
{
	DROVER_LOCK(&w->lock);

	remember(w, e);
}

/*
 * The caller holds the lock. The pages of a word for the caller alone; some may have been
 * claimed since it was read, since a claim does not take the lock.
 */
static uint64_t take_word(struct work *w, uint64_t *word)
{
	uint64_t bits;

	drover_assert_held(&w->lock);
	bits = __atomic_exchange_n(word, 0, __ATOMIC_RELAXED);

	if (w->order.kind == WORK_PUSH)
		atomic_fetch_sub(&w->left, (uint64_t)__builtin_popcountll(bits));
	return bits;
}

/* The caller holds the lock. migrate-start-postcopy does not wait for the end of a round. */
static bool cut_short(struct work *w)
{
	drover_assert_held(&w->lock);
	return w->order.kind == WORK_NONE ||
	       (w->order.kind == WORK_ROUND &&
		atomic_load_explicit(w->hurry, memory_order_relaxed));
}

/*
 * The caller holds the lock. Postcopy goes on where the guest faults, so what lies before that
 * comes at the end.
 */
static bool wraps(struct work *w)
{
	drover_assert_held(&w->lock);
	if (w->order.kind != WORK_PUSH || !atomic_load(&w->left))
		return false;
	w->block = 0;
	w->word = 0;
	return true;
}

/* The caller holds the lock. From where the last unit ended, in this block. Return: pages taken. */
static unsigned int fill(struct work *w, struct source_block *b, struct page_unit *u)
{
	uint64_t words = drover_bitmap_words(b->npages);
	const uint64_t *data = memory_data(w->mem, b);
	unsigned int data_pages = 0, pages = 0;

	u->block = b;
	for (; w->word < words; w->word++) {
		uint64_t bits = __atomic_load_n(&b->dirty[w->word], __ATOMIC_RELAXED);
		unsigned int k;

		if (!bits)
			continue;
		k = (unsigned int)__builtin_popcountll(bits & data[w->word]);
		if (u->n && (data_pages + k > UNIT_PAGES || u->n == UNIT_WORDS))
			break;
		bits = take_word(w, &b->dirty[w->word]);
		if (!bits)
			continue;
		u->w[u->n].word = w->word;
		u->w[u->n].dirty = bits;
		u->w[u->n++].data = data[w->word];
		data_pages += k;
		pages += (unsigned int)__builtin_popcountll(bits);
	}
	return pages;
}

bool work_take(struct work *w, struct page_unit *ret)
{
	DROVER_LOCK(&w->lock);

	ret->n = 0;
	if (cut_short(w))
		return false;
	while (w->block < w->mem->n || wraps(w)) {
		struct source_block *b = memory_block(w->mem, w->block);
		unsigned int pages = b ? fill(w, b, ret) : 0;

		if (ret->n) {
			atomic_fetch_add_explicit(&w->taken, pages, memory_order_relaxed);
			return true;
		}
		w->block++;
		w->word = 0;
	}
	return false;
}

bool work_claim(struct work *w, struct source_block *b, uint64_t page)
{
	if (!drover_bit_test_and_clear_atomic(b->dirty, page))
		return false;
	atomic_fetch_sub(&w->left, 1);
	return true;
}

void work_near(struct work *w, const struct source_block *b, uint64_t page)
{
	DROVER_LOCK(&w->lock);

	w->block = b->index;
	w->word = page / 64;
}
