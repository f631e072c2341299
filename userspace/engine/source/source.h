/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_SOURCE_SOURCE_H
#define DROVER_ENGINE_SOURCE_SOURCE_H

/*
 * The source's own files and nobody else.
 *
 * thread.c  the thread: the order of things, and what happens when one fails
 * memory.c  the guest's RAM: what is dirty, what was sent, the tracker
 * hello.c  connect, HELLO, ATTACH
 * inbox.c  what comes back on the main channel
 * sender.c  channel threads: scan, digest, send
 * rounds.c  rounds and the decision to stop
 * switchover.c  stop, last pages, state, digests, COMMIT
 * serve.c  the guest runs there: push, serve, pause, resume
 * urgent.c  pages somebody waits for
 * audit.c  re-hash of the frozen RAM
 * settle.c  OWNER_QUERY until somebody knows
 */
#include "base/zero.h"
#include "engine/estimate.h"
#include "engine/hostlimit.h"
#include "engine/internal.h"
#include "engine/limit.h"
#include "engine/policy.h"
#include "engine/source/memory.h"

/* Raw pages a frame: 256 KiB keeps scan, digest and copy in the cache. */
#define SENDER_PAGES 64u
/* Bitmap words a unit of work may span; bounds the zero runs of a frame. */
#define SENDER_WORDS 128u
#define SENDER_RUNS (2u * SENDER_WORDS)
#define SENDER_SLOTS 32u
#define SENDER_HEAD 8192u


struct drover_source;

/* A frame under way: with zero-copy it is the kernel's until send `zc_seq` is notified. */
struct sender_slot {
	uint8_t head[SENDER_HEAD];
	uint64_t zc_seq;
};

/**
 * struct sender - one channel that carries pages, and its thread
 * @link: borrowed from the source
 * @owed: bytes not yet taken from the limit
 * @waiting: it sleeps in the rate limit, which counts as progress
 */
struct sender {
	struct drover_source *s;
	struct drover_link *link;
	struct sender_slot *slot;
	unsigned int next_slot;
	pthread_t thread;
	bool started;
	uint64_t owed;
	atomic_bool waiting;
};

/**
 * struct round_work - the pages of a round, taken by senders unit by unit
 * @lock: guards all members but @taken
 * @cond: a round opened, or @stop
 * @generation: counts rounds opened; a sender runs each once
 * @running: senders that have not finished the round
 * @taken: pages taken so far
 * @empty: no pages, the end of the round only
 */
struct round_work {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	unsigned int generation;
	unsigned int running;
	bool stop;
	bool final;
	bool empty;
	uint32_t round;
	unsigned int block;
	uint64_t word;
	struct drover_error error;      /* the first sender that failed */
	_Atomic uint64_t taken;
};

/**
 * struct urgent - postcopy: a channel for pages that are waited for, and its thread
 * @link: borrowed from the source
 */
struct urgent {
	struct drover_source *s;
	struct drover_link *link;
	pthread_t thread;
	bool started;
};

struct drover_source {
	struct drover_migration *m;
	struct source_memory mem;
	struct drover_link *main;
	struct drover_link **data;
	unsigned int ndata;
	uint8_t token[DROVER_TOKEN_LEN];
	char peer[DROVER_OWNER_PEER_MAX];
	bool one_way;
	bool multifd;
	bool zero_copy;
	bool was_running;       /* before the migration: it runs again when that fails */
	bool paused;            /* by us */
	bool postcopy;          /* the guest runs, or will, before all is sent */
	bool adopted;           /* what was sent before is another droverd's knowledge */
	_Atomic uint64_t left;  /* pages to send, in postcopy */
	struct drover_link *urgent_link[DROVER_ATTACH_POSTCOPY_MAX + 1];
	struct urgent urgent[DROVER_ATTACH_POSTCOPY_MAX + 1];
	unsigned int nurgent;
	atomic_bool parting;    /* urgent threads end: no error */
	uint64_t handed_over;   /* bytes sent when the guest began to run there */
	uint64_t lost_bytes;    /* sent on channels that are gone */
	bool switchover_ok;     /* SWITCHOVER_ACK came, or none is wanted */
	bool switchover_asked;
	uint64_t group_ns;      /* what one took lately */
	uint64_t stale_groups;  /* at the last harvest */
	struct round_work work;
	struct sender *sender;
	unsigned int nsenders;
	int wake_fd;            /* eventfd: the round is over, or a sender failed */
	struct drover_limit *limit;
	struct drover_hostlimit *hostlimit;
	drover_zero_fn is_zero;
	bool detect_zero;

	_Atomic uint64_t normal, duplicate;     /* pages */
	uint32_t round;
	uint64_t dirty_pages;   /* at the last harvest */
	uint64_t harvest_ns;    /* when */
	uint64_t harvest_us;    /* how long it took */
	uint64_t dirty_rate;    /* bytes/s */
	uint32_t acked_round;   /* the destination has placed it and all before */
	struct drover_drain drain;      /* how long rounds took */
	uint64_t bandwidth;     /* bytes/s drained, 0: not known yet */
	uint64_t rate_ns, rate_bytes;   /* measured and not yet in it */
	uint64_t rtt_us;
	uint64_t state_bytes;   /* of the save */
	unsigned int throttle;
	unsigned int high_rounds;       /* the policy's memory */
	uint64_t lowest;        /* bytes: the least that remained, and after which round */
	uint32_t lowest_round;
	uint64_t tick_ns, tick_bytes, tick_pages;       /* for the rates of the last interval */
	uint64_t ping_ns;
	uint64_t pong_ns;
	uint64_t stop_ns;       /* guest stopped */
	uint64_t lap_ns;        /* where the last part of the downtime ended */
	uint64_t expected_us;   /* DROVER_ESTIMATE_UNKNOWN: nobody knows */
};

/* hello.c */
int source_connect(struct drover_source *s, struct drover_error *e);
/* The same for a session that goes on: its token, its config, no ranges. */
int source_reconnect(struct drover_source *s, struct drover_error *e);
int source_attach_all(struct drover_source *s, struct drover_error *e);
/* inbox.c */
/* Handle what is there without waiting. */
int source_poll(struct drover_source *s, struct drover_error *e);
/* A channel failed: give the destination a moment to say why; returns what is known. */
int source_why(struct drover_source *s, const struct drover_error *channel, struct drover_error *e);
/* Wait for a message of this type; its body is s->main->body, its length *ret_len. */
int source_wait(struct drover_source *s, enum drover_msg_type type, size_t *ret_len,
		struct drover_error *e);
/* Until the destination has placed all rounds that were sent. */
int source_wait_round(struct drover_source *s, struct drover_error *e);
int source_ping(struct drover_source *s, struct drover_error *e);
int source_measure_rtt(struct drover_source *s, struct drover_error *e);
void source_tick(struct drover_source *s);
uint64_t source_sent_bytes(const struct drover_source *s, uint64_t *ret_unsent);
/* sender.c */
int senders_start(struct drover_source *s, struct drover_error *e);
void senders_stop(struct drover_source *s);
/* The source's thread looks again. */
void sender_wake(struct drover_source *s);
void senders_near(struct drover_source *s, unsigned int block, uint64_t page);
int sender_page(struct drover_source *s, struct drover_link *l, unsigned int block, uint64_t page,
		struct drover_error *e);
void senders_open_round(struct drover_source *s, uint32_t round, bool final);
bool senders_round_over(struct drover_source *s, struct drover_error *ret_error);
bool senders_waiting(struct drover_source *s);
/* urgent.c: the channels of postcopy-preempt, and what is asked for */
int urgent_start(struct drover_source *s, struct drover_error *e);
void urgent_stop(struct drover_source *s);
/* PAGE_REQ, on any channel: answered on the same. */
int source_page_req(struct drover_source *s, struct drover_link *l, size_t len,
		    struct drover_error *e);
int source_release(struct drover_source *s, size_t len, struct drover_error *e);
/* serve.c */
/* After the final round, before the state: what will come later. */
int source_discard(struct drover_source *s, struct drover_error *e);
/*
 * The guest runs at the destination. @paused: by now nothing is connected.
 * 0: all has arrived; 1: that was found out later, or it was given up: all is said and done;
 * -ECANCELED: this daemon ends, another may go on
 */
int source_postcopy(struct drover_source *s, bool paused, struct drover_error *e);
/* For who is told that it is in the way: enough to know it by, too little to take it over. */
void source_session_text(struct drover_source *s);
/* rounds.c */
int source_harvest(struct drover_source *s, bool final, struct drover_error *e);
/* @final: the guest is stopped */
int source_round(struct drover_source *s, bool final, struct drover_error *e);
/* max-bandwidth, in postcopy max-postcopy-bandwidth, or our share of the host's. */
void source_apply_limit(struct drover_source *s);
int source_precopy(struct drover_source *s, struct drover_error *e);
/* switchover.c */
int source_switchover(struct drover_source *s, struct drover_error *e);
/* The VMM's record, of this session. SERVING of a VMM that doesn't know it: RELEASED */
int source_record(struct drover_source *s, enum drover_owner_state state, struct drover_error *e);
/* digest.c */
int source_digest_init(struct drover_source *s, struct drover_error *e);
/* After a harvest: groups that must be done again, and their number. */
uint64_t source_digest_stale(struct drover_source *s);
/* Groups that nothing will be sent of, done before the guest stops. */
void source_digest_ahead(struct drover_source *s);
/* All that are left: in postcopy before the first page is asked for. */
void source_digest_now(struct drover_source *s);
int source_digest(struct drover_source *s, struct drover_error *e);
/* Of the pages in @known only, one by one. */
int source_digest_known(struct drover_source *s, struct drover_error *e);
int source_digest_ack(struct drover_source *s, struct drover_error *e);
/* audit.c: re-hash; @ret_bad pages differ and were named */
int source_rehash(struct drover_source *s, uint64_t *ret_bad, struct drover_error *e);
/* settle.c */
/* true: the destination owns the guest */
bool source_settle(struct drover_source *s, bool need_resume);
/* The destination knows the session no more: because it needs nothing any more? */
bool source_done_there(struct drover_source *s);
/* What another droverd left in the guest's record: token and peer. */
int source_adopt_record(struct drover_source *s, struct drover_error *e);
/* thread.c */
void source_resume_guest(struct drover_source *s);

#endif
