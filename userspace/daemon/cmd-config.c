// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Commands about the config: migrate-set-config, query-migrate-config, and the four of
 * older clients, which are views of it. While a migration runs all mean the running
 * config: a change is checked against it and against the stored settings, and goes into
 * both or into none.
 */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"
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

/* @ret is the caller's to deinit. */
static int config_now(const struct droverd *d, struct drover_migration *m,
		      struct drover_config *ret, struct drover_error *e)
{
	int r = drover_migration_config(m, ret);

	if (r < 0)
		return drover_err(e, r, "config: %s", drover_strerror(r));
	ret->events = d->job->events;
	return 0;
}

/* A destination to which no source has come yet. */
static bool listening(const struct droverd *d)
{
	struct drover_migration_info info;

	if (!running(d) || d->job->side != DROVER_SIDE_DEST)
		return false;
	drover_migration_info(d->job->m, &info);
	return info.state == DROVER_STATE_SETUP && !info.peer[0];
}

/* Clients of QEMU let a destination listen first and give it its capabilities then. */
static int may_change(struct droverd *d, struct drover_config *now,
		      const struct drover_config *wanted, struct drover_error *e)
{
	if (!listening(d))
		return drover_config_runtime_only(now, wanted, e);
	now->events = wanted->events;
	return drover_config_listening_only(now, wanted, &d->job->given, e);
}

static int set_running(struct droverd *d, struct drover_migration *m, struct json_object *o,
		       struct drover_config *ret, struct drover_error *e)
{
	struct drover_config now;
	_cleanup_(config_put) struct drover_config *put_now = NULL;
	int r;

	r = config_now(d, m, &now, e);
	if (r < 0)
		return r;
	put_now = &now;
	r = drover_config_copy(&now, ret);
	if (r < 0)
		return drover_err(e, r, "config: %s", drover_strerror(r));
	r = drover_config_set_json(ret, o, NULL, e);
	if (r >= 0)
		r = may_change(d, &now, ret, e);
	if (r >= 0)
		r = drover_migration_check_runtime(m, ret, e);
	if (r < 0)
		drover_config_deinit(ret);
	return r;
}

static int set(struct droverd *d, struct json_object *o, struct drover_error *e)
{
	struct drover_migration *m = running(d);
	struct drover_config wanted;
	int r;

	if (!m)
		return drover_config_set_json(&d->settings, o, NULL, e);
	r = set_running(d, m, o, &wanted, e);
	if (r < 0)
		return r;
	/* All or nothing: the running config changes only after the stored one could. */
	r = drover_config_set_json(&d->settings, o, NULL, e);
	if (r >= 0) {
		d->job->events = wanted.events;
		drover_migration_set_runtime(m, &wanted);
	}
	drover_config_deinit(&wanted);
	return r;
}

static int get(const struct droverd *d, struct json_object **ret, struct drover_error *e)
{
	struct drover_migration *m = running(d);
	struct drover_config now;
	int r;

	if (!m) {
		*ret = drover_config_to_json(&d->settings);
		return 0;
	}
	r = config_now(d, m, &now, e);
	if (r < 0)
		return r;
	*ret = drover_config_to_json(&now);
	drover_config_deinit(&now);
	return 0;
}

int cmd_migrate_set_config(struct qmp_call *call, struct drover_error *e)
{
	return set(call->opaque, call->args, e);
}

int cmd_query_migrate_config(struct qmp_call *call, struct drover_error *e)
{
	return get(call->opaque, &call->ret, e);
}

int cmd_migrate_set_parameters(struct qmp_call *call, struct drover_error *e)
{
	return set(call->opaque, call->args, e);
}

int cmd_query_migrate_parameters(struct qmp_call *call, struct drover_error *e)
{
	return get(call->opaque, &call->ret, e);
}

/* Names a member of the list in errors as QEMU does: capabilities[2].state */
#define CAP_PATH_MAX 64

static int only_capability(struct json_object *v, size_t i, struct drover_error *e)
{
	struct json_object_iterator it = json_object_iter_begin(v), end = json_object_iter_end(v);

	for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
		const char *name = json_object_iter_peek_name(&it);

		if (strcmp(name, "capability") != 0 && strcmp(name, "state") != 0)
			return drover_err(e, -EINVAL,
					  "Parameter 'capabilities[%zu].%s' is unexpected", i, name);
	}
	return 0;
}

static int parse_capability(struct json_object *v, size_t i, struct json_object *ret,
			    struct drover_error *e)
{
	struct json_object *name = NULL, *state = NULL;
	const struct drover_option *o;
	char path[CAP_PATH_MAX];
	const char *text;
	bool on;
	int r;

	snprintf(path, sizeof(path), "capabilities[%zu]", i);
	if (!json_object_is_type(v, json_type_object))
		return drover_err(e, -EINVAL, "Invalid parameter type for '%s', expected: object",
				  path);
	snprintf(path, sizeof(path), "capabilities[%zu].capability", i);
	if (!json_object_object_get_ex(v, "capability", &name))
		return drover_json_missing(e, path);
	r = drover_json_to_string(name, path, &text, e);
	if (r < 0)
		return r;
	o = drover_option_by_name(text);
	if (!o || !(o->flags & DROVER_OPTION_CAPABILITY))
		return drover_err(e, -EINVAL, "Parameter 'capability' does not accept value '%s'",
				  text);
	snprintf(path, sizeof(path), "capabilities[%zu].state", i);
	if (!json_object_object_get_ex(v, "state", &state))
		return drover_json_missing(e, path);
	r = drover_json_to_bool(state, path, &on, e);
	if (r >= 0)
		r = only_capability(v, i, e);
	if (r >= 0)
		json_object_object_add(ret, o->name, json_object_new_boolean(on));
	return r;
}

int cmd_migrate_set_capabilities(struct qmp_call *call, struct drover_error *e)
{
	struct json_object *list = qmp_arg_get(call, "capabilities");
	_cleanup_json_ struct json_object *o = json_object_new_object();
	struct droverd *d = call->opaque;
	size_t i;
	int r;

	for (i = 0; i < json_object_array_length(list); i++) {
		r = parse_capability(json_object_array_get_idx(list, i), i, o, e);
		if (r < 0)
			return r;
	}
	/* QEMU lets no capability be set now, not even to the value it has. */
	if (running(d) && !listening(d))
		return drover_err(e, -EBUSY, "There's a migration process in progress");
	return set(d, o, e);
}

int cmd_query_migrate_capabilities(struct qmp_call *call, struct drover_error *e)
{
	_cleanup_json_ struct json_object *config = NULL;
	const struct drover_option *o;
	size_t i, n;
	int r;

	r = get(call->opaque, &config, e);
	if (r < 0)
		return r;
	o = drover_option_table(&n);
	call->ret = json_object_new_array();
	for (i = 0; i < n; i++) {
		struct json_object *entry, *state = NULL;

		if (!(o[i].flags & DROVER_OPTION_CAPABILITY) ||
		    !json_object_object_get_ex(config, o[i].name, &state))
			continue;
		entry = json_object_new_object();
		json_object_object_add(entry, "state", json_object_get(state));
		json_object_object_add(entry, "capability", json_object_new_string(o[i].name));
		json_object_array_add(call->ret, entry);
	}
	return 0;
}
