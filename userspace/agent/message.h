/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_AGENT_MESSAGE_H
#define DROVER_AGENT_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/record.h"
#include "owner/owner.h"
#include "ram/ram.h"

struct drover_error;

/*
 * The agent link between droverd and a VMM: a UNIX SOCK_SEQPACKET socket that the VMM
 * listens on, one message a datagram, descriptors by SCM_RIGHTS. One request is under
 * way at a time; its reply carries its sequence number, an event carries 0. Both ends
 * are on one machine, so "little-endian" is checked at build time and not converted.
 */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "agent link: little-endian only");

#define DROVER_AGENT_MAGIC 0x61767264u          /* "drva" */
#define DROVER_AGENT_VERSION 2u
#define DROVER_AGENT_BODY_MAX 16384u
#define DROVER_AGENT_FDS_MAX 2u
#define DROVER_AGENT_TEXT_MAX 1024u
#define DROVER_AGENT_STATE_MAX (1ull << 30)     /* bytes of device state */
#define DROVER_AGENT_DEADLINE_MS 10000u         /* of a request that moves no data */

struct drover_agent_hdr {
	uint32_t magic;
	uint16_t version;
	uint16_t type;
	uint32_t seq;
	uint32_t len;                           /* of the body */
};

/* HELLO_ACK.features: what this VMM can do */
#define DROVER_AGENT_F_THROTTLE (1ull << 0)
#define DROVER_AGENT_F_KVM_LOG (1ull << 1)
#define DROVER_AGENT_F_CHECK (1ull << 2)
#define DROVER_AGENT_F_UUID (1ull << 3)
#define DROVER_AGENT_F_POSTCOPY (1ull << 4)
#define DROVER_AGENT_F_RAM_CHECKED (1ull << 8)
#define DROVER_AGENT_F_WROTE (1ull << 9)        /* reports every device write */

struct drover_agent_hello {
	uint64_t features;
	uint64_t reserved;
};

/* An entry of the record's history; outcome is enum owner_outcome, peer NUL-terminated */
struct drover_agent_entry {
	uint8_t token[16];
	uint32_t outcome;
	uint32_t reserved;
	char peer[OWNER_PEER_MAX];
};

/* struct drover_agent_record flags */
#define DROVER_AGENT_REC_WILL (1u << 0)
#define DROVER_AGENT_REC_RUNNING (1u << 1)
#define DROVER_AGENT_REC_MISSING (1u << 2)
#define DROVER_AGENT_REC_PROVED (1u << 3)

/* struct owner_record; state, kind and by are its enums */
struct drover_agent_record {
	uint32_t state, kind, by;
	uint32_t flags;
	uint8_t token[16];
	uint8_t loaded[16];
	uint64_t since, until;
	char peer[OWNER_PEER_MAX];
	struct drover_agent_entry history[OWNER_HISTORY];
};

/* A request about a session: struct owner_args. What its row of the table does not use is 0. */
struct drover_agent_args {
	uint8_t token[16];
	uint32_t kind, by, will;
	uint32_t reserved;
	uint64_t until;
	uint64_t len;                           /* LOAD: bytes in the memfd that comes along */
	char peer[OWNER_PEER_MAX];
};

/* OWNER; reply is enum owner_reply, text says why the guest stands still: a start failed */
struct drover_agent_owner {
	uint32_t reply;
	uint32_t reserved;
	char text[512];
	struct drover_agent_record record;
};

struct drover_agent_hello_ack {
	uint64_t features;
	uint32_t run_state;                     /* enum drover_run_state, not GONE */
	uint32_t blocks;
	uint8_t uuid[16];
	uint64_t reserved[2];
	struct drover_agent_record record;
};

struct drover_agent_ram_get {
	uint32_t index;
	uint32_t reserved;
};

struct drover_agent_ram {
	char name[DROVER_RAM_NAME_MAX + 1];
	uint64_t gpa;
	uint64_t size;
	uint64_t fd_off;
	uint32_t flags;
	uint32_t reserved;
};

/* Descriptors that come with TRACK, in this order. */
#define DROVER_AGENT_TRACK_UFFD (1u << 0)
#define DROVER_AGENT_TRACK_PAGEMAP (1u << 1)

struct drover_agent_track {
	uint32_t flags;
	uint32_t blocks;
	uint64_t base[DROVER_RAM_BLOCKS_MAX];   /* only @blocks of them are sent */
};

/* STATE, DIRTY: bytes in the memfd that comes along */
struct drover_agent_len {
	uint64_t len;
};

/* THROTTLE: percent; PREPARE: DROVER_AGENT_DISCARD or 0 */
#define DROVER_AGENT_DISCARD 1u
struct drover_agent_value {
	uint32_t value;
	uint32_t reserved;
};

/* STATUS: enum drover_run_state; the record's state, and its flags WILL and RUNNING */
struct drover_agent_status {
	uint32_t run_state;
	uint32_t state;
	uint32_t flags;
	uint32_t reserved;
};

struct drover_agent_error {
	int32_t code;                           /* negative errno */
	uint32_t text_len;
	char text[DROVER_AGENT_TEXT_MAX];       /* only @text_len of them are sent */
};

enum drover_agent_type {
	DROVER_AGENT_NONE,
#define AGENT_MSG(name, nr, from, reply, lo, hi, fdlo, fdhi, doc) DROVER_AGENT_##name = (nr),
#include "agent/agent.def"
#undef AGENT_MSG
	DROVER_AGENT_TYPE_COUNT
};

enum drover_agent_side { DROVER_AGENT_FROM_D, DROVER_AGENT_FROM_V };

/** struct drover_agent_rule - a row of agent.def */
struct drover_agent_rule {
	const char *name;
	enum drover_agent_side from;
	enum drover_agent_type reply;
	uint32_t len_min, len_max;
	unsigned int fds_min, fds_max;
	const char *doc;
};

/* NULL for a type that is not in the table. */
const struct drover_agent_rule *drover_agent_rule(unsigned int type);

/**
 * struct drover_agent_msg - one received message
 * @hdr: checked against the table
 * @body: zeroed behind hdr.len
 * @fd: owned by the message until drover_agent_msg_deinit(); take with TAKE_FD
 */
struct drover_agent_msg {
	struct drover_agent_hdr hdr;
	union {
		struct drover_agent_hello hello;
		struct drover_agent_hello_ack hello_ack;
		struct drover_agent_ram_get ram_get;
		struct drover_agent_ram ram;
		struct drover_agent_track track;
		struct drover_agent_args args;
		struct drover_agent_owner owner;
		struct drover_agent_status status;
		struct drover_agent_len len;
		struct drover_agent_value value;
		struct drover_agent_error error;
		uint8_t bytes[DROVER_AGENT_BODY_MAX + 1];
	} body;
	int fd[DROVER_AGENT_FDS_MAX];
	unsigned int nfds;
};

void drover_agent_msg_init(struct drover_agent_msg *m);
/* Closes the descriptors nobody took. */
void drover_agent_msg_deinit(struct drover_agent_msg *m);

/* Positive condition of drover_agent_msg_recv() */
#define DROVER_AGENT_E_MSG 1

/**
 * drover_agent_msg_recv() - take one datagram, without waiting
 * @from: whose messages are acceptable
 * @m: initialised; overwritten. hdr is valid also with -EPROTO and -EOPNOTSUPP when
 *	a whole header came, else zero
 *
 * Return: DROVER_AGENT_E_MSG; 0 (none there); -ENOTCONN (the other end has gone);
 * -EPROTO (broken: end the link); -EOPNOTSUPP (a type this side doesn't know). In all
 * cases but the first no descriptor stays open.
 */
int drover_agent_msg_recv(int sock, enum drover_agent_side from, struct drover_agent_msg *m,
			  struct drover_error *e);

/**
 * drover_agent_msg_send() - send one datagram
 * @deadline: how long to wait for room; DROVER_AGENT_NOWAIT not to
 *
 * Return: 0, -ENOTCONN, -ETIMEDOUT, or another negative errno.
 */
#define DROVER_AGENT_NOWAIT 1ull
int drover_agent_msg_send(int sock, enum drover_agent_type type, uint32_t seq, const void *body,
			  size_t len, const int *fds, unsigned int nfds, uint64_t deadline,
			  struct drover_error *e);

/* agent/owner.c: between the machine's structs and their form on the link */
void drover_agent_record_to_wire(const struct owner_record *rec, struct drover_agent_record *ret);
/* -EPROTO for a bad one, which changes nothing */
int drover_agent_record_from_wire(const struct drover_agent_record *r, struct owner_record *ret,
				  struct drover_error *e);
void drover_agent_args_to_wire(const struct owner_args *args, struct drover_agent_args *ret);
/* @ret->peer points into @a. -EPROTO for bad ones */
int drover_agent_args_from_wire(const struct drover_agent_args *a, struct owner_args *ret,
				struct drover_error *e);
/* The message that asks for an event; DROVER_AGENT_NONE: no droverd asks for it. */
enum drover_agent_type drover_agent_type_of(enum owner_event ev);
/* The event that a message asks for; OWNER_EV_COUNT: none. PREPARE's is told by its flag. */
enum owner_event drover_agent_event_of(enum drover_agent_type type);

#endif
