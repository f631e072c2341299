// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The incoming side's half of the handshake. The whole question (HELLO and all RANGES) is
 * read before it is answered, so that a refusal is never lost in a reset; everything that
 * does not fit is listed, by option name, in one answer. Called by listen.c, in the
 * connection's thread.
 */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "engine/dest/dest.h"
#include "engine/dest/session.h"
#include "engine/feasible.h"
#include "peer/send.h"

static void session_freep(struct session **x)
{
	session_free(*x);
}

static void match_uuid(struct session *x, const struct drover_msg_hello *h,
		       const struct drover_config *cfg, struct json_object *no)
{
	const struct drover_guest_traits *t = x->m->guest->ops->traits(x->m->guest);

	if (!cfg->validate_uuid)
		return;
	if (!(h->flags & DROVER_HELLO_HAS_UUID) || !t->has_uuid)
		session_refusal(no, "validate-uuid", "a guest has no UUID to compare");
	else if (memcmp(h->uuid, t->uuid, sizeof(t->uuid)))
		session_refusal(no, "validate-uuid", "the guests' UUIDs differ");
}

static int match_config(struct session *x, const struct drover_msg_hello *h,
			struct drover_config *ret, struct json_object **no, struct drover_error *e)
{
	struct json_object *theirs = NULL, *list = NULL;
	struct drover_have have;
	int r;

	r = drover_json_parse(h->config, h->config_len, DROVER_BODY_MAX, &theirs, e);
	if (r < 0)
		return drover_err_prefix(e, "HELLO: config: "), r;
	drover_engine_have(x->m->guest, false, &have);
	have.announce = x->m->announce;
	r = drover_config_negotiate(x->m->config, &x->m->present, theirs, &have, ret, &list, e);
	json_object_put(theirs);
	if (r == 1) {
		json_object_put(*no);
		*no = list;
	}
	return r;
}

/* One RANGES message; 1: the last */
static int take_ranges(struct session *x, struct drover_link *l, bool keep, struct drover_error *e)
{
	struct drover_msg_runs m;
	struct drover_frame f;
	uint32_t i;
	int r = drover_expect(l, DROVER_MSG_RANGES, &f, e);

	if (r == DROVER_CHANNEL_E_EOF)
		return drover_err(e, -ECONNRESET, "handshake: closed before RANGES");
	if (r < 0)
		return drover_err_prefix(e, "handshake: "), r;
	r = drover_body_runs(l, f.body_len, &m, e);
	if (r < 0)
		return r;
	if (m.n && !session_has_block(x, m.block))
		return drover_err(e, -EBADMSG, "handshake: RANGES of block %u", m.block);
	for (i = 0; i < m.n && keep; i++) {
		struct drover_run run = drover_msg_run_at(&m, i);

		r = drover_place_expect(x->place, x->block[m.block].ours, run.page, run.npages, e);
		if (r < 0)
			return drover_link_bad(l, e), r;
	}
	return m.flags & DROVER_RUNS_LAST ? 1 : 0;
}

/* All RANGES are read; without @keep, since the session is refused, they are dropped. */
static int read_ranges(struct session *x, struct drover_link *l, bool keep, struct drover_error *e)
{
	uint64_t budget = 16 + drover_ram_pages(x->m->ram) / 256;
	int r = 0;

	while (!r && budget--)
		r = take_ranges(x, l, keep, e);
	if (!r)
		return drover_err(e, -EBADMSG, "handshake: more RANGES than this RAM can have");
	return r < 0 ? r : drover_link_move(l, x->one_way ? DROVER_PHASE_ROUNDS :
					    DROVER_PHASE_OFFERED, e);
}

/* The config in force is what both sides have agreed on. */
static int agree(struct session *x, const struct drover_config *cfg)
{
	struct drover_migration *m = x->m;
	int r = drover_settings_replace(m, cfg, true);

	if (r < 0)
		return r;
	session_set_verify(x, cfg->verify != DROVER_VERIFY_NONE);
	drover_view_reset(m, drover_channel_peer(x->main->ch));
	return 0;
}

/* From here on the session is what the migration is about: RAM, record and state say so. */
static int enter(struct session *x, struct drover_error *e)
{
	struct drover_migration *m = x->m;
	enum owner_kind kind = x->one_way ? OWNER_KIND_ONE_WAY : m->config->postcopy_ram ?
			       OWNER_KIND_POSTCOPY : OWNER_KIND_PRECOPY;
	int r;

	/* First: the VMM may have to empty the RAM for it. */
	r = dest_begin(x->d, x->token, kind, e);
	if (r >= 0)
		r = drover_place_open(x->place, &m->cancel, e);
	if (r < 0)
		return r;
	drover_state_set(m, DROVER_STATE_FAILED, DROVER_STATE_SETUP);
	session_register(x);
	m->time.started_ns = drover_now_ns();
	drover_progress(m, m->time.started_ns);
	DROVER_STAT(m, total, drover_ram_pages(m->ram) * DROVER_PAGE_SIZE);
	DROVER_STAT(m, page_size, DROVER_PAGE_SIZE);
	if (!drover_state_set(m, DROVER_STATE_SETUP, DROVER_STATE_ACTIVE))
		return drover_err(e, -ECANCELED, "the incoming migration was cancelled");
	return 0;
}

/*
 * What postcopy needs is made before anything is received: the digests of precopy's pages
 * are in the ledger already.
 */
static int prepare_postcopy(struct session *x, struct drover_error *e)
{
	struct postcopy *pc;
	unsigned int i;
	int r = postcopy_new(x->d, x->token, NULL, &pc, e);

	if (r < 0)
		return r;
	session_set_postcopy(x, pc);
	for (i = 0; i < x->m->ram->n && x->verify; i++)
		drover_place_lend_digests(x->place, i, pending_digests(&pc->pending, i));
	return 0;
}

/* RANGES are read, and either the session begins or the source is told every reason why not. */
static int decide(struct session *x, struct drover_link *l, struct json_object *no,
		  const struct drover_config *cfg, uint64_t features, struct drover_error *e)
{
	size_t n = json_object_array_length(no);
	char text[DROVER_ERR_MAX - 64];
	int r = 0;

	if (!n)
		r = session_make_place(x, cfg->verify != DROVER_VERIFY_NONE && !cfg->postcopy_ram, e);
	if (r >= 0)
		r = read_ranges(x, l, !n, e);
	if (n) {
		/* A source that has read the refusal may try again at once. */
		seat_leave(x->d, x);
		if (r >= 0 && !x->one_way)
			session_answer(x, DROVER_ACK_REFUSED, no, features, NULL);
		drover_config_refusals_text(no, text, sizeof(text));
		return drover_err(e, -ECONNREFUSED, "handshake refused: %s", text);
	}
	if (r >= 0)
		r = agree(x, cfg);
	if (r >= 0 && x->m->config->postcopy_ram)
		r = prepare_postcopy(x, e);
	if (r >= 0)
		r = enter(x, e);
	if (r < 0)
		return r;
	session_expect_channels(x);
	drover_link_then(l, DROVER_MSG_HELLO_ACK, DROVER_PHASE_ROUNDS);
	return x->one_way ? 0 : session_accept(x, features, e);
}

static int negotiate(struct session *x, const struct drover_msg_hello *h, struct drover_link *l,
		     struct drover_error *e)
{
	struct json_object *no = json_object_new_array();
	struct drover_config cfg;
	bool cfg_ok = false;
	int r = match_config(x, h, &cfg, &no, e);

	if (r >= 0) {
		cfg_ok = r == 0;
		session_match_blocks(x, h, no);
		if (cfg_ok)
			match_uuid(x, h, &cfg, no);
		if (cfg_ok && cfg.x_ignore_shared && !x->d->shared_ram)
			session_refusal(no, "x-ignore-shared",
					"it must be given to migrate-incoming too: this side has emptied its memory");
		r = decide(x, l, no, &cfg, h->features & DROVER_HELLO_DIGEST, e);
	}
	if (cfg_ok)
		drover_config_deinit(&cfg);
	json_object_put(no);
	return r;
}

int dest_hello(struct drover_dest *d, struct drover_link *l, size_t len, struct session **ret,
	       struct drover_error *e)
{
	_cleanup_free_ struct drover_msg_hello *h = calloc(1, sizeof(*h));
	_cleanup_(session_freep) struct session *x = NULL;
	int r;

	if (!h)
		return drover_err(e, -ENOMEM, "HELLO: out of memory");
	/* Its config points into the link's buffer: it is read before RANGES come there. */
	r = drover_body_hello(l, len, h, e);
	if (r < 0)
		return r;
	if (!drover_hello_version(h))
		return drover_err(e, -EPROTONOSUPPORT, "HELLO: the source speaks %u.%u to %u.%u, this side %u.%u",
				  h->version_min >> 8, h->version_min & 0xff, h->version_max >> 8,
				  h->version_max & 0xff, DROVER_WIRE_MAJOR, DROVER_WIRE_MINOR);
	r = h->flags & DROVER_HELLO_ONE_WAY ? drover_link_one_way(l, e) : 0;
	if (r >= 0)
		r = drover_link_move(l, h->flags & DROVER_HELLO_RESUME ? DROVER_PHASE_RESUMING :
				     DROVER_PHASE_OFFERING, e);
	if (r < 0)
		return r;
	if (h->flags & DROVER_HELLO_RESUME)
		return dest_resume(d, l, h, ret, e);
	r = session_new(d, l, h, &x, e);
	if (r >= 0)
		r = seat_take(d, x, e);
	if (r < 0)
		return r;
	r = negotiate(x, h, l, e);
	if (r < 0) {
		if (drover_state_get(d->m) == DROVER_STATE_ACTIVE) {
			drover_fail(d->m, e);
			drover_state_set(d->m, DROVER_STATE_ACTIVE, DROVER_STATE_FAILING);
			drover_state_set(d->m, DROVER_STATE_FAILING, DROVER_STATE_FAILED);
		}
		seat_leave(d, x);
		/* The source may have read an answer whose sending has failed here. */
		channels_close(&x->channels);
		channels_wait(&x->channels);
		return r;
	}
	*ret = TAKE_PTR(x);
	return 0;
}
