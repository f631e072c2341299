// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What comes back to the source on the main channel. Only the source's own thread reads it.
 * A message that may come at any time is handled as it comes; any other is an error unless
 * somebody waits for it.
 */
#include "engine/source/inbox.h"

#include <errno.h>

#include "base/clock.h"
#include "channel/channel.h"
#include "engine/source/source.h"
#include "peer/send.h"

#define PING_NS (DROVER_NS_PER_S)
#define RTT_PROBES 5
#define RTT_PAUSE_MS 1
#define RTT_FAR_US 5000
#define WHY_MS 500
/* How long one look at the main channel takes, between looks at all the rest. */
#define LOOK_MS 100
#define LOOK_ROUND_MS 50

void inbox_init(struct inbox *in, bool switchover_ack)
{
	in->may_switch = !switchover_ack;
}

void inbox_restart(struct inbox *in)
{
	in->round = in->acked_round = 0;
	in->ping_ns = in->pong_ns = 0;
}

uint32_t inbox_next_round(struct inbox *in)
{
	return ++in->round;
}

bool inbox_placed(const struct inbox *in)
{
	return in->acked_round >= in->round;
}

static int take_pong(struct drover_source *s, size_t len, struct drover_error *e)
{
	struct drover_msg_ping ping;
	int r = drover_body_ping(s->peer.main, len, &ping, e);

	if (r < 0)
		return r;
	if (ping.nonce == s->inbox.ping_ns)
		s->inbox.pong_ns = drover_now_ns();
	/* Nothing else may come while all who wait have been served. */
	if (source_postcopying(s))
		drover_progress(s->m, drover_now_ns());
	return 0;
}

static int take_round_ack(struct drover_source *s, size_t len, struct drover_error *e)
{
	struct drover_msg_round round;
	int r = drover_body_round_ack(s->peer.main, len, &round, e);

	if (r < 0)
		return r;
	if (round.round > s->inbox.round)
		return drover_err(e, -EBADMSG, "channel main: ROUND_ACK(%u) in round %u",
				  round.round, s->inbox.round);
	s->inbox.acked_round = round.round;
	drover_progress(s->m, drover_now_ns());
	return 0;
}

static int take_switchover_ack(struct drover_source *s, struct drover_error *e)
{
	if (!s->inbox.asked)
		return drover_err(e, -EBADMSG, "channel main: message SWITCHOVER_ACK: nobody asked");
	s->inbox.may_switch = true;
	return 0;
}

/* A message that may come at any time; 1 when it was none of these. */
static int handle(struct drover_source *s, const struct drover_frame *f, struct drover_error *e)
{
	switch (f->type) {
	case DROVER_MSG_FAIL:
		return drover_peer_failed(s->peer.main, f->body_len, e);
	case DROVER_MSG_PONG:
		return take_pong(s, f->body_len, e);
	case DROVER_MSG_ROUND_ACK:
		return take_round_ack(s, f->body_len, e);
	case DROVER_MSG_PAGE_REQ:
		return urgent_request(s, s->peer.main, f->body_len, e);
	case DROVER_MSG_RELEASE:
		return source_release(s, f->body_len, e);
	case DROVER_MSG_PAUSED:
		return drover_err(e, -ECONNABORTED, "the destination has paused the migration");
	case DROVER_MSG_SWITCHOVER_ACK:
		return take_switchover_ack(s, e);
	default:
		return 1;
	}
}

/* 0: nothing more; 1: a message that somebody waits for, in *f; < 0: failed */
static int receive(struct drover_source *s, uint64_t deadline, struct drover_frame *f,
		   struct drover_error *e)
{
	struct drover_link *l = s->peer.main;
	int r = drover_link_poll(l, deadline);

	if (r == 0)
		return 0;
	if (r < 0)
		return drover_err(e, r, "channel main: %s", drover_strerror(r));
	r = drover_link_recv(l, f, e);
	if (r == DROVER_CHANNEL_E_EOF)
		return drover_err(e, -ECONNRESET, "channel main: the destination (%s) closed it",
				  drover_channel_peer(l->ch));
	return r < 0 ? r : handle(s, f, e);
}

/* The same where nobody waits for anything. */
static int receive_any(struct drover_source *s, uint64_t deadline, struct drover_error *e)
{
	struct drover_frame f;
	int r = receive(s, deadline, &f, e);

	if (r == 1)
		return drover_err(e, -EBADMSG, "channel main: message %s: not now",
				  s->peer.main->info->name);
	return r;
}

int source_poll(struct drover_source *s, struct drover_error *e)
{
	int r = 0;

	if (source_one_way(s))
		return 0;
	while ((r = drover_link_poll(s->peer.main, drover_now_ns())) > 0) {
		r = receive_any(s, drover_now_ns(), e);
		if (r < 0)
			return r;
	}
	return r < 0 ? drover_err(e, r, "channel main: %s", drover_strerror(r)) : 0;
}

int source_wait_round(struct drover_source *s, struct drover_error *e)
{
	uint64_t before = UINT64_MAX, unsent;
	int r = 0;

	while (!source_one_way(s) && !inbox_placed(&s->inbox) && r >= 0) {
		r = receive_any(s, drover_deadline_ms(LOOK_ROUND_MS), e);
		peer_traffic(&s->peer, &unsent);
		if (unsent < before)
			drover_progress(s->m, drover_now_ns());
		before = unsent;
		source_tick(s);
		if (r >= 0)
			r = drover_check_stall(s->m, e);
	}
	return r;
}

int source_why(struct drover_source *s, const struct drover_error *channel, struct drover_error *e)
{
	uint64_t deadline = drover_deadline_ms(WHY_MS);
	struct drover_error said = DROVER_ERROR_INIT;
	struct drover_frame f;
	int r = 0;

	while (!source_one_way(s) && channel->code != -ECANCELED && r >= 0 &&
	       drover_now_ns() < deadline)
		r = receive(s, deadline, &f, &said);
	if (r == -EREMOTEIO)
		return drover_err(e, r, "%s", said.msg);
	return drover_err(e, channel->code, "%s", channel->msg);
}

int source_ping(struct drover_source *s, struct drover_error *e)
{
	struct drover_msg_ping m = { .nonce = drover_now_ns() };

	if (source_one_way(s) || m.nonce - s->inbox.ping_ns < PING_NS)
		return 0;
	s->inbox.ping_ns = m.nonce;
	return drover_send_ping(s->peer.main, DROVER_MSG_PING, &m, e);
}

int source_wait(struct drover_source *s, enum drover_msg_type type, size_t *ret_len,
		struct drover_error *e)
{
	const char *name = drover_msg_info(type)->name;
	struct drover_frame f;
	int r;

	drover_progress(s->m, drover_now_ns());
	for (;;) {
		r = receive(s, drover_deadline_ms(LOOK_MS), &f, e);
		if (r < 0)
			return r;
		if (r == 1 && f.type != type)
			return drover_err(e, -EBADMSG, "channel main: message %s while waiting for %s",
					  s->peer.main->info->name, name);
		if (r == 1) {
			*ret_len = f.body_len;
			return 0;
		}
		r = drover_check_stall(s->m, e);
		if (r < 0)
			return drover_err_prefix(e, "waiting for %s: ", name), r;
	}
}

/* Until the answer is there; nothing else is sent on main meanwhile. */
static int probe(struct drover_source *s, uint64_t *ret_us, struct drover_error *e)
{
	int r;

	s->inbox.ping_ns = s->inbox.pong_ns = 0;
	r = source_ping(s, e);
	while (r >= 0 && !s->inbox.pong_ns) {
		r = receive_any(s, drover_deadline_ms(LOOK_MS), e);
		if (r >= 0)
			r = drover_check_stall(s->m, e);
	}
	if (r < 0)
		return r;
	*ret_us = (s->inbox.pong_ns - s->inbox.ping_ns) / 1000;
	return 0;
}

/*
 * The mean of some, with pauses between them: when the guest stops, both sides have to be
 * woken up for each message, too. One is enough where the way is what takes the time.
 */
int source_measure_rtt(struct drover_source *s, struct drover_error *e)
{
	uint64_t sum = 0, us = 0;
	unsigned int n = 0;
	int r;

	while (!source_one_way(s) && n < RTT_PROBES && us < RTT_FAR_US) {
		r = drover_wait_fd(-1, 0, &s->m->cancel, drover_deadline_ms(RTT_PAUSE_MS));
		if (r == -ECANCELED)
			return drover_err(e, r, "migration: cancelled");
		r = probe(s, &us, e);
		if (r < 0)
			return r;
		sum += us;
		n++;
	}
	meter_rtt(&s->meter, n ? sum / n : 0);
	DROVER_STAT(s->m, rtt_us, s->meter.rtt_us);
	return 0;
}

int source_ask_switchover(struct drover_source *s, struct drover_error *e)
{
	if (s->inbox.may_switch)
		return 1;
	if (s->inbox.asked)
		return 0;
	s->inbox.asked = true;
	return drover_send_bare(s->peer.main, DROVER_MSG_SWITCHOVER_REQ, e);
}
