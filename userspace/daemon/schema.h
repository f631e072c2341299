/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_DAEMON_SCHEMA_H
#define DROVER_DAEMON_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>

enum schema_meta {
	SCHEMA_ENUM,
	SCHEMA_OBJECT,
	SCHEMA_ALTERNATE,
	SCHEMA_CONFIG,                  /* an object, its members are the options */
};

/* @name: NULL ends a list; with a '*' before it the member may be absent */
struct schema_member {
	const char *name;
	const char *type;
};

/**
 * struct schema_type - a row of types.def
 * @member, @more: members of an object; @more may be NULL
 * @value, @value_fn: values of an enum, the one or the other; alternates in @value, too
 * @tag, @variant: of a union, else NULL
 */
struct schema_type {
	const char *name;
	enum schema_meta meta;
	const struct schema_member *member, *more;
	const char *const *value;
	const char *(*value_fn)(size_t i);
	const char *tag;
	const struct schema_member *variant;
};

struct schema_link {
	const char *name;
	const char *type;
};

struct schema_data {
	const char *event;
	const struct schema_member *member;
};

/* schema-types.c: what types.def says; each list ends with a NULL name. */
extern const struct schema_type schema_types[];
extern const struct schema_link schema_returns[], schema_boxed[], schema_arguments[];
extern const struct schema_data schema_data[];
/* The type @name has in a list of links, else NULL. */
const char *schema_link(const struct schema_link *list, const char *name);
const struct schema_member *schema_data_of(const char *event);

#endif
