/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_MIGRATION_H
#define DROVER_ENGINE_MIGRATION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "address/address.h"
#include "base/cancel.h"
#include "base/err.h"
#include "base/log.h"
#include "config/config.h"
#include "engine/state.h"
#include "guest/ops.h"

/*
 * One migration, seen from one side. A migration runs in threads of its own; every
 * function here returns at once. A handle is good for one migration; the daemon makes
 * a new one for the next.
 */
struct drover_migration;

enum drover_side { DROVER_SIDE_SOURCE, DROVER_SIDE_DEST };

/**
 * enum drover_mode - what a handle is for
 * @DROVER_MODE_MIGRATE: a migration
 * @DROVER_MODE_SETTLE: source: do not migrate, settle the guest's in-doubt record with its
 *	peer; destination: only answer OWNER_QUERY about the guest's record
 * @DROVER_MODE_TAKE_UP: take up a postcopy whose droverd has died: the state is
 *	postcopy-paused at once. Source: its guest's record is serving, the destination knows
 *	what it lacks, and the config comes from there; waits for resume, whatever the channels
 *	are. Destination: the guest link has its ledger (guest ops ledger_get()), the config is
 *	in it; listens on the channels
 */
enum drover_mode { DROVER_MODE_MIGRATE, DROVER_MODE_SETTLE, DROVER_MODE_TAKE_UP };

enum drover_event_type {
	DROVER_EVENT_STATE,             /* MIGRATION: @state */
	DROVER_EVENT_PASS,              /* MIGRATION_PASS: @pass */
	DROVER_EVENT_STOP,              /* the guest was stopped here */
	DROVER_EVENT_RESUME,            /* the guest runs here (again) */
	DROVER_EVENT_LATE_WRITER,       /* @block, @page: written after its last send (audit, full, final harvest) */
	DROVER_EVENT_AUDIT_DONE,        /* @pages re-hashed, @differences found */
	DROVER_EVENT_SETTLED,           /* an in-doubt session was settled: @owned tells whether here */
	DROVER_EVENT_CHECK,             /* the guest's self-check ended; ask guest ops check() */
};

struct drover_event {
	enum drover_event_type type;
	enum drover_state state;
	uint64_t pass;
	const char *block;              /* valid during the call only */
	uint64_t page;
	uint64_t pages, differences;
	bool owned;
};

/**
 * struct drover_migration_params - what one migration is made of
 * @side: source or destination
 * @config: immutable; copied. Already checked as a whole
 * @present: destination: which members its request gave (negotiation)
 * @guest: borrowed; must outlive the handle
 * @channels: copied. Source: where to; destination: where to listen
 * @fd: descriptor for a main address of transport fd, already resolved by the caller
 *	(inherited number or getfd name); taken over on success; -1 otherwise
 * @mode: see enum drover_mode
 * @host_limit: path of the limit that all migrations of this host share; NULL: none; the
 *	string outlives the handle
 * @discard: destination: an image that may be the only one is given up
 * @announce: the caller announces the guest's addresses when it has arrived
 * @after: the handle of the migration before, on the same guest, that was retired
 *	(drover_migration_retire()); NULL: none. Taken over on success: the new migration's
 *	thread waits for its threads, and frees it, before it does anything with the guest
 * @event: called from the migration's threads; must not call back into the handle
 * @done: called when the handle is freed, by whatever thread does that: the last use of
 *	@opaque; NULL: nobody wants to know
 * @log: for debug messages; outlives the handle
 */
struct drover_migration_params {
	enum drover_side side;
	const struct drover_config *config;
	const struct drover_presence *present;
	struct drover_guest *guest;
	const struct drover_channel_list *channels;
	int fd;
	enum drover_mode mode;
	const char *host_limit;
	bool announce;
	bool discard;
	struct drover_migration *after;
	void (*event)(void *opaque, const struct drover_event *ev);
	void (*done)(void *opaque);
	void *opaque;
	const struct drover_log *log;
};

/* Transport against config alone: what comes before the run state in the order of checks. */
int drover_migration_check_transport(const struct drover_migration_params *p,
				     struct drover_error *e);

/**
 * drover_migration_check() - can this migration be tried? no side effects
 *
 * Transport against config, then feasibility: every option that needs what this
 * build, host or guest link lacks is refused by name. Order as in design.md.
 */
int drover_migration_check(const struct drover_migration_params *p, struct drover_error *e);

/**
 * drover_migration_start() - start it
 *
 * The destination's sockets are bound before this returns (errors are the
 * caller's); everything else happens in threads and shows as state and error-desc.
 */
int drover_migration_start(const struct drover_migration_params *p, struct drover_migration **ret,
			   struct drover_error *e);

/**
 * drover_migration_retire() - end it without waiting for its guest or its peer
 *
 * Rings the bell, and waits for nothing but that its listeners are closed, which the thread
 * that accepts does at once; so their addresses can be bound again. The handle is still to be
 * freed, which may take as long as a request to the guest: by the migration that comes @after
 * it, or by a thread that may wait.
 */
void drover_migration_retire(struct drover_migration *m);

/* Ring the bell, wait for all threads, release everything. NULL is fine. Returns NULL */
struct drover_migration *drover_migration_free(struct drover_migration *m);

/*
 * Cancel: 0 also when it has ended already; -EBUSY with a message once the guest may have
 * been handed over (COMMIT was sent).
 */
/* The guest's VMM has died, or its link has ended: a migration that can be undone ends. */
void drover_migration_guest_gone(struct drover_migration *m);
int drover_migration_cancel(struct drover_migration *m, struct drover_error *e);
/* migrate-continue: @state must be the present one (pre-switchover), else -EINVAL */
int drover_migration_continue(struct drover_migration *m, enum drover_state state,
			      struct drover_error *e);
/*
 * Can these RUNTIME values be used here? What other options need was judged at the start.
 * -EOPNOTSUPP with the name of the first that can't
 */
int drover_migration_check_runtime(const struct drover_migration *m, const struct drover_config *cfg,
				   struct drover_error *e);
/* New values for options flagged RUNTIME; the caller has checked everything. */
void drover_migration_set_runtime(struct drover_migration *m, const struct drover_config *cfg);
/*
 * settle --force: decide an in-doubt session without the peer. @own: the guest runs here.
 * Not @own on a paused postcopy's source gives up what the destination still lacks.
 * -EINVAL when neither is so.
 */
int drover_migration_settle(struct drover_migration *m, bool own, struct drover_error *e);

/*
 * Postcopy. start: the guest shall run at the destination now, -EINVAL unless this is a source
 * before its switchover with postcopy-ram on. pause: -EINVAL unless postcopy-active; both
 * sides become postcopy-paused. resume: a paused source connects to @channels (copied) and goes
 * on; its settings are the session's. recover: a paused destination listens on @channels too;
 * bound before this returns.
 */
int drover_migration_start_postcopy(struct drover_migration *m, struct drover_error *e);
int drover_migration_pause(struct drover_migration *m, struct drover_error *e);
int drover_migration_resume(struct drover_migration *m, const struct drover_channel_list *channels,
			    struct drover_error *e);
int drover_migration_recover(struct drover_migration *m,
			     const struct drover_channel_list *channels, struct drover_error *e);

/* Source: COMMIT was sent, and nobody has said yet who owns the guest. */
bool drover_migration_in_doubt(const struct drover_migration *m);
enum drover_state drover_migration_state(const struct drover_migration *m);
/* The config in force (negotiated, RUNTIME changes applied), a copy. */
int drover_migration_config(struct drover_migration *m, struct drover_config *ret);
/* All threads have ended (the destination may go on answering OWNER_QUERY). */
bool drover_migration_ended(const struct drover_migration *m);
/* verify=audit's re-hash is still running: quit waits for it or reports it unfinished. */
bool drover_migration_auditing(const struct drover_migration *m);

/* A number and when it was last updated (monotonic ns; 0: never, shown as absent). */
struct drover_measure {
	_Atomic uint64_t value;         /* f64: bits of the double */
	_Atomic uint64_t at;
};

struct drover_stats {
#define STAT(group, json, member, type, unit, doc) struct drover_measure member;
#include "engine/stats.def"
#undef STAT
};

/* Live counters, readable from any thread while the handle exists. */
const struct drover_stats *drover_migration_stats(const struct drover_migration *m);

/** struct drover_round - a round of the source, or several: engine/rounds.def */
struct drover_round {
#define ROUND(member, json, merge, unit, doc) uint64_t member;
#include "engine/rounds.def"
#undef ROUND
};

#define DROVER_ROUNDS_MAX 64

/** struct drover_rounds - all rounds so far, oldest first; a long past is merged */
struct drover_rounds {
	struct drover_round round[DROVER_ROUNDS_MAX];
	unsigned int n;
};
void drover_rounds_add(struct drover_rounds *h, const struct drover_round *r);
void drover_migration_rounds(struct drover_migration *m, struct drover_rounds *ret);

struct drover_blocktime_report;
/* How long the guest waited for pages; -ENOENT: not a postcopy's destination, or not asked for. */
int drover_migration_blocktime(struct drover_migration *m, struct drover_blocktime_report *ret);

#define DROVER_PAGE_NAMES_MAX 16
/**
 * struct drover_migration_info - what is not a number
 * @error_desc: object, step, cause; empty when all is well
 * @tracker: "pagemap-scan+holes", and why the others were refused
 * @fault_handler: destination in postcopy: "userfaultfd"
 * @zero_copy: "on", "off: ...reason"
 * @digest: "none", "equal", "differ: ..."
 * @peer: other end of the main channel
 * @session: source in postcopy: the first bytes of its token
 * @listening: destination: real addresses, JSON array text of SocketAddress objects
 * @channels: channels in use, main included
 * @bad_page: pages named by a digest or audit alarm ("ram0:4711")
 */
struct drover_migration_info {
	enum drover_state state;
	char error_desc[DROVER_ERR_MAX];
	char tracker[64];
	char fault_handler[64];
	char tracker_report[DROVER_TRACK_REPORT_MAX];
	char zero_copy[128];
	char digest[256];
	char peer[256];
	char session[16];
	char listening[1024];
	unsigned int channels;
	struct {
		uint64_t tx_bytes, rx_bytes;
		char name[32];
	} channel[DROVER_CHANNELS_MAX];
	unsigned int nbad;
	char bad_page[DROVER_PAGE_NAMES_MAX][96];
};
void drover_migration_info(struct drover_migration *m, struct drover_migration_info *ret);

#endif
