// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The VMM's socket: one droverd at a time, of the same user or root. A second one is
 * refused with a message while the first lives; if the first is dead, its requests are
 * carried out and its end is stepped first, so that the newcomer is told the final truth.
 * Called by agent.c.
 */
#define _GNU_SOURCE
#include "lib/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"

static void refuse(int fd, uint32_t seq, int code, const char *text)
{
	struct drover_agent_error b = { .code = code };
	size_t len = strnlen(text, sizeof(b.text));

	b.text_len = (uint32_t)len;
	memcpy(b.text, text, len);
	drover_agent_msg_send(fd, DROVER_AGENT_ERROR, seq, &b,
			      offsetof(struct drover_agent_error, text) + len, NULL, 0,
			      DROVER_AGENT_NOWAIT, NULL);
}

void agent_conn_close(struct drover_agent *a)
{
	if (a->conn_fd < 0)
		return;
	drover_closep(&a->conn_fd);
	agent_link_closed(a);
	a->greeted = a->bye = false;
	a->closed = true;
}

void agent_conn_ready(struct drover_agent *a)
{
	struct drover_error e = DROVER_ERROR_INIT;
	int r = 0;

	/* From within a callback: the request under way comes first. */
	while (a->conn_fd >= 0 && !a->busy) {
		drover_err_clear(&e);
		r = drover_agent_msg_recv(a->conn_fd, DROVER_AGENT_FROM_D, &a->request, &e);
		if (!r)
			return;
		if (r == DROVER_AGENT_E_MSG)
			r = agent_serve(a, &a->request);
		else if (r != -ENOTCONN)
			refuse(a->conn_fd, a->request.hdr.seq, r, e.msg);
		drover_agent_msg_deinit(&a->request);
		if (a->bye)
			agent_conn_close(a);
		/* A type of a newer protocol is answered and survived, nonsense is not. */
		if (r < 0 && r != -EOPNOTSUPP)
			agent_conn_close(a);
	}
}

static int check_peer(int fd, int *ret_pid, struct drover_error *e)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return drover_err(e, -errno, "peer credentials: %s", drover_strerror(errno));
	if (cred.uid && cred.uid != geteuid())
		return drover_err(e, -EACCES, "user %u may not attach to a VMM of user %u",
				  (unsigned int)cred.uid, (unsigned int)geteuid());
	*ret_pid = cred.pid;
	return 0;
}

void agent_conn_accept(struct drover_agent *a)
{
	_cleanup_close_ int fd = accept4(a->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct epoll_event ev = { .events = EPOLLIN };
	struct drover_error e = DROVER_ERROR_INIT;
	int r, pid = 0;

	if (fd < 0)
		return;
	/* May find that the old one has died. */
	agent_conn_ready(a);
	r = check_peer(fd, &pid, &e);
	if (r >= 0 && a->conn_fd >= 0)
		r = drover_err(&e, -EBUSY, "another droverd is attached (pid %d)", a->conn_pid);
	ev.data.fd = fd;
	if (r >= 0 && epoll_ctl(a->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		r = drover_err(&e, -errno, "epoll: %s", drover_strerror(errno));
	if (r < 0) {
		refuse(fd, 0, r, e.msg);
		return;
	}
	a->conn_fd = TAKE_FD(fd);
	a->conn_pid = pid;
	a->greeted = a->bye = false;
}

/* Is the socket file a leftover? Only a refused connection proves that nobody listens. */
static bool is_stale(const struct sockaddr_un *sa)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;

	/* A file that is no socket refuses, too. */
	if (lstat(sa->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return false;
	return fd >= 0 && connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) < 0 &&
	       errno == ECONNREFUSED;
}

int agent_conn_listen(struct drover_agent *a, struct drover_error *e)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct epoll_event ev = { .events = EPOLLIN };
	int r;

	if (fd < 0)
		return drover_err(e, -errno, "socket: %s", drover_strerror(errno));
	memcpy(sa.sun_path, a->path, sizeof(sa.sun_path));
	r = bind(fd, (struct sockaddr *)&sa, sizeof(sa));
	if (r < 0 && errno == EADDRINUSE && is_stale(&sa) && !unlink(a->path))
		r = bind(fd, (struct sockaddr *)&sa, sizeof(sa));
	if (r < 0)
		return drover_err(e, -errno, "%s: bind: %s", a->path, drover_strerror(errno));
	a->bound = true;
	/* Before listen: until then nobody can connect. */
	if (chmod(a->path, 0600) < 0)
		return drover_err(e, -errno, "%s: chmod: %s", a->path, drover_strerror(errno));
	if (listen(fd, 4) < 0)
		return drover_err(e, -errno, "%s: listen: %s", a->path, drover_strerror(errno));
	ev.data.fd = fd;
	if (epoll_ctl(a->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return drover_err(e, -errno, "epoll: %s", drover_strerror(errno));
	a->listen_fd = TAKE_FD(fd);
	return 0;
}
