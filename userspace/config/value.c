// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Members of a config by type: a table has one row of operations for each type, so that the rest
 * of config/ treats all options alike. A number or enum is a uint64_t between JSON and the
 * member, and it is stored in the member's width only after the range check, so it is never
 * truncated.
 */
#include "config/value.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/cpulist.h"
#include "base/err.h"
#include "base/json.h"
#include "config/bitmap-mapping.h"

/*
 * The config travels as JSON within HELLO, whose length is bounded. JSON can make six bytes of
 * one ("\u0001"); with these limits four strings and one list still fit easily.
 */
#define STR_BYTES_MAX 4095u
#define LIST_BYTES_MAX 65536u
#define LIST_WORDS_MAX 1024u

/* The operations of a type. @m and @d point to members of a config. */
struct type_ops {
	int (*set_default)(const struct drover_option *o, void *m);
	void (*clear)(void *m);
	int (*copy)(const void *src, void *m);
	bool (*equal)(const void *a, const void *b);
	int (*from_json)(const struct drover_option *o, struct json_object *v, void *m,
			 struct drover_error *e);
	struct json_object *(*to_json)(const struct drover_option *o, const void *m);
};

static size_t number_width(const struct drover_option *o)
{
	static const size_t width[DROVER_TYPE_COUNT] = {
		[DROVER_TYPE_BOOL] = sizeof(bool), [DROVER_TYPE_U8] = 1,
		[DROVER_TYPE_U32] = 4, [DROVER_TYPE_U64] = 8, [DROVER_TYPE_SIZE] = 8,
		[DROVER_TYPE_ENUM] = sizeof(enum drover_opt_mode),
	};

	return width[o->type];
}

/* On a little-endian CPU the low bytes come first, whatever the member's width is. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "members are stored by width");

static uint64_t number_load(const struct drover_option *o, const void *m)
{
	uint64_t v = 0;

	memcpy(&v, m, number_width(o));
	return v;
}

static void number_store(const struct drover_option *o, void *m, uint64_t v)
{
	memcpy(m, &v, number_width(o));
}

static int bool_from_json(const struct drover_option *o, struct json_object *v, void *m,
			  struct drover_error *e)
{
	return drover_json_to_bool(v, o->name, m, e);
}

static struct json_object *bool_to_json(const struct drover_option *o, const void *m)
{
	return json_object_new_boolean(number_load(o, m) != 0);
}

static int number_from_json(const struct drover_option *o, struct json_object *v, void *m,
			    struct drover_error *e)
{
	uint64_t n;
	int r = drover_json_to_uint64(v, o->name, o->min, o->max, &n, e);

	if (r < 0)
		return r;
	number_store(o, m, n);
	return 0;
}

static struct json_object *number_to_json(const struct drover_option *o, const void *m)
{
	uint64_t n = number_load(o, m);

	return n <= INT64_MAX ? json_object_new_int64((int64_t)n) : json_object_new_uint64(n);
}

static int enum_from_json(const struct drover_option *o, struct json_object *v, void *m,
			  struct drover_error *e)
{
	const char *s;
	size_t i;
	int r = drover_json_to_string(v, o->name, &s, e);

	if (r < 0)
		return r;
	for (i = 0; i < o->nvalues; i++)
		if (!strcmp(o->value[i].name, s))
			break;
	if (i == o->nvalues)
		return drover_err(e, -EINVAL, "Parameter '%s' does not accept value '%.64s'",
				  o->name, s);
	if (o->value[i].missing)
		return drover_err(e, -EOPNOTSUPP, "Parameter '%s' does not accept value '%s': %s",
				  o->name, s, o->value[i].missing);
	number_store(o, m, i);
	return 0;
}

static struct json_object *enum_to_json(const struct drover_option *o, const void *m)
{
	uint64_t i = number_load(o, m);

	return i < o->nvalues ? json_object_new_string(o->value[i].name) : NULL;
}

static int str_default(const struct drover_option *o, void *m)
{
	char *s = strdup("");

	(void)o;
	if (!s)
		return -ENOMEM;
	*(char **)m = s;
	return 0;
}

static void str_clear(void *m)
{
	free(*(char **)m);
	*(char **)m = NULL;
}

static int str_copy(const void *src, void *m)
{
	char *s = strdup(*(char *const *)src);

	if (!s)
		return -ENOMEM;
	str_clear(m);
	*(char **)m = s;
	return 0;
}

static bool str_equal(const void *a, const void *b)
{
	return !strcmp(*(char *const *)a, *(char *const *)b);
}

static int str_from_json(const struct drover_option *o, struct json_object *v, void *m,
			 struct drover_error *e)
{
	const char *s = "";
	int r = 0;

	if (v || o->type != DROVER_TYPE_STR_OR_NULL)
		r = drover_json_to_string(v, o->name, &s, e);
	if (r < 0)
		return r;
	if (strlen(s) > STR_BYTES_MAX)
		return drover_err(e, -EINVAL, "Parameter '%s' expects at most %u bytes", o->name,
				  STR_BYTES_MAX);
	if (o->id == DROVER_OPT_cpu_affinity) {
		struct drover_cpus unused;

		if (drover_cpulist_parse(s, &unused) < 0)
			return drover_err(e, -EINVAL, "Parameter '%s' expects a list of CPUs below"
					  " %u such as \"0-3,8\"", o->name, DROVER_CPUS_MAX);
	}
	r = str_copy(&s, m);
	return r < 0 ? drover_err(e, r, "%s: out of memory", o->name) : 0;
}

static struct json_object *str_to_json(const struct drover_option *o, const void *m)
{
	(void)o;
	return json_object_new_string(*(char *const *)m);
}

static void list_clear(void *m)
{
	char ***list = m, **s;

	for (s = *list; s && *s; s++)
		free(*s);
	free(*list);
	*list = NULL;
}

static int list_default(const struct drover_option *o, void *m)
{
	char **list = calloc(1, sizeof(*list));

	(void)o;
	if (!list)
		return -ENOMEM;
	*(char ***)m = list;
	return 0;
}

/* Replace the list @m by @n words; @at(opaque, i) gives word i. */
static int list_fill(void *m, size_t n, const char *(*at)(const void *, size_t),
		     const void *opaque)
{
	_cleanup_(list_clear) char **list = calloc(n + 1, sizeof(*list));
	size_t i;

	for (i = 0; list && i < n; i++) {
		list[i] = strdup(at(opaque, i));
		if (!list[i])
			return -ENOMEM;
	}
	if (!list)
		return -ENOMEM;
	list_clear(m);
	*(char ***)m = TAKE_PTR(list);
	return 0;
}

static const char *list_word(const void *opaque, size_t i)
{
	return ((char *const *)opaque)[i];
}

static const char *json_word(const void *opaque, size_t i)
{
	return json_object_get_string(json_object_array_get_idx(opaque, i));
}

static int list_copy(const void *src, void *m)
{
	char *const *from = *(char **const *)src;
	size_t n = 0;

	while (from[n])
		n++;
	return list_fill(m, n, list_word, from);
}

static bool list_equal(const void *a, const void *b)
{
	char *const *x = *(char **const *)a, *const *y = *(char **const *)b;

	while (*x && *y && !strcmp(*x, *y)) {
		x++;
		y++;
	}
	return !*x && !*y;
}

static int list_from_json(const struct drover_option *o, struct json_object *v, void *m,
			  struct drover_error *e)
{
	size_t i, n, bytes = 0;
	const char *s;
	int r;

	if (!json_object_is_type(v, json_type_array))
		return drover_err(e, -EINVAL, "Invalid parameter type for '%s', expected: array",
				  o->name);
	n = json_object_array_length(v);
	if (n > LIST_WORDS_MAX)
		return drover_err(e, -EINVAL, "Parameter '%s' expects at most %u words", o->name,
				  LIST_WORDS_MAX);
	for (i = 0; i < n; i++) {
		r = drover_json_to_string(json_object_array_get_idx(v, i), o->name, &s, e);
		if (r < 0)
			return r;
		if (strlen(s) > LIST_BYTES_MAX - bytes)
			return drover_err(e, -EINVAL, "Parameter '%s' expects at most %u bytes",
					  o->name, LIST_BYTES_MAX);
		bytes += strlen(s);
	}
	r = list_fill(m, n, json_word, v);
	return r < 0 ? drover_err(e, r, "%s: out of memory", o->name) : 0;
}

static struct json_object *list_to_json(const struct drover_option *o, const void *m)
{
	_cleanup_json_ struct json_object *a = json_object_new_array();
	char *const *s = *(char **const *)m;

	(void)o;
	for (; a && *s; s++) {
		struct json_object *w = json_object_new_string(*s);

		if (!w || json_object_array_add(a, w) < 0) {
			json_object_put(w);
			return NULL;
		}
	}
	return TAKE_PTR(a);
}

static int map_default(const struct drover_option *o, void *m)
{
	(void)o;
	*(struct json_object **)m = NULL;
	return 0;
}

static void map_clear(void *m)
{
	drover_json_putp(m);
}

/* Copies deeply: json-c's reference counts are not atomic, and other threads use the copy. */
static int map_copy(const void *src, void *m)
{
	struct json_object *from = *(struct json_object *const *)src, *o = NULL;

	if (from && json_object_deep_copy(from, &o, NULL) < 0)
		return -ENOMEM;
	map_clear(m);
	*(struct json_object **)m = o;
	return 0;
}

static bool map_equal(const void *a, const void *b)
{
	struct json_object *x = *(struct json_object *const *)a;
	struct json_object *y = *(struct json_object *const *)b;

	return x == y || (x && y && json_object_equal(x, y));
}

static int map_from_json(const struct drover_option *o, struct json_object *v, void *m,
			 struct drover_error *e)
{
	int r = drover_bitmap_mapping_check(o->name, v, e);

	if (r < 0)
		return r;
	r = map_copy(&v, m);
	return r < 0 ? drover_err(e, r, "%s: out of memory", o->name) : 0;
}

static struct json_object *map_to_json(const struct drover_option *o, const void *m)
{
	struct json_object *copy = NULL;

	(void)o;
	return map_copy(m, &copy) < 0 ? NULL : copy;
}

/* Numbers need no clear, copy and equal: their bytes are copied and compared. */
static const struct type_ops type_ops[DROVER_TYPE_COUNT] = {
	[DROVER_TYPE_BOOL] = { .from_json = bool_from_json, .to_json = bool_to_json },
	[DROVER_TYPE_U8] = { .from_json = number_from_json, .to_json = number_to_json },
	[DROVER_TYPE_U32] = { .from_json = number_from_json, .to_json = number_to_json },
	[DROVER_TYPE_U64] = { .from_json = number_from_json, .to_json = number_to_json },
	[DROVER_TYPE_SIZE] = { .from_json = number_from_json, .to_json = number_to_json },
	[DROVER_TYPE_ENUM] = { .from_json = enum_from_json, .to_json = enum_to_json },
	[DROVER_TYPE_STR] = { str_default, str_clear, str_copy, str_equal, str_from_json,
			      str_to_json },
	[DROVER_TYPE_STR_OR_NULL] = { str_default, str_clear, str_copy, str_equal, str_from_json,
				      str_to_json },
	[DROVER_TYPE_STR_LIST] = { list_default, list_clear, list_copy, list_equal,
				   list_from_json, list_to_json },
	[DROVER_TYPE_BITMAP_MAP] = { map_default, map_clear, map_copy, map_equal, map_from_json,
				     map_to_json },
};

static void *member(const struct drover_option *o, struct drover_config *c)
{
	return (char *)c + o->offset;
}

static const void *member_const(const struct drover_option *o, const struct drover_config *c)
{
	return (const char *)c + o->offset;
}

int drover_value_set_default(const struct drover_option *o, struct drover_config *c)
{
	if (type_ops[o->type].set_default)
		return type_ops[o->type].set_default(o, member(o, c));
	number_store(o, member(o, c), o->def);
	return 0;
}

void drover_value_clear(const struct drover_option *o, struct drover_config *c)
{
	if (type_ops[o->type].clear)
		type_ops[o->type].clear(member(o, c));
}

int drover_value_copy(const struct drover_option *o, const struct drover_config *src,
		      struct drover_config *dst)
{
	if (type_ops[o->type].copy)
		return type_ops[o->type].copy(member_const(o, src), member(o, dst));
	number_store(o, member(o, dst), number_load(o, member_const(o, src)));
	return 0;
}

bool drover_value_equal(const struct drover_option *o, const struct drover_config *a,
			const struct drover_config *b)
{
	const void *x = member_const(o, a), *y = member_const(o, b);

	if (type_ops[o->type].equal)
		return type_ops[o->type].equal(x, y);
	return number_load(o, x) == number_load(o, y);
}

bool drover_value_is_default(const struct drover_option *o, const struct drover_config *c)
{
	const void *m = member_const(o, c);

	switch (o->type) {
	case DROVER_TYPE_STR:
	case DROVER_TYPE_STR_OR_NULL:
		return !**(char *const *)m;
	case DROVER_TYPE_STR_LIST:
		return !**(char **const *)m;
	case DROVER_TYPE_BITMAP_MAP:
		return !*(struct json_object *const *)m;
	default:
		return number_load(o, m) == o->def;
	}
}

int drover_value_from_json(const struct drover_option *o, struct json_object *v,
			   struct drover_config *c, struct drover_error *e)
{
	return type_ops[o->type].from_json(o, v, member(o, c), e);
}

struct json_object *drover_value_to_json(const struct drover_option *o,
					 const struct drover_config *c)
{
	return type_ops[o->type].to_json(o, member_const(o, c));
}
