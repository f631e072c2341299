// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The handover on the destination. COMMIT is acted on once: the VMM's record says `owned`
 * before COMMIT_ACK is sent, and a token that was fenced meanwhile is refused. Called by the
 * thread of main.
 */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/trace.h"
#include "engine/dest/dest.h"
#include "engine/dest/session.h"
#include "peer/send.h"

/* It is owned here from now on, and runs if its user wants that. */
static void arrived(struct session *x, uint64_t ns, struct drover_error *e)
{
	bool still = e->code;

	if (x->state.run && !still)
		drover_trace_guest_resumed(ns / 1000);
	DROVER_STAT(x->m, dt_resume, ns / 1000);
	DROVER_STAT(x->m, downtime_us, (drover_now_ns() - x->barrier.final_ns) / 1000);
	DROVER_STAT(x->m, downtime, (drover_now_ns() - x->barrier.final_ns) / DROVER_NS_PER_MS);
	if (!session_armed(x))
		dest_told(x->d);
	if (still) {
		drover_err_prefix(e, "the guest is owned here and stands still: ");
		drover_fail(x->m, e);
	} else if (x->state.run) {
		drover_send_event(x->m, DROVER_EVENT_RESUME);
	}
}

/* From here on the guest is owned here, or the session ends. */
static int own(struct session *x, struct drover_error *e)
{
	struct drover_error se = DROVER_ERROR_INIT;
	uint64_t t = drover_now_ns();
	int r = fate_begin_commit(x, e);

	if (r < 0)
		return r;
	if (x->place)
		drover_place_seal(x->place);
	r = dest_own(x->d, x->token, x->state.run, x->fate.until, &se);
	t = drover_now_ns() - t;
	fate_end_commit(&x->fate, r >= 0);
	if (r < 0)
		return drover_err(e, r, "ownership record: %.1000s", se.msg);
	seat_arrived(x->d, session_armed(x) ? x->pc : NULL);
	drover_crash_point("owned");
	arrived(x, t, &se);
	drover_crash_point("resumed");
	return 0;
}

static bool agreed(const struct session *x)
{
	return !x->verify || x->digest.step == DIGEST_DONE;
}

int session_commit(struct session *x, size_t len, struct drover_error *e)
{
	bool committed = fate_committed(&x->fate);
	bool loaded = state_step(&x->state) == STATE_LOADED;
	struct drover_msg_token t;
	int r;

	r = drover_body_token(x->main, len, &t, e);
	if (r < 0)
		return r;
	if (memcmp(t.token, x->token, sizeof(x->token)))
		return drover_err(e, -EBADMSG, "COMMIT: the token is another session's");
	if (x->one_way || committed || !loaded || !agreed(x))
		return drover_err(e, -EBADMSG, "COMMIT: %s", committed ? "a second time" :
				  !loaded ? "before the device state" : "before the digests agreed");
	r = drover_link_move(x->main, DROVER_PHASE_COMMITTING, e);
	if (r >= 0)
		r = own(x, e);
	if (r < 0)
		return r;
	drover_link_then(x->main, DROVER_MSG_COMMIT_ACK, session_armed(x) ?
			 DROVER_PHASE_SERVING : DROVER_PHASE_COMMITTED);
	drover_link_send_token(x->main, DROVER_MSG_COMMIT_ACK, t.token, NULL);
	if (session_armed(x)) {
		digest_again(&x->digest);
		drover_state_set(x->m, DROVER_STATE_POSTCOPY_DEVICE, DROVER_STATE_POSTCOPY_ACTIVE);
	} else {
		drover_state_set(x->m, DROVER_STATE_DEVICE, DROVER_STATE_COMPLETED);
	}
	return 0;
}

/* The source's record is released: it will never ask about the token again. */
int session_released(struct session *x, size_t len, struct drover_error *e)
{
	struct drover_msg_token t;
	int r = drover_body_token(x->main, len, &t, e);

	if (r < 0)
		return r;
	if (!fate_committed(&x->fate) || memcmp(t.token, x->token, sizeof(x->token)) ||
	    (session_armed(x) && !session_complete(x)))
		return drover_err(e, -EBADMSG, "RELEASED: not now");
	/* The ledger first: a record without a ledger is never taken for an unfinished postcopy. */
	if (session_armed(x) && drover_state_get(x->m) != DROVER_STATE_COMPLETED &&
	    dest_whole(x->d, e) < 0)
		drover_fail(x->m, e);
	drover_crash_point("finished");
	if (session_armed(x))
		drover_state_set(x->m, DROVER_STATE_POSTCOPY_ACTIVE, DROVER_STATE_COMPLETED);
	if (dest_request(x->d, OWNER_EV_CONFIRMED, x->token, NULL) >= 0)
		atomic_store(&x->d->released, true);
	return 1;
}

int session_end_one_way(struct session *x, size_t len, struct drover_error *e)
{
	uint64_t came = atomic_load(&x->placed.raw) * DROVER_PAGE_SIZE;
	struct drover_msg_end m;
	int r = drover_body_end(x->main, len, &m, e);

	if (r < 0)
		return r;
	if (!x->one_way || state_step(&x->state) != STATE_LOADED || !agreed(x))
		return drover_err(e, -EBADMSG, "END: before the stream was complete");
	if (m.total_bytes != came)
		return drover_err(e, -EBADMSG, "END: %llu bytes of pages were sent, %llu came",
				  (unsigned long long)m.total_bytes, (unsigned long long)came);
	r = own(x, e);
	if (r < 0)
		return r;
	/* Nobody will ask. */
	dest_request(x->d, OWNER_EV_CONFIRMED, x->token, NULL);
	drover_state_set(x->m, DROVER_STATE_DEVICE, DROVER_STATE_COMPLETED);
	return 1;
}
