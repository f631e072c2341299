// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Verbs about options. Names, types, defaults and ranges come from the table of options, which the
 * daemon uses, too; the daemon checks the values.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"
#include "config/options.h"
#include "ctl/ctl.h"

static const struct {
	unsigned int flag;
	const char *name;
} flag_names[] = {
	{ DROVER_OPTION_CAPABILITY, "capability" },
	{ DROVER_OPTION_RUNTIME, "may change while running" },
	{ DROVER_OPTION_UNSTABLE, "unstable" },
	{ DROVER_OPTION_EXTENSION, "drover's own" },
	{ DROVER_OPTION_MUST_AGREE, "both sides must agree" },
	{ DROVER_OPTION_SOURCE, "source" },
	{ DROVER_OPTION_DEST, "destination" },
};

int ctl_parse_set(struct json_object *o, const char *text, bool defaults, struct drover_error *e)
{
	const char *eq = strchr(text, '=');
	const struct drover_option *opt;
	struct json_object *val = NULL;
	char name[64];
	int r;

	if (!eq || eq == text || (size_t)(eq - text) >= sizeof(name))
		return drover_err(e, -EINVAL, "'%s': must be NAME=VALUE", text);
	snprintf(name, sizeof(name), "%.*s", (int)(eq - text), text);
	opt = drover_option_by_name(name);
	if (!opt)
		return drover_err(e, -EINVAL, "'%s': no such option", name);
	if (!defaults && strcmp(eq + 1, "default") == 0) {
		json_object_object_del(o, name);
		return 0;
	}
	r = drover_option_text_to_json(opt, eq + 1, &val, e);
	if (r < 0)
		return drover_err_prefix(e, "option '%s': ", name), r;
	json_object_object_add(o, name, val);
	return 0;
}

int verb_set(struct ctl *c)
{
	_cleanup_json_ struct json_object *args = json_object_new_object();
	struct drover_error e = DROVER_ERROR_INIT;
	int i;

	for (i = 0; i < c->nargs; i++)
		if (ctl_parse_set(args, c->arg[i], true, &e) < 0) {
			ctl_fail(c, &e);
			return CTL_USAGE;
		}
	return ctl_do(c, "migrate-set-config", TAKE_PTR(args));
}

static void print_value(const char *name, struct json_object *v)
{
	if (json_object_is_type(v, json_type_string))
		printf("%s=%s\n", name, json_object_get_string(v));
	else if (json_object_is_type(v, json_type_boolean))
		printf("%s=%s\n", name, json_object_get_boolean(v) ? "on" : "off");
	else
		printf("%s=%s\n", name, json_object_to_json_string_ext(
			       v, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
}

static void print_all(struct json_object *o)
{
	struct json_object_iterator it = json_object_iter_begin(o), end = json_object_iter_end(o);

	for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it))
		print_value(json_object_iter_peek_name(&it), json_object_iter_peek_value(&it));
}

/* An object with only the member that was asked for, so that --json prints its name, too. */
static struct json_object *only(struct json_object *o, const char *name)
{
	struct json_object *ret = json_object_new_object(), *v = NULL;

	if (json_object_object_get_ex(o, name, &v))
		json_object_object_add(ret, name, json_object_get(v));
	return ret;
}

int verb_get(struct ctl *c)
{
	_cleanup_json_ struct json_object *o = NULL, *one = NULL;
	const char *name = c->nargs ? c->arg[0] : NULL;
	int status;

	if (name && !drover_option_by_name(name))
		return ctl_usage("get: '%s': no such option", name);
	status = ctl_call(c, "query-migrate-config", NULL, &o);
	if (status != CTL_DONE)
		return status;
	if (name)
		one = only(o, name);
	if (c->json)
		ctl_print_json(one ? one : o);
	else
		print_all(one ? one : o);
	return CTL_DONE;
}

static bool is_number(const struct drover_option *o)
{
	return o->type == DROVER_TYPE_U8 || o->type == DROVER_TYPE_U32 ||
	       o->type == DROVER_TYPE_U64 || o->type == DROVER_TYPE_SIZE;
}

static struct json_object *default_of(const struct drover_option *o)
{
	if (is_number(o))
		return json_object_new_uint64(o->def);
	if (o->type == DROVER_TYPE_BOOL)
		return json_object_new_boolean(o->def != 0);
	if (o->type == DROVER_TYPE_ENUM)
		return json_object_new_string(o->value[o->def].name);
	if (o->type == DROVER_TYPE_STR_LIST)
		return json_object_new_array();
	return o->type == DROVER_TYPE_BITMAP_MAP ? NULL : json_object_new_string("");
}

static struct json_object *option_json(const struct drover_option *o)
{
	struct json_object *j = json_object_new_object(), *list = json_object_new_array();
	size_t i;

	json_object_object_add(j, "name", json_object_new_string(o->name));
	json_object_object_add(j, "type", json_object_new_string(drover_option_type_name(o)));
	json_object_object_add(j, "default", default_of(o));
	if (is_number(o)) {
		json_object_object_add(j, "min", json_object_new_uint64(o->min));
		json_object_object_add(j, "max", json_object_new_uint64(o->max));
	}
	json_object_object_add(j, "unit", json_object_new_string(o->unit));
	for (i = 0; i < DROVER_ARRAY_SIZE(flag_names); i++)
		if (o->flags & flag_names[i].flag)
			json_object_array_add(list, json_object_new_string(flag_names[i].name));
	json_object_object_add(j, "flags", list);
	json_object_object_add(j, "doc", json_object_new_string(o->doc));
	if (o->type != DROVER_TYPE_ENUM)
		return j;
	list = json_object_new_array();
	for (i = 0; i < o->nvalues; i++)
		json_object_array_add(list, json_object_new_string(o->value[i].name));
	json_object_object_add(j, "values", list);
	return j;
}

static void print_range(const struct drover_option *o)
{
	size_t i;

	if (is_number(o))
		printf(", %" PRIu64 "..%" PRIu64 "%s%s", o->min, o->max, *o->unit ? " " : "",
		       o->unit);
	for (i = 0; o->type == DROVER_TYPE_ENUM && i < o->nvalues; i++)
		printf("%s%s", i ? ", " : ": ", o->value[i].name);
}

static void print_option(const struct drover_option *o)
{
	_cleanup_json_ struct json_object *def = default_of(o);
	size_t i;

	printf("%s (%s", o->name, drover_option_type_name(o));
	print_range(o);
	printf("; default %s)\n    %s\n",
	       json_object_is_type(def, json_type_boolean) ? o->def ? "on" : "off" :
	       json_object_to_json_string_ext(def, JSON_C_TO_STRING_PLAIN), o->doc);
	for (i = 0; i < o->nvalues; i++)
		if (*o->value[i].doc)
			printf("    %-14s %s%s%s%s\n", o->value[i].name, o->value[i].doc,
			       o->value[i].missing ? " (" : "",
			       o->value[i].missing ? o->value[i].missing : "",
			       o->value[i].missing ? ")" : "");
	for (i = 0; i < DROVER_ARRAY_SIZE(flag_names); i++)
		if (o->flags & flag_names[i].flag)
			printf("    - %s\n", flag_names[i].name);
}

int verb_options(struct ctl *c)
{
	_cleanup_json_ struct json_object *all = json_object_new_array();
	const char *name = c->nargs ? c->arg[0] : NULL;
	const struct drover_option *table;
	size_t n, i;

	table = drover_option_table(&n);
	if (name && !drover_option_by_name(name))
		return ctl_usage("options: '%s': no such option", name);
	for (i = 0; i < n; i++) {
		if (name && strcmp(table[i].name, name) != 0)
			continue;
		if (c->json)
			json_object_array_add(all, option_json(&table[i]));
		else
			print_option(&table[i]);
	}
	if (c->json)
		ctl_print_json(all);
	return CTL_DONE;
}
