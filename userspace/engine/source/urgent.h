/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_SOURCE_URGENT_H
#define DROVER_ENGINE_SOURCE_URGENT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "engine/source/peer.h"

struct drover_error;
struct drover_link;
struct drover_source;

/**
 * struct urgent - postcopy-preempt: a channel for pages that are waited for, and its thread
 * @link: borrowed from the source
 */
struct urgent {
	struct drover_source *s;
	struct drover_link *link;
	pthread_t thread;
	bool started;
};

/**
 * struct urgent_pool - written by urgent.c alone, in the source's thread
 * @parting: the threads are ended by us, so a closed channel is no error
 */
struct urgent_pool {
	struct urgent thread[PEER_URGENT_MAX];
	atomic_bool parting;
};

/* One thread for each postcopy channel; urgent_stop() accepts what a failure leaves. */
int urgent_start(struct drover_source *s, struct drover_error *e);
/* Shuts the channels down and waits for the threads. */
void urgent_stop(struct drover_source *s);
/* A PAGE_REQ of @len bytes came on @l, main or postcopy; it is answered on the same link. */
int urgent_request(struct drover_source *s, struct drover_link *l, size_t len,
		   struct drover_error *e);

#endif
