// SPDX-License-Identifier: GPL-2.0-or-later
/* Frame headers: round trip, every flipped bit, every field at its bound, who may send what. */
#include "wire/wire.h"

#include <errno.h>
#include <string.h>
#include <xxhash.h>

#include "base/err.h"
#include "tap.h"

static bool same(const struct drover_frame *a, const struct drover_frame *b)
{
	return a->version == b->version && a->type == b->type && a->flags == b->flags &&
	       a->channel == b->channel && a->seq == b->seq && a->body_len == b->body_len &&
	       a->payload_len == b->payload_len;
}

static struct drover_frame typical(const struct drover_msg_info *info)
{
	return (struct drover_frame){
		.version = DROVER_WIRE_VERSION,
		.type = info->nr,
		.channel = 7,
		.seq = 0x01020304,
		.body_len = info->min_body,
		.payload_len = info->max_payload,
	};
}

static int decode(const struct drover_frame *f, struct drover_error *e)
{
	uint8_t head[DROVER_FRAME_LEN];
	struct drover_frame back;

	drover_err_clear(e);
	drover_frame_encode(f, head);
	return drover_frame_decode(head, &back, e);
}

/* Refused for the reason given, and the caller's frame is left alone. */
static bool refused(const struct drover_frame *f, int r, const char *needle)
{
	struct drover_error e = DROVER_ERROR_INIT;
	uint8_t head[DROVER_FRAME_LEN];
	struct drover_frame back = { .seq = 77 };

	drover_frame_encode(f, head);
	return drover_frame_decode(head, &back, &e) == r && e.code == r && strstr(e.msg, needle) &&
	       back.seq == 77;
}

static bool flips_refused(const struct drover_frame *f)
{
	uint8_t head[DROVER_FRAME_LEN];
	struct drover_frame back;
	unsigned int bit;

	drover_frame_encode(f, head);
	for (bit = 0; bit < 8 * DROVER_FRAME_LEN; bit++) {
		struct drover_error e = DROVER_ERROR_INIT;

		head[bit / 8] ^= (uint8_t)(1 << bit % 8);
		if (drover_frame_decode(head, &back, &e) != -EBADMSG || !e.msg[0])
			return false;
		head[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	return drover_frame_decode(head, &back, NULL) == 0;
}

static bool row_is_sound(const struct drover_msg_info *table, size_t n, size_t i)
{
	const struct drover_msg_info *m = &table[i];
	size_t j;

	for (j = 0; j < i; j++)
		if (table[j].nr == m->nr || !strcmp(table[j].name, m->name))
			return false;
	return n && m->min_body <= m->max_body && m->max_body <= DROVER_BODY_MAX && m->doc[0] &&
	       m->from && !(m->from & ~3) && m->channels && !(m->channels & ~7) &&
	       drover_msg_info(m->nr) == m;
}

static bool lengths_bounded(const struct drover_msg_info *m)
{
	struct drover_frame f = typical(m);
	struct drover_error e = DROVER_ERROR_INIT;

	if (decode(&f, &e))
		return false;
	f.body_len = m->max_body;
	if (decode(&f, &e))
		return false;
	f.body_len = m->max_body + 1;
	if (!refused(&f, -EBADMSG, m->name))
		return false;
	f.body_len = m->min_body - 1;   /* wraps for 0 */
	if (!refused(&f, -EBADMSG, "body of"))
		return false;
	f.body_len = m->min_body;
	f.payload_len = m->max_payload + 1;
	if (!refused(&f, -EBADMSG, "payload of"))
		return false;
	f.payload_len = UINT64_MAX;
	return refused(&f, -EBADMSG, "payload of");
}

static void test_table(void)
{
	bool sound = true, flips = true, lengths = true, trips = true;
	const struct drover_msg_info *table;
	size_t i, n;

	table = drover_msg_table(&n);
	for (i = 0; i < n; i++) {
		struct drover_frame f = typical(&table[i]), back;
		uint8_t head[DROVER_FRAME_LEN];

		sound = sound && row_is_sound(table, n, i);
		flips = flips && flips_refused(&f);
		lengths = lengths && lengths_bounded(&table[i]);
		drover_frame_encode(&f, head);
		trips = trips && !drover_frame_decode(head, &back, NULL) && same(&f, &back);
	}
	tap_ok(sound, "every row is sound and unique, and found by number");
	tap_ok(trips, "a header of each message goes round");
	tap_ok(flips, "each flipped bit of each header is refused");
	tap_ok(lengths, "body and payload at the bounds of each row, and past them");
}

static void test_fields(void)
{
	const struct drover_msg_info *pages = drover_msg_info(DROVER_MSG_PAGES);
	struct drover_frame f = typical(pages), back;
	struct drover_error e = DROVER_ERROR_INIT;
	uint8_t head[DROVER_FRAME_LEN];

	f.channel = DROVER_FRAME_CHANNEL_MAX;
	tap_ok(!decode(&f, &e), "channel at its bound");
	f.channel++;
	tap_ok(refused(&f, -EBADMSG, "channel"), "channel past its bound");
	f = typical(pages);
	f.flags = 1;
	tap_ok(refused(&f, -EBADMSG, "flags"), "a flag that nobody knows");
	f = typical(pages);
	f.type = 0;
	tap_ok(refused(&f, -EBADMSG, "type 0"), "type 0");
	f.type = 29;
	tap_ok(refused(&f, -EBADMSG, "type 29"), "the type after the last");
	f.type = UINT16_MAX;
	tap_ok(refused(&f, -EBADMSG, "type 65535"), "the largest type");
	f = typical(pages);
	f.version = DROVER_WIRE_MAJOR << 8 | 255;
	tap_ok(!decode(&f, &e), "a later minor version");
	f.version = (DROVER_WIRE_MAJOR + 1) << 8;
	tap_ok(refused(&f, -EPROTONOSUPPORT, "version 2.0"), "a later major version");
	f.version = 0xff;
	tap_ok(refused(&f, -EPROTONOSUPPORT, "version 0.255"), "an earlier major version");
	f = typical(pages);
	f.seq = UINT32_MAX;
	drover_frame_encode(&f, head);
	tap_ok(!drover_frame_decode(head, &back, &e) && same(&f, &back),
	       "the last sequence number");
}

/* Changes a byte and makes the checksum right again: a peer that lies. */
static bool lie_refused(unsigned int at, const char *needle)
{
	struct drover_frame f = typical(drover_msg_info(DROVER_MSG_PING)), back;
	struct drover_error e = DROVER_ERROR_INIT;
	uint8_t head[DROVER_FRAME_LEN];
	uint32_t sum;

	drover_frame_encode(&f, head);
	head[at] ^= 0x80;
	sum = (uint32_t)XXH3_64bits(head, 36);
	memcpy(head + 36, &sum, 4);
	return drover_frame_decode(head, &back, &e) == -EBADMSG && strstr(e.msg, needle);
}

static bool layout_is_as_documented(void)
{
	static const uint8_t want[36] = {
		'D', 'R', 'V', 'R', 0x00, 0x01, 22, 0, 0, 0, 7, 0, 4, 3, 2, 1, 8, 0, 0, 0,
	};
	struct drover_frame f = typical(drover_msg_info(DROVER_MSG_PING));
	uint8_t head[DROVER_FRAME_LEN];

	drover_frame_encode(&f, head);
	return !memcmp(head, want, sizeof(want));
}

static void test_allowed(void)
{
	const struct drover_msg_info *table;
	bool agrees = true;
	size_t i, n;

	table = drover_msg_table(&n);
	for (i = 0; i < n; i++) {
		unsigned int source, kind;

		for (source = 0; source < 2; source++)
			for (kind = DROVER_ON_M; kind <= DROVER_ON_P; kind <<= 1) {
				struct drover_error e = DROVER_ERROR_INIT;
				bool may = (table[i].from & (source ? 1 : 2)) &&
					   (table[i].channels & kind);
				int r = drover_wire_allowed(&table[i], source, kind, &e);

				agrees = agrees && r == (may ? 0 : -EBADMSG) &&
					 (may || strstr(e.msg, table[i].name));
			}
	}
	tap_ok(agrees, "direction and channel of each message are enforced");
	tap_ok(drover_wire_allowed(NULL, true, DROVER_ON_M, NULL) == -EBADMSG,
	       "no row, no message");
	tap_ok(!drover_wire_allowed(drover_msg_info(DROVER_MSG_HELLO), true, DROVER_ON_M, NULL) &&
	       drover_wire_allowed(drover_msg_info(DROVER_MSG_HELLO), false, DROVER_ON_M, NULL) &&
	       drover_wire_allowed(drover_msg_info(DROVER_MSG_HELLO), true, DROVER_ON_D, NULL),
	       "HELLO comes from the source on main only");
	tap_ok(!drover_wire_allowed(drover_msg_info(DROVER_MSG_ATTACH), true, DROVER_ON_D, NULL) &&
	       drover_wire_allowed(drover_msg_info(DROVER_MSG_ATTACH), true, DROVER_ON_M, NULL) &&
	       drover_wire_allowed(drover_msg_info(DROVER_MSG_ATTACH_ACK), true, DROVER_ON_D, NULL),
	       "ATTACH never comes on main, its answer never from the source");
}

int main(void)
{
	test_table();
	test_fields();
	tap_ok(lie_refused(0, "magic") && lie_refused(3, "magic"), "another magic");
	tap_ok(lie_refused(20, "reserved") && lie_refused(23, "reserved"), "first reserved field");
	tap_ok(lie_refused(32, "reserved") && lie_refused(35, "reserved"), "second reserved field");
	tap_ok(layout_is_as_documented(), "bytes lie as wire.h says");
	tap_ok(!drover_msg_info(0) && !drover_msg_info(UINT16_MAX), "no row for an unknown number");
	test_allowed();
	return tap_done();
}
