/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_TESTS_WIRE_KIT_H
#define DROVER_TESTS_WIRE_KIT_H

/*
 * What the tests of the wire and its fuzzer share: a codec by message number, and three
 * samples of each message. The smallest and the largest sample have exactly the lengths
 * of the message's row in messages.def.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "wire/wire.h"

enum kit_size { KIT_SMALL, KIT_TYPICAL, KIT_LARGE, KIT_SIZES };

#define KIT_RECODE(codec, type)                                                         \
	do {                                                                             \
		struct type *m = calloc(1, sizeof(*m));                                  \
		int r = m ? drover_##codec##_decode(body, len, m, e) : -ENOMEM;          \
                                                                                         \
		if (!r)                                                                  \
			r = drover_##codec##_encode(m, out, cap);                        \
		free(m);                                                                 \
		return r;                                                                \
	} while (0)

static int kit_recode_pages(const void *body, size_t len, uint64_t payload, void *out, size_t cap,
			    struct drover_error *e)
{
	struct drover_msg_pages m;
	int r = drover_pages_decode(body, len, payload, &m, e);

	return r < 0 ? r : drover_pages_encode(&m, out, cap);
}

/* Decode and encode again: length of @out, or the first error of the two. */
__attribute__((unused))
static int kit_recode(uint16_t nr, const void *body, size_t len, uint64_t payload, void *out,
		      size_t cap, struct drover_error *e)
{
	switch (nr) {
	case DROVER_MSG_HELLO:
		KIT_RECODE(hello, drover_msg_hello);
	case DROVER_MSG_RANGES:
	case DROVER_MSG_DISCARD:
	case DROVER_MSG_RELEASE:
	case DROVER_MSG_RECOVER:
		KIT_RECODE(runs, drover_msg_runs);
	case DROVER_MSG_HELLO_ACK:
		KIT_RECODE(hello_ack, drover_msg_hello_ack);
	case DROVER_MSG_ATTACH:
		KIT_RECODE(attach, drover_msg_attach);
	case DROVER_MSG_ATTACH_ACK:
	case DROVER_MSG_STATE_ACK:
	case DROVER_MSG_FAIL:
		KIT_RECODE(status, drover_msg_status);
	case DROVER_MSG_PAGES:
		return kit_recode_pages(body, len, payload, out, cap, e);
	case DROVER_MSG_ROUND_END:
		KIT_RECODE(round_end, drover_msg_round);
	case DROVER_MSG_ROUND_ACK:
		KIT_RECODE(round_ack, drover_msg_round);
	case DROVER_MSG_STATE:
		KIT_RECODE(state, drover_msg_state);
	case DROVER_MSG_DIGEST:
		KIT_RECODE(digest, drover_msg_digest);
	case DROVER_MSG_DIGEST_ACK:
		KIT_RECODE(digest_ack, drover_msg_digest_ack);
	case DROVER_MSG_COMMIT:
	case DROVER_MSG_COMMIT_ACK:
	case DROVER_MSG_RELEASED:
	case DROVER_MSG_OWNER_QUERY:
	case DROVER_MSG_PAUSED:
		KIT_RECODE(token, drover_msg_token);
	case DROVER_MSG_OWNER:
		KIT_RECODE(owner, drover_msg_owner);
	case DROVER_MSG_PING:
	case DROVER_MSG_PONG:
		KIT_RECODE(ping, drover_msg_ping);
	case DROVER_MSG_END:
		KIT_RECODE(end, drover_msg_end);
	case DROVER_MSG_PAGE_REQ:
		KIT_RECODE(page_req, drover_msg_page_req);
	case DROVER_MSG_SWITCHOVER_REQ:
	case DROVER_MSG_SWITCHOVER_ACK:
		return len ? -EBADMSG : 0;
	default:
		return -ENOSYS;
	}
}

static const uint8_t kit_token[DROVER_TOKEN_LEN] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };

/* @n bytes of text; the caller's buffer holds the largest message. */
static char *kit_text(size_t n)
{
	char *t = malloc(n + 1);

	if (!t)
		abort();
	memset(t, 'x', n);
	t[n] = '\0';
	return t;
}

static void kit_hello_blocks(struct drover_msg_hello *m, uint32_t n)
{
	uint32_t i;

	m->nblocks = n;
	for (i = 0; i < n; i++) {
		memset(m->block[i].name, 'n', DROVER_RAM_NAME_MAX);
		m->block[i].name[0] = (char)('A' + i / 16);
		m->block[i].name[1] = (char)('A' + i % 16);
		m->block[i].gpa = (uint64_t)i << 30;
		m->block[i].size = 1u << 30;
	}
}

static int kit_hello(enum kit_size size, void *buf)
{
	struct drover_msg_hello *m = calloc(1, sizeof(*m));
	char *config = kit_text(DROVER_BODY_MAX);
	int n;

	if (!m)
		abort();
	m->version_min = m->version_max = DROVER_WIRE_VERSION;
	memcpy(m->token, kit_token, sizeof(m->token));
	kit_hello_blocks(m, size == KIT_LARGE ? DROVER_RAM_BLOCKS_MAX : 1);
	if (size == KIT_SMALL) {
		strcpy(m->block[0].name, "r");
	} else if (size == KIT_TYPICAL) {
		m->flags = DROVER_HELLO_HAS_UUID;
		m->features = DROVER_HELLO_DIGEST;
		memset(m->uuid, 0xab, sizeof(m->uuid));
		m->nblocks = 2;
		strcpy(m->block[0].name, "ram0");
		strcpy(m->block[1].name, "pc.bios");
		m->block[1].gpa = 0xfffc0000;
		m->block[1].size = 0x40000;
		strcpy(config, "{\"multifd\":true}");
		m->config_len = (uint32_t)strlen(config);
	} else {
		m->config_len = DROVER_BODY_MAX - 64 -
				DROVER_RAM_BLOCKS_MAX * (24 + DROVER_RAM_NAME_MAX);
	}
	m->config = config;
	n = drover_hello_encode(m, buf, DROVER_BODY_MAX);
	free(config);
	free(m);
	return n;
}

static int kit_runs(enum kit_size size, void *buf)
{
	static const struct drover_run few[] = { { 0, 1 }, { 2, 10 }, { 100, 5 } };
	struct drover_run *many = calloc(DROVER_RUNS_MAX, sizeof(*many));
	struct drover_msg_runs m = { .block = 3, .flags = DROVER_RUNS_LAST };
	uint32_t i;
	int n;

	if (!many)
		abort();
	for (i = 0; i < DROVER_RUNS_MAX; i++)
		many[i] = (struct drover_run){ 2 * i, 1 };
	m.run = size == KIT_LARGE ? many : few;
	m.n = size == KIT_LARGE ? DROVER_RUNS_MAX : size == KIT_TYPICAL ? 3 : 0;
	n = drover_runs_encode(&m, buf, DROVER_BODY_MAX);
	free(many);
	return n;
}

static int kit_pages(enum kit_size size, void *buf, uint64_t *ret_payload)
{
	static const struct drover_page_run few[] = {
		{ 0, 2, DROVER_PAGES_RAW, 8192 },
		{ 2, 1000, DROVER_PAGES_ZERO, 0 },
		{ 5000, 4, DROVER_PAGES_ZSTD, 777 },
	};
	struct drover_page_run *many = calloc(DROVER_PAGE_RUNS_MAX, sizeof(*many));
	struct drover_msg_pages m = { .block = 1, .round = 2 };
	uint32_t i;
	int n;

	if (!many)
		abort();
	for (i = 0; i < DROVER_PAGE_RUNS_MAX; i++)
		many[i] = (struct drover_page_run){ 5 * i, 4, DROVER_PAGES_RAW, 16384 };
	m.run = size == KIT_LARGE ? many : few;
	m.n = size == KIT_LARGE ? DROVER_PAGE_RUNS_MAX : size == KIT_TYPICAL ? 3 : 1;
	*ret_payload = drover_msg_pages_payload(&m);
	n = drover_pages_encode(&m, buf, DROVER_BODY_MAX);
	free(many);
	return n;
}

static int kit_digest(enum kit_size size, void *buf)
{
	uint64_t *d = calloc(DROVER_DIGEST_MAX, sizeof(*d));
	struct drover_msg_digest m = { .flags = DROVER_DIGEST_LAST, .raw = d };
	int n;

	if (!d)
		abort();
	memset(d, 0x77, 16);
	m.level = size == KIT_TYPICAL;
	m.first = size == KIT_TYPICAL ? 4 : 0;
	m.n = size == KIT_LARGE ? DROVER_DIGEST_MAX : size == KIT_TYPICAL ? 2 : 0;
	n = drover_digest_encode(&m, buf, DROVER_BODY_MAX);
	free(d);
	return n;
}

static int kit_digest_ack(enum kit_size size, void *buf)
{
	struct drover_msg_digest_ack m = { 0 };
	uint32_t i;

	m.n = size == KIT_LARGE ? DROVER_DIGEST_ACK_MAX : size == KIT_TYPICAL ? 2 : 0;
	m.status = size != KIT_SMALL;
	m.total = size == KIT_SMALL ? 0 : 1000;
	for (i = 0; i < m.n; i++) {
		m.item[i].block = i / 2;
		m.item[i].index = 7 + i;
	}
	return drover_digest_ack_encode(&m, buf, DROVER_BODY_MAX);
}

static int kit_status(enum kit_size size, void *buf)
{
	char *text = kit_text(DROVER_TEXT_MAX);
	struct drover_msg_status m = { .status = size == KIT_SMALL ? 0 : EIO, .text = text };
	int n;

	m.text_len = size == KIT_LARGE ? DROVER_TEXT_MAX : size == KIT_TYPICAL ? 20 : 0;
	n = drover_status_encode(&m, buf, DROVER_BODY_MAX);
	free(text);
	return n;
}

static int kit_owner(enum kit_size size, void *buf)
{
	char *text = kit_text(DROVER_TEXT_MAX);
	struct drover_msg_owner m = { .answer = (uint32_t)size, .text = text };
	int n;

	memcpy(m.token, kit_token, sizeof(m.token));
	m.text_len = size == KIT_LARGE ? DROVER_TEXT_MAX : size == KIT_TYPICAL ? 20 : 0;
	n = drover_owner_encode(&m, buf, DROVER_BODY_MAX);
	free(text);
	return n;
}

static int kit_hello_ack(enum kit_size size, void *buf)
{
	char *text = kit_text(DROVER_BODY_MAX);
	struct drover_msg_hello_ack m = {
		.status = size == KIT_SMALL ? DROVER_ACK_REFUSED : DROVER_ACK_OK,
		.version = size == KIT_SMALL ? 0 : DROVER_WIRE_VERSION,
		.features = DROVER_HELLO_DIGEST,
		.text = text,
		.text_len = size == KIT_LARGE ? DROVER_BODY_MAX - 16 : size == KIT_TYPICAL ? 20 : 0,
	};
	int n = drover_hello_ack_encode(&m, buf, DROVER_BODY_MAX);

	free(text);
	return n;
}

static int kit_state(enum kit_size size, void *buf, uint64_t *ret_payload)
{
	struct drover_msg_state m = { .name = "cpu/0", .version = 1, .total = 1000 };

	if (size == KIT_SMALL) {
		strcpy(m.name, "s");
		m.total = 0;
	} else if (size == KIT_LARGE) {
		memset(m.name, 's', DROVER_SECTION_NAME_MAX);
		m.total = DROVER_STATE_PIECE_MAX;
	}
	m.flags = size == KIT_TYPICAL ? DROVER_STATE_LAST : 0;
	*ret_payload = m.total;
	return drover_state_encode(&m, buf, DROVER_BODY_MAX);
}

/* Messages of one size; @size only varies their values. */
static int kit_fixed(uint16_t nr, enum kit_size size, void *buf)
{
	struct drover_msg_attach attach = { .type = 1, .index = (uint16_t)size };
	struct drover_msg_round round = { .round = 9, .flags = size == KIT_TYPICAL, .bytes = 77 };
	struct drover_msg_page_req req = { .block = 2, .page = 1000u + (unsigned int)size };
	struct drover_msg_ping ping = { .nonce = 0x1122334455667788ull };
	struct drover_msg_end end = { .total_bytes = UINT64_MAX };
	struct drover_msg_token token;

	memcpy(attach.token, kit_token, sizeof(kit_token));
	memcpy(token.token, kit_token, sizeof(kit_token));
	switch (nr) {
	case DROVER_MSG_ATTACH:
		return drover_attach_encode(&attach, buf, DROVER_BODY_MAX);
	case DROVER_MSG_ROUND_END:
		return drover_round_end_encode(&round, buf, DROVER_BODY_MAX);
	case DROVER_MSG_ROUND_ACK:
		return drover_round_ack_encode(&round, buf, DROVER_BODY_MAX);
	case DROVER_MSG_PAGE_REQ:
		return drover_page_req_encode(&req, buf, DROVER_BODY_MAX);
	case DROVER_MSG_PING:
	case DROVER_MSG_PONG:
		return drover_ping_encode(&ping, buf, DROVER_BODY_MAX);
	case DROVER_MSG_END:
		return drover_end_encode(&end, buf, DROVER_BODY_MAX);
	case DROVER_MSG_SWITCHOVER_REQ:
	case DROVER_MSG_SWITCHOVER_ACK:
		return 0;
	default:
		return drover_token_encode(&token, buf, DROVER_BODY_MAX);
	}
}

/* Body of a sample into @buf (DROVER_BODY_MAX bytes), or the encoder's error. */
__attribute__((unused))
static int kit_sample(uint16_t nr, enum kit_size size, void *buf, uint64_t *ret_payload)
{
	*ret_payload = 0;
	switch (nr) {
	case DROVER_MSG_HELLO:
		return kit_hello(size, buf);
	case DROVER_MSG_HELLO_ACK:
		return kit_hello_ack(size, buf);
	case DROVER_MSG_RANGES:
	case DROVER_MSG_DISCARD:
	case DROVER_MSG_RELEASE:
	case DROVER_MSG_RECOVER:
		return kit_runs(size, buf);
	case DROVER_MSG_ATTACH_ACK:
	case DROVER_MSG_STATE_ACK:
	case DROVER_MSG_FAIL:
		return kit_status(size, buf);
	case DROVER_MSG_PAGES:
		return kit_pages(size, buf, ret_payload);
	case DROVER_MSG_STATE:
		return kit_state(size, buf, ret_payload);
	case DROVER_MSG_DIGEST:
		return kit_digest(size, buf);
	case DROVER_MSG_DIGEST_ACK:
		return kit_digest_ack(size, buf);
	case DROVER_MSG_OWNER:
		return kit_owner(size, buf);
	default:
		return kit_fixed(nr, size, buf);
	}
}

#endif
