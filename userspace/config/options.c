// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The option table as data. All code that treats every option alike (JSON, droverctl, the
 * documentation page, the tests) walks this table.
 */
#include "config/options.h"

#include <string.h>

#include "base/cleanup.h"
#include "config/config.h"

_Static_assert(DROVER_OPTION_COUNT <= 8 * sizeof(((struct drover_presence *)0)->bits),
	       "the presence set has a bit for every option");

#define ENUM(member) static const struct drover_option_value values_##member[] = {
#define VALUE(upper, value, text, missing, doc) { text, missing, doc },
#define ENUM_END(member) };
#include "config/enums.def"
#undef ENUM
#undef VALUE
#undef ENUM_END

#define VALUES_NONE .value = NULL, .nvalues = 0
#define VALUES_BOOL(m) VALUES_NONE
#define VALUES_U8(m) VALUES_NONE
#define VALUES_U32(m) VALUES_NONE
#define VALUES_U64(m) VALUES_NONE
#define VALUES_SIZE(m) VALUES_NONE
#define VALUES_ENUM(m) .value = values_##m, .nvalues = DROVER_ARRAY_SIZE(values_##m)
#define VALUES_STR(m) VALUES_NONE
#define VALUES_STR_OR_NULL(m) VALUES_NONE
#define VALUES_STR_LIST(m) VALUES_NONE
#define VALUES_BITMAP_MAP(m) VALUES_NONE

#define C DROVER_OPTION_CAPABILITY
#define R DROVER_OPTION_RUNTIME
#define U DROVER_OPTION_UNSTABLE
#define E DROVER_OPTION_EXTENSION

static const struct drover_option table[] = {
#define OPT(member, json, kind, dflt, lo, hi, units, bits, who, text)		\
	[DROVER_OPT_##member] = {						\
		.id = DROVER_OPT_##member,					\
		.type = DROVER_TYPE_##kind,					\
		.name = json,							\
		.def = dflt,							\
		.min = lo,							\
		.max = hi,							\
		.unit = units,							\
		.flags = (bits) | DROVER_OPTION_##who,				\
		.doc = text,							\
		.offset = offsetof(struct drover_config, member),		\
		VALUES_##kind(member)						\
	},
#include "config/options.def"
#undef OPT
};

static const struct {
	const char *json, *name;
} type_name[] = {
	[DROVER_TYPE_BOOL] = { "boolean", "bool" },
	[DROVER_TYPE_U8] = { "integer", "uint8" },
	[DROVER_TYPE_U32] = { "integer", "uint32" },
	[DROVER_TYPE_U64] = { "integer", "uint64" },
	[DROVER_TYPE_SIZE] = { "integer", "size" },
	[DROVER_TYPE_ENUM] = { "string", "enum" },
	[DROVER_TYPE_STR] = { "string", "string" },
	[DROVER_TYPE_STR_OR_NULL] = { "string", "string or null" },
	[DROVER_TYPE_STR_LIST] = { "array", "list of strings" },
	[DROVER_TYPE_BITMAP_MAP] = { "array", "list of node mappings" },
};

const struct drover_option *drover_option_table(size_t *ret_n)
{
	if (ret_n)
		*ret_n = DROVER_ARRAY_SIZE(table);
	return table;
}

const struct drover_option *drover_option_by_name(const char *name)
{
	size_t i;

	for (i = 0; i < DROVER_ARRAY_SIZE(table); i++)
		if (!strcmp(table[i].name, name))
			return &table[i];
	return NULL;
}

const char *drover_option_json_type(const struct drover_option *o)
{
	return type_name[o->type].json;
}

const char *drover_option_type_name(const struct drover_option *o)
{
	return type_name[o->type].name;
}
