// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * DIGEST and DIGEST_ACK: what the source sent, and where the destination holds something
 * else. Callers: engine.
 *
 * DIGEST      0 u32 block  4 u16 level  6 u16 flags  8 u64 first  16 u32 n
 *            20 u32 reserved (0)  24 digests: u64 each
 * DIGEST_ACK  0 u32 status  4 u16 level  6 u16 reserved (0)  8 u64 total  16 u32 n
 *            20 u32 reserved (0)  24 items: u32 block, u64 index
 */
#include "wire/wire.h"

#include <inttypes.h>

#include "wire/codec.h"

#define DIGEST_FIXED 24u
#define DIGEST_LEN 8u
#define DIGEST_ACK_FIXED 24u
#define DIGEST_ITEM_LEN 12u

uint64_t drover_msg_digest_at(const struct drover_msg_digest *m, uint32_t i)
{
	return wire_peek_u64(m->raw, (size_t)i * DIGEST_LEN);
}

static int digest_check(const struct drover_msg_digest *m, struct drover_error *e)
{
	int r;

	r = wire_block(m->block, e);
	if (r < 0)
		return r;
	r = wire_max("level", m->level, 1, e);
	if (r < 0)
		return r;
	r = wire_flags("flags", m->flags, DROVER_DIGEST_LAST, e);
	if (r < 0)
		return r;
	r = wire_max("digests", m->n, DROVER_DIGEST_MAX, e);
	if (r < 0)
		return r;
	if (!m->n && !(m->flags & DROVER_DIGEST_LAST))
		return drover_err(e, -EBADMSG, "digests: none, and not the last message");
	if (m->n && !m->raw)
		return drover_err(e, -EBADMSG, "digests: missing");
	r = wire_max("first", m->first, DROVER_WIRE_PAGES_MAX, e);
	if (r < 0)
		return r;
	return wire_max("digests after first", m->n, DROVER_WIRE_PAGES_MAX - m->first, e);
}

int drover_digest_encode(const struct drover_msg_digest *m, void *buf, size_t cap)
{
	struct wire_put p = wire_putter(buf, cap);

	if (digest_check(m, NULL) < 0)
		return -EINVAL;
	put_u32(&p, m->block);
	put_u16(&p, m->level);
	put_u16(&p, m->flags);
	put_u64(&p, m->first);
	put_u32(&p, m->n);
	put_u32(&p, 0);
	put_bytes(&p, m->raw, (size_t)m->n * DIGEST_LEN);
	return put_done(&p);
}

int drover_digest_decode(const void *buf, size_t len, struct drover_msg_digest *ret,
			 struct drover_error *e)
{
	struct wire_get g = wire_getter(buf, len);
	struct drover_msg_digest m;
	int r;

	r = wire_len(len, DIGEST_FIXED, DIGEST_FIXED + DIGEST_LEN * (size_t)DROVER_DIGEST_MAX, e);
	if (r < 0)
		return r;
	m.block = get_u32(&g);
	m.level = get_u16(&g);
	m.flags = get_u16(&g);
	m.first = get_u64(&g);
	m.n = get_u32(&g);
	r = wire_zero("reserved", get_u32(&g), e);
	if (r < 0)
		return r;
	if (g.left % DIGEST_LEN || m.n != g.left / DIGEST_LEN)
		return drover_err(e, -EBADMSG, "digests: %u announced, %zu bytes follow", m.n,
				  g.left);
	m.raw = g.p;
	r = digest_check(&m, e);
	if (r < 0)
		return r;
	*ret = m;
	return 0;
}

static int ack_items_check(const struct drover_msg_digest_ack *m, struct drover_error *e)
{
	uint32_t i;
	int r;

	for (i = 0; i < m->n; i++) {
		uint32_t block = m->item[i].block;
		uint64_t index = m->item[i].index;

		r = wire_block(block, e);
		if (r < 0)
			return r;
		r = wire_max("index", index, DROVER_WIRE_PAGES_MAX - 1, e);
		if (r < 0)
			return r;
		if (i && (block < m->item[i - 1].block ||
			  (block == m->item[i - 1].block && index <= m->item[i - 1].index)))
			return drover_err(e, -EBADMSG, "item %u: block %u index %" PRIu64
					  " is out of order", i, block, index);
	}
	return 0;
}

static int digest_ack_check(const struct drover_msg_digest_ack *m, struct drover_error *e)
{
	int r;

	r = wire_max("status", m->status, 1, e);
	if (r < 0)
		return r;
	r = wire_max("level", m->level, 1, e);
	if (r < 0)
		return r;
	if (!m->status != !m->total)
		return drover_err(e, -EBADMSG, "total: %" PRIu64 " differ with status %u", m->total,
				  m->status);
	r = wire_max("items", m->n, DROVER_DIGEST_ACK_MAX, e);
	if (r < 0)
		return r;
	r = wire_max("items", m->n, m->total, e);
	if (r < 0)
		return r;
	return ack_items_check(m, e);
}

int drover_digest_ack_encode(const struct drover_msg_digest_ack *m, void *buf, size_t cap)
{
	struct wire_put p = wire_putter(buf, cap);
	uint32_t i;

	if (digest_ack_check(m, NULL) < 0)
		return -EINVAL;
	put_u32(&p, m->status);
	put_u16(&p, m->level);
	put_u16(&p, 0);
	put_u64(&p, m->total);
	put_u32(&p, m->n);
	put_u32(&p, 0);
	for (i = 0; i < m->n; i++) {
		put_u32(&p, m->item[i].block);
		put_u64(&p, m->item[i].index);
	}
	return put_done(&p);
}

int drover_digest_ack_decode(const void *buf, size_t len, struct drover_msg_digest_ack *ret,
			     struct drover_error *e)
{
	struct wire_get g = wire_getter(buf, len);
	struct drover_msg_digest_ack m = { 0 };
	uint64_t reserved;
	uint32_t i;
	int r;

	r = wire_len(len, DIGEST_ACK_FIXED,
		     DIGEST_ACK_FIXED + DIGEST_ITEM_LEN * (size_t)DROVER_DIGEST_ACK_MAX, e);
	if (r < 0)
		return r;
	m.status = get_u32(&g);
	m.level = get_u16(&g);
	reserved = get_u16(&g);
	m.total = get_u64(&g);
	m.n = get_u32(&g);
	reserved |= get_u32(&g);
	r = wire_zero("reserved", reserved, e);
	if (r < 0)
		return r;
	/* wire_len() has bounded what follows to the array's size. */
	if (g.left % DIGEST_ITEM_LEN || m.n != g.left / DIGEST_ITEM_LEN)
		return drover_err(e, -EBADMSG, "items: %u announced, %zu bytes follow", m.n,
				  g.left);
	for (i = 0; i < m.n; i++) {
		m.item[i].block = get_u32(&g);
		m.item[i].index = get_u64(&g);
	}
	r = digest_ack_check(&m, e);
	if (r < 0)
		return r;
	*ret = m;
	return 0;
}
