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
 * A channel is one typed byte stream. Several threads may send, one after the other, and one
 * thread may receive at the same time. Each direction has an io_uring of its own, made at its
 * first use; between calls a direction may pass from one thread to another.
 */
struct drover_channel;

/* Positive return values: conditions that the caller must handle */
#define DROVER_CHANNEL_E_EOF 1 /* the peer closed before the first byte of this receive */

/* Send flags */
#define DROVER_SEND_ZC (1u << 0) /* by zero-copy, unless it was switched off for this channel */

/* Counters. The channel's own threads write them; any thread may read them (relaxed). */
struct drover_channel_stats {
	_Atomic uint64_t tx_bytes, rx_bytes;
	_Atomic uint64_t last_progress_ns;      /* when a byte last moved, in either direction */
	_Atomic uint64_t zc_sends;              /* zero-copy sends whose notification has arrived */
	_Atomic uint64_t zc_copied;             /* of these, copied by the kernel anyway */
	_Atomic bool zc_off;                    /* zero-copy was switched off */
};

/**
 * struct drover_channel_opts - how to make a channel
 * @cancel: bell that ends connect, accept, send and receive with -ECANCELED; it must outlive the
 *	channel, unless drover_channel_set_cancel() replaces it
 * @deadline: for connect and accept only, absolute (base/clock.h); 0: none
 * @stall_ms: a send or receive that moves no byte for so long fails with
 *	-ETIMEDOUT; 0: never; drover_channel_set_stall() changes it
 * @one_way: for exec and fd: the source only writes and the destination only reads
 * @incoming: this side reads the stream (a file is opened for reading)
 * @fd: for the transport fd: the open descriptor; taken over on success
 * @log: where to log, or NULL
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
 * drover_channel_connect() - make a connection; blocks the calling thread only
 * @a: where to connect; an inet name is resolved here, and every result is tried
 * @ret: written on success
 *
 * Return: 0, -ECANCELED, -ETIMEDOUT, -EOPNOTSUPP (transport not built in), or the
 * errno of the last attempt, with a message that names address, step and cause.
 */
int drover_channel_connect(const struct drover_address *a, const struct drover_channel_opts *o,
			   struct drover_channel **ret, struct drover_error *e);

/* Make a channel of a connected stream socket, pipe or file; takes over @fd on success. */
int drover_channel_from_fd(int fd, const char *name, const struct drover_channel_opts *o,
			   struct drover_channel **ret, struct drover_error *e);

/**
 * drover_channel_free() - close a channel without losing what was sent
 *
 * Waits some seconds at most for outstanding zero-copy notifications; the connection of a channel
 * that was shut down, cancelled or is broken is aborted at once. NULL is fine. Returns NULL.
 */
struct drover_channel *drover_channel_free(struct drover_channel *ch);

/**
 * drover_channel_sendv() - send all of the vector
 * @iov: the array is changed by the call
 * @flags: DROVER_SEND_*
 *
 * With DROVER_SEND_ZC the memory must stay mapped until drover_channel_drain() has returned or
 * drover_channel_zc_done() has reached this send, and memory other than guest RAM must not change
 * until then.
 *
 * Return: 0 when all bytes are accepted by the kernel; -EPIPE/-ECONNRESET when
 * the peer is gone, -ECANCELED, -ETIMEDOUT (stall), or another negative errno.
 */
int drover_channel_sendv(struct drover_channel *ch, struct iovec *iov, unsigned int n,
			 unsigned int flags, struct drover_error *e);
/* Wait until no notification of a zero-copy send is outstanding. */
int drover_channel_drain(struct drover_channel *ch, struct drover_error *e);
/* Number of zero-copy sends whose buffers the kernel may still read. */
unsigned int drover_channel_zc_pending(struct drover_channel *ch);
/*
 * drover_channel_zc_seq(): sequence number of the newest zero-copy send;
 * drover_channel_zc_done(): the kernel has let go of the buffers of all sends up to this number.
 * So a buffer that send s used is free again when zc_done() >= s.
 */
uint64_t drover_channel_zc_seq(struct drover_channel *ch);
uint64_t drover_channel_zc_done(struct drover_channel *ch);
/* Why zero-copy was switched off for this channel, a constant text; else NULL. Any thread. */
const char *drover_channel_zc_reason(const struct drover_channel *ch);

/**
 * drover_channel_recvv() - receive at least @min bytes into the vector, in order
 * @iov: the array is changed by the call
 * @min: from 1 to the total length of @iov, which means "fill all of it"
 * @ret_got: number of bytes received, >= @min on success
 *
 * Return: 0, DROVER_CHANNEL_E_EOF (the peer closed before the first byte), -EPIPE (it closed in
 * the middle), -ECANCELED, -ETIMEDOUT (stall), or another negative errno.
 */
int drover_channel_recvv(struct drover_channel *ch, struct iovec *iov, unsigned int n, size_t min,
			 size_t *ret_got, struct drover_error *e);

/**
 * drover_channel_poll_in() - wait until something can be received
 * @deadline: absolute; 0: none
 *
 * Return: 1 when the channel is readable or closed, 0 when the deadline has passed, -ECANCELED,
 * or another negative errno.
 */
int drover_channel_poll_in(struct drover_channel *ch, uint64_t deadline);

/*
 * End both directions for good and wake the threads that wait in them; from any thread. Later
 * calls fail with -ESHUTDOWN or EOF.
 */
void drover_channel_shutdown(struct drover_channel *ch);
/* Declare that no more bytes will be sent: the peer reads EOF after the last byte. */
int drover_channel_finish(struct drover_channel *ch, struct drover_error *e);
/*
 * Make sure that what was sent is safe: fdatasync a file; wait until a one-way command has exited
 * with status 0, at most stall_ms and after _finish(). Other transports have nothing to do.
 */
int drover_channel_sync(struct drover_channel *ch, struct drover_error *e);

/**
 * drover_channel_set_direct() - use plain system calls from now on instead of the ring
 *
 * For short messages that a thread waits for: it saves a wake-up on either side. The bell and the
 * stall time have no effect then; only drover_channel_shutdown() wakes a waiting thread. A
 * transport that is no socket goes on using its ring.
 */
void drover_channel_set_direct(struct drover_channel *ch);
void drover_channel_set_stall(struct drover_channel *ch, uint32_t stall_ms);
void drover_channel_set_name(struct drover_channel *ch, const char *name); /* for messages */
const char *drover_channel_name(const struct drover_channel *ch);
unsigned int drover_channel_offers(const struct drover_channel *ch);
struct drover_channel_stats *drover_channel_stats(struct drover_channel *ch);
/* Bytes accepted by the kernel but not yet acknowledged by the peer (SIOCOUTQ); 0 when unknown. */
uint64_t drover_channel_unsent(const struct drover_channel *ch);
/* The name of the other end, for messages and records ("127.0.0.1:4444"). */
const char *drover_channel_peer(const struct drover_channel *ch);
/*
 * Set another bell, or none. Used when a channel must outlive the migration's own bell, for
 * instance while a guest in doubt is settled. An operation that is under way in another thread
 * keeps the old bell, which must live until that operation has returned.
 */
void drover_channel_set_cancel(struct drover_channel *ch, struct drover_cancel *c);

struct drover_listener;

/**
 * drover_listener_new() - bind and listen; does not wait for a connection
 * @a: where to listen. For inet the first address of the name and the first port from `port` to
 *	`to` that are free are taken; port "0" takes any free port
 *
 * exec, fd and file are opened here instead, and accept then gives their one channel.
 */
int drover_listener_new(const struct drover_address *a, const struct drover_channel_opts *o,
			struct drover_listener **ret, struct drover_error *e);
struct drover_listener *drover_listener_free(struct drover_listener *l);
/* The descriptor to poll for POLLIN; -1 when accept never waits (exec, fd, file). */
int drover_listener_fd(const struct drover_listener *l);
/* The address that was really bound, with the real port; owned by the listener. */
const struct drover_address *drover_listener_address(const struct drover_listener *l);
/**
 * drover_listener_accept() - take the next connection; waits until @o->deadline
 *
 * Return: 0, -ECANCELED, -ETIMEDOUT, -ENOENT (the only channel of exec, fd or file was taken
 * already), or another negative errno.
 */
int drover_listener_accept(struct drover_listener *l, const struct drover_channel_opts *o,
			   struct drover_channel **ret, struct drover_error *e);

#endif
