/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_LIMIT_H
#define DROVER_ENGINE_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

struct drover_cancel;
struct drover_error;

/*
 * A byte rate shared by any number of threads. Whoever wants to send takes its bytes
 * first; turns are first come, first served. A send may start once all bytes taken before
 * it have had their time, so over any second the rate is kept to within 1 % plus one send;
 * keep sends small against the rate.
 */

/**
 * struct drover_bucket - the arithmetic, without clock, lock or sleep
 * @rate: bytes/s, > 0
 * @head: bytes whose time has come
 * @tail: bytes taken
 * @frac: rest of the division by 10^9, in bytes * ns
 * @slack: how far @head may run ahead of @tail
 * @at: the time @head is right for, ns
 *
 * Counters run free and wrap; only differences count.
 */
struct drover_bucket {
	uint64_t rate;
	uint64_t head, tail;
	uint64_t frac;
	uint64_t slack;
	uint64_t at;
};

/* Empty at @now: the first send may start at once. */
void drover_bucket_start(struct drover_bucket *b, uint64_t rate, uint64_t now);
/* Same debt, new rate from @now on. */
void drover_bucket_set(struct drover_bucket *b, uint64_t rate, uint64_t now);
/**
 * drover_bucket_refill() - let the time since the last call pass
 * @waiting: somebody has bytes taken and waits for them
 *
 * Unused time is kept for 10 ms, so that a pause is not followed by a flood; but the time
 * a sleeper overslept is owed to it, up to 100 ms.
 */
void drover_bucket_refill(struct drover_bucket *b, uint64_t now, bool waiting);
/* Take @bytes (at most 2^40 count). Return: the place of the first, for drover_bucket_wait(). */
uint64_t drover_bucket_take(struct drover_bucket *b, uint64_t bytes);
/* ns from b->at until @place has its turn; 0: now. Saturates. */
uint64_t drover_bucket_wait(const struct drover_bucket *b, uint64_t place);

struct drover_limit;

/** drover_limit_new() - @rate in bytes/s, 0: unlimited. Return: 0, -ENOMEM or of eventfd */
int drover_limit_new(uint64_t rate, struct drover_limit **ret, struct drover_error *e);
/* Nobody may be in drover_limit_take(). NULL is fine. Returns NULL */
struct drover_limit *drover_limit_free(struct drover_limit *l);

/**
 * drover_limit_take() - wait for one's turn to send
 * @bytes: about to be sent
 * @c: bell that ends the wait, or NULL
 *
 * Return: 0; -ECANCELED (the bytes stay taken).
 */
int drover_limit_take(struct drover_limit *l, uint64_t bytes, const struct drover_cancel *c);

/* New rate, 0: unlimited; sleepers follow within 25 ms. Cheap when it is the same. */
void drover_limit_set(struct drover_limit *l, uint64_t rate);
/*
 * Unlimited whatever the rate says, for the switchover: sleepers are woken at once.
 * drover_limit_set() is remembered meanwhile; drover_limit_shut() makes it count again.
 */
void drover_limit_open(struct drover_limit *l);
void drover_limit_shut(struct drover_limit *l);

#endif
