// SPDX-License-Identifier: GPL-2.0-or-later
/* The tables of options, rules and commands as JSON: what tests/qmp/gen-cases.py reads. */
#include <json-c/json.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "config/rules.h"
#include "daemon/qmp.h"

static const struct {
	const char *name;
	struct qmp_arg arg[QMP_ARGS_MAX + 1];
	unsigned int flags;
} commands[] = {
#define COMMAND(function, name, flags, doc, ...) { name, { __VA_ARGS__ }, flags },
#include "daemon/commands.def"
};

static const char *const types[] = {
	[QMP_STR] = "string",
	[QMP_INT] = "integer",
	[QMP_BOOL] = "boolean",
	[QMP_OBJECT] = "object",
	[QMP_ARRAY] = "array",
};

static void add_text(struct json_object *o, const char *name, const char *text)
{
	json_object_object_add(o, name, json_object_new_string(text));
}

static void add_bool(struct json_object *o, const char *name, bool value)
{
	json_object_object_add(o, name, json_object_new_boolean(value));
}

static struct json_object *add_array(struct json_object *o, const char *name)
{
	struct json_object *a = json_object_new_array();

	json_object_object_add(o, name, a);
	return a;
}

static struct json_object *option(const struct drover_option *opt)
{
	struct json_object *o = json_object_new_object(), *values;
	size_t i;

	add_text(o, "name", opt->name);
	add_text(o, "type", drover_option_type_name(opt));
	add_text(o, "json-type", drover_option_json_type(opt));
	json_object_object_add(o, "default", json_object_new_uint64(opt->def));
	json_object_object_add(o, "min", json_object_new_uint64(opt->min));
	json_object_object_add(o, "max", json_object_new_uint64(opt->max));
	add_bool(o, "capability", opt->flags & DROVER_OPTION_CAPABILITY);
	add_bool(o, "must-agree", opt->flags & DROVER_OPTION_MUST_AGREE);
	values = add_array(o, "values");
	for (i = 0; i < opt->nvalues; i++) {
		struct json_object *v = json_object_new_object();

		add_text(v, "name", opt->value[i].name);
		if (opt->value[i].missing)
			add_text(v, "missing", opt->value[i].missing);
		json_object_array_add(values, v);
	}
	return o;
}

static struct json_object *rule(const struct drover_rule *r)
{
	struct json_object *o = json_object_new_object(), *options;
	size_t i;

	add_text(o, "message", r->message);
	if (r->example)
		json_object_object_add(o, "example", json_tokener_parse(r->example));
	add_bool(o, "set", r->phase == DROVER_RULE_SET);
	options = add_array(o, "options");
	for (i = 0; i < r->noptions; i++)
		json_object_array_add(options, json_object_new_string(
					drover_option_table(NULL)[r->option[i]].name));
	return o;
}

static struct json_object *command(size_t n)
{
	struct json_object *o = json_object_new_object(), *args;
	const struct qmp_arg *a;

	add_text(o, "name", commands[n].name);
	add_bool(o, "oob", commands[n].flags & QMP_OOB);
	args = add_array(o, "arguments");
	for (a = commands[n].arg; a->name; a++) {
		struct json_object *arg = json_object_new_object();

		add_text(arg, "name", a->name);
		add_text(arg, "type", types[a->type]);
		add_bool(arg, "optional", a->optional);
		json_object_array_add(args, arg);
	}
	return o;
}

int main(void)
{
	struct json_object *all = json_object_new_object(), *list;
	const struct drover_option *options;
	const struct drover_rule *rules;
	size_t i, n;

	options = drover_option_table(&n);
	list = add_array(all, "options");
	for (i = 0; i < n; i++)
		json_object_array_add(list, option(&options[i]));
	rules = drover_rule_table(&n);
	list = add_array(all, "rules");
	for (i = 0; i < n; i++)
		json_object_array_add(list, rule(&rules[i]));
	list = add_array(all, "commands");
	for (i = 0; i < DROVER_ARRAY_SIZE(commands); i++)
		json_object_array_add(list, command(i));
	puts(json_object_to_json_string_ext(all, JSON_C_TO_STRING_PRETTY));
	json_object_put(all);
	return 0;
}
