/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_CHANNEL_INTERNAL_H
#define DROVER_CHANNEL_INTERNAL_H

/* Private to the channel layer: the operations of a transport, and the struct of a channel. */
#include <pthread.h>
#include <sys/socket.h>

#include "base/cancel.h"
#include "base/ring.h"
#include "channel/channel.h"

/**
 * struct channel_ops - a transport
 * @sendv, @recvv: like drover_channel_sendv() and _recvv()
 * @shutdown: end both directions for good; called from any thread
 * @close: release what the transport holds; called when no operation is under way
 * @finish: no more bytes will be sent; NULL: nothing to do
 * @sync: make sure that what was sent is safe; NULL: nothing to do
 * @broken: called when the stream has ended or failed. If the transport knows more than the errno
 *	(exec: how the command ended), it records that in @e and returns a negative errno, else 0;
 *	NULL: it never knows more
 *
 * A transport may wrap another channel (TLS): it keeps that in @priv and calls its ops.
 */
struct channel_ops {
	int (*sendv)(struct drover_channel *ch, struct iovec *iov, unsigned int n,
		     unsigned int flags, struct drover_error *e);
	int (*recvv)(struct drover_channel *ch, struct iovec *iov, unsigned int n, size_t min,
		     size_t *ret_got, struct drover_error *e);
	void (*shutdown)(struct drover_channel *ch);
	void (*close)(struct drover_channel *ch);
	int (*finish)(struct drover_channel *ch, struct drover_error *e);
	int (*sync)(struct drover_channel *ch, struct drover_error *e);
	int (*broken)(struct drover_channel *ch, struct drover_error *e);
};

enum channel_kind { CHANNEL_SOCKET, CHANNEL_PIPE, CHANNEL_FILE };

/* Is zero-copy worth it on a channel? Unknown until notifications of the first sends arrived. */
enum zc_verdict { ZC_UNKNOWN, ZC_GOOD, ZC_OFF };

#define CHANNEL_NAME_MAX 64
#define CHANNEL_PEER_MAX 160

/**
 * struct drover_channel - one byte stream
 * @tx_lock: held during a send or drain; guards @tx and @zc
 * @rfd, @wfd: equal for a socket; -1 where the direction is missing
 * @loopback: both ends are on this host
 * @bell, @bell_gen: the migration's bell; each change increments the generation
 * @stop: bell that ends operations on pipes and files, as shutdown(2) does on sockets
 * @shut: drover_channel_shutdown() was called
 * @broke: an operation failed, so no more bytes will get through
 * @pos: for files: offset of the next byte that is written or read
 * @priv: private data of the transport
 */
struct drover_channel {
	const struct channel_ops *ops;
	enum channel_kind kind;
	unsigned int offers;
	char name[CHANNEL_NAME_MAX];
	char peer[CHANNEL_PEER_MAX];
	int rfd, wfd;
	bool one_way;
	bool loopback;
	bool direct;            /* uses plain system calls, not the ring */
	const struct drover_log *log;
	_Atomic(struct drover_cancel *) bell;
	atomic_uint bell_gen;
	atomic_uint stall_ms;
	atomic_bool shut, broke;
	struct drover_cancel stop;
	uint64_t pos;
	void *priv;
	struct drover_channel_stats stats;
	pthread_mutex_t tx_lock;
	struct drover_ring *tx;
	struct drover_ring *rx;
	struct {
		enum zc_verdict verdict;
		uint64_t base_notified, base_copied;    /* at the start of the present window */
		_Atomic uint64_t seq, done;             /* as last read from the ring */
		_Atomic(const char *) reason;
	} zc;
};

/* ---- channel.c ---- */

/* Make a channel of @kind over @rfd and @wfd, which it takes over on success. */
int drover_channel_make(const struct channel_ops *ops, enum channel_kind kind, int rfd, int wfd,
			const struct drover_channel_opts *o, struct drover_channel **ret,
			struct drover_error *e);
/* Fill in an operation's bells and stall time. */
void drover_channel_io(struct drover_channel *ch, struct drover_ring_io *io);

/* ---- stream.c: the operations that most transports share ---- */
int drover_stream_sendv(struct drover_channel *ch, struct iovec *iov, unsigned int n,
			unsigned int flags, struct drover_error *e);
int drover_stream_recvv(struct drover_channel *ch, struct iovec *iov, unsigned int n, size_t min,
			size_t *ret_got, struct drover_error *e);
/*
 * Record "channel NAME: STEP: cause" and turn the errno of a ring into that of a channel, which
 * is returned.
 */
int drover_stream_fail(struct drover_channel *ch, const char *step, int r,
		       struct drover_error *e);

/* ---- zerocopy.c; the caller holds tx_lock ---- */
bool drover_zc_wanted(struct drover_channel *ch, const struct iovec *iov, unsigned int n,
		      unsigned int flags);
/* Called when the kernel refused a zero-copy send. True: the caller should try a plain one. */
bool drover_zc_refused(struct drover_channel *ch, int r);
/* Take over the ring's counts and decide by them whether zero-copy stays on. */
void drover_zc_update(struct drover_channel *ch);

/* ---- socket.c ---- */
int drover_socket_channel(int fd, unsigned int offers, const char *peer,
			  const struct drover_channel_opts *o, struct drover_channel **ret,
			  struct drover_error *e);
void drover_socket_shutdown(struct drover_channel *ch);
void drover_socket_close(struct drover_channel *ch);
int drover_socket_finish(struct drover_channel *ch, struct drover_error *e);
/* Drop what the socket has not sent yet, so that the kernel sends the notifications for it. */
void drover_socket_abort(int fd);
/**
 * drover_socket_connect() - connect a fresh O_NONBLOCK socket within the deadline
 *
 * Return: 0 (then the socket is in blocking mode), -ECANCELED, -ETIMEDOUT or another negative
 * errno. Records no error text.
 */
int drover_socket_connect(int fd, const struct sockaddr *sa, socklen_t len,
			  const struct drover_cancel *bell, uint64_t deadline);
/* Write a socket address as text: "1.2.3.4:5", "[::1]:5", "/path", "@name", "vsock:3:4" */
void drover_socket_name(const struct sockaddr_storage *sa, socklen_t len, char *buf, size_t size);

/* For each address family one function that connects and one that binds and listens. */
int drover_inet_connect(const struct drover_address *a, const struct drover_channel_opts *o,
			int *ret, struct drover_error *e);
int drover_inet_listen(const struct drover_address *a, const struct drover_channel_opts *o,
		       int *ret, struct drover_error *e);
int drover_unix_connect(const struct drover_address *a, const struct drover_channel_opts *o,
			int *ret, struct drover_error *e);
int drover_unix_listen(const struct drover_address *a, const struct drover_channel_opts *o,
		       int *ret, struct drover_error *e);
int drover_vsock_connect(const struct drover_address *a, const struct drover_channel_opts *o,
			 int *ret, struct drover_error *e);
int drover_vsock_listen(const struct drover_address *a, const struct drover_channel_opts *o,
			int *ret, struct drover_error *e);

/* ---- resolve.c ---- */
struct addrinfo;

/**
 * drover_resolve() - getaddrinfo() that a bell or a deadline can end
 * @passive: the address is for bind(2)
 * @ret: the caller releases it with freeaddrinfo()
 */
int drover_resolve(const struct drover_address *a, bool passive,
		   const struct drover_channel_opts *o, struct addrinfo **ret,
		   struct drover_error *e);

/* ---- exec.c, file.c, fd.c ---- */
int drover_exec_open(const struct drover_address *a, const struct drover_channel_opts *o,
		     struct drover_channel **ret, struct drover_error *e);
int drover_file_open(const struct drover_address *a, const struct drover_channel_opts *o,
		     struct drover_channel **ret, struct drover_error *e);
/* A regular file or block device that is open already; the stream begins at offset @pos. */
int drover_file_channel(int fd, uint64_t pos, const char *peer,
			const struct drover_channel_opts *o, struct drover_channel **ret,
			struct drover_error *e);
int drover_pipe_channel(int fd, const char *peer, const struct drover_channel_opts *o,
			struct drover_channel **ret, struct drover_error *e);

#endif
