// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What all channels have in common: creation and release, bells, names and counters. stream.c
 * moves the bytes, zerocopy.c decides whether zero-copy is used, and each transport has a file.
 *
 * Each direction has a ring and a thread of its own. tx_lock makes the sending side safe for
 * several senders and for threads that only ask for notifications. A channel's bell may be
 * changed at any time; an operation that is under way keeps the bell with which it began.
 *
 * Called by the engine.
 */
#include "channel/channel.h"

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/lock.h"
#include "base/log.h"
#include "channel/internal.h"

/* How long free waits for zero-copy notifications while a healthy peer still receives. */
#define LINGER_MS 5000u
/* How long it waits after it has aborted the connection. */
#define ABORT_MS 2000u

int drover_channel_make(const struct channel_ops *ops, enum channel_kind kind, int rfd, int wfd,
			const struct drover_channel_opts *o, struct drover_channel **ret,
			struct drover_error *e)
{
	_cleanup_free_ struct drover_channel *ch = calloc(1, sizeof(*ch));
	int r;

	if (!ch)
		return drover_err(e, -ENOMEM, "channel: out of memory");
	ch->stop.fd = -EBADF;
	/* sockets need no stop bell, since shutdown(2) wakes them: save the descriptor */
	if (kind != CHANNEL_SOCKET) {
		r = drover_cancel_init(&ch->stop, e);
		if (r < 0)
			return r;
	}
	ch->ops = ops;
	ch->kind = kind;
	ch->rfd = rfd;
	ch->wfd = wfd;
	ch->one_way = o->one_way;
	ch->log = o->log;
	atomic_init(&ch->bell, o->cancel);
	atomic_init(&ch->stall_ms, o->stall_ms);
	atomic_init(&ch->stats.last_progress_ns, drover_now_ns());
	drover_lock_init(&ch->tx_lock);
	*ret = TAKE_PTR(ch);
	return 0;
}

void drover_channel_io(struct drover_channel *ch, struct drover_ring_io *io)
{
	/*
	 * The generation is read before the bell. If the bell changes in between, the ring gets the
	 * new bell with the old generation, and arms it once more in the next operation.
	 */
	io->bell_gen = atomic_load(&ch->bell_gen);
	io->bell = atomic_load(&ch->bell);
	io->stop = ch->stop.fd >= 0 ? &ch->stop : NULL;
	io->stall_ms = atomic_load_explicit(&ch->stall_ms, memory_order_relaxed);
}

static unsigned int pending(const struct drover_channel *ch)
{
	uint64_t done = atomic_load_explicit(&ch->zc.done, memory_order_acquire);

	return (unsigned int)(atomic_load_explicit(&ch->zc.seq, memory_order_acquire) - done);
}

/* Wait until the kernel no longer reads the buffers of zero-copy sends; abort if it must. */
static void settle_zerocopy(struct drover_channel *ch)
{
	struct drover_ring_io io = { .stall_ms = LINGER_MS };
	DROVER_LOCK(&ch->tx_lock);

	if (!ch->tx)
		return;
	drover_zc_update(ch);
	io.bell = atomic_load(&ch->bell);
	io.bell_gen = atomic_load(&ch->bell_gen);
	if (pending(ch) && !atomic_load(&ch->shut) && !atomic_load(&ch->broke))
		drover_ring_drain(ch->tx, &io);
	drover_zc_update(ch);
	if (!pending(ch))
		return;
	drover_socket_abort(ch->wfd);
	io = (struct drover_ring_io){ .stall_ms = ABORT_MS, .bell_gen = io.bell_gen + 1 };
	if (drover_ring_drain(ch->tx, &io) < 0)
		drover_debug(ch->log, "channel %s: free: %u notifications never came", ch->name,
			     pending(ch));
}

struct drover_channel *drover_channel_free(struct drover_channel *ch)
{
	if (!ch)
		return NULL;
	settle_zerocopy(ch);
	ch->ops->close(ch);
	drover_ring_free(ch->tx);
	drover_ring_free(ch->rx);
	if (ch->stop.fd >= 0)
		drover_cancel_deinit(&ch->stop);
	pthread_mutex_destroy(&ch->tx_lock);
	free(ch);
	return NULL;
}

int drover_channel_sendv(struct drover_channel *ch, struct iovec *iov, unsigned int n,
			 unsigned int flags, struct drover_error *e)
{
	DROVER_LOCK(&ch->tx_lock);

	return ch->ops->sendv(ch, iov, n, flags, e);
}

int drover_channel_recvv(struct drover_channel *ch, struct iovec *iov, unsigned int n, size_t min,
			 size_t *ret_got, struct drover_error *e)
{
	return ch->ops->recvv(ch, iov, n, min, ret_got, e);
}

int drover_channel_drain(struct drover_channel *ch, struct drover_error *e)
{
	struct drover_ring_io io = { 0 };
	DROVER_LOCK(&ch->tx_lock);
	int r;

	if (!ch->tx)
		return 0;
	drover_channel_io(ch, &io);
	r = drover_ring_drain(ch->tx, &io);
	drover_zc_update(ch);
	return r < 0 ? drover_stream_fail(ch, "wait for zero-copy notifications", r, e) : 0;
}

/* When a sender holds the lock nothing is done: the sender takes in the notifications itself. */
static void try_reap(struct drover_channel *ch)
{
	if (pthread_mutex_trylock(&ch->tx_lock))
		return;
	if (ch->tx)
		drover_zc_update(ch);
	pthread_mutex_unlock(&ch->tx_lock);
}

unsigned int drover_channel_zc_pending(struct drover_channel *ch)
{
	try_reap(ch);
	return pending(ch);
}

uint64_t drover_channel_zc_seq(struct drover_channel *ch)
{
	return atomic_load_explicit(&ch->zc.seq, memory_order_acquire);
}

uint64_t drover_channel_zc_done(struct drover_channel *ch)
{
	try_reap(ch);
	return atomic_load_explicit(&ch->zc.done, memory_order_acquire);
}

const char *drover_channel_zc_reason(const struct drover_channel *ch)
{
	return atomic_load_explicit(&ch->zc.reason, memory_order_acquire);
}

int drover_channel_poll_in(struct drover_channel *ch, uint64_t deadline)
{
	const struct drover_cancel *bell = atomic_load(&ch->bell);
	struct pollfd p[3] = {
		{ .fd = ch->rfd, .events = POLLIN },
		{ .fd = bell ? bell->fd : -1, .events = POLLIN },
		{ .fd = ch->stop.fd, .events = POLLIN },
	};

	if (ch->rfd < 0)
		return -EBADF;
	for (;;) {
		int n;

		if (drover_cancelled(bell))
			return -ECANCELED;
		if (atomic_load(&ch->shut))
			return -ESHUTDOWN;
		n = poll(p, 3, drover_deadline_left_ms(deadline));
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0 && p[0].revents && !atomic_load(&ch->shut))
			return p[0].revents & POLLNVAL ? -EBADF : 1;
		if (n <= 0 && deadline && drover_now_ns() >= deadline)
			return 0;
	}
}

void drover_channel_shutdown(struct drover_channel *ch)
{
	atomic_store(&ch->shut, true);
	if (ch->stop.fd >= 0)
		drover_cancel_ring(&ch->stop);
	ch->ops->shutdown(ch);
}

int drover_channel_finish(struct drover_channel *ch, struct drover_error *e)
{
	return ch->ops->finish ? ch->ops->finish(ch, e) : 0;
}

int drover_channel_sync(struct drover_channel *ch, struct drover_error *e)
{
	return ch->ops->sync ? ch->ops->sync(ch, e) : 0;
}

void drover_channel_set_stall(struct drover_channel *ch, uint32_t stall_ms)
{
	atomic_store_explicit(&ch->stall_ms, stall_ms, memory_order_relaxed);
}

void drover_channel_set_direct(struct drover_channel *ch)
{
	ch->direct = ch->kind == CHANNEL_SOCKET;
}

void drover_channel_set_cancel(struct drover_channel *ch, struct drover_cancel *c)
{
	atomic_store(&ch->bell, c);
	atomic_fetch_add(&ch->bell_gen, 1);
}

void drover_channel_set_name(struct drover_channel *ch, const char *name)
{
	snprintf(ch->name, sizeof(ch->name), "%s", name);
}

const char *drover_channel_name(const struct drover_channel *ch)
{
	return ch->name;
}

const char *drover_channel_peer(const struct drover_channel *ch)
{
	return ch->peer;
}

unsigned int drover_channel_offers(const struct drover_channel *ch)
{
	return ch->offers;
}

struct drover_channel_stats *drover_channel_stats(struct drover_channel *ch)
{
	return &ch->stats;
}

uint64_t drover_channel_unsent(const struct drover_channel *ch)
{
	int n = 0;

	if (ch->kind != CHANNEL_SOCKET || ioctl(ch->wfd, SIOCOUTQ, &n) < 0 || n < 0)
		return 0;
	return (uint64_t)n;
}
