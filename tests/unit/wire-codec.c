// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Every message: goes round, fits its row exactly, and is refused (or is another well-formed
 * message) when cut at any length. Bodies lie in buffers of their exact size, so that the
 * address sanitizer sees a read past the end.
 */
#include <stdint.h>

#include "tap.h"
#include "wire-kit.h"

/* Messages whose last part has no length of its own: a cut may leave a shorter one. */
static bool open_ended(uint16_t nr)
{
	switch (nr) {
	case DROVER_MSG_RANGES:
	case DROVER_MSG_DISCARD:
	case DROVER_MSG_RELEASE:
	case DROVER_MSG_RECOVER:
	case DROVER_MSG_HELLO_ACK:
	case DROVER_MSG_ATTACH_ACK:
	case DROVER_MSG_STATE_ACK:
	case DROVER_MSG_FAIL:
	case DROVER_MSG_STATE:
	case DROVER_MSG_OWNER:
		return true;
	default:
		return false;
	}
}

/* Decode @len bytes of @body, copied to a buffer that ends right there. */
static int recode_exact(const struct drover_msg_info *info, const uint8_t *body, size_t len,
			uint64_t payload, uint8_t *out, struct drover_error *e)
{
	uint8_t *copy = malloc(len ? len : 1);
	int r;

	if (!copy)
		abort();
	memcpy(copy, body, len);
	r = kit_recode(info->nr, copy, len, payload, out, DROVER_BODY_MAX, e);
	free(copy);
	return r;
}

static bool cut_ok(const struct drover_msg_info *info, const uint8_t *body, size_t len,
		   uint64_t payload, uint8_t *out)
{
	struct drover_error e = DROVER_ERROR_INIT;
	int r = recode_exact(info, body, len, payload, out, &e);

	if (r == -EBADMSG)
		return e.msg[0] || !info->max_body;
	return open_ended(info->nr) && len >= info->min_body && r == (int)len &&
	       !memcmp(out, body, len);
}

static bool cuts_ok(const struct drover_msg_info *info, const uint8_t *body, size_t len,
		    uint64_t payload, uint8_t *out)
{
	/* Every length of the small ones; of a megabyte, both ends and some between. */
	size_t at, step = len > 4096 ? len / 64 : 1;

	for (at = 0; at < len; at += at < 128 || (len - at < 128 && len < 65536) ? 1 : step)
		if (!cut_ok(info, body, at, payload, out))
			return false;
	return true;
}

static bool grown_refused(const struct drover_msg_info *info, const uint8_t *body, size_t len,
			  uint64_t payload, uint8_t *out)
{
	uint8_t *more = malloc(len + 1);
	struct drover_error e = DROVER_ERROR_INIT;
	int r;

	if (!more)
		abort();
	memcpy(more, body, len);
	more[len] = 0;
	r = recode_exact(info, more, len + 1, payload, out, &e);
	free(more);
	return r == -EBADMSG;
}

/* A flipped bit makes a message that is refused or goes round: never one that changes. */
static bool flips_ok(const struct drover_msg_info *info, uint8_t *body, size_t len,
		     uint64_t payload, uint8_t *out)
{
	/* All of a small message; of a large one some of its head, each costs a pass over it. */
	size_t bit, end = 8 * len, step = 1;

	if (len > 4096) {
		end = 1024;
		step = 13;
	}
	for (bit = 0; bit < end; bit += step) {
		bool ok;
		int r;

		body[bit / 8] ^= (uint8_t)(1 << bit % 8);
		r = recode_exact(info, body, len, payload, out, NULL);
		ok = r == -EBADMSG || (r == (int)len && !memcmp(out, body, len));
		body[bit / 8] ^= (uint8_t)(1 << bit % 8);
		if (!ok)
			return false;
	}
	return true;
}

static bool caps_ok(const struct drover_msg_info *info, const uint8_t *body, size_t len,
		    uint64_t payload, uint8_t *out)
{
	size_t cap, step = len > 256 ? len / 8 : 1;

	for (cap = 0; cap < len; cap += step)
		if (kit_recode(info->nr, body, len, payload, out, cap, NULL) != -ENOBUFS)
			return false;
	return !len || kit_recode(info->nr, body, len, payload, out, len - 1, NULL) == -ENOBUFS;
}

static void test_message(const struct drover_msg_info *info, uint8_t *body, uint8_t *out)
{
	static const char *const name[] = { "small", "typical", "large" };
	int size;

	for (size = KIT_SMALL; size < KIT_SIZES; size++) {
		struct drover_error e = DROVER_ERROR_INIT;
		uint64_t payload;
		int len = kit_sample(info->nr, (enum kit_size)size, body, &payload), r;
		bool fits = size == KIT_SMALL ? len == (int)info->min_body :
			    size == KIT_LARGE ? len == (int)info->max_body :
			    len >= (int)info->min_body && len <= (int)info->max_body;

		if (!tap_ok(fits && payload <= info->max_payload,
			    "%s %s: %d bytes, as its row says", name[size], info->name, len))
			continue;
		r = recode_exact(info, body, (size_t)len, payload, out, &e);
		tap_ok(r == len && !memcmp(out, body, (size_t)len), "%s %s: goes round %s",
		       name[size], info->name, e.msg);
		tap_ok(cuts_ok(info, body, (size_t)len, payload, out), "%s %s: cut anywhere",
		       name[size], info->name);
		tap_ok(caps_ok(info, body, (size_t)len, payload, out), "%s %s: too small a buffer",
		       name[size], info->name);
		tap_ok(flips_ok(info, body, (size_t)len, payload, out), "%s %s: each bit flipped",
		       name[size], info->name);
		if (!open_ended(info->nr) || size == KIT_LARGE)
			tap_ok(grown_refused(info, body, (size_t)len, payload, out),
			       "%s %s: a byte too many", name[size], info->name);
	}
}

int main(void)
{
	uint8_t *body = malloc(DROVER_BODY_MAX), *out = malloc(DROVER_BODY_MAX);
	const struct drover_msg_info *table;
	size_t i, n;

	if (!body || !out)
		abort();
	table = drover_msg_table(&n);
	for (i = 0; i < n; i++)
		test_message(&table[i], body, out);
	free(body);
	free(out);
	return tap_done();
}
