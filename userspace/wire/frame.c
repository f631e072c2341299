// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Frame headers and the table of messages. A header that passes drover_frame_decode() has
 * lengths within its message's row, so the caller may allocate and read them; whether the
 * message may come now is for drover_wire_allowed() and the engine's sequence to say.
 * Called by peer/link.c for every frame.
 */
#include "wire/wire.h"

#include <inttypes.h>
#include <xxhash.h>

#include "base/cleanup.h"
#include "wire/codec.h"

#define FRAME_SUMMED 36u

enum { S = DROVER_FROM_S, D_FROM = DROVER_FROM_D, B = DROVER_FROM_B };
enum { M = DROVER_ON_M, D = DROVER_ON_D, P = DROVER_ON_P };

/* The table writes D for the sender and for the channel; both must mean the same bit. */
_Static_assert((int)D == (int)D_FROM, "D stands for destination and for data");

static const struct drover_msg_info messages[] = {
#define MSG(name, nr, from, channels, min, max, payload, doc)                               \
	{ #name, (nr), (uint8_t)(from), (uint8_t)(channels), (min), (max), (payload), doc },
#include "wire/messages.def"
#undef MSG
};

const struct drover_msg_info *drover_msg_table(size_t *ret_n)
{
	*ret_n = DROVER_ARRAY_SIZE(messages);
	return messages;
}

const struct drover_msg_info *drover_msg_info(uint16_t nr)
{
	size_t i;

	/* Rows are numbered from 1 without a gap; the search is for the day they are not. */
	if (nr >= 1 && nr <= DROVER_ARRAY_SIZE(messages) && messages[nr - 1].nr == nr)
		return &messages[nr - 1];
	for (i = 0; i < DROVER_ARRAY_SIZE(messages); i++)
		if (messages[i].nr == nr)
			return &messages[i];
	return NULL;
}

int drover_wire_allowed(const struct drover_msg_info *info, bool from_source,
			unsigned int channel_kind, struct drover_error *e)
{
	if (!info)
		return drover_err(e, -EBADMSG, "message of unknown type");
	if (!(info->from & (from_source ? DROVER_FROM_S : DROVER_FROM_D)))
		return drover_err(e, -EBADMSG, "message %s: never comes from the %s", info->name,
				  from_source ? "source" : "destination");
	if (!(info->channels & channel_kind))
		return drover_err(e, -EBADMSG, "message %s: never comes on a %s channel",
				  info->name,
				  channel_kind == DROVER_ON_M ? "main" :
				  channel_kind == DROVER_ON_D ? "data" : "postcopy");
	return 0;
}

static uint32_t frame_sum(const uint8_t *head)
{
	return (uint32_t)XXH3_64bits(head, FRAME_SUMMED);
}

void drover_frame_encode(const struct drover_frame *f, uint8_t out[DROVER_FRAME_LEN])
{
	struct wire_put p = wire_putter(out, DROVER_FRAME_LEN);

	put_u32(&p, DROVER_WIRE_MAGIC);
	put_u16(&p, f->version);
	put_u16(&p, f->type);
	put_u16(&p, f->flags);
	put_u16(&p, f->channel);
	put_u32(&p, f->seq);
	put_u32(&p, f->body_len);
	put_u32(&p, 0);
	put_u64(&p, f->payload_len);
	put_u32(&p, 0);
	put_u32(&p, frame_sum(out));
}

static int frame_check(const struct drover_frame *f, struct drover_error *e)
{
	const struct drover_msg_info *info = drover_msg_info(f->type);
	int r;

	r = wire_zero("frame: flags", f->flags, e);
	if (r < 0)
		return r;
	r = wire_max("frame: channel", f->channel, DROVER_FRAME_CHANNEL_MAX, e);
	if (r < 0)
		return r;
	if (!info)
		return drover_err(e, -EBADMSG, "frame: type %u is unknown", f->type);
	if (f->body_len < info->min_body || f->body_len > info->max_body)
		return drover_err(e, -EBADMSG,
				  "frame: message %s: body of %u bytes, must be %u to %u",
				  info->name, f->body_len, info->min_body, info->max_body);
	if (f->payload_len > info->max_payload)
		return drover_err(e, -EBADMSG,
				  "frame: message %s: payload of %" PRIu64 " bytes, at most %"
				  PRIu64,
				  info->name, f->payload_len, info->max_payload);
	return 0;
}

int drover_frame_decode(const uint8_t in[DROVER_FRAME_LEN], struct drover_frame *ret,
			struct drover_error *e)
{
	struct wire_get g = wire_getter(in, DROVER_FRAME_LEN);
	uint32_t magic = get_u32(&g), reserved, sum = frame_sum(in);
	struct drover_frame f;
	int r;

	if (magic != DROVER_WIRE_MAGIC)
		return drover_err(e, -EBADMSG, "frame: magic 0x%08x is not drover's", magic);
	f.version = get_u16(&g);
	f.type = get_u16(&g);
	f.flags = get_u16(&g);
	f.channel = get_u16(&g);
	f.seq = get_u32(&g);
	f.body_len = get_u32(&g);
	reserved = get_u32(&g);
	f.payload_len = get_u64(&g);
	reserved |= get_u32(&g);
	/* Before the version: a damaged header must not read as a peer of another age. */
	if (get_u32(&g) != sum)
		return drover_err(e, -EBADMSG, "frame: header checksum is wrong, 0x%08x expected",
				  sum);
	if (f.version >> 8 != DROVER_WIRE_MAJOR)
		return drover_err(e, -EPROTONOSUPPORT,
				  "frame: version %u.%u, this build speaks %u.x",
				  f.version >> 8, f.version & 0xff, DROVER_WIRE_MAJOR);
	r = wire_zero("frame: reserved", reserved, e);
	if (r < 0)
		return r;
	r = frame_check(&f, e);
	if (r < 0)
		return r;
	*ret = f;
	return 0;
}
