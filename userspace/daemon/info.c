// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * query-migrate: MigrationInfo as in QEMU, with our own numbers beside it in "drover"
 * and every number's age in "ages". All names come from engine/stats.def. A number
 * that was never updated is absent, except in "ram", whose members are mandatory.
 */
#include <json-c/json.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "daemon/daemon.h"
#include "engine/blocktime.h"

enum group { GROUP_ram, GROUP_top, GROUP_x, GROUP_COUNT };
enum kind { KIND_u64, KIND_f64 };

static const struct stat_row {
	enum group group;
	enum kind kind;
	const char *name;
	size_t offset;
} rows[] = {
#define STAT(grp, json, member, type, unit, doc) \
	{ GROUP_##grp, KIND_##type, json, offsetof(struct drover_stats, member) },
#include "engine/stats.def"
#undef STAT
};

static const struct drover_measure *stat_of(const struct drover_stats *s, const struct stat_row *row)
{
	return (const struct drover_measure *)((const char *)s + row->offset);
}

static struct json_object *stat_value(const struct drover_measure *s, enum kind kind)
{
	uint64_t bits = atomic_load_explicit(&s->value, memory_order_relaxed);
	double v;

	if (kind == KIND_u64)
		return json_object_new_uint64(bits);
	memcpy(&v, &bits, sizeof(v));
	/* JSON has neither infinity nor NaN. */
	return json_object_new_double(isfinite(v) ? v : 0);
}

static void add_stats(const struct drover_stats *s, struct json_object *const group[GROUP_COUNT],
		      struct json_object *ages)
{
	uint64_t now = drover_now_ns();
	size_t i;

	for (i = 0; i < DROVER_ARRAY_SIZE(rows); i++) {
		const struct drover_measure *st = stat_of(s, &rows[i]);
		uint64_t at = atomic_load_explicit(&st->at, memory_order_relaxed);

		if (!at && rows[i].group != GROUP_ram)
			continue;
		json_object_object_add(group[rows[i].group], rows[i].name,
				       stat_value(st, rows[i].kind));
		if (at)
			json_object_object_add(ages, rows[i].name, json_object_new_uint64(
						now > at ? (now - at) / DROVER_NS_PER_MS : 0));
	}
}

static bool has_ram_stats(const struct drover_stats *s)
{
	size_t i;

	for (i = 0; i < DROVER_ARRAY_SIZE(rows); i++)
		if (rows[i].group == GROUP_ram &&
		    atomic_load_explicit(&stat_of(s, &rows[i])->at, memory_order_relaxed))
			return true;
	return false;
}

static void add_text(struct json_object *o, const char *name, const char *text)
{
	if (text[0])
		json_object_object_add(o, name, json_object_new_string(text));
}

static struct json_object *channels(const struct drover_migration_info *info)
{
	struct json_object *a = json_object_new_array();
	unsigned int i;

	for (i = 0; i < info->channels && i < DROVER_CHANNELS_MAX; i++) {
		struct json_object *o = json_object_new_object();

		add_text(o, "name", info->channel[i].name);
		json_object_object_add(o, "tx-bytes",
				       json_object_new_uint64(info->channel[i].tx_bytes));
		json_object_object_add(o, "rx-bytes",
				       json_object_new_uint64(info->channel[i].rx_bytes));
		json_object_array_add(a, o);
	}
	return a;
}

static struct json_object *bad_pages(const struct drover_migration_info *info)
{
	struct json_object *a = json_object_new_array();
	unsigned int i;

	for (i = 0; i < info->nbad && i < DROVER_PAGE_NAMES_MAX; i++)
		json_object_array_add(a, json_object_new_string(info->bad_page[i]));
	return a;
}

static struct json_object *rounds(const struct job *j)
{
	struct json_object *a = json_object_new_array();
	struct drover_rounds h;
	unsigned int i;

	drover_migration_rounds(j->m, &h);
	for (i = 0; i < h.n; i++) {
		struct json_object *o = json_object_new_object();

#define ROUND(member, json, merge, unit, doc) \
		json_object_object_add(o, json, json_object_new_uint64(h.round[i].member));
#include "engine/rounds.def"
#undef ROUND
		json_object_array_add(a, o);
	}
	return a;
}

static uint64_t mean(uint64_t total, uint64_t count)
{
	return count ? total / count : 0;
}

static void add_u64(struct json_object *o, const char *name, uint64_t v)
{
	json_object_object_add(o, name, json_object_new_uint64(v));
}

static void append_u64(struct json_object *a, uint64_t v)
{
	json_object_array_add(a, json_object_new_uint64(v));
}

/*
 * QEMU's members, by threads that waited: which of them are vCPUs nobody tells us, so in
 * @ours each is named by its id.
 */
static void add_threads(const struct drover_blocktime_report *b, struct json_object *o,
			struct json_object *ours)
{
	struct json_object *time = json_object_new_array(), *latency = json_object_new_array();
	struct json_object *threads = json_object_new_array();
	unsigned int i;

	for (i = 0; i < b->nthreads; i++) {
		const struct drover_blocktime_thread *t = &b->thread[i];
		struct json_object *one = json_object_new_object();

		append_u64(time, t->total_ns / DROVER_NS_PER_MS);
		append_u64(latency, mean(t->total_ns, t->count));
		json_object_object_add(one, "thread", json_object_new_int(t->tid));
		add_u64(one, "waits", t->count);
		add_u64(one, "blocked-us", t->total_ns / 1000);
		json_object_array_add(threads, one);
	}
	json_object_object_add(o, "postcopy-vcpu-blocktime", time);
	json_object_object_add(o, "postcopy-vcpu-latency", latency);
	json_object_object_add(ours, "postcopy-threads", threads);
}

static void add_blocktime(const struct job *j, struct json_object *o, struct json_object *ours)
{
	_cleanup_free_ struct drover_blocktime_report *b = malloc(sizeof(*b));
	struct json_object *dist;
	unsigned int i;

	if (!b || drover_migration_blocktime(j->m, b) < 0)
		return;
	add_u64(o, "postcopy-blocktime", b->blocked_ns / DROVER_NS_PER_MS);
	add_u64(o, "postcopy-latency", mean(b->total_ns, b->count));
	add_u64(o, "postcopy-non-vcpu-latency", mean(b->unknown_ns, b->unknown_count));
	dist = json_object_new_array();
	for (i = 0; i < DROVER_BLOCKTIME_BUCKETS; i++)
		append_u64(dist, b->bucket[i]);
	json_object_object_add(o, "postcopy-latency-dist", dist);
	add_threads(b, o, ours);
	add_u64(ours, "postcopy-waits", b->count);
	add_u64(ours, "postcopy-waiting", b->waiting);
	if (b->dropped)
		add_u64(ours, "postcopy-waits-dropped", b->dropped);
}

static void add_ours(struct json_object *o, const struct job *j,
		     const struct drover_migration_info *info)
{
	bool source = j->side == DROVER_SIDE_SOURCE;
	uint64_t dropped = event_queue_dropped(&j->d->events);

	json_object_object_add(o, "side", json_object_new_string(source ? "source" : "destination"));
	add_text(o, "tracker", info->tracker);
	add_text(o, "tracker-report", info->tracker_report);
	add_text(o, "fault-handler", info->fault_handler);
	add_text(o, "zero-copy", info->zero_copy);
	add_text(o, "digest", info->digest);
	add_text(o, "peer", info->peer);
	json_object_object_add(o, "channels", channels(info));
	json_object_object_add(o, "bad-pages", bad_pages(info));
	if (source)
		json_object_object_add(o, "rounds", rounds(j));
	json_object_object_add(o, "auditing",
			       json_object_new_boolean(drover_migration_auditing(j->m)));
	json_object_object_add(o, "in-doubt", json_object_new_boolean(job_in_doubt(j)));
	if (dropped)
		json_object_object_add(o, "events-dropped", json_object_new_uint64(dropped));
}

static struct json_object *of_job(const struct job *j)
{
	const struct drover_stats *stats = drover_migration_stats(j->m);
	struct json_object *o = json_object_new_object(), *ages = json_object_new_object();
	struct json_object *group[GROUP_COUNT] = {
		[GROUP_ram] = json_object_new_object(),
		[GROUP_top] = o,
		[GROUP_x] = json_object_new_object(),
	};
	struct drover_migration_info info;
	struct json_object *listening;

	drover_migration_info(j->m, &info);
	json_object_object_add(o, "status", json_object_new_string(drover_state_name(info.state)));
	add_stats(stats, group, ages);
	if (has_ram_stats(stats))
		json_object_object_add(o, "ram", json_object_get(group[GROUP_ram]));
	json_object_put(group[GROUP_ram]);
	add_text(o, "error-desc", info.error_desc);
	listening = info.listening[0] ? json_tokener_parse(info.listening) : NULL;
	if (listening)
		json_object_object_add(o, "socket-address", listening);
	add_ours(group[GROUP_x], j, &info);
	add_blocktime(j, o, group[GROUP_x]);
	json_object_object_add(o, "ages", ages);
	json_object_object_add(o, "drover", group[GROUP_x]);
	return o;
}

struct json_object *info_build(struct droverd *d)
{
	const struct drover_guest_ops *ops = d->guest->ops;
	const struct job *j = d->job;
	struct json_object *o, *check;

	if (j && !(j->settle && j->side == DROVER_SIDE_DEST) &&
	    drover_migration_state(j->m) != DROVER_STATE_NONE)
		o = of_job(j);
	else if (d->last)
		return json_object_get(d->last);
	else    /* a new daemon knows no migration, but its guest may know one */
		o = json_object_new_object();
	check = ops->check ? ops->check(d->guest) : NULL;
	if (check)
		json_object_object_add(o, "guest-check", check);
	return o;
}
