// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The rate limit. A taker gets a place in a queue of bytes and sleeps until the bytes
 * before it have had their time; a change of the rate changes when that is, never the
 * order. Without a limit a take is one atomic load. Callers: senders, the rounds.
 *
 * Places, not times, are handed out: a time computed from the old rate would be wrong
 * after a change, a place is not.
 */
#include "engine/limit.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/lock.h"

/* Longest sleep without a look at the rate. */
#define SLICE_NS (25 * DROVER_NS_PER_MS)
#define KEEP_PER_S 100u         /* unused time kept: 1/100 s */
#define OWED_PER_S 10u          /* overslept time owed: 1/10 s */
#define TAKE_MAX (1ull << 40)

typedef unsigned __int128 u128;

void drover_bucket_start(struct drover_bucket *b, uint64_t rate, uint64_t now)
{
	*b = (struct drover_bucket){ .rate = rate, .slack = rate / KEEP_PER_S, .at = now };
}

/* How far head is ahead of tail; negative: bytes are waiting. */
static int64_t ahead(const struct drover_bucket *b)
{
	return (int64_t)(b->head - b->tail);
}

void drover_bucket_refill(struct drover_bucket *b, uint64_t now, bool waiting)
{
	uint64_t dt = now > b->at ? now - b->at : 0, keep = b->rate / KEEP_PER_S;
	u128 sum = (u128)b->rate * dt + b->frac, gain = sum / DROVER_NS_PER_S;
	uint64_t most;

	if (waiting)
		b->slack = b->rate / OWED_PER_S;
	/* From here to slack past tail; the difference fits, slack being below 2^61. */
	most = b->slack + (b->tail - b->head);
	b->at += dt;
	if (gain < most) {
		b->head += (uint64_t)gain;
		b->frac = (uint64_t)(sum % DROVER_NS_PER_S);
	} else {
		b->head = b->tail + b->slack;
		b->frac = 0;
	}
	/* What was owed may be used up, not earned again. */
	if (!waiting && (int64_t)keep > ahead(b))
		b->slack = keep;
	else if (!waiting)
		b->slack = (uint64_t)ahead(b);
}

void drover_bucket_set(struct drover_bucket *b, uint64_t rate, uint64_t now)
{
	uint64_t keep = rate / KEEP_PER_S;

	drover_bucket_refill(b, now, false);
	b->rate = rate;
	b->slack = keep;
	if (ahead(b) > (int64_t)keep)
		b->head = b->tail + keep;
}

uint64_t drover_bucket_take(struct drover_bucket *b, uint64_t bytes)
{
	uint64_t place = b->tail;

	b->tail += bytes < TAKE_MAX ? bytes : TAKE_MAX;
	return place;
}

uint64_t drover_bucket_wait(const struct drover_bucket *b, uint64_t place)
{
	int64_t missing = (int64_t)(place - b->head);
	u128 ns;

	if (missing <= 0)
		return 0;
	ns = ((u128)(uint64_t)missing * DROVER_NS_PER_S - b->frac + b->rate - 1) / b->rate;
	return ns < UINT64_MAX ? (uint64_t)ns : UINT64_MAX;
}

/**
 * struct drover_limit - a bucket with a clock, a lock and sleepers
 * @effective: the rate that counts now, 0: none; changed under @lock
 * @bell: eventfd, readable while the limit is open
 * @lock: guards everything below
 * @epoch: counts starts of @bucket; a place is good for the epoch it was taken in
 */
struct drover_limit {
	_Atomic uint64_t effective;
	int bell;
	pthread_mutex_t lock;
	struct drover_bucket bucket;
	uint64_t rate;
	uint64_t epoch;
	unsigned int waiting;
	bool open;
};

int drover_limit_new(uint64_t rate, struct drover_limit **ret, struct drover_error *e)
{
	_cleanup_free_ struct drover_limit *l = calloc(1, sizeof(*l));

	if (!l)
		return drover_err(e, -ENOMEM, "rate limit: out of memory");
	l->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->bell < 0)
		return drover_err(e, -errno, "rate limit: eventfd: %s", drover_strerror(errno));
	drover_lock_init(&l->lock);
	l->rate = rate;
	atomic_init(&l->effective, rate);
	if (rate)
		drover_bucket_start(&l->bucket, rate, drover_now_ns());
	*ret = TAKE_PTR(l);
	return 0;
}

struct drover_limit *drover_limit_free(struct drover_limit *l)
{
	if (!l)
		return NULL;
	drover_closep(&l->bell);
	pthread_mutex_destroy(&l->lock);
	free(l);
	return NULL;
}

/* The caller holds the lock. Make the bucket follow @rate and @open. */
static void apply(struct drover_limit *l)
{
	uint64_t was = atomic_load_explicit(&l->effective, memory_order_relaxed);
	uint64_t now = drover_now_ns(), rate = l->open ? 0 : l->rate;

	drover_assert_held(&l->lock);
	if (rate == was)
		return;
	if (rate && was) {
		drover_bucket_set(&l->bucket, rate, now);
	} else if (rate) {
		/* What was sent without a limit is not owed. */
		drover_bucket_start(&l->bucket, rate, now);
		l->epoch++;
	}
	atomic_store_explicit(&l->effective, rate, memory_order_release);
}

void drover_limit_set(struct drover_limit *l, uint64_t rate)
{
	DROVER_LOCK(&l->lock);

	l->rate = rate;
	apply(l);
}

void drover_limit_open(struct drover_limit *l)
{
	uint64_t one = 1;
	ssize_t n;
	DROVER_LOCK(&l->lock);

	l->open = true;
	apply(l);
	/* Only a full counter can fail, and then it is readable already. */
	n = write(l->bell, &one, sizeof(one));
	(void)n;
}

void drover_limit_shut(struct drover_limit *l)
{
	uint64_t count;
	ssize_t n;
	DROVER_LOCK(&l->lock);

	l->open = false;
	n = read(l->bell, &count, sizeof(count));
	(void)n;        /* EAGAIN: it was not open */
	apply(l);
}

/* The caller holds the lock. ns until @place of @epoch has its turn; 0: now. */
static uint64_t turn(struct drover_limit *l, uint64_t place, uint64_t epoch)
{
	drover_assert_held(&l->lock);
	if (!atomic_load_explicit(&l->effective, memory_order_relaxed) || epoch != l->epoch)
		return 0;
	drover_bucket_refill(&l->bucket, drover_now_ns(), l->waiting > 0);
	return drover_bucket_wait(&l->bucket, place);
}

static int sleep_for(struct drover_limit *l, uint64_t ns, const struct drover_cancel *c)
{
	uint64_t slice = ns < SLICE_NS ? ns : SLICE_NS;
	int r = drover_wait_fd(l->bell, POLLIN, c, drover_now_ns() + slice);

	return r < 0 && r != -ETIMEDOUT ? r : 0;
}

int drover_limit_take(struct drover_limit *l, uint64_t bytes, const struct drover_cancel *c)
{
	uint64_t place, epoch, ns;
	int r = 0;

	if (drover_cancelled(c))
		return -ECANCELED;
	if (!atomic_load_explicit(&l->effective, memory_order_acquire))
		return 0;
	pthread_mutex_lock(&l->lock);
	if (!atomic_load_explicit(&l->effective, memory_order_relaxed)) {
		pthread_mutex_unlock(&l->lock);
		return 0;
	}
	drover_bucket_refill(&l->bucket, drover_now_ns(), l->waiting > 0);
	place = drover_bucket_take(&l->bucket, bytes);
	epoch = l->epoch;
	l->waiting++;
	while (!r && (ns = turn(l, place, epoch)) > 0) {
		pthread_mutex_unlock(&l->lock);
		r = sleep_for(l, ns, c);
		pthread_mutex_lock(&l->lock);
	}
	/* From here on time that nobody uses is lost again, not owed. */
	if (!--l->waiting)
		drover_bucket_refill(&l->bucket, l->bucket.at, false);
	pthread_mutex_unlock(&l->lock);
	return r;
}
