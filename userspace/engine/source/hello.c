// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The source's side of the handshake: connect, HELLO with everything the destination
 * must agree to, RANGES with what will come, then one ATTACH for each other channel.
 * The tracker is armed before the ranges are read, so no write falls between them.
 */
#include "engine/source/hello.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "channel/channel.h"
#include "engine/source/source.h"
#include "peer/send.h"

static int send_hello(struct drover_source *s, bool resume, struct drover_error *e)
{
	struct drover_migration *m = s->m;
	const struct drover_guest_traits *t = m->guest->ops->traits(m->guest);
	_cleanup_free_ struct drover_msg_hello *h = calloc(1, sizeof(*h));
	_cleanup_free_ uint8_t *body = malloc(DROVER_BODY_MAX);
	struct json_object *cfg = drover_config_offer(m->config);
	unsigned int i;
	int n, r = -ENOMEM;

	if (!h || !body || !cfg)
		goto out;
	h->version_min = DROVER_WIRE_OLDEST;
	h->version_max = DROVER_WIRE_VERSION;
	h->flags = (source_one_way(s) ? DROVER_HELLO_ONE_WAY : 0) |
		   (resume ? DROVER_HELLO_RESUME : 0) |
		   (t->has_uuid ? DROVER_HELLO_HAS_UUID : 0);
	h->features = m->config->verify != DROVER_VERIFY_NONE ? DROVER_HELLO_DIGEST : 0;
	memcpy(h->token, s->peer.token, sizeof(h->token));
	if (t->has_uuid)
		memcpy(h->uuid, t->uuid, sizeof(h->uuid));
	h->nblocks = m->ram->n;
	for (i = 0; i < m->ram->n; i++) {
		snprintf(h->block[i].name, sizeof(h->block[i].name), "%s", m->ram->block[i].name);
		h->block[i].gpa = m->ram->block[i].gpa;
		h->block[i].size = m->ram->block[i].size;
		h->block[i].flags = s->mem.block[i].skip ? DROVER_RAM_SHARED_DEST : 0;
	}
	h->config = json_object_to_json_string_ext(cfg, JSON_C_TO_STRING_PLAIN);
	h->config_len = (uint32_t)strlen(h->config);
	drover_link_then(s->peer.main, DROVER_MSG_HELLO,
			 resume ? DROVER_PHASE_RESUMING : DROVER_PHASE_OFFERING);
	n = drover_hello_encode(h, body, DROVER_BODY_MAX);
	r = n < 0 ? drover_err(e, n, "HELLO: %s", drover_strerror(n)) :
		drover_link_send(s->peer.main, DROVER_MSG_HELLO, body, (size_t)n, NULL, 0, 0, e);
out:
	json_object_put(cfg);
	return r == -ENOMEM ? drover_err(e, r, "HELLO: out of memory") : r;
}

/* "multifd-channels: ...; verify: ..." from the array of refusals */
static int refused(const struct drover_msg_hello_ack *a, struct drover_error *e)
{
	struct json_object *arr = NULL;
	char text[DROVER_ERR_MAX - 64];

	if (drover_json_parse(a->text, a->text_len, DROVER_BODY_MAX, &arr, e) < 0)
		return drover_err_prefix(e, "HELLO_ACK: "), -EBADMSG;
	drover_config_refusals_text(arr, text, sizeof(text));
	json_object_put(arr);
	return drover_err(e, -ECONNREFUSED, "handshake refused by the destination: %s", text);
}

/* A new droverd learns the session's config from the other side. */
static int take_config(struct drover_source *s, struct json_object *o, struct drover_error *e)
{
	int r = drover_settings_take(s->m, o, e);

	if (r < 0)
		return r;
	peer_configure(&s->peer, s->m->config);
	return 0;
}

static int accepted(struct drover_source *s, const struct drover_msg_hello_ack *a,
		    struct drover_error *e)
{
	struct json_object *o = NULL;
	int r;

	if (a->version < DROVER_WIRE_OLDEST || a->version > DROVER_WIRE_VERSION)
		return drover_err(e, -EPROTONOSUPPORT, "HELLO_ACK: version %u.%u was not offered",
				  a->version >> 8, a->version & 0xff);
	r = drover_json_parse(a->text, a->text_len, DROVER_BODY_MAX, &o, e);
	if (r < 0)
		return drover_err_prefix(e, "HELLO_ACK: "), r;
	if (source_adopted(s)) {
		r = take_config(s, o, e);
		if (r < 0)
			drover_err_prefix(e, "HELLO_ACK: config: ");
	}
	json_object_put(o);
	return r;
}

static int wait_hello_ack(struct drover_source *s, uint64_t deadline, struct drover_error *e)
{
	struct drover_msg_hello_ack a;
	struct drover_frame f;
	int r;

	r = drover_link_poll(s->peer.main, deadline);
	if (r == 0)
		return drover_err(e, -ETIMEDOUT,
				  "handshake: no answer to HELLO within %u ms (handshake-timeout); a reader that never answers needs one-way",
				  s->m->config->handshake_timeout);
	if (r > 0)
		r = drover_expect(s->peer.main, DROVER_MSG_HELLO_ACK, &f, e);
	if (r == DROVER_CHANNEL_E_EOF)
		return drover_err(e, -ECONNRESET,
				  "handshake: the destination closed the connection without an answer; a reader that never answers needs one-way");
	if (r < 0)
		return drover_err_prefix(e, "handshake: "), r;
	r = drover_body_hello_ack(s->peer.main, f.body_len, &a, e);
	if (r < 0)
		return r;
	return a.status == DROVER_ACK_OK ? accepted(s, &a, e) : refused(&a, e);
}

static int attach(struct drover_source *s, enum drover_channel_type type, unsigned int i,
		  uint64_t deadline, struct drover_error *e)
{
	struct drover_msg_attach a = { .type = (uint16_t)type, .index = (uint16_t)i };
	struct drover_link *l;
	int r;

	r = peer_connect_channel(&s->peer, s->m, type, i, deadline, &l, e);
	if (r < 0)
		return r;
	memcpy(a.token, s->peer.token, sizeof(a.token));
	drover_link_then(l, DROVER_MSG_ATTACH, DROVER_PHASE_JOINING);
	return drover_send_attach(l, &a, e);
}

static int attach_ack(struct drover_source *s, struct drover_link *l, uint64_t deadline,
		      struct drover_error *e)
{
	const char *name = drover_channel_name(l->ch);
	struct drover_msg_status st;
	struct drover_frame f;
	int r;

	r = drover_link_poll(l, deadline);
	if (r == 0)
		return drover_err(e, -ETIMEDOUT, "channel %s: no ATTACH_ACK within %u ms (handshake-timeout)",
				  name, s->m->config->handshake_timeout);
	if (r > 0)
		r = drover_expect(l, DROVER_MSG_ATTACH_ACK, &f, e);
	if (r == -EREMOTEIO)
		return drover_err_prefix(e, "channel %s: refused: ", name), -ECONNREFUSED;
	if (r)
		return drover_err(e, r < 0 ? r : -ECONNRESET,
				  "channel %s: the destination closed it before ATTACH_ACK", name);
	r = drover_body_status(l, f.body_len, &st, e);
	if (r < 0)
		return r;
	if (st.status != DROVER_ACK_OK)
		return drover_err(e, -ECONNREFUSED, "channel %s: refused: %.*s", name,
				  (int)st.text_len, st.text);
	drover_link_join(l, s->peer.main);
	return 0;
}

/* All ATTACHes leave before the first answer is awaited: one round trip for all. */
static int attach_all(struct drover_source *s, struct drover_error *e)
{
	uint64_t deadline = drover_deadline_ms(s->m->config->handshake_timeout);
	struct peer *p = &s->peer;
	unsigned int i;
	int r;

	r = peer_expect(p, s->m->config, e);
	for (i = 0; i < p->ndata && r >= 0; i++)
		r = attach(s, DROVER_CHANNEL_DATA, i, deadline, e);
	for (i = 0; i < p->nurgent && r >= 0; i++)
		r = attach(s, DROVER_CHANNEL_POSTCOPY, i, deadline, e);
	for (i = 0; i < p->ndata && r >= 0; i++)
		r = attach_ack(s, p->data[i], deadline, e);
	for (i = 0; i < p->nurgent && r >= 0; i++) {
		r = attach_ack(s, p->urgent[i], deadline, e);
		if (r >= 0)
			drover_channel_set_direct(p->urgent[i]->ch);
	}
	return r;
}

int source_connect(struct drover_source *s, struct drover_error *e)
{
	uint64_t deadline = drover_deadline_ms(s->m->config->handshake_timeout);
	int r;

	r = peer_new_session(&s->peer, e);
	if (r >= 0)
		r = peer_connect(&s->peer, s->m, s->m->fd, source_one_way(s), deadline, e);
	if (r < 0)
		return r;
	s->m->fd = -EBADF;
	if (!(drover_channel_offers(s->peer.main->ch) & DROVER_TRANSPORT_TWOWAY))
		source_enter(s, SOURCE_ONE_WAY);
	/* HELLO says what is so, also where the transport implied it. */
	r = source_one_way(s) ? drover_settings_one_way(s->m, e) : 0;
	if (r >= 0 && source_one_way(s))
		r = drover_link_one_way(s->peer.main, e);
	if (r >= 0)
		r = send_hello(s, false, e);
	if (r >= 0)
		r = source_send_ranges(s, e);
	if (r >= 0 && !source_one_way(s))
		r = wait_hello_ack(s, deadline, e);
	if (r >= 0)
		r = drover_link_move(s->peer.main, DROVER_PHASE_ROUNDS, e);
	return r < 0 ? r : attach_all(s, e);
}

int source_reconnect(struct drover_source *s, struct drover_error *e)
{
	uint64_t deadline = drover_deadline_ms(s->m->config->handshake_timeout);
	int r;

	r = peer_connect(&s->peer, s->m, -1, false, deadline, e);
	if (r >= 0)
		r = send_hello(s, true, e);
	if (r >= 0)
		r = wait_hello_ack(s, deadline, e);
	if (r >= 0)
		r = drover_link_move(s->peer.main, DROVER_PHASE_RECOVERING, e);
	if (r < 0)
		return r;
	if (!drover_state_set(s->m, DROVER_STATE_POSTCOPY_RECOVER_SETUP,
			      DROVER_STATE_POSTCOPY_RECOVER))
		return drover_err(e, -ECANCELED, "resume: the migration has ended");
	r = source_read_recover(s, deadline, e);
	if (r >= 0)
		r = drover_link_move(s->peer.main, DROVER_PHASE_SERVING, e);
	return r < 0 ? r : attach_all(s, e);
}
