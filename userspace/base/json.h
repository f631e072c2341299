/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_BASE_JSON_H
#define DROVER_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <json-c/json.h>

struct drover_error;

/*
 * A strict reader for JSON that comes from outside: RFC 8259 without extensions, valid UTF-8,
 * no U+0000, no duplicate key at any depth ("a" and "\u0061" are the same key), and exact
 * integers from -2^63 to 2^64-1. The result is a json-c tree. An integer is a json_type_int; a
 * number with a fraction or an exponent, or outside that range, is a json_type_double that keeps
 * its text. A null is a NULL pointer, as always in json-c.
 */
#define DROVER_JSON_DEPTH_MAX 64u
/* The most values in one text: a 64 MiB text of "[[],[],..." would make a tree of gigabytes. */
#define DROVER_JSON_VALUES_MAX 131072u
/* The longest QMP message, in bytes. */
#define DROVER_JSON_MESSAGE_MAX (64u << 20)

static inline void drover_json_putp(struct json_object **o)
{
	json_object_put(*o);
	*o = NULL;
}

#define _cleanup_json_ _cleanup_(drover_json_putp)

/**
 * drover_json_parse() - parse one whole text
 * @text: need not be NUL-terminated; white space around the value is fine
 * @max: the longest text accepted, in bytes
 * @ret: new reference; NULL for the value null
 *
 * Return: 0, -EBADMSG with a message that says what is wrong and where (the byte offset, and
 * for a duplicate its key), -EMSGSIZE (the text is longer than @max), -ENOMEM.
 */
int drover_json_parse(const char *text, size_t len, size_t max, struct json_object **ret,
		      struct drover_error *e);

/*
 * The same for what people and scripts send to a control socket: as in QEMU a string may also
 * be in single quotes, and \' is an escape.
 */
int drover_json_parse_quotes(const char *text, size_t len, size_t max, struct json_object **ret,
			     struct drover_error *e);

/*
 * Members of @o by type. Each function returns 1 when @name is there (and writes @ret), 0 when
 * it is absent, and -EINVAL for a wrong type or value, in QEMU's words ("Invalid parameter type
 * for 'x', expected: boolean"); null is a wrong type. What @ret points to belongs to @o.
 */
int drover_json_get_bool(struct json_object *o, const char *name, bool *ret,
			 struct drover_error *e);
int drover_json_get_uint64(struct json_object *o, const char *name, uint64_t min, uint64_t max,
			   uint64_t *ret, struct drover_error *e);
int drover_json_get_string(struct json_object *o, const char *name, const char **ret,
			   struct drover_error *e);
int drover_json_get_object(struct json_object *o, const char *name, struct json_object **ret,
			   struct drover_error *e);
int drover_json_get_array(struct json_object *o, const char *name, struct json_object **ret,
			  struct drover_error *e);

/* The same for a value that the caller has already; @name is for the message. 0 or -EINVAL */
int drover_json_to_bool(struct json_object *v, const char *name, bool *ret,
			struct drover_error *e);
int drover_json_to_uint64(struct json_object *v, const char *name, uint64_t min, uint64_t max,
			  uint64_t *ret, struct drover_error *e);
int drover_json_to_string(struct json_object *v, const char *name, const char **ret,
			  struct drover_error *e);

/* Records "Parameter 'x' is missing"; returns -EINVAL */
int drover_json_missing(struct drover_error *e, const char *name);

/**
 * drover_json_only() - refuse members that are not in a list
 * @names: ends with NULL
 *
 * Return: 0, or -EINVAL "Parameter 'x' is unexpected".
 */
int drover_json_only(struct json_object *o, const char *const *names, struct drover_error *e);

#endif
