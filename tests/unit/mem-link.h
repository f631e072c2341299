/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_TESTS_MEM_LINK_H
#define DROVER_TESTS_MEM_LINK_H

/*
 * A source's link and a destination's, and memory between them: what one has sent the other
 * can receive, later and in the same thread. No socket, no thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "channel/internal.h"
#include "peer/link.h"
#include "peer/send.h"

/** struct mem_pipe - bytes under way in one direction */
struct mem_pipe {
	uint8_t *data;
	size_t len, at;
};

struct mem_end {
	struct mem_pipe *in, *out;
};

struct mem_link {
	struct mem_pipe down, up;
	struct mem_end source, dest;
	struct drover_link *s, *d;
};

static inline int mem_sendv(struct drover_channel *ch, struct iovec *iov, unsigned int n,
			    unsigned int flags, struct drover_error *e)
{
	struct mem_pipe *p = ((struct mem_end *)ch->priv)->out;
	unsigned int i;

	(void)flags;
	if (atomic_load(&ch->shut))
		return drover_err(e, -EPIPE, "channel %s: send: shut down", ch->name);
	for (i = 0; i < n; i++) {
		p->data = realloc(p->data, p->len + iov[i].iov_len);
		if (!p->data)
			abort();
		memcpy(p->data + p->len, iov[i].iov_base, iov[i].iov_len);
		p->len += iov[i].iov_len;
	}
	return 0;
}

static inline int mem_recvv(struct drover_channel *ch, struct iovec *iov, unsigned int n,
			    size_t min, size_t *ret_got, struct drover_error *e)
{
	struct mem_pipe *p = ((struct mem_end *)ch->priv)->in;
	size_t got = 0;
	unsigned int i;

	for (i = 0; i < n && p->at < p->len; i++) {
		size_t k = p->len - p->at < iov[i].iov_len ? p->len - p->at : iov[i].iov_len;

		memcpy(iov[i].iov_base, p->data + p->at, k);
		p->at += k;
		got += k;
	}
	if (!got)
		return DROVER_CHANNEL_E_EOF;
	if (got < min)
		return drover_err(e, -EPIPE, "channel %s: receive: it ends too early", ch->name);
	*ret_got = got;
	return 0;
}

static inline void mem_nothing(struct drover_channel *ch)
{
	(void)ch;
}

static inline struct drover_link *mem_link_end(struct mem_end *end, bool source)
{
	static const struct channel_ops ops = {
		.sendv = mem_sendv,
		.recvv = mem_recvv,
		.shutdown = mem_nothing,
		.close = mem_nothing,
	};
	struct drover_channel_opts o = { .fd = -1 };
	struct drover_channel *ch;
	struct drover_link *l;

	if (drover_channel_make(&ops, CHANNEL_SOCKET, -1, -1, &o, &ch, NULL) < 0 ||
	    drover_link_new(ch, source, &l, NULL) < 0)
		abort();
	ch->priv = end;
	/* A test of one step says what it likes, whenever it likes. */
	l->phase = NULL;
	drover_channel_set_name(ch, "main");
	return l;
}

static inline void mem_link_init(struct mem_link *m)
{
	memset(m, 0, sizeof(*m));
	m->source = (struct mem_end){ &m->up, &m->down };
	m->dest = (struct mem_end){ &m->down, &m->up };
	m->s = mem_link_end(&m->source, true);
	m->d = mem_link_end(&m->dest, false);
}

static inline void mem_link_deinit(struct mem_link *m)
{
	drover_link_free(m->s);
	drover_link_free(m->d);
	free(m->down.data);
	free(m->up.data);
}

/* PAGES as a source would send it; each page of raw runs is full of its number, 1 to 255. */
static inline int mem_send_pages(struct mem_link *m, const struct drover_msg_pages *pages)
{
	static const size_t cap = 32768;
	uint64_t payload = drover_msg_pages_payload(pages), i;
	uint8_t *data = malloc(payload ? payload : 1), *body = malloc(cap);
	struct iovec iov = { data, payload };
	int n = drover_pages_encode(pages, body, cap);

	for (i = 0; i < payload; i++)
		data[i] = (uint8_t)(i / 4096 % 255 + 1);
	if (n >= 0)
		n = drover_link_send(m->s, DROVER_MSG_PAGES, body, (size_t)n, &iov,
				     payload ? 1 : 0, payload, NULL);
	free(data);
	free(body);
	return n;
}

#endif
