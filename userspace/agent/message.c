// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Messages of the agent link: the table, sending, and receiving with every check the
 * table asks for. No descriptor of a message that was refused stays open. Used by both
 * ends: guest/agent-link.c (droverd) and lib/ (the VMM).
 */
#define _GNU_SOURCE
#include "agent/message.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/err.h"

static const struct drover_agent_rule rules[DROVER_AGENT_TYPE_COUNT] = {
#define AGENT_MSG(name_, nr, from_, reply_, lo, hi, fdlo, fdhi, doc_)          \
	[nr] = {                                                               \
		.name = #name_, .from = DROVER_AGENT_FROM_##from_,             \
		.reply = DROVER_AGENT_##reply_, .len_min = lo, .len_max = hi,  \
		.fds_min = fdlo, .fds_max = fdhi, .doc = doc_,                 \
	},
#include "agent/agent.def"
#undef AGENT_MSG
};

_Static_assert(sizeof(struct drover_agent_hdr) == 16, "agent header");
_Static_assert(sizeof(struct drover_agent_hello) == 16, "HELLO");
_Static_assert(sizeof(struct drover_agent_args) == 560, "requests about a session");
_Static_assert(sizeof(struct drover_agent_owner) == 5384, "OWNER");
_Static_assert(sizeof(struct drover_agent_hello_ack) == 4912, "HELLO_ACK");
_Static_assert(sizeof(struct drover_agent_status) == 16, "STATUS");
_Static_assert(sizeof(struct drover_agent_ram) == 96, "RAM");
_Static_assert(sizeof(struct drover_agent_track) == 2056, "TRACK");
_Static_assert(sizeof(struct drover_agent_error) == 1032, "ERROR");

const struct drover_agent_rule *drover_agent_rule(unsigned int type)
{
	return type < DROVER_AGENT_TYPE_COUNT && rules[type].name ? &rules[type] : NULL;
}

void drover_agent_msg_init(struct drover_agent_msg *m)
{
	unsigned int i;

	memset(m, 0, sizeof(*m));
	for (i = 0; i < DROVER_AGENT_FDS_MAX; i++)
		m->fd[i] = -EBADF;
}

void drover_agent_msg_deinit(struct drover_agent_msg *m)
{
	unsigned int i;

	for (i = 0; i < DROVER_AGENT_FDS_MAX; i++)
		drover_closep(&m->fd[i]);
	m->nfds = 0;
}

/* Takes what it can hold, closes the rest; returns how many came. */
static unsigned int take_fds(struct msghdr *mh, struct drover_agent_msg *m)
{
	unsigned int n = 0;
	struct cmsghdr *c;
	size_t i, len;
	int fd;

	for (c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		len = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (i = 0; i < len; i++, n++) {
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (n < DROVER_AGENT_FDS_MAX)
				m->fd[n] = fd;
			else
				close(fd);
		}
	}
	m->nfds = n < DROVER_AGENT_FDS_MAX ? n : DROVER_AGENT_FDS_MAX;
	return n;
}

static int check(const struct drover_agent_msg *m, enum drover_agent_side from, size_t n,
		 unsigned int nfds, int flags, struct drover_error *e)
{
	const struct drover_agent_rule *rule;

	if (n < sizeof(m->hdr))
		return drover_err(e, -EPROTO, "agent link: datagram of %zu bytes is shorter than "
				  "a header", n);
	if (m->hdr.magic != DROVER_AGENT_MAGIC)
		return drover_err(e, -EPROTO, "agent link: bad magic 0x%08x", m->hdr.magic);
	if (m->hdr.version == 1 && from == DROVER_AGENT_FROM_V)
		return drover_err(e, -EPROTO, "agent link: protocol version 1: this VMM's library cannot keep the record; link it with this drover's libdrover");
	if (m->hdr.version != DROVER_AGENT_VERSION)
		return drover_err(e, -EPROTO, "agent link: protocol version %u, this side speaks "
				  "%u", m->hdr.version, DROVER_AGENT_VERSION);
	rule = drover_agent_rule(m->hdr.type);
	if (!rule)
		return drover_err(e, -EOPNOTSUPP, "agent link: message type %u is not known here",
				  m->hdr.type);
	if (rule->from != from)
		return drover_err(e, -EPROTO, "agent link: %s from the wrong side", rule->name);
	if (flags & (MSG_TRUNC | MSG_CTRUNC) || m->hdr.len != n - sizeof(m->hdr) ||
	    m->hdr.len < rule->len_min || m->hdr.len > rule->len_max)
		return drover_err(e, -EPROTO, "agent link: %s: body of %zu bytes, header says %u, "
				  "allowed %u..%u", rule->name, n - sizeof(m->hdr), m->hdr.len,
				  rule->len_min, rule->len_max);
	if (nfds < rule->fds_min || nfds > rule->fds_max)
		return drover_err(e, -EPROTO, "agent link: %s: %u descriptors, allowed %u..%u",
				  rule->name, nfds, rule->fds_min, rule->fds_max);
	return 0;
}

int drover_agent_msg_recv(int sock, enum drover_agent_side from, struct drover_agent_msg *m,
			  struct drover_error *e)
{
	/* Room for more than the table allows, so that a surplus is seen and closed. */
	char control[CMSG_SPACE(sizeof(int) * 8)] __attribute__((aligned(8)));
	struct iovec iov[2];
	struct msghdr mh = {
		.msg_iov = iov, .msg_iovlen = 2,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	unsigned int nfds;
	ssize_t n;
	int r;

	drover_agent_msg_init(m);
	iov[0] = (struct iovec){ &m->hdr, sizeof(m->hdr) };
	iov[1] = (struct iovec){ &m->body, DROVER_AGENT_BODY_MAX };
	/*
	 * An end that closes before it has read everything leaves a reset, told once and
	 * before what it had sent: the reason it gave is still to come.
	 */
	do
		n = recvmsg(sock, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && (errno == EINTR || errno == ECONNRESET));
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n <= 0)
		return drover_err(e, -ENOTCONN, "agent link: the other end has gone%s%s",
				  n < 0 ? ": " : "", n < 0 ? drover_strerror(errno) : "");
	nfds = take_fds(&mh, m);
	r = check(m, from, (size_t)n, nfds, mh.msg_flags, e);
	if (r >= 0)
		return DROVER_AGENT_E_MSG;
	if ((size_t)n < sizeof(m->hdr))
		memset(&m->hdr, 0, sizeof(m->hdr));
	drover_agent_msg_deinit(m);
	return r;
}

static int send_failed(int err, const char *name, struct drover_error *e)
{
	if (err == EPIPE || err == ECONNRESET || err == ENOTCONN)
		return drover_err(e, -ENOTCONN, "agent link: %s: the other end has gone", name);
	return drover_err(e, -err, "agent link: %s: send: %s", name, drover_strerror(err));
}

int drover_agent_msg_send(int sock, enum drover_agent_type type, uint32_t seq, const void *body,
			  size_t len, const int *fds, unsigned int nfds, uint64_t deadline,
			  struct drover_error *e)
{
	char control[CMSG_SPACE(sizeof(int) * DROVER_AGENT_FDS_MAX)] __attribute__((aligned(8)));
	struct drover_agent_hdr hdr = {
		DROVER_AGENT_MAGIC, DROVER_AGENT_VERSION, (uint16_t)type, seq, (uint32_t)len,
	};
	struct iovec iov[2] = { { &hdr, sizeof(hdr) }, { (void *)body, len } };
	struct msghdr mh = { .msg_iov = iov, .msg_iovlen = len ? 2 : 1 };
	const char *name = drover_agent_rule(type)->name;
	struct cmsghdr *c;
	int r;

	if (nfds) {
		memset(control, 0, sizeof(control));
		mh.msg_control = control;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * nfds);
	}
	while (sendmsg(sock, &mh, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN || deadline == DROVER_AGENT_NOWAIT)
			return send_failed(errno, name, e);
		r = drover_wait_fd(sock, POLLOUT, NULL, deadline);
		if (r < 0)
			return send_failed(-r, name, e);
	}
	return 0;
}
