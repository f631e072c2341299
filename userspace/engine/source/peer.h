/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_SOURCE_PEER_H
#define DROVER_ENGINE_SOURCE_PEER_H

/* The destination as the source knows it: the session, and the connections to it. */
#include <stdbool.h>
#include <stdint.h>

#include "address/address.h"
#include "owner/owner.h"
#include "wire/wire.h"

struct drover_config;
struct drover_error;
struct drover_link;
struct drover_migration;

#define PEER_URGENT_MAX (DROVER_ATTACH_POSTCOPY_MAX + 1u)

/**
 * struct peer - written by peer.c alone, in the source's thread
 * @main: NULL: not connected. Every file that says something to the destination says it on
 *	main, so more than three look at it; only the source's thread receives on it
 * @data, @ndata: with multifd; a channel that was never connected is NULL
 * @urgent, @nurgent: with postcopy-preempt
 * @token: the session's
 * @address: where the destination was reached, for the VMM's record
 * @multifd, @zero_copy: as the config has it that the handshake settled
 * @lost_bytes: sent on connections that are gone
 */
struct peer {
	struct drover_link *main;
	struct drover_link **data;
	unsigned int ndata;
	struct drover_link *urgent[PEER_URGENT_MAX];
	unsigned int nurgent;
	uint8_t token[DROVER_TOKEN_LEN];
	char address[OWNER_PEER_MAX];
	bool multifd;
	bool zero_copy;
	uint64_t lost_bytes;
};

/* What sort of connections @c wants; again when the config is replaced. */
void peer_configure(struct peer *p, const struct drover_config *c);
/* A session of our own: a token that nobody can guess. */
int peer_new_session(struct peer *p, struct drover_error *e);
/* The session of another droverd, from the VMM's record. */
void peer_adopt(struct peer *p, const struct owner_record *rec);

/* COMMIT, PAUSED and their like, about this session. */
int peer_send_token(const struct peer *p, struct drover_link *l, enum drover_msg_type type,
		    struct drover_error *e);
bool peer_is_session(const struct peer *p, const uint8_t *token);

/* Connect main; @fd is taken over on success. */
int peer_connect(struct peer *p, struct drover_migration *m, int fd, bool one_way,
		 uint64_t deadline, struct drover_error *e);
/* Make room for as many data and postcopy channels as the config wants. */
int peer_expect(struct peer *p, const struct drover_config *c, struct drover_error *e);
/* Connect one of them, which nothing has been sent on yet. */
int peer_connect_channel(struct peer *p, struct drover_migration *m, enum drover_channel_type type,
			 unsigned int i, uint64_t deadline, struct drover_link **ret,
			 struct drover_error *e);

/* Without multifd main carries pages, too, from its own sender's thread. */
static inline bool peer_pages_on_main(const struct peer *p)
{
	return !p->multifd;
}

/* Channels that carry pages, and the link of each. */
unsigned int peer_senders(const struct peer *p);
struct drover_link *peer_sender(const struct peer *p, unsigned int i);

/* Bytes sent in this session; @ret_unsent, if not NULL: of these, what still lies in buffers. */
uint64_t peer_traffic(const struct peer *p, uint64_t *ret_unsent);

/** struct peer_data_traffic - of the data channels that are connected */
struct peer_data_traffic {
	uint64_t bytes, zc_sends, zc_copied;
};
void peer_data_traffic(const struct peer *p, struct peer_data_traffic *ret);
/* Why zero-copy is off on the data channels; NULL: it isn't, or there are none. */
const char *peer_zc_reason(const struct peer *p);

/* Wake whoever sends on a data channel, for good. */
void peer_shut_data(struct peer *p);
/* End and forget all connections, which no thread uses any more; their traffic is kept. */
void peer_close(struct peer *p, struct drover_migration *m);

#endif
