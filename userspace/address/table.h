/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ADDRESS_TABLE_H
#define DROVER_ADDRESS_TABLE_H

/*
 * Private to the address files: one table says which members each transport has, and
 * JSON in and out, URI options, copy and release all walk it.
 */
#include <stdbool.h>
#include <stddef.h>

#include "address/address.h"

struct drover_error;
struct json_object;

/* Longest host name or numeric address, longest path of a UNIX socket */
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
 * @transport: value of the member `transport`
 * @type: value of the member `type`, NULL: there is no such member
 * @scheme: of the URI, with the colon
 * @offers: DROVER_TRANSPORT_*
 * @member: ends with a NULL name
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

/* An empty address of a transport: no strings, every optional member unset. */
void drover_address_start(struct drover_address *a, enum drover_transport t);

/* What holds however the address was written; on the complete address. -EINVAL */
int drover_address_check(const struct drover_address *a, struct drover_error *e);

/* The JSON form where @path names the object in messages ("channels[0].addr"). */
int drover_address_parse_json(struct json_object *o, const char *path,
			      struct drover_address *ret, struct drover_error *e);

#endif
