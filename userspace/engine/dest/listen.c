// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The incoming side's table of contents. It listens and gives each connection a thread; the
 * connection's first message says what it is: HELLO begins a session, ATTACH joins one,
 * OWNER_QUERY asks about one. Everything else is dropped and counted. A bad connection never
 * ends the listening, and a failed session does not either. Called by migration.c through
 * drover_dest_side; no other file of the destination calls this one.
 */
#include "engine/dest/dest.h"

#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/thread.h"
#include "engine/dest/session.h"

#define ACCEPT_TICK_MS 200

/* Connections that have not yet said what they are; more are dropped. */
#define STRANGERS_MAX 64u

/**
 * struct conn - one accepted connection and its thread
 * @done: the thread is about to end and may be joined
 * @stranger: it has not yet said what it is; its own thread's, once that runs
 */
struct conn {
	struct drover_dest *d;
	struct drover_link *link;
	pthread_t thread;
	atomic_bool done;
	bool stranger;
	struct conn *next;
};

static void know_conn(struct conn *c)
{
	if (c->stranger)
		atomic_fetch_sub(&c->d->strangers, 1);
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
		/* It is counted before it is told, so a source that has read the answer finds it counted. */
		dest_refuse(d, e.msg);
		seat_tell_refusal(d, &e);
		drover_link_fail(c->link, r, e.msg);
		drover_link_linger(c->link, drover_deadline_ms(1000));
		return;
	}
	know_conn(c);
	session_main(x);
}

/* A source of another major version can read an answer's header, and with it our version. */
static void answer_other_age(struct conn *c, const struct drover_error *e)
{
	seat_tell_refusal(c->d, e);
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
		dest_attach(c->d, l, f.body_len);
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
	/* Until the first message has been read, it may be any channel's. */
	drover_link_set(c->link, DROVER_ON_M | DROVER_ON_D | DROVER_ON_P, 0);
	drover_channel_set_stall(ch, d->handshake_timeout);
	c->d = d;
	c->stranger = true;
	full = atomic_load(&d->strangers) >= STRANGERS_MAX;
	if (!full)
		atomic_fetch_add(&d->strangers, 1);
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
	struct pollfd p[LISTENERS_MAX + 1];
	unsigned int i, n;

	/* Once the source's record is released, nobody will ask who owns the guest. */
	while (!drover_cancelled(&d->m->cancel) && !atomic_load(&d->released)) {
		/* migrate-recover adds to them. */
		n = listeners_count(&d->listeners);
		for (i = 0; i < n; i++)
			p[i] = (struct pollfd){ .fd = drover_listener_fd(d->listeners.l[i]),
						.events = POLLIN };
		p[i] = (struct pollfd){ .fd = d->m->cancel.fd, .events = POLLIN };
		if (poll(p, i + 1, ACCEPT_TICK_MS) > 0)
			for (i = 0; i < n; i++)
				if (p[i].revents)
					accept_one(d, d->listeners.l[i], NULL);
		reap(d, false);
	}
}

/* The transport gives one connection: once that has ended, there is nothing to listen to. */
static void one_shot(struct drover_dest *d)
{
	struct drover_error e = DROVER_ERROR_INIT;
	int r = accept_one(d, d->listeners.l[0], &e);

	if (r < 0) {
		drover_fail(d->m, &e);
		drover_state_set(d->m, DROVER_STATE_SETUP, DROVER_STATE_FAILING);
		drover_state_set(d->m, DROVER_STATE_FAILING, DROVER_STATE_FAILED);
		return;
	}
	d->m->fd = -EBADF;      /* the channel owns it now */
	drover_deaf(d->m);
	reap(d, true);
	/* The connection was dropped before there was a session. */
	if (drover_state_get(d->m) == DROVER_STATE_SETUP) {
		drover_err(&e, -EPROTO, "incoming: %.1000s", d->seat.refused);
		drover_fail(d->m, &e);
		drover_state_set(d->m, DROVER_STATE_SETUP, DROVER_STATE_FAILING);
		drover_state_set(d->m, DROVER_STATE_FAILING, DROVER_STATE_FAILED);
	}
}

static void publish_addresses(struct drover_dest *d)
{
	_cleanup_json_ struct json_object *arr = listeners_addresses(&d->listeners);

	DROVER_INFO(d->m, listening, "%s",
		    json_object_to_json_string_ext(arr, JSON_C_TO_STRING_PLAIN));
}

static void *dest_main(void *arg)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_migration *m = arg;
	struct drover_dest *d = m->dest;
	bool take_up = m->mode == DROVER_MODE_TAKE_UP;
	int r = m->mode == DROVER_MODE_SETTLE ? 0 :
		take_up ? dest_adopt(d, &e) : dest_become(d, &e);

	drover_thread_name("destination", -1);
	if (r < 0 && take_up) {
		/* The VMM has the ledger still, and the next droverd may know how to use it. */
		drover_fail(m, &e);
	} else if (r < 0) {
		drover_err_prefix(&e, "prepare the guest: ");
		drover_fail(m, &e);
		drover_state_set(m, DROVER_STATE_SETUP, DROVER_STATE_FAILING);
		drover_state_set(m, DROVER_STATE_FAILING, DROVER_STATE_FAILED);
	} else {
		publish_addresses(d);
		if (d->one_shot)
			one_shot(d);
		else
			accept_loop(d);
	}
	listeners_close(&d->listeners);
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

	return listeners_add(&d->listeners, a, &o, e);
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
	listeners_init(&d->listeners);
	seat_init(&d->seat);
	dest_guest_init(&d->guest);
	r = listen_on(d, drover_channel_list_main(m->channels), e);
	for (i = 0; i < m->channels->n && r >= 0; i++)
		if (m->channels->entry[i].type != DROVER_CHANNEL_MAIN)
			r = listen_on(d, &m->channels->entry[i].addr, e);
	if (r < 0)
		return r;
	d->one_shot = drover_listener_fd(d->listeners.l[0]) < 0;
	o = drover_address_to_json(drover_listener_address(d->listeners.l[0]));
	snprintf(d->guest.address, sizeof(d->guest.address), "%s",
		 json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
	json_object_put(o);
	return 0;
}

static void dest_release(struct drover_migration *m)
{
	struct drover_dest *d = m->dest;

	if (!d)
		return;
	listeners_deinit(&d->listeners);
	seat_deinit(&d->seat);
	dest_guest_deinit(&d->guest);
	free(d);
	m->dest = NULL;
}

static int dest_blocktime(struct drover_migration *m, struct drover_blocktime_report *ret)
{
	return m->dest ? seat_blocktime(m->dest, ret) : -ENOENT;
}

const struct drover_side_ops drover_dest_side = {
	.name = "destination",
	.prepare = dest_prepare,
	.run = dest_main,
	.release = dest_release,
	.blocktime = dest_blocktime,
};

/* One more address, or one that is listened on already. */
int drover_migration_recover(struct drover_migration *m,
			     const struct drover_channel_list *channels, struct drover_error *e)
{
	struct drover_channel_opts o = {
		.cancel = &m->cancel,
		.incoming = true,
		.fd = -1,
		.log = m->log,
	};
	unsigned int i;
	int r = 0;

	if (m->side != DROVER_SIDE_DEST || drover_state_get(m) != DROVER_STATE_POSTCOPY_PAUSED)
		return drover_err(e, -EINVAL,
				  "Migrate recover can only be run when postcopy is paused.");
	for (i = 0; i < channels->n && r >= 0; i++)
		r = listeners_add_late(&m->dest->listeners, &channels->entry[i].addr, &o, e);
	if (r >= 0)
		publish_addresses(m->dest);
	return r;
}
