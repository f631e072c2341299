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
#include "peer/send.h"

/* The VMM keeps a ledger exactly as long as something is missing, or not proved. */
static enum drover_owner_answer committed(struct drover_dest *d, struct drover_error *e)
{
	_cleanup_close_ int fd = -EBADF;

	/* A guest link without ledgers has no postcopy either. */
	if (d->m->guest->ops->ledger_get && dest_ledger(d, &fd, e) < 0)
		return DROVER_OWNER_UNKNOWN;
	return fd >= 0 ? DROVER_OWNER_INCOMPLETE : DROVER_OWNER_COMMITTED;
}

static enum drover_owner_answer decide(struct drover_dest *d, const uint8_t *token,
				       struct drover_error *e)
{
	struct drover_owner_record rec;

	seat_fence_session(d, token);
	if (dest_record_get(d, &rec, e) < 0)
		return DROVER_OWNER_UNKNOWN;
	if (memcmp(rec.token, token, DROVER_TOKEN_LEN)) {
		drover_err(e, -ENOENT, "no record of this session");
		return seat_is_fenced(d, token) ? DROVER_OWNER_NOT_COMMITTED : DROVER_OWNER_UNKNOWN;
	}
	switch (rec.state) {
	case DROVER_OWNER_OWNED:
		return committed(d, e);
	case DROVER_OWNER_FENCED:
		return DROVER_OWNER_NOT_COMMITTED;
	case DROVER_OWNER_INCOMING:
		return dest_record(d, DROVER_OWNER_FENCED, token, e) < 0 ?
			DROVER_OWNER_UNKNOWN : DROVER_OWNER_NOT_COMMITTED;
	default:
		drover_err(e, -EINVAL, "the record is not a destination's");
		return DROVER_OWNER_UNKNOWN;
	}
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
