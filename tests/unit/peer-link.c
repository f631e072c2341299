// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Links and typed messages, two ends of a socket pair: what is refused before a byte leaves,
 * what is refused when it comes, and what the texts say.
 */
#include "peer/send.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "channel/channel.h"
#include "tap.h"

/* Two ends; or one, and the bare socket at the other. */
struct pair {
	struct drover_link *src, *dst;
	int raw;
};

static struct drover_link *link_on(int fd, bool source)
{
	const struct drover_channel_opts o = { .fd = -1, .stall_ms = 5000 };
	struct drover_channel *ch = NULL;
	struct drover_link *l = NULL;

	if (drover_channel_from_fd(fd, source ? "src" : "dst", &o, &ch, NULL) < 0 ||
	    drover_link_new(ch, source, &l, NULL) < 0)
		abort();
	drover_channel_set_name(ch, source ? "src" : "dst");
	return l;
}

static struct pair pair_new(void)
{
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sv))
		abort();
	return (struct pair){ link_on(sv[0], true), link_on(sv[1], false), -1 };
}

/* The source's end is the test's own. */
static struct pair raw_new(void)
{
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sv))
		abort();
	return (struct pair){ NULL, link_on(sv[1], false), sv[0] };
}

static void pair_free(struct pair *p)
{
	drover_link_free(p->src);
	drover_link_free(p->dst);
	if (p->raw >= 0)
		close(p->raw);
}

static void go(struct drover_link *l, const enum drover_phase *way)
{
	for (; *way != DROVER_PHASE_COUNT; way++)
		if (drover_link_move(l, *way, NULL) < 0)
			abort();
}

static const enum drover_phase to_rounds[] = {
	DROVER_PHASE_OFFERING, DROVER_PHASE_OFFERED, DROVER_PHASE_ROUNDS, DROVER_PHASE_COUNT,
};
static const enum drover_phase to_serving[] = {
	DROVER_PHASE_RESUMING, DROVER_PHASE_RECOVERING, DROVER_PHASE_SERVING, DROVER_PHASE_COUNT,
};

static struct pair pair_at(const enum drover_phase *way)
{
	struct pair p = pair_new();

	go(p.src, way);
	go(p.dst, way);
	return p;
}

static enum drover_phase phase_of(const struct drover_link *l)
{
	enum drover_wire_mode mode;

	return drover_phase_get(l->phase, &mode);
}

/* Nothing has left: the other end has nothing to read, and no number was used up. */
static bool silent(struct pair *p)
{
	return drover_link_poll(p->dst, 1) == 0 && !p->src->tx_seq;
}

static void test_encode(void)
{
	const struct drover_msg_round round = { .flags = 0x80 };
	const struct drover_msg_attach attach = { .type = DROVER_ATTACH_DATA };
	const struct drover_msg_status status = { .status = DROVER_STATUS_MAX + 1, .text = "" };
	const struct drover_msg_state state = { .name = "no name!" };
	const uint8_t zero[DROVER_TOKEN_LEN] = { 0 };
	struct drover_error e = DROVER_ERROR_INIT;
	struct pair p = pair_at(to_rounds);

	tap_ok(drover_send_round_end(p.src, &round, &e) == -EINVAL &&
	       strstr(e.msg, "channel src: message ROUND_END: encode: "), "%s", e.msg);
	drover_err_clear(&e);
	tap_ok(drover_send_attach(p.src, &attach, &e) == -EINVAL && strstr(e.msg, "ATTACH"), "%s",
	       e.msg);
	drover_err_clear(&e);
	tap_ok(drover_send_status(p.src, DROVER_MSG_FAIL, &status, &e) == -EINVAL &&
	       strstr(e.msg, "FAIL"), "%s", e.msg);
	drover_err_clear(&e);
	tap_ok(drover_send_state(p.src, &state, "x", 1, &e) == -EINVAL && strstr(e.msg, "STATE"),
	       "%s", e.msg);
	drover_err_clear(&e);
	tap_ok(drover_link_send_token(p.src, DROVER_MSG_COMMIT, zero, &e) == -EINVAL &&
	       strstr(e.msg, "COMMIT"), "%s", e.msg);
	tap_ok(silent(&p), "of what can't be encoded nothing leaves");
	pair_free(&p);
}

static void test_expect(void)
{
	const struct drover_msg_round round = { .round = 7 };
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_msg_round got;
	struct drover_frame f;
	struct pair p = pair_at(to_rounds);

	tap_ok(!drover_send_round_end(p.src, &round, &e) &&
	       !drover_expect(p.dst, DROVER_MSG_ROUND_END, &f, &e) &&
	       !drover_body_round_end(p.dst, f.body_len, &got, &e) && got.round == 7,
	       "the message that is expected, and its body");
	drover_send_round_end(p.src, &round, NULL);
	tap_ok(drover_expect(p.dst, DROVER_MSG_PING, &f, &e) == -EBADMSG &&
	       !strcmp(e.msg, "channel dst: message ROUND_END: not now, PING was expected"), "%s",
	       e.msg);
	drover_err_clear(&e);
	tap_ok(drover_body_round_ack(p.dst, 3, &(struct drover_msg_round){ 0 }, &e) == -EBADMSG &&
	       strstr(e.msg, "channel dst: message ROUND_END: "), "a bad body: %s", e.msg);
	drover_err_clear(&e);
	drover_link_fail(p.src, -ENOSPC, "the disk is full");
	tap_ok(drover_expect(p.dst, DROVER_MSG_PING, &f, &e) == -EREMOTEIO &&
	       !strcmp(e.msg, "source: the disk is full"), "FAIL: %s", e.msg);
	drover_err_clear(&e);
	drover_link_fail(p.dst, -EIO, "nor\1mal");
	tap_ok(drover_expect(p.src, DROVER_MSG_ROUND_ACK, &f, &e) == -EREMOTEIO &&
	       !strcmp(e.msg, "destination: nor?mal"), "FAIL the other way: %s", e.msg);
	drover_err_clear(&e);
	p.src = drover_link_free(p.src);
	tap_ok(drover_expect(p.dst, DROVER_MSG_PING, &f, &e) == DROVER_CHANNEL_E_EOF && !e.code,
	       "the end is no error");
	pair_free(&p);
}

static void test_long_text(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct pair p = pair_at(to_rounds);
	char text[4 * DROVER_ERR_MAX];
	struct drover_frame f;
	int r;

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	drover_link_fail(p.src, -EIO, text);
	r = drover_expect(p.dst, DROVER_MSG_PING, &f, &e);
	tap_ok(r == -EREMOTEIO && strlen(e.msg) > 900 && !strncmp(e.msg, "source: xxx", 11),
	       "a text that is too long is cut, and told: %zu bytes", strlen(e.msg));
	pair_free(&p);
}

/* A frame with a number and a channel of its own. */
static void say(int fd, enum drover_msg_type type, uint32_t seq, uint16_t channel, uint64_t payload)
{
	const struct drover_frame f = {
		.version = DROVER_WIRE_VERSION,
		.type = (uint16_t)type,
		.seq = seq,
		.channel = channel,
		.body_len = drover_msg_info(type)->min_body,
		.payload_len = payload,
	};
	uint8_t buf[DROVER_FRAME_LEN + 256] = { 0 };
	size_t len = DROVER_FRAME_LEN + f.body_len;

	drover_frame_encode(&f, buf);
	if (write(fd, buf, len) != (ssize_t)len)
		abort();
}

static void test_raw(const char *what, enum drover_msg_type type, uint32_t seq, uint16_t channel,
		     const char *text)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct pair p = raw_new();
	struct drover_frame f;

	go(p.dst, to_rounds);
	say(p.raw, DROVER_MSG_PING, 0, 0, 0);
	say(p.raw, type, seq, channel, 0);
	tap_ok(!drover_link_recv(p.dst, &f, &e) &&
	       drover_link_recv(p.dst, &f, &e) == -EBADMSG && strstr(e.msg, text), "%s: %s", what,
	       e.msg);
	tap_ok(p.dst->asked[DROVER_ASK_PING] == 1, "and it does not count as a question");
	pair_free(&p);
}

static void test_payload(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct pair p = raw_new();
	struct drover_frame f;
	uint8_t buf[8];
	struct iovec iov = { buf, sizeof(buf) };

	go(p.dst, to_rounds);
	say(p.raw, DROVER_MSG_PAGES, 0, 0, 16);
	if (write(p.raw, "0123456789abcdef", 16) != 16)
		abort();
	say(p.raw, DROVER_MSG_PING, 1, 0, 0);
	tap_ok(!drover_link_recv(p.dst, &f, &e) && f.payload_len == 16 &&
	       !drover_link_payload(p.dst, &iov, 1, 8, &e) && !memcmp(buf, "01234567", 8),
	       "a payload may be taken in parts");
	tap_ok(drover_link_recv(p.dst, &f, &e) == -EBADMSG && strstr(e.msg, "unexpected payload"),
	       "the rest is not jumped over: %s", e.msg);
	drover_err_clear(&e);
	iov = (struct iovec){ buf, sizeof(buf) };
	tap_ok(drover_link_payload(p.dst, &iov, 1, 9, &e) == -EBADMSG &&
	       strstr(e.msg, "payload is too short"), "%s", e.msg);
	drover_err_clear(&e);
	iov = (struct iovec){ buf, sizeof(buf) };
	tap_ok(!drover_link_payload(p.dst, &iov, 1, 8, &e) && !memcmp(buf, "89abcdef", 8) &&
	       !drover_link_recv(p.dst, &f, &e) && f.type == DROVER_MSG_PING,
	       "taken whole, the next frame can be read");
	if (write(p.raw, "DRVR", 4) != 4)
		abort();
	shutdown(p.raw, SHUT_WR);
	tap_ok(drover_link_recv(p.dst, &f, &e) == -EPIPE, "%s", e.msg);
	pair_free(&p);
}

static void test_time(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	const struct drover_msg_page_req req = { .page = 1 };
	const struct drover_msg_ping ping = { .nonce = 1 };
	const struct drover_msg_round round = { .round = 1 };
	struct pair p = pair_at(to_rounds), raw = raw_new();
	struct drover_frame f;

	tap_ok(drover_send_page_req(p.dst, &req, &e) == -EBADMSG &&
	       strstr(e.msg, "channel dst: send: message PAGE_REQ: not in phase ROUNDS (two-way)") &&
	       !p.dst->tx_seq && !drover_link_poll(p.src, 1), "sent at a wrong time: %s", e.msg);
	drover_err_clear(&e);
	say(raw.raw, DROVER_MSG_PAGES, 0, 0, 0);
	tap_ok(drover_link_recv(raw.dst, &f, &e) == -EBADMSG &&
	       strstr(e.msg, "channel dst: message PAGES: not in phase GREETING"),
	       "received at a wrong time: %s", e.msg);
	drover_err_clear(&e);
	tap_ok(drover_send_ping(p.dst, DROVER_MSG_PONG, &ping, &e) == -EBADMSG &&
	       strstr(e.msg, "message PONG: nobody has asked"), "%s", e.msg);
	drover_err_clear(&e);
	tap_ok(drover_send_round_ack(p.dst, &round, &e) == -EBADMSG &&
	       strstr(e.msg, "message ROUND_ACK: nobody has asked"), "%s", e.msg);
	drover_err_clear(&e);
	tap_ok(!drover_send_ping(p.src, DROVER_MSG_PING, &ping, &e) &&
	       !drover_link_recv(p.dst, &f, &e) &&
	       !drover_send_ping(p.dst, DROVER_MSG_PONG, &ping, &e) &&
	       !drover_link_recv(p.src, &f, &e) && f.type == DROVER_MSG_PONG &&
	       !p.src->asked[DROVER_ASK_PING] && !p.dst->asked[DROVER_ASK_PING],
	       "who is asked may answer");
	tap_ok(drover_send_ping(p.dst, DROVER_MSG_PONG, &ping, &e) == -EBADMSG, "once: %s", e.msg);
	pair_free(&p);
	pair_free(&raw);
}

/* The peer may lie: an answer without a question is refused where it comes, too. */
static void test_unasked(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	const struct drover_msg_ping ping = { .nonce = 1 };
	struct pair p = pair_at(to_rounds);
	struct drover_frame f;

	p.dst->asked[DROVER_ASK_PING] = 1;
	tap_ok(!drover_send_ping(p.dst, DROVER_MSG_PONG, &ping, &e) &&
	       drover_link_recv(p.src, &f, &e) == -EBADMSG &&
	       !strcmp(e.msg, "channel src: message PONG: nobody has asked for it"), "%s", e.msg);
	pair_free(&p);
}

static void test_then(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	const struct drover_msg_ping ping = { .nonce = 1 };
	const struct drover_msg_round round = { .round = 1, .flags = DROVER_ROUND_FINAL };
	struct pair p = pair_at(to_rounds);

	drover_link_then(p.src, DROVER_MSG_ROUND_END, DROVER_PHASE_FINAL);
	tap_ok(!drover_send_ping(p.src, DROVER_MSG_PING, &ping, &e) &&
	       phase_of(p.src) == DROVER_PHASE_ROUNDS, "another message does not begin it");
	tap_ok(!drover_send_round_end(p.src, &round, &e) && phase_of(p.src) == DROVER_PHASE_FINAL,
	       "the phase begins with its message");
	drover_link_then(p.src, DROVER_MSG_ROUND_END, DROVER_PHASE_SERVING);
	tap_ok(drover_send_round_end(p.src, &round, &e) == -EPROTO && p.src->tx_seq == 2 &&
	       strstr(e.msg, "phase SERVING cannot follow FINAL"), "%s", e.msg);
	drover_err_clear(&e);
	tap_ok(drover_link_move(p.dst, DROVER_PHASE_PROVED, &e) == -EPROTO &&
	       !strcmp(e.msg, "channel dst: phase PROVED cannot follow ROUNDS (two-way)"), "%s", e.msg);
	drover_err_clear(&e);
	tap_ok(drover_link_one_way(p.dst, &e) == -EPROTO, "%s", e.msg);
	pair_free(&p);
}

static void test_join(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	const struct drover_msg_page_req req = { .page = 1 };
	struct pair main = pair_new(), p = pair_new();
	struct drover_frame f;

	tap_ok(!drover_link_may_join(main.dst), "not before the session is accepted");
	go(main.src, to_serving);
	go(main.dst, to_serving);
	tap_ok(drover_link_may_join(main.dst), "a postcopy channel may join while pages are served");
	drover_link_set(p.src, DROVER_ON_P, DROVER_FRAME_CHANNEL_POSTCOPY);
	drover_link_set(p.dst, DROVER_ON_P, DROVER_FRAME_CHANNEL_POSTCOPY);
	tap_ok(drover_send_page_req(p.dst, &req, NULL) == -EBADMSG, "alone it has no session");
	drover_link_join(p.src, main.src);
	drover_link_join(p.dst, main.dst);
	tap_ok(drover_link_send(p.src, DROVER_MSG_PAGES, "12345678901234567890123456789012", 32,
				NULL, 0, 0, &e) == -EBADMSG && strstr(e.msg, "nobody has asked"),
	       "on a postcopy channel nothing is pushed: %s", e.msg);
	tap_ok(!drover_send_page_req(p.dst, &req, NULL) && !drover_link_recv(p.src, &f, NULL) &&
	       !drover_link_send(p.src, DROVER_MSG_PAGES, "12345678901234567890123456789012", 32,
				 NULL, 0, 0, NULL) && !drover_link_recv(p.dst, &f, NULL),
	       "what is asked for is sent and taken");
	drover_link_move(main.src, DROVER_PHASE_DRAINING, NULL);
	drover_link_move(main.src, DROVER_PHASE_PROVED, NULL);
	drover_err_clear(&e);
	tap_ok(drover_link_send(p.src, DROVER_MSG_PAGES, "12345678901234567890123456789012", 32,
				NULL, 0, 0, &e) == -EBADMSG && strstr(e.msg, "phase PROVED"),
	       "the main channel's phase is its own: %s", e.msg);
	pair_free(&p);
	pair_free(&main);
}

int main(void)
{
	test_encode();
	test_expect();
	test_long_text();
	test_raw("a number twice", DROVER_MSG_PING, 0, 0, "message PING: sequence 0, expected 1");
	test_raw("a number left out", DROVER_MSG_PING, 2, 0, "message PING: sequence 2, expected 1");
	test_raw("another channel's", DROVER_MSG_PING, 1, 3, "it names channel 3");
	test_raw("the wrong side's", DROVER_MSG_PONG, 1, 0, "never comes from the source");
	test_payload();
	test_time();
	test_unasked();
	test_then();
	test_join();
	return tap_done();
}
