// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Events cross from the migration's threads to the main thread by copy. A pusher
 * holds the lock for a few stores only, so a migration never waits for a client.
 */
#include "daemon/event-queue.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/lock.h"

int event_queue_init(struct event_queue *q, struct drover_error *e)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		return drover_err(e, -errno, "eventfd: %s", drover_strerror(errno));
	drover_lock_init(&q->lock);
	q->fd = fd;
	q->head = NULL;
	q->tail = &q->head;
	q->n = 0;
	q->dropped = 0;
	return 0;
}

void event_queue_deinit(struct event_queue *q)
{
	struct queued_event *qe;

	while ((qe = event_queue_pop(q)))
		free(qe);
	drover_closep(&q->fd);
	pthread_mutex_destroy(&q->lock);
}

static struct queued_event *copy_event(const struct drover_event *ev, uint64_t job,
				       bool migration_events)
{
	struct queued_event *qe = calloc(1, sizeof(*qe));

	if (!qe)
		return NULL;
	qe->realtime_us = drover_realtime_us();
	qe->ev = *ev;
	qe->job = job;
	qe->migration_events = migration_events;
	if (ev->block) {
		snprintf(qe->block, sizeof(qe->block), "%s", ev->block);
		qe->ev.block = qe->block;
	}
	return qe;
}

void event_queue_push(struct event_queue *q, const struct drover_event *ev, uint64_t job,
		      bool migration_events)
{
	struct queued_event *qe;
	uint64_t one = 1;
	ssize_t n;
	DROVER_LOCK(&q->lock);

	if (ev->type == DROVER_EVENT_LATE_WRITER && q->n >= EVENT_QUEUE_MAX) {
		q->dropped++;
		return;
	}
	qe = copy_event(ev, job, migration_events);
	if (!qe) {
		q->dropped++;
		return;
	}
	*q->tail = qe;
	q->tail = &qe->next;
	q->n++;
	/* Only a full counter can fail, and then it is readable already. */
	n = write(q->fd, &one, sizeof(one));
	(void)n;
}

struct queued_event *event_queue_pop(struct event_queue *q)
{
	struct queued_event *qe;
	uint64_t count;
	ssize_t n;
	DROVER_LOCK(&q->lock);

	qe = q->head;
	if (!qe) {
		n = read(q->fd, &count, sizeof(count));
		(void)n;
		return NULL;
	}
	q->head = qe->next;
	if (!q->head)
		q->tail = &q->head;
	q->n--;
	qe->next = NULL;
	return qe;
}

uint64_t event_queue_dropped(struct event_queue *q)
{
	DROVER_LOCK(&q->lock);

	return q->dropped;
}
