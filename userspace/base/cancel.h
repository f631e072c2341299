/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_BASE_CANCEL_H
#define DROVER_BASE_CANCEL_H

#include <stdatomic.h>
#include <stdbool.h>

struct drover_error;

/**
 * struct drover_cancel - a bell: ringing it wakes every blocking step of a migration
 * @fd: eventfd, readable once the bell was rung; a thread that sleeps polls it beside its own fd
 * @rung: set before the eventfd is written; never cleared
 *
 * A bell that was rung stays rung: each migration makes a bell of its own. All functions may
 * be called from any thread.
 */
struct drover_cancel {
	int fd;
	atomic_bool rung;
};

int drover_cancel_init(struct drover_cancel *c, struct drover_error *e);
void drover_cancel_deinit(struct drover_cancel *c);
void drover_cancel_ring(struct drover_cancel *c);

static inline bool drover_cancelled(const struct drover_cancel *c)
{
	return c && atomic_load_explicit(&c->rung, memory_order_acquire);
}

/**
 * drover_wait_fd() - poll one fd until it is ready, the bell rings or the deadline passes
 * @fd: descriptor; -1 to wait for the bell or the deadline only
 * @events: poll(2) events
 * @c: bell, or NULL
 * @deadline: absolute time as in clock.h; 0 for none
 *
 * Return: the poll(2) revents (> 0), -ECANCELED, -ETIMEDOUT, or another negative errno.
 */
int drover_wait_fd(int fd, short events, const struct drover_cancel *c,
		   unsigned long long deadline);

#endif
