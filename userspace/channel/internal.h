/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_CHANNEL_INTERNAL_H
#define DROVER_CHANNEL_INTERNAL_H

/* Private to the channel layer: what a transport implements, and what a channel is. */
#include <pthread.h>
#include <sys/socket.h>

#include "base/cancel.h"
#include "base/ring.h"
#include "channel/channel.h"

/**
 * struct channel_ops - a transport
 * @sendv, @recvv: as drover_channel_sendv() and _recvv()
 * @shutdown: wake both directions for good; any thread
 * @close: release what the transport holds; nothing is under way any more
 * @finish: no more bytes will be sent; NULL: nothing to do
 * @sync: what was sent is safe; NULL: nothing to do
 * @broken: the stream ended or broke: record why in @e if the transport knows better
 *	than the errno (exec: how the child ended) and return a negative errno, else 0;
 *	NULL: it never does
 *
 * A transport may wrap another channel (TLS): it keeps it in @priv and calls its ops.
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

/* Is zero-copy worth it here? Unknown until the kernel has reported on the first sends. */
enum zc_verdict { ZC_UNKNOWN, ZC_GOOD, ZC_OFF };

#define CHANNEL_NAME_MAX 64
#define CHANNEL_PEER_MAX 160

/**
 * struct drover_channel - one byte stream
 * @tx_lock: held over a send or drain; guards @tx and @zc
 * @rfd, @wfd: the same for sockets; -1 where the direction is missing
 * @loopback: both ends are on this host
 * @bell, @bell_gen: the migration's bell; the generation goes up with each change
 * @stop: pipes and files: what shutdown(2) is for sockets
 * @shut: drover_channel_shutdown() was called
 * @broke: an operation failed: nothing more will get through
 * @pos: files: where the next byte goes to or comes from
 * @priv: the transport's own
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
	bool direct;            /* no ring */
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
		uint64_t base_notified, base_copied;    /* at the start of the window judged */
		_Atomic uint64_t seq, done;             /* as the ring said last */
		_Atomic(const char *) reason;
	} zc;
};

/* ---- channel.c ---- */

/* A channel over @fd of @kind, everything else empty; @fd is taken over on success. */
int drover_channel_make(const struct channel_ops *ops, enum channel_kind kind, int rfd, int wfd,
			const struct drover_channel_opts *o, struct drover_channel **ret,
			struct drover_error *e);
/* Fill in an operation's bells and stall time. */
void drover_channel_io(struct drover_channel *ch, struct drover_ring_io *io);

/* ---- stream.c: the ops most transports share ---- */
int drover_stream_sendv(struct drover_channel *ch, struct iovec *iov, unsigned int n,
			unsigned int flags, struct drover_error *e);
int drover_stream_recvv(struct drover_channel *ch, struct iovec *iov, unsigned int n, size_t min,
			size_t *ret_got, struct drover_error *e);
/* "channel NAME: STEP: cause"; turns a ring's result into a channel's. Returns negative */
int drover_stream_fail(struct drover_channel *ch, const char *step, int r,
		       struct drover_error *e);

/* ---- zerocopy.c; tx_lock is held ---- */
bool drover_zc_wanted(struct drover_channel *ch, const struct iovec *iov, unsigned int n,
		      unsigned int flags);
/* The kernel refused a zero-copy send: true if a plain one should be tried. */
bool drover_zc_refused(struct drover_channel *ch, int r);
/* Take over the ring's account and judge it. */
void drover_zc_update(struct drover_channel *ch);

/* ---- socket.c ---- */
int drover_socket_channel(int fd, unsigned int offers, const char *peer,
			  const struct drover_channel_opts *o, struct drover_channel **ret,
			  struct drover_error *e);
void drover_socket_shutdown(struct drover_channel *ch);
void drover_socket_close(struct drover_channel *ch);
int drover_socket_finish(struct drover_channel *ch, struct drover_error *e);
/* Drop what is unsent, so that its notifications come. */
void drover_socket_abort(int fd);
/**
 * drover_socket_connect() - connect a fresh O_NONBLOCK socket within the deadline
 *
 * Return: 0 (the socket is blocking from then on), -ECANCELED, -ETIMEDOUT or another
 * negative errno; records nothing.
 */
int drover_socket_connect(int fd, const struct sockaddr *sa, socklen_t len,
			  const struct drover_cancel *bell, uint64_t deadline);
/* "1.2.3.4:5", "[::1]:5", "/path", "@name", "vsock:3:4" */
void drover_socket_name(const struct sockaddr_storage *sa, socklen_t len, char *buf, size_t size);

/* One address family each: connect, and bind and listen. */
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
 * drover_resolve() - getaddrinfo() that a bell or deadline can end
 * @passive: for bind
 * @ret: freed by freeaddrinfo()
 */
int drover_resolve(const struct drover_address *a, bool passive,
		   const struct drover_channel_opts *o, struct addrinfo **ret,
		   struct drover_error *e);

/* ---- exec.c, file.c, fd.c ---- */
int drover_exec_open(const struct drover_address *a, const struct drover_channel_opts *o,
		     struct drover_channel **ret, struct drover_error *e);
int drover_file_open(const struct drover_address *a, const struct drover_channel_opts *o,
		     struct drover_channel **ret, struct drover_error *e);
/* A regular file or block device that is open already; @pos: where it begins. */
int drover_file_channel(int fd, uint64_t pos, const char *peer,
			const struct drover_channel_opts *o, struct drover_channel **ret,
			struct drover_error *e);
int drover_pipe_channel(int fd, const char *peer, const struct drover_channel_opts *o,
			struct drover_channel **ret, struct drover_error *e);

#endif
