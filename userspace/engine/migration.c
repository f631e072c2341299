// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The handle of a migration: its life and its state. What the two sides do is in source/ and
 * dest/, behind struct drover_side_ops; what the daemon sees is in view.c, what it orders in
 * orders.c. Nothing here waits, except drover_migration_free(), which waits for threads that
 * the bell has woken.
 */
#include "engine/migration.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/trace.h"
#include "channel/channel.h"
#include "engine/internal.h"

bool drover_state_set(struct drover_migration *m, enum drover_state from, enum drover_state to)
{
	struct drover_event ev = { .type = DROVER_EVENT_STATE, .state = to };
	int want = from;

	if (!drover_state_edge(from, to, m->side == DROVER_SIDE_SOURCE))
		return false;
	if (!atomic_compare_exchange_strong(&m->state, &want, (int)to))
		return false;
	drover_trace_state(m->ops->name, drover_state_name(from), drover_state_name(to));
	if (m->sink.event)
		m->sink.event(m->sink.opaque, &ev);
	return true;
}

void drover_send_event(struct drover_migration *m, enum drover_event_type type)
{
	struct drover_event ev = { .type = type };

	ev.state = drover_state_get(m);
	ev.pass = drover_stat_get(&m->stats.dirty_sync_count);
	ev.pages = drover_stat_get(&m->stats.audited_pages);
	ev.differences = drover_stat_get(&m->stats.audit_differences);
	if (m->sink.event)
		m->sink.event(m->sink.opaque, &ev);
}

int drover_check_stall(struct drover_migration *m, struct drover_error *e)
{
	uint64_t now = drover_now_ns(), last = atomic_load(&m->time.progress_ns);
	struct drover_runtime rt;

	if (drover_cancelled(&m->cancel))
		return drover_err(e, -ECANCELED, "migration: cancelled");
	drover_runtime_get(m, &rt);
	if (rt.stall_timeout && now > last &&
	    now - last > (uint64_t)rt.stall_timeout * DROVER_NS_PER_MS)
		return drover_err(e, -ETIMEDOUT,
				  "migration: no progress on any channel for %u ms (stall-timeout)",
				  rt.stall_timeout);
	return 0;
}

static void migration_destroy(struct drover_migration *m)
{
	if (m->ops && m->ops->release)
		m->ops->release(m);
	drover_cancel_deinit(&m->cancel);
	drover_channel_list_free(m->channels);
	drover_channel_list_free(m->orders.next_channels);
	drover_settings_deinit(m);
	drover_closep(&m->fd);
	if (m->sink.done)
		m->sink.done(m->sink.opaque);
	pthread_cond_destroy(&m->cond);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

static int migration_new(const struct drover_migration_params *p, struct drover_migration **ret,
			 struct drover_error *e)
{
	struct drover_migration *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return drover_err(e, -ENOMEM, "migration: out of memory");
	drover_lock_init(&m->lock);
	pthread_cond_init(&m->cond, NULL);
	m->fd = -EBADF;
	m->cancel.fd = -EBADF;
	m->side = p->side;
	m->guest = p->guest;
	m->ram = p->guest->ops->ram(p->guest);
	m->mode = p->mode;
	m->ops = p->side == DROVER_SIDE_SOURCE ? &drover_source_side : &drover_dest_side;
	m->announce = p->announce;
	m->orders.discard = p->discard;
	m->sink.event = p->event;
	m->sink.done = p->done;
	m->sink.opaque = p->opaque;
	m->log = p->log;
	m->host_limit = p->host_limit;
	if (p->present)
		m->present = *p->present;
	m->time.started_ns = drover_now_ns();
	drover_progress(m, m->time.started_ns);
	r = drover_settings_init(m, p->config);
	if (r < 0)
		goto fail;
	m->channels = calloc(1, sizeof(*m->channels));
	r = m->channels ? drover_channel_list_copy(p->channels, m->channels) : -ENOMEM;
	if (r < 0)
		goto fail;
	r = drover_cancel_init(&m->cancel, e);
	if (r < 0)
		goto fail;
	*ret = m;
	return 0;
fail:
	m->sink.done = NULL;
	migration_destroy(m);
	return drover_err(e, r, "migration: %s", drover_strerror(r));
}

/* The guest is the last migration's until all of its threads have ended. */
static void *migration_main(void *arg)
{
	struct drover_migration *m = arg;

	m->life.after = drover_migration_free(m->life.after);
	return m->ops->run(m);
}

int drover_migration_start(const struct drover_migration_params *p, struct drover_migration **ret,
			   struct drover_error *e)
{
	bool source = p->side == DROVER_SIDE_SOURCE;
	struct drover_migration *m = NULL;
	int r;

	r = migration_new(p, &m, e);
	if (r < 0)
		return r;
	m->fd = p->fd;
	r = m->ops->prepare ? m->ops->prepare(m, e) : 0;
	if (r < 0)
		goto fail;
	/* Before the thread exists, so that `migrate` answers with the state changed. */
	atomic_store(&m->facts.in_doubt, source && m->mode == DROVER_MODE_SETTLE);
	if (m->mode == DROVER_MODE_MIGRATE)
		drover_state_set(m, DROVER_STATE_NONE, DROVER_STATE_SETUP);
	else if (source || m->mode == DROVER_MODE_TAKE_UP)
		drover_state_set(m, DROVER_STATE_NONE, DROVER_STATE_POSTCOPY_PAUSED);
	m->life.after = p->after;
	r = pthread_create(&m->life.thread, NULL, migration_main, m);
	if (r) {
		m->life.after = NULL;
		r = drover_err(e, -r, "migration: thread: %s", drover_strerror(r));
		goto fail;
	}
	*ret = m;
	return 0;
fail:
	m->fd = -EBADF;         /* the caller keeps it, and @opaque */
	m->sink.done = NULL;
	migration_destroy(m);
	return r;
}

void drover_deaf(struct drover_migration *m)
{
	DROVER_LOCK(&m->lock);

	atomic_store(&m->facts.deaf, true);
	pthread_cond_broadcast(&m->cond);
}

void drover_migration_retire(struct drover_migration *m)
{
	DROVER_LOCK(&m->lock);

	drover_cancel_ring(&m->cancel);
	pthread_cond_broadcast(&m->cond);
	while (m->side == DROVER_SIDE_DEST && !atomic_load(&m->facts.deaf))
		pthread_cond_wait(&m->cond, &m->lock);
}

struct drover_migration *drover_migration_free(struct drover_migration *m)
{
	if (!m)
		return NULL;
	pthread_mutex_lock(&m->lock);
	drover_cancel_ring(&m->cancel);
	pthread_cond_broadcast(&m->cond);
	pthread_mutex_unlock(&m->lock);
	pthread_join(m->life.thread, NULL);
	migration_destroy(m);
	return NULL;
}

bool drover_migration_in_doubt(const struct drover_migration *m)
{
	return atomic_load(&m->facts.in_doubt);
}

enum drover_state drover_migration_state(const struct drover_migration *m)
{
	return drover_state_get(m);
}

int drover_migration_blocktime(struct drover_migration *m, struct drover_blocktime_report *ret)
{
	return m->ops->blocktime ? m->ops->blocktime(m, ret) : -ENOENT;
}

bool drover_migration_ended(const struct drover_migration *m)
{
	return atomic_load(&m->facts.ended);
}

bool drover_migration_auditing(const struct drover_migration *m)
{
	return atomic_load(&m->facts.auditing);
}

const struct drover_stats *drover_migration_stats(const struct drover_migration *m)
{
	return &m->stats;
}

