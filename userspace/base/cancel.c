// SPDX-License-Identifier: LGPL-2.1-or-later
/* The bell of a migration, and the wait in poll(2) that it can end. */
#include "base/cancel.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"

int drover_cancel_init(struct drover_cancel *c, struct drover_error *e)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		return drover_err(e, -errno, "eventfd: %s", drover_strerror(errno));
	c->fd = fd;
	atomic_init(&c->rung, false);
	return 0;
}

void drover_cancel_deinit(struct drover_cancel *c)
{
	drover_closep(&c->fd);
}

void drover_cancel_ring(struct drover_cancel *c)
{
	uint64_t one = 1;
	ssize_t n;

	atomic_store_explicit(&c->rung, true, memory_order_release);
	/* The write can only fail if the counter is full, and then the eventfd is readable. */
	n = write(c->fd, &one, sizeof(one));
	(void)n;
}

int drover_wait_fd(int fd, short events, const struct drover_cancel *c,
		   unsigned long long deadline)
{
	struct pollfd p[2] = {
		{ .fd = fd, .events = events },
		{ .fd = c ? c->fd : -1, .events = POLLIN },
	};

	for (;;) {
		int n;

		if (drover_cancelled(c))
			return -ECANCELED;
		n = poll(p, 2, drover_deadline_left_ms(deadline));
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n <= 0 && deadline && drover_now_ns() >= deadline)
			return -ETIMEDOUT;
		if (n > 0 && p[0].revents)
			return p[0].revents;
	}
}
