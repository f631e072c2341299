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
#include "engine/source.h"

/* With more runs than this a block's ranges are merged to 2 MiB. */
#define RANGES_FINE_MAX 16384u
#define RANGES_MERGE_PAGES 512u

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

static int send_hello(struct drover_source *s, struct drover_error *e)
{
	struct drover_migration *m = s->m;
	const struct drover_guest_traits *t = m->guest->ops->traits(m->guest);
	_cleanup_free_ struct drover_msg_hello *h = calloc(1, sizeof(*h));
	_cleanup_free_ uint8_t *body = malloc(DROVER_BODY_MAX);
	struct json_object *cfg = drover_config_offer(&m->config);
	unsigned int i;
	int n, r = -ENOMEM;

	if (!h || !body || !cfg)
		goto out;
	h->version_min = DROVER_WIRE_OLDEST;
	h->version_max = DROVER_WIRE_VERSION;
	h->flags = (s->one_way ? DROVER_HELLO_ONE_WAY : 0) |
		   (t->has_uuid ? DROVER_HELLO_HAS_UUID : 0);
	h->features = m->config.verify != DROVER_VERIFY_NONE ? DROVER_HELLO_DIGEST : 0;
	memcpy(h->token, s->token, sizeof(h->token));
	if (t->has_uuid)
		memcpy(h->uuid, t->uuid, sizeof(h->uuid));
	h->nblocks = m->ram->n;
	for (i = 0; i < m->ram->n; i++) {
		snprintf(h->block[i].name, sizeof(h->block[i].name), "%s", m->ram->block[i].name);
		h->block[i].gpa = m->ram->block[i].gpa;
		h->block[i].size = m->ram->block[i].size;
		h->block[i].flags = s->skip[i] ? DROVER_RAM_SHARED_DEST : 0;
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

/* Round the block's populated ranges out to 2 MiB when there are very many. */
static void merge_ranges(uint64_t *map, uint64_t npages)
{
	uint64_t at = 0, start = 0, n, runs = 0;

	while ((n = drover_bitmap_next_run(map, npages, at, &start))) {
		at = start + n;
		if (++runs > RANGES_FINE_MAX)
			break;
	}
	if (runs <= RANGES_FINE_MAX)
		return;
	at = 0;
	while ((n = drover_bitmap_next_run(map, npages, at, &start))) {
		uint64_t lo = start - start % RANGES_MERGE_PAGES;
		uint64_t hi = (start + n + RANGES_MERGE_PAGES - 1) / RANGES_MERGE_PAGES *
			      RANGES_MERGE_PAGES;

		if (hi > npages)
			hi = npages;
		drover_bitmap_set_range(map, lo, hi - lo);
		at = hi;
	}
}

static int send_runs(struct drover_source *s, unsigned int block, const struct drover_run *run,
		     uint32_t n, bool last, struct drover_error *e)
{
	struct drover_msg_runs m = {
		.block = block,
		.flags = last ? DROVER_RUNS_LAST : 0,
		.n = n,
		.run = run,
	};
	_cleanup_free_ uint8_t *body = malloc(65536);
	int len;

	if (!body)
		return drover_err(e, -ENOMEM, "RANGES: out of memory");
	len = drover_runs_encode(&m, body, 65536);
	if (len < 0)
		return drover_err(e, len, "RANGES: %s", drover_strerror(len));
	return drover_link_send(s->main, DROVER_MSG_RANGES, body, (size_t)len, NULL, 0, 0, e);
}

/* The first round sends exactly what is announced: dirty starts as the ranges. */
static int send_ranges(struct drover_source *s, struct drover_error *e)
{
	_cleanup_free_ struct drover_run *run = calloc(DROVER_RUNS_MAX, sizeof(*run));
	const struct drover_ram *ram = s->m->ram;
	unsigned int i;
	int r = 0;

	if (!run)
		return drover_err(e, -ENOMEM, "RANGES: out of memory");
	for (i = 0; i < ram->n && r >= 0; i++) {
		uint64_t npages = drover_pages(ram->block[i].size), at = 0, start = 0, n;
		uint32_t k = 0;

		if (s->skip[i])
			continue;
		memcpy(s->dirty[i], drover_tracker_data(s->tracker, i), drover_bitmap_bytes(npages));
		merge_ranges(s->dirty[i], npages);
		while (r >= 0 && (n = drover_bitmap_next_run(s->dirty[i], npages, at, &start))) {
			run[k++] = (struct drover_run){ start, n };
			at = start + n;
			if (k < DROVER_RUNS_MAX)
				continue;
			r = send_runs(s, i, run, k, false, e);
			k = 0;
		}
		if (k && r >= 0)
			r = send_runs(s, i, run, k, false, e);
	}
	return r < 0 ? r : send_runs(s, 0, run, 0, true, e);
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

static int accepted(const struct drover_msg_hello_ack *a, struct drover_error *e)
{
	struct json_object *o = NULL;
	int r;

	if (a->version < DROVER_WIRE_OLDEST || a->version > DROVER_WIRE_VERSION)
		return drover_err(e, -EPROTONOSUPPORT, "HELLO_ACK: version %u.%u was not offered",
				  a->version >> 8, a->version & 0xff);
	r = drover_json_parse(a->text, a->text_len, DROVER_BODY_MAX, &o, e);
	if (r < 0)
		return drover_err_prefix(e, "HELLO_ACK: "), r;
	json_object_put(o);
	return 0;
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
				  s->m->config.handshake_timeout);
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
	return a.status == DROVER_ACK_OK ? accepted(&a, e) : refused(&a, e);
}

static int attach(struct drover_source *s, unsigned int i, uint64_t deadline,
		  struct drover_error *e)
{
	struct drover_msg_attach a = { .type = DROVER_CHANNEL_DATA, .index = (uint16_t)i };
	uint8_t body[64];
	char name[32];
	int n, r;

	r = link_connect(s, drover_channel_list_data(s->m->channels, i), -1, deadline, &s->data[i],
			 e);
	if (r < 0)
		return drover_err_prefix(e, "channel data/%u: ", i), r;
	snprintf(name, sizeof(name), "data/%u", i);
	drover_channel_set_name(s->data[i]->ch, name);
	drover_link_set(s->data[i], DROVER_ON_D, (uint16_t)(i + 1));
	drover_link_register(s->m, s->data[i]);
	memcpy(a.token, s->token, sizeof(a.token));
	n = drover_attach_encode(&a, body, sizeof(body));
	return drover_link_send(s->data[i], DROVER_MSG_ATTACH, body, (size_t)n, NULL, 0, 0, e);
}

static int attach_ack(struct drover_source *s, unsigned int i, uint64_t deadline,
		      struct drover_error *e)
{
	struct drover_msg_status st;
	struct drover_frame f;
	int r;

	r = drover_link_poll(s->data[i], deadline);
	if (r == 0)
		return drover_err(e, -ETIMEDOUT, "channel data/%u: no ATTACH_ACK within %u ms (handshake-timeout)",
				  i, s->m->config.handshake_timeout);
	if (r > 0)
		r = drover_link_recv(s->data[i], &f, e);
	if (r)
		return drover_err(e, r < 0 ? r : -ECONNRESET,
				  "channel data/%u: the destination closed it before ATTACH_ACK", i);
	r = drover_status_decode(s->data[i]->body, f.body_len, &st, e);
	if (r < 0)
		return drover_link_bad(s->data[i], e), r;
	if (f.type != DROVER_MSG_ATTACH_ACK || st.status != DROVER_ACK_OK)
		return drover_err(e, -ECONNREFUSED, "channel data/%u: refused: %.*s", i,
				  (int)st.text_len, st.text);
	return 0;
}

/* All ATTACHes leave before the first answer is awaited: one round trip for all. */
static int connect_data(struct drover_source *s, struct drover_error *e)
{
	uint64_t deadline = drover_deadline_ms(s->m->config.handshake_timeout);
	unsigned int i;
	int r;

	if (!s->multifd)
		return 0;
	s->ndata = s->m->config.multifd_channels;
	s->data = calloc(s->ndata, sizeof(struct drover_link *));
	if (!s->data)
		return drover_err(e, -ENOMEM, "data channels: out of memory");
	for (i = 0; i < s->ndata; i++) {
		r = attach(s, i, deadline, e);
		if (r < 0)
			return r;
	}
	for (i = 0; i < s->ndata; i++) {
		r = attach_ack(s, i, deadline, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static void remember_peer(struct drover_source *s)
{
	struct json_object *o = drover_address_to_json(drover_channel_list_main(s->m->channels));

	snprintf(s->peer, sizeof(s->peer), "%s",
		 o ? json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN) : "");
	json_object_put(o);
	drover_info_text(s->m, s->m->info.peer, sizeof(s->m->info.peer), "%s",
			 drover_channel_peer(s->main->ch));
}

int source_connect(struct drover_source *s, struct drover_error *e)
{
	uint64_t deadline = drover_deadline_ms(s->m->config.handshake_timeout);
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
	s->m->config.one_way = s->one_way;
	r = send_hello(s, e);
	if (r >= 0)
		r = send_ranges(s, e);
	if (r >= 0 && !s->one_way)
		r = wait_hello_ack(s, deadline, e);
	if (r >= 0)
		r = connect_data(s, e);
	return r;
}
