// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A postcopy goes on: a source that knows the session's token has connected anew, or this
 * droverd has found what another left in the guest's VMM. Whatever fails here leaves the
 * migration paused, as often as one likes.
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

/* Who comes with the token is the source; a connection it has given up is no use to it. */
static int end_old(struct drover_dest *d, struct drover_error *e)
{
	uint64_t deadline = drover_deadline_ms(d->handshake_timeout);
	const struct timespec tick = { .tv_nsec = 5000000 };
	struct drover_error why = DROVER_ERROR_INIT;
	bool gone;

	drover_err(&why, -ECONNRESET, "the source has connected anew");
	for (;;) {
		pthread_mutex_lock(&d->lock);
		gone = !d->session;
		if (d->session) {
			session_kill(d->session, &why);
			drover_channel_shutdown(d->session->main->ch);
		}
		pthread_mutex_unlock(&d->lock);
		if (gone)
			return 0;
		if (drover_cancelled(&d->m->cancel) || drover_now_ns() > deadline)
			return drover_err(e, -EBUSY, "resume: the connection before has not ended yet");
		nanosleep(&tick, NULL);
	}
}

static int claim(struct drover_dest *d, struct session *x, struct drover_error *e)
{
	enum drover_state st = drover_state_get(d->m);
	DROVER_LOCK(&d->lock);

	if (d->session || (st != DROVER_STATE_POSTCOPY_PAUSED && st != DROVER_STATE_COMPLETED))
		return drover_err(e, -EBUSY, "resume: the migration is %s here",
				  drover_state_name(st));
	d->session = x;
	return 0;
}

static int send_received(struct session *x, struct drover_error *e)
{
	unsigned int i;
	int r = 0;

	/* The claims are what has arrived, and don't change under this. */
	for (i = 0; i < x->nblocks && r >= 0; i++)
		r = drover_link_send_runs(x->main, DROVER_MSG_RECOVER, i, x->pc->claim[x->block[i]],
					  drover_pages(x->m->ram->block[x->block[i]].size), e);
	return r < 0 ? r : drover_link_send_last(x->main, DROVER_MSG_RECOVER, e);
}

static int enter(struct session *x, struct drover_error *e)
{
	struct drover_migration *m = x->m;
	struct json_object *yes;
	int r;

	drover_state_set(m, DROVER_STATE_POSTCOPY_PAUSED, DROVER_STATE_POSTCOPY_RECOVER_SETUP);
	drover_channel_set_stall(x->main->ch, 0);
	drover_channel_set_name(x->main->ch, "main");
	drover_link_register(m, x->main);
	drover_progress(m, drover_now_ns());
	pc_drop_claims(x->pc);
	x->npostcopy = m->config->postcopy_preempt ? m->config->postcopy_channels : 0;
	x->ndata = m->config->multifd ? m->config->multifd_channels : 0;
	drover_state_set(m, DROVER_STATE_POSTCOPY_RECOVER_SETUP, DROVER_STATE_POSTCOPY_RECOVER);
	yes = drover_config_to_json(m->config);
	r = hello_answer(x, DROVER_ACK_OK, yes, x->verify ? DROVER_HELLO_DIGEST : 0, e);
	json_object_put(yes);
	if (r >= 0)
		r = send_received(x, e);
	if (r < 0)
		return r;
	pc_online(x->pc, x);
	drover_unfail(m);
	drover_state_set(m, DROVER_STATE_POSTCOPY_RECOVER, DROVER_STATE_POSTCOPY_ACTIVE);
	return 0;
}

int dest_resume(struct drover_dest *d, struct drover_link *l, const struct drover_msg_hello *h,
		struct session **ret, struct drover_error *e)
{
	struct json_object *no = NULL;
	struct session *x = NULL;
	struct postcopy *pc;
	int r;

	pthread_mutex_lock(&d->lock);
	pc = d->pc;
	pthread_mutex_unlock(&d->lock);
	if (!pc || memcmp(pc->token, h->token, sizeof(h->token)))
		return drover_err(e, -ENOENT, "resume: no migration with this token is paused here");
	r = end_old(d, e);
	if (r >= 0)
		r = session_new(d, l, h, &x, e);
	if (r < 0)
		return r;
	x->pc = pc;
	x->verify = d->m->config->verify != DROVER_VERIFY_NONE;
	x->committed = x->loaded = x->have_run = x->have_guest = true;
	atomic_store(&x->state_done, true);
	x->final_ns = drover_now_ns();
	no = json_object_new_array();
	hello_match_blocks(x, h, no);
	if (json_object_array_length(no))
		r = drover_err(e, -ECONNREFUSED, "resume: %s",
			       json_object_to_json_string_ext(no, JSON_C_TO_STRING_PLAIN));
	json_object_put(no);
	if (r >= 0)
		r = claim(d, x, e);
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

static int adopt_config(struct drover_dest *d, const char *text, struct drover_error *e)
{
	_cleanup_json_ struct json_object *o = NULL;
	int r = drover_json_parse(text, strlen(text), DROVER_LEDGER_CONFIG_MAX, &o, e);

	return r < 0 ? r : drover_settings_take(d->m, o, e);
}

static int find_ledger(struct drover_dest *d, struct drover_ledger **ret, struct drover_error *e)
{
	struct drover_guest *g = d->m->guest;
	int fd = -EBADF, r;

	if (!g->ops->ledger_get)
		return drover_err(e, -EOPNOTSUPP, "this guest link keeps no ledger");
	pthread_mutex_lock(&d->guest);
	r = g->ops->ledger_get(g, &fd, e);
	pthread_mutex_unlock(&d->guest);
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
	r = adopt_config(d, drover_ledger_config(ledger), e);
	if (r < 0) {
		drover_ledger_free(ledger);
		return drover_err_prefix(e, "ledger: config: "), r;
	}
	r = pc_new(d, ledger, &pc, e);
	if (r < 0)
		return r;
	memcpy(pc->token, drover_ledger_token(pc->ledger), sizeof(pc->token));
	pc->begun = true;
	atomic_store(&pc->armed, true);
	r = pc_arm(pc, true, e);
	if (r < 0) {
		pc_free(pc, false);
		return drover_err_prefix(e, "postcopy: "), r;
	}
	drover_commit_point(d->m);
	pthread_mutex_lock(&d->lock);
	d->pc = pc;
	d->completed = true;
	pthread_mutex_unlock(&d->lock);
	return 0;
}

/* migrate-recover: one more address, or one that is listened on already. */
static int add_listener(struct drover_dest *d, const struct drover_address *a,
			struct drover_error *e)
{
	struct drover_channel_opts o = {
		.cancel = &d->m->cancel,
		.incoming = true,
		.fd = -1,
		.log = d->m->log,
	};
	struct json_object *want = drover_address_to_json(a), *have;
	struct drover_listener *l;
	bool known = false;
	unsigned int i;
	int r;

	pthread_mutex_lock(&d->lock);
	for (i = 0; i < d->nlisteners && !known; i++) {
		have = drover_address_to_json(drover_listener_address(d->listener[i]));
		known = want && have && json_object_equal(want, have);
		json_object_put(have);
	}
	pthread_mutex_unlock(&d->lock);
	json_object_put(want);
	if (known)
		return 0;
	r = drover_listener_new(a, &o, &l, e);
	if (r < 0)
		return r;
	if (drover_listener_fd(l) < 0) {
		drover_listener_free(l);
		return drover_err(e, -EINVAL, "recover: this transport can't be listened on");
	}
	pthread_mutex_lock(&d->lock);
	if (d->nlisteners == DEST_LISTENERS_MAX)
		r = drover_err(e, -E2BIG, "recover: more than %u addresses", DEST_LISTENERS_MAX);
	else
		d->listener[d->nlisteners++] = l;
	pthread_mutex_unlock(&d->lock);
	if (r < 0)
		drover_listener_free(l);
	return r;
}

int drover_migration_recover(struct drover_migration *m,
			     const struct drover_channel_list *channels, struct drover_error *e)
{
	unsigned int i;
	int r = 0;

	if (m->side != DROVER_SIDE_DEST || drover_state_get(m) != DROVER_STATE_POSTCOPY_PAUSED)
		return drover_err(e, -EINVAL,
				  "Migrate recover can only be run when postcopy is paused.");
	for (i = 0; i < channels->n && r >= 0; i++)
		r = add_listener(m->dest, &channels->entry[i].addr, e);
	if (r >= 0)
		dest_publish_addresses(m->dest);
	return r;
}
