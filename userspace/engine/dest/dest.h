/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_DEST_DEST_H
#define DROVER_ENGINE_DEST_DEST_H

/*
 * The destination's own files and nobody else.
 *
 * listen.c  listeners, one thread a connection, what a first message makes of it
 * hello.c  HELLO and RANGES: what is accepted, what is refused and why
 * session.c  the main channel of a session, from HELLO_ACK to COMMIT_ACK
 * state.c  STATE and COMMIT
 * digest.c  DIGEST
 * pages.c  PAGES and the barrier between rounds
 * pending.c  the guest runs before all is here: placing, arming, the end
 * faults.c  fault threads
 * resume.c  a paused postcopy goes on
 * owner.c  OWNER_QUERY and the fence
 *
 * Locks, in taking order: drover_dest.guest, drover_dest.lock, session.lock, migration.lock.
 */
#include "agent/ledger.h"
#include "channel/channel.h"
#include "engine/blocktime.h"
#include "engine/internal.h"
#include "fault/fault.h"
#include "place/ahead.h"
#include "place/place.h"

#define DEST_LISTENERS_MAX 256u
/* Connections that have not yet said what they are; more are dropped. */
#define DEST_STRANGERS_MAX 64u
/* Sessions that ended before COMMIT and are remembered as fenced. */
#define DEST_FENCED_MAX 64u
#define DEST_STATE_MAX (1ull << 30)
#define DEST_URGENT_MAX (DROVER_ATTACH_POSTCOPY_MAX + 1)

struct drover_dest;
struct session;
struct fault_thread;

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
 * struct postcopy - memory that is still to come; from its session's COMMIT on it outlives
 *	sessions
 * @ledger: what has arrived, and its digests; the VMM keeps it too
 * @ops, @state: the fault handler; @state is NULL before it is armed and once all is here
 * @theirs: our block number -> the source's
 * @claim: pages a receiver has begun with; cleared when a connection breaks
 * @asked: pages that somebody waits for, or waited
 * @first, @group: what was there when it was armed, and the digests of that; @first is NULL
 *	where they are not kept
 * @released: pages the source was told to free; the session's own thread only
 * @missing: pages that have not arrived
 * @begun: DISCARD has come; @armed: the last one too
 * @here: all has arrived, and the handler is gone
 * @proved: the digests of all of it were compared
 * @lock: guards @main and @urgent: where to ask, NULL while nothing is connected
 * @bell: eventfd: the fault threads end
 * @ahead: populates what is missing
 */
struct postcopy {
	struct drover_dest *d;
	uint8_t token[DROVER_TOKEN_LEN];
	struct drover_ledger *ledger;
	struct drover_fault_source src;
	const struct drover_fault_ops *ops;
	void *state;
	unsigned int theirs[DROVER_RAM_BLOCKS_MAX];
	uint64_t *claim[DROVER_RAM_BLOCKS_MAX];
	uint64_t *asked[DROVER_RAM_BLOCKS_MAX];
	uint64_t *released[DROVER_RAM_BLOCKS_MAX];
	uint64_t *first[DROVER_RAM_BLOCKS_MAX], *group[DROVER_RAM_BLOCKS_MAX];
	_Atomic uint64_t missing;
	bool begun, proved;
	atomic_bool armed;
	atomic_bool here;
	struct drover_blocktime *bt;
	pthread_rwlock_t lock;
	struct drover_link *main, *urgent[DEST_URGENT_MAX];
	int bell;
	struct drover_ahead *ahead;
	pthread_t thread[DEST_URGENT_MAX];
	struct fault_thread *arg;
	unsigned int nthreads;
};

/**
 * struct session - from an accepted HELLO to its end
 * @block: source's block number -> ours
 * @pc: postcopy is possible or under way; drover_dest.pc's from COMMIT on, until then its own
 * @npostcopy: urgent channels that may join
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
	struct postcopy *pc;
	unsigned int npostcopy;
	unsigned int nblocks;
	unsigned int block[DROVER_RAM_BLOCKS_MAX];
	bool skip[DROVER_RAM_BLOCKS_MAX];       /* by source's number */
	_Atomic unsigned int ndata;     /* 0 until data channels may join */
	_Atomic uint64_t raw_pages, zero_pages;
	uint64_t final_ns;      /* the guest is known to be stopped since then */
	uint64_t beat_ns;       /* postcopy: of the last look at what is due */

	/* STATE */
	int state_fd;
	uint64_t state_off, state_total;
	bool have_run, run, have_guest, loaded;
	atomic_bool state_done;
	char section[DROVER_SECTION_NAME_MAX + 1];
	/* DIGEST */
	bool digest_asked_pages, digest_partial, digest_ok;
	uint64_t digest_next;           /* next index expected */
	unsigned int digest_block;
	struct drover_msg_digest_ack *diff;

	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool dead;
	struct drover_error error;
	unsigned int refs;
	struct drover_link *data[256];
	struct drover_link *urgent[DEST_URGENT_MAX];
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
	struct postcopy *pc;    /* of the guest that runs here; set once */
	bool completed;
	char refused[DROVER_ERR_MAX];           /* why the last connection was dropped */
	uint8_t fenced[DEST_FENCED_MAX][DROVER_TOKEN_LEN];
	unsigned int nfenced;
};

/* listen.c */
int dest_prepare_guest(struct drover_dest *d, struct drover_error *e);
void dest_refuse(struct drover_dest *d, const char *why);
int dest_record(struct drover_dest *d, enum drover_owner_state state, const uint8_t *token,
		struct drover_error *e);
void dest_publish_addresses(struct drover_dest *d);
/* hello.c: 0 accepted, session filled in and answered; < 0 refused and told */
int dest_hello(struct drover_dest *d, struct drover_link *l, size_t hello_len,
	       struct session **ret, struct drover_error *e);
struct session *session_free(struct session *x);
int session_new(struct drover_dest *d, struct drover_link *l, const struct drover_msg_hello *h,
		struct session **ret, struct drover_error *e);
/* Pair the blocks; what does not fit is added to @no. */
struct json_object;
void hello_match_blocks(struct session *x, const struct drover_msg_hello *h,
			struct json_object *no);
int hello_answer(struct session *x, uint32_t status, struct json_object *text,
		 uint64_t features, struct drover_error *e);
/* session.c */
void session_main(struct session *x);
void session_kill(struct session *x, const struct drover_error *e);
bool session_dead(struct session *x);
/* After COMMIT: the connection is over, the migration is not. @x stays the caller's. */
void session_pause(struct session *x, int r, const struct drover_error *e);
/* pages.c */
int session_pages(struct session *x, struct drover_link *l, const struct drover_frame *f,
		  struct drover_error *e);
int session_round_end(struct session *x, struct drover_link *l, const struct drover_frame *f,
		      uint32_t *ret_round, struct drover_error *e);
/* A data channel: ATTACH has been read; runs until the session ends. */
void session_attach(struct drover_dest *d, struct drover_link *l, size_t len);
/* state.c */
int session_state(struct session *x, const struct drover_frame *f, struct drover_error *e);
int session_commit(struct session *x, size_t len, struct drover_error *e);
int session_end_one_way(struct session *x, size_t len, struct drover_error *e);
int session_released(struct session *x, size_t len, struct drover_error *e);
/* pending.c */
int pc_new(struct drover_dest *d, struct drover_ledger *ledger, struct postcopy **ret,
	   struct drover_error *e);
/* @open: everybody who waits goes on, as before a guest is emptied */
struct postcopy *pc_free(struct postcopy *pc, bool open);
int pc_arm(struct postcopy *pc, bool adopt, struct drover_error *e);
void pc_drop_claims(struct postcopy *pc);
int session_discard(struct session *x, size_t len, struct drover_error *e);
/** struct arrival - the argument of pending_place: of which session, by which channel */
struct arrival {
	struct session *x;
	const char *channel;
};
extern const struct drover_place_ops pending_place;
int pc_wait_all(struct session *x, struct drover_error *e);
void pc_all_here(struct postcopy *pc);
int dest_blocktime(struct drover_migration *m, struct drover_blocktime_report *ret);
int pc_finish(struct postcopy *pc, struct drover_error *e);
int pc_release(struct session *x, struct drover_error *e);
/* faults.c */
int pc_threads_start(struct postcopy *pc, struct drover_error *e);
void pc_threads_stop(struct postcopy *pc);
void pc_online(struct postcopy *pc, struct session *x);
void pc_offline(struct postcopy *pc);
void pc_urgent(struct postcopy *pc, unsigned int index, struct drover_link *l);
/* resume.c: as dest_hello() */
int dest_resume(struct drover_dest *d, struct drover_link *l, const struct drover_msg_hello *h,
		struct session **ret, struct drover_error *e);
/* What an earlier droverd left in the VMM is ours. */
int dest_adopt(struct drover_dest *d, struct drover_error *e);
/* digest.c */
/* Postcopy: digests come once more, when all is here. */
void session_digest_again(struct session *x);
/* And the first time, before anything is asked for: of what is there then. */
int session_digest_first(struct session *x, struct drover_error *e);
int session_digest(struct session *x, size_t len, struct drover_error *e);
/* owner.c */
void dest_owner_query(struct drover_dest *d, struct drover_link *l, size_t len);
void dest_fence(struct drover_dest *d, const uint8_t *token);

#endif
