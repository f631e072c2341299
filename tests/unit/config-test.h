/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_TESTS_CONFIG_TEST_H
#define DROVER_TESTS_CONFIG_TEST_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"
#include "config/config.h"
#include "config/value.h"

#include "tap.h"

/* What the unit tests of config/ share: JSON by printf, and values no option has by default. */

#define for_each_option(o)							\
	for (const struct drover_option *o = drover_option_table(NULL);		\
	     (size_t)(o - drover_option_table(NULL)) < DROVER_OPTION_COUNT; o++)

__attribute__((format(printf, 1, 2), unused))
static struct json_object *json(const char *fmt, ...)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct json_object *o = NULL;
	char text[8192];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(text) ||
	    drover_json_parse(text, (size_t)n, sizeof(text), &o, &e) < 0) {
		printf("Bail out! %s: %s\n", text, e.msg);
		exit(1);
	}
	return o;
}

__attribute__((unused))
static char *config_text(const struct drover_config *c)
{
	struct json_object *o = drover_config_to_json(c);
	char *s = strdup(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));

	json_object_put(o);
	return s;
}

/* JSON text of a value that is not the option's default and that this build takes. */
__attribute__((unused))
static const char *other_value(const struct drover_option *o, char buf[128])
{
	unsigned int i;

	switch (o->type) {
	case DROVER_TYPE_BOOL:
		return o->def ? "false" : "true";
	case DROVER_TYPE_ENUM:
		for (i = 0; i < o->nvalues; i++)
			if (i != o->def && !o->value[i].missing) {
				snprintf(buf, 128, "\"%s\"", o->value[i].name);
				return buf;
			}
		return NULL;
	case DROVER_TYPE_STR:
		return "\"1-2\"";
	case DROVER_TYPE_STR_OR_NULL:
		return "\"name0\"";
	case DROVER_TYPE_STR_LIST:
		return "[\"program\", \"-x\"]";
	case DROVER_TYPE_BITMAP_MAP:
		return "[{\"node-name\": \"n\", \"alias\": \"a\", \"bitmaps\": "
		       "[{\"name\": \"b\", \"alias\": \"c\", "
		       "\"transform\": {\"persistent\": true}}]}]";
	default:
		snprintf(buf, 128, "%llu",
			 (unsigned long long)(o->def == o->max ? o->min : o->max));
		return buf;
	}
}

/* What else must be set so that the option's other_value() breaks no rule; "" for most. */
__attribute__((unused))
static const char *companions(enum drover_option_id id)
{
	static const struct {
		enum drover_option_id id;
		const char *members;
	} row[] = {
		{ DROVER_OPT_max_cpu_throttle, "\"cpu-throttle-initial\": 1, " },
		{ DROVER_OPT_x_colo, "\"return-path\": true, " },
		{ DROVER_OPT_zero_copy_send, "\"multifd\": true, " },
		{ DROVER_OPT_postcopy_preempt, "\"postcopy-ram\": true, " },
		{ DROVER_OPT_switchover_ack, "\"return-path\": true, " },
		{ DROVER_OPT_postcopy_from_start, "\"postcopy-ram\": true, " },
	};
	size_t i;

	for (i = 0; i < DROVER_ARRAY_SIZE(row); i++)
		if (row[i].id == id)
			return row[i].members;
	return "";
}

/*
 * Set one member past what set_json allows: a codec that is not built in can't be set, but
 * its rules must hold already.
 */
__attribute__((unused))
static void force(struct drover_config *c, const char *name, struct json_object *v)
{
	const struct drover_option *o = drover_option_by_name(name);
	struct drover_error e = DROVER_ERROR_INIT;
	unsigned int i;

	if (o->type == DROVER_TYPE_ENUM) {
		for (i = 0; strcmp(o->value[i].name, json_object_get_string(v)) != 0; i++)
			;
		memcpy((char *)c + o->offset, &i, sizeof(i));
	} else if (drover_value_from_json(o, v, c, &e) < 0) {
		printf("Bail out! %s\n", e.msg);
		exit(1);
	}
}

#endif
