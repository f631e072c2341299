// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One client of the control socket: bytes in, requests out; answers and events in,
 * bytes out. What a client can make us hold is bounded in both directions, and so is what
 * one turn of the loop does for it: whoever sends faster than it reads, or garbage without
 * end, waits for itself. One that does not read what others cause (events) is dropped.
 *
 * A session that ends is only marked: the list may be in the middle of a walk, and
 * the session itself further up the stack. qmp_server_leave() frees the marked ones.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"
#include "base/log.h"
#include "daemon/qmp.h"
#include "qmp/framing.h"

#define READ_CHUNK 16384
/* Answers of one turn, and bytes of them that may wait before more requests are looked at. */
#define TURN_ANSWERS 8
#define ANSWERS_WAITING 65536
/* Descriptors of one message; the kernel closes what is more. */
#define FDS_PASSED_MAX 16

/**
 * struct qmp_session - one client
 * @passed: descriptor that came last by SCM_RIGHTS and nobody has asked for
 * @rx: bytes read and not yet looked at: @rx_len of them from @rx_off on; no more are read
 *	before they are used up
 * @out: bytes not yet taken by the client: @out_len of them from @out_off on
 * @answered: answers of this turn; they are sent together at its end
 * @in_turn: its requests are being looked at
 * @negotiated: qmp_capabilities came: command mode
 * @oob: ... and enabled exec-oob
 * @eof: the client sends no more; closed when @out is empty
 * @dead: to be freed; takes part in nothing
 */
struct qmp_session {
	struct qmp_session *next;
	struct qmp_server *server;
	int fd, passed;
	struct loop_source src;
	struct drover_json_stream *in;
	char rx[READ_CHUNK];
	size_t rx_off, rx_len;
	char *out;
	size_t out_off, out_len, out_size;
	unsigned int answered;
	bool negotiated, oob, eof, dead, in_turn;
};

bool qmp_session_negotiated(const struct qmp_session *c)
{
	return c->negotiated;
}

bool qmp_session_oob(const struct qmp_session *c)
{
	return c->oob;
}

void qmp_session_negotiate(struct qmp_session *c, bool oob)
{
	c->negotiated = true;
	c->oob = oob;
}

struct qmp_server *qmp_session_server(struct qmp_session *c)
{
	return c->server;
}

struct qmp_session *qmp_session_next(struct qmp_session *c)
{
	return c->next;
}

void qmp_session_kill(struct qmp_session *c)
{
	c->dead = true;
	loop_remove(&c->src);
}

static void session_free(struct qmp_session *c)
{
	loop_remove(&c->src);
	drover_closep(&c->fd);
	drover_closep(&c->passed);
	drover_json_stream_free(c->in);
	free(c->out);
	free(c);
}

void qmp_session_reap(struct qmp_server *s)
{
	struct qmp_session **p = &s->sessions;

	while (*p) {
		struct qmp_session *c = *p;

		if (!c->dead) {
			p = &c->next;
			continue;
		}
		*p = c->next;
		s->nsessions--;
		session_free(c);
	}
}

/* The next turn of what was read already comes when the socket can take its answers. */
static uint32_t wanted_events(const struct qmp_session *c)
{
	bool full = c->rx_len || c->out_len > ANSWERS_WAITING;

	return (c->eof || full ? 0 : EPOLLIN) | (c->out_len || c->rx_len ? EPOLLOUT : 0);
}

/* Send what the socket takes now. */
static void push_out(struct qmp_session *c)
{
	while (c->out_len) {
		ssize_t n = send(c->fd, c->out + c->out_off, c->out_len,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			qmp_session_kill(c);
			return;
		}
		c->out_off += (size_t)n;
		c->out_len -= (size_t)n;
	}
	if (!c->out_len)
		c->out_off = 0;
	if (c->eof && !c->out_len && !c->rx_len)
		qmp_session_kill(c);
	else
		loop_modify(&c->src, wanted_events(c));
}

static int make_room(struct qmp_session *c, size_t len)
{
	size_t size = c->out_size ? c->out_size : 4096;
	char *p;

	if (c->out_off) {
		memmove(c->out, c->out + c->out_off, c->out_len);
		c->out_off = 0;
	}
	if (len > QMP_REPLIES_MAX || c->out_len > QMP_REPLIES_MAX - len)
		return -ENOBUFS;
	while (size < c->out_len + len)
		size *= 2;
	if (size == c->out_size)
		return 0;
	p = realloc(c->out, size);
	if (!p)
		return -ENOMEM;
	c->out = p;
	c->out_size = size;
	return 0;
}

void qmp_session_send(struct qmp_session *c, struct json_object *o)
{
	const char *text;
	size_t len = 0;

	if (c->dead)
		return;
	text = json_object_to_json_string_length(o, JSON_C_TO_STRING_PLAIN |
						 JSON_C_TO_STRING_NOSLASHESCAPE, &len);
	if (!text || make_room(c, len + 2) < 0) {
		drover_logf(c->server->log, DROVER_LOG_WARNING,
			    "qmp: a client does not read its answers: dropped");
		qmp_session_kill(c);
		return;
	}
	memcpy(c->out + c->out_len, text, len);
	memcpy(c->out + c->out_len + len, "\r\n", 2);
	c->out_len += len + 2;
	c->answered++;
	if (!c->in_turn)
		push_out(c);
}

static void turn(struct qmp_session *c)
{
	c->in_turn = true;
	c->answered = 0;
	while (c->rx_len && !c->dead && c->answered < TURN_ANSWERS &&
	       c->out_len <= ANSWERS_WAITING) {
		struct drover_error e = DROVER_ERROR_INIT;
		const char *data = c->rx + c->rx_off;
		struct json_object *o = NULL;
		size_t before = c->rx_len;
		int r = drover_json_stream_feed(c->in, &data, &c->rx_len, &o, &e);

		c->rx_off += before - c->rx_len;
		if (r == DROVER_JSON_E_VALUE)
			qmp_dispatch(c, o);
		else if (r < 0)
			qmp_bad_json(c, e.msg);
		if (r == DROVER_JSON_E_VALUE)
			json_object_put(o);
	}
	c->in_turn = false;
	if (!c->dead)
		push_out(c);
}

int qmp_session_take_fd(struct qmp_session *c)
{
	return c->passed < 0 ? -1 : TAKE_FD(c->passed);
}

/* As in QEMU the first of a message counts, and takes the place of one from before. */
static void keep_fds(struct qmp_session *c, struct msghdr *msg)
{
	struct cmsghdr *h;
	size_t i, n;
	int fd;

	for (h = CMSG_FIRSTHDR(msg); h; h = CMSG_NXTHDR(msg, h)) {
		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (i = 0; i < n; i++) {
			memcpy(&fd, CMSG_DATA(h) + i * sizeof(fd), sizeof(fd));
			if (i > 0) {
				close(fd);
				continue;
			}
			drover_closep(&c->passed);
			c->passed = fd;
		}
	}
}

static ssize_t receive(struct qmp_session *c, void *buf, size_t len)
{
	union {
		char buf[CMSG_SPACE(FDS_PASSED_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n = recvmsg(c->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n > 0)
		keep_fds(c, &msg);
	return n;
}

static void take_in(struct qmp_session *c)
{
	ssize_t n = receive(c, c->rx, sizeof(c->rx));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		qmp_session_kill(c);
		return;
	}
	if (n > 0) {
		c->rx_off = 0;
		c->rx_len = (size_t)n;
		return;
	}
	/* `echo ... | socat` half-closes and still reads its answers. */
	c->eof = true;
	push_out(c);
}

static void session_ready(void *opaque, uint32_t events)
{
	struct qmp_session *c = opaque;
	struct qmp_server *s = c->server;

	qmp_server_enter(s);
	if (!c->rx_len && (events & (EPOLLIN | EPOLLERR) || (events & EPOLLHUP && !c->eof)))
		take_in(c);
	else if (events & EPOLLHUP && !c->rx_len)
		qmp_session_kill(c);
	if (!c->dead && c->out_len)
		push_out(c);
	if (!c->dead && c->rx_len)
		turn(c);
	qmp_server_leave(s);
}

int qmp_session_new(struct qmp_server *s, int fd, struct drover_error *e)
{
	struct qmp_session *c = calloc(1, sizeof(*c));
	struct json_object *hello;
	int r;

	if (!c)
		return drover_err(e, -ENOMEM, "qmp: out of memory");
	c->server = s;
	c->fd = c->passed = -EBADF;
	c->in = drover_json_stream_new(QMP_REQUEST_MAX);
	r = c->in ? loop_add(s->loop, &c->src, fd, EPOLLIN, session_ready, c, e) :
		    drover_err(e, -ENOMEM, "qmp: out of memory");
	if (r < 0) {
		session_free(c);
		return r;
	}
	c->fd = fd;
	c->next = s->sessions;
	s->sessions = c;
	s->nsessions++;
	hello = qmp_greeting();
	qmp_session_send(c, hello);
	json_object_put(hello);
	return 0;
}

void qmp_session_flush(struct qmp_session *c, uint64_t deadline)
{
	while (c->out_len && !c->dead) {
		struct pollfd p = { .fd = c->fd, .events = POLLOUT };

		if (poll(&p, 1, drover_deadline_left_ms(deadline)) <= 0)
			return;
		push_out(c);
	}
}
