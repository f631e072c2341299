/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_DAEMON_EVENT_QUEUE_H
#define DROVER_DAEMON_EVENT_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/migration.h"
#include "ram/ram.h"

struct drover_error;

/* Late writers may come one a page; beyond this many the rest is only counted. */
#define EVENT_QUEUE_MAX 4096u

/**
 * struct queued_event - a copy of a drover_event that outlives its call
 * @ev: @ev.block points to @block, or is NULL
 * @realtime_us: when it happened, microseconds since the epoch
 * @job: whose event it is
 * @migration_events: the `events` option of the migration it is about
 */
struct queued_event {
	struct queued_event *next;
	struct drover_event ev;
	char block[DROVER_RAM_NAME_MAX + 1];
	uint64_t realtime_us;
	uint64_t job;
	bool migration_events;
};

/**
 * struct event_queue - from any thread to the main thread
 * @fd: eventfd, readable while something is queued
 * @lock: guards all below
 * @dropped: late-writer events not queued because the queue was full
 */
struct event_queue {
	int fd;
	pthread_mutex_t lock;
	struct queued_event *head, **tail;
	unsigned int n;
	uint64_t dropped;
};

int event_queue_init(struct event_queue *q, struct drover_error *e);
void event_queue_deinit(struct event_queue *q);
/* Any thread; never waits. Only late-writer events are ever dropped for lack of room. */
void event_queue_push(struct event_queue *q, const struct drover_event *ev, uint64_t job,
		      bool migration_events);
/* Oldest event, the caller frees it; NULL when there is none (and @fd is quiet again). */
struct queued_event *event_queue_pop(struct event_queue *q);
uint64_t event_queue_dropped(struct event_queue *q);

#endif
