// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * An in-doubt session on the source: COMMIT was sent, or may have been, and its answer
 * never came. The guest stays paused until the destination has said who owns it, or an
 * operator has (settle --force). The source asks for ever: a new droverd over there will
 * answer from its VMM's record. The answer also tells whether it was a postcopy, since the
 * droverd that began the session may be another.
 */
#include "engine/source/settle.h"

#include <errno.h>

#include "base/cancel.h"
#include "base/clock.h"
#include "channel/channel.h"
#include "engine/source/source.h"
#include "guest/ops.h"
#include "peer/send.h"

#define ASK_MS 5000
#define RETRY_MS 500

static int ask(struct drover_source *s, struct drover_link *l, struct drover_msg_owner *ret,
	       struct drover_error *e)
{
	struct drover_frame f;
	int r;

	drover_link_then(l, DROVER_MSG_OWNER_QUERY, DROVER_PHASE_ASKING);
	r = peer_send_token(&s->peer, l, DROVER_MSG_OWNER_QUERY, e);
	if (r < 0)
		return r;
	r = drover_link_poll(l, drover_deadline_ms(ASK_MS));
	if (r <= 0)
		return drover_err(e, r ? r : -ETIMEDOUT, "settle: no answer to OWNER_QUERY");
	r = drover_expect(l, DROVER_MSG_OWNER, &f, e);
	if (r == DROVER_CHANNEL_E_EOF)
		return drover_err(e, -ECONNRESET, "settle: the destination closed the connection");
	if (r >= 0)
		r = drover_body_owner(l, f.body_len, ret, e);
	if (r < 0)
		return drover_err_prefix(e, "settle: "), r;
	if (!peer_is_session(&s->peer, ret->token))
		return drover_err(e, -EBADMSG, "settle: the answer is about another session");
	return 0;
}

/* One try over a connection of its own. */
static int query(struct drover_source *s, uint32_t *ret_answer, struct drover_error *e)
{
	struct drover_channel_opts o = {
		.cancel = &s->m->cancel,
		.deadline = drover_deadline_ms(ASK_MS),
		.stall_ms = ASK_MS,
		.fd = -1,
		.log = s->m->log,
	};
	const struct drover_address *a = drover_channel_list_main(s->m->channels);
	struct drover_msg_owner answer;
	struct drover_channel *ch;
	struct drover_link *l;
	int r;

	if (!(drover_address_offers(a) & DROVER_TRANSPORT_RECONNECT))
		return drover_err(e, -EOPNOTSUPP,
				  "settle: this transport can't be connected again; use settle --force");
	r = drover_channel_connect(a, &o, &ch, e);
	if (r < 0)
		return r;
	r = drover_link_new(ch, true, &l, e);
	if (r < 0) {
		drover_channel_free(ch);
		return r;
	}
	r = ask(s, l, &answer, e);
	if (r >= 0)
		*ret_answer = answer.answer;
	if (r >= 0 && answer.answer == DROVER_OWNER_UNKNOWN)
		r = drover_err(e, -ENOENT, "settle: the destination knows nothing of this session");
	drover_link_free(l);
	return r;
}

bool source_done_there(struct drover_source *s)
{
	struct drover_error e = DROVER_ERROR_INIT;
	uint32_t answer;

	return query(s, &answer, &e) >= 0 && answer == DROVER_OWNER_COMMITTED;
}

/* What the answer, or the operator's word where there is none, asks of the VMM. */
static int record(struct drover_source *s, uint32_t answer, enum settle_word w,
		  struct drover_error *e)
{
	if (w == SETTLE_OWN)
		return source_request(s, OWNER_EV_TAKE, e);
	if (w == SETTLE_RELEASE)
		return source_give(s, OWNER_BY_HAND, e);
	if (answer == DROVER_OWNER_NOT_COMMITTED)
		return source_request(s, OWNER_EV_BACK, e);
	return source_postcopying(s) || answer == DROVER_OWNER_INCOMPLETE ?
	       source_request(s, OWNER_EV_SERVE, e) : source_give(s, OWNER_BY_ANSWER, e);
}

/* The record says so already. True: it is serving */
static bool decided(struct drover_source *s)
{
	struct drover_event ev = { .type = DROVER_EVENT_SETTLED };
	struct drover_migration *m = s->m;
	struct owner_record rec = { .state = OWNER_RELEASED };

	m->guest->ops->owner_known(m->guest, &rec);
	ev.owned = rec.state == OWNER_OWNED;
	drover_order_word_done(m);
	if (m->sink.event)
		m->sink.event(m->sink.opaque, &ev);
	atomic_store(&m->facts.in_doubt, false);
	/* In postcopy the guest is there and its memory is not: that stays paused. */
	if (rec.state == OWNER_SERVING)
		return true;
	if (!ev.owned) {
		drover_state_set(m, DROVER_STATE_POSTCOPY_PAUSED, DROVER_STATE_COMPLETED);
		return false;
	}
	drover_state_set(m, DROVER_STATE_POSTCOPY_PAUSED, DROVER_STATE_FAILING);
	if (rec.running)
		drover_send_event(m, DROVER_EVENT_RESUME);
	drover_state_set(m, DROVER_STATE_FAILING, DROVER_STATE_FAILED);
	return false;
}

/* The VMM does not answer: a new link is told what its record says, and that is followed. */
static void lost(struct drover_source *s, const struct drover_error *e)
{
	struct drover_migration *m = s->m;

	drover_replace_error(m, e);
	atomic_store(&m->facts.in_doubt, false);
	drover_state_set(m, DROVER_STATE_POSTCOPY_PAUSED, DROVER_STATE_FAILING);
	drover_state_set(m, DROVER_STATE_FAILING, DROVER_STATE_FAILED);
}

/* One question; the operator's word counts where nobody has answered. 1: ask again */
static int settle_once(struct drover_source *s, struct drover_error *e)
{
	struct drover_migration *m = s->m;
	enum settle_word w = SETTLE_NONE;
	uint32_t answer = DROVER_OWNER_UNKNOWN;
	struct owner_record rec = { .state = OWNER_IN_DOUBT };
	int r = 0;

	m->guest->ops->owner_known(m->guest, &rec);
	if (m->guest->ops->status(m->guest) == DROVER_GUEST_GONE)
		return drover_err(e, -ENOTCONN, "in doubt: the guest's VMM is gone, or does not answer; its record decides");
	/* A kept copy's source is not asked: it asks. */
	if (rec.state == OWNER_INCOMING || rec.state == OWNER_FENCED)
		r = drover_err(e, -ENOENT, "a copy is kept here until its source has spoken");
	else
		r = query(s, &answer, e);
	if (r < 0) {
		drover_err_prefix(e, "in doubt: ");
		drover_replace_error(m, e);
		w = drover_order_word(m, RETRY_MS);
		if (w == SETTLE_NONE)
			return 1;
	}
	drover_err_clear(e);
	r = record(s, answer, w, e);
	if (r >= 0)
		return 0;
	if (s->handover.unknown)
		return r;
	/* Own by force waits: COMMIT may still be in time over there. */
	drover_err_prefix(e, "in doubt: ");
	drover_replace_error(m, e);
	drover_wait_fd(-1, 0, &m->cancel, drover_deadline_ms(RETRY_MS));
	return 1;
}

bool source_settle(struct drover_source *s)
{
	struct drover_migration *m = s->m;
	int r = 1;

	atomic_store(&m->facts.in_doubt, true);
	if (drover_state_get(m) != DROVER_STATE_POSTCOPY_PAUSED)
		drover_state_set(m, drover_state_get(m), DROVER_STATE_POSTCOPY_PAUSED);
	while (r > 0 && !drover_cancelled(&m->cancel)) {
		struct drover_error e = DROVER_ERROR_INIT;

		r = settle_once(s, &e);
		if (r < 0)
			lost(s, &e);
	}
	return r == 0 && decided(s);
}
