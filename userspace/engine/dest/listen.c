// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The incoming side: listens, gives each connection a thread, and lets its first message
 * say what it is: HELLO begins a session, ATTACH joins one, OWNER_QUERY asks about one.
 * Everything else is dropped and counted. A bad connection never ends the listening, and
 * a failed session does not either.
 */
#include "engine/dest/dest.h"

#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/thread.h"

#define ACCEPT_TICK_MS 200

void dest_refuse(struct drover_dest *d, const char *why)
{
	DROVER_LOCK(&d->lock);

	drover_debug(d->m->log, "connection dropped: %s", why);
	snprintf(d->refused, sizeof(d->refused), "%s", why);
	DROVER_STAT(d->m, refused_connections,
		    drover_stat_get(&d->m->stats.refused_connections) + 1);
}

/*
 * A source was refused: error-desc says why, also while it waits for the next. Not where a
 * session is under way or the guest is here: that is another migration's story.
 */
static void tell_refusal(struct drover_dest *d, const struct drover_error *e)
{
	enum drover_state st = drover_state_get(d->m);
	DROVER_LOCK(&d->lock);

	if (d->session || d->completed ||
	    (st != DROVER_STATE_SETUP && st != DROVER_STATE_FAILED))
		return;
	drover_replace_error(d->m, e);
}

int dest_record(struct drover_dest *d, enum drover_owner_state state, const uint8_t *token,
		struct drover_error *e)
{
	struct drover_owner_record rec = { .state = state };
	DROVER_LOCK(&d->guest);

	if (token) {
		memcpy(rec.token, token, sizeof(rec.token));
		snprintf(rec.peer, sizeof(rec.peer), "%s", d->address);
	}
	return d->m->guest->ops->owner_set(d->m->guest, &rec, e);
}

static void know_conn(struct conn *c)
{
	DROVER_LOCK(&c->d->lock);

	if (c->stranger)
		c->d->strangers--;
	c->stranger = false;
}

static void new_session(struct conn *c, size_t len)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_dest *d = c->d;
	struct session *x;
	int r;

	r = dest_hello(d, c->link, len, &x, &e);
	if (r < 0) {
		/* Counted before it is told: who has read the answer finds it counted. */
		dest_refuse(d, e.msg);
		tell_refusal(d, &e);
		drover_link_fail(c->link, r, e.msg);
		drover_link_linger(c->link, drover_deadline_ms(1000));
		return;
	}
	know_conn(c);
	session_main(x);
}

/* It can read the header of our answer, and sees by it which version is spoken here. */
static void answer_other_age(struct conn *c, const struct drover_error *e)
{
	tell_refusal(c->d, e);
	drover_link_set(c->link, DROVER_ON_M, 0);
	drover_link_fail(c->link, e->code, e->msg);
	drover_link_linger(c->link, drover_deadline_ms(1000));
}

static void first_message(struct conn *c)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_link *l = c->link;
	struct drover_frame f;
	int r;

	r = drover_link_poll(l, drover_deadline_ms(c->d->handshake_timeout));
	if (r > 0)
		r = drover_link_recv(l, &f, &e);
	else
		r = drover_err(&e, r ? r : -ETIMEDOUT, "nothing came within handshake-timeout");
	if (r) {
		dest_refuse(c->d, r < 0 ? e.msg : "it closed without a message");
		if (r == -EPROTONOSUPPORT)
			answer_other_age(c, &e);
		return;
	}
	if (f.type == DROVER_MSG_OWNER_QUERY) {
		drover_link_set(l, DROVER_ON_M, 0);
		dest_owner_query(c->d, l, f.body_len);
	} else if (f.type == DROVER_MSG_HELLO) {
		drover_link_set(l, DROVER_ON_M, 0);
		new_session(c, f.body_len);
	} else if (f.type == DROVER_MSG_ATTACH) {
		know_conn(c);
		session_attach(c->d, l, f.body_len);
	} else {
		dest_refuse(c->d, "its first message is none of HELLO, ATTACH, OWNER_QUERY");
	}
}

static void *conn_main(void *arg)
{
	struct conn *c = arg;

	drover_thread_name("connection", -1);
	first_message(c);
	know_conn(c);
	drover_link_forget(c->d->m, c->link);
	c->link = drover_link_free(c->link);
	atomic_store(&c->done, true);
	return NULL;
}

/* Join threads that are done; with @all wait for every one. */
static void reap(struct drover_dest *d, bool all)
{
	struct conn **p = &d->conns, *c;

	while ((c = *p)) {
		if (!all && !atomic_load(&c->done)) {
			p = &c->next;
			continue;
		}
		pthread_join(c->thread, NULL);
		*p = c->next;
		free(c);
	}
}

static void welcome(struct drover_dest *d, struct drover_channel *ch)
{
	struct conn *c = calloc(1, sizeof(*c));
	bool full;

	if (!c || drover_link_new(ch, false, &c->link, NULL) < 0) {
		drover_channel_free(ch);
		free(c);
		return;
	}
	/* What it is will be known when its first message is. */
	drover_link_set(c->link, DROVER_ON_M | DROVER_ON_D | DROVER_ON_P, 0);
	drover_channel_set_stall(ch, d->handshake_timeout);
	c->d = d;
	c->stranger = true;
	pthread_mutex_lock(&d->lock);
	full = d->strangers >= DEST_STRANGERS_MAX;
	if (!full)
		d->strangers++;
	pthread_mutex_unlock(&d->lock);
	if (full || pthread_create(&c->thread, NULL, conn_main, c)) {
		if (!full)
			know_conn(c);
		dest_refuse(d, "too many connections that say nothing");
		drover_link_free(c->link);
		free(c);
		return;
	}
	c->next = d->conns;
	d->conns = c;
}

static int accept_one(struct drover_dest *d, struct drover_listener *l, struct drover_error *e)
{
	struct drover_channel_opts o = {
		.cancel = &d->m->cancel,
		.deadline = drover_deadline_ms(ACCEPT_TICK_MS),
		.one_way = d->one_way,
		.incoming = true,
		.fd = d->m->fd,
		.log = d->m->log,
	};
	struct drover_channel *ch;
	int r = drover_listener_accept(l, &o, &ch, e);

	if (r < 0)
		return r;
	drover_channel_set_name(ch, "incoming");
	welcome(d, ch);
	return 0;
}

static void accept_loop(struct drover_dest *d)
{
	struct pollfd p[DEST_LISTENERS_MAX + 1];
	unsigned int i, n;

	/* Who has let go for good has nothing left to ask. */
	while (!drover_cancelled(&d->m->cancel) && !atomic_load(&d->released)) {
		/* migrate-recover adds to them. */
		pthread_mutex_lock(&d->lock);
		n = d->nlisteners;
		pthread_mutex_unlock(&d->lock);
		for (i = 0; i < n; i++)
			p[i] = (struct pollfd){ .fd = drover_listener_fd(d->listener[i]),
						.events = POLLIN };
		p[i] = (struct pollfd){ .fd = d->m->cancel.fd, .events = POLLIN };
		if (poll(p, i + 1, ACCEPT_TICK_MS) > 0)
			for (i = 0; i < n; i++)
				if (p[i].revents)
					accept_one(d, d->listener[i], NULL);
		reap(d, false);
	}
}

/* A transport of one connection: wait for its end, then there is nothing to listen to. */
static void one_shot(struct drover_dest *d)
{
	struct drover_error e = DROVER_ERROR_INIT;
	int r = accept_one(d, d->listener[0], &e);

	if (r < 0) {
		drover_fail(d->m, &e);
		drover_state_set(d->m, DROVER_STATE_SETUP, DROVER_STATE_FAILING);
		drover_state_set(d->m, DROVER_STATE_FAILING, DROVER_STATE_FAILED);
		return;
	}
	d->m->fd = -EBADF;      /* the channel owns it now */
	drover_deaf(d->m);
	reap(d, true);
	/* Not even a session came of it. */
	if (drover_state_get(d->m) == DROVER_STATE_SETUP) {
		drover_err(&e, -EPROTO, "incoming: %.1000s", d->refused);
		drover_fail(d->m, &e);
		drover_state_set(d->m, DROVER_STATE_SETUP, DROVER_STATE_FAILING);
		drover_state_set(d->m, DROVER_STATE_FAILING, DROVER_STATE_FAILED);
	}
}

/* Nobody answers any more: a connection must fail now, not after handshake-timeout. */
static void stop_listening(struct drover_dest *d)
{
	unsigned int i;

	for (i = 0; i < d->nlisteners; i++)
		drover_listener_free(d->listener[i]);
	d->nlisteners = 0;
}

void dest_publish_addresses(struct drover_dest *d)
{
	struct json_object *arr = json_object_new_array();
	unsigned int i;

	for (i = 0; i < d->nlisteners; i++)
		json_object_array_add(arr, drover_address_to_json(
				      drover_listener_address(d->listener[i])));
	DROVER_INFO(d->m, listening, "%s",
			 json_object_to_json_string_ext(arr, JSON_C_TO_STRING_PLAIN));
	json_object_put(arr);
}

int dest_prepare_guest(struct drover_dest *d, struct drover_error *e)
{
	struct drover_guest *g = d->m->guest;
	DROVER_LOCK(&d->guest);

	/* RAM that the source runs on must not be emptied under it. */
	return d->shared_ram ? g->ops->prepare_shared(g, e) : g->ops->prepare_incoming(g, e);
}

static void *dest_main(void *arg)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_migration *m = arg;
	struct drover_dest *d = m->dest;
	bool take_up = m->mode == DROVER_MODE_TAKE_UP;
	int r = m->mode == DROVER_MODE_SETTLE ? 0 :
		take_up ? dest_adopt(d, &e) : dest_prepare_guest(d, &e);

	drover_thread_name("destination", -1);
	if (r < 0 && take_up) {
		/* The VMM has it still, and the next droverd may know how. */
		drover_fail(m, &e);
	} else if (r < 0) {
		drover_err_prefix(&e, "prepare the guest: ");
		drover_fail(m, &e);
		drover_state_set(m, DROVER_STATE_SETUP, DROVER_STATE_FAILING);
		drover_state_set(m, DROVER_STATE_FAILING, DROVER_STATE_FAILED);
	} else {
		dest_publish_addresses(d);
		if (d->one_shot)
			one_shot(d);
		else
			accept_loop(d);
	}
	stop_listening(d);
	drover_deaf(m);
	reap(d, true);
	if (drover_state_get(m) == DROVER_STATE_SETUP) {
		drover_state_set(m, DROVER_STATE_SETUP, DROVER_STATE_FAILING);
		drover_state_set(m, DROVER_STATE_FAILING, DROVER_STATE_FAILED);
	}
	atomic_store(&m->facts.ended, true);
	return NULL;
}

static int listen_on(struct drover_dest *d, const struct drover_address *a, struct drover_error *e)
{
	struct drover_channel_opts o = {
		.cancel = &d->m->cancel,
		.one_way = d->one_way,
		.incoming = true,
		.fd = d->m->fd,
		.log = d->m->log,
	};
	int r;

	if (d->nlisteners == DEST_LISTENERS_MAX)
		return drover_err(e, -E2BIG, "channels: more than %u addresses",
				  DEST_LISTENERS_MAX);
	r = drover_listener_new(a, &o, &d->listener[d->nlisteners], e);
	if (r < 0)
		return r;
	d->nlisteners++;
	return 0;
}

static int dest_prepare(struct drover_migration *m, struct drover_error *e)
{
	struct drover_dest *d = calloc(1, sizeof(*d));
	struct json_object *o;
	unsigned int i;
	int r;

	if (!d)
		return drover_err(e, -ENOMEM, "incoming: out of memory");
	m->dest = d;
	d->m = m;
	d->handshake_timeout = m->config->handshake_timeout;
	d->one_way = m->config->one_way;
	d->shared_ram = m->config->x_ignore_shared;
	pthread_mutex_init(&d->lock, NULL);
	pthread_mutex_init(&d->guest, NULL);
	r = listen_on(d, drover_channel_list_main(m->channels), e);
	for (i = 0; i < m->channels->n && r >= 0; i++)
		if (m->channels->entry[i].type != DROVER_CHANNEL_MAIN)
			r = listen_on(d, &m->channels->entry[i].addr, e);
	if (r < 0)
		return r;
	d->one_shot = drover_listener_fd(d->listener[0]) < 0;
	o = drover_address_to_json(drover_listener_address(d->listener[0]));
	snprintf(d->address, sizeof(d->address), "%s",
		 json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
	json_object_put(o);
	return 0;
}

static void dest_release(struct drover_migration *m)
{
	struct drover_dest *d = m->dest;

	if (!d)
		return;
	stop_listening(d);
	pc_free(d->pc, false);
	pthread_mutex_destroy(&d->guest);
	pthread_mutex_destroy(&d->lock);
	free(d);
	m->dest = NULL;
}

const struct drover_side_ops drover_dest_side = {
	.name = "destination",
	.prepare = dest_prepare,
	.run = dest_main,
	.release = dest_release,
	.blocktime = dest_blocktime,
};
