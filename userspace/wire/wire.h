/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_WIRE_WIRE_H
#define DROVER_WIRE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ram/ram.h"

struct drover_error;

/*
 * Frames, little-endian:
 *   0 u32 magic 'DRVR'      4 u16 version (major << 8 | minor)   6 u16 type
 *   8 u16 flags (0)        10 u16 channel (0 main, 1.. data, 256.. postcopy)  12 u32 sequence, per channel and direction
 *  16 u32 body length      20 u32 reserved (0)                   24 u64 payload length
 *  32 u32 reserved (0)     36 u32 checksum (low half of XXH3-64 of bytes 0..35)
 * then the body, then the payload. Pure functions: no I/O, no allocation, no globals.
 * Magic, version and checksum keep their place and meaning in every version to come.
 */
#define DROVER_WIRE_MAGIC 0x52565244u
/* Tests make peers of another age (Makefile: PEERS). */
#ifndef DROVER_WIRE_MAJOR
#define DROVER_WIRE_MAJOR 1u
#endif
#ifndef DROVER_WIRE_MINOR
#define DROVER_WIRE_MINOR 0u
#endif
#define DROVER_WIRE_VERSION (DROVER_WIRE_MAJOR << 8 | DROVER_WIRE_MINOR)
/* Every minor version of this major one is spoken. */
#define DROVER_WIRE_OLDEST (DROVER_WIRE_MAJOR << 8)
#define DROVER_FRAME_LEN 40u
#define DROVER_TOKEN_LEN 16u
#define DROVER_UUID_LEN 16u
#define DROVER_BODY_MAX 1048576u
#define DROVER_FRAME_CHANNEL_MAX 271u   /* main, 255 data, 16 postcopy */
#define DROVER_FRAME_CHANNEL_POSTCOPY 256u      /* of the first one */
/* Page indices and counts: no block can be larger than 2^64 bytes. */
#define DROVER_WIRE_PAGES_MAX (1ull << 52)

enum drover_msg_type {
#define MSG(name, nr, from, channels, min, max, payload, doc) DROVER_MSG_##name = (nr),
#include "wire/messages.def"
#undef MSG
};

enum drover_msg_from { DROVER_FROM_S = 1, DROVER_FROM_D = 2, DROVER_FROM_B = 3 };
enum drover_msg_channels { DROVER_ON_M = 1, DROVER_ON_D = 2, DROVER_ON_P = 4 };

/** struct drover_msg_info - a row of messages.def */
struct drover_msg_info {
	const char *name;
	uint16_t nr;
	uint8_t from;
	uint8_t channels;
	uint32_t min_body, max_body;
	uint64_t max_payload;
	const char *doc;
};

/* NULL for an unknown number. */
const struct drover_msg_info *drover_msg_info(uint16_t nr);
const struct drover_msg_info *drover_msg_table(size_t *ret_n);

/**
 * drover_wire_allowed() - may this message come from there, on that channel?
 * @info: row of the message, or NULL for an unknown one (refused)
 * @from_source: the sender is the source
 * @channel_kind: one DROVER_ON_* bit
 *
 * Return: 0, or -EBADMSG with a message that says who sends it where.
 */
int drover_wire_allowed(const struct drover_msg_info *info, bool from_source,
			unsigned int channel_kind, struct drover_error *e);

struct drover_frame {
	uint16_t version;
	uint16_t type;
	uint16_t flags;
	uint16_t channel;
	uint32_t seq;
	uint32_t body_len;
	uint64_t payload_len;
};

void drover_frame_encode(const struct drover_frame *f, uint8_t out[DROVER_FRAME_LEN]);
/*
 * Checks magic, checksum, major version, reserved fields, type known, lengths
 * and channel bounded, lengths against the type's row. -EBADMSG with a message that names
 * what is wrong
 * ("frame: magic 0x... is not drover's"), -EPROTONOSUPPORT for the major version.
 */
int drover_frame_decode(const uint8_t in[DROVER_FRAME_LEN], struct drover_frame *ret,
			struct drover_error *e);

/*
 * Each message has a struct, an encoder drover_<msg>_encode(m, buf, cap) that
 * returns the body's length or a negative errno (-ENOBUFS: cap too small, -EINVAL:
 * m breaks the message's own rules), and a strict decoder drover_<msg>_decode(buf,
 * len, ret, e) that returns 0 or -EBADMSG; every byte must be accounted for.
 * Pointers in decoded messages point into buf. Encoder and decoder share one set of
 * rules, so encoding what was decoded gives the same bytes. A decoder's text names
 * field, value and bound; who knows the message's name puts it before (DIGEST and
 * RELEASE are told apart by the frame alone). Lists and texts at the end of a body have
 * no length of their own: they are the rest of the body.
 *
 * Texts are UTF-8 without control characters but tab and newline. The text of a status
 * or owner message is for people: the encoder puts '?' for what is not allowed and cuts
 * it to DROVER_TEXT_MAX, so that a failure can always be told. Tokens are never zero.
 */
#define DROVER_TEXT_MAX 1024u

/* HELLO features: bits of what the sender can do */
#define DROVER_HELLO_DIGEST (1ull << 0)
#define DROVER_HELLO_POSTCOPY (1ull << 1)
/* HELLO flags */
#define DROVER_HELLO_ONE_WAY (1u << 0)
#define DROVER_HELLO_HAS_UUID (1u << 1)
/* Postcopy goes on: the token is the paused session's, no RANGES follow, RECOVER answers. */
#define DROVER_HELLO_RESUME (1u << 2)

struct drover_msg_hello {
	uint16_t version_min, version_max; /* what the sender speaks */
	uint32_t flags;
	uint64_t features;
	uint8_t token[DROVER_TOKEN_LEN];
	uint8_t uuid[DROVER_UUID_LEN];  /* zeros without HAS_UUID */
	uint32_t nblocks;
	struct {
		char name[DROVER_RAM_NAME_MAX + 1];
		uint64_t gpa, size;
		uint32_t flags;         /* DROVER_RAM_* */
	} block[DROVER_RAM_BLOCKS_MAX];
	const char *config;             /* JSON text, not NUL-terminated in a decoded message */
	uint32_t config_len;
};
/* The newest version that this build and the sender speak; 0: there is none. */
uint16_t drover_hello_version(const struct drover_msg_hello *m);
/*
 * Decoder rejects: no block, bad names, duplicate names, size 0 or unaligned, gpa + size
 * overflow, overlap.
 */

/* A run of pages of one block. */
struct drover_run {
	uint64_t page;
	uint64_t npages;                /* > 0 */
};

/* RANGES, DISCARD, RELEASE, RECOVER share this body. */
#define DROVER_RUNS_LAST (1u << 0)      /* no further message of this kind follows */
#define DROVER_RUNS_MAX 4000u
struct drover_msg_runs {
	uint32_t block;
	uint32_t flags;
	uint32_t n;
	const void *raw;                /* decoded: n packed runs, read with drover_msg_run_at() */
	const struct drover_run *run;   /* to encode */
};
struct drover_run drover_msg_run_at(const struct drover_msg_runs *m, uint32_t i);
/*
 * Decoder checks: runs in order, not touching or overlapping, n > 0 pages each, no
 * overflow. A message may hold no run.
 */

#define DROVER_ACK_OK 0u
#define DROVER_ACK_REFUSED 1u
struct drover_msg_hello_ack {
	uint32_t status;                /* DROVER_ACK_* */
	uint16_t version;               /* the version both will speak */
	uint64_t features;              /* intersection */
	const char *text;               /* OK: accepted config as JSON; REFUSED: JSON array of {"option","desc"} */
	uint32_t text_len;
};

#define DROVER_ATTACH_DATA 1u
#define DROVER_ATTACH_POSTCOPY 2u
#define DROVER_ATTACH_INDEX_MAX 254u
#define DROVER_ATTACH_POSTCOPY_MAX 15u
struct drover_msg_attach {
	uint8_t token[DROVER_TOKEN_LEN];
	uint16_t type;                  /* enum drover_channel_type value: DROVER_ATTACH_* */
	uint16_t index;                 /* data: 0..DROVER_ATTACH_INDEX_MAX; postcopy: 0..DROVER_ATTACH_POSTCOPY_MAX */
};

#define DROVER_STATUS_MAX 4095u
struct drover_msg_status {              /* ATTACH_ACK, STATE_ACK, FAIL */
	uint32_t status;                /* DROVER_ACK_*, in FAIL a positive errno; up to DROVER_STATUS_MAX */
	const char *text;
	uint32_t text_len;
};

enum drover_page_kind {
	DROVER_PAGES_RAW = 0,
	DROVER_PAGES_ZERO = 1,          /* no payload */
	DROVER_PAGES_ZSTD = 2,
	DROVER_PAGES_ZLIB = 3,
	DROVER_PAGES_XBZRLE = 4,
	DROVER_PAGES_LZ4 = 5,
};

struct drover_page_run {
	uint64_t page;
	uint32_t npages;
	uint16_t kind;                  /* enum drover_page_kind */
	/* bytes of payload of this run: npages * 4096 for RAW, 0 for ZERO, else 1..npages * 4096 */
	uint32_t payload;
};
#define DROVER_PAGE_RUNS_MAX 1024u
#define DROVER_PAGES_PAYLOAD_MAX 16777216u
/* Most pages of a run that has payload; a run of zeros may be as long as its block. */
#define DROVER_PAGE_RUN_PAGES_MAX (DROVER_PAGES_PAYLOAD_MAX / 4096u)
struct drover_msg_pages {
	uint32_t block;
	uint32_t round;
	uint32_t n;
	const void *raw;
	const struct drover_page_run *run;
};
struct drover_page_run drover_msg_page_run_at(const struct drover_msg_pages *m, uint32_t i);
/*
 * At least one run; runs in order, touching or not, not overlapping. The frame's payload
 * length must equal the sum of the runs'; checked by drover_pages_decode.
 */
uint64_t drover_msg_pages_payload(const struct drover_msg_pages *m);

struct drover_msg_round {               /* ROUND_END: bytes unused and 0 on the wire as u32 round, u32 flags */
	uint32_t round;
	uint32_t flags;                 /* DROVER_ROUND_FINAL */
	uint64_t bytes;                 /* ROUND_ACK only */
};
#define DROVER_ROUND_FINAL (1u << 0)    /* the guest is stopped: this round is the last */

#define DROVER_SECTION_NAME_MAX 63
struct drover_msg_state {
	char name[DROVER_SECTION_NAME_MAX + 1];
	uint32_t version;
	uint32_t flags;                 /* DROVER_STATE_* */
	uint64_t total;                 /* bytes of the whole section */
	uint64_t off;                   /* of this piece; payload is the piece */
};
#define DROVER_STATE_LAST (1u << 0)     /* the last piece of the last section */
#define DROVER_STATE_PIECE_MAX 4194304u
/* Names are made of [A-Za-z0-9._/-]. */

/**
 * drover_msg_state_piece() - does the payload fit the section?
 * @payload: the frame's payload length
 *
 * It must lie within the section, be empty only if the section is, and end it in the
 * message flagged LAST. Return: 0 or -EBADMSG.
 */
int drover_msg_state_piece(const struct drover_msg_state *m, uint64_t payload,
			   struct drover_error *e);

struct drover_msg_digest {
	uint32_t block;
	uint16_t level;                 /* 0: one u64 a page; 1: one a group of DROVER_DIGEST_GROUP pages */
	uint16_t flags;                 /* DROVER_DIGEST_LAST */
	uint64_t first;                 /* index of the first page or group */
	uint32_t n;                     /* digests that follow; 0 only with LAST */
	const void *raw;                /* n packed u64 (little-endian) */
};
#define DROVER_DIGEST_LAST (1u << 0)
#define DROVER_DIGEST_GROUP 512u
#define DROVER_DIGEST_MAX 8000u         /* digests a message */
uint64_t drover_msg_digest_at(const struct drover_msg_digest *m, uint32_t i);

#define DROVER_DIGEST_ACK_MAX 256u
struct drover_msg_digest_ack {
	uint32_t status;                /* 0 equal, 1 differ */
	uint16_t level;                 /* level of the items listed */
	uint64_t total;                 /* how many differ in all */
	uint32_t n;                     /* listed, <= DROVER_DIGEST_ACK_MAX */
	struct {
		uint32_t block;
		uint64_t index;
	} item[DROVER_DIGEST_ACK_MAX];  /* ascending by block, then index */
};

struct drover_msg_token {               /* COMMIT, COMMIT_ACK, RELEASED, OWNER_QUERY, PAUSED */
	uint8_t token[DROVER_TOKEN_LEN];
};

enum drover_owner_answer {
	DROVER_OWNER_NOT_COMMITTED = 0, /* and fenced: a later COMMIT of this token is refused */
	DROVER_OWNER_COMMITTED = 1,
	DROVER_OWNER_UNKNOWN = 2,       /* this side has no record of the token: decide nothing */
	DROVER_OWNER_INCOMPLETE = 3,    /* committed, in postcopy: the source's RAM is needed still */
};
struct drover_msg_owner {
	uint8_t token[DROVER_TOKEN_LEN];
	uint32_t answer;
	const char *text;
	uint32_t text_len;
};

struct drover_msg_ping {                /* PING, PONG */
	uint64_t nonce;
};

struct drover_msg_end {
	uint64_t total_bytes;           /* payload bytes sent, as a last cross-check */
};

struct drover_msg_page_req {
	uint32_t block;
	uint64_t page;
};

#define DROVER_CODEC(name, type)                                                    \
	int drover_##name##_encode(const struct type *m, void *buf, size_t cap);          \
	int drover_##name##_decode(const void *buf, size_t len, struct type *ret,          \
				   struct drover_error *e)

DROVER_CODEC(hello, drover_msg_hello);
DROVER_CODEC(runs, drover_msg_runs);
DROVER_CODEC(hello_ack, drover_msg_hello_ack);
DROVER_CODEC(attach, drover_msg_attach);
DROVER_CODEC(status, drover_msg_status);
DROVER_CODEC(round_end, drover_msg_round);
DROVER_CODEC(round_ack, drover_msg_round);
DROVER_CODEC(state, drover_msg_state);
DROVER_CODEC(digest, drover_msg_digest);
DROVER_CODEC(digest_ack, drover_msg_digest_ack);
DROVER_CODEC(token, drover_msg_token);
DROVER_CODEC(owner, drover_msg_owner);
DROVER_CODEC(ping, drover_msg_ping);
DROVER_CODEC(end, drover_msg_end);
DROVER_CODEC(page_req, drover_msg_page_req);
#undef DROVER_CODEC

int drover_pages_encode(const struct drover_msg_pages *m, void *buf, size_t cap);
int drover_pages_decode(const void *buf, size_t len, uint64_t payload_len,
			struct drover_msg_pages *ret, struct drover_error *e);

#endif
