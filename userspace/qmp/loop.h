/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_QMP_LOOP_H
#define DROVER_QMP_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct drover_error;
struct loop;

/**
 * struct loop_source - something the main thread waits for
 * @loop: NULL while not added
 * @fd: borrowed
 * @fn: called with epoll events; may remove and free any source, its own included
 * @opaque: first argument of @fn
 *
 * Embedded in its owner. All zeros is a source that is not added.
 */
struct loop_source {
	struct loop *loop;
	int fd;
	void (*fn)(void *opaque, uint32_t events);
	void *opaque;
};

/** struct loop_timer - one shot, relative; all zeros is a timer never armed */
struct loop_timer {
	struct loop_source src;
	void (*fn)(void *opaque);
	void *opaque;
};

/** struct loop - epoll of the main thread; single-threaded, level-triggered */
struct loop {
	int epfd;
	bool stop;
};

int loop_init(struct loop *l, struct drover_error *e);
void loop_deinit(struct loop *l);
/* Runs until loop_stop(). 0, or the negative errno of epoll_wait(2). */
int loop_run(struct loop *l, struct drover_error *e);
void loop_stop(struct loop *l);

int loop_add(struct loop *l, struct loop_source *s, int fd, uint32_t events,
	     void (*fn)(void *opaque, uint32_t events), void *opaque, struct drover_error *e);
/* Change what is waited for; the source stays where it is. */
void loop_modify(struct loop_source *s, uint32_t events);
/* Idempotent; the fd stays open. */
void loop_remove(struct loop_source *s);

int loop_timer_init(struct loop *l, struct loop_timer *t, void (*fn)(void *opaque), void *opaque,
		    struct drover_error *e);
/* Fire once in @ms, replacing what was armed; 0 disarms. */
void loop_timer_arm(struct loop_timer *t, uint32_t ms);
void loop_timer_deinit(struct loop_timer *t);

#endif
