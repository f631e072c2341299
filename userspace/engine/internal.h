/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_INTERNAL_H
#define DROVER_ENGINE_INTERNAL_H

/*
 * Shared by the engine's files and by nobody else.
 *
 * migration.c: handle and state; view.c: what the daemon sees; orders.c: what it orders;
 * settings.c: the config. source/, dest/: the two sides, which meet in wire/ only.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "engine/migration.h"
#include "peer/link.h"

/* Operator's word on an in-doubt session. */
enum settle_word { SETTLE_NONE, SETTLE_OWN, SETTLE_RELEASE };

/**
 * struct drover_side_ops - what migration.c knows of the two sides
 * @name: "source", "destination"
 * @prepare: what must be done before the thread starts, so that its errors are the caller's; NULL: nothing
 * @run: the side's thread; its argument is the migration
 * @release: after the thread has ended; accepts what a failed @prepare left; NULL: nothing
 * @blocktime: NULL where no guest waits for pages
 */
struct drover_side_ops {
	const char *name;
	int (*prepare)(struct drover_migration *m, struct drover_error *e);
	void *(*run)(void *m);
	void (*release)(struct drover_migration *m);
	int (*blocktime)(struct drover_migration *m, struct drover_blocktime_report *ret);
};

extern const struct drover_side_ops drover_source_side, drover_dest_side;

/**
 * struct drover_orders - what the operator has ordered; orders.c
 * @user_cancel: the bell was rung by migrate_cancel
 * @committing: COMMIT may have been sent (source) or acted on (destination): no cancel
 * @go_on: migrate-continue came
 * @word: of settle --force
 * @next_channels: source: what migrate resume=true gave
 * @postcopy_asked: migrate-start-postcopy came
 * @pause_asked: migrate-pause came
 * @discard: destination: an image that may be the only one is given up; never changes
 */
struct drover_orders {
	bool user_cancel, committing, go_on;
	enum settle_word word;
	struct drover_channel_list *next_channels;
	atomic_bool postcopy_asked, pause_asked;
	bool discard;
};

/**
 * struct drover_view - what the daemon sees; view.c
 * @error: the first failure
 * @link: channels in use; a pointer is cleared before its link dies
 */
struct drover_view {
	struct drover_error error;
	struct drover_link *link[DROVER_CHANNELS_MAX];
	unsigned int nlinks;
	struct drover_migration_info info;
	struct drover_rounds rounds;
};

/* Where events go; never changed. @done: as in struct drover_migration_params */
struct drover_sink {
	void (*event)(void *opaque, const struct drover_event *ev);
	void (*done)(void *opaque);
	void *opaque;
};

/**
 * struct drover_facts - small truths that the daemon's thread asks for
 * @ended: all threads of the side have ended
 * @auditing: verify=audit's re-hash is still running
 * @in_doubt: source: COMMIT was sent and who owns the guest is not known
 * @deaf: nothing is listened on, and nothing will be; drover_deaf()
 */
struct drover_facts {
	atomic_bool ended, auditing, in_doubt, deaf;
};

/**
 * struct drover_time - monotonic times, ns
 * @progress_ns: when the last byte came or went that counts as progress
 */
struct drover_time {
	uint64_t started_ns;
	_Atomic uint64_t progress_ns;
};

/**
 * struct drover_life - the side's thread
 * @after: the migration before, until the thread of this one has freed it
 */
struct drover_life {
	pthread_t thread;
	struct drover_migration *after;
};

/**
 * struct drover_migration - one migration of one side
 * @side, @mode, @ops, @present, @guest, @ram, @announce, @log, @host_limit, @sink: never change
 * @channels: source: where to; replaced by the source's thread when a postcopy is resumed
 * @fd: until a channel takes it over
 * @cancel: the bell; rung by cancel and by free
 * @state: enum drover_state; changed by drover_state_set() only
 * @config: in force, never changed; replaced as a whole by drover_settings_replace() alone,
 *	before a session has more than its first thread. Other threads read it under @lock
 * @lock: guards @live, @orders and @view; taken last, never across a wait but @cond's
 * @cond: signalled when an order comes or the bell rings
 * @live: @config with RUNTIME changes applied
 * @dest: the incoming side's half
 */
struct drover_migration {
	enum drover_side side;
	enum drover_mode mode;
	const struct drover_side_ops *ops;
	struct drover_presence present;
	struct drover_channel_list *channels;
	struct drover_guest *guest;
	const struct drover_ram *ram;
	int fd;
	bool announce;
	const struct drover_log *log;
	const char *host_limit;
	struct drover_sink sink;
	struct drover_cancel cancel;
	_Atomic int state;
	struct drover_facts facts;
	struct drover_time time;
	struct drover_life life;
	const struct drover_config *config;

	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct drover_config live;
	struct drover_orders orders;
	struct drover_view view;

	struct drover_stats stats;
	struct drover_dest *dest;
};

/* State: compare-and-swap along a legal edge; true when this call won it (and sent the event). */
bool drover_state_set(struct drover_migration *m, enum drover_state from, enum drover_state to);
static inline enum drover_state drover_state_get(const struct drover_migration *m)
{
	return (enum drover_state)atomic_load(&m->state);
}

/* All listeners are closed, and no other will be opened. */
void drover_deaf(struct drover_migration *m);
/* The first failure of the migration is what error-desc says. */
void drover_fail(struct drover_migration *m, const struct drover_error *e);
/* All is well again: a paused postcopy goes on. */
void drover_unfail(struct drover_migration *m);
void drover_send_event(struct drover_migration *m, enum drover_event_type type);
void drover_late_writer(struct drover_migration *m, const char *block, uint64_t page);
void drover_name_page(struct drover_migration *m, const char *block, uint64_t page);
/* The last failure is what it says from here on, whatever was there before. */
void drover_replace_error(struct drover_migration *m, const struct drover_error *e);
/* Another session begins: what was said of the one before is forgotten. */
void drover_view_reset(struct drover_migration *m, const char *peer);
/* A text of struct drover_migration_info: DROVER_INFO(m, peer, "%s", ...) */
#define DROVER_INFO(m, field, ...)                                                             \
	drover_info_text(m, (m)->view.info.field, sizeof((m)->view.info.field), __VA_ARGS__)
void drover_info_text(struct drover_migration *m, char *field, size_t size, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void drover_link_register(struct drover_migration *m, struct drover_link *l);
void drover_links_forget(struct drover_migration *m);
/* Forget one link, before it is freed. */
void drover_link_forget(struct drover_migration *m, struct drover_link *l);

void drover_stat_u64(struct drover_measure *s, uint64_t v);
void drover_stat_f64(struct drover_measure *s, double v);
/* For counters that several threads move. */
static inline void drover_stat_add(struct drover_measure *s, uint64_t n)
{
	atomic_fetch_add_explicit(&s->value, n, memory_order_relaxed);
	atomic_store_explicit(&s->at, drover_now_ns(), memory_order_relaxed);
}

static inline uint64_t drover_stat_get(const struct drover_measure *s)
{
	return atomic_load_explicit(&s->value, memory_order_relaxed);
}

#define DROVER_STAT(m, member, v) drover_stat_u64(&(m)->stats.member, (v))

static inline void drover_progress(struct drover_migration *m, uint64_t now)
{
	atomic_store_explicit(&m->time.progress_ns, now, memory_order_relaxed);
}

/* RUNTIME options as they are now. */
struct drover_runtime {
	uint64_t max_bandwidth, max_postcopy_bandwidth, avail_switchover_bandwidth, downtime_limit;
	uint32_t stall_timeout, max_rounds, total_timeout;
	int on_no_converge;
};
void drover_runtime_get(struct drover_migration *m, struct drover_runtime *ret);

/* settings.c */
int drover_settings_init(struct drover_migration *m, const struct drover_config *config);
void drover_settings_deinit(struct drover_migration *m);
/**
 * drover_settings_replace() - another config is in force from here on
 * @config: copied
 * @keep_runtime: RUNTIME options stay as they were set while the destination listened
 *
 * The caller is the only thread of its session. Return: 0, or a negative errno: unchanged.
 */
int drover_settings_replace(struct drover_migration *m, const struct drover_config *config,
			    bool keep_runtime);
/* The transport can't be read from: the source's config says so from here on. */
int drover_settings_one_way(struct drover_migration *m, struct drover_error *e);
/* Postcopy taken up: the session's config, from the peer or the ledger, replaces ours. */
struct json_object;
int drover_settings_take(struct drover_migration *m, struct json_object *o, struct drover_error *e);

/* orders.c */
bool drover_order_cancelled(struct drover_migration *m);
/* Has migrate-continue come? Waits up to @wait_ms for it, less when the bell rings. */
bool drover_order_continue(struct drover_migration *m, uint32_t wait_ms);
/* settle --force; waits up to @wait_ms for a word, less when the bell rings. */
enum settle_word drover_order_word(struct drover_migration *m, uint32_t wait_ms);
void drover_order_word_done(struct drover_migration *m);
/* Destination: is an image given up that may be the only one? */
bool drover_order_discard(const struct drover_migration *m);
/*
 * Waits for migrate resume=true. 0: its channels are the migration's; 1: the operator gives
 * the paused postcopy up; -ECANCELED: the bell rang
 */
int drover_order_resume(struct drover_migration *m);
/* migrate-pause; the order is taken. */
bool drover_order_pause(struct drover_migration *m);
static inline bool drover_order_postcopy(const struct drover_migration *m)
{
	return atomic_load_explicit(&m->orders.postcopy_asked, memory_order_relaxed);
}

/* Is this the moment after which nobody may cancel? false: the bell has been rung before. */
bool drover_commit_point(struct drover_migration *m);
/* -ECANCELED or the error of the stall timeout */
int drover_check_stall(struct drover_migration *m, struct drover_error *e);

#endif
