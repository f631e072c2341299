// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Typed messages over a link. No caller encodes a body by hand, so none can forget to look
 * at the encoder's result. Called by both sides of the engine, from any thread.
 */
#include "peer/send.h"

#include <errno.h>

#include "base/err.h"
#include "channel/channel.h"

/* Bodies of fixed form are short; the longest is a list of differing digests. */
#define BODY_MAX 4096u

static int send_body(struct drover_link *l, enum drover_msg_type type, const uint8_t *body, int n,
		     struct drover_error *e)
{
	if (n < 0)
		return drover_err(e, n, "channel %s: message %s: encode: %s",
				  drover_channel_name(l->ch), drover_msg_info(type)->name,
				  drover_strerror(n));
	return drover_link_send(l, type, body, (size_t)n, NULL, 0, 0, e);
}

#define SEND(name, TYPE, type)                                                                \
	int drover_send_##name(struct drover_link *l, const struct type *m, struct drover_error *e) \
	{                                                                                      \
		uint8_t body[BODY_MAX];                                                        \
									                       \
		return send_body(l, DROVER_MSG_##TYPE, body,                                  \
				 drover_##name##_encode(m, body, sizeof(body)), e);           \
	}

#define SEND_AS(name, type)                                                                   \
	int drover_send_##name(struct drover_link *l, enum drover_msg_type as,                \
			       const struct type *m, struct drover_error *e)                  \
	{                                                                                      \
		uint8_t body[BODY_MAX];                                                        \
									                       \
		return send_body(l, as, body, drover_##name##_encode(m, body, sizeof(body)), e); \
	}

#define BODY(name, type)                                                                      \
	int drover_body_##name(struct drover_link *l, size_t len, struct type *ret,           \
			       struct drover_error *e)                                        \
	{                                                                                      \
		int r = drover_##name##_decode(l->body, len, ret, e);                         \
									                       \
		return r < 0 ? drover_link_bad(l, e), r : 0;                                  \
	}

SEND(attach, ATTACH, drover_msg_attach)
SEND_AS(status, drover_msg_status)
SEND(round_end, ROUND_END, drover_msg_round)
SEND(round_ack, ROUND_ACK, drover_msg_round)
SEND(digest_ack, DIGEST_ACK, drover_msg_digest_ack)
SEND(owner, OWNER, drover_msg_owner)
SEND_AS(ping, drover_msg_ping)
SEND(end, END, drover_msg_end)
SEND(page_req, PAGE_REQ, drover_msg_page_req)

BODY(hello, drover_msg_hello)
BODY(runs, drover_msg_runs)
BODY(hello_ack, drover_msg_hello_ack)
BODY(attach, drover_msg_attach)
BODY(status, drover_msg_status)
BODY(round_end, drover_msg_round)
BODY(round_ack, drover_msg_round)
BODY(state, drover_msg_state)
BODY(digest, drover_msg_digest)
BODY(digest_ack, drover_msg_digest_ack)
BODY(token, drover_msg_token)
BODY(owner, drover_msg_owner)
BODY(ping, drover_msg_ping)
BODY(end, drover_msg_end)
BODY(page_req, drover_msg_page_req)

int drover_body_pages(struct drover_link *l, const struct drover_frame *f,
		      struct drover_msg_pages *ret, struct drover_error *e)
{
	int r = drover_pages_decode(l->body, f->body_len, f->payload_len, ret, e);

	return r < 0 ? drover_link_bad(l, e), r : 0;
}

int drover_send_state(struct drover_link *l, const struct drover_msg_state *m, const void *data,
		      size_t len, struct drover_error *e)
{
	struct iovec iov = { (void *)data, len };
	uint8_t body[256];
	int n = drover_state_encode(m, body, sizeof(body));

	if (n < 0)
		return send_body(l, DROVER_MSG_STATE, body, n, e);
	return drover_link_send(l, DROVER_MSG_STATE, body, (size_t)n, &iov, len ? 1 : 0, len, e);
}

int drover_send_bare(struct drover_link *l, enum drover_msg_type type, struct drover_error *e)
{
	return drover_link_send(l, type, NULL, 0, NULL, 0, 0, e);
}

int drover_peer_failed(struct drover_link *l, size_t len, struct drover_error *e)
{
	struct drover_msg_status m;
	int r = drover_body_status(l, len, &m, e);

	if (r < 0)
		return r;
	return drover_err(e, -EREMOTEIO, "%s: %.*s", l->source ? "destination" : "source",
			  (int)m.text_len, m.text);
}

int drover_expect(struct drover_link *l, enum drover_msg_type type, struct drover_frame *ret,
		  struct drover_error *e)
{
	struct drover_frame f;
	int r = drover_link_recv(l, &f, e);

	if (r)
		return r;
	if (f.type == DROVER_MSG_FAIL)
		return drover_peer_failed(l, f.body_len, e);
	if (f.type != type)
		return drover_err(e, -EBADMSG, "channel %s: message %s: not now, %s was expected",
				  drover_channel_name(l->ch), l->info->name,
				  drover_msg_info(type)->name);
	*ret = f;
	return 0;
}
