// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Requests about the ownership record, and what is known of it. The VMM decides by its own
 * table; here is only what it has said last. The reader's thread takes it in, so nothing
 * that is older can overwrite it. Called by guest/agent.c.
 */
#include "guest/agent-record.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"

#define MS_PER_GIB 1000u

void agent_record_init(struct agent_record *k)
{
	pthread_mutex_init(&k->lock, NULL);
}

void agent_record_deinit(struct agent_record *k)
{
	pthread_mutex_destroy(&k->lock);
}

static int take(struct agent_record *k, const struct drover_agent_record *r,
		struct drover_error *e)
{
	struct owner_record rec;
	int res = drover_agent_record_from_wire(r, &rec, e);
	DROVER_LOCK(&k->lock);

	if (res < 0)
		return res;
	k->record = rec;
	k->known = true;
	return 0;
}

/* The user's stop and cont in the VMM; a request's own change comes with its answer. */
static void take_status(struct agent_record *k, const struct drover_agent_status *st)
{
	DROVER_LOCK(&k->lock);

	k->record.will = st->flags & DROVER_AGENT_REC_WILL;
	k->record.running = st->flags & DROVER_AGENT_REC_RUNNING;
}

int agent_record_took(void *opaque, const struct drover_agent_msg *m, struct drover_error *e)
{
	struct agent_record *k = opaque;

	switch (m->hdr.type) {
	case DROVER_AGENT_HELLO_ACK:
		return take(k, &m->body.hello_ack.record, e);
	case DROVER_AGENT_OWNER:
		if (m->body.owner.reply >= OWNER_REPLY_COUNT)
			return drover_err(e, -EPROTO, "agent link: OWNER: reply %u is not known",
					  m->body.owner.reply);
		return take(k, &m->body.owner.record, e);
	default:
		take_status(k, &m->body.status);
		return 0;
	}
}

int agent_record_known(struct agent_record *k, struct owner_record *ret)
{
	DROVER_LOCK(&k->lock);

	if (!k->known)
		return -EAGAIN;
	*ret = k->record;
	return 0;
}

static void forget(struct agent_record *k)
{
	DROVER_LOCK(&k->lock);

	k->known = false;
}

/* Refused, or a step of it has failed: what it has changed nevertheless is asked for. */
static void look_again(struct agent_link *l)
{
	_cleanup_(drover_agent_msg_deinit) struct drover_agent_msg m;

	drover_agent_msg_init(&m);
	agent_link_call(l, DROVER_AGENT_OWNER_GET, NULL, 0, -1, 0, NULL, &m, NULL);
}

static bool unanswered(int r)
{
	return r == -ETIMEDOUT || r == -ECANCELED || r == -ENOTCONN;
}

int agent_record_call(struct agent_record *k, struct agent_link *l, enum drover_agent_type type,
		      const void *body, size_t len, int fd, uint64_t more_ms,
		      const struct drover_cancel *c, enum owner_reply *reply,
		      struct drover_error *e)
{
	_cleanup_(drover_agent_msg_deinit) struct drover_agent_msg m;
	const struct drover_agent_owner *o = &m.body.owner;
	int r;

	drover_agent_msg_init(&m);
	forget(k);
	r = agent_link_call(l, type, body, len, fd, more_ms, c, &m, e);
	if (r < 0 && !unanswered(r))
		look_again(l);
	if (r < 0)
		return r;
	if (reply)
		*reply = (enum owner_reply)o->reply;
	if (*o->text)
		drover_err(e, -EIO, "agent %s: the guest could not be started: %.*s", l->path,
			   (int)strnlen(o->text, sizeof(o->text)), o->text);
	return 0;
}

int agent_record_request(struct agent_record *k, struct agent_link *l, enum owner_event ev,
			 const struct owner_args *args, uint64_t ram,
			 const struct drover_cancel *c, enum owner_reply *reply,
			 struct drover_error *e)
{
	struct drover_agent_value v = { .value = ev == OWNER_EV_DISCARD ? DROVER_AGENT_DISCARD : 0 };
	bool empties = ev == OWNER_EV_PREPARE || ev == OWNER_EV_DISCARD || ev == OWNER_EV_INCOMING;
	enum drover_agent_type type = drover_agent_type_of(ev);
	struct drover_agent_args wire;
	const void *body = NULL;
	size_t len = 0;

	if (type == DROVER_AGENT_PREPARE) {
		body = &v;
		len = sizeof(v);
	} else if (drover_agent_rule(type)->len_max) {
		drover_agent_args_to_wire(args, &wire);
		body = &wire;
		len = sizeof(wire);
	}
	return agent_record_call(k, l, type, body, len, -1,
				 empties ? (ram >> 30) * MS_PER_GIB : 0, c, reply, e);
}
