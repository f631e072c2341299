// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The io_uring under every channel. One operation is in flight at a time. The call that started
 * it returns only after its completion, and cancels it first if need be: until the completion
 * the kernel may use its buffers. Two things outlive a call: the polls on the bells, which are
 * armed once so that an operation costs one system call, and the notifications of zero-copy
 * sends.
 *
 * The kernel sends a notification after the completion of a zero-copy send if and only if that
 * completion has IORING_CQE_F_MORE, also when the send failed. Each zero-copy send has a sequence
 * number. Notifications may come out of order; a window of bits turns them into one number up to
 * which all sends are done.
 *
 * Used by the channel layer. IORING_SETUP_SINGLE_ISSUER and _DEFER_TASKRUN stay off: they bind a
 * ring to one thread, but several threads use a channel in turn.
 */
#include "base/ring.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/kernel-compat.h"

#define SQ_ENTRIES 8u
#define CQ_ENTRIES 256u

/* What a completion belongs to: the low byte of its user_data; the bytes above are a number. */
enum kind { KIND_OP = 1, KIND_ZC, KIND_BELL, KIND_STOP, KIND_CANCEL };

static uint64_t tag(enum kind kind, uint64_t number)
{
	return number << 8 | (uint64_t)kind;
}

struct drover_ring {
	struct io_uring uring;
	uint64_t op;                    /* number of the present or last operation */
	uint64_t op_tag;
	bool op_pending;
	int op_res;
	int dead;                       /* negative errno when the ring itself has failed */
	bool bell_armed, stop_armed;
	uint32_t bell_gen;
	atomic_bool report;             /* the kernel takes IORING_SEND_ZC_REPORT_USAGE */
	_Atomic uint64_t zc_seq, zc_done, zc_notified, zc_copied;
	uint64_t zc_window[DROVER_RING_ZC_MAX / 64];    /* notified, but not yet in zc_done */
};

int drover_ring_new(struct drover_ring **ret, struct drover_error *e)
{
	_cleanup_free_ struct drover_ring *r = calloc(1, sizeof(*r));
	struct io_uring_params p = {
		.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
		.cq_entries = CQ_ENTRIES,
	};
	int n;

	if (!r)
		return drover_err(e, -ENOMEM, "io_uring: out of memory");
	n = io_uring_queue_init_params(SQ_ENTRIES, &r->uring, &p);
	if (n == -EPERM || n == -ENOSYS)
		return drover_err(e, n, "io_uring: setup: %s (is it switched off by "
				  "kernel.io_uring_disabled or a seccomp filter?)",
				  drover_strerror(n));
	if (n < 0)
		return drover_err(e, n, "io_uring: setup: %s%s", drover_strerror(n),
				  n == -ENOMEM ? " (is RLIMIT_MEMLOCK too low?)" : "");
	r->report = true;
	*ret = TAKE_PTR(r);
	return 0;
}

struct drover_ring *drover_ring_free(struct drover_ring *r)
{
	if (!r)
		return NULL;
	io_uring_queue_exit(&r->uring);
	free(r);
	return NULL;
}

/* ---- completions ---- */

static void zc_finished(struct drover_ring *r, uint64_t seq)
{
	uint64_t done = atomic_load_explicit(&r->zc_done, memory_order_relaxed);
	uint64_t last = atomic_load_explicit(&r->zc_seq, memory_order_relaxed);

	r->zc_window[seq % DROVER_RING_ZC_MAX / 64] |= 1ull << (seq % 64);
	while (done < last) {
		uint64_t next = done + 1;
		uint64_t *w = &r->zc_window[next % DROVER_RING_ZC_MAX / 64];

		if (!(*w >> (next % 64) & 1))
			break;
		*w &= ~(1ull << (next % 64));
		done = next;
	}
	/* The buffers are free from here on. Pairs with the acquire in drover_ring_zc(). */
	atomic_store_explicit(&r->zc_done, done, memory_order_release);
}

static void count(_Atomic uint64_t *n)
{
	atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

static void complete(struct drover_ring *r, const struct io_uring_cqe *cqe)
{
	uint64_t number = io_uring_cqe_get_data64(cqe) >> 8;

	switch ((enum kind)(io_uring_cqe_get_data64(cqe) & 0xff)) {
	case KIND_ZC:
		if (cqe->flags & IORING_CQE_F_NOTIF) {
			count(&r->zc_notified);
			if ((uint32_t)cqe->res & IORING_NOTIF_USAGE_ZC_COPIED)
				count(&r->zc_copied);
			zc_finished(r, number);
			return;
		}
		if (!(cqe->flags & IORING_CQE_F_MORE))
			zc_finished(r, number);
		r->op_pending = false;
		r->op_res = cqe->res;
		return;
	case KIND_OP:
		r->op_pending = false;
		r->op_res = cqe->res;
		return;
	case KIND_BELL:
		if (number == r->bell_gen)
			r->bell_armed = false;
		return;
	case KIND_STOP:
		r->stop_armed = false;
		return;
	case KIND_CANCEL:
		return;
	}
}

void drover_ring_reap(struct drover_ring *r)
{
	struct io_uring_cqe *cqe;

	/* io_uring_peek_cqe() also flushes a completion queue that has overflowed */
	while (!r->dead && !io_uring_peek_cqe(&r->uring, &cqe)) {
		complete(r, cqe);
		io_uring_cqe_seen(&r->uring, cqe);
	}
}

/*
 * Submit what is queued and sleep until a completion or the deadline. Return: 0, or a negative
 * errno after which the ring can't be used any more.
 */
static int enter(struct drover_ring *r, uint64_t deadline)
{
	struct __kernel_timespec ts, *pts = NULL;
	struct io_uring_cqe *cqe;
	int n;

	if (deadline) {
		uint64_t now = drover_now_ns(), left = now < deadline ? deadline - now : 0;

		ts.tv_sec = (int64_t)(left / DROVER_NS_PER_S);
		ts.tv_nsec = (long long)(left % DROVER_NS_PER_S);
		pts = &ts;
	}
	n = io_uring_submit_and_wait_timeout(&r->uring, &cqe, 1, pts, NULL);
	drover_ring_reap(r);
	if (n >= 0 || n == -ETIME || n == -EINTR || n == -EAGAIN || n == -EBUSY || n == -EBADR)
		return 0;
	r->dead = n;
	return n;
}

/* ---- bells ---- */

static int rung(const struct drover_ring_io *io)
{
	if (drover_cancelled(io->bell))
		return -ECANCELED;
	if (drover_cancelled(io->stop))
		return -ESHUTDOWN;
	return 0;
}

static void arm_bells(struct drover_ring *r, const struct drover_ring_io *io)
{
	struct io_uring_sqe *sqe;

	if (r->bell_armed && r->bell_gen != io->bell_gen) {
		sqe = io_uring_get_sqe(&r->uring);
		if (!sqe)
			return;
		io_uring_prep_poll_remove(sqe, tag(KIND_BELL, r->bell_gen));
		io_uring_sqe_set_data64(sqe, tag(KIND_CANCEL, 0));
		r->bell_armed = false;
	}
	r->bell_gen = io->bell_gen;
	if (io->bell && !r->bell_armed && (sqe = io_uring_get_sqe(&r->uring))) {
		io_uring_prep_poll_add(sqe, io->bell->fd, POLLIN);
		io_uring_sqe_set_data64(sqe, tag(KIND_BELL, r->bell_gen));
		r->bell_armed = true;
	}
	if (io->stop && !r->stop_armed && (sqe = io_uring_get_sqe(&r->uring))) {
		io_uring_prep_poll_add(sqe, io->stop->fd, POLLIN);
		io_uring_sqe_set_data64(sqe, tag(KIND_STOP, 0));
		r->stop_armed = true;
	}
}

/* ---- operations ---- */

static int prepare(struct drover_ring *r, const struct drover_ring_io *io, struct msghdr *mh,
		   short poll_events)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&r->uring);
	enum kind kind = KIND_OP;
	uint64_t number = ++r->op;

	if (!sqe)
		return -EBUSY;
	if (poll_events) {
		io_uring_prep_poll_add(sqe, io->fd, (unsigned int)poll_events);
		goto tagged;
	}
	switch (io->op) {
	case DROVER_RING_SENDMSG:
		io_uring_prep_sendmsg(sqe, io->fd, mh, MSG_NOSIGNAL | MSG_WAITALL);
		break;
	case DROVER_RING_SENDMSG_ZC:
		io_uring_prep_sendmsg_zc(sqe, io->fd, mh, MSG_NOSIGNAL | MSG_WAITALL);
		if (r->report)
			sqe->ioprio |= IORING_SEND_ZC_REPORT_USAGE;
		kind = KIND_ZC;
		number = atomic_load_explicit(&r->zc_seq, memory_order_relaxed) + 1;
		atomic_store_explicit(&r->zc_seq, number, memory_order_relaxed);
		break;
	case DROVER_RING_RECVMSG:
		io_uring_prep_recvmsg(sqe, io->fd, mh, 0);
		break;
	case DROVER_RING_RECVMSG_ALL:
		io_uring_prep_recvmsg(sqe, io->fd, mh, MSG_WAITALL);
		break;
	case DROVER_RING_WRITEV:
		io_uring_prep_writev(sqe, io->fd, io->iov, io->n, io->off);
		break;
	default:
		io_uring_prep_readv(sqe, io->fd, io->iov, io->n, io->off);
		break;
	}
tagged:
	r->op_tag = tag(kind, number);
	io_uring_sqe_set_data64(sqe, r->op_tag);
	r->op_pending = true;
	return 0;
}

/* Wait for the operation in flight; cancel it when a bell rings or it stalls. */
static int await(struct drover_ring *r, const struct drover_ring_io *io)
{
	uint64_t deadline = drover_deadline_ms(io->stall_ms);
	int why = 0;

	while (r->op_pending) {
		struct io_uring_sqe *sqe;
		int n = enter(r, why ? 0 : deadline);

		if (!r->op_pending)
			break;
		if (n < 0)
			return n;
		if (why)
			continue;
		why = rung(io);
		if (!why && deadline && drover_now_ns() >= deadline)
			why = -ETIME;
		if (!why) {
			/* the kernel cancels polls of a thread that has exited: arm them again */
			arm_bells(r, io);
			continue;
		}
		sqe = io_uring_get_sqe(&r->uring);
		if (!sqe) {
			why = 0;
			continue;
		}
		io_uring_prep_cancel64(sqe, r->op_tag, 0);
		io_uring_sqe_set_data64(sqe, tag(KIND_CANCEL, 0));
	}
	/* If bytes moved before the cancellation, their number is returned, not the reason. */
	return why && r->op_res < 0 ? why : r->op_res;
}

static int run_one(struct drover_ring *r, const struct drover_ring_io *io, short poll_events)
{
	struct msghdr mh = {
		.msg_iov = (struct iovec *)io->iov,
		.msg_iovlen = io->n,
	};
	int n = rung(io);

	if (n < 0)
		return n;
	arm_bells(r, io);
	n = prepare(r, io, &mh, poll_events);
	return n < 0 ? n : await(r, io);
}

static bool is_input(enum drover_ring_op op)
{
	return op == DROVER_RING_RECVMSG || op == DROVER_RING_RECVMSG_ALL ||
	       op == DROVER_RING_READV;
}

/* Wait until the window has room for one more zero-copy send. */
static int zc_room(struct drover_ring *r, const struct drover_ring_io *io)
{
	uint64_t deadline = drover_deadline_ms(io->stall_ms);

	for (;;) {
		int n;

		if (atomic_load_explicit(&r->zc_seq, memory_order_relaxed) -
		    atomic_load_explicit(&r->zc_done, memory_order_relaxed) <
		    DROVER_RING_ZC_MAX - 1)
			return 0;
		n = rung(io);
		if (n < 0)
			return n;
		if (deadline && drover_now_ns() >= deadline)
			return -ETIME;
		arm_bells(r, io);
		n = enter(r, deadline);
		if (n < 0)
			return n;
	}
}

ssize_t drover_ring_run(struct drover_ring *r, const struct drover_ring_io *io)
{
	if (r->dead)
		return r->dead;
	for (;;) {
		int n = 0;

		if (io->op == DROVER_RING_SENDMSG_ZC)
			n = zc_room(r, io);
		if (!n)
			n = run_one(r, io, 0);
		if (n == -EINTR)
			continue;
		if (n == -EINVAL && io->op == DROVER_RING_SENDMSG_ZC && r->report) {
			/* Linux 6.1 has the operation, but not the report of copies */
			r->report = false;
			continue;
		}
		if (n != -EAGAIN)
			return n;
		/* the file is O_NONBLOCK: wait for it by a poll, then try again */
		n = run_one(r, io, is_input(io->op) ? POLLIN : POLLOUT);
		if (n < 0)
			return n;
	}
}

int drover_ring_drain(struct drover_ring *r, const struct drover_ring_io *io)
{
	uint64_t deadline = drover_deadline_ms(io->stall_ms), seen = 0;

	drover_ring_reap(r);
	for (;;) {
		uint64_t done = atomic_load_explicit(&r->zc_done, memory_order_relaxed);
		int n;

		if (done == atomic_load_explicit(&r->zc_seq, memory_order_relaxed))
			return 0;
		if (r->dead)
			return r->dead;
		n = rung(io);
		if (n < 0)
			return n;
		if (done != seen)
			deadline = drover_deadline_ms(io->stall_ms);
		else if (deadline && drover_now_ns() >= deadline)
			return -ETIME;
		seen = done;
		arm_bells(r, io);
		n = enter(r, deadline);
		if (n < 0)
			return n;
	}
}

void drover_ring_zc(const struct drover_ring *r, struct drover_ring_zc *ret)
{
	/* read done before seq, so that done <= seq holds in what the caller gets */
	ret->done = atomic_load_explicit(&r->zc_done, memory_order_acquire);
	ret->notified = atomic_load_explicit(&r->zc_notified, memory_order_relaxed);
	ret->copied = atomic_load_explicit(&r->zc_copied, memory_order_relaxed);
	ret->seq = atomic_load_explicit(&r->zc_seq, memory_order_relaxed);
	ret->reports = r->report;
}
