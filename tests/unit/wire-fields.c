// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Each field of each body at its bound and past it. A case takes the typical sample of
 * wire-kit.h, writes one field, and says whether the decoder still takes it; a refusal
 * must name the field. What passes must also be what the encoder makes.
 */
#include <endian.h>
#include <stdint.h>

#include "tap.h"
#include "wire-kit.h"

#define OK NULL

struct rule_case {
	const char *what;
	uint16_t nr;
	uint32_t at;            /* offset in the body */
	uint8_t width;          /* bytes */
	uint64_t value;
	const char *needle;     /* part of the refusal, or OK */
};

#define HI UINT64_MAX
#define PAGES_END DROVER_WIRE_PAGES_MAX

static const struct rule_case cases[] = {
	/* HELLO: fixed part, then "ram0" at 64 and "pc.bios" at 92, config from 123 */
	{ "version_min 0", DROVER_MSG_HELLO, 0, 2, 0, "versions" },
	{ "version_min = max", DROVER_MSG_HELLO, 0, 2, 0x100, OK },
	{ "version_min > max", DROVER_MSG_HELLO, 0, 2, 0x101, "versions" },
	{ "version_max later", DROVER_MSG_HELLO, 2, 2, 0xffff, OK },
	{ "all flags", DROVER_MSG_HELLO, 4, 4, 7, OK },
	{ "fourth flag", DROVER_MSG_HELLO, 4, 4, 10, "flags" },
	{ "top flag", DROVER_MSG_HELLO, 4, 4, 0x80000002, "flags" },
	{ "uuid not flagged", DROVER_MSG_HELLO, 4, 4, 0, "uuid" },
	{ "features of a later peer", DROVER_MSG_HELLO, 8, 8, HI, OK },
	{ "no blocks", DROVER_MSG_HELLO, 48, 4, 0, "blocks: 0" },
	{ "a block less", DROVER_MSG_HELLO, 48, 4, 1, "config" },
	{ "a block more", DROVER_MSG_HELLO, 48, 4, 3, "block 2" },
	{ "256 blocks", DROVER_MSG_HELLO, 48, 4, 256, "block 2" },
	{ "257 blocks", DROVER_MSG_HELLO, 48, 4, 257, "blocks: 257" },
	{ "2^32 - 1 blocks", DROVER_MSG_HELLO, 48, 4, UINT32_MAX, "blocks: 4294967295" },
	{ "config a byte longer", DROVER_MSG_HELLO, 52, 4, 17, "config: 17" },
	{ "config a byte shorter", DROVER_MSG_HELLO, 52, 4, 15, "config: 15" },
	{ "config 2^32 - 1", DROVER_MSG_HELLO, 52, 4, UINT32_MAX, "config" },
	{ "reserved", DROVER_MSG_HELLO, 56, 8, 1, "reserved" },
	{ "gpa elsewhere", DROVER_MSG_HELLO, 64, 8, 0x1000, OK },
	{ "gpa off by one", DROVER_MSG_HELLO, 64, 8, 1, "block ram0" },
	{ "gpa right below the other", DROVER_MSG_HELLO, 64, 8, 0xfffc0000 - (1ull << 30), OK },
	{ "gpa one page into the other", DROVER_MSG_HELLO, 64, 8, 0xfffc1000 - (1ull << 30),
	  "overlaps" },
	{ "gpa right above the other", DROVER_MSG_HELLO, 64, 8, 1ull << 32, OK },
	{ "gpa one page below that", DROVER_MSG_HELLO, 64, 8, (1ull << 32) - 0x1000, "overlaps" },
	{ "gpa + size = 2^64", DROVER_MSG_HELLO, 64, 8, 0 - (1ull << 30), OK },
	{ "gpa + size past 2^64", DROVER_MSG_HELLO, 64, 8, 0x1000 - (1ull << 30), "2^64" },
	{ "gpa of the other", DROVER_MSG_HELLO, 64, 8, 0xfffc0000, "overlaps" },
	{ "size of a page", DROVER_MSG_HELLO, 72, 8, 4096, OK },
	{ "size 0", DROVER_MSG_HELLO, 72, 8, 0, "whole pages" },
	{ "size 1", DROVER_MSG_HELLO, 72, 8, 1, "whole pages" },
	{ "size up to the other", DROVER_MSG_HELLO, 72, 8, 0xfffc0000, OK },
	{ "size into the other", DROVER_MSG_HELLO, 72, 8, 0xfffc1000, "overlaps" },
	{ "size 2^64 - 4096", DROVER_MSG_HELLO, 72, 8, 0 - 4096ull, "overlaps" },
	{ "second size past 2^64", DROVER_MSG_HELLO, 100, 8, 0 - 4096ull, "2^64" },
	{ "shared flag", DROVER_MSG_HELLO, 80, 4, 1, OK },
	{ "unknown block flag", DROVER_MSG_HELLO, 80, 4, 2, "block: flags" },
	{ "name of 0", DROVER_MSG_HELLO, 84, 2, 0, "block 0: name of 0" },
	{ "name of 64", DROVER_MSG_HELLO, 84, 2, 64, "block 0: name of 64" },
	{ "name of 65535", DROVER_MSG_HELLO, 84, 2, 65535, "block 0: name of 65535" },
	{ "last name past the end", DROVER_MSG_HELLO, 112, 2, 63, "only" },
	{ "block reserved", DROVER_MSG_HELLO, 86, 2, 1, "reserved" },
	{ "NUL in a name", DROVER_MSG_HELLO, 89, 1, 0, "NUL" },
	{ "space in a name", DROVER_MSG_HELLO, 89, 1, ' ', "0x20" },
	{ "slash in a name", DROVER_MSG_HELLO, 89, 1, '/', OK },
	{ "high byte in a name", DROVER_MSG_HELLO, 89, 1, 0xe4, "0xe4" },
	{ "NUL in the config", DROVER_MSG_HELLO, 130, 1, 0, "config: byte 0x00" },
	{ "bad UTF-8 in the config", DROVER_MSG_HELLO, 130, 1, 0xff, "config: byte 0xff" },
	{ "escape in the config", DROVER_MSG_HELLO, 130, 1, 0x1b, "config: byte 0x1b" },
	/* HELLO_ACK */
	{ "refused", DROVER_MSG_HELLO_ACK, 0, 4, 1, OK },
	{ "status 2", DROVER_MSG_HELLO_ACK, 0, 4, 2, "status" },
	{ "accepted without version", DROVER_MSG_HELLO_ACK, 4, 2, 0, "version" },
	{ "reserved", DROVER_MSG_HELLO_ACK, 6, 2, 0x8000, "reserved" },
	{ "text", DROVER_MSG_HELLO_ACK, 16, 1, 0x7f, "text" },
	/* ATTACH */
	{ "type 0", DROVER_MSG_ATTACH, 16, 2, 0, "type" },
	{ "type 3", DROVER_MSG_ATTACH, 16, 2, 3, "type" },
	{ "postcopy with index 1", DROVER_MSG_ATTACH, 16, 2, 2, OK },
	{ "postcopy with index 16", DROVER_MSG_ATTACH, 16, 4, 0x00100002, "index" },
	{ "index 254", DROVER_MSG_ATTACH, 18, 2, 254, OK },
	{ "index 255", DROVER_MSG_ATTACH, 18, 2, 255, "index" },
	/* status */
	{ "errno 4095", DROVER_MSG_FAIL, 0, 4, 4095, OK },
	{ "errno 4096", DROVER_MSG_FAIL, 0, 4, 4096, "status" },
	{ "a negative errno", DROVER_MSG_FAIL, 0, 4, (uint32_t)-5, "status" },
	{ "newline in the text", DROVER_MSG_FAIL, 5, 1, '\n', OK },
	{ "carriage return in the text", DROVER_MSG_FAIL, 5, 1, '\r', "text" },
	/* runs: { 0, 1 }, { 2, 10 }, { 100, 5 } from 8 */
	{ "block 255", DROVER_MSG_RANGES, 0, 4, 255, OK },
	{ "block 256", DROVER_MSG_RANGES, 0, 4, 256, "block" },
	{ "not the last", DROVER_MSG_RANGES, 4, 4, 0, OK },
	{ "unknown flag", DROVER_MSG_RANGES, 4, 4, 2, "flags" },
	{ "no pages", DROVER_MSG_RANGES, 16, 8, 0, "run 0: no pages" },
	{ "touches the next", DROVER_MSG_RANGES, 16, 8, 2, "run 1" },
	{ "overlaps the next", DROVER_MSG_RANGES, 16, 8, 3, "run 1" },
	{ "second first", DROVER_MSG_RANGES, 24, 8, 0, "run 1" },
	{ "second right before the third", DROVER_MSG_RANGES, 24, 8, 89, OK },
	{ "second touches the third", DROVER_MSG_RANGES, 24, 8, 90, "run 2" },
	{ "last page there can be", DROVER_MSG_RANGES, 48, 8, PAGES_END - 100, OK },
	{ "one page more", DROVER_MSG_RANGES, 48, 8, PAGES_END - 99, "run 2" },
	{ "2^64 - 1 pages", DROVER_MSG_RANGES, 48, 8, HI, "run 2" },
	{ "page 2^52 - 5", DROVER_MSG_RANGES, 40, 8, PAGES_END - 5, OK },
	{ "page 2^52 - 4", DROVER_MSG_RANGES, 40, 8, PAGES_END - 4, "run 2" },
	{ "page 2^52", DROVER_MSG_RANGES, 40, 8, PAGES_END, "run 2" },
	{ "page + npages = 2^64", DROVER_MSG_RANGES, 40, 8, HI - 4, "run 2" },
	/* PAGES: { 0, 2, raw, 8192 }, { 2, 1000, zero }, { 5000, 4, zstd, 777 } from 12 */
	{ "block 255", DROVER_MSG_PAGES, 0, 4, 255, OK },
	{ "block 256", DROVER_MSG_PAGES, 0, 4, 256, "block" },
	{ "any round", DROVER_MSG_PAGES, 4, 4, UINT32_MAX, OK },
	{ "no runs", DROVER_MSG_PAGES, 8, 4, 0, "runs: 0" },
	{ "a run less", DROVER_MSG_PAGES, 8, 4, 2, "runs: 2" },
	{ "a run more", DROVER_MSG_PAGES, 8, 4, 4, "runs: 4" },
	{ "2^32 - 1 runs", DROVER_MSG_PAGES, 8, 4, UINT32_MAX, "runs" },
	{ "raw run overlaps the next", DROVER_MSG_PAGES, 12, 8, 1, "run 1" },
	{ "raw without pages", DROVER_MSG_PAGES, 20, 4, 0, "run 0: no pages" },
	{ "raw with a page less", DROVER_MSG_PAGES, 20, 4, 1, "must be 4096" },
	{ "raw with half a page", DROVER_MSG_PAGES, 24, 4, 6144, "must be 8192" },
	{ "raw without payload", DROVER_MSG_PAGES, 24, 4, 0, "must be 8192" },
	{ "kind unknown", DROVER_MSG_PAGES, 28, 2, 6, "kind 6" },
	{ "reserved", DROVER_MSG_PAGES, 30, 2, 1, "reserved" },
	{ "zeros to the next run", DROVER_MSG_PAGES, 40, 4, 4998, OK },
	{ "zeros into the next run", DROVER_MSG_PAGES, 40, 4, 4999, "run 2" },
	{ "zeros with payload", DROVER_MSG_PAGES, 44, 4, 4096, "zeros" },
	{ "zeros made raw", DROVER_MSG_PAGES, 48, 2, 0, "payload" },
	{ "last page at its bound", DROVER_MSG_PAGES, 52, 8, PAGES_END - 4, OK },
	{ "last page past it", DROVER_MSG_PAGES, 52, 8, PAGES_END - 3, "run 2" },
	{ "packed 4096 pages", DROVER_MSG_PAGES, 60, 4, 4096, OK },
	{ "packed 4097 pages", DROVER_MSG_PAGES, 60, 4, 4097, "at most 4096" },
	{ "packed, no payload", DROVER_MSG_PAGES, 64, 4, 0, "payload" },
	{ "packed, a byte more than the frame has", DROVER_MSG_PAGES, 64, 4, 778, "payload" },
	{ "packed, larger than raw", DROVER_MSG_PAGES, 64, 4, 16385, "16384" },
	{ "packed, 2^32 - 1 bytes", DROVER_MSG_PAGES, 64, 4, UINT32_MAX, "16384" },
	{ "lz4", DROVER_MSG_PAGES, 68, 2, DROVER_PAGES_LZ4, OK },
	/* rounds */
	{ "not final", DROVER_MSG_ROUND_END, 4, 4, 0, OK },
	{ "unknown flag", DROVER_MSG_ROUND_END, 4, 4, 2, "flags" },
	{ "unknown flag", DROVER_MSG_ROUND_ACK, 4, 4, 3, "flags" },
	{ "any bytes", DROVER_MSG_ROUND_ACK, 8, 8, HI, OK },
	/* STATE: 1000 bytes */
	{ "any version", DROVER_MSG_STATE, 0, 4, UINT32_MAX, OK },
	{ "unknown flag", DROVER_MSG_STATE, 4, 4, 2, "flags" },
	{ "total 2^63 - 1", DROVER_MSG_STATE, 8, 8, INT64_MAX, OK },
	{ "total 2^63", DROVER_MSG_STATE, 8, 8, 1ull << 63, "total" },
	{ "off = total", DROVER_MSG_STATE, 16, 8, 1000, OK },
	{ "off past total", DROVER_MSG_STATE, 16, 8, 1001, "off" },
	{ "NUL in the name", DROVER_MSG_STATE, 25, 1, 0, "NUL" },
	{ "newline in the name", DROVER_MSG_STATE, 25, 1, '\n', "0x0a" },
	/* DIGEST: n 2 */
	{ "block 256", DROVER_MSG_DIGEST, 0, 4, 256, "block" },
	{ "level 2", DROVER_MSG_DIGEST, 4, 2, 2, "level" },
	{ "not the last", DROVER_MSG_DIGEST, 6, 2, 0, OK },
	{ "unknown flag", DROVER_MSG_DIGEST, 6, 2, 2, "flags" },
	{ "first at its bound", DROVER_MSG_DIGEST, 8, 8, PAGES_END - 2, OK },
	{ "first past it", DROVER_MSG_DIGEST, 8, 8, PAGES_END - 1, "digests after first" },
	{ "first 2^64 - 1", DROVER_MSG_DIGEST, 8, 8, HI, "first" },
	{ "a digest less", DROVER_MSG_DIGEST, 16, 4, 1, "digests: 1" },
	{ "a digest more", DROVER_MSG_DIGEST, 16, 4, 3, "digests: 3" },
	{ "2^29 + 2 digests", DROVER_MSG_DIGEST, 16, 4, (1u << 29) + 2, "digests" },
	{ "reserved", DROVER_MSG_DIGEST, 20, 4, 1, "reserved" },
	/* DIGEST_ACK: status 1, total 1000, items { 0, 7 }, { 0, 8 } from 24 */
	{ "equal, but 1000 differ", DROVER_MSG_DIGEST_ACK, 0, 4, 0, "total" },
	{ "status 2", DROVER_MSG_DIGEST_ACK, 0, 4, 2, "status" },
	{ "level 1", DROVER_MSG_DIGEST_ACK, 4, 2, 1, OK },
	{ "level 2", DROVER_MSG_DIGEST_ACK, 4, 2, 2, "level" },
	{ "reserved", DROVER_MSG_DIGEST_ACK, 6, 2, 1, "reserved" },
	{ "total 0", DROVER_MSG_DIGEST_ACK, 8, 8, 0, "total" },
	{ "total below the list", DROVER_MSG_DIGEST_ACK, 8, 8, 1, "items" },
	{ "total = the list", DROVER_MSG_DIGEST_ACK, 8, 8, 2, OK },
	{ "an item more", DROVER_MSG_DIGEST_ACK, 16, 4, 3, "items: 3" },
	{ "257 items", DROVER_MSG_DIGEST_ACK, 16, 4, 257, "items" },
	{ "reserved", DROVER_MSG_DIGEST_ACK, 20, 4, 1u << 31, "reserved" },
	{ "item's block 256", DROVER_MSG_DIGEST_ACK, 36, 4, 256, "block" },
	{ "item's index 2^52", DROVER_MSG_DIGEST_ACK, 40, 8, PAGES_END, "index" },
	{ "item twice", DROVER_MSG_DIGEST_ACK, 40, 8, 7, "out of order" },
	{ "items out of order", DROVER_MSG_DIGEST_ACK, 24, 4, 1, "out of order" },
	/* OWNER, PAGE_REQ */
	{ "answer 3", DROVER_MSG_OWNER, 16, 4, 3, OK },
	{ "answer 4", DROVER_MSG_OWNER, 16, 4, 4, "answer" },
	{ "text", DROVER_MSG_OWNER, 20, 1, 0xc3, "text" },
	{ "block 256", DROVER_MSG_PAGE_REQ, 0, 4, 256, "block" },
	{ "last page", DROVER_MSG_PAGE_REQ, 4, 8, PAGES_END - 1, OK },
	{ "page past it", DROVER_MSG_PAGE_REQ, 4, 8, PAGES_END, "page" },
};

static void run_case(const struct rule_case *c, uint8_t *body, uint8_t *out)
{
	struct drover_error e = DROVER_ERROR_INIT;
	uint64_t payload, value = htole64(c->value);
	int r, len = kit_sample(c->nr, KIT_TYPICAL, body, &payload);
	bool ok;

	if (len < 0 || c->at + c->width > (size_t)len)
		abort();
	memcpy(body + c->at, &value, c->width);
	r = kit_recode(c->nr, body, (size_t)len, payload, out, DROVER_BODY_MAX, &e);
	if (c->needle)
		ok = r == -EBADMSG && strstr(e.msg, c->needle);
	else
		ok = r == len && !memcmp(body, out, (size_t)len);
	tap_ok(ok, "%s: %s: %s", drover_msg_info(c->nr)->name, c->what, e.msg);
}

/* The token of each message that has one: all zeros is nobody's. */
static void test_tokens(uint8_t *body, uint8_t *out)
{
	static const struct {
		uint16_t nr;
		uint32_t at;
	} t[] = {
		{ DROVER_MSG_HELLO, 16 }, { DROVER_MSG_ATTACH, 0 }, { DROVER_MSG_COMMIT, 0 },
		{ DROVER_MSG_COMMIT_ACK, 0 }, { DROVER_MSG_RELEASED, 0 },
		{ DROVER_MSG_OWNER_QUERY, 0 }, { DROVER_MSG_OWNER, 0 }, { DROVER_MSG_PAUSED, 0 },
	};
	size_t i;

	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct drover_error e = DROVER_ERROR_INIT;
		uint64_t payload;
		int len = kit_sample(t[i].nr, KIT_TYPICAL, body, &payload);

		memset(body + t[i].at, 0, DROVER_TOKEN_LEN);
		tap_ok(kit_recode(t[i].nr, body, (size_t)len, payload, out, DROVER_BODY_MAX, &e) ==
		       -EBADMSG && strstr(e.msg, "token"), "%s: no token",
		       drover_msg_info(t[i].nr)->name);
	}
}

static void test_payload_sum(uint8_t *body)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_msg_pages m = { .block = 99 };
	uint64_t payload;
	size_t len = (size_t)kit_sample(DROVER_MSG_PAGES, KIT_TYPICAL, body, &payload);

	tap_ok(payload == 8969, "the runs' payload is summed");
	tap_ok(drover_pages_decode(body, len, payload - 1, &m, &e) == -EBADMSG &&
	       strstr(e.msg, "8969"), "a byte of payload too few");
	drover_err_clear(&e);
	tap_ok(drover_pages_decode(body, len, payload + 1, &m, &e) == -EBADMSG,
	       "a byte of payload too many");
	tap_ok(m.block == 99, "a refused message leaves the caller's alone");
	tap_ok(!drover_pages_decode(body, len, payload, &m, NULL) &&
	       drover_msg_page_run_at(&m, 2).payload == 777 &&
	       drover_msg_pages_payload(&m) == payload, "runs are read in place");
}

/* Limits of counts and sums that a body of the right length can't break: the encoder must. */
static void test_encoder_bounds(uint8_t *out)
{
	static struct drover_page_run page[DROVER_PAGE_RUNS_MAX + 1];
	static struct drover_run run[DROVER_RUNS_MAX + 1];
	struct drover_msg_pages pages = { .run = page, .n = DROVER_PAGE_RUNS_MAX + 1 };
	struct drover_msg_runs runs = { .run = run, .n = DROVER_RUNS_MAX + 1 };
	struct drover_msg_digest digest = { .flags = 0, .n = 0 };
	struct drover_msg_state state = { .name = "" };
	uint32_t i;

	for (i = 0; i <= DROVER_RUNS_MAX; i++)
		run[i] = (struct drover_run){ 2 * i, 1 };
	for (i = 0; i <= DROVER_PAGE_RUNS_MAX; i++)
		page[i] = (struct drover_page_run){ i, 1, DROVER_PAGES_ZERO, 0 };
	tap_ok(drover_runs_encode(&runs, out, DROVER_BODY_MAX) == -EINVAL, "4001 runs");
	tap_ok(drover_pages_encode(&pages, out, DROVER_BODY_MAX) == -EINVAL, "1025 page runs");
	pages.n--;
	tap_ok(drover_pages_encode(&pages, out, DROVER_BODY_MAX) == 20492, "1024 page runs");
	page[0] = (struct drover_page_run){ 0, 4096, DROVER_PAGES_RAW, 16777216 };
	pages.n = 1;
	tap_ok(drover_pages_encode(&pages, out, DROVER_BODY_MAX) == 32, "16 MiB of payload");
	page[1] = (struct drover_page_run){ 4096, 1, DROVER_PAGES_RAW, 4096 };
	pages.n = 2;
	tap_ok(drover_pages_encode(&pages, out, DROVER_BODY_MAX) == -EINVAL, "and a page more");
	tap_ok(drover_digest_encode(&digest, out, DROVER_BODY_MAX) == -EINVAL,
	       "no digest, not last");
	digest.n = 1;
	tap_ok(drover_digest_encode(&digest, out, DROVER_BODY_MAX) == -EINVAL,
	       "a digest from nowhere");
	digest.n = DROVER_DIGEST_MAX + 1;
	digest.raw = run;
	tap_ok(drover_digest_encode(&digest, out, DROVER_BODY_MAX) == -EINVAL, "8001 digests");
	tap_ok(drover_state_encode(&state, out, DROVER_BODY_MAX) == -EINVAL,
	       "a section without name");
	memset(state.name, 'x', sizeof(state.name));
	tap_ok(drover_state_encode(&state, out, DROVER_BODY_MAX) == -EINVAL, "a name without end");
}

static void test_hello_names(uint8_t *out)
{
	struct drover_msg_hello *m = calloc(1, sizeof(*m));

	if (!m)
		abort();
	m->version_min = m->version_max = 1;
	memcpy(m->token, kit_token, sizeof(m->token));
	kit_hello_blocks(m, 2);
	tap_ok(drover_hello_encode(m, out, DROVER_BODY_MAX) > 0, "two blocks");
	strcpy(m->block[1].name, m->block[0].name);
	tap_ok(drover_hello_encode(m, out, DROVER_BODY_MAX) == -EINVAL, "two of one name");
	memset(m->block[1].name, 'y', sizeof(m->block[1].name));
	tap_ok(drover_hello_encode(m, out, DROVER_BODY_MAX) == -EINVAL, "a name without end");
	free(m);
}

static bool text_becomes(const char *text, size_t n, const char *want)
{
	struct drover_msg_status m = { .status = 1, .text = text, .text_len = (uint32_t)n }, back;
	uint8_t body[DROVER_TEXT_MAX + 4];
	int len = drover_status_encode(&m, body, sizeof(body));

	return len > 0 && !drover_status_decode(body, (size_t)len, &back, NULL) &&
	       back.text_len == strlen(want) && !memcmp(back.text, want, back.text_len);
}

static void test_texts(void)
{
	static const char two[] = "\xc3\xa9";
	char *text = kit_text(4000), want[DROVER_TEXT_MAX + 1];
	size_t i;

	tap_ok(text_becomes("disk full\n\tat 3", 15, "disk full\n\tat 3"), "plain text stays");
	tap_ok(text_becomes("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x91", 14,
			    "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x91"), "UTF-8 stays");
	tap_ok(text_becomes("a\0b\x1b[2J\x7f\r", 9, "a?b?[2J??"), "control characters go");
	tap_ok(text_becomes("\xc2\x85\xc2\xa0", 4, "??\xc2\xa0"), "so do C1 controls");
	tap_ok(text_becomes("\xc0\xaf\xed\xa0\x80\xf4\x90\x80\x80\xff\xe2\x82", 12, "????????????"),
	       "overlong, surrogate, too large, cut short");
	tap_ok(text_becomes("\xe0\x82\xa0\xf0\x80\x82\xa0", 7, "???????"), "longer overlong ones");
	tap_ok(text_becomes(NULL, 0, ""), "no text");
	memset(want, 'x', DROVER_TEXT_MAX);
	want[DROVER_TEXT_MAX] = '\0';
	tap_ok(text_becomes(text, 4000, want), "a long text is cut");
	for (i = 0; i + 2 <= 4000; i += 2)
		memcpy(text + 1 + i, two, i + 3 < 4000 ? 2 : 1);
	want[0] = 'x';
	for (i = 0; i < 511; i++)
		memcpy(want + 1 + 2 * i, two, 2);
	want[1023] = '\0';
	tap_ok(text_becomes(text, 4000, want), "but not within a character");
	free(text);
}

static void test_pieces(void)
{
	struct drover_msg_state m = { .name = "s", .total = 100, .off = 40 };
	struct drover_msg_state big = { .name = "s", .total = 1ull << 40 };

	tap_ok(!drover_msg_state_piece(&m, 60, NULL) && !drover_msg_state_piece(&m, 1, NULL),
	       "a piece within its section");
	tap_ok(drover_msg_state_piece(&m, 61, NULL) == -EBADMSG, "a byte past its section");
	tap_ok(drover_msg_state_piece(&m, 0, NULL) == -EBADMSG, "an empty piece");
	m.flags = DROVER_STATE_LAST;
	tap_ok(!drover_msg_state_piece(&m, 60, NULL), "the last piece ends it");
	tap_ok(drover_msg_state_piece(&m, 59, NULL) == -EBADMSG, "the last piece is short");
	m.total = m.off = 0;
	tap_ok(!drover_msg_state_piece(&m, 0, NULL), "an empty section");
	tap_ok(!drover_msg_state_piece(&big, DROVER_STATE_PIECE_MAX, NULL) &&
	       drover_msg_state_piece(&big, DROVER_STATE_PIECE_MAX + 1, NULL) == -EBADMSG,
	       "the largest piece, and a byte more");
}

int main(void)
{
	uint8_t *body = malloc(DROVER_BODY_MAX), *out = malloc(DROVER_BODY_MAX);
	size_t i;

	if (!body || !out)
		abort();
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		run_case(&cases[i], body, out);
	test_tokens(body, out);
	test_payload_sum(body);
	test_encoder_bounds(out);
	test_hello_names(out);
	test_texts();
	test_pieces();
	free(body);
	free(out);
	return tap_done();
}
