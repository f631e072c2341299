// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Typed access to members of a parsed object. Error messages have QEMU's words, which clients
 * and tests know. No I/O; every layer that takes JSON uses it.
 */
#include "base/json.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/err.h"

static int wrong_type(struct drover_error *e, const char *name, const char *expected)
{
	return drover_err(e, -EINVAL, "Invalid parameter type for '%s', expected: %s", name,
			  expected);
}

int drover_json_missing(struct drover_error *e, const char *name)
{
	return drover_err(e, -EINVAL, "Parameter '%s' is missing", name);
}

int drover_json_to_bool(struct json_object *v, const char *name, bool *ret,
			struct drover_error *e)
{
	if (!json_object_is_type(v, json_type_boolean))
		return wrong_type(e, name, "boolean");
	*ret = json_object_get_boolean(v);
	return 0;
}

int drover_json_to_uint64(struct json_object *v, const char *name, uint64_t min, uint64_t max,
			  uint64_t *ret, struct drover_error *e)
{
	uint64_t n;

	if (!json_object_is_type(v, json_type_int))
		return wrong_type(e, name, "integer");
	/* json_object_get_uint64() gives 0 for a negative number, so the sign is checked apart. */
	n = json_object_get_uint64(v);
	if (json_object_get_int64(v) < 0 || n < min || n > max)
		return drover_err(e, -EINVAL,
				  "Parameter '%s' expects an integer in the range of %" PRIu64
				  " to %" PRIu64, name, min, max);
	*ret = n;
	return 0;
}

int drover_json_to_string(struct json_object *v, const char *name, const char **ret,
			  struct drover_error *e)
{
	const char *s;

	if (!json_object_is_type(v, json_type_string))
		return wrong_type(e, name, "string");
	s = json_object_get_string(v);
	if (!s || strlen(s) != (size_t)json_object_get_string_len(v))
		return drover_err(e, -EINVAL, "Parameter '%s' expects a string without NUL", name);
	*ret = s;
	return 0;
}

int drover_json_get_bool(struct json_object *o, const char *name, bool *ret,
			 struct drover_error *e)
{
	struct json_object *v;

	if (!json_object_object_get_ex(o, name, &v))
		return 0;
	return drover_json_to_bool(v, name, ret, e) < 0 ? -EINVAL : 1;
}

int drover_json_get_uint64(struct json_object *o, const char *name, uint64_t min, uint64_t max,
			   uint64_t *ret, struct drover_error *e)
{
	struct json_object *v;

	if (!json_object_object_get_ex(o, name, &v))
		return 0;
	return drover_json_to_uint64(v, name, min, max, ret, e) < 0 ? -EINVAL : 1;
}

int drover_json_get_string(struct json_object *o, const char *name, const char **ret,
			   struct drover_error *e)
{
	struct json_object *v;

	if (!json_object_object_get_ex(o, name, &v))
		return 0;
	return drover_json_to_string(v, name, ret, e) < 0 ? -EINVAL : 1;
}

static int get_container(struct json_object *o, const char *name, enum json_type type,
			 struct json_object **ret, struct drover_error *e)
{
	struct json_object *v;

	if (!json_object_object_get_ex(o, name, &v))
		return 0;
	if (!json_object_is_type(v, type))
		return wrong_type(e, name, json_type_to_name(type));
	*ret = v;
	return 1;
}

int drover_json_get_object(struct json_object *o, const char *name, struct json_object **ret,
			   struct drover_error *e)
{
	return get_container(o, name, json_type_object, ret, e);
}

int drover_json_get_array(struct json_object *o, const char *name, struct json_object **ret,
			  struct drover_error *e)
{
	return get_container(o, name, json_type_array, ret, e);
}

int drover_json_only(struct json_object *o, const char *const *names, struct drover_error *e)
{
	json_object_object_foreach(o, key, v) {
		const char *const *n = names;

		(void)v;
		while (*n && strcmp(*n, key) != 0)
			n++;
		if (!*n)
			return drover_err(e, -EINVAL, "Parameter '%s' is unexpected", key);
	}
	return 0;
}
