// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A QMP client that never waits longer than its caller allows. It reads one message at a time.
 * An event that arrives while it waits for an answer is kept, in order, for qmp_client_event().
 * An answer has the id of its command, so a late answer to an earlier call that has timed out is
 * not taken for the answer to the present one.
 */
#include "qmp/client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"
#include "qmp/framing.h"

#define MESSAGE_MAX (16u << 20)

/**
 * struct qmp_client - see the header
 * @buf: bytes that were read; @left of them, from @at, are not parsed yet
 * @events: JSON array of events that wait for qmp_client_event()
 */
struct qmp_client {
	int fd;
	struct drover_json_stream *in;
	char buf[16384];
	const char *at;
	size_t left;
	struct json_object *events;
	uint64_t next_id;
};

struct qmp_client *qmp_client_free(struct qmp_client *c)
{
	if (!c)
		return NULL;
	drover_closep(&c->fd);
	drover_json_stream_free(c->in);
	json_object_put(c->events);
	free(c);
	return NULL;
}

static void client_freep(struct qmp_client **c)
{
	qmp_client_free(*c);
}

static int wait_for(struct qmp_client *c, short events, uint64_t deadline, struct drover_error *e)
{
	struct pollfd p = { .fd = c->fd, .events = events };
	int n;

	do {
		n = poll(&p, 1, drover_deadline_left_ms(deadline));
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return drover_err(e, -errno, "droverd: poll: %s", drover_strerror(errno));
	return n ? 0 : drover_err(e, -ETIMEDOUT, "droverd: no answer in time");
}

static int fill(struct qmp_client *c, uint64_t deadline, struct drover_error *e)
{
	ssize_t n;
	int r = wait_for(c, POLLIN, deadline, e);

	if (r < 0)
		return r;
	n = recv(c->fd, c->buf, sizeof(c->buf), 0);
	if (n < 0)
		return drover_err(e, -EPIPE, "droverd: receive: %s", drover_strerror(errno));
	if (n == 0)
		return drover_err(e, -EPIPE, "droverd: closed the connection");
	c->at = c->buf;
	c->left = (size_t)n;
	return 0;
}

/* Read the next message of any kind; it is always an object. */
static int read_message(struct qmp_client *c, uint64_t deadline, struct json_object **ret,
			struct drover_error *e)
{
	for (;;) {
		struct json_object *o = NULL;
		int r = c->left ? 0 : fill(c, deadline, e);

		if (r < 0)
			return r;
		r = drover_json_stream_feed(c->in, &c->at, &c->left, &o, e);
		if (r < 0)
			return drover_err_prefix(e, "droverd: answer: "), -EPROTO;
		if (r != DROVER_JSON_E_VALUE)
			continue;
		if (!json_object_is_type(o, json_type_object)) {
			json_object_put(o);
			return drover_err(e, -EPROTO, "droverd: answer: not an object");
		}
		*ret = o;
		return 0;
	}
}

static int send_all(struct qmp_client *c, const char *text, size_t len, uint64_t deadline,
		    struct drover_error *e)
{
	while (len) {
		int r = wait_for(c, POLLOUT, deadline, e);
		ssize_t n;

		if (r < 0)
			return r;
		n = send(c->fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN)
			return drover_err(e, -EPIPE, "droverd: send: %s", drover_strerror(errno));
		if (n > 0) {
			text += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

static int send_command(struct qmp_client *c, const char *command, struct json_object *args,
			uint64_t id, uint64_t deadline, struct drover_error *e)
{
	_cleanup_json_ struct json_object *o = json_object_new_object();
	const char *text;
	size_t len = 0;

	json_object_object_add(o, "execute", json_object_new_string(command));
	if (args)
		json_object_object_add(o, "arguments", args);
	json_object_object_add(o, "id", json_object_new_uint64(id));
	text = json_object_to_json_string_length(o, JSON_C_TO_STRING_PLAIN, &len);
	return send_all(c, text, len, deadline, e);
}

static int take_answer(struct json_object *o, struct json_object **ret, struct drover_error *e)
{
	struct json_object *v, *desc = NULL;

	if (json_object_object_get_ex(o, "return", &v)) {
		if (ret)
			*ret = json_object_get(v);
		return 0;
	}
	if (!json_object_object_get_ex(o, "error", &v) ||
	    !json_object_object_get_ex(v, "desc", &desc))
		return drover_err(e, -EPROTO, "droverd: answer: neither return nor error");
	return drover_err(e, -EREMOTEIO, "%s", json_object_get_string(desc));
}

int qmp_client_call(struct qmp_client *c, const char *command, struct json_object *args,
		    uint32_t timeout_ms, struct json_object **ret, struct drover_error *e)
{
	uint64_t deadline = drover_deadline_ms(timeout_ms), id = c->next_id++;
	int r = send_command(c, command, args, id, deadline, e);

	while (r >= 0) {
		_cleanup_json_ struct json_object *o = NULL;
		struct json_object *v;

		r = read_message(c, deadline, &o, e);
		if (r < 0)
			break;
		if (json_object_object_get_ex(o, "event", NULL))
			json_object_array_add(c->events, json_object_get(o));
		else if (json_object_object_get_ex(o, "id", &v) && json_object_get_uint64(v) == id)
			return take_answer(o, ret, e);
	}
	return r;
}

int qmp_client_event(struct qmp_client *c, uint32_t timeout_ms, struct json_object **ret,
		     struct drover_error *e)
{
	uint64_t deadline = timeout_ms == UINT32_MAX ? 0 : drover_now_ns() + 1 +
			    timeout_ms * DROVER_NS_PER_MS;

	if (json_object_array_length(c->events)) {
		*ret = json_object_get(json_object_array_get_idx(c->events, 0));
		json_object_array_del_idx(c->events, 0, 1);
		return 1;
	}
	for (;;) {
		struct drover_error why = DROVER_ERROR_INIT;
		struct json_object *o;
		int r = read_message(c, deadline, &o, &why);

		if (r == -ETIMEDOUT)
			return 0;
		if (r < 0)
			return drover_err(e, r, "%s", why.msg);
		if (json_object_object_get_ex(o, "event", NULL)) {
			*ret = o;
			return 1;
		}
		json_object_put(o);
	}
}

static int connect_to(const char *path, struct drover_error *e)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = -EBADF;

	if (strlen(path) >= sizeof(sun.sun_path))
		return drover_err(e, -ENAMETOOLONG, "socket %s: path too long", path);
	strcpy(sun.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return drover_err(e, -errno, "socket: %s", drover_strerror(errno));
	if (connect(fd, (const struct sockaddr *)&sun, sizeof(sun)) < 0)
		return drover_err(e, -errno, "socket %s: connect: %s", path,
				  drover_strerror(errno));
	return TAKE_FD(fd);
}

int qmp_client_connect(const char *path, uint32_t timeout_ms, struct qmp_client **ret,
		       struct drover_error *e)
{
	_cleanup_(client_freep) struct qmp_client *c = calloc(1, sizeof(*c));
	_cleanup_json_ struct json_object *hello = NULL;
	int r;

	if (!c)
		return drover_err(e, -ENOMEM, "qmp: out of memory");
	c->next_id = 1;
	c->events = json_object_new_array();
	c->in = drover_json_stream_new(MESSAGE_MAX);
	c->fd = connect_to(path, e);
	if (c->fd < 0)
		return c->fd;
	if (!c->in || !c->events)
		return drover_err(e, -ENOMEM, "qmp: out of memory");
	r = read_message(c, drover_deadline_ms(timeout_ms), &hello, e);
	if (r < 0)
		return r;
	if (!json_object_object_get_ex(hello, "QMP", NULL))
		return drover_err(e, -EPROTO, "socket %s: not a QMP server", path);
	r = qmp_client_call(c, "qmp_capabilities", NULL, timeout_ms, NULL, e);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(c);
	return 0;
}
