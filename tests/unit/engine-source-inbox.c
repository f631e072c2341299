// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the destination says on the main channel, message by message: what each does, when it is
 * refused, and what the source answers. Recorded messages, a channel in memory.
 */
#include "source-kit.h"

static const uint64_t sizes[] = { 256, 128 };

static struct kit *fresh(enum source_mode mode)
{
	struct kit *k = kit_new(sizes, 2);

	source_enter(&k->s, mode);
	inbox_init(&k->s.inbox, true);
	return k;
}

static void feed_round_ack(struct kit *k, uint32_t round)
{
	struct drover_msg_round m = { .round = round };
	uint8_t body[32];

	kit_feed(&k->main, DROVER_MSG_ROUND_ACK, body,
		 drover_round_ack_encode(&m, body, sizeof(body)));
}

static void feed_status(struct kit *k, enum drover_msg_type type, uint32_t status, const char *text)
{
	struct drover_msg_status m = {
		.status = status, .text = text, .text_len = (uint32_t)strlen(text),
	};
	uint8_t body[256];

	kit_feed(&k->main, type, body, drover_status_encode(&m, body, sizeof(body)));
}

static void feed_token(struct kit *k, enum drover_msg_type type)
{
	struct drover_msg_token m = { { 1 } };
	uint8_t body[DROVER_TOKEN_LEN];

	kit_feed(&k->main, type, body, drover_token_encode(&m, body, sizeof(body)));
}

static void feed_request(struct kit *k, uint32_t block, uint64_t page)
{
	struct drover_msg_page_req m = { .block = block, .page = page };
	uint8_t body[32];

	kit_feed(&k->main, DROVER_MSG_PAGE_REQ, body,
		 drover_page_req_encode(&m, body, sizeof(body)));
}

static void feed_runs(struct kit *k, enum drover_msg_type type, uint32_t block, uint64_t page,
		      uint64_t n, bool last)
{
	struct drover_run run = { page, n };
	struct drover_msg_runs m = {
		.block = block, .n = n ? 1 : 0, .run = &run,
		.flags = last ? DROVER_RUNS_LAST : 0,
	};
	uint8_t body[64];

	kit_feed(&k->main, type, body, drover_runs_encode(&m, body, sizeof(body)));
}

/* What a poll makes of what was fed to a source of its own. */
#define POLL(k, e) (drover_err_clear(e), source_poll(&(k)->s, (e)))

static void test_rounds(void)
{
	struct kit *k = fresh(SOURCE_PRECOPY);
	struct drover_error e = DROVER_ERROR_INIT;

	tap_ok(POLL(k, &e) == 0, "nothing there, nothing done");
	tap_ok(inbox_next_round(&k->s.inbox) == 1 && inbox_next_round(&k->s.inbox) == 2 &&
	       !inbox_placed(&k->s.inbox), "two rounds are sent");
	feed_round_ack(k, 1);
	tap_ok(POLL(k, &e) == 0 && !inbox_placed(&k->s.inbox), "ROUND_ACK(1): the second is out");
	feed_round_ack(k, 2);
	tap_ok(source_wait_round(&k->s, &e) == 0 && inbox_placed(&k->s.inbox),
	       "ROUND_ACK(2): all is placed");
	feed_round_ack(k, 3);
	tap_ok(POLL(k, &e) == -EBADMSG && strstr(e.msg, "ROUND_ACK(3) in round 2"),
	       "a round that was not sent: %s", e.msg);
	kit_free(k);
}

static void test_ping(void)
{
	struct kit *k = fresh(SOURCE_PRECOPY);
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_msg_ping m;
	struct drover_frame f;
	const uint8_t *body;
	uint8_t out[16];

	tap_ok(source_ping(&k->s, &e) == 0 && kit_sent(&k->main, &f, &body) == DROVER_MSG_PING,
	       "PING is sent");
	drover_ping_decode(body, f.body_len, &m, &e);
	tap_ok(m.nonce == k->s.inbox.ping_ns, "with its time");
	source_ping(&k->s, &e);
	tap_ok(!kit_sent(&k->main, &f, &body), "and not again at once");
	m.nonce++;
	kit_feed(&k->main, DROVER_MSG_PONG, out, drover_ping_encode(&m, out, sizeof(out)));
	tap_ok(POLL(k, &e) == 0 && !k->s.inbox.pong_ns, "the PONG of another is none");
	m.nonce--;
	kit_feed(&k->main, DROVER_MSG_PONG, out, drover_ping_encode(&m, out, sizeof(out)));
	tap_ok(POLL(k, &e) == 0 && k->s.inbox.pong_ns >= k->s.inbox.ping_ns, "ours is");
	kit_free(k);
}

static void test_switchover_ack(void)
{
	struct kit *k = fresh(SOURCE_PRECOPY);
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_frame f;
	const uint8_t *body;

	kit_feed(&k->main, DROVER_MSG_SWITCHOVER_ACK, NULL, 0);
	tap_ok(POLL(k, &e) == -EBADMSG, "SWITCHOVER_ACK that nobody asked for: %s", e.msg);
	drover_err_clear(&e);
	tap_ok(source_ask_switchover(&k->s, &e) == 0 &&
	       kit_sent(&k->main, &f, &body) == DROVER_MSG_SWITCHOVER_REQ, "it is asked for");
	tap_ok(source_ask_switchover(&k->s, &e) == 0 && !kit_sent(&k->main, &f, &body), "once");
	kit_feed(&k->main, DROVER_MSG_SWITCHOVER_ACK, NULL, 0);
	tap_ok(POLL(k, &e) == 0 && source_ask_switchover(&k->s, &e) == 1,
	       "then the guest may be stopped");
	kit_free(k);
}

static void test_failures(void)
{
	struct kit *k = fresh(SOURCE_PRECOPY);
	struct drover_error e = DROVER_ERROR_INIT, ch = DROVER_ERROR_INIT;

	feed_status(k, DROVER_MSG_FAIL, 5, "no room");
	tap_ok(POLL(k, &e) == -EREMOTEIO && !strcmp(e.msg, "destination: no room"), "FAIL: %s", e.msg);
	feed_token(k, DROVER_MSG_PAUSED);
	tap_ok(POLL(k, &e) == -ECONNABORTED, "PAUSED: %s", e.msg);
	feed_token(k, DROVER_MSG_COMMIT_ACK);
	tap_ok(POLL(k, &e) == -EBADMSG && strstr(e.msg, "COMMIT_ACK: not now"),
	       "what nobody waits for: %s", e.msg);
	kit_feed(&k->main, DROVER_MSG_ROUND_ACK, "xxxxxxxxxxxxxxxxxxxx", 20);
	tap_ok(POLL(k, &e) < 0 && strstr(e.msg, "ROUND_ACK"), "a body that is none: %s", e.msg);
	kit_free(k);

	k = fresh(SOURCE_PRECOPY);
	drover_err(&ch, -EPIPE, "channel data/0: broken");
	feed_status(k, DROVER_MSG_FAIL, 5, "my disk is gone");
	drover_err_clear(&e);
	tap_ok(source_why(&k->s, &ch, &e) == -EREMOTEIO && strstr(e.msg, "my disk"),
	       "a channel broke, and the destination says why: %s", e.msg);
	k->main.closed = true;
	kit_readable(k->main.link->ch, true);
	drover_err_clear(&e);
	tap_ok(source_why(&k->s, &ch, &e) == -EPIPE && strstr(e.msg, "data/0"),
	       "or it doesn't: %s", e.msg);
	tap_ok(POLL(k, &e) == -ECONNRESET, "a closed main channel: %s", e.msg);
	kit_free(k);
}

static void test_wait(void)
{
	struct kit *k = fresh(SOURCE_PRECOPY);
	struct drover_error e = DROVER_ERROR_INIT;
	size_t len = 0;

	inbox_next_round(&k->s.inbox);
	feed_round_ack(k, 1);
	feed_status(k, DROVER_MSG_STATE_ACK, 0, "");
	tap_ok(source_wait(&k->s, DROVER_MSG_STATE_ACK, &len, &e) == 0 && len &&
	       inbox_placed(&k->s.inbox), "what is waited for, and on the way what may come");
	feed_token(k, DROVER_MSG_COMMIT_ACK);
	tap_ok(source_wait(&k->s, DROVER_MSG_DIGEST_ACK, &len, &e) == -EBADMSG,
	       "another message is an error: %s", e.msg);
	kit_free(k);
}

static void test_requests(void)
{
	struct kit *k = fresh(SOURCE_PRECOPY);
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_msg_pages m;
	struct drover_frame f;
	const uint8_t *body;

	feed_request(k, 0, 7);
	tap_ok(POLL(k, &e) == -EBADMSG && strstr(e.msg, "not in postcopy"),
	       "PAGE_REQ before postcopy: %s", e.msg);
	kit_free(k);

	k = fresh(SOURCE_POSTCOPY);
	memory_forget(&k->s.mem);
	work_count_left(&k->s.work);
	kit_fill(k, 1, 7, 0x77);
	feed_request(k, 1, 7);
	tap_ok(POLL(k, &e) == 0 && kit_sent(&k->main, &f, &body) == DROVER_MSG_PAGES,
	       "PAGE_REQ is answered");
	tap_ok(f.payload_len == DROVER_PAGE_SIZE && body[f.body_len] == 0x77 &&
	       drover_pages_decode(body, f.body_len, f.payload_len, &m, &e) == 0 && m.block == 1,
	       "with the page");
	tap_ok(k->s.work.left == 383 && k->s.work.block == 1 && k->s.meter.raw == 1,
	       "which is not left to the push, and moves it");
	feed_request(k, 1, 7);
	tap_ok(POLL(k, &e) == 0 && !kit_sent(&k->main, &f, &body), "once");
	feed_request(k, 1, 128);
	tap_ok(POLL(k, &e) == -EBADMSG && strstr(e.msg, "no such page"), "a page too far: %s", e.msg);
	feed_request(k, 9, 0);
	tap_ok(POLL(k, &e) == -EBADMSG, "a block that there is not: %s", e.msg);
	k->s.mem.block[0].skip = true;
	feed_request(k, 0, 0);
	tap_ok(POLL(k, &e) == -EBADMSG, "a block that is never sent: %s", e.msg);
	kit_free(k);
}

static void test_release(void)
{
	struct kit *k = fresh(SOURCE_POSTCOPY);
	struct drover_error e = DROVER_ERROR_INIT;

	kit_fill(k, 0, 3, 1);
	kit_fill(k, 0, 4, 1);
	drover_bit_set(k->s.mem.block[0].dirty, 4);
	feed_runs(k, DROVER_MSG_RELEASE, 0, 3, 1, false);
	tap_ok(POLL(k, &e) == -EBADMSG, "RELEASE without release-ram: %s", e.msg);
	k->config.release_ram = true;
	feed_runs(k, DROVER_MSG_RELEASE, 0, 3, 1, false);
	tap_ok(POLL(k, &e) == 0 && k->ram.block[0].host[3 * DROVER_PAGE_SIZE] == 0,
	       "what was sent is freed");
	feed_runs(k, DROVER_MSG_RELEASE, 0, 3, 2, false);
	tap_ok(POLL(k, &e) == -EBADMSG && k->ram.block[0].host[4 * DROVER_PAGE_SIZE] == 1,
	       "what was not is kept: %s", e.msg);
	feed_runs(k, DROVER_MSG_RELEASE, 0, 255, 2, false);
	tap_ok(POLL(k, &e) == -EBADMSG, "pages past the end: %s", e.msg);
	kit_free(k);
}

static void test_recover(void)
{
	struct kit *k = fresh(SOURCE_POSTCOPY);
	struct drover_error e = DROVER_ERROR_INIT;

	feed_runs(k, DROVER_MSG_RECOVER, 0, 10, 100, false);
	feed_runs(k, DROVER_MSG_RECOVER, 1, 0, 128, true);
	tap_ok(source_read_recover(&k->s, drover_deadline_ms(1000), &e) == 0 &&
	       memory_dirty(&k->s.mem) == 156 && !drover_bit_test(k->s.mem.block[0].dirty, 10) &&
	       drover_bit_test(k->s.mem.block[0].dirty, 110), "RECOVER: the rest is to be sent");
	feed_runs(k, DROVER_MSG_RECOVER, 1, 127, 2, true);
	tap_ok(source_read_recover(&k->s, drover_deadline_ms(1000), &e) == -EBADMSG,
	       "pages past the end: %s", e.msg);
	drover_err_clear(&e);
	feed_runs(k, DROVER_MSG_RECOVER, 5, 0, 1, true);
	tap_ok(source_read_recover(&k->s, drover_deadline_ms(1000), &e) == -EBADMSG,
	       "a block that there is not: %s", e.msg);
	drover_err_clear(&e);
	feed_token(k, DROVER_MSG_COMMIT_ACK);
	tap_ok(source_read_recover(&k->s, drover_deadline_ms(1000), &e) == -EBADMSG,
	       "another message: %s", e.msg);
	drover_err_clear(&e);
	tap_ok(source_read_recover(&k->s, drover_now_ns(), &e) == -ETIMEDOUT, "none: %s", e.msg);
	kit_free(k);
}

/* What goes out of runs: RANGES is the data, merged or not; DISCARD is what is dirty. */
static void test_ranges(void)
{
	struct kit *k = fresh(SOURCE_PRECOPY);
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_msg_runs m;
	struct drover_frame f;
	const uint8_t *body;

	drover_bitmap_clear_range(k->s.mem.block[0].data_map, 100, 50);
	tap_ok(source_send_ranges(&k->s, &e) == 0 && memory_dirty(&k->s.mem) == 256 - 50 + 128,
	       "what holds data is dirty first");
	tap_ok(kit_sent(&k->main, &f, &body) == DROVER_MSG_RANGES &&
	       drover_runs_decode(body, f.body_len, &m, &e) == 0 && m.n == 2 && !m.flags,
	       "RANGES names it");
	kit_sent(&k->main, &f, &body);
	tap_ok(kit_sent(&k->main, &f, &body) == DROVER_MSG_RANGES &&
	       drover_runs_decode(body, f.body_len, &m, &e) == 0 && m.flags == DROVER_RUNS_LAST,
	       "and ends");
	drover_bitmap_clear_range(k->s.mem.block[0].dirty, 0, 256);
	tap_ok(source_send_discard(&k->s, &e) == 0 && source_send_discard_last(&k->s, &e) == 0 &&
	       kit_sent(&k->main, &f, &body) == DROVER_MSG_DISCARD, "DISCARD is sent");
	tap_ok(drover_runs_decode(body, f.body_len, &m, &e) == 0 && m.block == 1 && m.n == 1 &&
	       drover_msg_run_at(&m, 0).npages == 128, "of what is dirty");
	kit_free(k);
}

int main(void)
{
	test_rounds();
	test_ping();
	test_switchover_ack();
	test_failures();
	test_wait();
	test_requests();
	test_release();
	test_recover();
	test_ranges();
	return tap_done();
}
