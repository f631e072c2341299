// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * migrate-set-config and query-migrate-config. While a migration runs both mean the
 * running config: a change is checked against it and against the stored settings, and
 * goes into both or into none.
 */
#include <errno.h>
#include <json-c/json.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "daemon/daemon.h"

static void config_put(struct drover_config **c)
{
	if (*c)
		drover_config_deinit(*c);
}

/* A listening or settling job has no pages under way, but it has a config. */
static struct drover_migration *running(const struct droverd *d)
{
	return d->job && !d->job->settle && job_running(d->job) ? d->job->m : NULL;
}

static int set_running(struct drover_migration *m, struct json_object *o,
		       struct drover_config *ret, struct drover_error *e)
{
	struct drover_config now;
	_cleanup_(config_put) struct drover_config *put_now = NULL;
	int r;

	r = drover_migration_config(m, &now);
	if (r < 0)
		return drover_err(e, r, "config: %s", drover_strerror(r));
	put_now = &now;
	r = drover_config_copy(&now, ret);
	if (r < 0)
		return drover_err(e, r, "config: %s", drover_strerror(r));
	r = drover_config_set_json(ret, o, NULL, e);
	if (r >= 0)
		r = drover_config_runtime_only(&now, ret, e);
	if (r < 0)
		drover_config_deinit(ret);
	return r;
}

int cmd_migrate_set_config(struct qmp_call *call, struct drover_error *e)
{
	struct droverd *d = call->opaque;
	struct drover_migration *m = running(d);
	struct drover_config wanted;
	int r;

	if (!m)
		return drover_config_set_json(&d->settings, call->args, NULL, e);
	r = set_running(m, call->args, &wanted, e);
	if (r < 0)
		return r;
	/* All or nothing: the running config changes only after the stored one could. */
	r = drover_config_set_json(&d->settings, call->args, NULL, e);
	if (r >= 0)
		drover_migration_set_runtime(m, &wanted);
	drover_config_deinit(&wanted);
	return r;
}

int cmd_query_migrate_config(struct qmp_call *call, struct drover_error *e)
{
	struct droverd *d = call->opaque;
	struct drover_migration *m = running(d);
	struct drover_config now;
	int r;

	if (!m) {
		call->ret = drover_config_to_json(&d->settings);
		return 0;
	}
	r = drover_migration_config(m, &now);
	if (r < 0)
		return drover_err(e, r, "config: %s", drover_strerror(r));
	call->ret = drover_config_to_json(&now);
	drover_config_deinit(&now);
	return 0;
}
