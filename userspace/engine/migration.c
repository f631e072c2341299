// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The handle of a migration: life, state, events, statistics. What the two sides do
 * is in source.c and dest.c; this file is what the daemon sees of them. Nothing here
 * waits, except free(), which waits for threads that the bell has woken.
 */
#include "engine/migration.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/trace.h"
#include "channel/channel.h"
#include "engine/internal.h"

static const char *side_name(const struct drover_migration *m)
{
	return m->side == DROVER_SIDE_SOURCE ? "source" : "destination";
}

bool drover_state_set(struct drover_migration *m, enum drover_state from, enum drover_state to)
{
	struct drover_event ev = { .type = DROVER_EVENT_STATE, .state = to };
	int want = from;

	if (!drover_state_edge(from, to, m->side == DROVER_SIDE_SOURCE))
		return false;
	if (!atomic_compare_exchange_strong(&m->state, &want, (int)to))
		return false;
	drover_trace_state(side_name(m), drover_state_name(from), drover_state_name(to));
	if (m->event)
		m->event(m->opaque, &ev);
	return true;
}

void drover_send_event(struct drover_migration *m, enum drover_event_type type)
{
	struct drover_event ev = { .type = type };

	ev.state = drover_state_get(m);
	ev.pass = drover_stat_get(&m->stats.dirty_sync_count);
	ev.pages = drover_stat_get(&m->stats.audited_pages);
	ev.differences = drover_stat_get(&m->stats.audit_differences);
	if (m->event)
		m->event(m->opaque, &ev);
}

void drover_name_page(struct drover_migration *m, const char *block, uint64_t page)
{
	DROVER_LOCK(&m->lock);

	if (m->info.nbad < DROVER_PAGE_NAMES_MAX)
		snprintf(m->info.bad_page[m->info.nbad++], sizeof(m->info.bad_page[0]), "%s:%llu",
			 block, (unsigned long long)page);
}

void drover_late_writer(struct drover_migration *m, const char *block, uint64_t page)
{
	struct drover_event ev = {
		.type = DROVER_EVENT_LATE_WRITER,
		.block = block,
		.page = page,
	};

	drover_name_page(m, block, page);
	if (m->event)
		m->event(m->opaque, &ev);
}

void drover_fail(struct drover_migration *m, const struct drover_error *e)
{
	DROVER_LOCK(&m->lock);

	if (m->error.code || !e->code)
		return;
	m->error = *e;
	drover_trace_error(side_name(m), -e->code, m->error.msg);
}

void drover_unfail(struct drover_migration *m)
{
	DROVER_LOCK(&m->lock);

	memset(&m->error, 0, sizeof(m->error));
}

void drover_info_text(struct drover_migration *m, char *field, size_t size, const char *fmt, ...)
{
	va_list ap;
	DROVER_LOCK(&m->lock);

	va_start(ap, fmt);
	vsnprintf(field, size, fmt, ap);
	va_end(ap);
}

void drover_link_register(struct drover_migration *m, struct drover_link *l)
{
	DROVER_LOCK(&m->lock);

	if (m->nlinks < DROVER_CHANNELS_MAX)
		m->link[m->nlinks++] = l;
}

void drover_link_forget(struct drover_migration *m, struct drover_link *l)
{
	unsigned int i;
	DROVER_LOCK(&m->lock);

	for (i = 0; i < m->nlinks; i++)
		if (m->link[i] == l)
			m->link[i] = NULL;
}

void drover_links_forget(struct drover_migration *m)
{
	DROVER_LOCK(&m->lock);

	m->nlinks = 0;
}

void drover_stat_u64(struct drover_measure *s, uint64_t v)
{
	atomic_store_explicit(&s->value, v, memory_order_relaxed);
	atomic_store_explicit(&s->at, drover_now_ns(), memory_order_relaxed);
}

void drover_stat_f64(struct drover_measure *s, double v)
{
	uint64_t bits;

	memcpy(&bits, &v, sizeof(bits));
	drover_stat_u64(s, bits);
}

bool drover_commit_point(struct drover_migration *m)
{
	DROVER_LOCK(&m->lock);

	if (drover_cancelled(&m->cancel))
		return false;
	m->committing = true;
	return true;
}

int drover_check_stall(struct drover_migration *m, struct drover_error *e)
{
	uint64_t now = drover_now_ns(), last = atomic_load(&m->progress_ns);
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

static void channels_free(struct drover_channel_list *l)
{
	if (l)
		drover_channel_list_deinit(l);
	free(l);
}

static void migration_destroy(struct drover_migration *m)
{
	drover_dest_release(m);
	drover_cancel_deinit(&m->cancel);
	channels_free(m->channels);
	channels_free(m->next_channels);
	drover_settings_deinit(m);
	drover_closep(&m->fd);
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
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->cond, NULL);
	m->fd = -EBADF;
	m->cancel.fd = -EBADF;
	m->side = p->side;
	m->guest = p->guest;
	m->ram = p->guest->ops->ram(p->guest);
	m->settle = p->settle;
	m->announce = p->announce;
	m->postcopy = p->postcopy;
	m->event = p->event;
	m->opaque = p->opaque;
	m->log = p->log;
	m->host_limit = p->host_limit;
	if (p->present)
		m->present = *p->present;
	m->started_ns = drover_now_ns();
	drover_progress(m, m->started_ns);
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
	migration_destroy(m);
	return drover_err(e, r, "migration: %s", drover_strerror(r));
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
	if (!source) {
		r = drover_dest_prepare(m, e);
		if (r < 0)
			goto fail;
	}
	/* Before the thread exists, so that `migrate` answers with the state changed. */
	atomic_store(&m->in_doubt, source && m->settle);
	if (!m->settle && !m->postcopy)
		drover_state_set(m, DROVER_STATE_NONE, DROVER_STATE_SETUP);
	else if (source || m->postcopy)
		drover_state_set(m, DROVER_STATE_NONE, DROVER_STATE_POSTCOPY_PAUSED);
	r = pthread_create(&m->thread, NULL, source ? drover_source_main : drover_dest_main, m);
	if (r) {
		r = drover_err(e, -r, "migration: thread: %s", drover_strerror(r));
		goto fail;
	}
	*ret = m;
	return 0;
fail:
	m->fd = -EBADF;         /* the caller keeps it */
	migration_destroy(m);
	return r;
}

struct drover_migration *drover_migration_free(struct drover_migration *m)
{
	if (!m)
		return NULL;
	pthread_mutex_lock(&m->lock);
	drover_cancel_ring(&m->cancel);
	pthread_cond_broadcast(&m->cond);
	pthread_mutex_unlock(&m->lock);
	pthread_join(m->thread, NULL);
	migration_destroy(m);
	return NULL;
}

int drover_migration_cancel(struct drover_migration *m, struct drover_error *e)
{
	DROVER_LOCK(&m->lock);

	if (!drover_state_running(drover_state_get(m)))
		return 0;
	if (m->committing)
		return drover_err(e, -EBUSY, "migration: the guest has been handed over: COMMIT was sent, too late to cancel");
	m->user_cancel = true;
	drover_cancel_ring(&m->cancel);
	pthread_cond_broadcast(&m->cond);
	return 0;
}

int drover_migration_continue(struct drover_migration *m, enum drover_state state,
			      struct drover_error *e)
{
	DROVER_LOCK(&m->lock);

	if (drover_state_get(m) != state)
		return drover_err(e, -EINVAL, "Migration not in expected state: %s",
				  drover_state_name(drover_state_get(m)));
	m->go_on = true;
	pthread_cond_broadcast(&m->cond);
	return 0;
}

int drover_migration_settle(struct drover_migration *m, bool own, struct drover_error *e)
{
	DROVER_LOCK(&m->lock);

	if (!drover_migration_in_doubt(m)) {
		if (m->side != DROVER_SIDE_SOURCE ||
		    drover_state_get(m) != DROVER_STATE_POSTCOPY_PAUSED || atomic_load(&m->ended))
			return drover_err(e, -EINVAL, "settle: nothing is in doubt here");
		if (own)
			return drover_err(e, -EPERM, "settle: the guest has run at its destination since; what is here is of the past");
	}
	m->word = own ? SETTLE_OWN : SETTLE_RELEASE;
	pthread_cond_broadcast(&m->cond);
	return 0;
}

bool drover_migration_in_doubt(const struct drover_migration *m)
{
	return atomic_load(&m->in_doubt);
}

int drover_migration_start_postcopy(struct drover_migration *m, struct drover_error *e)
{
	enum drover_state st = drover_state_get(m);
	DROVER_LOCK(&m->lock);

	if (m->side != DROVER_SIDE_SOURCE || !m->config->postcopy_ram)
		return drover_err(e, -EINVAL,
				  "Enable postcopy with migrate_set_capability before the start of migration");
	if (st != DROVER_STATE_SETUP && st != DROVER_STATE_ACTIVE)
		return drover_err(e, -EINVAL, "Must be in state active to start postcopy: it is %s",
				  drover_state_name(st));
	atomic_store(&m->postcopy_asked, true);
	return 0;
}

int drover_migration_pause(struct drover_migration *m, struct drover_error *e)
{
	enum drover_state st = drover_state_get(m);

	if (st != DROVER_STATE_POSTCOPY_ACTIVE && st != DROVER_STATE_POSTCOPY_RECOVER)
		return drover_err(e, -EINVAL,
				  "migrate-pause is currently only supported during postcopy-active or postcopy-recover state");
	atomic_store(&m->pause_asked, true);
	return 0;
}

int drover_migration_resume(struct drover_migration *m, const struct drover_channel_list *channels,
			    struct drover_error *e)
{
	struct drover_channel_list *copy;
	int r;

	if (m->side != DROVER_SIDE_SOURCE || drover_migration_in_doubt(m) ||
	    drover_state_get(m) != DROVER_STATE_POSTCOPY_PAUSED)
		return drover_err(e, -EINVAL, "Cannot resume if there is no paused migration");
	if (!(drover_address_offers(drover_channel_list_main(channels)) &
	      DROVER_TRANSPORT_RECONNECT))
		return drover_err(e, -EINVAL, "resume: this transport can't be connected again");
	copy = calloc(1, sizeof(*copy));
	r = copy ? drover_channel_list_copy(channels, copy) : -ENOMEM;
	if (r < 0) {
		free(copy);
		return drover_err(e, r, "resume: channels: %s", drover_strerror(r));
	}
	pthread_mutex_lock(&m->lock);
	channels_free(m->next_channels);
	m->next_channels = copy;
	pthread_cond_broadcast(&m->cond);
	pthread_mutex_unlock(&m->lock);
	return 0;
}

enum drover_state drover_migration_state(const struct drover_migration *m)
{
	return drover_state_get(m);
}

int drover_migration_blocktime(struct drover_migration *m, struct drover_blocktime_report *ret)
{
	return drover_dest_blocktime(m, ret);
}

bool drover_migration_ended(const struct drover_migration *m)
{
	return atomic_load(&m->ended);
}

bool drover_migration_auditing(const struct drover_migration *m)
{
	return atomic_load(&m->auditing);
}

const struct drover_stats *drover_migration_stats(const struct drover_migration *m)
{
	return &m->stats;
}

void drover_migration_info(struct drover_migration *m, struct drover_migration_info *ret)
{
	unsigned int i;
	DROVER_LOCK(&m->lock);

	/* Kept as they were once the links are gone. */
	for (i = 0; i < m->nlinks; i++) {
		struct drover_channel_stats *st;

		if (!m->link[i])
			continue;
		st = drover_channel_stats(m->link[i]->ch);
		m->info.channel[i].tx_bytes = atomic_load(&st->tx_bytes);
		m->info.channel[i].rx_bytes = atomic_load(&st->rx_bytes);
		snprintf(m->info.channel[i].name, sizeof(m->info.channel[i].name), "%s",
			 drover_channel_name(m->link[i]->ch));
	}
	if (m->nlinks)
		m->info.channels = m->nlinks;
	m->info.state = drover_state_get(m);
	snprintf(m->info.error_desc, sizeof(m->info.error_desc), "%s", m->error.msg);
	*ret = m->info;
}
