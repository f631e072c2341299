/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_CHANNEL_CHANNEL_H
#define DROVER_CHANNEL_CHANNEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "address/address.h"

struct drover_cancel;
struct drover_error;
struct drover_log;

/*
 * A channel is one typed byte stream. One thread may send and one may receive at
 * the same time; each direction has an io_uring of its own, made at first use,
 * and may be handed from one thread to another between calls.
 */
struct drover_channel;

/* Positive conditions */
#define DROVER_CHANNEL_E_EOF 1 /* the peer closed before the first byte of this receive */

/* Send flags */
#define DROVER_SEND_ZC (1u << 0) /* zero-copy if the channel still does it */

/* Counters, written by the channel's own threads, read by anyone (relaxed). */
struct drover_channel_stats {
	_Atomic uint64_t tx_bytes, rx_bytes;
	_Atomic uint64_t last_progress_ns;      /* monotonic; last byte moved in either direction */
	_Atomic uint64_t zc_sends;              /* zero-copy sends whose notification has come */
	_Atomic uint64_t zc_copied;             /* of these, copied by the kernel anyway */
	_Atomic bool zc_off;                    /* fell back to plain sends */
};

/**
 * struct drover_channel_opts - how to make a channel
 * @cancel: wakes connect, accept, send and receive with -ECANCELED; outlives the channel
 * @deadline: for connect/accept only, absolute (base/clock.h), 0: none
 * @stall_ms: a send or receive that moves no byte for so long fails with
 *	-ETIMEDOUT; 0: never; drover_channel_set_stall() changes it
 * @one_way: exec and fd: only write (source) or only read (destination) is needed
 * @incoming: this side reads the stream (file: open for reading)
 * @fd: for transport fd: the descriptor, already resolved; taken over on success
 * @log: or NULL
 */
struct drover_channel_opts {
	struct drover_cancel *cancel;
	uint64_t deadline;
	uint32_t stall_ms;
	bool one_way;
	bool incoming;
	int fd;
	const struct drover_log *log;
};

/**
 * drover_channel_connect() - make a connection, blocking the calling thread only
 * @a: where to; inet is resolved here and every result is tried
 * @ret: written on success
 *
 * Return: 0, -ECANCELED, -ETIMEDOUT, -EOPNOTSUPP (transport not built in), or the
 * errno of the last attempt, with a message that names address, step and cause.
 */
int drover_channel_connect(const struct drover_address *a, const struct drover_channel_opts *o,
			   struct drover_channel **ret, struct drover_error *e);

/* Wrap a connected stream socket, pipe or regular file; @fd is taken over on success. */
int drover_channel_from_fd(int fd, const char *name, const struct drover_channel_opts *o,
			   struct drover_channel **ret, struct drover_error *e);

/**
 * drover_channel_free() - close, without losing what was sent
 *
 * Waits for outstanding zero-copy notifications (at most some seconds); a channel that was
 * shut down, cancelled or broken is torn down at once. NULL is fine. Returns NULL.
 */
struct drover_channel *drover_channel_free(struct drover_channel *ch);

/**
 * drover_channel_sendv() - send all of the vector
 * @iov: clobbered
 * @flags: DROVER_SEND_*
 *
 * With DROVER_SEND_ZC the memory must stay mapped until drover_channel_drain()
 * returns, and what is not guest RAM must not change until then.
 *
 * Return: 0 when all bytes are accepted by the kernel; -EPIPE/-ECONNRESET when
 * the peer is gone, -ECANCELED, -ETIMEDOUT (stall), or another negative errno.
 */
int drover_channel_sendv(struct drover_channel *ch, struct iovec *iov, unsigned int n,
			 unsigned int flags, struct drover_error *e);
/* Wait until no zero-copy notification is outstanding. */
int drover_channel_drain(struct drover_channel *ch, struct drover_error *e);
/* Number of zero-copy sends whose buffers the kernel may still read. */
unsigned int drover_channel_zc_pending(struct drover_channel *ch);
/*
 * drover_channel_zc_seq(): sequence number of the newest zero-copy send;
 * drover_channel_zc_done(): all sends up to this sequence number are notified.
 * A pool slot used by send s is free again when zc_done() >= s.
 */
uint64_t drover_channel_zc_seq(struct drover_channel *ch);
uint64_t drover_channel_zc_done(struct drover_channel *ch);
/* Why zero-copy was switched off here (a constant text), NULL while it is not. Any thread. */
const char *drover_channel_zc_reason(const struct drover_channel *ch);

/**
 * drover_channel_recvv() - receive at least @min bytes into the vector, in order
 * @iov: clobbered
 * @min: 1..total length of @iov; the total means "all of it"
 * @ret_got: bytes received, >= @min on success
 *
 * Return: 0, DROVER_CHANNEL_E_EOF (closed before the first byte), -EPIPE (closed
 * in the middle), -ECANCELED, -ETIMEDOUT (stall), or another negative errno.
 */
int drover_channel_recvv(struct drover_channel *ch, struct iovec *iov, unsigned int n, size_t min,
			 size_t *ret_got, struct drover_error *e);

/**
 * drover_channel_poll_in() - wait until something can be received
 * @deadline: absolute, 0: none
 *
 * Return: 1 readable (or closed), 0 deadline passed, -ECANCELED, or another negative errno.
 */
int drover_channel_poll_in(struct drover_channel *ch, uint64_t deadline);

/* Wake both directions for good, from any thread; later calls fail with -ESHUTDOWN or EOF. */
void drover_channel_shutdown(struct drover_channel *ch);
/* No more bytes will be sent: the peer reads EOF after what is under way. */
int drover_channel_finish(struct drover_channel *ch, struct drover_error *e);
/*
 * What was sent is safe: fdatasync for files; for a one-way command, after _finish(), wait
 * (at most stall_ms) until it has exited with status 0. Nothing elsewhere.
 */
int drover_channel_sync(struct drover_channel *ch, struct drover_error *e);

/**
 * drover_channel_set_direct() - plain system calls from here on, not the ring
 *
 * For short messages somebody waits for: a wake-up less on either side. Neither bell nor stall
 * is looked at; drover_channel_shutdown() is what wakes it. Nothing changes where the
 * transport is no socket.
 */
void drover_channel_set_direct(struct drover_channel *ch);
void drover_channel_set_stall(struct drover_channel *ch, uint32_t stall_ms);
void drover_channel_set_name(struct drover_channel *ch, const char *name); /* for messages */
const char *drover_channel_name(const struct drover_channel *ch);
unsigned int drover_channel_offers(const struct drover_channel *ch);
struct drover_channel_stats *drover_channel_stats(struct drover_channel *ch);
/* Bytes accepted by the kernel but not yet acknowledged by the peer (SIOCOUTQ); 0 when unknown. */
uint64_t drover_channel_unsent(const struct drover_channel *ch);
/* Who is at the other end, for messages and records ("127.0.0.1:4444"). */
const char *drover_channel_peer(const struct drover_channel *ch);
/*
 * Another bell, or none: used when a channel must outlive the migration's cancel (settling).
 * An operation under way in another thread keeps the bell it began with: the old one must
 * live until that has returned.
 */
void drover_channel_set_cancel(struct drover_channel *ch, struct drover_cancel *c);

struct drover_listener;

/**
 * drover_listener_new() - bind and listen; does not wait
 * @a: inet: each resolved address, with port..to tried in order; port "0": any
 *
 * For exec, fd and file there is nothing to bind: accept gives one channel.
 */
int drover_listener_new(const struct drover_address *a, const struct drover_channel_opts *o,
			struct drover_listener **ret, struct drover_error *e);
struct drover_listener *drover_listener_free(struct drover_listener *l);
/* fd to poll for POLLIN; -1 when accept never waits (exec, fd, file) */
int drover_listener_fd(const struct drover_listener *l);
/* The address really bound, with the real port; owned by the listener. */
const struct drover_address *drover_listener_address(const struct drover_listener *l);
/**
 * drover_listener_accept() - next connection, waiting until @o->deadline
 *
 * Return: 0, -ECANCELED, -ETIMEDOUT, -ENOENT (a one-channel transport was taken
 * already), or another negative errno.
 */
int drover_listener_accept(struct drover_listener *l, const struct drover_channel_opts *o,
			   struct drover_channel **ret, struct drover_error *e);

#endif
