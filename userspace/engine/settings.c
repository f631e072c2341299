// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The settings of a migration. Its config never changes: a destination that accepts a HELLO,
 * and a side that takes up another droverd's postcopy, get another config as a whole, before
 * the session has a second thread. Options flagged RUNTIME have their present values in a copy
 * of their own, under the migration's lock.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "engine/internal.h"

static void config_free(const struct drover_config *c)
{
	struct drover_config *own = (struct drover_config *)c;

	if (own)
		drover_config_deinit(own);
	free(own);
}

static int config_new(const struct drover_config *from, const struct drover_config **ret)
{
	struct drover_config *c = calloc(1, sizeof(*c));
	int r = c ? drover_config_copy(from, c) : -ENOMEM;

	if (r < 0) {
		free(c);
		return r;
	}
	*ret = c;
	return 0;
}

int drover_settings_init(struct drover_migration *m, const struct drover_config *config)
{
	int r = config_new(config, &m->config);

	return r < 0 ? r : drover_config_copy(config, &m->live);
}

void drover_settings_deinit(struct drover_migration *m)
{
	config_free(m->config);
	m->config = NULL;
	drover_config_deinit(&m->live);
}

int drover_settings_replace(struct drover_migration *m, const struct drover_config *config,
			    bool keep_runtime)
{
	const struct drover_config *next;
	struct drover_config live;
	int r = config_new(config, &next);

	if (r < 0)
		return r;
	r = drover_config_copy(config, &live);
	if (r < 0) {
		config_free(next);
		return r;
	}
	pthread_mutex_lock(&m->lock);
	if (keep_runtime)
		r = drover_config_take_runtime(&m->live, &live);
	if (r >= 0) {
		const struct drover_config *last = m->config;
		struct drover_config was = m->live;

		m->config = next;
		m->live = live;
		next = last;
		live = was;
	}
	pthread_mutex_unlock(&m->lock);
	config_free(next);
	drover_config_deinit(&live);
	return r < 0 ? r : 0;
}

int drover_settings_take(struct drover_migration *m, struct json_object *o, struct drover_error *e)
{
	struct drover_presence present = { { 0 } };
	struct drover_config cfg;
	int r = drover_config_init(&cfg);

	if (r < 0)
		return drover_err(e, r, "config: %s", drover_strerror(r));
	r = drover_config_set_json(&cfg, o, &present, e);
	if (r >= 0) {
		r = drover_settings_replace(m, &cfg, false);
		if (r < 0)
			drover_err(e, r, "config: %s", drover_strerror(r));
	}
	drover_config_deinit(&cfg);
	return r;
}

int drover_settings_one_way(struct drover_migration *m, struct drover_error *e)
{
	struct drover_config cfg;
	int r;

	if (m->config->one_way)
		return 0;
	r = drover_config_copy(m->config, &cfg);
	if (r >= 0) {
		cfg.one_way = true;
		r = drover_settings_replace(m, &cfg, true);
		drover_config_deinit(&cfg);
	}
	return r < 0 ? drover_err(e, r, "config: %s", drover_strerror(r)) : 0;
}

void drover_runtime_get(struct drover_migration *m, struct drover_runtime *ret)
{
	DROVER_LOCK(&m->lock);

	ret->max_bandwidth = m->live.max_bandwidth;
	ret->max_postcopy_bandwidth = m->live.max_postcopy_bandwidth;
	ret->avail_switchover_bandwidth = m->live.avail_switchover_bandwidth;
	ret->downtime_limit = m->live.downtime_limit;
	ret->stall_timeout = m->live.stall_timeout;
	ret->max_rounds = m->live.max_rounds;
	ret->total_timeout = m->live.total_timeout;
	ret->on_no_converge = (int)m->live.on_no_converge;
}

void drover_migration_set_runtime(struct drover_migration *m, const struct drover_config *cfg)
{
	struct drover_config copy;

	if (drover_config_copy(cfg, &copy) < 0)
		return;
	pthread_mutex_lock(&m->lock);
	drover_config_deinit(&m->live);
	m->live = copy;
	pthread_mutex_unlock(&m->lock);
}

int drover_migration_config(struct drover_migration *m, struct drover_config *ret)
{
	DROVER_LOCK(&m->lock);

	return drover_config_copy(&m->live, ret);
}
