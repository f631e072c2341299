// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Connections to the destination. The source's thread makes and ends them; senders and
 * urgent threads borrow links, and have ended before peer_close().
 */
#include "engine/source/peer.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "channel/channel.h"
#include "engine/internal.h"

static int link_connect(struct drover_migration *m, const struct drover_address *a, int fd,
			bool one_way, uint64_t deadline, struct drover_link **ret,
			struct drover_error *e)
{
	struct drover_channel_opts o = {
		.cancel = &m->cancel,
		.deadline = deadline,
		.one_way = one_way,
		.fd = fd,
		.log = m->log,
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

void peer_configure(struct peer *p, const struct drover_config *c)
{
	p->multifd = c->multifd;
	p->zero_copy = c->zero_copy_send;
}

int peer_new_session(struct peer *p, struct drover_error *e)
{
	if (getrandom(p->token, sizeof(p->token), 0) != (ssize_t)sizeof(p->token))
		return drover_err(e, -EIO, "session token: no randomness");
	return 0;
}

void peer_adopt(struct peer *p, const struct owner_record *rec)
{
	memcpy(p->token, rec->token.byte, sizeof(p->token));
	snprintf(p->address, sizeof(p->address), "%s", rec->peer);
}

int peer_send_token(const struct peer *p, struct drover_link *l, enum drover_msg_type type,
		    struct drover_error *e)
{
	return drover_link_send_token(l, type, p->token, e);
}

bool peer_is_session(const struct peer *p, const uint8_t *token)
{
	return !memcmp(p->token, token, sizeof(p->token));
}

static void remember(struct peer *p, struct drover_migration *m)
{
	struct json_object *o = drover_address_to_json(drover_channel_list_main(m->channels));

	snprintf(p->address, sizeof(p->address), "%s",
		 o ? json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN) : "");
	json_object_put(o);
	DROVER_INFO(m, peer, "%s", drover_channel_peer(p->main->ch));
}

int peer_connect(struct peer *p, struct drover_migration *m, int fd, bool one_way,
		 uint64_t deadline, struct drover_error *e)
{
	int r = link_connect(m, drover_channel_list_main(m->channels), fd, one_way, deadline,
			     &p->main, e);

	if (r < 0)
		return r;
	drover_channel_set_name(p->main->ch, "main");
	drover_link_register(m, p->main);
	remember(p, m);
	return 0;
}

int peer_expect(struct peer *p, const struct drover_config *c, struct drover_error *e)
{
	p->ndata = p->multifd ? c->multifd_channels : 0;
	p->nurgent = c->postcopy_preempt ? c->postcopy_channels : 0;
	p->data = calloc(p->ndata + 1, sizeof(struct drover_link *));
	if (!p->data) {
		p->ndata = 0;
		return drover_err(e, -ENOMEM, "data channels: out of memory");
	}
	return 0;
}

int peer_connect_channel(struct peer *p, struct drover_migration *m, enum drover_channel_type type,
			 unsigned int i, uint64_t deadline, struct drover_link **ret,
			 struct drover_error *e)
{
	bool data = type == DROVER_CHANNEL_DATA;
	struct drover_link **l = data ? &p->data[i] : &p->urgent[i];
	char name[32];
	int r;

	snprintf(name, sizeof(name), "%s/%u", drover_channel_type_name(type), i);
	r = link_connect(m, data ? drover_channel_list_data(m->channels, i) :
			 drover_channel_list_postcopy(m->channels, i), -1, m->config->one_way,
			 deadline, l, e);
	if (r < 0)
		return drover_err_prefix(e, "channel %s: ", name), r;
	drover_channel_set_name((*l)->ch, name);
	drover_link_set(*l, data ? DROVER_ON_D : DROVER_ON_P,
			(uint16_t)(data ? i + 1 : DROVER_FRAME_CHANNEL_POSTCOPY + i));
	drover_link_register(m, *l);
	*ret = *l;
	return 0;
}

unsigned int peer_senders(const struct peer *p)
{
	return p->multifd ? p->ndata : 1;
}

struct drover_link *peer_sender(const struct peer *p, unsigned int i)
{
	return p->multifd ? p->data[i] : p->main;
}

static void add_traffic(struct drover_link *l, uint64_t *sum, uint64_t *unsent)
{
	if (!l)
		return;
	*sum += atomic_load(&drover_channel_stats(l->ch)->tx_bytes);
	*unsent += drover_channel_unsent(l->ch);
}

uint64_t peer_traffic(const struct peer *p, uint64_t *ret_unsent)
{
	uint64_t sum = p->lost_bytes, unsent = 0;
	unsigned int i;

	add_traffic(p->main, &sum, &unsent);
	for (i = 0; i < p->ndata; i++)
		add_traffic(p->data[i], &sum, &unsent);
	for (i = 0; i < p->nurgent; i++)
		add_traffic(p->urgent[i], &sum, &unsent);
	if (ret_unsent)
		*ret_unsent = unsent;
	return sum;
}

void peer_data_traffic(const struct peer *p, struct peer_data_traffic *ret)
{
	struct peer_data_traffic t = { 0 };
	unsigned int i;

	for (i = 0; i < p->ndata; i++) {
		struct drover_channel_stats *st;

		if (!p->data[i])
			continue;
		st = drover_channel_stats(p->data[i]->ch);
		t.zc_sends += atomic_load(&st->zc_sends);
		t.zc_copied += atomic_load(&st->zc_copied);
		t.bytes += atomic_load(&st->tx_bytes);
	}
	*ret = t;
}

const char *peer_zc_reason(const struct peer *p)
{
	return p->ndata && p->data[0] ? drover_channel_zc_reason(p->data[0]->ch) : NULL;
}

void peer_shut_data(struct peer *p)
{
	unsigned int i;

	for (i = 0; i < p->ndata; i++)
		if (p->data[i])
			drover_channel_shutdown(p->data[i]->ch);
}

void peer_close(struct peer *p, struct drover_migration *m)
{
	unsigned int i;

	p->lost_bytes = peer_traffic(p, NULL);
	drover_links_forget(m);
	for (i = 0; i < p->ndata; i++)
		drover_link_free(p->data[i]);
	for (i = 0; i < p->nurgent; i++)
		p->urgent[i] = drover_link_free(p->urgent[i]);
	free(p->data);
	p->data = NULL;
	p->ndata = p->nurgent = 0;
	p->main = drover_link_free(p->main);
}
