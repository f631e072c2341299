// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Sends and receives over the rings, for every transport that is a descriptor: sockets use
 * sendmsg and recvmsg, pipes and files readv and writev. A short send or receive is continued
 * here until it is complete or fails. Sends run under tx_lock; one thread receives.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/clock.h"
#include "base/err.h"
#include "channel/internal.h"

#define VECTOR_MAX 1024u /* IOV_MAX of Linux */

int drover_stream_fail(struct drover_channel *ch, const char *step, int r,
		       struct drover_error *e)
{
	bool shut = atomic_load(&ch->shut);

	/* a channel whose operation was cancelled can be used again with another bell */
	if (r != -ECANCELED)
		atomic_store(&ch->broke, true);
	if (r == -ECANCELED)
		return drover_err(e, r, "channel %s: %s: cancelled", ch->name, step);
	if (r == -ESHUTDOWN || (shut && (r == -EPIPE || r == -ECONNRESET)))
		return drover_err(e, -ESHUTDOWN, "channel %s: %s: the channel was shut down",
				  ch->name, step);
	if (r == -ETIME)
		return drover_err(e, -ETIMEDOUT, "channel %s: %s: no byte has moved for %u ms",
				  ch->name, step, atomic_load(&ch->stall_ms));
	if ((r == -EPIPE || r == -ECONNRESET) && ch->ops->broken) {
		int why = ch->ops->broken(ch, e);

		if (why < 0)
			return why;
	}
	return drover_err(e, r, "channel %s: %s: %s", ch->name, step, drover_strerror(r));
}

/* Before an operation: does the direction exist, is the channel alive; make its ring if needed. */
static int ready(struct drover_channel *ch, int fd, const char *step, struct drover_ring **ring,
		 struct drover_error *e)
{
	int r;

	if (fd < 0)
		return drover_err(e, -EBADF, "channel %s: %s: it goes the other way only",
				  ch->name, step);
	if (atomic_load(&ch->shut))
		return drover_stream_fail(ch, step, -ESHUTDOWN, e);
	if (*ring)
		return 0;
	r = drover_ring_new(ring, e);
	if (r < 0)
		drover_err_prefix(e, "channel %s: ", ch->name);
	return r;
}

static void moved(struct drover_channel *ch, _Atomic uint64_t *counter, size_t n)
{
	/* one thread uses a file; other kinds have a thread each way, which both come here */
	if (ch->kind == CHANNEL_FILE)
		ch->pos += n;
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
	atomic_store_explicit(&ch->stats.last_progress_ns, drover_now_ns(),
			      memory_order_relaxed);
}

/* Drop @done bytes from the front of the vector. */
static void advance(struct iovec **iov, unsigned int *n, size_t done)
{
	while (*n && done >= (*iov)->iov_len) {
		done -= (*iov)->iov_len;
		(*iov)++;
		(*n)--;
	}
	if (done) {
		(*iov)->iov_base = (char *)(*iov)->iov_base + done;
		(*iov)->iov_len -= done;
	}
}

static size_t vector_len(const struct iovec *iov, unsigned int n)
{
	size_t sum = 0;
	unsigned int i;

	for (i = 0; i < n; i++)
		sum += iov[i].iov_len;
	return sum;
}

/* ---- send ---- */

/*
 * A write to a pipe without a reader raises SIGPIPE, and unlike send(2) it has no flag against
 * that. The kernel sends the signal to this thread: block it during the write, and take it off
 * the queue if this write has raised it.
 */
static ssize_t run_quietly(struct drover_ring *ring, const struct drover_ring_io *io)
{
	static const struct timespec now = { 0, 0 };
	sigset_t pipe_set, old, before;
	ssize_t n;

	sigemptyset(&pipe_set);
	sigaddset(&pipe_set, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe_set, &old);
	sigpending(&before);
	n = drover_ring_run(ring, io);
	if (n == -EPIPE && !sigismember(&before, SIGPIPE))
		while (sigtimedwait(&pipe_set, NULL, &now) < 0 && errno == EINTR)
			;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return n;
}

static ssize_t send_direct(int fd, const struct iovec *iov, unsigned int n)
{
	struct msghdr mh = { .msg_iov = (struct iovec *)iov, .msg_iovlen = n };
	ssize_t res;

	do
		res = sendmsg(fd, &mh, MSG_NOSIGNAL);
	while (res < 0 && errno == EINTR);
	return res < 0 ? -errno : res;
}

static ssize_t receive_direct(int fd, const struct iovec *iov, unsigned int n, bool all)
{
	struct msghdr mh = { .msg_iov = (struct iovec *)iov, .msg_iovlen = n };
	ssize_t res;

	do
		res = recvmsg(fd, &mh, all ? MSG_WAITALL : 0);
	while (res < 0 && errno == EINTR);
	return res < 0 ? -errno : res;
}

static ssize_t send_some(struct drover_channel *ch, const struct iovec *iov, unsigned int n,
			 unsigned int flags)
{
	struct drover_ring_io io = { .fd = ch->wfd, .iov = iov, .n = n, .off = (uint64_t)-1 };
	ssize_t res;

	if (ch->direct)
		return send_direct(ch->wfd, iov, n);
	drover_channel_io(ch, &io);
	if (ch->kind == CHANNEL_FILE) {
		io.op = DROVER_RING_WRITEV;
		io.off = ch->pos;
		return drover_ring_run(ch->tx, &io);
	}
	if (ch->kind == CHANNEL_PIPE) {
		io.op = DROVER_RING_WRITEV;
		return run_quietly(ch->tx, &io);
	}
	if (drover_zc_wanted(ch, iov, n, flags)) {
		io.op = DROVER_RING_SENDMSG_ZC;
		res = drover_ring_run(ch->tx, &io);
		drover_zc_update(ch);
		if (res >= 0 || !drover_zc_refused(ch, (int)res))
			return res;
	}
	io.op = DROVER_RING_SENDMSG;
	return drover_ring_run(ch->tx, &io);
}

int drover_stream_sendv(struct drover_channel *ch, struct iovec *iov, unsigned int n,
			unsigned int flags, struct drover_error *e)
{
	int r = ready(ch, ch->wfd, "send", &ch->tx, e);

	if (r < 0)
		return r;
	advance(&iov, &n, 0);
	while (n) {
		ssize_t res = send_some(ch, iov, n < VECTOR_MAX ? n : VECTOR_MAX, flags);

		/* a full device may return 0 instead of -ENOSPC */
		if (res <= 0)
			return drover_stream_fail(ch, "send", res ? (int)res : -ENOSPC, e);
		moved(ch, &ch->stats.tx_bytes, (size_t)res);
		advance(&iov, &n, (size_t)res);
	}
	return 0;
}

/* ---- receive ---- */

static ssize_t receive_some(struct drover_channel *ch, const struct iovec *iov, unsigned int n,
			    size_t need)
{
	struct drover_ring_io io = { .fd = ch->rfd, .iov = iov, .n = n, .off = (uint64_t)-1 };

	if (ch->direct)
		return receive_direct(ch->rfd, iov, n, vector_len(iov, n) <= need);
	drover_channel_io(ch, &io);
	if (ch->kind != CHANNEL_SOCKET) {
		io.op = DROVER_RING_READV;
		if (ch->kind == CHANNEL_FILE)
			io.off = ch->pos;
	} else {
		io.op = vector_len(iov, n) <= need ? DROVER_RING_RECVMSG_ALL :
						     DROVER_RING_RECVMSG;
	}
	return drover_ring_run(ch->rx, &io);
}

static int closed(struct drover_channel *ch, size_t got, size_t min, struct drover_error *e)
{
	int r = 0;

	if (atomic_load(&ch->shut))
		return drover_stream_fail(ch, "receive", -ESHUTDOWN, e);
	if (ch->ops->broken)
		r = ch->ops->broken(ch, e);
	if (r < 0)
		return r;
	if (!got)
		return DROVER_CHANNEL_E_EOF;
	atomic_store(&ch->broke, true);
	return drover_err(e, -EPIPE, "channel %s: receive: closed after %zu of %zu bytes", ch->name,
			  got, min);
}

int drover_stream_recvv(struct drover_channel *ch, struct iovec *iov, unsigned int n, size_t min,
			size_t *ret_got, struct drover_error *e)
{
	size_t got = 0;
	int r = ready(ch, ch->rfd, "receive", &ch->rx, e);

	if (r < 0)
		return r;
	if (!min || min > vector_len(iov, n))
		return drover_err(e, -EINVAL, "channel %s: receive: %zu bytes do not fit",
				  ch->name, min);
	advance(&iov, &n, 0);
	while (got < min) {
		ssize_t res = receive_some(ch, iov, n < VECTOR_MAX ? n : VECTOR_MAX, min - got);

		if (res < 0)
			return drover_stream_fail(ch, "receive", (int)res, e);
		if (!res)
			return closed(ch, got, min, e);
		got += (size_t)res;
		moved(ch, &ch->stats.rx_bytes, (size_t)res);
		advance(&iov, &n, (size_t)res);
	}
	*ret_got = got;
	return 0;
}
