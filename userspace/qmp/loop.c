// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The main thread's loop. It takes one event at a time, so that a callback may free any source,
 * also the one for which it was called: there is no later event of the same batch that could
 * point to a freed source. The kernel returns ready descriptors in turn, so no source starves.
 */
#include "qmp/loop.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"

int loop_init(struct loop *l, struct drover_error *e)
{
	int fd = epoll_create1(EPOLL_CLOEXEC);

	if (fd < 0)
		return drover_err(e, -errno, "epoll: %s", drover_strerror(errno));
	l->epfd = fd;
	l->stop = false;
	return 0;
}

void loop_deinit(struct loop *l)
{
	drover_closep(&l->epfd);
}

void loop_stop(struct loop *l)
{
	l->stop = true;
}

int loop_run(struct loop *l, struct drover_error *e)
{
	while (!l->stop) {
		struct epoll_event ev;
		struct loop_source *s;
		int n = epoll_wait(l->epfd, &ev, 1, -1);

		if (n < 0 && errno != EINTR)
			return drover_err(e, -errno, "epoll: wait: %s", drover_strerror(errno));
		if (n <= 0)
			continue;
		s = ev.data.ptr;
		s->fn(s->opaque, ev.events);
	}
	return 0;
}

int loop_add(struct loop *l, struct loop_source *s, int fd, uint32_t events,
	     void (*fn)(void *opaque, uint32_t events), void *opaque, struct drover_error *e)
{
	struct epoll_event ev = { .events = events, .data.ptr = s };

	if (epoll_ctl(l->epfd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return drover_err(e, -errno, "epoll: add: %s", drover_strerror(errno));
	s->loop = l;
	s->fd = fd;
	s->fn = fn;
	s->opaque = opaque;
	return 0;
}

void loop_modify(struct loop_source *s, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = s };

	/* This can't fail for an fd that was added, since nothing is allocated. */
	epoll_ctl(s->loop->epfd, EPOLL_CTL_MOD, s->fd, &ev);
}

void loop_remove(struct loop_source *s)
{
	if (!s->loop)
		return;
	epoll_ctl(s->loop->epfd, EPOLL_CTL_DEL, s->fd, NULL);
	s->loop = NULL;
}

static void timer_fired(void *opaque, uint32_t events)
{
	struct loop_timer *t = opaque;
	uint64_t count;

	(void)events;
	if (read(t->src.fd, &count, sizeof(count)) == (ssize_t)sizeof(count))
		t->fn(t->opaque);
}

int loop_timer_init(struct loop *l, struct loop_timer *t, void (*fn)(void *opaque), void *opaque,
		    struct drover_error *e)
{
	_cleanup_close_ int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	int r;

	if (fd < 0)
		return drover_err(e, -errno, "timerfd: %s", drover_strerror(errno));
	r = loop_add(l, &t->src, fd, EPOLLIN, timer_fired, t, e);
	if (r < 0)
		return r;
	t->fn = fn;
	t->opaque = opaque;
	TAKE_FD(fd);
	return 0;
}

void loop_timer_arm(struct loop_timer *t, uint32_t ms)
{
	struct itimerspec when = {
		.it_value = {
			.tv_sec = ms / 1000,
			.tv_nsec = (long)(ms % 1000) * 1000000,
		},
	};

	timerfd_settime(t->src.fd, 0, &when, NULL);
}

void loop_timer_deinit(struct loop_timer *t)
{
	if (!t->src.loop)
		return;
	loop_remove(&t->src);
	drover_closep(&t->src.fd);
}
