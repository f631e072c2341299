// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * query-qmp-schema: the tables in QAPI's introspection format. Types have numbers for
 * names there, so that clients do not come to depend on names; a list of type 7 is "[7]".
 * Only types that something uses are told.
 *
 * Numbers: rows of types.def; from OPTION_BASE on the enum of that option; from
 * COMMAND_BASE on a command's arguments; from EVENT_BASE on an event's data.
 */
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "daemon/daemon.h"
#include "daemon/schema.h"

#define OPTION_BASE 100
#define COMMAND_BASE 200
#define EVENT_BASE 300
#define NUMBER_MAX 400
#define REF_MAX 24

static const char *const events[] = {
#define EVENT(id, name, option, data, doc) name,
#define OWN_EVENT(name, doc) name,
#include "daemon/events.def"
};

static const struct {
	const char *name;
	const char *json;
} builtins[] = {
	{ "str", "string" }, { "int", "int" }, { "number", "number" }, { "bool", "boolean" },
	{ "null", "null" }, { "any", "value" },
};

static const char *const argument_types[] = {
	[QMP_STR] = "str",
	[QMP_INT] = "int",
	[QMP_BOOL] = "bool",
	[QMP_OBJECT] = "any",
	[QMP_ARRAY] = "[any]",
};

/**
 * struct schema - the answer in the making
 * @told: numbers that have their entry
 * @builtin, @list_of_builtin, @list: the same for the other types
 */
struct schema {
	struct json_object *out;
	bool told[NUMBER_MAX], list[NUMBER_MAX];
	bool builtin[DROVER_ARRAY_SIZE(builtins)], list_of_builtin[DROVER_ARRAY_SIZE(builtins)];
};

static void refer(struct schema *s, const char *type, char ret[REF_MAX]);

static void add_text(struct json_object *o, const char *name, const char *text)
{
	json_object_object_add(o, name, json_object_new_string(text));
}

static struct json_object *add_list(struct json_object *o, const char *name)
{
	struct json_object *a = json_object_new_array();

	json_object_object_add(o, name, a);
	return a;
}

static void add_unstable(struct json_object *o)
{
	json_object_array_add(add_list(o, "features"), json_object_new_string("unstable"));
}

static struct json_object *entry(struct schema *s, const char *name, const char *meta)
{
	struct json_object *o = json_object_new_object();

	add_text(o, "name", name);
	add_text(o, "meta-type", meta);
	json_object_array_add(s->out, o);
	return o;
}

static void tell_list(struct schema *s, const char *element)
{
	char name[REF_MAX + 2];

	snprintf(name, sizeof(name), "[%s]", element);
	add_text(entry(s, name, "array"), "element-type", element);
}

static struct json_object *add_member(struct json_object *list, const char *name,
				      const char *ref, bool optional)
{
	struct json_object *m = json_object_new_object();

	add_text(m, "name", name);
	if (optional)
		json_object_object_add(m, "default", NULL);
	add_text(m, "type", ref);
	json_object_array_add(list, m);
	return m;
}

static void add_members(struct schema *s, struct json_object *list,
			const struct schema_member *m)
{
	char ref[REF_MAX];

	for (; m && m->name; m++) {
		bool optional = m->name[0] == '*';

		refer(s, m->type, ref);
		add_member(list, m->name + optional, ref, optional);
	}
}

static void add_value(struct json_object *members, struct json_object *values, const char *name)
{
	const struct drover_option *o = drover_option_by_name(name);
	struct json_object *m = json_object_new_object();

	add_text(m, "name", name);
	if (o && o->flags & DROVER_OPTION_CAPABILITY && o->flags & DROVER_OPTION_UNSTABLE)
		add_unstable(m);
	json_object_array_add(members, m);
	json_object_array_add(values, json_object_new_string(name));
}

static void tell_option_enum(struct schema *s, const struct drover_option *opt, const char *name)
{
	struct json_object *o = entry(s, name, "enum");
	struct json_object *members = add_list(o, "members"), *values = add_list(o, "values");
	size_t i;

	for (i = 0; i < opt->nvalues; i++)
		if (!opt->value[i].missing)
			add_value(members, values, opt->value[i].name);
}

static void option_ref(struct schema *s, const struct drover_option *opt, char ret[REF_MAX])
{
	static const char *const types[DROVER_TYPE_COUNT] = {
		[DROVER_TYPE_BOOL] = "bool", [DROVER_TYPE_U8] = "int", [DROVER_TYPE_U32] = "int",
		[DROVER_TYPE_U64] = "int", [DROVER_TYPE_SIZE] = "int", [DROVER_TYPE_STR] = "str",
		[DROVER_TYPE_STR_OR_NULL] = "StrOrNull", [DROVER_TYPE_STR_LIST] = "[str]",
		[DROVER_TYPE_BITMAP_MAP] = "[BlockNodeMapping]",
	};
	size_t number = OPTION_BASE + (size_t)opt->id;

	if (types[opt->type]) {
		refer(s, types[opt->type], ret);
		return;
	}
	snprintf(ret, REF_MAX, "%zu", number);
	if (!s->told[number]) {
		s->told[number] = true;
		tell_option_enum(s, opt, ret);
	}
}

static void tell_config(struct schema *s, struct json_object *list)
{
	const struct drover_option *opt;
	struct json_object *m;
	char ref[REF_MAX];
	size_t i, n;

	opt = drover_option_table(&n);
	for (i = 0; i < n; i++) {
		option_ref(s, &opt[i], ref);
		m = add_member(list, opt[i].name, ref, true);
		if (opt[i].flags & DROVER_OPTION_UNSTABLE)
			add_unstable(m);
	}
}

static void tell_enum(const struct schema_type *t, struct json_object *o)
{
	struct json_object *members = add_list(o, "members"), *values = add_list(o, "values");
	const char *name;
	size_t i;

	for (i = 0; (name = t->value_fn ? t->value_fn(i) : t->value[i]); i++)
		add_value(members, values, name);
}

static void tell_alternate(struct schema *s, const struct schema_type *t, struct json_object *o)
{
	struct json_object *members = add_list(o, "members");
	char ref[REF_MAX];
	size_t i;

	for (i = 0; t->value[i]; i++) {
		struct json_object *m = json_object_new_object();

		refer(s, t->value[i], ref);
		add_text(m, "type", ref);
		json_object_array_add(members, m);
	}
}

static void tell_variants(struct schema *s, const struct schema_type *t, struct json_object *o)
{
	const struct schema_member *v;
	struct json_object *list;
	char ref[REF_MAX];

	if (!t->tag)
		return;
	add_text(o, "tag", t->tag);
	list = add_list(o, "variants");
	for (v = t->variant; v->name; v++) {
		struct json_object *m = json_object_new_object();

		refer(s, v->type, ref);
		add_text(m, "case", v->name);
		add_text(m, "type", ref);
		json_object_array_add(list, m);
	}
}

static void tell_type(struct schema *s, const struct schema_type *t, const char *name)
{
	static const char *const metas[] = {
		[SCHEMA_ENUM] = "enum", [SCHEMA_OBJECT] = "object",
		[SCHEMA_ALTERNATE] = "alternate", [SCHEMA_CONFIG] = "object",
	};
	struct json_object *o = entry(s, name, metas[t->meta]), *list;

	if (t->meta == SCHEMA_ENUM) {
		tell_enum(t, o);
	} else if (t->meta == SCHEMA_ALTERNATE) {
		tell_alternate(s, t, o);
	} else {
		list = add_list(o, "members");
		if (t->meta == SCHEMA_CONFIG)
			tell_config(s, list);
		add_members(s, list, t->member);
		add_members(s, list, t->more);
		tell_variants(s, t, o);
	}
}

static bool refer_builtin(struct schema *s, const char *type, size_t len, bool list)
{
	size_t i;

	for (i = 0; i < DROVER_ARRAY_SIZE(builtins); i++) {
		if (strlen(builtins[i].name) != len || memcmp(type, builtins[i].name, len) != 0)
			continue;
		if (!s->builtin[i])
			add_text(entry(s, builtins[i].name, "builtin"), "json-type",
				 builtins[i].json);
		s->builtin[i] = true;
		if (list && !s->list_of_builtin[i])
			tell_list(s, builtins[i].name);
		s->list_of_builtin[i] |= list;
		return true;
	}
	return false;
}

/* What the schema calls @type, which gets its entry now if it has none. */
static void refer(struct schema *s, const char *type, char ret[REF_MAX])
{
	bool list = type[0] == '[';
	size_t len = strlen(type) - (list ? 2 : 0), i;
	char number[REF_MAX - 2];

	type += list;
	if (refer_builtin(s, type, len, list)) {
		snprintf(ret, REF_MAX, list ? "[%.*s]" : "%.*s", (int)len, type);
		return;
	}
	for (i = 0; schema_types[i].name; i++)
		if (strlen(schema_types[i].name) == len &&
		    memcmp(type, schema_types[i].name, len) == 0)
			break;
	snprintf(number, sizeof(number), "%zu", i);
	if (!s->told[i]) {
		s->told[i] = true;
		tell_type(s, &schema_types[i], number);
	}
	if (list && !s->list[i]) {
		s->list[i] = true;
		tell_list(s, number);
	}
	snprintf(ret, REF_MAX, list ? "[%s]" : "%s", number);
}

static void tell_arguments(struct schema *s, const struct qmp_command *c, const char *name)
{
	struct json_object *list = add_list(entry(s, name, "object"), "members");
	const struct qmp_arg *a;
	char ref[REF_MAX];

	for (a = c->arg; a->name; a++) {
		const char *type = schema_link(schema_arguments, a->name);

		refer(s, type && a->type != QMP_BOOL ? type : argument_types[a->type], ref);
		add_member(list, a->name, ref, a->optional);
	}
}

static void tell_command(struct schema *s, size_t i)
{
	const struct qmp_command *c = &droverd_commands[i];
	const char *boxed = schema_link(schema_boxed, c->name);
	const char *ret = schema_link(schema_returns, c->name);
	struct json_object *o = entry(s, c->name, "command");
	char ref[REF_MAX];

	if (!boxed && c->arg[0].name) {
		snprintf(ref, sizeof(ref), "%zu", COMMAND_BASE + i);
		tell_arguments(s, c, ref);
	} else {
		refer(s, boxed ? boxed : "Empty", ref);
	}
	add_text(o, "arg-type", ref);
	refer(s, ret ? ret : "Empty", ref);
	add_text(o, "ret-type", ref);
	if (c->flags & QMP_OOB)
		json_object_object_add(o, "allow-oob", json_object_new_boolean(true));
}

static void tell_event(struct schema *s, size_t i)
{
	const struct schema_member *data = schema_data_of(events[i]);
	struct json_object *o = entry(s, events[i], "event");
	char ref[REF_MAX];

	if (data) {
		snprintf(ref, sizeof(ref), "%zu", EVENT_BASE + i);
		add_members(s, add_list(entry(s, ref, "object"), "members"), data);
	} else {
		refer(s, "Empty", ref);
	}
	add_text(o, "arg-type", ref);
}

_Static_assert(DROVER_OPTION_COUNT <= COMMAND_BASE - OPTION_BASE, "numbers for options");
_Static_assert(DROVER_ARRAY_SIZE(events) <= NUMBER_MAX - EVENT_BASE, "numbers for events");

int cmd_query_qmp_schema(struct qmp_call *call, struct drover_error *e)
{
	struct schema s = { .out = json_object_new_array() };
	size_t i;

	(void)e;
	for (i = 0; i < droverd_ncommands; i++)
		tell_command(&s, i);
	for (i = 0; i < DROVER_ARRAY_SIZE(events); i++)
		tell_event(&s, i);
	call->ret = s.out;
	return 0;
}

int cmd_query_events(struct qmp_call *call, struct drover_error *e)
{
	size_t i;

	(void)e;
	call->ret = json_object_new_array();
	for (i = 0; i < DROVER_ARRAY_SIZE(events); i++) {
		struct json_object *o = json_object_new_object();

		add_text(o, "name", events[i]);
		json_object_array_add(call->ret, o);
	}
	return 0;
}
