// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * --goal, which the table goals.def expands to config members, and --explain, which prints the
 * reason for each. Called by verb-migrate.c; nothing here talks to the daemon.
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
#include "ctl/goal.h"

#define ARGUMENT "="
#define MOST_OF_ARGUMENT "9/10"
#define ARGUMENT_MAX 2000000

enum when { ALWAYS, MULTI };

/* A row is a goal or, if it has an @option, a member that belongs to the goal before it. */
static const struct row {
	const char *goal, *argument, *doc;
	const char *option, *value;
	enum when when;
	const char *why;
} rows[] = {
#define GOAL(n, a, d) { .goal = n, .argument = a, .doc = d },
#define SETS(o, v, w, y) { .option = o, .value = v, .when = w, .why = y },
#include "ctl/goals.def"
#undef GOAL
#undef SETS
};

static const struct row *const rows_end = rows + DROVER_ARRAY_SIZE(rows);

static int unknown(const char *text, struct drover_error *e)
{
	char all[256] = "";
	const struct row *g;
	size_t n = 0;

	for (g = rows; g < rows_end; g++)
		if (g->goal)
			n += (size_t)snprintf(all + n, sizeof(all) - n, "%s%s%s%s",
					      n ? ", " : "", g->goal, g->argument ? "=" : "",
					      g->argument ? g->argument : "");
	return drover_err(e, -EINVAL, "--goal %s: must be one of %s", text, all);
}

static int parse(const char *text, const struct row **ret, uint64_t *ret_arg,
		 struct drover_error *e)
{
	size_t len = strcspn(text, "=");
	const struct row *g;
	char tail;

	for (g = rows; g < rows_end; g++)
		if (g->goal && strlen(g->goal) == len && strncmp(g->goal, text, len) == 0)
			break;
	if (g == rows_end || !g->argument != !text[len])
		return unknown(text, e);
	*ret_arg = 0;
	if (g->argument && (text[len + 1] < '0' || text[len + 1] > '9' ||
			    sscanf(text + len + 1, "%7" SCNu64 "%c", ret_arg, &tail) != 1 ||
			    !*ret_arg || *ret_arg > ARGUMENT_MAX))
		return drover_err(e, -EINVAL, "--goal %s: %s must be a number from 1 to %d", text,
				  g->argument, ARGUMENT_MAX);
	*ret = g;
	return 0;
}

static int value_of(const struct row *m, uint64_t arg, struct json_object **ret,
		    struct drover_error *e)
{
	const struct drover_option *opt = drover_option_by_name(m->option);

	if (!opt)
		return drover_err(e, -ENOENT, "option '%s': no such option", m->option);
	if (strcmp(m->value, ARGUMENT) == 0)
		*ret = json_object_new_uint64(arg);
	else if (strcmp(m->value, MOST_OF_ARGUMENT) == 0)
		*ret = json_object_new_uint64(arg - arg / 10);
	else
		return drover_option_text_to_json(opt, m->value, ret, e);
	return 0;
}

int goal_expand(const char *text, bool multi, struct json_object *o, struct drover_error *e)
{
	const struct row *m;
	uint64_t arg;
	int r = parse(text, &m, &arg, e);

	for (; r >= 0 && ++m < rows_end && m->option;) {
		struct json_object *v = NULL;

		if (m->when == MULTI && !multi)
			continue;
		r = value_of(m, arg, &v, e);
		if (r >= 0)
			json_object_object_add(o, m->option, v);
	}
	return r;
}

static const char *text_of(struct json_object *v)
{
	if (json_object_is_type(v, json_type_boolean))
		return json_object_get_boolean(v) ? "on" : "off";
	return json_object_is_type(v, json_type_string) ? json_object_get_string(v) :
		json_object_to_json_string_ext(v, JSON_C_TO_STRING_PLAIN |
					       JSON_C_TO_STRING_NOSLASHESCAPE);
}

static void line(const char *name, struct json_object *v, const char *why)
{
	_cleanup_free_ char *left = NULL;

	if (asprintf(&left, "%s=%s", name, v ? text_of(v) : "default") >= 0)
		printf("%-28s %s\n", left, why);
}

static void explain_member(const struct row *m, uint64_t arg, bool multi, struct json_object *config)
{
	_cleanup_json_ struct json_object *wish = NULL;
	struct drover_error e = DROVER_ERROR_INIT;
	struct json_object *v = NULL;
	char why[256];

	if (value_of(m, arg, &wish, &e) < 0)
		return;
	json_object_object_get_ex(config, m->option, &v);
	if (v && json_object_equal(v, wish)) {
		line(m->option, v, m->why);
		return;
	}
	if (!v && m->when == MULTI && !multi)
		snprintf(why, sizeof(why), "the transport has one channel only");
	else
		snprintf(why, sizeof(why), "you said so; the goal would be %s", text_of(wish));
	line(m->option, v, why);
}

void goal_explain(const char *text, bool multi, struct json_object *config)
{
	struct json_object_iterator it = json_object_iter_begin(config);
	struct json_object_iterator end = json_object_iter_end(config);
	struct drover_error e = DROVER_ERROR_INIT;
	const struct row *g = NULL, *m = NULL;
	uint64_t arg = 0;

	if (text && parse(text, &g, &arg, &e) >= 0) {
		printf("%s: %s\n", g->goal, g->doc);
		for (m = g + 1; m < rows_end && m->option; m++)
			explain_member(m, arg, multi, config);
	}
	for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
		const char *name = json_object_iter_peek_name(&it);
		const struct row *k = g ? g + 1 : NULL;

		while (k && k < m && strcmp(k->option, name) != 0)
			k++;
		if (k == m)
			line(name, json_object_iter_peek_value(&it), "you said so");
	}
}
