// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * DISCARD: the source says which pages are still to come, and with the last message a
 * session's pages change over from precopy's way to postcopy's. Called by the thread of main.
 */
#include <errno.h>
#include <json-c/json.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/json.h"
#include "engine/dest/dest.h"
#include "engine/dest/session.h"
#include "peer/send.h"

static int bind_ledger(struct session *x, struct drover_error *e)
{
	_cleanup_json_ struct json_object *o = drover_config_to_json(x->m->config);

	if (!o)
		return drover_err(e, -ENOMEM, "postcopy: out of memory");
	return drover_ledger_bind(x->pc->pending.ledger, x->token,
				  json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN), e);
}

/* The digests of what is there now; those of what comes later are compared at the end. */
static int keep_early(struct session *x, struct drover_error *e)
{
	const struct pending *p = &x->pc->pending;
	unsigned int i;
	int r = 0;

	for (i = 0; x->verify && i < x->m->ram->n && r >= 0; i++)
		r = digest_keep_early(&x->digest, i, pending_digests(p, i),
				      pending_received(p, i), e);
	return r;
}

static int arm_session(struct session *x, struct drover_error *e)
{
	uint64_t t = drover_now_ns();
	int r = bind_ledger(x, e);

	/* Nothing is received or populated in precopy's way any more. */
	session_drop_place(x);
	if (r >= 0)
		r = keep_early(x, e);
	if (r >= 0)
		r = postcopy_arm(x->pc, false, e);
	if (r < 0)
		return drover_err_prefix(e, "postcopy: "), r;
	drover_crash_point("armed");
	r = drover_link_move(x->main, DROVER_PHASE_ARMED, e);
	if (r < 0)
		return r;
	faults_online(&x->pc->faults, x->main, &x->channels, x->block, x->nblocks);
	drover_debug(x->m->log, "postcopy: armed in %llu us, %llu pages to come",
		     (unsigned long long)(drover_now_ns() - t) / 1000,
		     (unsigned long long)pending_missing(&x->pc->pending));
	drover_state_set(x->m, DROVER_STATE_ACTIVE, DROVER_STATE_POSTCOPY_DEVICE);
	return 0;
}

int session_discard(struct session *x, size_t len, struct drover_error *e)
{
	struct drover_msg_runs m;
	uint32_t i;
	int r = drover_body_runs(x->main, len, &m, e);

	if (r < 0)
		return r;
	if (!x->pc || session_armed(x) || !barrier_is_final(&x->barrier) ||
	    state_step(&x->state) > STATE_RUN)
		return drover_err(e, -EBADMSG, "DISCARD: not now");
	r = drover_link_move(x->main, DROVER_PHASE_DISCARDING, e);
	if (r < 0)
		return r;
	pending_begin_discard(&x->pc->pending);
	if (m.n && !session_has_block(x, m.block))
		return drover_err(e, -EBADMSG, "DISCARD: of block %u", m.block);
	for (i = 0; i < m.n && r >= 0; i++) {
		struct drover_run run = drover_msg_run_at(&m, i);

		r = pending_discard(&x->pc->pending, x->block[m.block].ours, &run, e);
	}
	return r >= 0 && (m.flags & DROVER_RUNS_LAST) ? arm_session(x, e) : r;
}
