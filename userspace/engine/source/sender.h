/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_SOURCE_SENDER_H
#define DROVER_ENGINE_SOURCE_SENDER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/source/encode.h"
#include "engine/source/work.h"

struct drover_source;

/* Frames of one channel that may be under way at a time. */
#define SENDER_SLOTS 32u

/* A frame under way: with zero-copy it is the kernel's until send `zc_seq` is notified. */
struct sender_slot {
	uint8_t head[BATCH_HEAD];
	uint64_t zc_seq;
};

/**
 * struct sender - one channel that carries pages, and its thread; written by sender.c alone
 * @from, @to: the encoder's ends: units of the round, frames on @link
 * @link: borrowed from the source
 * @order: the round that it works on
 * @owed: bytes not yet taken from the limit
 * @waiting: it sleeps in the rate limit, which counts as progress
 */
struct sender {
	struct page_source from;
	struct page_sink to;
	struct drover_source *s;
	struct drover_link *link;
	struct sender_slot *slot;
	unsigned int next_slot;
	pthread_t thread;
	bool started;
	struct work_order order;
	uint64_t owed;
	atomic_bool waiting;
};

/** struct sender_pool - all senders; written by sender.c alone, in the source's thread */
struct sender_pool {
	struct sender *sender;
	unsigned int n;
};

/* One for each data channel, or one on main; senders_stop() accepts what a failure leaves. */
int senders_start(struct drover_source *s, struct drover_error *e);
/* Ends all of them, when their channels have been shut down or have nothing more to send. */
void senders_stop(struct drover_source *s);
void senders_open_round(struct drover_source *s, uint32_t round, enum work_kind kind);
/* Wait until the kernel has let go of all that was sent with zero-copy. */
int senders_drain(struct drover_source *s, struct drover_error *e);
/* Is one of them held back by the limit? */
bool senders_waiting(struct drover_source *s);

#endif
