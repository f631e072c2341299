// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The handshake: HELLO, HELLO_ACK, ATTACH. What passes these decoders may size and index:
 * blocks are named, aligned, without overflow or overlap. Whether the blocks are the ones
 * this side has, and the config acceptable, is the engine's to say. Callers: engine.
 *
 * HELLO      0 u16 version_min  2 u16 version_max  4 u32 flags  8 u64 features
 *           16 token  32 uuid  48 u32 nblocks  52 u32 config length  56 u64 reserved (0)
 *           64 blocks: u64 gpa, u64 size, u32 flags, u16 name length, u16 reserved (0), name
 *           then the config
 * HELLO_ACK  0 u32 status  4 u16 version  6 u16 reserved (0)  8 u64 features  16 text
 * ATTACH     0 token  16 u16 type  18 u16 index
 */
#include "wire/wire.h"

#include <inttypes.h>
#include <stdio.h>

#include "wire/codec.h"

#define HELLO_FIXED 64u
#define HELLO_BLOCK_FIXED 24u
#define HELLO_ACK_FIXED 16u
#define ATTACH_LEN 20u

static int block_check(const struct drover_msg_hello *m, uint32_t i, struct drover_error *e)
{
	uint64_t gpa = m->block[i].gpa, size = m->block[i].size;
	const char *name = m->block[i].name;
	uint32_t j;
	int r;

	r = wire_name("block", name, DROVER_RAM_NAME_MAX, e);
	if (r < 0)
		return r;
	r = wire_flags("block: flags", m->block[i].flags, DROVER_RAM_SHARED_DEST, e);
	if (r < 0)
		return r;
	if (!size || size % DROVER_PAGE_SIZE || gpa % DROVER_PAGE_SIZE)
		return drover_err(e, -EBADMSG, "block %s: 0x%" PRIx64 " bytes at 0x%" PRIx64
				  ", must be whole pages", name, size, gpa);
	/* The last byte, so that a block may end where the address space does. */
	if (size - 1 > UINT64_MAX - gpa)
		return drover_err(e, -EBADMSG, "block %s: 0x%" PRIx64 " bytes at 0x%" PRIx64
				  " end past 2^64", name, size, gpa);
	for (j = 0; j < i; j++) {
		uint64_t start = m->block[j].gpa, last = start + (m->block[j].size - 1);

		if (!strcmp(name, m->block[j].name))
			return drover_err(e, -EBADMSG, "block %s: named twice", name);
		if (gpa <= last && start <= gpa + (size - 1))
			return drover_err(e, -EBADMSG, "block %s: overlaps block %s", name,
					  m->block[j].name);
	}
	return 0;
}

static int hello_check_head(const struct drover_msg_hello *m, struct drover_error *e)
{
	static const uint8_t none[DROVER_UUID_LEN];
	int r;

	if (!m->version_min || m->version_min > m->version_max)
		return drover_err(e, -EBADMSG, "versions: 0x%04x to 0x%04x is no range",
				  m->version_min, m->version_max);
	r = wire_flags("flags", m->flags, DROVER_HELLO_ONE_WAY | DROVER_HELLO_HAS_UUID |
		       DROVER_HELLO_RESUME, e);
	if (r < 0)
		return r;
	r = wire_token(m->token, e);
	if (r < 0)
		return r;
	if (!(m->flags & DROVER_HELLO_HAS_UUID) && memcmp(m->uuid, none, sizeof(none)))
		return drover_err(e, -EBADMSG, "uuid: given, but not flagged");
	if (!m->nblocks || m->nblocks > DROVER_RAM_BLOCKS_MAX)
		return drover_err(e, -EBADMSG, "blocks: %u, must be 1 to %u", m->nblocks,
				  DROVER_RAM_BLOCKS_MAX);
	return 0;
}

static int hello_check(const struct drover_msg_hello *m, struct drover_error *e)
{
	size_t used = HELLO_FIXED;
	uint32_t i;
	int r;

	r = hello_check_head(m, e);
	if (r < 0)
		return r;
	for (i = 0; i < m->nblocks; i++) {
		r = block_check(m, i, e);
		if (r < 0)
			return r;
		used += HELLO_BLOCK_FIXED + strlen(m->block[i].name);
	}
	return wire_text("config", m->config, m->config_len, DROVER_BODY_MAX - used, e);
}

int drover_hello_encode(const struct drover_msg_hello *m, void *buf, size_t cap)
{
	struct wire_put p = wire_putter(buf, cap);
	uint32_t i;

	if (hello_check(m, NULL) < 0)
		return -EINVAL;
	put_u16(&p, m->version_min);
	put_u16(&p, m->version_max);
	put_u32(&p, m->flags);
	put_u64(&p, m->features);
	put_bytes(&p, m->token, sizeof(m->token));
	put_bytes(&p, m->uuid, sizeof(m->uuid));
	put_u32(&p, m->nblocks);
	put_u32(&p, m->config_len);
	put_u64(&p, 0);
	for (i = 0; i < m->nblocks; i++) {
		size_t n = strlen(m->block[i].name);

		put_u64(&p, m->block[i].gpa);
		put_u64(&p, m->block[i].size);
		put_u32(&p, m->block[i].flags);
		put_u16(&p, (uint16_t)n);
		put_u16(&p, 0);
		put_bytes(&p, m->block[i].name, n);
	}
	put_bytes(&p, m->config, m->config_len);
	return put_done(&p);
}

uint16_t drover_hello_version(const struct drover_msg_hello *m)
{
	uint16_t v = m->version_max < DROVER_WIRE_VERSION ? m->version_max : DROVER_WIRE_VERSION;

	return v >= m->version_min && v >= DROVER_WIRE_OLDEST ? v : 0;
}

static int get_block(struct wire_get *g, struct drover_msg_hello *m, uint32_t i,
		     struct drover_error *e)
{
	char field[24];
	uint16_t n;
	int r;

	snprintf(field, sizeof(field), "block %u", i);
	if (g->left < HELLO_BLOCK_FIXED)
		return drover_err(e, -EBADMSG, "%s of %u: cut short, %zu bytes are left", field,
				  m->nblocks, g->left);
	m->block[i].gpa = get_u64(g);
	m->block[i].size = get_u64(g);
	m->block[i].flags = get_u32(g);
	n = get_u16(g);
	r = wire_zero("block: reserved", get_u16(g), e);
	if (r < 0)
		return r;
	return wire_get_name(g, field, n, m->block[i].name, DROVER_RAM_NAME_MAX, e);
}

int drover_hello_decode(const void *buf, size_t len, struct drover_msg_hello *ret,
			struct drover_error *e)
{
	struct wire_get g = wire_getter(buf, len);
	struct drover_msg_hello m;
	uint32_t i;
	int r;

	r = wire_len(len, HELLO_FIXED, DROVER_BODY_MAX, e);
	if (r < 0)
		return r;
	m.version_min = get_u16(&g);
	m.version_max = get_u16(&g);
	m.flags = get_u32(&g);
	m.features = get_u64(&g);
	get_bytes(&g, m.token, sizeof(m.token));
	get_bytes(&g, m.uuid, sizeof(m.uuid));
	m.nblocks = get_u32(&g);
	m.config_len = get_u32(&g);
	r = wire_zero("reserved", get_u64(&g), e);
	if (r < 0)
		return r;
	r = hello_check_head(&m, e);
	if (r < 0)
		return r;
	for (i = 0; i < m.nblocks; i++) {
		r = get_block(&g, &m, i, e);
		if (r < 0)
			return r;
	}
	if (m.config_len != g.left)
		return drover_err(e, -EBADMSG, "config: %u bytes announced, %zu follow",
				  m.config_len, g.left);
	m.config = (const char *)g.p;
	r = hello_check(&m, e);
	if (r < 0)
		return r;
	*ret = m;
	return 0;
}

static int hello_ack_check(const struct drover_msg_hello_ack *m, struct drover_error *e)
{
	int r;

	r = wire_max("status", m->status, DROVER_ACK_REFUSED, e);
	if (r < 0)
		return r;
	if (m->status == DROVER_ACK_OK && !m->version)
		return drover_err(e, -EBADMSG, "version: 0 in an accepting answer");
	return wire_text("text", m->text, m->text_len, DROVER_BODY_MAX - HELLO_ACK_FIXED, e);
}

int drover_hello_ack_encode(const struct drover_msg_hello_ack *m, void *buf, size_t cap)
{
	struct wire_put p = wire_putter(buf, cap);

	if (hello_ack_check(m, NULL) < 0)
		return -EINVAL;
	put_u32(&p, m->status);
	put_u16(&p, m->version);
	put_u16(&p, 0);
	put_u64(&p, m->features);
	put_bytes(&p, m->text, m->text_len);
	return put_done(&p);
}

int drover_hello_ack_decode(const void *buf, size_t len, struct drover_msg_hello_ack *ret,
			    struct drover_error *e)
{
	struct wire_get g = wire_getter(buf, len);
	struct drover_msg_hello_ack m;
	int r;

	r = wire_len(len, HELLO_ACK_FIXED, DROVER_BODY_MAX, e);
	if (r < 0)
		return r;
	m.status = get_u32(&g);
	m.version = get_u16(&g);
	r = wire_zero("reserved", get_u16(&g), e);
	if (r < 0)
		return r;
	m.features = get_u64(&g);
	m.text = (const char *)g.p;
	m.text_len = (uint32_t)g.left;
	r = hello_ack_check(&m, e);
	if (r < 0)
		return r;
	*ret = m;
	return 0;
}

static int attach_check(const struct drover_msg_attach *m, struct drover_error *e)
{
	int r;

	r = wire_token(m->token, e);
	if (r < 0)
		return r;
	if (m->type != DROVER_ATTACH_DATA && m->type != DROVER_ATTACH_POSTCOPY)
		return drover_err(e, -EBADMSG, "type: %u, must be %u (data) or %u (postcopy)",
				  m->type, DROVER_ATTACH_DATA, DROVER_ATTACH_POSTCOPY);
	return wire_max("index", m->index,
			m->type == DROVER_ATTACH_DATA ? DROVER_ATTACH_INDEX_MAX :
							DROVER_ATTACH_POSTCOPY_MAX, e);
}

int drover_attach_encode(const struct drover_msg_attach *m, void *buf, size_t cap)
{
	struct wire_put p = wire_putter(buf, cap);

	if (attach_check(m, NULL) < 0)
		return -EINVAL;
	put_bytes(&p, m->token, sizeof(m->token));
	put_u16(&p, m->type);
	put_u16(&p, m->index);
	return put_done(&p);
}

int drover_attach_decode(const void *buf, size_t len, struct drover_msg_attach *ret,
			 struct drover_error *e)
{
	struct wire_get g = wire_getter(buf, len);
	struct drover_msg_attach m;
	int r;

	r = wire_len(len, ATTACH_LEN, ATTACH_LEN, e);
	if (r < 0)
		return r;
	get_bytes(&g, m.token, sizeof(m.token));
	m.type = get_u16(&g);
	m.index = get_u16(&g);
	r = attach_check(&m, e);
	if (r < 0)
		return r;
	*ret = m;
	return 0;
}
