/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_PEER_LINK_H
#define DROVER_PEER_LINK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "wire/phase.h"

struct drover_channel;
struct drover_error;

#define DROVER_LINK_RX 1024u

/**
 * struct drover_then - a phase that waits for a message
 * @type: the message, sent by this end, with which it begins; 0: none waits
 */
struct drover_then {
	uint16_t type;
	enum drover_phase phase;
};

/**
 * struct drover_link - frames over one channel
 * @ch: owned
 * @source: this end is the source; decides which messages may be sent and received
 * @kind: DROVER_ON_M, _D or _P
 * @index: channel number in frames: 0 main, 1.. data
 * @own: the phase of a main channel's session, and of a channel that is in none yet
 * @phase: @own, or after drover_link_join() the main channel's. NULL: every message is legal
 *	at any time; only tests of single steps do that, which have no session around them
 * @asked: questions that have not been answered, ours or the peer's, by enum drover_ask
 * @tx_lock: one frame at a time; orders @tx_seq and guards @then
 * @rx: bytes received and not yet consumed; a frame's head is read with whatever
 *	follows it, so that a frame costs two receives, not three
 * @body: the body of the frame received last; grows to its message's bound
 *
 * One thread receives; any may send.
 */
struct drover_link {
	struct drover_channel *ch;
	bool source;
	unsigned int kind;
	uint16_t index;
	struct drover_phase_state own, *phase;
	_Atomic uint32_t asked[DROVER_ASK_COUNT];
	struct drover_then then;
	pthread_mutex_t tx_lock;
	uint32_t tx_seq;
	uint32_t rx_seq;
	uint8_t rx[DROVER_LINK_RX];
	size_t rx_off, rx_len;
	uint8_t *body;
	size_t body_cap;
	const struct drover_msg_info *info;     /* of the frame received last */
	uint64_t rx_payload;                    /* bytes of it not yet taken */
};

int drover_link_new(struct drover_channel *ch, bool source, struct drover_link **ret,
		    struct drover_error *e);
struct drover_link *drover_link_free(struct drover_link *l);
void drover_link_set(struct drover_link *l, unsigned int kind, uint16_t index);

/*
 * Phases (wire/phases.def). Every frame that is sent or received is compared with the phase
 * of the link's session, and refused when it is not its time. The engine says when a session
 * goes on:
 *
 * drover_link_then(): with the next message of this type that we send. The phase begins after
 *	that message has been judged and before its first byte leaves, so no answer is too early.
 * drover_link_move(): now; for messages that have been received and dealt with.
 * drover_link_one_way(): before HELLO is sent, or when it has been read: nobody answers.
 * drover_link_may_join(): may a channel become a part of the session of this main channel now?
 * drover_link_join(): from here on @l has the phase of @main's session. @main must outlive
 *	the last frame of @l.
 */
void drover_link_then(struct drover_link *l, enum drover_msg_type type, enum drover_phase phase);
int drover_link_move(struct drover_link *l, enum drover_phase phase, struct drover_error *e);
int drover_link_one_way(struct drover_link *l, struct drover_error *e);
bool drover_link_may_join(const struct drover_link *main);
void drover_link_join(struct drover_link *l, struct drover_link *main);

/* Is a frame under way, which another would have to wait for? */
bool drover_link_sending(struct drover_link *l);
/**
 * drover_link_send() - one frame
 * @body: at most the message's bound
 * @iov: payload, or NULL; clobbered
 * @payload: its length in bytes
 */
int drover_link_send(struct drover_link *l, enum drover_msg_type type, const void *body,
		     size_t body_len, struct iovec *iov, unsigned int n, uint64_t payload,
		     struct drover_error *e);
/**
 * drover_link_send_head() - one frame whose header and body lie in @iov[0] already
 * @head: DROVER_FRAME_LEN bytes to write the header to, then the body
 * @iov: [0] is the head; the rest is payload
 * @flags: DROVER_SEND_*; with zero-copy @head must stay as it is until notified
 */
int drover_link_send_head(struct drover_link *l, enum drover_msg_type type, uint8_t *head,
			  size_t body_len, struct iovec *iov, unsigned int n, uint64_t payload,
			  unsigned int flags, struct drover_error *e);

/**
 * drover_link_send_runs() - the set bits of a bitmap as messages of runs, as many as it takes
 * @type: RANGES, DISCARD, RECOVER; or RELEASE
 * @block: the peer's, or agreed, number of it
 *
 * None of them is flagged LAST: drover_link_send_last() says that, once for all blocks.
 */
int drover_link_send_runs(struct drover_link *l, enum drover_msg_type type, uint32_t block,
			  const uint64_t *map, uint64_t npages, struct drover_error *e);
int drover_link_send_last(struct drover_link *l, enum drover_msg_type type,
			  struct drover_error *e);
/* COMMIT, PAUSED and their like */
int drover_link_send_token(struct drover_link *l, enum drover_msg_type type, const uint8_t *token,
			   struct drover_error *e);

/**
 * drover_link_recv() - next frame's header and body
 * @ret: written on success; the body is l->body
 *
 * The payload of the frame before must have been taken. Checks version, direction, channel
 * kind, sequence, phase, and that an answer has a question.
 *
 * Return: 0, DROVER_CHANNEL_E_EOF, or a negative errno.
 */
int drover_link_recv(struct drover_link *l, struct drover_frame *ret, struct drover_error *e);
/* Take the frame's payload, wholly or in parts. */
int drover_link_payload(struct drover_link *l, struct iovec *iov, unsigned int n, uint64_t len,
			struct drover_error *e);
/* As drover_channel_poll_in(), but bytes already here count. */
int drover_link_poll(struct drover_link *l, uint64_t deadline);

/* "message HELLO: " before the error of a decoder that failed */
int drover_link_bad(const struct drover_link *l, struct drover_error *e);

/* FAIL, best effort: a peer that cannot be told learns it from the closed channel. */
void drover_link_fail(struct drover_link *l, int r, const char *text);

/*
 * Say no more, and read on until the peer has closed or the time is up: closing a socket
 * with unread bytes resets it, and the peer would never see our last message.
 */
void drover_link_linger(struct drover_link *l, uint64_t deadline);

#endif
