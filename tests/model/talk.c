// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What hosts say to each other: the session's connection, whose messages arrive, are late or
 * lost, and the questions over connections of their own.
 */
#include <string.h>

#include "moves.h"

/* ---- the session's connection ----------------------------------------------------- */

void source_hears(struct gen *g, unsigned int x)
{
	static const enum owner_source_event ev[] = {
		[BACK_ACKS] = OWNER_SRC_EV_ACKED, [BACK_COMMIT_ACK] = OWNER_SRC_EV_COMMIT_ACK,
		[BACK_FAIL] = OWNER_SRC_EV_FAILED, [BACK_COMPLETE] = OWNER_SRC_EV_COMPLETE,
	};
	static const char *const names[] = { "", "STATE_ACK and DIGEST_ACK", "COMMIT_ACK", "FAIL",
					     "that all memory is there" };
	unsigned int i = g->s->host[x].src_session;
	const struct session *c = &g->s->session[i];
	struct state n = *g->s;

	if (source_of(g->m, i) != x || !c->src_up)
		return;
	if (c->back != BACK_NONE) {
		n.session[i].back = BACK_NONE;
		src_event(g->m, &n, x, ev[c->back]);
		emit(g, &n, MOVE_PROGRESS, "%s: its daemon hears %s", x, names[c->back]);
		return;
	}
	if (kind_of(g->m, i) == OWNER_KIND_ONE_WAY)
		return;
	if (c->dst_up && !c->cut && !g->s->faults)
		return;
	if (c->dst_up && !c->cut)
		n.faults--;
	if (src_event(g->m, &n, x, OWNER_SRC_EV_PEER_GONE))
		emit(g, &n, c->dst_up && !c->cut ? MOVE_CHANCE : MOVE_PROGRESS,
		     c->dst_up && !c->cut ? "%s: its daemon gives up waiting for the peer" :
		     "%s: its daemon sees that the peer is gone", x, NULL);
	g->m->broken = INV_NONE;
}

/* One message is taken off the connection; the rest stays. */
static enum owner_dest_event take_message(struct session *c, const char **name)
{
	unsigned int to = c->to;

	c->to = to == TO_STATE_FAIL ? TO_FAIL : to == TO_STATE_END ? TO_END : TO_NONE;
	switch (to) {
	case TO_COMMIT:
		*name = "COMMIT";
		return OWNER_DST_EV_COMMIT;
	case TO_END:
		*name = "END";
		return OWNER_DST_EV_COMMIT;
	case TO_FAIL:
		*name = "FAIL";
		return OWNER_DST_EV_FAILED;
	case TO_RELEASED:
		*name = "RELEASED";
		return OWNER_DST_EV_RELEASED;
	default:
		*name = "STATE";
		return OWNER_DST_EV_STATE;
	}
}

void dest_hears(struct gen *g, unsigned int x)
{
	unsigned int i = g->s->host[x].dst_session;
	const struct session *c = &g->s->session[i];
	struct state n = *g->s;
	const char *name;
	enum owner_dest_event ev;

	if (dest_of(g->m, i) != x || !c->dst_up)
		return;
	if (c->to != TO_NONE) {
		/* END waits until the digests are compared. */
		if (dst_of(g->s, x).phase == OWNER_DST_PROVING && c->to != TO_FAIL)
			return;
		ev = take_message(&n.session[i], &name);
		dst_event(g->m, &n, x, ev);
		emit(g, &n, MOVE_PROGRESS, "%s: its daemon hears %s", x, name);
		return;
	}
	if (c->src_up && !c->cut && !g->s->faults)
		return;
	if (c->src_up && !c->cut)
		n.faults--;
	if (dst_event(g->m, &n, x, OWNER_DST_EV_PEER_GONE))
		emit(g, &n, c->src_up && !c->cut ? MOVE_CHANCE : MOVE_PROGRESS,
		     c->src_up && !c->cut ? "%s: its daemon gives up waiting for the source" :
		     "%s: its daemon sees that the source is gone", x, NULL);
	g->m->broken = INV_NONE;
}

void network(struct gen *g)
{
	unsigned int i;

	for (i = 0; i < g->m->sc->sessions && g->s->faults; i++) {
		const struct session *c = &g->s->session[i];
		struct state n = *g->s;

		if (!c->src_up || !c->dst_up || c->cut || kind_of(g->m, i) == OWNER_KIND_ONE_WAY)
			continue;
		n.faults--;
		n.session[i].cut = 1;
		if (c->to || c->back)
			emit(g, &n, MOVE_CHANCE,
			     "%s: the connection breaks, what was sent has arrived",
			     source_of(g->m, i), NULL);
		n.session[i].to = n.session[i].back = 0;
		emit(g, &n, MOVE_CHANCE, "%s: the connection breaks", source_of(g->m, i), NULL);
	}
}

/* ---- questions ------------------------------------------------------------------ */

static void asked(struct gen *g, struct state *n, unsigned int y, unsigned int session)
{
	if (n->host[y].dst_session == session)
		dst_event(g->m, n, y, OWNER_DST_EV_ASKED);
}

/* @y's daemon carries out what the answer needs; or its VMM stalls over it. */
static enum owner_reply reply_of(struct gen *g, struct state *n, unsigned int y,
				 unsigned int session, enum owner_question q, bool stall)
{
	struct owner_answer a;
	struct owner_token t;
	enum owner_reply r;
	struct request req = { .session = (uint8_t)session, .role = ROLE_DST };

	if (!host_is(n, y, H_DAEMON) || !g->m->machine->answers[dst_of(n, y).phase])
		return OWNER_REPLY_UNREACHABLE;
	token_of(session, &t);
	owner_machine_answer(g->m->machine, readable(n, y) ? rec_of(g->m, n, y) : NULL, &t, q, &a);
	if (!a.has_request)
		return a.reply;
	req.event = (uint8_t)a.request;
	if (stall) {
		n->host[y].pend = request_id(g->m, req);
		close_link(n, y);
		link_gone(g, n, y);
		return OWNER_REPLY_UNREADABLE;
	}
	if (!vmm_event(g->m, n, y, req, &r))
		return OWNER_REPLY_UNKNOWN;
	asked(g, n, y, session);
	return a.reply == OWNER_REPLY_NONE ? r : a.reply;
}

static void source_event_of_answer(struct gen *g, struct state *n, unsigned int x,
				   enum owner_reply r, enum move_class class, const char *what)
{
	enum owner_source_event ev = owner_reply_event(r);
	enum owner_source_phase phase;
	enum owner_word word = src_of(n, x).word;

	src_event(g->m, n, x, ev);
	phase = src_of(n, x).phase;
	if (word == OWNER_WORD_NONE && phase != OWNER_SRC_ASKING &&
	    (r == OWNER_REPLY_UNKNOWN || r == OWNER_REPLY_UNREADABLE ||
	     r == OWNER_REPLY_UNREACHABLE))
		breaks(g->m, I6, "what is no answer has moved somebody");
	emit(g, n, class, what, x, owner_reply_name(r));
}

void ask(struct gen *g, unsigned int x)
{
	unsigned int i = g->s->host[x].src_session, y = dest_of(g->m, i);
	enum owner_reply r;
	struct state n = *g->s;

	if (src_of(g->s, x).phase != OWNER_SRC_ASKING || source_of(g->m, i) != x)
		return;
	r = reply_of(g, &n, y, i, OWNER_QUESTION_ASK, false);
	source_event_of_answer(g, &n, x, r, MOVE_PROGRESS, "%s: asks who owns: %s");
	if (!g->s->faults)
		return;
	n = *g->s;
	n.faults--;
	r = reply_of(g, &n, y, i, OWNER_QUESTION_ASK, false);
	source_event_of_answer(g, &n, x, OWNER_REPLY_UNREACHABLE, MOVE_CHANCE,
			       "%s: asks who owns, the answer is lost: %s");
	n = *g->s;
	n.faults--;
	source_event_of_answer(g, &n, x, OWNER_REPLY_UNREACHABLE, MOVE_CHANCE,
			       "%s: asks who owns, the question is lost: %s");
	if (!readable(g->s, y))
		return;
	n = *g->s;
	n.faults--;
	r = reply_of(g, &n, y, i, OWNER_QUESTION_ASK, true);
	if (!host_is(&n, y, H_LINK))
		source_event_of_answer(g, &n, x, r, MOVE_CHANCE,
				       "%s: asks who owns, the VMM there stalls: %s");
}

static void tell_one(struct gen *g, unsigned int x, unsigned int i)
{
	unsigned int y = dest_of(g->m, i);
	struct state n = *g->s;
	enum owner_reply r;
	bool alarm;

	r = reply_of(g, &n, y, i, OWNER_QUESTION_MINE, false);
	if (owner_told(r, &alarm))
		vmm_event(g->m, &n, x, request_of(OWNER_EV_TOLD, i), NULL);
	emit(g, &n, MOVE_PROGRESS, "%s: says mine: %s", x, owner_reply_name(r));
	if (!g->s->faults || !readable(g->s, y))
		return;
	n = *g->s;
	n.faults--;
	reply_of(g, &n, y, i, OWNER_QUESTION_MINE, false);
	emit(g, &n, MOVE_CHANCE, "%s: says mine, the answer is lost", x, NULL);
	n = *g->s;
	n.faults--;
	reply_of(g, &n, y, i, OWNER_QUESTION_MINE, true);
	emit(g, &n, MOVE_CHANCE, "%s: says mine, the VMM there stalls", x, NULL);
}

void tell(struct gen *g, unsigned int x)
{
	const struct owner_record *rec = rec_of(g->m, g->s, x);
	const struct owner_entry *en;
	unsigned int i = 0;

	if (src_of(g->s, x).phase == OWNER_SRC_COMMITTING)
		return;
	while ((en = owner_to_tell(rec, &i)))
		tell_one(g, x, session_of(&en->token));
}
