// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * PAGES and ROUND_END on the destination, from whichever channel: which way the pages take,
 * precopy's or postcopy's, and the barrier between rounds. Called by the threads of main and
 * of the other channels.
 */
#include <errno.h>

#include "base/clock.h"
#include "engine/dest/dest.h"
#include "engine/dest/session.h"
#include "peer/send.h"
#include "place/receive.h"

static int check_pages(struct session *x, const struct drover_msg_pages *m, struct drover_error *e)
{
	if (!session_has_block(x, m->block))
		return drover_err(e, -EBADMSG, "pages of block %u, which is not migrated",
				  m->block);
	if (session_armed(x))
		return pending_step(&x->pc->pending) >= PENDING_HERE ?
			drover_err(e, -EBADMSG, "pages after all have arrived") : 0;
	if (m->round != x->barrier.round)
		return drover_err(e, -EBADMSG, "pages of round %u in round %u", m->round,
				  x->barrier.round);
	if (state_step(&x->state) >= STATE_WHOLE)
		return drover_err(e, -EBADMSG, "pages after the device state");
	return 0;
}

int session_pages(struct session *x, struct drover_link *l, const struct drover_frame *f,
		  struct drover_error *e)
{
	const struct drover_place_ops *ops = &drover_place_precopy;
	struct arrival arrival;
	struct drover_received n;
	struct drover_msg_pages m;
	void *place = x->place;
	unsigned int b;
	int r = drover_body_pages(l, f, &m, e);

	if (r < 0)
		return r;
	r = check_pages(x, &m, e);
	if (r < 0)
		return drover_link_bad(l, e), r;
	if (session_armed(x)) {
		arrival = (struct arrival){ &x->pc->pending, drover_channel_name(l->ch) };
		ops = &pending_place;
		place = &arrival;
	}
	b = x->block[m.block].ours;
	r = drover_place_receive(ops, place, &x->m->ram->block[b], b, l, &m, &n, e);
	if (r < 0)
		return r;
	atomic_fetch_add_explicit(&x->placed.raw, n.raw, memory_order_relaxed);
	atomic_fetch_add_explicit(&x->placed.zero, n.zero, memory_order_relaxed);
	drover_progress(x->m, drover_now_ns());
	return 0;
}

/** struct waiter - a channel at the barrier */
struct waiter {
	struct session *x;
	struct drover_link *link;
};

/* Has anybody sent a byte within stall-timeout? What waits unread on main proves a live peer. */
static int look_up(void *arg, struct drover_error *e)
{
	struct waiter *w = arg;
	int r = session_alive(w->x, e);

	if (r < 0)
		return r;
	r = drover_check_stall(w->x->m, e);
	if (r == -ETIMEDOUT && w->link == w->x->main &&
	    drover_link_poll(w->link, drover_now_ns()) > 0) {
		drover_err_clear(e);
		return 0;
	}
	return r;
}

int session_round_end(struct session *x, struct drover_link *l, const struct drover_frame *f,
		      uint32_t *ret_round, struct drover_error *e)
{
	struct waiter w = { x, l };
	struct drover_msg_round m;
	int r;

	r = drover_body_round_end(l, f->body_len, &m, e);
	if (r < 0)
		return r;
	if (m.round != x->barrier.round)
		return drover_err(e, -EBADMSG, "channel %s: ROUND_END(%u) in round %u",
				  drover_channel_name(l->ch), m.round, x->barrier.round);
	if (!(m.flags & DROVER_ROUND_FINAL) && l == x->main && barrier_is_final(&x->barrier) &&
	    !fate_committed(&x->fate))
		return drover_err(e, -EBADMSG,
				  "channel main: ROUND_END(%u): not final, after a final round",
				  m.round);
	if ((m.flags & DROVER_ROUND_FINAL) && l == x->main)
		barrier_final(&x->barrier);
	*ret_round = m.round;
	r = barrier_wait(&x->barrier, m.round, look_up, &w, e);
	return r < 0 ? r : session_alive(x, e);
}

static int still_coming(void *arg, struct drover_error *e)
{
	struct session *x = arg;
	int r = session_alive(x, e);

	if (r < 0)
		return r;
	r = drover_check_stall(x->m, e);
	if (r != -ETIMEDOUT)
		return r;
	drover_err_clear(e);
	return drover_err(e, r, "the source says that all is sent, and %llu pages are missing",
			  (unsigned long long)pending_missing(&x->pc->pending));
}

int session_wait_all(struct session *x, struct drover_error *e)
{
	int r = pending_wait(&x->pc->pending, still_coming, x, e);

	if (r >= 0)
		r = session_alive(x, e);
	if (r >= 0)
		postcopy_all_here(x->pc);
	return r;
}
