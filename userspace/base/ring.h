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
 * One io_uring for one direction of one stream. It has one operation in flight at a time, and
 * beside it the outstanding notifications of earlier zero-copy sends. Threads may use a ring in
 * turn, but never two at the same time, except by the functions that say so.
 */
struct drover_ring;

/*
 * The most zero-copy sends whose buffers the kernel may still read; when there are so many,
 * the next zero-copy send waits.
 */
#define DROVER_RING_ZC_MAX 1024u

enum drover_ring_op {
	DROVER_RING_SENDMSG,            /* all of the vector, MSG_WAITALL */
	DROVER_RING_SENDMSG_ZC,         /* the same, zero-copy */
	DROVER_RING_RECVMSG,            /* as much as has arrived, at least one byte */
	DROVER_RING_RECVMSG_ALL,        /* all of the vector, MSG_WAITALL */
	DROVER_RING_WRITEV,             /* files and pipes */
	DROVER_RING_READV,
	DROVER_RING_OP_COUNT
};

/**
 * struct drover_ring_io - one operation
 * @fd: socket, pipe or file
 * @iov: at most IOV_MAX entries; not changed
 * @off: offset in a file; -1 for pipes and sockets
 * @bell: ends the operation with -ECANCELED when it rings; NULL: none. Used during the call only
 * @bell_gen: the caller changes this number whenever @bell is another bell than in the last
 *	call. The address alone does not tell: a new bell may have that of an old one
 * @stop: a second bell, which ends the operation with -ESHUTDOWN; the same in every call
 * @stall_ms: the operation ends with -ETIME when no byte has moved for so long; 0: never
 *
 * An operation that stalls after it has moved some bytes returns their number; the next one,
 * which moves none, returns -ETIME. So a stall is noticed after one to two times @stall_ms.
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
 * Return: 0, or a negative errno. -EPERM and -ENOSYS mean that io_uring is switched off, by
 * kernel.io_uring_disabled or a seccomp filter; the message says so.
 */
int drover_ring_new(struct drover_ring **ret, struct drover_error *e);

/*
 * NULL is fine; returns NULL. Does not wait for outstanding notifications: the kernel keeps the
 * pages of those sends pinned and may still read them. A caller that needs the memory calls
 * drover_ring_drain() first.
 */
struct drover_ring *drover_ring_free(struct drover_ring *r);

/**
 * drover_ring_run() - do one operation and wait for its end
 *
 * When this returns, the array @io->iov and the memory that it points to belong to the caller
 * again, with one exception: the kernel may still read the memory of a zero-copy send, also of
 * one that failed, until drover_ring_zc() gives a @done that is not below the number that @seq
 * had when that send returned.
 *
 * Return: number of bytes moved (0: end of file), -ECANCELED (@bell), -ESHUTDOWN (@stop),
 * -ETIME (stall), or the negative errno with which the operation failed.
 */
ssize_t drover_ring_run(struct drover_ring *r, const struct drover_ring_io *io);

/** drover_ring_drain() - wait until no notification is outstanding; @io: its bells and stall_ms */
int drover_ring_drain(struct drover_ring *r, const struct drover_ring_io *io);

/** drover_ring_reap() - take in the notifications that have arrived; does not wait */
void drover_ring_reap(struct drover_ring *r);

/**
 * struct drover_ring_zc - counts of zero-copy sends; any thread may read them
 * @seq: sequence number of the newest send; the first has 1
 * @done: the kernel has let go of the buffers of all sends up to this number. Sends that failed
 *	without a notification count as done, too
 * @notified: number of notifications that have arrived
 * @copied: how many of these say that the kernel copied the data after all
 * @reports: the kernel tells whether it copied (Linux 6.2); otherwise @copied stays 0
 */
struct drover_ring_zc {
	uint64_t seq, done, notified, copied;
	bool reports;
};
void drover_ring_zc(const struct drover_ring *r, struct drover_ring_zc *ret);

#endif
