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
#include "engine/estimate.h"
#include "engine/hostlimit.h"
#include "engine/internal.h"
#include "engine/limit.h"
#include "engine/policy.h"
#include "engine/source/digest.h"
#include "engine/source/encode.h"
#include "engine/source/memory.h"
#include "engine/source/ranges.h"
#include "engine/source/sender.h"
#include "engine/source/urgent.h"
#include "engine/source/work.h"

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
	struct drover_link *urgent_link[DROVER_ATTACH_POSTCOPY_MAX + 1];
	struct urgent_pool urgent;
	unsigned int nurgent;
	uint64_t handed_over;   /* bytes sent when the guest began to run there */
	uint64_t lost_bytes;    /* sent on channels that are gone */
	bool switchover_ok;     /* SWITCHOVER_ACK came, or none is wanted */
	bool switchover_asked;
	struct digests digests;
	struct work work;
	struct encoder encoder;
	struct sender_pool pool;
	struct drover_limit *limit;
	struct drover_hostlimit *hostlimit;

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
/* A batch has been sent: its pages count. Any thread. */
void source_sent(struct drover_source *s, const struct page_batch *b);
uint64_t source_sent_bytes(const struct drover_source *s, uint64_t *ret_unsent);
/* serve.c */
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
int source_round(struct drover_source *s, enum work_kind kind, struct drover_error *e);
/* max-bandwidth, in postcopy max-postcopy-bandwidth, or our share of the host's. */
void source_apply_limit(struct drover_source *s);
int source_precopy(struct drover_source *s, struct drover_error *e);
/* switchover.c */
int source_switchover(struct drover_source *s, struct drover_error *e);
/* The VMM's record, of this session. SERVING of a VMM that doesn't know it: RELEASED */
int source_record(struct drover_source *s, enum drover_owner_state state, struct drover_error *e);
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
