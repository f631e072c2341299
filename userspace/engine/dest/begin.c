// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * How a session begins, whether by a new migration's HELLO or by one that resumes a postcopy:
 * it is made, its blocks are paired with the source's, its channels are awaited, and the
 * source gets its answer. Called by hello.c and resume.c.
 */
#include <errno.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "engine/dest/dest.h"
#include "engine/dest/session.h"

int session_new(struct drover_dest *d, struct drover_link *l, const struct drover_msg_hello *h,
		struct session **ret, struct drover_error *e)
{
	struct session *x = calloc(1, sizeof(*x));
	int r;

	if (!x)
		return drover_err(e, -ENOMEM, "session: out of memory");
	channels_init(&x->channels);
	barrier_init(&x->barrier);
	fate_init(&x->fate);
	state_init(&x->state);
	x->d = d;
	x->m = d->m;
	x->main = l;
	x->version = drover_hello_version(h);
	x->one_way = h->flags & DROVER_HELLO_ONE_WAY;
	memcpy(x->token, h->token, sizeof(x->token));
	r = digest_init(&x->digest, d->m->ram, x->one_way, e);
	if (r < 0) {
		session_free(x);
		return r;
	}
	*ret = x;
	return 0;
}

struct session *session_free(struct session *x)
{
	if (!x)
		return NULL;
	session_drop_place(x);
	session_drop_postcopy(x);
	digest_deinit(&x->digest);
	state_deinit(&x->state);
	fate_deinit(&x->fate);
	barrier_deinit(&x->barrier);
	channels_deinit(&x->channels);
	free(x);
	return NULL;
}

void session_refusal(struct json_object *list, const char *option, const char *fmt, ...)
{
	struct json_object *o = json_object_new_object();
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	json_object_object_add(o, "option", json_object_new_string(option));
	json_object_object_add(o, "desc", json_object_new_string(text));
	json_object_array_add(list, o);
}

static const struct drover_ram_block *find_block(const struct drover_ram *ram, const char *name,
						 unsigned int *ret)
{
	unsigned int i;

	for (i = 0; i < ram->n; i++)
		if (!strcmp(ram->block[i].name, name)) {
			*ret = i;
			return &ram->block[i];
		}
	return NULL;
}

void session_match_blocks(struct session *x, const struct drover_msg_hello *h,
			  struct json_object *no)
{
	const struct drover_ram *ram = x->m->ram;
	unsigned int i;

	if (h->nblocks != ram->n)
		session_refusal(no, "ram-blocks", "the source has %u RAM blocks, this guest %u",
				h->nblocks, ram->n);
	x->nblocks = h->nblocks;
	for (i = 0; i < h->nblocks; i++) {
		const struct drover_ram_block *b =
			find_block(ram, h->block[i].name, &x->block[i].ours);

		x->block[i].skip = h->block[i].flags & DROVER_RAM_SHARED_DEST;
		if (!b)
			session_refusal(no, "ram-blocks", "this guest has no RAM block %s",
					h->block[i].name);
		else if (b->size != h->block[i].size || b->gpa != h->block[i].gpa)
			session_refusal(no, "ram-blocks",
					"RAM block %s is %llu bytes at 0x%llx on the source, %llu bytes at 0x%llx here",
					b->name, (unsigned long long)h->block[i].size,
					(unsigned long long)h->block[i].gpa,
					(unsigned long long)b->size, (unsigned long long)b->gpa);
		else if (x->block[i].skip && !(b->flags & DROVER_RAM_SHARED_DEST))
			session_refusal(no, "x-ignore-shared",
					"RAM block %s would not be sent, and this side does not share it",
					b->name);
	}
	digest_blocks(&x->digest, x->block, x->nblocks);
}

int session_make_place(struct session *x, bool digests, struct drover_error *e)
{
	return drover_place_new(x->m->ram, digests, &x->place, e);
}

void session_drop_place(struct session *x)
{
	x->place = drover_place_free(x->place);
}

void session_set_verify(struct session *x, bool verify)
{
	x->verify = verify;
}

void session_set_postcopy(struct session *x, struct postcopy *pc)
{
	x->pc = pc;
}

void session_drop_postcopy(struct session *x)
{
	if (x->pc && x->pc != seat_postcopy(x->d))
		postcopy_free(x->pc, true);
	x->pc = NULL;
}

void session_register(struct session *x)
{
	drover_channel_set_stall(x->main->ch, 0);
	drover_channel_set_name(x->main->ch, "main");
	drover_link_register(x->m, x->main);
}

void session_expect_channels(struct session *x)
{
	const struct drover_config *c = x->m->config;
	unsigned int ndata = c->multifd ? c->multifd_channels : 0;

	barrier_expect(&x->barrier, ndata + 1);
	channels_expect(&x->channels, ndata, c->postcopy_preempt ? c->postcopy_channels : 0);
}

int session_answer(struct session *x, uint32_t status, struct json_object *text,
		   uint64_t features, struct drover_error *e)
{
	struct drover_msg_hello_ack a = {
		.status = status,
		.version = x->version,
		.features = features,
	};
	_cleanup_free_ uint8_t *body = malloc(DROVER_BODY_MAX);
	int n;

	if (!body || !text)
		return drover_err(e, -ENOMEM, "HELLO_ACK: out of memory");
	a.text = json_object_to_json_string_ext(text, JSON_C_TO_STRING_PLAIN);
	a.text_len = (uint32_t)strlen(a.text);
	n = drover_hello_ack_encode(&a, body, DROVER_BODY_MAX);
	if (n < 0)
		return drover_err(e, n, "HELLO_ACK: %s", drover_strerror(n));
	return drover_link_send(x->main, DROVER_MSG_HELLO_ACK, body, (size_t)n, NULL, 0, 0, e);
}

int session_accept(struct session *x, uint64_t features, struct drover_error *e)
{
	_cleanup_json_ struct json_object *yes = drover_config_to_json(x->m->config);

	return session_answer(x, DROVER_ACK_OK, yes, features, e);
}
