// SPDX-License-Identifier: GPL-2.0-or-later
/* The event queue between threads, and the table of inherited descriptors. */
#define _GNU_SOURCE
#include "daemon/event-queue.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "daemon/fds.h"
#include "tap.h"

#define EACH 500u
#define THREADS 4

static bool readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

static void *pusher(void *opaque)
{
	struct drover_event ev = { .type = DROVER_EVENT_PASS };
	unsigned int i;

	for (i = 0; i < EACH; i++) {
		ev.pass = i;
		event_queue_push(opaque, &ev, 7, true);
	}
	return NULL;
}

static void test_threads(void)
{
	pthread_t thread[THREADS];
	struct queued_event *qe;
	struct event_queue q;
	unsigned int i, n = 0;
	uint64_t sum = 0, job = 0;

	tap_ok(event_queue_init(&q, NULL) == 0 && !readable(q.fd), "an empty queue is quiet");
	for (i = 0; i < THREADS; i++)
		pthread_create(&thread[i], NULL, pusher, &q);
	for (i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	tap_ok(readable(q.fd), "its fd is readable while something is queued");
	while ((qe = event_queue_pop(&q))) {
		n++;
		sum += qe->ev.pass;
		job += qe->job;
		free(qe);
	}
	tap_ok(n == THREADS * EACH && sum == THREADS * (EACH * (EACH - 1) / 2) &&
	       job == n * 7, "every event of every thread comes once, with its job");
	tap_ok(!readable(q.fd), "and quiet again");
	event_queue_deinit(&q);
}

static void test_bound(void)
{
	char name[] = "ram0";
	struct drover_event late = { .type = DROVER_EVENT_LATE_WRITER, .block = name };
	struct drover_event stop = { .type = DROVER_EVENT_STOP };
	struct queued_event *qe, *last = NULL;
	struct event_queue q;
	unsigned int i, n = 0;

	event_queue_init(&q, NULL);
	for (i = 0; i < EVENT_QUEUE_MAX + 10; i++)
		event_queue_push(&q, &late, 7, false);
	event_queue_push(&q, &stop, 7, false);
	name[0] = 'X';
	qe = event_queue_pop(&q);
	tap_ok(strcmp(qe->ev.block, "ram0") == 0, "names are copied");
	free(qe);
	while ((qe = event_queue_pop(&q))) {
		free(last);
		last = qe;
		n++;
	}
	tap_ok(n == EVENT_QUEUE_MAX && event_queue_dropped(&q) == 10,
	       "late writers beyond the bound are counted");
	tap_ok(last && last->ev.type == DROVER_EVENT_STOP, "no other event is dropped");
	free(last);
	for (i = 0; i < 3; i++)
		event_queue_push(&q, &late, 7, false);
	event_queue_deinit(&q);
}

static void test_fds(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct fd_table t;
	char name[16];
	int pair[2], dir = open("/", O_RDONLY | O_DIRECTORY), after;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
		return;
	fd_table_init(&t);
	after = dup(0);
	snprintf(name, sizeof(name), "%d", pair[0]);
	tap_ok(fd_table_find(&t, name, NULL) == pair[0], "an inherited socket is found");
	tap_ok(fcntl(pair[0], F_GETFD) & FD_CLOEXEC, "and closed on exec from now on");
	fd_table_take(&t, pair[0]);
	tap_ok(fd_table_find(&t, name, &e) == -EBADF && strstr(e.msg, name), "but only once");
	snprintf(name, sizeof(name), "%d", dir);
	tap_ok(fd_table_find(&t, name, NULL) == -EBADF, "a directory is none");
	snprintf(name, sizeof(name), "%d", after);
	tap_ok(fd_table_find(&t, name, NULL) == -EBADF, "one opened later is none");
	tap_ok(fd_table_find(&t, "2", NULL) == -EBADF, "stderr is none");
	tap_ok(fd_table_find(&t, "99999999999999999999", NULL) == -EINVAL &&
	       fd_table_find(&t, "3x", NULL) == -EINVAL && fd_table_find(&t, "-1", NULL) == -ENOENT &&
	       fd_table_find(&t, "", NULL) == -ENOENT && fd_table_find(&t, "migr", NULL) == -ENOENT,
	       "what is neither a number nor a name it has is refused");
	close(after);
	close(dir);
	close(pair[0]);
	close(pair[1]);
}

int main(void)
{
	test_threads();
	test_bound();
	test_fds();
	return tap_done();
}
