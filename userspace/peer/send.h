/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_PEER_SEND_H
#define DROVER_PEER_SEND_H

#include "peer/link.h"

/*
 * One function for each message that has a body of fixed form: it encodes the body, and
 * sends the frame. The channel and the message are named in the error. HELLO, HELLO_ACK,
 * PAGES and runs have functions of their own in peer/link.h, since their bodies are large
 * or are built in place.
 *
 * drover_body_X() is the other direction: it decodes the body of the frame that
 * drover_link_recv() returned last, and names channel and message when the body is bad.
 * Pointers in what it returns are valid until the next drover_link_recv().
 *
 * Both return 0 or a negative errno: -EINVAL when the message to send breaks its own rules,
 * -EBADMSG when the peer's body does.
 */
#define DROVER_SEND(name, type)                                                                \
	int drover_send_##name(struct drover_link *l, const struct type *m, struct drover_error *e)
#define DROVER_SEND_AS(name, type)                                                             \
	int drover_send_##name(struct drover_link *l, enum drover_msg_type as,                \
			       const struct type *m, struct drover_error *e)
#define DROVER_BODY(name, type)                                                                \
	int drover_body_##name(struct drover_link *l, size_t len, struct type *ret,           \
			       struct drover_error *e)

DROVER_SEND(attach, drover_msg_attach);
/* ATTACH_ACK, STATE_ACK, FAIL */
DROVER_SEND_AS(status, drover_msg_status);
DROVER_SEND(round_end, drover_msg_round);
DROVER_SEND(round_ack, drover_msg_round);
DROVER_SEND(digest_ack, drover_msg_digest_ack);
DROVER_SEND(owner, drover_msg_owner);
/* PING, PONG */
DROVER_SEND_AS(ping, drover_msg_ping);
DROVER_SEND(end, drover_msg_end);
DROVER_SEND(page_req, drover_msg_page_req);

/* STATE: @data is @len bytes of payload. */
int drover_send_state(struct drover_link *l, const struct drover_msg_state *m, const void *data,
		      size_t len, struct drover_error *e);
/* A message that has no body: SWITCHOVER_REQ, SWITCHOVER_ACK. */
int drover_send_bare(struct drover_link *l, enum drover_msg_type type, struct drover_error *e);

DROVER_BODY(hello, drover_msg_hello);
DROVER_BODY(runs, drover_msg_runs);
DROVER_BODY(hello_ack, drover_msg_hello_ack);
DROVER_BODY(attach, drover_msg_attach);
DROVER_BODY(status, drover_msg_status);
DROVER_BODY(round_end, drover_msg_round);
DROVER_BODY(round_ack, drover_msg_round);
DROVER_BODY(state, drover_msg_state);
DROVER_BODY(digest, drover_msg_digest);
DROVER_BODY(digest_ack, drover_msg_digest_ack);
DROVER_BODY(token, drover_msg_token);
DROVER_BODY(owner, drover_msg_owner);
DROVER_BODY(ping, drover_msg_ping);
DROVER_BODY(end, drover_msg_end);
DROVER_BODY(page_req, drover_msg_page_req);
#undef DROVER_SEND
#undef DROVER_SEND_AS
#undef DROVER_BODY

/* PAGES: the runs' payload must be what the frame announced. */
int drover_body_pages(struct drover_link *l, const struct drover_frame *f,
		      struct drover_msg_pages *ret, struct drover_error *e);

/**
 * drover_expect() - the next frame, which must be of this type
 * @ret: written on success; its body is for drover_body_*()
 *
 * Return: 0; -EREMOTEIO when the peer sent FAIL, with its text; -EBADMSG for any other
 * message; DROVER_CHANNEL_E_EOF; or what receiving failed with.
 */
int drover_expect(struct drover_link *l, enum drover_msg_type type, struct drover_frame *ret,
		  struct drover_error *e);

/* The peer sent FAIL: always returns -EREMOTEIO, or -EBADMSG when even that is malformed. */
int drover_peer_failed(struct drover_link *l, size_t len, struct drover_error *e);

#endif
