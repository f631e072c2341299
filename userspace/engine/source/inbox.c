// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What comes back to the source on the main channel, and the clockwork of its thread:
 * liveness, rates, statistics. Only the source's own thread reads the main channel.
 */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "channel/channel.h"
#include "engine/source/source.h"

#define TICK_NS (100 * DROVER_NS_PER_MS)
#define PING_NS (DROVER_NS_PER_S)
#define RTT_PROBES 5
#define RTT_PAUSE_MS 1
#define RTT_FAR_US 5000
#define WHY_MS 500

uint64_t source_sent_bytes(const struct drover_source *s, uint64_t *ret_unsent)
{
	uint64_t sum = s->lost_bytes, unsent = 0;
	unsigned int i;

	for (i = 0; i <= s->ndata + s->nurgent; i++) {
		struct drover_link *l = !i ? s->main : i <= s->ndata ? s->data[i - 1] :
					s->urgent_link[i - 1 - s->ndata];

		if (!l)
			continue;
		sum += atomic_load(&drover_channel_stats(l->ch)->tx_bytes);
		unsent += drover_channel_unsent(l->ch);
	}
	if (ret_unsent)
		*ret_unsent = unsent;
	return sum;
}

static void tick_rates(struct drover_source *s, uint64_t now, uint64_t bytes, uint64_t pages)
{
	double dt = (double)(now - s->tick_ns) / 1e9;

	drover_stat_f64(&s->m->stats.mbps, (double)(bytes - s->tick_bytes) * 8 / dt / 1e6);
	DROVER_STAT(s->m, pages_per_second, (uint64_t)((double)(pages - s->tick_pages) / dt));
	s->tick_ns = now;
	s->tick_bytes = bytes;
	s->tick_pages = pages;
}

static void tick_zero_copy(struct drover_source *s)
{
	uint64_t sends = 0, copied = 0, data_bytes = 0;
	unsigned int i;

	for (i = 0; i < s->ndata; i++) {
		struct drover_channel_stats *st;

		if (!s->data[i])
			continue;
		st = drover_channel_stats(s->data[i]->ch);
		sends += atomic_load(&st->zc_sends);
		copied += atomic_load(&st->zc_copied);
		data_bytes += atomic_load(&st->tx_bytes);
	}
	DROVER_STAT(s->m, multifd_bytes, data_bytes);
	DROVER_STAT(s->m, zc_sends, sends);
	DROVER_STAT(s->m, dirty_sync_missed_zero_copy, copied);
}

void source_sent(struct drover_source *s, const struct page_batch *b)
{
	atomic_fetch_add_explicit(&s->normal, b->raw, memory_order_relaxed);
	atomic_fetch_add_explicit(&s->duplicate, b->zero, memory_order_relaxed);
}

void source_tick(struct drover_source *s)
{
	uint64_t now = drover_now_ns(), bytes = source_sent_bytes(s, NULL);
	uint64_t normal = atomic_load(&s->normal), dup = atomic_load(&s->duplicate);
	uint64_t taken = atomic_load(&s->work.taken);
	struct drover_migration *m = s->m;

	DROVER_STAT(m, transferred, bytes);
	DROVER_STAT(m, normal, normal);
	DROVER_STAT(m, normal_bytes, normal * DROVER_PAGE_SIZE);
	DROVER_STAT(m, duplicate, dup);
	DROVER_STAT(m, remaining, s->postcopy ? atomic_load(&s->work.left) * DROVER_PAGE_SIZE :
		    taken < s->dirty_pages ? (s->dirty_pages - taken) * DROVER_PAGE_SIZE : 0);
	if (s->handed_over)
		DROVER_STAT(m, postcopy_bytes, bytes - s->handed_over);
	else if (s->stop_ns)
		DROVER_STAT(m, downtime_bytes, bytes - drover_stat_get(&m->stats.precopy_bytes));
	else
		DROVER_STAT(m, precopy_bytes, bytes);
	DROVER_STAT(m, total_time, (now - m->started_ns) / DROVER_NS_PER_MS);
	tick_zero_copy(s);
	if (now - s->tick_ns >= TICK_NS)
		tick_rates(s, now, bytes, normal + dup);
}

static int peer_failed(struct drover_source *s, size_t len, struct drover_error *e)
{
	struct drover_msg_status m;
	int r;

	r = drover_status_decode(s->main->body, len, &m, e);
	if (r < 0)
		return drover_link_bad(s->main, e), r;
	return drover_err(e, -EREMOTEIO, "destination: %.*s", (int)m.text_len, m.text);
}

/* A message that may come at any time; 1 when it was none of these. */
static int handle(struct drover_source *s, const struct drover_frame *f, struct drover_error *e)
{
	struct drover_msg_ping ping;
	struct drover_msg_round round;
	int r;

	switch (f->type) {
	case DROVER_MSG_FAIL:
		return peer_failed(s, f->body_len, e);
	case DROVER_MSG_PONG:
		r = drover_ping_decode(s->main->body, f->body_len, &ping, e);
		if (r < 0)
			return drover_link_bad(s->main, e), r;
		if (ping.nonce == s->ping_ns)
			s->pong_ns = drover_now_ns();
		/* Nothing else may come while all who wait have been served. */
		if (s->postcopy)
			drover_progress(s->m, drover_now_ns());
		return 0;
	case DROVER_MSG_ROUND_ACK:
		r = drover_round_ack_decode(s->main->body, f->body_len, &round, e);
		if (r < 0)
			return drover_link_bad(s->main, e), r;
		if (round.round > s->round)
			return drover_err(e, -EBADMSG,
					  "channel main: ROUND_ACK(%u) in round %u", round.round,
					  s->round);
		s->acked_round = round.round;
		drover_progress(s->m, drover_now_ns());
		return 0;
	case DROVER_MSG_PAGE_REQ:
		return urgent_request(s, s->main, f->body_len, e);
	case DROVER_MSG_RELEASE:
		return source_release(s, f->body_len, e);
	case DROVER_MSG_PAUSED:
		return drover_err(e, -ECONNABORTED, "the destination has paused the migration");
	case DROVER_MSG_SWITCHOVER_ACK:
		if (!s->switchover_asked)
			return drover_err(e, -EBADMSG,
					  "channel main: message SWITCHOVER_ACK: nobody asked");
		s->switchover_ok = true;
		return 0;
	default:
		return 1;
	}
}

/* 0: nothing more; 1: a message that somebody waits for, in *f; < 0: failed */
static int receive(struct drover_source *s, uint64_t deadline, struct drover_frame *f,
		   struct drover_error *e)
{
	int r = drover_link_poll(s->main, deadline);

	if (r == 0)
		return 0;
	if (r < 0)
		return drover_err(e, r, "channel main: %s", drover_strerror(r));
	r = drover_link_recv(s->main, f, e);
	if (r == DROVER_CHANNEL_E_EOF)
		return drover_err(e, -ECONNRESET, "channel main: the destination (%s) closed it",
				  drover_channel_peer(s->main->ch));
	if (r < 0)
		return r;
	r = handle(s, f, e);
	return r;
}

int source_poll(struct drover_source *s, struct drover_error *e)
{
	struct drover_frame f;
	int r;

	if (s->one_way)
		return 0;
	while ((r = drover_link_poll(s->main, drover_now_ns())) > 0) {
		r = receive(s, drover_now_ns(), &f, e);
		if (r < 0)
			return r;
		if (r == 1)
			return drover_err(e, -EBADMSG, "channel main: message %s: not now",
					  s->main->info->name);
	}
	return r < 0 ? drover_err(e, r, "channel main: %s", drover_strerror(r)) : 0;
}

int source_wait_round(struct drover_source *s, struct drover_error *e)
{
	uint64_t before = UINT64_MAX, unsent;
	struct drover_frame f;
	int r = 0;

	while (!s->one_way && s->acked_round < s->round && r >= 0) {
		r = receive(s, drover_deadline_ms(50), &f, e);
		if (r == 1)
			return drover_err(e, -EBADMSG, "channel main: message %s: not now",
					  s->main->info->name);
		source_sent_bytes(s, &unsent);
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

	while (!s->one_way && channel->code != -ECANCELED && r >= 0 && drover_now_ns() < deadline)
		r = receive(s, deadline, &f, &said);
	if (r == -EREMOTEIO)
		return drover_err(e, r, "%s", said.msg);
	return drover_err(e, channel->code, "%s", channel->msg);
}

int source_ping(struct drover_source *s, struct drover_error *e)
{
	struct drover_msg_ping m;
	uint64_t now = drover_now_ns();
	uint8_t body[8];
	int n;

	if (s->one_way || now - s->ping_ns < PING_NS)
		return 0;
	s->ping_ns = now;
	m.nonce = now;
	n = drover_ping_encode(&m, body, sizeof(body));
	return drover_link_send(s->main, DROVER_MSG_PING, body, (size_t)n, NULL, 0, 0, e);
}

int source_wait(struct drover_source *s, enum drover_msg_type type, size_t *ret_len,
		struct drover_error *e)
{
	struct drover_frame f;
	int r;

	drover_progress(s->m, drover_now_ns());
	for (;;) {
		r = receive(s, drover_deadline_ms(100), &f, e);
		if (r < 0)
			return r;
		if (r == 1) {
			if (f.type != type)
				return drover_err(e, -EBADMSG,
						  "channel main: message %s while waiting for %s",
						  s->main->info->name, drover_msg_info(type)->name);
			*ret_len = f.body_len;
			return 0;
		}
		r = drover_check_stall(s->m, e);
		if (r < 0)
			return drover_err_prefix(e, "waiting for %s: ",
						 drover_msg_info(type)->name), r;
	}
}

/* Until the answer is there; the main channel is ours alone meanwhile. */
static int probe(struct drover_source *s, uint64_t *ret_us, struct drover_error *e)
{
	struct drover_frame f;
	int r;

	s->ping_ns = 0;
	s->pong_ns = 0;
	r = source_ping(s, e);
	while (r >= 0 && !s->pong_ns) {
		r = receive(s, drover_deadline_ms(100), &f, e);
		if (r == 1)
			return drover_err(e, -EBADMSG, "channel main: message %s: not now",
					  s->main->info->name);
		if (r >= 0)
			r = drover_check_stall(s->m, e);
	}
	if (r < 0)
		return r;
	*ret_us = (s->pong_ns - s->ping_ns) / 1000;
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

	while (!s->one_way && n < RTT_PROBES && us < RTT_FAR_US) {
		r = drover_wait_fd(-1, 0, &s->m->cancel, drover_deadline_ms(RTT_PAUSE_MS));
		if (r == -ECANCELED)
			return drover_err(e, r, "migration: cancelled");
		r = probe(s, &us, e);
		if (r < 0)
			return r;
		sum += us;
		n++;
	}
	s->rtt_us = n ? sum / n : 0;
	DROVER_STAT(s->m, rtt_us, s->rtt_us);
	return 0;
}
