// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A postcopy goes on: a source that knows the session's token has connected anew, or this
 * droverd has found the ledger that another one left with the guest's VMM. Whatever fails
 * here leaves the migration paused, and it may be tried again as often as one likes. Called
 * by hello.c and, for the ledger, by listen.c.
 */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/bitmap.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "engine/dest/dest.h"
#include "engine/dest/session.h"

/* The token makes it the source; a connection it has given up is of no use to it. */
static int end_old(struct drover_dest *d, struct drover_error *e)
{
	uint64_t deadline = drover_deadline_ms(d->handshake_timeout);
	const struct timespec tick = { .tv_nsec = 5000000 };

	while (seat_end_session(d)) {
		if (drover_cancelled(&d->m->cancel) || drover_now_ns() > deadline)
			return drover_err(e, -EBUSY, "resume: the connection before has not ended yet");
		nanosleep(&tick, NULL);
	}
	return 0;
}

/* The source, which may be a new droverd, learns what has arrived. */
static int send_received(struct session *x, struct drover_error *e)
{
	unsigned int i;
	int r = 0;

	/* Between sessions the claims are what has arrived, and nothing changes them. */
	for (i = 0; i < x->nblocks && r >= 0; i++) {
		unsigned int b = x->block[i].ours;

		r = drover_link_send_runs(x->main, DROVER_MSG_RECOVER, i, x->pc->pending.claim[b],
					  drover_pages(x->m->ram->block[b].size), e);
	}
	drover_link_then(x->main, DROVER_MSG_RECOVER, DROVER_PHASE_SERVING);
	return r < 0 ? r : drover_link_send_last(x->main, DROVER_MSG_RECOVER, e);
}

static int enter(struct session *x, struct drover_error *e)
{
	struct drover_migration *m = x->m;
	int r;

	drover_state_set(m, DROVER_STATE_POSTCOPY_PAUSED, DROVER_STATE_POSTCOPY_RECOVER_SETUP);
	session_register(x);
	drover_progress(m, drover_now_ns());
	pending_drop_claims(&x->pc->pending);
	session_expect_channels(x);
	drover_state_set(m, DROVER_STATE_POSTCOPY_RECOVER_SETUP, DROVER_STATE_POSTCOPY_RECOVER);
	drover_link_then(x->main, DROVER_MSG_HELLO_ACK, DROVER_PHASE_RECOVERING);
	r = session_accept(x, x->verify ? DROVER_HELLO_DIGEST : 0, e);
	if (r >= 0)
		r = send_received(x, e);
	if (r < 0)
		return r;
	faults_online(&x->pc->faults, x->main, &x->channels, x->block, x->nblocks);
	drover_unfail(m);
	drover_state_set(m, DROVER_STATE_POSTCOPY_RECOVER, DROVER_STATE_POSTCOPY_ACTIVE);
	return 0;
}

/* A session in which everything up to COMMIT has been done already. */
static int session_again(struct drover_dest *d, struct drover_link *l,
			 const struct drover_msg_hello *h, struct postcopy *pc,
			 struct session **ret, struct drover_error *e)
{
	_cleanup_json_ struct json_object *no = json_object_new_array();
	struct session *x;
	int r = session_new(d, l, h, &x, e);

	if (r < 0)
		return r;
	session_set_postcopy(x, pc);
	session_set_verify(x, d->m->config->verify != DROVER_VERIFY_NONE);
	fate_set_committed(&x->fate);
	state_skip(&x->state);
	barrier_final(&x->barrier);
	digest_again(&x->digest);
	session_match_blocks(x, h, no);
	if (json_object_array_length(no)) {
		session_free(x);
		return drover_err(e, -ECONNREFUSED, "resume: %s",
				  json_object_to_json_string_ext(no, JSON_C_TO_STRING_PLAIN));
	}
	*ret = x;
	return 0;
}

int dest_resume(struct drover_dest *d, struct drover_link *l, const struct drover_msg_hello *h,
		struct session **ret, struct drover_error *e)
{
	struct postcopy *pc = seat_postcopy(d);
	struct session *x = NULL;
	int r;

	if (!pc || memcmp(pc->token, h->token, sizeof(h->token)))
		return drover_err(e, -ENOENT, "resume: no migration with this token is paused here");
	r = end_old(d, e);
	if (r >= 0)
		r = session_again(d, l, h, pc, &x, e);
	if (r < 0)
		return r;
	r = seat_take_again(d, x, e);
	if (r >= 0) {
		r = enter(x, e);
		if (r < 0)
			session_pause(x, r, e);
	}
	if (r < 0) {
		drover_link_forget(d->m, l);
		session_free(x);
		return r;
	}
	*ret = x;
	return 0;
}

static int take_config(struct drover_dest *d, const char *text, struct drover_error *e)
{
	_cleanup_json_ struct json_object *o = NULL;
	int r = drover_json_parse(text, strlen(text), DROVER_LEDGER_CONFIG_MAX, &o, e);

	return r < 0 ? r : drover_settings_take(d->m, o, e);
}

static int find_ledger(struct drover_dest *d, struct drover_ledger **ret, struct drover_error *e)
{
	int fd = -EBADF, r = dest_ledger(d, &fd, e);

	if (r >= 0 && fd < 0)
		r = drover_err(e, -ENOENT, "the VMM has none");
	return r < 0 ? r : drover_ledger_open(fd, d->m->ram, ret, e);
}

int dest_adopt(struct drover_dest *d, struct drover_error *e)
{
	struct drover_ledger *ledger = NULL;
	struct postcopy *pc = NULL;
	int r = find_ledger(d, &ledger, e);

	if (r < 0)
		return drover_err_prefix(e, "ledger: "), r;
	r = take_config(d, drover_ledger_config(ledger), e);
	if (r < 0) {
		drover_ledger_free(ledger);
		return drover_err_prefix(e, "ledger: config: "), r;
	}
	r = postcopy_new(d, drover_ledger_token(ledger), ledger, &pc, e);
	if (r < 0)
		return r;
	r = postcopy_arm(pc, true, e);
	if (r < 0) {
		postcopy_free(pc, false);
		return drover_err_prefix(e, "postcopy: "), r;
	}
	drover_commit_point(d->m);
	seat_arrived(d, pc);
	return 0;
}
