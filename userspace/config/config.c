// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * MigrationConfig. A config always has all members. A change is applied to a copy, and the copy
 * is checked as a whole; then it replaces the config, or nothing changes. The daemon uses this for
 * the stored settings and for the config of each migration.
 */
#include "config/config.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"
#include "config/rules.h"
#include "config/value.h"

#define for_each_option(o)							\
	for (const struct drover_option *o = drover_option_table(NULL);		\
	     (size_t)(o - drover_option_table(NULL)) < DROVER_OPTION_COUNT; o++)

int drover_config_init(struct drover_config *c)
{
	struct drover_config new = { 0 };

	for_each_option(o)
		if (drover_value_set_default(o, &new) < 0) {
			drover_config_deinit(&new);
			return -ENOMEM;
		}
	*c = new;
	return 0;
}

void drover_config_deinit(struct drover_config *c)
{
	for_each_option(o)
		drover_value_clear(o, c);
}

int drover_config_copy(const struct drover_config *src, struct drover_config *ret)
{
	struct drover_config new = { 0 };

	for_each_option(o)
		if (drover_value_copy(o, src, &new) < 0) {
			drover_config_deinit(&new);
			return -ENOMEM;
		}
	*ret = new;
	return 0;
}

void drover_config_replace(struct drover_config *dst, struct drover_config *src)
{
	drover_config_deinit(dst);
	*dst = *src;
	memset(src, 0, sizeof(*src));
}

static void set_present(struct drover_presence *p, enum drover_option_id id)
{
	p->bits[id / 64] |= 1ull << (id % 64);
}

/* Applies one member after the other. A failure leaves @c half changed, so @c must be a copy. */
static int apply(struct drover_config *c, struct json_object *members,
		 struct drover_presence *ret_present, struct drover_error *e)
{
	int r;

	if (!json_object_is_type(members, json_type_object))
		return drover_err(e, -EINVAL,
				  "Invalid parameter type for 'config', expected: object");
	json_object_object_foreach(members, key, v) {
		const struct drover_option *o = drover_option_by_name(key);

		if (!o)
			return drover_err(e, -EINVAL, "Parameter '%.64s' is unexpected", key);
		r = drover_value_from_json(o, v, c, e);
		if (r < 0)
			return r;
		set_present(ret_present, o->id);
	}
	return 0;
}

static int set(struct drover_config *c, struct json_object *o,
	       struct drover_presence *ret_present, bool request, struct drover_error *e)
{
	struct drover_presence present = { { 0 } };
	_cleanup_(drover_config_deinit) struct drover_config new = { 0 };
	int r;

	if (drover_config_copy(c, &new) < 0)
		return drover_err(e, -ENOMEM, "config: out of memory");
	r = apply(&new, o, &present, e);
	if (!r)
		r = drover_config_check(&new, e);
	if (!r && request)
		r = drover_rules_check(&new, DROVER_RULE_REQUEST, e);
	if (r < 0)
		return r;
	drover_config_replace(c, &new);
	if (ret_present)
		*ret_present = present;
	return 0;
}

int drover_config_set_json(struct drover_config *c, struct json_object *o,
			   struct drover_presence *ret_present, struct drover_error *e)
{
	return set(c, o, ret_present, false, e);
}

int drover_config_from_request(struct json_object *o, struct drover_config *ret,
			       struct drover_presence *ret_present, struct drover_error *e)
{
	_cleanup_(drover_config_deinit) struct drover_config new = { 0 };
	int r;

	if (drover_config_init(&new) < 0)
		return drover_err(e, -ENOMEM, "config: out of memory");
	r = set(&new, o, ret_present, true, e);
	if (r < 0)
		return r;
	*ret = new;
	memset(&new, 0, sizeof(new));
	return 0;
}

struct json_object *drover_config_get_json(const struct drover_config *c, enum drover_option_id id)
{
	return drover_value_to_json(&drover_option_table(NULL)[id], c);
}

struct json_object *drover_config_to_json(const struct drover_config *c)
{
	_cleanup_json_ struct json_object *all = json_object_new_object();

	for_each_option(o) {
		struct json_object *v;

		if (o->type == DROVER_TYPE_BITMAP_MAP && drover_value_is_default(o, c))
			continue;
		v = drover_value_to_json(o, c);
		if (!all || !v || json_object_object_add(all, o->name, v) < 0) {
			json_object_put(v);
			return NULL;
		}
	}
	return TAKE_PTR(all);
}

static int fixed(const struct drover_option *o, struct drover_error *e)
{
	return drover_err(e, -EBUSY, "There's a migration process in progress:"
			  " option '%s' can't be changed now", o->name);
}

int drover_config_runtime_only(const struct drover_config *running,
			       const struct drover_config *wanted, struct drover_error *e)
{
	for_each_option(o)
		if (!(o->flags & DROVER_OPTION_RUNTIME) && !drover_value_equal(o, running, wanted))
			return fixed(o, e);
	return 0;
}

int drover_config_listening_only(const struct drover_config *running,
				 const struct drover_config *wanted,
				 const struct drover_presence *given, struct drover_error *e)
{
	for_each_option(o) {
		bool theirs = o->flags & DROVER_OPTION_SOURCE ||
			      (o->flags & DROVER_OPTION_MUST_AGREE &&
			       !drover_present(given, o->id));

		if (!theirs && !(o->flags & DROVER_OPTION_RUNTIME) &&
		    !drover_value_equal(o, running, wanted))
			return fixed(o, e);
	}
	return 0;
}

int drover_config_take_runtime(const struct drover_config *src, struct drover_config *dst)
{
	int r = 0;

	for_each_option(o)
		if (!r && o->flags & DROVER_OPTION_RUNTIME)
			r = drover_value_copy(o, src, dst);
	return r;
}

void drover_config_differs(const struct drover_config *c, struct drover_presence *ret)
{
	struct drover_presence present = { { 0 } };

	for_each_option(o)
		if (!drover_value_is_default(o, c))
			set_present(&present, o->id);
	*ret = present;
}
