// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Addresses as QAPI objects: flat unions of one level, read and written by the table of
 * transports. As in QEMU a member that the chosen branch does not have is an error, and messages
 * have QEMU's words and its names of nested members ("channels[0].addr.port").
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address/table.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"

#define NAME_MAX_LEN 160

static const char *full_name(char *buf, const char *path, const char *name)
{
	snprintf(buf, NAME_MAX_LEN, "%s.%s", path, name);
	return buf;
}

/* Get a member whose value selects the branch of the union. */
static int discriminator(struct json_object *o, const char *path, const char *name,
			 const char **ret, struct drover_error *e)
{
	char full[NAME_MAX_LEN];
	struct json_object *v;

	if (!json_object_object_get_ex(o, name, &v))
		return drover_json_missing(e, full_name(full, path, name));
	return drover_json_to_string(v, full_name(full, path, name), ret, e);
}

static int find_transport(struct json_object *o, const char *path, enum drover_transport *ret,
			  struct drover_error *e)
{
	const char *transport, *type = NULL;
	char full[NAME_MAX_LEN];
	bool known = false;
	unsigned int t;
	int r = discriminator(o, path, "transport", &transport, e);

	if (r < 0)
		return r;
	for (t = 0; t < DROVER_TRANSPORT_COUNT; t++) {
		const struct address_transport *row = &drover_address_table[t];

		if (strcmp(row->transport, transport))
			continue;
		known = true;
		if (row->type && !type) {
			r = discriminator(o, path, "type", &type, e);
			if (r < 0)
				return r;
		}
		if (!row->type || !strcmp(row->type, type)) {
			*ret = (enum drover_transport)t;
			return 0;
		}
	}
	if (known)
		return drover_err(e, -EINVAL, "Parameter '%s' does not accept value '%s'",
				  full_name(full, path, "type"), type);
	return drover_err(e, -EINVAL, "Parameter '%s' does not accept value '%s'",
			  full_name(full, path, "transport"), transport);
}

static int parse_strings(struct json_object *v, const char *full, char ***ret,
			 struct drover_error *e)
{
	size_t i, n;
	char **s;

	if (!json_object_is_type(v, json_type_array))
		return drover_err(e, -EINVAL, "Invalid parameter type for '%s', expected: array",
				  full);
	n = json_object_array_length(v);
	if (!n || n > DROVER_EXEC_ARGS_MAX)
		return drover_err(e, -EINVAL, "Parameter '%s' expects a list of 1 to %u strings",
				  full, DROVER_EXEC_ARGS_MAX);
	s = calloc(n + 1, sizeof(*s));
	*ret = s; /* a list that stays incomplete is released with the address */
	for (i = 0; s && i < n; i++) {
		char item[NAME_MAX_LEN + 32];
		const char *text;
		int r;

		snprintf(item, sizeof(item), "%s[%zu]", full, i);
		r = drover_json_to_string(json_object_array_get_idx(v, i), item, &text, e);
		if (r < 0)
			return r;
		s[i] = strdup(text);
		if (!s[i])
			s = NULL;
	}
	return s ? 0 : drover_err(e, -ENOMEM, "%s: out of memory", full);
}

static int parse_member(struct json_object *v, const char *full, enum address_kind kind,
			void *at, struct drover_error *e)
{
	const char *text;
	uint64_t n;
	bool on;
	int r;

	switch (kind) {
	case ADDRESS_STRING:
		r = drover_json_to_string(v, full, &text, e);
		if (r < 0)
			return r;
		*(char **)at = strdup(text);
		return *(char **)at ? 0 : drover_err(e, -ENOMEM, "%s: out of memory", full);
	case ADDRESS_BOOL:
		r = drover_json_to_bool(v, full, &on, e);
		if (!r)
			*(enum drover_tristate *)at = on ? DROVER_ON : DROVER_OFF;
		return r;
	case ADDRESS_UINT16:
		r = drover_json_to_uint64(v, full, 0, UINT16_MAX, &n, e);
		if (!r)
			*(uint16_t *)at = (uint16_t)n;
		return r;
	case ADDRESS_UINT32:
		r = drover_json_to_uint64(v, full, 0, UINT32_MAX, &n, e);
		if (!r)
			*(uint32_t *)at = (uint32_t)n;
		return r;
	case ADDRESS_SIZE:
		return drover_json_to_uint64(v, full, 0, UINT64_MAX, at, e);
	case ADDRESS_STRINGS:
		return parse_strings(v, full, at, e);
	}
	return -EINVAL;
}

static int refuse_others(struct json_object *o, const char *path,
			 const struct address_transport *row, struct drover_error *e)
{
	json_object_object_foreach(o, key, val) {
		const struct address_member *m;
		char full[NAME_MAX_LEN];

		(void)val;
		if (!strcmp(key, "transport") || (row->type && !strcmp(key, "type")))
			continue;
		for (m = row->member; m->name && strcmp(m->name, key); m++)
			;
		if (!m->name)
			return drover_err(e, -EINVAL, "Parameter '%s' is unexpected",
					  full_name(full, path, key));
	}
	return 0;
}

static bool is_required(enum address_kind kind)
{
	return kind == ADDRESS_STRING || kind == ADDRESS_STRINGS || kind == ADDRESS_SIZE;
}

int drover_address_parse_json(struct json_object *o, const char *path,
			      struct drover_address *ret, struct drover_error *e)
{
	_cleanup_(drover_address_deinit) struct drover_address a = { 0 };
	const struct address_member *m;
	enum drover_transport t = DROVER_TRANSPORT_INET;
	int r;

	if (!json_object_is_type(o, json_type_object))
		return drover_err(e, -EINVAL, "Invalid parameter type for '%s', expected: object",
				  path);
	r = find_transport(o, path, &t, e);
	if (r < 0)
		return r;
	drover_address_start(&a, t);
	for (m = drover_address_table[t].member; m->name; m++) {
		char full[NAME_MAX_LEN];
		struct json_object *v;

		full_name(full, path, m->name);
		if (!json_object_object_get_ex(o, m->name, &v)) {
			if (is_required(m->kind))
				return drover_json_missing(e, full);
			continue;
		}
		r = parse_member(v, full, m->kind, address_at(&a, m), e);
		if (r < 0)
			return r;
	}
	r = refuse_others(o, path, &drover_address_table[t], e);
	if (!r)
		r = drover_address_check(&a, e);
	if (r < 0)
		return r;
	*ret = a;
	drover_address_start(&a, DROVER_TRANSPORT_INET);
	return 0;
}

int drover_address_from_json(struct json_object *o, struct drover_address *ret,
			     struct drover_error *e)
{
	return drover_address_parse_json(o, "addr", ret, e);
}

/* ---- out ---- */

static struct json_object *strings_to_json(char *const *s)
{
	struct json_object *list = json_object_new_array();

	for (; list && *s; s++)
		if (json_object_array_add(list, json_object_new_string(*s)) < 0) {
			json_object_put(list);
			return NULL;
		}
	return list;
}

/* Returns 0 or a negative errno; *ret is NULL when the member is unset. */
static int member_to_json(const void *at, enum address_kind kind, struct json_object **ret)
{
	enum drover_tristate tri;

	*ret = NULL;
	switch (kind) {
	case ADDRESS_STRING:
		*ret = json_object_new_string(*(char *const *)at);
		break;
	case ADDRESS_BOOL:
		tri = *(const enum drover_tristate *)at;
		if (tri == DROVER_UNSET)
			return 0;
		*ret = json_object_new_boolean(tri == DROVER_ON);
		break;
	case ADDRESS_UINT16:
		if (!*(const uint16_t *)at)
			return 0;
		*ret = json_object_new_uint64(*(const uint16_t *)at);
		break;
	case ADDRESS_UINT32:
		if (!*(const uint32_t *)at)
			return 0;
		*ret = json_object_new_uint64(*(const uint32_t *)at);
		break;
	case ADDRESS_SIZE:
		*ret = json_object_new_uint64(*(const uint64_t *)at);
		break;
	case ADDRESS_STRINGS:
		*ret = strings_to_json(*(char **const *)at);
		break;
	}
	return *ret ? 0 : -ENOMEM;
}

static int add(struct json_object *o, const char *name, struct json_object *v)
{
	if (!v)
		return -ENOMEM;
	if (json_object_object_add(o, name, v) < 0) {
		json_object_put(v);
		return -ENOMEM;
	}
	return 0;
}

struct json_object *drover_address_to_json(const struct drover_address *a)
{
	const struct address_transport *row = &drover_address_table[a->transport];
	_cleanup_json_ struct json_object *o = json_object_new_object();
	const struct address_member *m;

	if (!o || add(o, "transport", json_object_new_string(row->transport)) < 0)
		return NULL;
	if (row->type && add(o, "type", json_object_new_string(row->type)) < 0)
		return NULL;
	for (m = row->member; m->name; m++) {
		struct json_object *v;

		if (member_to_json(address_at_const(a, m), m->kind, &v) < 0 ||
		    (v && add(o, m->name, v) < 0))
			return NULL;
	}
	return TAKE_PTR(o);
}
