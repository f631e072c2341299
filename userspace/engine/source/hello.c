// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The source's side of the handshake: connect, HELLO with everything the destination
 * must agree to, RANGES with what will come, then one ATTACH for each data channel.
 * Trackers are armed before the ranges are read, so nothing falls between them.
 */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/bitmap.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "channel/channel.h"
#include "engine/source/source.h"

static int link_connect(struct drover_source *s, const struct drover_address *a, int fd,
			uint64_t deadline, struct drover_link **ret, struct drover_error *e)
{
	struct drover_channel_opts o = {
		.cancel = &s->m->cancel,
		.deadline = deadline,
		.one_way = s->one_way,
		.fd = fd,
		.log = s->m->log,
	};
	struct drover_channel *ch;
	int r;

	r = drover_channel_connect(a, &o, &ch, e);
	if (r < 0)
		return r;
	r = drover_link_new(ch, true, ret, e);
	if (r < 0)
		drover_channel_free(ch);
	return r;
}

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
	h->flags = (s->one_way ? DROVER_HELLO_ONE_WAY : 0) |
		   (resume ? DROVER_HELLO_RESUME : 0) |
		   (t->has_uuid ? DROVER_HELLO_HAS_UUID : 0);
	h->features = m->config->verify != DROVER_VERIFY_NONE ? DROVER_HELLO_DIGEST : 0;
	memcpy(h->token, s->token, sizeof(h->token));
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
	n = drover_hello_encode(h, body, DROVER_BODY_MAX);
	r = n < 0 ? drover_err(e, n, "HELLO: %s", drover_strerror(n)) :
		drover_link_send(s->main, DROVER_MSG_HELLO, body, (size_t)n, NULL, 0, 0, e);
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
	s->multifd = s->m->config->multifd;
	s->zero_copy = s->m->config->zero_copy_send;
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
	if (s->adopted) {
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

	r = drover_link_poll(s->main, deadline);
	if (r == 0)
		return drover_err(e, -ETIMEDOUT,
				  "handshake: no answer to HELLO within %u ms (handshake-timeout); a reader that never answers needs one-way",
				  s->m->config->handshake_timeout);
	if (r > 0)
		r = drover_link_recv(s->main, &f, e);
	if (r == DROVER_CHANNEL_E_EOF)
		return drover_err(e, -ECONNRESET,
				  "handshake: the destination closed the connection without an answer; a reader that never answers needs one-way");
	if (r < 0)
		return drover_err_prefix(e, "handshake: "), r;
	if (f.type == DROVER_MSG_FAIL) {
		struct drover_msg_status st;

		r = drover_status_decode(s->main->body, f.body_len, &st, e);
		return r < 0 ? r : drover_err(e, -EREMOTEIO, "handshake: destination: %.*s",
					      (int)st.text_len, st.text);
	}
	if (f.type != DROVER_MSG_HELLO_ACK)
		return drover_err(e, -EBADMSG, "handshake: %s instead of HELLO_ACK",
				  s->main->info->name);
	r = drover_hello_ack_decode(s->main->body, f.body_len, &a, e);
	if (r < 0)
		return drover_link_bad(s->main, e), r;
	return a.status == DROVER_ACK_OK ? accepted(s, &a, e) : refused(&a, e);
}

static int attach(struct drover_source *s, enum drover_channel_type type, unsigned int i,
		  struct drover_link **ret, uint64_t deadline, struct drover_error *e)
{
	bool data = type == DROVER_CHANNEL_DATA;
	struct drover_msg_attach a = { .type = (uint16_t)type, .index = (uint16_t)i };
	uint8_t body[64];
	char name[32];
	int n, r;

	snprintf(name, sizeof(name), "%s/%u", drover_channel_type_name(type), i);
	r = link_connect(s, data ? drover_channel_list_data(s->m->channels, i) :
			 drover_channel_list_postcopy(s->m->channels, i), -1, deadline, ret, e);
	if (r < 0)
		return drover_err_prefix(e, "channel %s: ", name), r;
	drover_channel_set_name((*ret)->ch, name);
	drover_link_set(*ret, data ? DROVER_ON_D : DROVER_ON_P,
			(uint16_t)(data ? i + 1 : DROVER_FRAME_CHANNEL_POSTCOPY + i));
	drover_link_register(s->m, *ret);
	memcpy(a.token, s->token, sizeof(a.token));
	n = drover_attach_encode(&a, body, sizeof(body));
	return drover_link_send(*ret, DROVER_MSG_ATTACH, body, (size_t)n, NULL, 0, 0, e);
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
		r = drover_link_recv(l, &f, e);
	if (r)
		return drover_err(e, r < 0 ? r : -ECONNRESET,
				  "channel %s: the destination closed it before ATTACH_ACK", name);
	r = drover_status_decode(l->body, f.body_len, &st, e);
	if (r < 0)
		return drover_link_bad(l, e), r;
	if (f.type != DROVER_MSG_ATTACH_ACK || st.status != DROVER_ACK_OK)
		return drover_err(e, -ECONNREFUSED, "channel %s: refused: %.*s", name,
				  (int)st.text_len, st.text);
	return 0;
}

/* All ATTACHes leave before the first answer is awaited: one round trip for all. */
int source_attach_all(struct drover_source *s, struct drover_error *e)
{
	uint64_t deadline = drover_deadline_ms(s->m->config->handshake_timeout);
	unsigned int i;
	int r = 0;

	s->ndata = s->multifd ? s->m->config->multifd_channels : 0;
	s->nurgent = s->m->config->postcopy_preempt ? s->m->config->postcopy_channels : 0;
	s->data = calloc(s->ndata + 1, sizeof(struct drover_link *));
	if (!s->data)
		return drover_err(e, -ENOMEM, "data channels: out of memory");
	for (i = 0; i < s->ndata && r >= 0; i++)
		r = attach(s, DROVER_CHANNEL_DATA, i, &s->data[i], deadline, e);
	for (i = 0; i < s->nurgent && r >= 0; i++)
		r = attach(s, DROVER_CHANNEL_POSTCOPY, i, &s->urgent_link[i], deadline, e);
	for (i = 0; i < s->ndata && r >= 0; i++)
		r = attach_ack(s, s->data[i], deadline, e);
	for (i = 0; i < s->nurgent && r >= 0; i++) {
		r = attach_ack(s, s->urgent_link[i], deadline, e);
		if (r >= 0)
			drover_channel_set_direct(s->urgent_link[i]->ch);
	}
	return r;
}

static void remember_peer(struct drover_source *s)
{
	struct json_object *o = drover_address_to_json(drover_channel_list_main(s->m->channels));

	snprintf(s->peer, sizeof(s->peer), "%s",
		 o ? json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN) : "");
	json_object_put(o);
	DROVER_INFO(s->m, peer, "%s",
			 drover_channel_peer(s->main->ch));
}

int source_connect(struct drover_source *s, struct drover_error *e)
{
	uint64_t deadline = drover_deadline_ms(s->m->config->handshake_timeout);
	int r;

	if (getrandom(s->token, sizeof(s->token), 0) != (ssize_t)sizeof(s->token))
		return drover_err(e, -EIO, "session token: no randomness");
	r = link_connect(s, drover_channel_list_main(s->m->channels), s->m->fd, deadline, &s->main,
			 e);
	if (r < 0)
		return r;
	s->m->fd = -EBADF;
	drover_channel_set_name(s->main->ch, "main");
	drover_link_register(s->m, s->main);
	remember_peer(s);
	if (!s->one_way && !(drover_channel_offers(s->main->ch) & DROVER_TRANSPORT_TWOWAY))
		s->one_way = true;
	/* HELLO says what is so, also where the transport implied it. */
	r = s->one_way ? drover_settings_one_way(s->m, e) : 0;
	if (r >= 0)
		r = send_hello(s, false, e);
	if (r >= 0)
		r = source_send_ranges(s, e);
	if (r >= 0 && !s->one_way)
		r = wait_hello_ack(s, deadline, e);
	if (r >= 0)
		r = source_attach_all(s, e);
	return r;
}

int source_reconnect(struct drover_source *s, struct drover_error *e)
{
	uint64_t deadline = drover_deadline_ms(s->m->config->handshake_timeout);
	int r;

	r = link_connect(s, drover_channel_list_main(s->m->channels), -1, deadline, &s->main, e);
	if (r < 0)
		return r;
	drover_channel_set_name(s->main->ch, "main");
	drover_link_register(s->m, s->main);
	remember_peer(s);
	r = send_hello(s, true, e);
	if (r >= 0)
		r = wait_hello_ack(s, deadline, e);
	if (r < 0)
		return r;
	if (!drover_state_set(s->m, DROVER_STATE_POSTCOPY_RECOVER_SETUP,
			      DROVER_STATE_POSTCOPY_RECOVER))
		return drover_err(e, -ECANCELED, "resume: the migration has ended");
	r = source_read_recover(s, deadline, e);
	return r < 0 ? r : source_attach_all(s, e);
}
