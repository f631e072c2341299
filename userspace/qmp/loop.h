/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_QMP_LOOP_H
#define DROVER_QMP_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct drover_error;
struct loop;

/**
 * struct loop_source - something the main thread waits for
 * @loop: the loop; NULL while the source is not added to one
 * @fd: the descriptor; its owner closes it
 * @fn: called with epoll events; may remove and free any source, also its own
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

/** struct loop_timer - a timer that fires once; all zeros is a timer that was never initialised */
struct loop_timer {
	struct loop_source src;
	void (*fn)(void *opaque);
	void *opaque;
};

/** struct loop - the main thread's epoll, level-triggered; no other thread may use it */
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
/* Change the events for which an added source waits. */
void loop_modify(struct loop_source *s, uint32_t events);
/* Does nothing for a source that is not added. The fd stays open. */
void loop_remove(struct loop_source *s);

int loop_timer_init(struct loop *l, struct loop_timer *t, void (*fn)(void *opaque), void *opaque,
		    struct drover_error *e);
/* Make the timer fire once in @ms from now, whatever was armed before; 0 disarms it. */
void loop_timer_arm(struct loop_timer *t, uint32_t ms);
void loop_timer_deinit(struct loop_timer *t);

#endif
