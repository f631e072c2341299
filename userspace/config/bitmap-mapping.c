// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Checks block-bitmap-mapping. drover itself has no disks: the list is meant for a guest link
 * that has some. It is checked here as a whole, so that a mistake shows when the option is set.
 * Sets of names are kept as JSON objects, since they are hash tables.
 */
#include "config/bitmap-mapping.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"

#define NAME_MAX_BYTES 255u     /* QEMU's stream has one byte for the length */
#define ENTRIES_MAX 1024u       /* nodes, and likewise all their bitmaps; bounds HELLO */
#define TEXT_MAX 131072u        /* bytes of the list as JSON text; bounds HELLO */

struct check {
	const char *name;
	struct drover_error *e;
	struct json_object *nodes, *node_aliases;
	unsigned int bitmaps;
};

__attribute__((format(printf, 2, 3)))
static int invalid(struct check *k, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	drover_verr(k->e, -EINVAL, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static int need_string(struct check *k, struct json_object *o, const char *member,
		       const char **ret)
{
	int r = drover_json_get_string(o, member, ret, k->e);

	return r < 0 ? r : r ? 0 : drover_json_missing(k->e, member);
}

/* Returns 1 when the name was in the set already, 0 when it was added, or -ENOMEM. */
static int add_name(struct check *k, struct json_object *set, const char *s)
{
	struct json_object *one;

	if (json_object_object_get_ex(set, s, NULL))
		return 1;
	one = json_object_new_boolean(1);
	if (!one || json_object_object_add(set, s, one) < 0) {
		json_object_put(one);
		return drover_err(k->e, -ENOMEM, "%s: out of memory", k->name);
	}
	return 0;
}

static bool letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool well_formed(const char *s)
{
	if (!letter(*s))
		return false;
	while (letter(*s) || (*s >= '0' && *s <= '9') || (*s && strchr("-._", *s)))
		s++;
	return !*s;
}

static int check_transform(struct check *k, struct json_object *bitmap)
{
	static const char *const members[] = { "persistent", NULL };
	struct json_object *t;
	bool persistent;
	int r = drover_json_get_object(bitmap, "transform", &t, k->e);

	if (r <= 0)
		return r;
	r = drover_json_only(t, members, k->e);
	if (r < 0)
		return r;
	r = drover_json_get_bool(t, "persistent", &persistent, k->e);
	return r < 0 ? r : 0;
}

static int check_bitmap(struct check *k, struct json_object *b, const char *node,
			const char *node_alias, struct json_object *names,
			struct json_object *aliases)
{
	static const char *const members[] = { "name", "alias", "transform", NULL };
	const char *name, *alias;
	int r;

	if (!json_object_is_type(b, json_type_object))
		return invalid(k, "Invalid parameter type for 'bitmaps', expected: object");
	if (++k->bitmaps > ENTRIES_MAX)
		return invalid(k, "more than %u bitmaps", ENTRIES_MAX);
	r = drover_json_only(b, members, k->e);
	if (!r)
		r = need_string(k, b, "name", &name);
	if (!r)
		r = need_string(k, b, "alias", &alias);
	if (!r)
		r = check_transform(k, b);
	if (r < 0)
		return r;
	if (strlen(alias) > NAME_MAX_BYTES)
		return invalid(k, "The bitmap alias '%s' is longer than %u bytes", alias,
			       NAME_MAX_BYTES);
	if (strlen(name) > NAME_MAX_BYTES)
		return invalid(k, "The bitmap name '%s' is longer than %u bytes", name,
			       NAME_MAX_BYTES);
	r = add_name(k, names, name);
	if (r > 0)
		return invalid(k, "The bitmap '%s'/'%s' is mapped twice", node, name);
	if (!r)
		r = add_name(k, aliases, alias);
	if (r > 0)
		return invalid(k, "The bitmap alias '%s'/'%s' is used twice", node_alias, alias);
	return r;
}

static int check_names(struct check *k, const char *node, const char *alias)
{
	int r;

	if (!well_formed(alias))
		return invalid(k, "The node alias '%.255s' is not well-formed", alias);
	if (strlen(alias) > NAME_MAX_BYTES)
		return invalid(k, "The node alias '%s' is longer than %u bytes", alias,
			       NAME_MAX_BYTES);
	if (strlen(node) > NAME_MAX_BYTES)
		return invalid(k, "The node name '%s' is longer than %u bytes", node,
			       NAME_MAX_BYTES);
	r = add_name(k, k->nodes, node);
	if (r > 0)
		return invalid(k, "The node name '%s' is mapped twice", node);
	if (!r)
		r = add_name(k, k->node_aliases, alias);
	if (r > 0)
		return invalid(k, "The node alias '%s' is used twice", alias);
	return r;
}

static int check_node(struct check *k, struct json_object *n)
{
	static const char *const members[] = { "node-name", "alias", "bitmaps", NULL };
	_cleanup_json_ struct json_object *names = json_object_new_object();
	_cleanup_json_ struct json_object *aliases = json_object_new_object();
	struct json_object *bitmaps;
	const char *node, *alias;
	size_t i;
	int r;

	if (!names || !aliases)
		return drover_err(k->e, -ENOMEM, "%s: out of memory", k->name);
	if (!json_object_is_type(n, json_type_object))
		return invalid(k, "Invalid parameter type for '%s', expected: object", k->name);
	r = drover_json_only(n, members, k->e);
	if (!r)
		r = need_string(k, n, "node-name", &node);
	if (!r)
		r = need_string(k, n, "alias", &alias);
	if (!r)
		r = check_names(k, node, alias);
	if (r < 0)
		return r;
	r = drover_json_get_array(n, "bitmaps", &bitmaps, k->e);
	if (r <= 0)
		return r < 0 ? r : drover_json_missing(k->e, "bitmaps");
	for (i = 0, r = 0; !r && i < json_object_array_length(bitmaps); i++)
		r = check_bitmap(k, json_object_array_get_idx(bitmaps, i), node, alias, names,
				 aliases);
	return r;
}

int drover_bitmap_mapping_check(const char *name, struct json_object *list,
				struct drover_error *e)
{
	_cleanup_json_ struct json_object *nodes = json_object_new_object();
	_cleanup_json_ struct json_object *aliases = json_object_new_object();
	struct drover_error inner = DROVER_ERROR_INIT;
	struct check k = {
		.name = name, .e = &inner, .nodes = nodes, .node_aliases = aliases,
	};
	const char *text;
	size_t i, n;
	int r = 0;

	if (!json_object_is_type(list, json_type_array))
		return drover_err(e, -EINVAL, "Invalid parameter type for '%s', expected: array",
				  name);
	n = json_object_array_length(list);
	if (!nodes || !aliases)
		return drover_err(e, -ENOMEM, "%s: out of memory", name);
	if (n > ENTRIES_MAX)
		r = invalid(&k, "more than %u nodes", ENTRIES_MAX);
	for (i = 0; !r && i < n; i++)
		r = check_node(&k, json_object_array_get_idx(list, i));
	text = r ? "" : json_object_to_json_string_ext(list, JSON_C_TO_STRING_PLAIN);
	if (!text || strlen(text) > TEXT_MAX)
		r = invalid(&k, "longer than %u bytes", TEXT_MAX);
	return r < 0 ? drover_err(e, r, "Invalid mapping given for %s: %s", name, inner.msg) : 0;
}
