/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_DEST_H
#define DROVER_ENGINE_DEST_H

/*
 * The destination's own files and nobody else.
 *
 * dest.c        listeners, one thread a connection, what a first message makes of it
 * dest-hello.c  HELLO and RANGES: what is accepted, what is refused and why
 * dest-session.c  the main channel of a session, from HELLO_ACK to COMMIT_ACK
 * dest-state.c  STATE and COMMIT
 * dest-digest.c DIGEST
 * receiver.c    PAGES and the barrier between rounds
 * dest-owner.c  OWNER_QUERY and the fence
 *
 * Locks, in taking order: drover_dest.guest, drover_dest.lock, session.lock, migration.lock.
 */
#include "channel/channel.h"
#include "engine/internal.h"
#include "place/place.h"

#define DEST_LISTENERS_MAX 256u
/* Connections that have not yet said what they are; more are dropped. */
#define DEST_STRANGERS_MAX 64u
/* Sessions that ended before COMMIT and are remembered as fenced. */
#define DEST_FENCED_MAX 64u
#define DEST_STATE_MAX (1ull << 30)

struct drover_dest;
struct session;

/* One accepted connection and its thread. */
struct conn {
	struct drover_dest *d;
	struct drover_link *link;
	pthread_t thread;
	atomic_bool done;       /* the thread is about to end and may be joined */
	bool stranger;          /* guarded by drover_dest.lock */
	struct conn *next;
};

/**
 * struct session - from an accepted HELLO to its end
 * @block: source's block number -> ours
 * @lock: guards what follows
 * @dead: it must end; @error says why
 * @refs: data channel threads inside
 * @fenced: a COMMIT must be refused
 * @committing: a COMMIT is being acted on; the fence waits for its outcome
 */
struct session {
	struct drover_dest *d;
	struct drover_migration *m;
	struct drover_link *main;
	uint8_t token[DROVER_TOKEN_LEN];
	uint16_t version;       /* of the protocol, that both speak */
	bool one_way;
	bool verify;
	struct drover_place *place;
	unsigned int nblocks;
	unsigned int block[DROVER_RAM_BLOCKS_MAX];
	bool skip[DROVER_RAM_BLOCKS_MAX];       /* by source's number */
	_Atomic unsigned int ndata;     /* 0 until data channels may join */
	_Atomic uint64_t raw_pages, zero_pages;
	uint64_t final_ns;      /* the guest is known to be stopped since then */

	/* STATE */
	int state_fd;
	uint64_t state_off, state_total;
	bool have_run, run, have_guest, loaded;
	atomic_bool state_done;
	char section[DROVER_SECTION_NAME_MAX + 1];
	/* DIGEST */
	bool digest_asked_pages, digest_ok;
	uint64_t digest_next;           /* next index expected */
	unsigned int digest_block;
	struct drover_msg_digest_ack *diff;

	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool dead;
	struct drover_error error;
	unsigned int refs;
	struct drover_link *data[256];
	uint32_t round;         /* being received */
	unsigned int arrived;
	bool fenced, committing, committed;
};

struct drover_dest {
	struct drover_migration *m;
	struct drover_listener *listener[DEST_LISTENERS_MAX];
	unsigned int nlisteners;
	atomic_bool released;   /* the guest is here and its source will never ask again */
	uint32_t handshake_timeout;     /* of the request; the session has its own config */
	bool one_way;
	bool shared_ram;        /* x-ignore-shared: the RAM is not ours to empty */
	bool one_shot;          /* the transport gives one connection and no more */
	char address[DROVER_OWNER_PEER_MAX];    /* main's, as JSON text */
	pthread_mutex_t guest;  /* the guest link takes one call at a time */
	pthread_mutex_t lock;   /* guards what follows */
	struct conn *conns;
	unsigned int strangers;
	struct session *session;
	bool completed;
	char refused[DROVER_ERR_MAX];           /* why the last connection was dropped */
	uint8_t fenced[DEST_FENCED_MAX][DROVER_TOKEN_LEN];
	unsigned int nfenced;
};

/* dest.c */
int dest_prepare_guest(struct drover_dest *d, struct drover_error *e);
void dest_refuse(struct drover_dest *d, const char *why);
int dest_record(struct drover_dest *d, enum drover_owner_state state, const uint8_t *token,
		struct drover_error *e);
/* dest-hello.c: 0 accepted, session filled in and answered; < 0 refused and told */
int dest_hello(struct drover_dest *d, struct drover_link *l, size_t hello_len,
	       struct session **ret, struct drover_error *e);
struct session *session_free(struct session *x);
/* dest-session.c */
void session_main(struct session *x);
void session_kill(struct session *x, const struct drover_error *e);
bool session_dead(struct session *x);
/* receiver.c */
int session_pages(struct session *x, struct drover_link *l, const struct drover_frame *f,
		  struct drover_error *e);
int session_round_end(struct session *x, struct drover_link *l, const struct drover_frame *f,
		      uint32_t *ret_round, struct drover_error *e);
/* A data channel: ATTACH has been read; runs until the session ends. */
void session_attach(struct drover_dest *d, struct drover_link *l, size_t len);
/* dest-state.c */
int session_state(struct session *x, const struct drover_frame *f, struct drover_error *e);
int session_commit(struct session *x, size_t len, struct drover_error *e);
int session_end_one_way(struct session *x, size_t len, struct drover_error *e);
int session_released(struct session *x, size_t len, struct drover_error *e);
/* dest-digest.c */
int session_digest(struct session *x, size_t len, struct drover_error *e);
/* dest-owner.c */
void dest_owner_query(struct drover_dest *d, struct drover_link *l, size_t len);
void dest_fence(struct drover_dest *d, const uint8_t *token);

#endif
