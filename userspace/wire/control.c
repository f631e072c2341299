// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The small messages: status (ATTACH_ACK, STATE_ACK, FAIL), rounds, state pieces, tokens
 * (COMMIT and its kin), ownership answers, PING, END. Callers: engine.
 *
 * status     0 u32 status  4 text
 * ROUND_END  0 u32 round  4 u32 flags          ROUND_ACK  the same, 8 u64 bytes
 * STATE      0 u32 version  4 u32 flags  8 u64 total  16 u64 off  24 name
 * token      0 token                           OWNER  0 token  16 u32 answer  20 text
 * PING, PONG 0 u64 nonce                       END    0 u64 total bytes
 */
#include "wire/wire.h"

#include <inttypes.h>

#include "wire/codec.h"

#define STATUS_FIXED 4u
#define ROUND_END_LEN 8u
#define ROUND_ACK_LEN 16u
#define STATE_FIXED 24u
#define OWNER_FIXED 20u
#define U64_LEN 8u

int drover_status_encode(const struct drover_msg_status *m, void *buf, size_t cap)
{
	struct wire_put p = wire_putter(buf, cap);

	if (m->status > DROVER_STATUS_MAX)
		return -EINVAL;
	put_u32(&p, m->status);
	wire_put_text(&p, m->text, m->text_len);
	return put_done(&p);
}

int drover_status_decode(const void *buf, size_t len, struct drover_msg_status *ret,
			 struct drover_error *e)
{
	struct wire_get g = wire_getter(buf, len);
	struct drover_msg_status m;
	int r;

	r = wire_len(len, STATUS_FIXED, STATUS_FIXED + DROVER_TEXT_MAX, e);
	if (r < 0)
		return r;
	m.status = get_u32(&g);
	m.text = (const char *)g.p;
	m.text_len = (uint32_t)g.left;
	r = wire_max("status", m.status, DROVER_STATUS_MAX, e);
	if (r < 0)
		return r;
	r = wire_text("text", m.text, m.text_len, DROVER_TEXT_MAX, e);
	if (r < 0)
		return r;
	*ret = m;
	return 0;
}

static int round_encode(const struct drover_msg_round *m, bool bytes, void *buf, size_t cap)
{
	struct wire_put p = wire_putter(buf, cap);

	if (m->flags & ~DROVER_ROUND_FINAL)
		return -EINVAL;
	put_u32(&p, m->round);
	put_u32(&p, m->flags);
	if (bytes)
		put_u64(&p, m->bytes);
	return put_done(&p);
}

static int round_decode(const void *buf, size_t len, bool bytes, struct drover_msg_round *ret,
			struct drover_error *e)
{
	size_t want = bytes ? ROUND_ACK_LEN : ROUND_END_LEN;
	struct wire_get g = wire_getter(buf, len);
	struct drover_msg_round m;
	int r;

	r = wire_len(len, want, want, e);
	if (r < 0)
		return r;
	m.round = get_u32(&g);
	m.flags = get_u32(&g);
	m.bytes = bytes ? get_u64(&g) : 0;
	r = wire_flags("flags", m.flags, DROVER_ROUND_FINAL, e);
	if (r < 0)
		return r;
	*ret = m;
	return 0;
}

int drover_round_end_encode(const struct drover_msg_round *m, void *buf, size_t cap)
{
	return round_encode(m, false, buf, cap);
}

int drover_round_end_decode(const void *buf, size_t len, struct drover_msg_round *ret,
			    struct drover_error *e)
{
	return round_decode(buf, len, false, ret, e);
}

int drover_round_ack_encode(const struct drover_msg_round *m, void *buf, size_t cap)
{
	return round_encode(m, true, buf, cap);
}

int drover_round_ack_decode(const void *buf, size_t len, struct drover_msg_round *ret,
			    struct drover_error *e)
{
	return round_decode(buf, len, true, ret, e);
}

static int state_check(const struct drover_msg_state *m, struct drover_error *e)
{
	int r;

	r = wire_name("section", m->name, DROVER_SECTION_NAME_MAX, e);
	if (r < 0)
		return r;
	r = wire_flags("flags", m->flags, DROVER_STATE_LAST, e);
	if (r < 0)
		return r;
	r = wire_max("total", m->total, INT64_MAX, e);
	if (r < 0)
		return r;
	return wire_max("off", m->off, m->total, e);
}

int drover_state_encode(const struct drover_msg_state *m, void *buf, size_t cap)
{
	struct wire_put p = wire_putter(buf, cap);

	if (state_check(m, NULL) < 0)
		return -EINVAL;
	put_u32(&p, m->version);
	put_u32(&p, m->flags);
	put_u64(&p, m->total);
	put_u64(&p, m->off);
	put_bytes(&p, m->name, strlen(m->name));
	return put_done(&p);
}

int drover_state_decode(const void *buf, size_t len, struct drover_msg_state *ret,
			struct drover_error *e)
{
	struct wire_get g = wire_getter(buf, len);
	struct drover_msg_state m = { 0 };
	int r;

	r = wire_len(len, STATE_FIXED + 1, STATE_FIXED + DROVER_SECTION_NAME_MAX, e);
	if (r < 0)
		return r;
	m.version = get_u32(&g);
	m.flags = get_u32(&g);
	m.total = get_u64(&g);
	m.off = get_u64(&g);
	r = wire_get_name(&g, "section", g.left, m.name, DROVER_SECTION_NAME_MAX, e);
	if (r < 0)
		return r;
	r = state_check(&m, e);
	if (r < 0)
		return r;
	*ret = m;
	return 0;
}

int drover_msg_state_piece(const struct drover_msg_state *m, uint64_t payload,
			   struct drover_error *e)
{
	uint64_t left = m->total - m->off;

	if (payload > left || payload > DROVER_STATE_PIECE_MAX)
		return drover_err(e, -EBADMSG, "section %s: piece of %" PRIu64 " bytes at %" PRIu64
				  " of %" PRIu64 ", at most %u", m->name, payload, m->off, m->total,
				  DROVER_STATE_PIECE_MAX);
	if (!payload && m->total)
		return drover_err(e, -EBADMSG, "section %s: empty piece at %" PRIu64 " of %" PRIu64,
				  m->name, m->off, m->total);
	if ((m->flags & DROVER_STATE_LAST) && payload != left)
		return drover_err(e, -EBADMSG, "section %s: flagged last, but %" PRIu64
				  " bytes are missing", m->name, left - payload);
	return 0;
}

int drover_token_encode(const struct drover_msg_token *m, void *buf, size_t cap)
{
	struct wire_put p = wire_putter(buf, cap);

	if (wire_token(m->token, NULL) < 0)
		return -EINVAL;
	put_bytes(&p, m->token, sizeof(m->token));
	return put_done(&p);
}

int drover_token_decode(const void *buf, size_t len, struct drover_msg_token *ret,
			struct drover_error *e)
{
	int r;

	r = wire_len(len, DROVER_TOKEN_LEN, DROVER_TOKEN_LEN, e);
	if (r < 0)
		return r;
	r = wire_token(buf, e);
	if (r < 0)
		return r;
	memcpy(ret->token, buf, DROVER_TOKEN_LEN);
	return 0;
}

static int owner_check(const struct drover_msg_owner *m, struct drover_error *e)
{
	int r;

	r = wire_token(m->token, e);
	if (r < 0)
		return r;
	return wire_max("answer", m->answer, DROVER_OWNER_INCOMPLETE, e);
}

int drover_owner_encode(const struct drover_msg_owner *m, void *buf, size_t cap)
{
	struct wire_put p = wire_putter(buf, cap);

	if (owner_check(m, NULL) < 0)
		return -EINVAL;
	put_bytes(&p, m->token, sizeof(m->token));
	put_u32(&p, m->answer);
	wire_put_text(&p, m->text, m->text_len);
	return put_done(&p);
}

int drover_owner_decode(const void *buf, size_t len, struct drover_msg_owner *ret,
			struct drover_error *e)
{
	struct wire_get g = wire_getter(buf, len);
	struct drover_msg_owner m;
	int r;

	r = wire_len(len, OWNER_FIXED, OWNER_FIXED + DROVER_TEXT_MAX, e);
	if (r < 0)
		return r;
	get_bytes(&g, m.token, sizeof(m.token));
	m.answer = get_u32(&g);
	m.text = (const char *)g.p;
	m.text_len = (uint32_t)g.left;
	r = owner_check(&m, e);
	if (r < 0)
		return r;
	r = wire_text("text", m.text, m.text_len, DROVER_TEXT_MAX, e);
	if (r < 0)
		return r;
	*ret = m;
	return 0;
}

static int u64_encode(uint64_t v, void *buf, size_t cap)
{
	struct wire_put p = wire_putter(buf, cap);

	put_u64(&p, v);
	return put_done(&p);
}

int drover_ping_encode(const struct drover_msg_ping *m, void *buf, size_t cap)
{
	return u64_encode(m->nonce, buf, cap);
}

int drover_ping_decode(const void *buf, size_t len, struct drover_msg_ping *ret,
		       struct drover_error *e)
{
	int r;

	r = wire_len(len, U64_LEN, U64_LEN, e);
	if (r < 0)
		return r;
	ret->nonce = wire_peek_u64(buf, 0);
	return 0;
}

int drover_end_encode(const struct drover_msg_end *m, void *buf, size_t cap)
{
	return u64_encode(m->total_bytes, buf, cap);
}

int drover_end_decode(const void *buf, size_t len, struct drover_msg_end *ret,
		      struct drover_error *e)
{
	int r;

	r = wire_len(len, U64_LEN, U64_LEN, e);
	if (r < 0)
		return r;
	ret->total_bytes = wire_peek_u64(buf, 0);
	return 0;
}
