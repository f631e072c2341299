/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_BASE_RING_H
#define DROVER_BASE_RING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct drover_cancel;
struct drover_error;

/*
 * One io_uring for one direction of one stream: a single operation in flight, plus
 * the notifications of earlier zero-copy sends. A ring may be handed from thread to
 * thread between calls; two threads never call on it at the same time, except for
 * the functions that say so.
 */
struct drover_ring;

/* Zero-copy sends whose buffers the kernel may still read; a further one waits. */
#define DROVER_RING_ZC_MAX 1024u

enum drover_ring_op {
	DROVER_RING_SENDMSG,            /* all of the vector, MSG_WAITALL */
	DROVER_RING_SENDMSG_ZC,         /* the same, zero-copy */
	DROVER_RING_RECVMSG,            /* what is there */
	DROVER_RING_RECVMSG_ALL,        /* all of the vector, MSG_WAITALL */
	DROVER_RING_WRITEV,             /* files and pipes */
	DROVER_RING_READV,
	DROVER_RING_OP_COUNT
};

/**
 * struct drover_ring_io - one operation
 * @fd: socket, pipe or file
 * @iov: at most IOV_MAX entries; not changed
 * @off: files: where; pipes and sockets: -1
 * @bell: wakes it with -ECANCELED; NULL: none. Used during the call only
 * @bell_gen: differs from the last operation's whenever @bell is another bell; two
 *	bells may have had the same address
 * @stop: a second bell, which wakes it with -ESHUTDOWN; the same in every call
 * @stall_ms: when no byte has moved for so long: -ETIME; 0: never
 *
 * An operation that stalls after it has moved some bytes ends with their number; the
 * next one, which moves none, with -ETIME. So a stall is noticed after one to two times
 * @stall_ms.
 */
struct drover_ring_io {
	enum drover_ring_op op;
	int fd;
	const struct iovec *iov;
	unsigned int n;
	uint64_t off;
	const struct drover_cancel *bell;
	uint32_t bell_gen;
	const struct drover_cancel *stop;
	uint32_t stall_ms;
};

/**
 * drover_ring_new() - set up a ring
 *
 * Return: 0, or a negative errno; where io_uring is switched off (-EPERM by
 * kernel.io_uring_disabled or seccomp, -ENOSYS) the message says so.
 */
int drover_ring_new(struct drover_ring **ret, struct drover_error *e);

/*
 * NULL is fine; returns NULL. Does not wait for notifications: the pages they are for
 * stay pinned by the kernel until then, but see drover_ring_drain().
 */
struct drover_ring *drover_ring_free(struct drover_ring *r);

/**
 * drover_ring_run() - do one operation and wait for its end
 *
 * When this returns, the vector belongs to the caller again, except that of a
 * zero-copy send that moved bytes: its memory until drover_ring_zc_done() says so.
 *
 * Return: bytes moved (0: end of file), -ECANCELED, -ESHUTDOWN, -ETIME (stall), or what
 * the operation failed with.
 */
ssize_t drover_ring_run(struct drover_ring *r, const struct drover_ring_io *io);

/** drover_ring_drain() - wait until no notification is outstanding; io's bells and stall apply */
int drover_ring_drain(struct drover_ring *r, const struct drover_ring_io *io);

/** drover_ring_reap() - note the notifications that have come; does not wait */
void drover_ring_reap(struct drover_ring *r);

/**
 * struct drover_ring_zc - account of zero-copy sends; read by any thread, relaxed
 * @seq: sequence number of the newest send, from 1
 * @done: all sends up to this number are notified; sends that never held buffers count too
 * @notified: notifications that came
 * @copied: of these, data that the kernel copied anyway
 * @reports: the kernel tells whether it copied (Linux 6.2); otherwise @copied stays 0
 */
struct drover_ring_zc {
	uint64_t seq, done, notified, copied;
	bool reports;
};
void drover_ring_zc(const struct drover_ring *r, struct drover_ring_zc *ret);

#endif
