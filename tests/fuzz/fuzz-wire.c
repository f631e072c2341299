// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Everything a peer can send: the input is a frame's header without its checksum, then a
 * body. What decodes must encode to the same bytes, what does not must say why, and no
 * header may promise more than its message's row.
 *
 * The checksum is computed here, since no mutation would find it; the magic is set half of
 * the time. A header that is refused still chooses the message its body is decoded as.
 */
#include <stdint.h>

#include "../unit/wire-kit.h"

#include <xxhash.h>

#define SUMMED 36u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int cond)
{
	if (!cond)
		__builtin_trap();
}

static void check_refusal(int r, const struct drover_error *e)
{
	must(r == -EBADMSG || r == -EPROTONOSUPPORT);
	must(e->code == r && e->msg[0] && strlen(e->msg) < sizeof(e->msg));
}

static void fuzz_head(const uint8_t *data, struct drover_frame *ret)
{
	struct drover_error e = DROVER_ERROR_INIT;
	uint8_t head[DROVER_FRAME_LEN], again[DROVER_FRAME_LEN];
	const struct drover_msg_info *info;
	uint32_t magic = DROVER_WIRE_MAGIC, sum;
	struct drover_frame f;
	int r;

	memcpy(head, data, SUMMED);
	if (data[20] & 1)
		memcpy(head, &magic, sizeof(magic));
	/* The lowest bit of a reserved field is spent on that choice. */
	head[20] &= 0xfe;
	sum = (uint32_t)XXH3_64bits(head, SUMMED);
	memcpy(head + SUMMED, &sum, sizeof(sum));
	r = drover_frame_decode(head, &f, &e);
	if (r) {
		check_refusal(r, &e);
		ret->type = (uint16_t)(head[6] % 32);
		memcpy(&ret->payload_len, head + 24, 8);
		return;
	}
	info = drover_msg_info(f.type);
	must(info && f.body_len >= info->min_body && f.body_len <= info->max_body &&
	     f.payload_len <= info->max_payload);
	drover_frame_encode(&f, again);
	must(!memcmp(head, again, sizeof(head)));
	*ret = f;
}

static void fuzz_body(const struct drover_frame *f, const uint8_t *body, size_t len)
{
	const struct drover_msg_info *info = drover_msg_info(f->type);
	struct drover_error e = DROVER_ERROR_INIT;
	uint8_t *out, *copy;
	int r;

	if (!info)
		return;
	/* Copies of the exact size: a byte read or written past the end is seen. */
	copy = malloc(len ? len : 1);
	out = malloc(len ? len : 1);
	must(copy && out);
	memcpy(copy, body, len);
	r = kit_recode(f->type, copy, len, f->payload_len, out, len, &e);
	if (r < 0) {
		if (info->max_body)
			check_refusal(r, &e);
	} else {
		must(r == (int)len && !memcmp(copy, out, len));
		must(len >= info->min_body && len <= info->max_body);
	}
	free(copy);
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct drover_frame f = { 0 }, raw;
	struct drover_error e = DROVER_ERROR_INIT;
	int r;

	if (size >= DROVER_FRAME_LEN) {
		r = drover_frame_decode(data, &raw, &e);
		if (r)
			check_refusal(r, &e);
	}
	if (size < SUMMED)
		return 0;
	fuzz_head(data, &f);
	fuzz_body(&f, data + SUMMED, size - SUMMED);
	return 0;
}
