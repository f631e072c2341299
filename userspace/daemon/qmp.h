/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_DAEMON_QMP_H
#define DROVER_DAEMON_QMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qmp/loop.h"

struct drover_error;
struct drover_log;
struct json_object;
struct qmp_call;
struct qmp_session;

/* What a client may make us hold. */
#define QMP_REQUEST_MAX (1u << 20)
#define QMP_REPLIES_MAX (4u << 20)
#define QMP_SESSIONS_MAX 64u

/* QapiErrorClass, as far as anything here uses it. */
enum qmp_class {
	QMP_GENERIC_ERROR,
	QMP_COMMAND_NOT_FOUND,
	QMP_CLASS_COUNT
};

enum qmp_type { QMP_STR, QMP_INT, QMP_BOOL, QMP_OBJECT, QMP_ARRAY };

struct qmp_arg {
	const char *name;
	enum qmp_type type;
	bool optional;
	const char *doc;
};

#define QMP_ARGS_MAX 6

/* struct qmp_command flags */
#define QMP_OOB      (1u << 0) /* may be sent by exec-oob */
#define QMP_ANY_ARGS (1u << 1) /* `arguments` is one boxed object; @fn checks it */

/**
 * struct qmp_command - a row of the command table
 * @name: as on the wire
 * @fn: answers at once; 0, or negative with @e filled in. Arguments are checked
 *	against @arg before it is called
 * @arg: ends with a NULL name
 * @flags: QMP_*
 * @doc: one line
 */
struct qmp_command {
	const char *name;
	int (*fn)(struct qmp_call *call, struct drover_error *e);
	struct qmp_arg arg[QMP_ARGS_MAX + 1];
	unsigned int flags;
	const char *doc;
};

/**
 * struct qmp_call - one command being executed
 * @opaque: what the server was made with
 * @session: who asks
 * @args: never NULL; borrowed
 * @ret: the answer, put by the dispatcher; NULL is the empty object
 * @error_class: class of a failure
 */
struct qmp_call {
	void *opaque;
	struct qmp_session *session;
	struct json_object *args;
	struct json_object *ret;
	enum qmp_class error_class;
};

/* An argument, NULL when it was not given. */
struct json_object *qmp_arg_get(const struct qmp_call *call, const char *name);
const char *qmp_arg_str(const struct qmp_call *call, const char *name);
/* @dflt when it was not given */
bool qmp_arg_bool(const struct qmp_call *call, const char *name, bool dflt);

/**
 * struct qmp_server - the control socket and its clients
 * @path: of the socket, for removal
 * @dev, @ino: of the socket we made, so that no successor's is removed
 * @commands: the table, @ncommands rows
 * @opaque: for struct qmp_call
 * @spare_fd: given up to turn a client away when descriptors have run out
 * @sessions: list of clients
 * @depth: > 0 while sessions are being walked; the dead are freed at 0
 */
struct qmp_server {
	struct loop *loop;
	const struct drover_log *log;
	const struct qmp_command *commands;
	size_t ncommands;
	void *opaque;
	int fd, spare_fd;
	struct loop_source src;
	char *path;
	uint64_t dev, ino;
	struct qmp_session *sessions;
	unsigned int nsessions;
	unsigned int depth;
};

/*
 * qmp-server.c: the socket. @s holds loop, log, commands and opaque already; all
 * else zeros. @address is "unix:PATH". Mode 0600 from the first moment on; a stale
 * socket of a dead process is replaced, a live one is -EADDRINUSE.
 */
int qmp_server_open(struct qmp_server *s, const char *address, struct drover_error *e);
/* Give clients a short time to take what is queued, then close everything. */
void qmp_server_close(struct qmp_server *s);
/* Tell every client that has negotiated; @data may be NULL and is not taken over. */
void qmp_server_event(struct qmp_server *s, const char *name, struct json_object *data,
		      uint64_t realtime_us);
void qmp_server_enter(struct qmp_server *s);
void qmp_server_leave(struct qmp_server *s);

/* qmp-session.c: one client. @fd is taken over on success. */
int qmp_session_new(struct qmp_server *s, int fd, struct drover_error *e);
/* Queue a message; a client that does not take them is dropped. */
void qmp_session_send(struct qmp_session *c, struct json_object *o);
bool qmp_session_negotiated(const struct qmp_session *c);
bool qmp_session_oob(const struct qmp_session *c);
void qmp_session_negotiate(struct qmp_session *c, bool oob);
struct qmp_server *qmp_session_server(struct qmp_session *c);
struct qmp_session *qmp_session_next(struct qmp_session *c);
/* Free what died; called by qmp_server_leave() only. */
void qmp_session_reap(struct qmp_server *s);
/* Wait until @deadline for the client to take what is queued. */
void qmp_session_flush(struct qmp_session *c, uint64_t deadline);
void qmp_session_kill(struct qmp_session *c);
/* The descriptor that came last, now the caller's; -1 when there is none. */
int qmp_session_take_fd(struct qmp_session *c);

/* qmp-dispatch.c: from a request to its answer. */
struct json_object *qmp_greeting(void);
struct json_object *qmp_version(void);
/* Always answers; @request may be of any JSON type, NULL being null. */
void qmp_dispatch(struct qmp_session *c, struct json_object *request);
/* Answer to what was not even JSON. */
void qmp_bad_json(struct qmp_session *c, const char *why);

#endif
