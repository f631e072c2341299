/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_CONFIG_OPTIONS_H
#define DROVER_CONFIG_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct drover_error;
struct json_object;

/* DROVER_OPT_max_bandwidth and so on, in the order of options.def. */
enum drover_option_id {
#define OPT(member, name, type, def, min, max, unit, flags, who, doc) DROVER_OPT_##member,
#include "config/options.def"
#undef OPT
	DROVER_OPTION_COUNT
};

/*
 * enum drover_opt_verify { DROVER_VERIFY_NONE, ... } and so on. The tag has opt_ in it, since in C
 * enums and structs share one name space and there is a struct drover_tracker.
 */
#define ENUM(member) enum drover_opt_##member {
#define VALUE(upper, value, text, missing, doc) DROVER_##upper##_##value,
#define ENUM_END(member) };
#include "config/enums.def"
#undef ENUM
#undef VALUE
#undef ENUM_END

#define DROVER_MEMBER_BOOL(m) bool m;
#define DROVER_MEMBER_U8(m) uint8_t m;
#define DROVER_MEMBER_U32(m) uint32_t m;
#define DROVER_MEMBER_U64(m) uint64_t m;
#define DROVER_MEMBER_SIZE(m) uint64_t m;
#define DROVER_MEMBER_ENUM(m) enum drover_opt_##m m;
#define DROVER_MEMBER_STR(m) char *m;
#define DROVER_MEMBER_STR_OR_NULL(m) char *m;
#define DROVER_MEMBER_STR_LIST(m) char **m;
#define DROVER_MEMBER_BITMAP_MAP(m) struct json_object *m;

/**
 * struct drover_config - one member for each option, all of them always valid
 *
 * Strings are on the heap, owned by the config and never NULL; "" when unset. A string list is
 * on the heap, owned by the config, ends with NULL and is never NULL itself.
 * block_bitmap_mapping is a validated array that only this config refers to, or NULL when unset
 * (which differs from an empty list).
 */
struct drover_config {
#define OPT(member, name, type, def, min, max, unit, flags, who, doc) DROVER_MEMBER_##type(member)
#include "config/options.def"
#undef OPT
};

enum drover_option_type {
	DROVER_TYPE_BOOL,
	DROVER_TYPE_U8,
	DROVER_TYPE_U32,
	DROVER_TYPE_U64,
	DROVER_TYPE_SIZE,
	DROVER_TYPE_ENUM,
	DROVER_TYPE_STR,
	DROVER_TYPE_STR_OR_NULL,
	DROVER_TYPE_STR_LIST,
	DROVER_TYPE_BITMAP_MAP,
	DROVER_TYPE_COUNT
};

/* Flags of struct drover_option; exactly one of the last four is set. */
#define DROVER_OPTION_CAPABILITY (1u << 0)
#define DROVER_OPTION_RUNTIME    (1u << 1)
#define DROVER_OPTION_UNSTABLE   (1u << 2)
#define DROVER_OPTION_EXTENSION  (1u << 3)
#define DROVER_OPTION_MUST_AGREE (1u << 4)
#define DROVER_OPTION_SOURCE     (1u << 5)
#define DROVER_OPTION_DEST       (1u << 6)
#define DROVER_OPTION_LOCAL      (1u << 7)

/** struct drover_option_value - a value of an enum option; @missing: why it is refused, or NULL */
struct drover_option_value {
	const char *name;
	const char *missing;
	const char *doc;
};

/**
 * struct drover_option - a row of options.def
 * @def, @min, @max: for BOOL, the integer types and ENUM (there an index into @value)
 * @unit: "ms", "bytes", "bytes/s", "%", ... or ""
 * @value: for ENUM the @nvalues values, else NULL
 * @offset: offset of the member in struct drover_config
 */
struct drover_option {
	enum drover_option_id id;
	enum drover_option_type type;
	const char *name;
	uint64_t def, min, max;
	const char *unit;
	unsigned int flags;
	const char *doc;
	const struct drover_option_value *value;
	size_t nvalues;
	size_t offset;
};

/* All options, indexed by id. @ret_n may be NULL; it is set to DROVER_OPTION_COUNT. */
const struct drover_option *drover_option_table(size_t *ret_n);
/* @name is written with '-', as in JSON. Returns NULL for an unknown name. */
const struct drover_option *drover_option_by_name(const char *name);
/* The JSON type: "boolean", "integer", "string" or "array". */
const char *drover_option_json_type(const struct drover_option *o);
/* The type as shown to people: "bool", "uint8", "size", "enum", ... */
const char *drover_option_type_name(const struct drover_option *o);

/**
 * drover_option_text_to_json() - turn the text that a person typed into the JSON value to send
 * @text: on/off, yes/no, true/false; an integer, for sizes also with a suffix K, M, G, T (powers
 *	of 1024); an enum value; a string; for a list JSON or words separated by blanks;
 *	"default" for the default
 * @ret: new reference
 *
 * The range is not checked: droverd checks it, so that there is only one text for that error.
 *
 * Return: 0, -EINVAL with a message that quotes @text, -ENOMEM.
 */
int drover_option_text_to_json(const struct drover_option *o, const char *text,
			       struct json_object **ret, struct drover_error *e);

#endif
