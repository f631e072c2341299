// SPDX-License-Identifier: GPL-2.0-or-later
/* types.def as tables; what other tables tell already is taken from them. */
#include <string.h>

#include "address/address.h"
#include "base/cleanup.h"
#include "config/options.h"
#include "daemon/job-status.h"
#include "daemon/schema.h"
#include "engine/state.h"

static const char *value_capability(size_t i)
{
	const struct drover_option *o;
	size_t n;

	o = drover_option_table(&n);
	for (; n; n--, o++)
		if (o->flags & DROVER_OPTION_CAPABILITY && i-- == 0)
			return o->name;
	return NULL;
}

static const char *value_channel(size_t i)
{
	return i < DROVER_CHANNEL_TYPE_COUNT ?
	       drover_channel_type_name((enum drover_channel_type)i) : NULL;
}

static const char *value_state(size_t i)
{
	return i < DROVER_STATE_COUNT ? drover_state_name((enum drover_state)i) : NULL;
}

#define TYPE_u64 "int"
#define TYPE_f64 "number"
#define NOTHING(json, type)
#define ALWAYS(json, type) { json, TYPE_##type },
#define MAYBE(json, type) { "*" json, TYPE_##type },
#define STAT(grp, json, member, type, unit, doc) IN_##grp(json, type)

#define IN_ram ALWAYS
#define IN_top NOTHING
#define IN_x NOTHING
static const struct schema_member stats_ram[] = {
#include "engine/stats.def"
	{ 0 }
};
#undef IN_ram
#undef IN_top
#define IN_ram NOTHING
#define IN_top MAYBE
static const struct schema_member stats_top[] = {
#include "engine/stats.def"
	{ 0 }
};
#undef IN_top
#undef IN_x
#define IN_top NOTHING
#define IN_x MAYBE
static const struct schema_member stats_x[] = {
#include "engine/stats.def"
	{ 0 }
};
#undef STAT
#define STAT(grp, json, member, type, unit, doc) MAYBE(json, u64)
static const struct schema_member stats_ages[] = {
#include "engine/stats.def"
	{ 0 }
};
#undef STAT

#define ROUND(member, json, merge, unit, doc) ALWAYS(json, u64)
static const struct schema_member stats_round[] = {
#include "engine/rounds.def"
	{ 0 }
};
#undef ROUND

#define MEMBERS(...) ((const struct schema_member[]) { __VA_ARGS__, { 0 } })
#define VALUES(...) ((const char *const[]) { __VA_ARGS__, NULL })
#define BARE(...) __VA_ARGS__

const struct schema_type schema_types[] = {
#define ENUM(name_, ...) { .name = name_, .meta = SCHEMA_ENUM, .value = VALUES(__VA_ARGS__) },
#define ENUM_OF(name_, fn) { .name = name_, .meta = SCHEMA_ENUM, .value_fn = fn },
#define OBJECT(name_, ...) \
	{ .name = name_, .meta = SCHEMA_OBJECT, .member = MEMBERS(__VA_ARGS__) },
#define OBJECT_AND(name_, more_, ...) \
	{ .name = name_, .meta = SCHEMA_OBJECT, .member = MEMBERS(__VA_ARGS__), .more = more_ },
#define UNION(name_, tag_, base, ...) \
	{ .name = name_, .meta = SCHEMA_OBJECT, .member = MEMBERS(BARE base), .tag = tag_, \
	  .variant = MEMBERS(__VA_ARGS__) },
#define ALTERNATE(name_, ...) \
	{ .name = name_, .meta = SCHEMA_ALTERNATE, .value = VALUES(__VA_ARGS__) },
#define CONFIG(name_) { .name = name_, .meta = SCHEMA_CONFIG },
#include "daemon/types.def"
	{ 0 }
};

const struct schema_link schema_returns[] = {
#define RETURNS(command, type) { command, type },
#include "daemon/types.def"
	{ 0 }
};

const struct schema_link schema_boxed[] = {
#define BOXED(command, type) { command, type },
#include "daemon/types.def"
	{ 0 }
};

const struct schema_link schema_arguments[] = {
#define ARGUMENT(name, type) { name, type },
#include "daemon/types.def"
	{ 0 }
};

const struct schema_data schema_data[] = {
#define DATA(event, ...) { event, MEMBERS(__VA_ARGS__) },
#include "daemon/types.def"
	{ 0 }
};

const char *schema_link(const struct schema_link *list, const char *name)
{
	for (; list->name; list++)
		if (strcmp(list->name, name) == 0)
			return list->type;
	return NULL;
}

const struct schema_member *schema_data_of(const char *event)
{
	const struct schema_data *d;

	for (d = schema_data; d->event; d++)
		if (strcmp(d->event, event) == 0)
			return d->member;
	return NULL;
}
