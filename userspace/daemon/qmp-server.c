// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The control socket: who may connect, and what all clients are told. The socket is
 * 0600 before it has a name, and a peer must be root or run as we do: permissions of
 * a socket file alone don't hold where somebody else owns the directory.
 */
#define _GNU_SOURCE
#include "daemon/qmp.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"

#define GOODBYE_MS 1000

void qmp_server_enter(struct qmp_server *s)
{
	s->depth++;
}

void qmp_server_leave(struct qmp_server *s)
{
	if (--s->depth == 0)
		qmp_session_reap(s);
}

static bool peer_allowed(int fd, const struct drover_log *log)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return false;
	if (cred.uid == 0 || cred.uid == geteuid())
		return true;
	drover_logf(log, DROVER_LOG_WARNING, "qmp: pid %d of uid %u: refused", (int)cred.pid,
		    (unsigned int)cred.uid);
	return false;
}

/*
 * Out of descriptors: the listening socket would stay readable for ever. Give up the one
 * kept for this, take the connection, and close it.
 */
static void turn_away(struct qmp_server *s)
{
	int fd;

	drover_closep(&s->spare_fd);
	fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
	drover_closep(&fd);
	s->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	drover_logf(s->log, DROVER_LOG_WARNING, "qmp: out of file descriptors: a client refused");
}

static void accept_ready(void *opaque, uint32_t events)
{
	struct qmp_server *s = opaque;
	_cleanup_close_ int fd = -EBADF;
	struct drover_error e = DROVER_ERROR_INIT;

	(void)events;
	fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0 && (errno == EMFILE || errno == ENFILE))
		turn_away(s);
	if (fd < 0 || !peer_allowed(fd, s->log))
		return;
	if (s->nsessions >= QMP_SESSIONS_MAX) {
		drover_logf(s->log, DROVER_LOG_WARNING, "qmp: more than %u clients: refused",
			    QMP_SESSIONS_MAX);
		return;
	}
	qmp_server_enter(s);
	if (qmp_session_new(s, fd, &e) < 0)
		drover_logf(s->log, DROVER_LOG_WARNING, "%s", e.msg);
	else
		TAKE_FD(fd);
	qmp_server_leave(s);
}

static int socket_address(const char *address, struct sockaddr_un *ret, struct drover_error *e)
{
	const char *path = address;

	if (strncmp(address, "unix:", 5) != 0 || !address[5])
		return drover_err(e, -EINVAL, "qmp: address '%s': must be unix:PATH", address);
	path += 5;
	if (strlen(path) >= sizeof(ret->sun_path))
		return drover_err(e, -ENAMETOOLONG, "qmp: address '%s': path is longer than %zu",
				  address, sizeof(ret->sun_path) - 1);
	memset(ret, 0, sizeof(*ret));
	ret->sun_family = AF_UNIX;
	strcpy(ret->sun_path, path);
	return 0;
}

/* Remove a socket nobody listens on. Anything else in the way stays, and is an error. */
static int remove_stale(const struct sockaddr_un *sun, struct drover_error *e)
{
	_cleanup_close_ int fd = -EBADF;
	struct stat st;

	if (lstat(sun->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : drover_err(e, -errno, "qmp: %s: %s", sun->sun_path,
							drover_strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return drover_err(e, -EEXIST, "qmp: %s: exists and is not a socket",
				  sun->sun_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return drover_err(e, -errno, "qmp: socket: %s", drover_strerror(errno));
	if (connect(fd, (const struct sockaddr *)sun, sizeof(*sun)) == 0 || errno != ECONNREFUSED)
		return drover_err(e, -EADDRINUSE, "qmp: %s: another process listens on it",
				  sun->sun_path);
	if (unlink(sun->sun_path) < 0 && errno != ENOENT)
		return drover_err(e, -errno, "qmp: %s: remove stale socket: %s", sun->sun_path,
				  drover_strerror(errno));
	return 0;
}

int qmp_server_open(struct qmp_server *s, const char *address, struct drover_error *e)
{
	_cleanup_close_ int fd = -EBADF;
	struct sockaddr_un sun;
	struct stat st;
	int r;

	s->fd = s->spare_fd = -EBADF;
	r = socket_address(address, &sun, e);
	if (r < 0)
		return r;
	r = remove_stale(&sun, e);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return drover_err(e, -errno, "qmp: socket: %s", drover_strerror(errno));
	/* bind(2) makes the file with the mode of the socket's own inode. */
	if (fchmod(fd, 0600) < 0 ||
	    bind(fd, (const struct sockaddr *)&sun, sizeof(sun)) < 0 ||
	    lstat(sun.sun_path, &st) < 0 || listen(fd, 16) < 0)
		return drover_err(e, -errno, "qmp: %s: %s", sun.sun_path, drover_strerror(errno));
	s->path = strdup(sun.sun_path);
	if (!s->path)
		return drover_err(e, -ENOMEM, "qmp: out of memory");
	s->dev = st.st_dev;
	s->ino = st.st_ino;
	s->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	r = loop_add(s->loop, &s->src, fd, EPOLLIN, accept_ready, s, e);
	if (r < 0)
		return r;
	s->fd = TAKE_FD(fd);
	return 0;
}

static void unlink_own(const struct qmp_server *s)
{
	struct stat st;

	if (s->path && lstat(s->path, &st) == 0 && st.st_dev == s->dev && st.st_ino == s->ino)
		unlink(s->path);
}

void qmp_server_close(struct qmp_server *s)
{
	uint64_t deadline = drover_deadline_ms(GOODBYE_MS);
	struct qmp_session *c;

	loop_remove(&s->src);
	unlink_own(s);
	drover_closep(&s->fd);
	drover_closep(&s->spare_fd);
	qmp_server_enter(s);
	for (c = s->sessions; c; c = qmp_session_next(c)) {
		qmp_session_flush(c, deadline);
		qmp_session_kill(c);
	}
	qmp_server_leave(s);
	free(s->path);
	s->path = NULL;
}

void qmp_server_event(struct qmp_server *s, const char *name, struct json_object *data,
		      uint64_t realtime_us)
{
	struct json_object *o = json_object_new_object(), *ts = json_object_new_object();
	struct qmp_session *c;

	json_object_object_add(ts, "seconds",
			       json_object_new_int64((int64_t)(realtime_us / 1000000)));
	json_object_object_add(ts, "microseconds",
			       json_object_new_int64((int64_t)(realtime_us % 1000000)));
	json_object_object_add(o, "timestamp", ts);
	json_object_object_add(o, "event", json_object_new_string(name));
	if (data)
		json_object_object_add(o, "data", json_object_get(data));
	qmp_server_enter(s);
	for (c = s->sessions; c; c = qmp_session_next(c))
		if (qmp_session_negotiated(c))
			qmp_session_send(c, o);
	qmp_server_leave(s);
	json_object_put(o);
}
