// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * droverd's end of an agent link: connect, one thread that reads, and calls that wait
 * for their reply. A reply that comes after its caller gave up is recognised by its
 * sequence number and dropped with its descriptors. Once the link is dead it stays
 * dead, and every call says why. Used by guest/agent.c.
 */
#define _GNU_SOURCE
#include "guest/agent-link.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/thread.h"

static void ring(int fd)
{
	uint64_t one = 1;

	/* Fails only when it is readable already. */
	if (write(fd, &one, sizeof(one)) < 0)
		return;
}

static void drain(int fd)
{
	uint64_t n;

	if (read(fd, &n, sizeof(n)) < 0)
		return;
}

/* An ERROR body as a return value; whatever the VMM says, it is an errno and text. */
static int vmm_error(const struct agent_link *l, const char *what,
		     const struct drover_agent_msg *m, struct drover_error *e)
{
	const struct drover_agent_error *b = &m->body.error;
	size_t room = m->hdr.len - offsetof(struct drover_agent_error, text);
	size_t len = b->text_len < room ? b->text_len : room;
	int code = b->code <= -1 && b->code >= -4095 ? b->code : -EPROTO;

	return drover_err(e, code, "agent %s: %s: %.*s", l->path, what,
			  (int)strnlen(b->text, len), b->text);
}

static void link_dead(struct agent_link *l, const struct drover_error *why)
{
	DROVER_LOCK(&l->lock);

	if (!l->dead.code)
		l->dead = *why;
	atomic_store(&l->status, DROVER_GUEST_GONE);
	ring(l->reply_fd);
	ring(l->watch_fd);
}

static int set_status(struct agent_link *l, uint32_t state, struct drover_error *e)
{
	if (state >= DROVER_GUEST_GONE)
		return drover_err(e, -EPROTO, "agent %s: run state %u is not known", l->path,
				  state);
	atomic_store(&l->status, (int)state);
	return 0;
}

static void set_verdict(struct agent_link *l, const struct drover_agent_msg *m)
{
	char *text = m->hdr.len ? strndup((const char *)m->body.bytes, m->hdr.len) : NULL;

	free(l->verdict);
	l->verdict = text;
}

static int take_event(struct agent_link *l, const struct drover_agent_msg *m,
		      struct drover_error *e)
{
	int r;

	switch (m->hdr.type) {
	case DROVER_AGENT_STATUS:
		r = set_status(l, m->body.status.run_state, e);
		if (r >= 0)
			r = l->took(l->opaque, m, e);
		if (r < 0)
			return r;
		break;
	case DROVER_AGENT_VERDICT:
		set_verdict(l, m);
		break;
	case DROVER_AGENT_ERROR:
		return vmm_error(l, "refused", m, e);
	default:
		return drover_err(e, -EPROTO, "agent %s: %s without a request", l->path,
				  drover_agent_rule(m->hdr.type)->name);
	}
	ring(l->watch_fd);
	return 0;
}

static int take_message(struct agent_link *l, struct drover_agent_msg *m, struct drover_error *e)
{
	unsigned int i;
	int r = 0;
	DROVER_LOCK(&l->lock);

	if (!m->hdr.seq)
		return take_event(l, m, e);
	/* Also of a request whose caller gave up: it is what the VMM says now. */
	if (m->hdr.type == DROVER_AGENT_OWNER || m->hdr.type == DROVER_AGENT_HELLO_ACK)
		r = l->took(l->opaque, m, e);
	if (r < 0)
		return r;
	if (!l->waiting || l->answered || m->hdr.seq != l->seq)
		return 0;
	/* Here and not in the caller, or an event that follows could be overwritten. */
	if (m->hdr.type == DROVER_AGENT_HELLO_ACK)
		r = set_status(l, m->body.hello_ack.run_state, e);
	if (r < 0)
		return r;
	if (m->hdr.type == DROVER_AGENT_VERDICT)
		set_verdict(l, m);
	l->reply = *m;
	for (i = 0; i < DROVER_AGENT_FDS_MAX; i++)
		m->fd[i] = -EBADF;
	l->answered = true;
	ring(l->reply_fd);
	return 0;
}

static void *reader(void *arg)
{
	struct agent_link *l = arg;
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_agent_msg *m = malloc(sizeof(*m));
	int r = m ? 0 : drover_err(&e, -ENOMEM, "agent %s: out of memory", l->path);

	drover_thread_name("agent-read", -1);
	while (r >= 0) {
		r = drover_wait_fd(l->sock, POLLIN, &l->stop, 0);
		if (r < 0)
			drover_err(&e, -ENOTCONN, "agent %s: the link was closed", l->path);
		else
			r = drover_agent_msg_recv(l->sock, DROVER_AGENT_FROM_V, m, &e);
		if (r == DROVER_AGENT_E_MSG) {
			r = take_message(l, m, &e);
			drover_agent_msg_deinit(m);
		} else if (r == -ENOTCONN) {
			drover_err_clear(&e);
			drover_err(&e, r, "agent %s: the VMM has gone", l->path);
		}
	}
	link_dead(l, &e);
	free(m);
	return NULL;
}

static int dead_error(const struct agent_link *l, const char *what, struct drover_error *e)
{
	return drover_err(e, l->dead.code, "%s: %s", what, l->dead.msg);
}

/* The reader may still have to read the reason: a refusal is sent, then the socket closed. */
static int sent_in_vain(struct agent_link *l, const char *what, const struct drover_error *send,
			struct drover_error *e)
{
	drover_wait_fd(l->reply_fd, POLLIN, NULL, drover_deadline_ms(1000));
	DROVER_LOCK(&l->lock);
	l->waiting = false;
	if (l->dead.code)
		return dead_error(l, what, e);
	return drover_err(e, send->code, "agent %s: %s", l->path, send->msg);
}

/*
 * Past its deadline: whether the VMM carries the request out is nobody's guess. It finds the
 * link closed, steps that, and a new link is told what has become of the record.
 */
static int give_up(struct agent_link *l, const char *what, uint64_t ms, struct drover_error *e)
{
	drover_err(e, -ETIMEDOUT, "agent %s: %s: no answer from the VMM in %u s; the link was ended",
		   l->path, what, (unsigned int)((ms + 999) / 1000));
	if (!l->dead.code)
		l->dead = *e;
	l->dead.code = -ENOTCONN;
	atomic_store(&l->status, DROVER_GUEST_GONE);
	shutdown(l->sock, SHUT_RDWR);
	ring(l->watch_fd);
	return -ETIMEDOUT;
}

static int take_reply(struct agent_link *l, enum drover_agent_type type, int waited, uint64_t ms,
		      struct drover_agent_msg *ret, struct drover_error *e)
{
	const struct drover_agent_rule *rule = drover_agent_rule(type);
	DROVER_LOCK(&l->lock);

	l->waiting = false;
	if (!l->answered && l->dead.code)
		return dead_error(l, rule->name, e);
	if (!l->answered && waited == -ETIMEDOUT)
		return give_up(l, rule->name, ms, e);
	if (!l->answered)
		return drover_err(e, waited < 0 ? waited : -EIO, "agent %s: %s: %s", l->path,
				  rule->name, drover_strerror(waited < 0 ? waited : -EIO));
	*ret = l->reply;
	drover_agent_msg_init(&l->reply);
	l->answered = false;
	if (ret->hdr.type == DROVER_AGENT_ERROR)
		return vmm_error(l, rule->name, ret, e);
	if (ret->hdr.type != rule->reply)
		return drover_err(e, -EPROTO, "agent %s: %s was answered with %s", l->path,
				  rule->name, drover_agent_rule(ret->hdr.type)->name);
	return 0;
}

int agent_link_call(struct agent_link *l, enum drover_agent_type type, const void *body,
		    size_t len, int fd, uint64_t more_ms, const struct drover_cancel *c,
		    struct drover_agent_msg *ret, struct drover_error *e)
{
	uint64_t ms = l->deadline_ms + more_ms * l->deadline_ms / DROVER_AGENT_DEADLINE_MS, deadline;
	const char *what = drover_agent_rule(type)->name;
	struct drover_error se = DROVER_ERROR_INIT;
	uint32_t seq;
	int r;
	DROVER_LOCK(&l->call);

	deadline = drover_deadline_ms(ms);
	pthread_mutex_lock(&l->lock);
	if (l->dead.code) {
		r = dead_error(l, what, e);
		pthread_mutex_unlock(&l->lock);
		return r;
	}
	drain(l->reply_fd);
	/* What came for a caller that gave up, between its wait and now. */
	drover_agent_msg_deinit(&l->reply);
	l->answered = false;
	l->waiting = true;
	if (!++l->seq)
		l->seq = 1;
	seq = l->seq;
	pthread_mutex_unlock(&l->lock);

	r = drover_agent_msg_send(l->sock, type, seq, body, len, &fd, fd >= 0, deadline, &se);
	if (r < 0)
		return sent_in_vain(l, what, &se, e);
	r = drover_wait_fd(l->reply_fd, POLLIN, c, deadline);
	return take_reply(l, type, r, ms, ret, e);
}

static int check_peer(struct agent_link *l, struct drover_error *e)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(l->sock, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return drover_err(e, -errno, "agent %s: peer credentials: %s", l->path,
				  drover_strerror(errno));
	if (geteuid() && cred.uid != geteuid() && cred.uid)
		return drover_err(e, -EACCES, "agent %s: the VMM runs as user %u, droverd as %u",
				  l->path, (unsigned int)cred.uid, (unsigned int)geteuid());
	l->pid = cred.pid;
	return 0;
}

static int connect_vmm(struct agent_link *l, const char *path, struct drover_error *e)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	if (!*path || strlen(path) >= sizeof(sa.sun_path))
		return drover_err(e, -EINVAL, "agent: the socket's path must have 1 to %zu bytes",
				  sizeof(sa.sun_path) - 1);
	strcpy(sa.sun_path, path);
	strcpy(l->path, path);
	l->sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->sock < 0)
		return drover_err(e, -errno, "agent %s: socket: %s", path, drover_strerror(errno));
	/* Non-blocking: a VMM that does not accept fills its backlog (EAGAIN), we don't hang. */
	if (connect(l->sock, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return drover_err(e, -errno, "agent %s: connect: %s", path,
				  drover_strerror(errno));
	return check_peer(l, e);
}

int agent_link_open(struct agent_link *l, const char *path,
		    int (*took)(void *opaque, const struct drover_agent_msg *m,
				struct drover_error *e),
		    void *opaque, struct drover_error *e)
{
	int r;

	memset(l, 0, sizeof(*l));
	l->deadline_ms = DROVER_AGENT_DEADLINE_MS;
	l->took = took;
	l->opaque = opaque;
	l->sock = l->watch_fd = l->reply_fd = -EBADF;
	l->stop.fd = -EBADF;
	pthread_mutex_init(&l->call, NULL);
	pthread_mutex_init(&l->lock, NULL);
	drover_agent_msg_init(&l->reply);
	atomic_store(&l->status, DROVER_GUEST_PAUSED);
	r = connect_vmm(l, path, e);
	if (r < 0)
		return r;
	r = drover_cancel_init(&l->stop, e);
	if (r < 0)
		return r;
	l->watch_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	l->reply_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->watch_fd < 0 || l->reply_fd < 0)
		return drover_err(e, -errno, "agent %s: eventfd: %s", path,
				  drover_strerror(errno));
	r = pthread_create(&l->reader, NULL, reader, l);
	if (r)
		return drover_err(e, -r, "agent %s: thread: %s", path, drover_strerror(r));
	l->reader_runs = true;
	return 0;
}

void agent_link_close(struct agent_link *l)
{
	if (l->reader_runs) {
		pthread_mutex_lock(&l->call);
		if (atomic_load(&l->status) != DROVER_GUEST_GONE)
			drover_agent_msg_send(l->sock, DROVER_AGENT_BYE, ++l->seq, NULL, 0, NULL,
					      0, DROVER_AGENT_NOWAIT, NULL);
		pthread_mutex_unlock(&l->call);
		drover_cancel_ring(&l->stop);
		pthread_join(l->reader, NULL);
	}
	drover_agent_msg_deinit(&l->reply);
	drover_closep(&l->sock);
	drover_closep(&l->watch_fd);
	drover_closep(&l->reply_fd);
	if (l->stop.fd >= 0)
		drover_cancel_deinit(&l->stop);
	free(l->verdict);
	pthread_mutex_destroy(&l->call);
	pthread_mutex_destroy(&l->lock);
}
