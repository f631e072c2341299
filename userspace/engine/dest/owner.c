// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * OWNER_QUERY: a source asks who owns the guest of a session. The answer comes from the VMM's
 * record, which outlives this process, and from the sessions that ended here before COMMIT.
 * "Not committed" is a promise: the token is fenced first, so that a COMMIT that is still
 * under way somewhere will be refused. Called by listen.c, in the connection's thread.
 */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "engine/dest/dest.h"
#include "engine/dest/session.h"
#include "owner/sides.h"
#include "peer/send.h"

static enum drover_owner_answer wire_answer(enum owner_reply r)
{
	switch (r) {
	case OWNER_REPLY_COMMITTED:
		return DROVER_OWNER_COMMITTED;
	case OWNER_REPLY_INCOMPLETE:
		return DROVER_OWNER_INCOMPLETE;
	case OWNER_REPLY_NOT_COMMITTED:
		return DROVER_OWNER_NOT_COMMITTED;
	default:
		return DROVER_OWNER_UNKNOWN;
	}
}

static int unreadable(struct drover_error *e)
{
	return drover_err(e, -EAGAIN, "the destination's daemon cannot read its VMM's record now: ask again");
}

static enum drover_owner_answer decide(struct drover_dest *d, const uint8_t *token,
				       struct drover_error *e)
{
	struct drover_error fe = DROVER_ERROR_INIT;
	struct owner_answer a;
	struct owner_record rec;
	struct owner_token t;
	int r;

	memcpy(t.byte, token, sizeof(t.byte));
	seat_fence_session(d, token);
	/* What can't be read is no record that says "unknown". */
	if (dest_record_get(d, &rec) < 0) {
		unreadable(e);
		return DROVER_OWNER_UNKNOWN;
	}
	owner_answer(&rec, &t, OWNER_QUESTION_ASK, &a);
	if (a.has_request) {
		r = dest_request(d, a.request, token, &fe);
		if (r == -ETIMEDOUT || r == -ENOTCONN)
			unreadable(e);
		else if (r < 0)
			*e = fe;
		if (r < 0)
			return DROVER_OWNER_UNKNOWN;
	}
	if (a.reply == OWNER_REPLY_UNKNOWN && seat_is_fenced(d, token))
		return DROVER_OWNER_NOT_COMMITTED;
	if (a.reply == OWNER_REPLY_UNKNOWN)
		drover_err(e, -ENOENT, "the destination's VMM has no record of this session");
	return wire_answer(a.reply);
}

void dest_owner_query(struct drover_dest *d, struct drover_link *l, size_t len)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_msg_token q;
	struct drover_msg_owner a = { 0 };

	if (drover_body_token(l, len, &q, &e) < 0) {
		dest_refuse(d, e.msg);
		return;
	}
	drover_link_move(l, DROVER_PHASE_ASKING, NULL);
	drover_link_then(l, DROVER_MSG_OWNER, DROVER_PHASE_OVER);
	memcpy(a.token, q.token, sizeof(a.token));
	a.answer = decide(d, q.token, &e);
	a.text = a.answer == DROVER_OWNER_UNKNOWN ? e.msg : "";
	a.text_len = (uint32_t)strlen(a.text);
	if (drover_send_owner(l, &a, NULL) >= 0)
		drover_link_linger(l, drover_deadline_ms(1000));
}
