/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_INTERNAL_H
#define DROVER_ENGINE_INTERNAL_H

/*
 * Shared by the engine's files and by nobody else.
 *
 * migration.c APIs: handle, state, events, statistics.
 * source.c, dest.c: the threads of the two sides; they meet in wire/ only.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "engine/migration.h"
#include "peer/link.h"

/* Operator's word on an in-doubt session. */
enum settle_word { SETTLE_NONE, SETTLE_OWN, SETTLE_RELEASE };

/**
 * struct drover_migration - one migration of one side
 * @cancel: the bell; rung by cancel and by free
 * @state: enum drover_state; changed by compare-and-swap only
 * @config: in force, never changed; replaced as a whole by drover_settings_replace() alone,
 *	before a session has more than its first thread. Other threads read it under @lock
 * @lock: guards everything down to @rounds; taken last, never across a wait but @cond's
 * @cond: signalled when a word of the operator comes (continue, settle) or the bell rings
 * @live: @config with RUNTIME changes applied
 * @error: the first failure
 * @user_cancel: the bell was rung by migrate_cancel
 * @postcopy: a new droverd takes up what another has left
 * @postcopy_asked: migrate-start-postcopy came; @pause_asked: migrate-pause
 * @in_doubt: source: COMMIT was sent and who owns the guest is not known
 * @next_channels: source: what migrate resume=true gave
 * @committing: COMMIT may have been sent (source) or acted on (destination): no cancel
 * @go_on: migrate-continue came
 * @link: channels in use, for statistics; pointers are cleared before a link dies
 * @progress_ns: monotonic time of the last byte that counts as progress
 */
struct drover_migration {
	enum drover_side side;
	struct drover_presence present;
	struct drover_channel_list *channels;
	struct drover_guest *guest;
	const struct drover_ram *ram;
	int fd;
	bool settle, announce, postcopy;
	void (*event)(void *opaque, const struct drover_event *ev);
	void *opaque;
	const struct drover_log *log;
	const char *host_limit;
	struct drover_cancel cancel;
	_Atomic int state;
	atomic_bool ended, auditing;
	atomic_bool postcopy_asked, pause_asked, in_doubt;
	_Atomic uint64_t progress_ns;
	uint64_t started_ns;
	pthread_t thread;
	const struct drover_config *config;

	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct drover_config live;
	struct drover_error error;
	bool user_cancel, committing, go_on;
	enum settle_word word;
	struct drover_channel_list *next_channels;
	struct drover_link *link[DROVER_CHANNELS_MAX];
	unsigned int nlinks;
	struct drover_migration_info info;
	struct drover_rounds rounds;

	struct drover_stats stats;
	struct drover_dest *dest;       /* the incoming side's half */
};

/* Threads */
void *drover_source_main(void *m);
void *drover_dest_main(void *m);
/* Destination: bind before the thread starts; the result is handed to the thread. */
struct drover_dest;
int drover_dest_prepare(struct drover_migration *m, struct drover_error *e);
void drover_dest_release(struct drover_migration *m);
int drover_dest_blocktime(struct drover_migration *m, struct drover_blocktime_report *ret);

/* State: compare-and-swap along a legal edge; true when this call won it (and sent the event). */
bool drover_state_set(struct drover_migration *m, enum drover_state from, enum drover_state to);
static inline enum drover_state drover_state_get(const struct drover_migration *m)
{
	return (enum drover_state)atomic_load(&m->state);
}

/* The first failure of the migration is what error-desc says. */
void drover_fail(struct drover_migration *m, const struct drover_error *e);
/* All is well again: a paused postcopy goes on. */
void drover_unfail(struct drover_migration *m);
void drover_send_event(struct drover_migration *m, enum drover_event_type type);
void drover_late_writer(struct drover_migration *m, const char *block, uint64_t page);
void drover_name_page(struct drover_migration *m, const char *block, uint64_t page);
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
	atomic_store_explicit(&m->progress_ns, now, memory_order_relaxed);
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

/* Is this the moment after which nobody may cancel? false: the bell has been rung before. */
bool drover_commit_point(struct drover_migration *m);
/* -ECANCELED or the error of the stall timeout */
int drover_check_stall(struct drover_migration *m, struct drover_error *e);

#endif
