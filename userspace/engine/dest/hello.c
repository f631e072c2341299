// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The incoming side's half of the handshake. The whole question (HELLO and all RANGES) is
 * read before it is answered, so that a refusal is never lost in a reset; everything that
 * does not fit is listed, by option name, in one answer.
 */
#include <errno.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "engine/dest/dest.h"
#include "engine/feasible.h"

struct session *session_free(struct session *x)
{
	if (!x)
		return NULL;
	drover_place_free(x->place);
	if (x->pc && x->pc != x->d->pc)
		pc_free(x->pc, true);
	drover_closep(&x->state_fd);
	free(x->diff);
	pthread_cond_destroy(&x->cond);
	pthread_mutex_destroy(&x->lock);
	free(x);
	return NULL;
}

static void session_freep(struct session **x)
{
	session_free(*x);
}

static void refuse(struct json_object *list, const char *option, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void refuse(struct json_object *list, const char *option, const char *fmt, ...)
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

void hello_match_blocks(struct session *x, const struct drover_msg_hello *h,
			struct json_object *no)
{
	const struct drover_ram *ram = x->m->ram;
	unsigned int i;

	if (h->nblocks != ram->n)
		refuse(no, "ram-blocks", "the source has %u RAM blocks, this guest %u", h->nblocks,
		       ram->n);
	x->nblocks = h->nblocks;
	for (i = 0; i < h->nblocks; i++) {
		const struct drover_ram_block *b = find_block(ram, h->block[i].name, &x->block[i]);

		x->skip[i] = h->block[i].flags & DROVER_RAM_SHARED_DEST;
		if (!b)
			refuse(no, "ram-blocks", "this guest has no RAM block %s",
			       h->block[i].name);
		else if (b->size != h->block[i].size || b->gpa != h->block[i].gpa)
			refuse(no, "ram-blocks",
			       "RAM block %s is %llu bytes at 0x%llx on the source, %llu bytes at 0x%llx here",
			       b->name, (unsigned long long)h->block[i].size,
			       (unsigned long long)h->block[i].gpa, (unsigned long long)b->size,
			       (unsigned long long)b->gpa);
		else if (x->skip[i] && !(b->flags & DROVER_RAM_SHARED_DEST))
			refuse(no, "x-ignore-shared",
			       "RAM block %s would not be sent, and this side does not share it",
			       b->name);
	}
}

static void match_uuid(struct session *x, const struct drover_msg_hello *h,
		       const struct drover_config *cfg, struct json_object *no)
{
	const struct drover_guest_traits *t = x->m->guest->ops->traits(x->m->guest);

	if (!cfg->validate_uuid)
		return;
	if (!(h->flags & DROVER_HELLO_HAS_UUID) || !t->has_uuid)
		refuse(no, "validate-uuid", "a guest has no UUID to compare");
	else if (memcmp(h->uuid, t->uuid, sizeof(t->uuid)))
		refuse(no, "validate-uuid", "the guests' UUIDs differ");
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

/* Ranges go to placement; without a session they are read and dropped. */
static int read_ranges(struct session *x, struct drover_link *l, bool keep, struct drover_error *e)
{
	uint64_t budget = 16 + drover_ram_pages(x->m->ram) / 256;
	struct drover_msg_runs m;
	struct drover_frame f;
	uint32_t i;
	int r;

	do {
		r = drover_link_recv(l, &f, e);
		if (r)
			return drover_err(e, r < 0 ? r : -ECONNRESET, "handshake: closed before RANGES");
		if (f.type != DROVER_MSG_RANGES)
			return drover_err(e, -EBADMSG, "handshake: %s instead of RANGES",
					  l->info->name);
		r = drover_runs_decode(l->body, f.body_len, &m, e);
		if (r < 0)
			return drover_link_bad(l, e), r;
		if (!budget--)
			return drover_err(e, -EBADMSG, "handshake: more RANGES than this RAM can have");
		if (m.n && (m.block >= x->nblocks || x->skip[m.block]))
			return drover_err(e, -EBADMSG, "handshake: RANGES of block %u", m.block);
		for (i = 0; i < m.n && keep; i++) {
			struct drover_run run = drover_msg_run_at(&m, i);

			r = drover_place_expect(x->place, x->block[m.block], run.page, run.npages,
						  e);
			if (r < 0)
				return drover_link_bad(l, e), r;
		}
	} while (!(m.flags & DROVER_RUNS_LAST));
	return 0;
}

int hello_answer(struct session *x, uint32_t status, struct json_object *text,
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

int session_new(struct drover_dest *d, struct drover_link *l, const struct drover_msg_hello *h,
		struct session **ret, struct drover_error *e)
{
	struct session *x = calloc(1, sizeof(*x));

	if (!x)
		return drover_err(e, -ENOMEM, "session: out of memory");
	pthread_mutex_init(&x->lock, NULL);
	pthread_cond_init(&x->cond, NULL);
	x->d = d;
	x->m = d->m;
	x->main = l;
	x->version = drover_hello_version(h);
	x->state_fd = -EBADF;
	x->one_way = h->flags & DROVER_HELLO_ONE_WAY;
	x->round = 1;
	memcpy(x->token, h->token, sizeof(x->token));
	x->diff = calloc(1, sizeof(*x->diff));
	if (!x->diff) {
		session_free(x);
		return drover_err(e, -ENOMEM, "session: out of memory");
	}
	*ret = x;
	return 0;
}

/* One session at a time; none after the guest has arrived. */
static int claim(struct drover_dest *d, struct session *x, struct drover_error *e)
{
	enum drover_state st = drover_state_get(d->m);
	DROVER_LOCK(&d->lock);

	if (d->m->mode == DROVER_MODE_SETTLE)
		return drover_err(e, -EACCES, "no migrate-incoming is under way here");
	if (d->completed)
		return drover_err(e, -EBUSY, "a migration has been completed here; the guest has arrived");
	if (d->session || (st != DROVER_STATE_SETUP && st != DROVER_STATE_FAILED))
		return drover_err(e, -EBUSY, "another migration is in progress here");
	d->session = x;
	return 0;
}

static void unclaim(struct drover_dest *d)
{
	DROVER_LOCK(&d->lock);

	d->session = NULL;
}

static int adopt_config(struct session *x, const struct drover_config *cfg)
{
	struct drover_migration *m = x->m;
	int r = drover_settings_replace(m, cfg, true);

	if (r < 0)
		return r;
	x->verify = cfg->verify != DROVER_VERIFY_NONE;
	drover_view_reset(m, drover_channel_peer(x->main->ch));
	return 0;
}

static int enter(struct session *x, struct drover_error *e)
{
	struct drover_migration *m = x->m;
	int r;

	r = drover_place_open(x->place, &m->cancel, e);
	if (r >= 0)
		r = dest_record(x->d, DROVER_OWNER_INCOMING, x->token, e);
	if (r < 0)
		return r;
	drover_state_set(m, DROVER_STATE_FAILED, DROVER_STATE_SETUP);
	drover_channel_set_stall(x->main->ch, 0);
	drover_channel_set_name(x->main->ch, "main");
	drover_link_register(m, x->main);
	m->started_ns = drover_now_ns();
	drover_progress(m, m->started_ns);
	DROVER_STAT(m, total, drover_ram_pages(m->ram) * DROVER_PAGE_SIZE);
	DROVER_STAT(m, page_size, DROVER_PAGE_SIZE);
	if (!drover_state_set(m, DROVER_STATE_SETUP, DROVER_STATE_ACTIVE))
		return drover_err(e, -ECANCELED, "the incoming migration was cancelled");
	return 0;
}

/* What postcopy needs is made before anything is received: the digests are in it. */
static int postcopy_new(struct session *x, struct drover_error *e)
{
	unsigned int i;
	int r = pc_new(x->d, NULL, &x->pc, e);

	if (r < 0)
		return r;
	memcpy(x->pc->token, x->token, sizeof(x->token));
	for (i = 0; i < x->m->ram->n && x->verify; i++)
		drover_place_lend_digests(x->place, i, x->pc->ledger->digest[i]);
	return 0;
}

static int negotiate(struct session *x, const struct drover_msg_hello *h, struct drover_link *l,
		     struct drover_error *e)
{
	struct json_object *no = json_object_new_array(), *yes;
	uint64_t features = h->features & DROVER_HELLO_DIGEST;
	char text[DROVER_ERR_MAX - 64];
	struct drover_config cfg;
	bool cfg_ok = false;
	size_t n;
	int r;

	r = match_config(x, h, &cfg, &no, e);
	if (r < 0)
		goto out;
	cfg_ok = r == 0;
	hello_match_blocks(x, h, no);
	if (r == 0)
		match_uuid(x, h, &cfg, no);
	if (r == 0 && cfg.x_ignore_shared && !x->d->shared_ram)
		refuse(no, "x-ignore-shared",
		       "it must be given to migrate-incoming too: this side has emptied its memory");
	n = json_object_array_length(no);
	if (!n)
		r = drover_place_new(x->m->ram, cfg.verify != DROVER_VERIFY_NONE && !cfg.postcopy_ram,
				     &x->place, e);
	if (r >= 0)
		r = read_ranges(x, l, !n, e);
	if (n) {
		if (r >= 0 && !x->one_way)
			hello_answer(x, DROVER_ACK_REFUSED, no, features, NULL);
		drover_config_refusals_text(no, text, sizeof(text));
		r = drover_err(e, -ECONNREFUSED, "handshake refused: %s", text);
		goto out;
	}
	if (r >= 0)
		r = adopt_config(x, &cfg);
	if (r < 0)
		goto out;
	if (x->m->config->postcopy_ram)
		r = postcopy_new(x, e);
	if (r >= 0)
		r = enter(x, e);
	if (r < 0)
		goto out;
	x->npostcopy = x->m->config->postcopy_preempt ? x->m->config->postcopy_channels : 0;
	x->ndata = x->m->config->multifd ? x->m->config->multifd_channels : 0;
	yes = drover_config_to_json(x->m->config);
	r = x->one_way ? 0 : hello_answer(x, DROVER_ACK_OK, yes, features, e);
	json_object_put(yes);
out:
	if (cfg_ok)
		drover_config_deinit(&cfg);
	json_object_put(no);
	return r;
}

int dest_hello(struct drover_dest *d, struct drover_link *l, size_t hello_len,
	       struct session **ret, struct drover_error *e)
{
	_cleanup_free_ struct drover_msg_hello *h = calloc(1, sizeof(*h));
	_cleanup_free_ uint8_t *copy = malloc(hello_len);
	_cleanup_(session_freep) struct session *x = NULL;
	int r;

	if (!h || !copy)
		return drover_err(e, -ENOMEM, "HELLO: out of memory");
	memcpy(copy, l->body, hello_len);
	r = drover_hello_decode(copy, hello_len, h, e);
	if (r < 0)
		return drover_link_bad(l, e), r;
	if (!drover_hello_version(h))
		return drover_err(e, -EPROTONOSUPPORT, "HELLO: the source speaks %u.%u to %u.%u, this side %u.%u",
				  h->version_min >> 8, h->version_min & 0xff, h->version_max >> 8,
				  h->version_max & 0xff, DROVER_WIRE_MAJOR, DROVER_WIRE_MINOR);
	if (h->flags & DROVER_HELLO_RESUME)
		return dest_resume(d, l, h, ret, e);
	r = session_new(d, l, h, &x, e);
	if (r >= 0)
		r = claim(d, x, e);
	if (r < 0)
		return r;
	r = negotiate(x, h, l, e);
	if (r < 0) {
		if (drover_state_get(d->m) == DROVER_STATE_ACTIVE) {
			drover_fail(d->m, e);
			drover_state_set(d->m, DROVER_STATE_ACTIVE, DROVER_STATE_FAILING);
			drover_state_set(d->m, DROVER_STATE_FAILING, DROVER_STATE_FAILED);
		}
		unclaim(d);
		return r;
	}
	*ret = TAKE_PTR(x);
	return 0;
}
