/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_SOURCE_INBOX_H
#define DROVER_ENGINE_SOURCE_INBOX_H

/* What comes back to the source on the main channel, and what it waits for there. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/wire.h"

struct drover_error;
struct drover_source;

/**
 * struct inbox - written by inbox.c alone, in the source's thread
 * @round: the round that is sent, or was sent last
 * @acked_round: the destination has placed it and all before
 * @ping_ns: when the last PING was sent; also its nonce
 * @pong_ns: when it was answered
 * @asked: SWITCHOVER_REQ was sent
 * @may_switch: SWITCHOVER_ACK came, or none is wanted
 */
struct inbox {
	uint32_t round;
	uint32_t acked_round;
	uint64_t ping_ns;
	uint64_t pong_ns;
	bool asked;
	bool may_switch;
};

void inbox_init(struct inbox *in, bool switchover_ack);
/* A postcopy goes on over new connections, where rounds are counted anew. */
void inbox_restart(struct inbox *in);
/* Another round is about to be sent; its number. */
uint32_t inbox_next_round(struct inbox *in);
/* The destination has placed all rounds that were sent. */
bool inbox_placed(const struct inbox *in);

/* Handle what is there without waiting. */
int source_poll(struct drover_source *s, struct drover_error *e);
/* Wait for a message of this type; its body is the main link's, its length *ret_len. */
int source_wait(struct drover_source *s, enum drover_msg_type type, size_t *ret_len,
		struct drover_error *e);
/* Until the destination has placed all rounds that were sent. */
int source_wait_round(struct drover_source *s, struct drover_error *e);
/* A channel failed: give the destination a moment to say why; returns what is known. */
int source_why(struct drover_source *s, const struct drover_error *channel, struct drover_error *e);
/* PING, at most once a second. */
int source_ping(struct drover_source *s, struct drover_error *e);
int source_measure_rtt(struct drover_source *s, struct drover_error *e);
/* switchover-ack: asks once. 1: the guest may be stopped; 0: rounds go on until it may */
int source_ask_switchover(struct drover_source *s, struct drover_error *e);

#endif
