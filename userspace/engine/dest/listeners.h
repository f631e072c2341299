/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_DEST_LISTENERS_H
#define DROVER_ENGINE_DEST_LISTENERS_H

#include <pthread.h>

struct drover_address;
struct drover_channel_opts;
struct drover_error;
struct drover_listener;
struct json_object;

#define LISTENERS_MAX 256u

/**
 * struct listeners - addresses that are listened on; written by listeners.c alone
 * @lock: guards @n and the entries up to it; an entry stays as it is until the end
 */
struct listeners {
	pthread_mutex_t lock;
	struct drover_listener *l[LISTENERS_MAX];
	unsigned int n;
};

void listeners_init(struct listeners *s);
void listeners_deinit(struct listeners *s);
int listeners_add(struct listeners *s, const struct drover_address *a,
		  const struct drover_channel_opts *o, struct drover_error *e);
/* One more while connections are accepted: 0 also for one that is listened on already. */
int listeners_add_late(struct listeners *s, const struct drover_address *a,
		       const struct drover_channel_opts *o, struct drover_error *e);
unsigned int listeners_count(struct listeners *s);
/* An array of addresses; the caller puts the reference. */
struct json_object *listeners_addresses(struct listeners *s);
/*
 * Nobody answers any more: a connection must fail now, not after handshake-timeout. Only
 * when nobody accepts any more.
 */
void listeners_close(struct listeners *s);

#endif
