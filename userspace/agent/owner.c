// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The ownership machine's record and arguments on the agent link. What comes in is checked
 * whole before any of it is used. Pure. Used by both ends: guest/agent.c (droverd) and
 * lib/ (the VMM).
 */
#include "agent/message.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"

static void put_peer(char *to, const char *peer)
{
	memcpy(to, peer, strnlen(peer, OWNER_PEER_MAX - 1));
}

static bool peer_ok(const char *peer)
{
	return memchr(peer, '\0', OWNER_PEER_MAX) != NULL;
}

void drover_agent_record_to_wire(const struct owner_record *rec, struct drover_agent_record *ret)
{
	unsigned int i;

	memset(ret, 0, sizeof(*ret));
	ret->state = rec->state;
	ret->kind = rec->kind;
	ret->by = rec->by;
	ret->flags = (rec->will ? DROVER_AGENT_REC_WILL : 0) |
		     (rec->running ? DROVER_AGENT_REC_RUNNING : 0) |
		     (rec->missing ? DROVER_AGENT_REC_MISSING : 0) |
		     (rec->proved ? DROVER_AGENT_REC_PROVED : 0);
	memcpy(ret->token, rec->token.byte, sizeof(ret->token));
	memcpy(ret->loaded, rec->loaded.byte, sizeof(ret->loaded));
	ret->since = rec->since;
	ret->until = rec->until;
	put_peer(ret->peer, rec->peer);
	for (i = 0; i < OWNER_HISTORY; i++) {
		const struct owner_entry *en = &rec->history[i];

		memcpy(ret->history[i].token, en->token.byte, sizeof(ret->history[i].token));
		ret->history[i].outcome = en->outcome;
		put_peer(ret->history[i].peer, en->peer);
	}
}

static int check_record(const struct drover_agent_record *r, struct drover_error *e)
{
	const uint32_t flags = DROVER_AGENT_REC_WILL | DROVER_AGENT_REC_RUNNING |
			       DROVER_AGENT_REC_MISSING | DROVER_AGENT_REC_PROVED;
	bool terminated = peer_ok(r->peer);
	unsigned int i;

	if (r->state >= OWNER_STATE_COUNT)
		return drover_err(e, -EPROTO, "agent link: ownership state %u is not known",
				  r->state);
	if (r->kind >= OWNER_KIND_COUNT || r->by >= OWNER_BY_COUNT || r->flags & ~flags)
		return drover_err(e, -EPROTO, "agent link: ownership record: kind %u, by %u, flags 0x%x are not known",
				  r->kind, r->by, r->flags);
	for (i = 0; i < OWNER_HISTORY; i++) {
		if (r->history[i].outcome >= OWNER_OUTCOME_COUNT)
			return drover_err(e, -EPROTO, "agent link: ownership record: outcome %u is not known",
					  r->history[i].outcome);
		terminated &= peer_ok(r->history[i].peer);
	}
	if (!terminated)
		return drover_err(e, -EPROTO, "agent link: ownership peer is not terminated");
	return 0;
}

int drover_agent_record_from_wire(const struct drover_agent_record *r, struct owner_record *ret,
				  struct drover_error *e)
{
	int res = check_record(r, e);
	unsigned int i;

	if (res < 0)
		return res;
	memset(ret, 0, sizeof(*ret));
	ret->state = (enum owner_state)r->state;
	ret->kind = (enum owner_kind)r->kind;
	ret->by = (enum owner_by)r->by;
	ret->will = r->flags & DROVER_AGENT_REC_WILL;
	ret->running = r->flags & DROVER_AGENT_REC_RUNNING;
	ret->missing = r->flags & DROVER_AGENT_REC_MISSING;
	ret->proved = r->flags & DROVER_AGENT_REC_PROVED;
	memcpy(ret->token.byte, r->token, sizeof(ret->token.byte));
	memcpy(ret->loaded.byte, r->loaded, sizeof(ret->loaded.byte));
	ret->since = r->since;
	ret->until = r->until;
	put_peer(ret->peer, r->peer);
	for (i = 0; i < OWNER_HISTORY; i++) {
		struct owner_entry *en = &ret->history[i];

		memcpy(en->token.byte, r->history[i].token, sizeof(en->token.byte));
		en->outcome = (enum owner_outcome)r->history[i].outcome;
		put_peer(en->peer, r->history[i].peer);
	}
	return 0;
}

void drover_agent_args_to_wire(const struct owner_args *args, struct drover_agent_args *ret)
{
	memset(ret, 0, sizeof(*ret));
	memcpy(ret->token, args->token.byte, sizeof(ret->token));
	ret->kind = args->kind;
	ret->by = args->by;
	ret->will = args->will;
	ret->until = args->until;
	if (args->peer)
		put_peer(ret->peer, args->peer);
}

int drover_agent_args_from_wire(const struct drover_agent_args *a, struct owner_args *ret,
				struct drover_error *e)
{
	if (a->kind >= OWNER_KIND_COUNT || a->by >= OWNER_BY_COUNT || a->will > 1)
		return drover_err(e, -EPROTO, "agent link: kind %u, by %u, will %u are not known",
				  a->kind, a->by, a->will);
	if (!peer_ok(a->peer))
		return drover_err(e, -EPROTO, "agent link: ownership peer is not terminated");
	*ret = (struct owner_args){
		.peer = a->peer, .kind = (enum owner_kind)a->kind, .by = (enum owner_by)a->by,
		.will = a->will, .until = a->until,
	};
	memcpy(ret->token.byte, a->token, sizeof(ret->token.byte));
	return 0;
}

static const uint8_t types[OWNER_EV_COUNT] = {
	[OWNER_EV_PAUSE] = DROVER_AGENT_PAUSE,
	[OWNER_EV_SAVE] = DROVER_AGENT_SAVE,
	[OWNER_EV_DOUBT] = DROVER_AGENT_DOUBT,
	[OWNER_EV_BACK] = DROVER_AGENT_BACK,
	[OWNER_EV_SERVE] = DROVER_AGENT_SERVE,
	[OWNER_EV_RELEASE] = DROVER_AGENT_RELEASE,
	[OWNER_EV_TAKE] = DROVER_AGENT_TAKE,
	[OWNER_EV_MOVE] = DROVER_AGENT_MOVE,
	[OWNER_EV_PREPARE] = DROVER_AGENT_PREPARE,
	[OWNER_EV_DISCARD] = DROVER_AGENT_PREPARE,
	[OWNER_EV_INCOMING] = DROVER_AGENT_INCOMING,
	[OWNER_EV_LOAD] = DROVER_AGENT_LOAD,
	[OWNER_EV_PROVED] = DROVER_AGENT_PROVED,
	[OWNER_EV_LEDGER] = DROVER_AGENT_LEDGER_PUT,
	[OWNER_EV_COMPLETE] = DROVER_AGENT_COMPLETE,
	[OWNER_EV_OWN] = DROVER_AGENT_OWN,
	[OWNER_EV_FENCE] = DROVER_AGENT_FENCE,
	[OWNER_EV_MINE] = DROVER_AGENT_MINE,
	[OWNER_EV_CONFIRMED] = DROVER_AGENT_CONFIRMED,
	[OWNER_EV_TOLD] = DROVER_AGENT_TOLD,
	[OWNER_EV_STOP] = DROVER_AGENT_STOP,
	[OWNER_EV_CONT] = DROVER_AGENT_CONT,
};

enum drover_agent_type drover_agent_type_of(enum owner_event ev)
{
	return (enum drover_agent_type)((unsigned int)ev < OWNER_EV_COUNT ? types[ev] : 0);
}

enum owner_event drover_agent_event_of(enum drover_agent_type type)
{
	unsigned int i;

	for (i = 0; i < OWNER_EV_COUNT; i++)
		if (types[i] == type && type != DROVER_AGENT_NONE)
			break;
	return (enum owner_event)i;
}
