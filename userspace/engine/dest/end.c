// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * How a session ends. In each case the threads of its other channels have left before
 * anything is freed, and the seat is left last but for the state. Called by session.c, and by
 * resume.c for a session that does not get as far as that.
 */
#include <errno.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "engine/dest/dest.h"
#include "engine/dest/session.h"

#define FAREWELL_MS 1000

/* No other thread is in it any more. */
static void clear_out(struct session *x)
{
	struct drover_error e = DROVER_ERROR_INIT;

	drover_err(&e, -ESHUTDOWN, "the session is over");
	session_kill(x, &e);
	/* After COMMIT a session can't be killed, but its channels are of no use to anybody. */
	channels_close(&x->channels);
	channels_wait(&x->channels);
}

/* FAIL means "not committed", so the record says it first. False: nobody knows what it says. */
static bool fence(struct session *x)
{
	struct drover_error e = DROVER_ERROR_INIT;
	int r = dest_request(x->d, OWNER_EV_FENCE, x->token, &e);

	if (r == -ETIMEDOUT || r == -ENOTCONN)
		return false;
	seat_fence(x->d, x->token);
	return true;
}

/*
 * Fit for the next HELLO. A whole copy whose source has not said that it has the guest stays
 * as it is until then: it may be the only one that is left.
 */
static void reset_guest(struct session *x, bool told)
{
	struct drover_error e = DROVER_ERROR_INIT;

	if (told)
		dest_request(x->d, OWNER_EV_MINE, x->token, NULL);
	if (!dest_keeps_copy(x->d) && dest_prepare_guest(x->d, &e) < 0)
		drover_fail(x->m, &e);
}

void session_failed(struct session *x, int r, const struct drover_error *e)
{
	struct drover_migration *m = x->m;
	bool fenced;

	drover_fail(m, e);
	drover_state_set(m, drover_state_get(m), DROVER_STATE_FAILING);
	fenced = fence(x);
	if (r != -EREMOTEIO && !x->one_way && fenced) {
		drover_channel_set_cancel(x->main->ch, NULL);
		drover_channel_set_stall(x->main->ch, FAREWELL_MS);
		drover_link_fail(x->main, r, e->msg);
		drover_link_linger(x->main, drover_deadline_ms(FAREWELL_MS));
	}
	clear_out(x);
	session_drop_place(x);
	if (x->pc) {
		drover_channel_shutdown(x->main->ch);
		faults_offline(&x->pc->faults);
		session_drop_postcopy(x);
	}
	if (fenced)
		reset_guest(x, r == -EREMOTEIO);
	seat_leave(x->d, x);
	drover_state_set(m, DROVER_STATE_FAILING, DROVER_STATE_FAILED);
}

void session_pause(struct session *x, int r, const struct drover_error *e)
{
	struct drover_error error = DROVER_ERROR_INIT;
	struct drover_migration *m = x->m;

	if (r == -EINTR || r == -ETIMEDOUT) {
		drover_channel_set_stall(x->main->ch, FAREWELL_MS);
		drover_link_send_token(x->main, DROVER_MSG_PAUSED, x->token, NULL);
	}
	drover_channel_shutdown(x->main->ch);
	clear_out(x);
	faults_offline(&x->pc->faults);
	if (session_complete(x)) {
		/* The source may not know it yet; it learns it when it comes again. */
		if (drover_state_get(m) != DROVER_STATE_COMPLETED &&
		    dest_whole(x->d, &error) < 0)
			drover_fail(m, &error);
		drover_state_set(m, drover_state_get(m), DROVER_STATE_COMPLETED);
	} else {
		drover_err(&error, r, "postcopy paused: %.900s", e->msg);
		drover_unfail(m);
		drover_fail(m, &error);
		drover_state_set(m, drover_state_get(m), DROVER_STATE_POSTCOPY_PAUSED);
	}
	seat_leave(x->d, x);
}

void session_over(struct session *x)
{
	clear_out(x);
	if (x->pc)
		faults_offline(&x->pc->faults);
	seat_leave(x->d, x);
}
