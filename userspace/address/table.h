/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ADDRESS_TABLE_H
#define DROVER_ADDRESS_TABLE_H

/*
 * Private to address/. One table says which members each transport has; the code for JSON in and
 * out, URI options, copy and release walks it.
 */
#include <stdbool.h>
#include <stddef.h>

#include "address/address.h"

struct drover_error;
struct json_object;

/* The longest host name or numeric address; the longest path of a UNIX socket */
#define DROVER_HOST_MAX 255u
#define DROVER_UNIX_PATH_MAX 107u
#define DROVER_EXEC_ARGS_MAX 4096u

enum address_kind {
	ADDRESS_STRING,                 /* char * */
	ADDRESS_BOOL,                   /* enum drover_tristate, always optional */
	ADDRESS_UINT16,                 /* 0: unset, always optional */
	ADDRESS_UINT32,                 /* the same */
	ADDRESS_SIZE,                   /* uint64_t, always given */
	ADDRESS_STRINGS,                /* char **, NULL-terminated */
};

/**
 * struct address_member - one member of one transport
 * @name: as in the QMP schema
 * @off: offset in struct drover_address
 */
struct address_member {
	const char *name;
	enum address_kind kind;
	size_t off;
};

#define DROVER_ADDRESS_MEMBERS_MAX 11

/**
 * struct address_transport - one transport
 * @transport: value of the JSON member `transport`
 * @type: value of the JSON member `type`; NULL: there is no such member
 * @scheme: scheme of the URI, with the colon
 * @offers: DROVER_TRANSPORT_*
 * @member: the members; ends with one whose name is NULL
 */
struct address_transport {
	const char *transport;
	const char *type;
	const char *scheme;
	unsigned int offers;
	struct address_member member[DROVER_ADDRESS_MEMBERS_MAX + 1];
};

/* Indexed by enum drover_transport. */
extern const struct address_transport drover_address_table[DROVER_TRANSPORT_COUNT];

static inline void *address_at(struct drover_address *a, const struct address_member *m)
{
	return (char *)a + m->off;
}

static inline const void *address_at_const(const struct drover_address *a,
					   const struct address_member *m)
{
	return (const char *)a + m->off;
}

/* Initialise an empty address of a transport: no strings, all optional members unset. */
void drover_address_start(struct drover_address *a, enum drover_transport t);

/* Check a complete address by the rules for both URIs and JSON. Returns 0 or -EINVAL. */
int drover_address_check(const struct drover_address *a, struct drover_error *e);

/* Parse the JSON form; @path names the object in messages ("channels[0].addr"). */
int drover_address_parse_json(struct json_object *o, const char *path,
			      struct drover_address *ret, struct drover_error *e);

#endif
