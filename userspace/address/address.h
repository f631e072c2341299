/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ADDRESS_ADDRESS_H
#define DROVER_ADDRESS_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

struct drover_error;
struct json_object;

/* Abilities of a transport. A feature names those that it needs, a transport those it offers. */
#define DROVER_TRANSPORT_MULTI    (1u << 0) /* takes any number of connections to one address */
#define DROVER_TRANSPORT_SEEK     (1u << 1) /* data can be read and written at an offset */
#define DROVER_TRANSPORT_FDPASS   (1u << 2) /* descriptors can be passed along with bytes */
#define DROVER_TRANSPORT_ZEROCOPY (1u << 3) /* zero-copy sends may be tried */
#define DROVER_TRANSPORT_TWOWAY   (1u << 4) /* the reader can answer (exec: perhaps) */
#define DROVER_TRANSPORT_RECONNECT (1u << 5) /* a lost connection can be made again */

enum drover_transport {
	DROVER_TRANSPORT_INET,
	DROVER_TRANSPORT_UNIX,
	DROVER_TRANSPORT_VSOCK,
	DROVER_TRANSPORT_FD,
	DROVER_TRANSPORT_EXEC,
	DROVER_TRANSPORT_RDMA,
	DROVER_TRANSPORT_FILE,
	DROVER_TRANSPORT_COUNT
};

enum drover_tristate { DROVER_UNSET = -1, DROVER_OFF = 0, DROVER_ON = 1 };

/**
 * struct drover_address - a MigrationAddress of the QMP schema
 * @transport: which member of @u is in use
 *
 * All strings are on the heap and owned by the struct. It is initialised by all zeros or by one
 * of the parsers, and released by drover_address_deinit().
 */
struct drover_address {
	enum drover_transport transport;
	union {
		struct {
			char *host;
			char *port;             /* a string, as in QAPI; may be a service name */
			uint16_t to;            /* last port to try when listening; 0: only @port */
			enum drover_tristate numeric, ipv4, ipv6, keep_alive, mptcp;
			uint32_t keep_alive_count, keep_alive_idle; /* 0: unset */
			uint32_t keep_alive_interval;
		} inet;                         /* also rdma */
		struct {
			char *path;
			enum drover_tristate abstract, tight; /* tight defaults to on */
		} unix_;
		struct {
			char *cid, *port;       /* decimal uint32 strings */
		} vsock;
		struct {
			char *str;              /* number of an inherited fd, or a getfd name */
		} fd;
		struct {
			char **args;            /* NULL-terminated argv */
		} exec;
		struct {
			char *filename;
			uint64_t offset;
		} file;
	} u;
};

void drover_address_deinit(struct drover_address *a);
int drover_address_copy(const struct drover_address *src, struct drover_address *ret);

/**
 * drover_address_from_uri() - parse the URI forms of `migrate`
 * @uri: tcp:, unix:, vsock:, fd:, exec:, rdma:, file:
 * @ret: written on success only
 *
 * Return: 0, -EINVAL with a message that quotes what is wrong, or -ENOMEM.
 */
int drover_address_from_uri(const char *uri, struct drover_address *ret, struct drover_error *e);
/* Parse the QAPI object form; an unknown member is an error that names it. */
int drover_address_from_json(struct json_object *o, struct drover_address *ret,
			     struct drover_error *e);
struct json_object *drover_address_to_json(const struct drover_address *a);
/*
 * The address as a URI, or as a readable text where no URI form exists. The caller frees it; NULL
 * when out of memory.
 */
char *drover_address_to_string(const struct drover_address *a);

/** drover_address_offers() - DROVER_TRANSPORT_* bits of the address's transport */
unsigned int drover_address_offers(const struct drover_address *a);

enum drover_channel_type {
	DROVER_CHANNEL_MAIN,
	DROVER_CHANNEL_DATA,
	DROVER_CHANNEL_POSTCOPY,
	DROVER_CHANNEL_CPR,             /* known only so that it can be refused by its name */
	DROVER_CHANNEL_TYPE_COUNT
};

const char *drover_channel_type_name(enum drover_channel_type t);

#define DROVER_CHANNELS_MAX 272u /* main, 255 data, 16 postcopy */

/** struct drover_channel_list - the `channels` argument, validated: exactly one entry is main */
struct drover_channel_list {
	struct {
		enum drover_channel_type type;
		struct drover_address addr;
	} entry[DROVER_CHANNELS_MAX];
	unsigned int n;
};

/**
 * drover_channel_list_from_json() - parse and validate `channels`
 * @incoming: true for migrate-incoming
 *
 * Error messages have QEMU's words ("Channel list has more than one main entry",
 * "Channel list has no main entry").
 */
int drover_channel_list_from_json(struct json_object *array, bool incoming,
				  struct drover_channel_list *ret, struct drover_error *e);
/* A list with just a main entry, whose address is @uri. */
int drover_channel_list_from_uri(const char *uri, struct drover_channel_list *ret,
				 struct drover_error *e);
int drover_channel_list_copy(const struct drover_channel_list *src,
			     struct drover_channel_list *ret);
void drover_channel_list_deinit(struct drover_channel_list *l);
/* Release a list that is on the heap, and its addresses. NULL is fine; returns NULL. */
struct drover_channel_list *drover_channel_list_free(struct drover_channel_list *l);
const struct drover_address *drover_channel_list_main(const struct drover_channel_list *l);
/* Address of data channel @index: the list's data entries in turn; if it has none, main's. */
const struct drover_address *drover_channel_list_data(const struct drover_channel_list *l,
						      unsigned int index);
/* The same for postcopy channel @index. */
const struct drover_address *drover_channel_list_postcopy(const struct drover_channel_list *l,
							  unsigned int index);

#endif
