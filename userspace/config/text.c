// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Values of options as people type them for droverctl (on/off, 1G, a list of words), turned into
 * the strict form that QMP takes. Ranges are not checked here: droverd checks them.
 */
#include "config/options.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"
#include "config/value.h"

#define TEXT_MAX (1u << 20)

static int bad_text(const struct drover_option *o, const char *text, const char *expected,
		    struct drover_error *e)
{
	return drover_err(e, -EINVAL, "Option '%s' expects %s, not '%.64s'", o->name, expected,
			  text);
}

static int bool_text(const struct drover_option *o, const char *text, struct json_object **ret,
		     struct drover_error *e)
{
	static const char *const word[] = { "off", "on", "no", "yes", "false", "true" };
	size_t i;

	for (i = 0; i < DROVER_ARRAY_SIZE(word); i++)
		if (!strcmp(text, word[i])) {
			*ret = json_object_new_boolean(i & 1);
			return 0;
		}
	return bad_text(o, text, "on or off", e);
}

static int number_text(const struct drover_option *o, const char *text,
		       struct json_object **ret, struct drover_error *e)
{
	static const char suffix[] = "KkMmGgTtPpEe";
	const char *s = text, *at;
	uint64_t v = 0, digit;
	bool bytes = !strncmp(o->unit, "bytes", 5);
	const char *expected = bytes ? "an integer, with K, M, G or T for powers of 1024" :
		"an integer";
	unsigned int shift = 0;

	for (; *s >= '0' && *s <= '9'; s++) {
		digit = (uint64_t)(*s - '0');
		if (v > (UINT64_MAX - digit) / 10)
			return bad_text(o, text, "an integer below 2^64", e);
		v = v * 10 + digit;
	}
	if (s == text)
		return bad_text(o, text, expected, e);
	if (bytes && *s && (at = strchr(suffix, *s))) {
		shift = 10 * (unsigned int)((at - suffix) / 2 + 1);
		s++;
	}
	if (*s)
		return bad_text(o, text, expected, e);
	if (v > UINT64_MAX >> shift)
		return bad_text(o, text, "an integer below 2^64", e);
	v <<= shift;
	*ret = v <= INT64_MAX ? json_object_new_int64((int64_t)v) : json_object_new_uint64(v);
	return 0;
}

static int string_text(const struct drover_option *o, const char *text,
		       struct json_object **ret, struct drover_error *e)
{
	(void)o;
	(void)e;
	*ret = json_object_new_string(text);
	return 0;
}

static int enum_text(const struct drover_option *o, const char *text, struct json_object **ret,
		     struct drover_error *e)
{
	char expected[256] = "one of";
	size_t i, n = strlen(expected);

	for (i = 0; i < o->nvalues; i++) {
		if (!strcmp(text, o->value[i].name))
			return string_text(o, text, ret, e);
		if (n + strlen(o->value[i].name) + 2 < sizeof(expected)) {
			expected[n++] = ' ';
			strcpy(expected + n, o->value[i].name);
			n += strlen(o->value[i].name);
		}
	}
	return bad_text(o, text, expected, e);
}

static int json_text(const struct drover_option *o, const char *text, struct json_object **ret,
		     struct drover_error *e)
{
	struct drover_error why = DROVER_ERROR_INIT;
	int r = drover_json_parse(text, strlen(text), TEXT_MAX, ret, &why);

	return r < 0 ? drover_err(e, -EINVAL, "Option '%s': %s", o->name, why.msg) : 0;
}

static int words_text(const struct drover_option *o, const char *text,
		      struct json_object **ret, struct drover_error *e)
{
	_cleanup_json_ struct json_object *list = NULL;

	text += strspn(text, " \t\n");
	if (*text == '[')
		return json_text(o, text, ret, e);
	list = json_object_new_array();
	while (list && *text) {
		size_t n = strcspn(text, " \t\n");
		struct json_object *w = json_object_new_string_len(text, (int)n);

		if (!w || json_object_array_add(list, w) < 0) {
			json_object_put(w);
			return drover_err(e, -ENOMEM, "%s: out of memory", o->name);
		}
		text += n;
		text += strspn(text, " \t\n");
	}
	*ret = TAKE_PTR(list);
	return 0;
}

static int default_text(const struct drover_option *o, struct json_object **ret,
			struct drover_error *e)
{
	_cleanup_(drover_config_deinit) struct drover_config c = { 0 };

	if (o->type == DROVER_TYPE_BITMAP_MAP)
		return drover_err(e, -EINVAL, "Option '%s' is unset by default, which can't be"
				  " set again; [] migrates no bitmaps", o->name);
	if (drover_config_init(&c) == 0)
		*ret = drover_value_to_json(o, &c);
	return 0;
}

int drover_option_text_to_json(const struct drover_option *o, const char *text,
			       struct json_object **ret, struct drover_error *e)
{
	static int (*const by_type[DROVER_TYPE_COUNT])(const struct drover_option *,
						       const char *, struct json_object **,
						       struct drover_error *) = {
		[DROVER_TYPE_BOOL] = bool_text, [DROVER_TYPE_U8] = number_text,
		[DROVER_TYPE_U32] = number_text, [DROVER_TYPE_U64] = number_text,
		[DROVER_TYPE_SIZE] = number_text, [DROVER_TYPE_ENUM] = enum_text,
		[DROVER_TYPE_STR] = string_text, [DROVER_TYPE_STR_OR_NULL] = string_text,
		[DROVER_TYPE_STR_LIST] = words_text, [DROVER_TYPE_BITMAP_MAP] = json_text,
	};
	struct json_object *v = NULL;
	int r;

	if (strlen(text) > TEXT_MAX)
		return drover_err(e, -EINVAL, "Option '%s': the value is too long", o->name);
	r = strcmp(text, "default") ? by_type[o->type](o, text, &v, e) : default_text(o, &v, e);
	if (r < 0)
		return r;
	if (!v)
		return drover_err(e, -ENOMEM, "%s: out of memory", o->name);
	*ret = v;
	return 0;
}
