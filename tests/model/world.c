// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A state of the model and what one event does to it. Records are interned and each step of
 * the product's table is remembered, since it is pure; so a state is small and a step is a
 * look-up.
 */
#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REC_SLOTS (1u << 18)
#define BASE 100000000000ull
#define SECOND 1000000000ull

struct memo {
	uint64_t key;           /* + 1; 0: empty */
	uint16_t next;
	uint8_t actions, reply, ok;
};

void breaks(struct model *m, enum invariant inv, const char *why)
{
	if (m->broken)
		return;
	m->broken = inv;
	m->why = why;
}

static void *grab(size_t n, size_t size)
{
	void *p = calloc(n, size);

	if (!p) {
		fprintf(stderr, "model: out of memory\n");
		exit(2);
	}
	return p;
}

void model_init(struct model *m, const struct owner_machine *machine, const struct scenario *sc)
{
	memset(m, 0, sizeof(*m));
	m->machine = machine;
	m->sc = sc;
	m->rec_cap = 256;
	m->rec = grab(m->rec_cap, sizeof(*m->rec));
	m->rec_slot = grab(REC_SLOTS, sizeof(*m->rec_slot));
	m->nreq = 1;
	m->memo_cap = 1u << 16;
	m->memo = grab(m->memo_cap, sizeof(*m->memo));
}

void model_deinit(struct model *m)
{
	free(m->rec);
	free(m->rec_slot);
	free(m->memo);
}

static uint64_t hash_bytes(const void *p, size_t n)
{
	const uint8_t *b = p;
	uint64_t h = 0xcbf29ce484222325ull;

	while (n--)
		h = (h ^ *b++) * 0x100000001b3ull;
	return h ^ h >> 29;
}

/* Records are built by memset and plain copies, so equal ones have equal bytes. */
static unsigned int intern(struct model *m, const struct owner_record *rec)
{
	uint64_t i = hash_bytes(rec, sizeof(*rec)) & (REC_SLOTS - 1);

	for (; m->rec_slot[i]; i = (i + 1) & (REC_SLOTS - 1))
		if (!memcmp(&m->rec[m->rec_slot[i] - 1], rec, sizeof(*rec)))
			return m->rec_slot[i] - 1;
	if (m->nrec == m->rec_cap) {
		m->rec = realloc(m->rec, 2 * m->rec_cap * sizeof(*m->rec));
		m->rec_cap *= 2;
	}
	if (!m->rec || m->nrec == UINT16_MAX) {
		fprintf(stderr, "model: too many records\n");
		exit(2);
	}
	m->rec[m->nrec] = *rec;
	m->rec_slot[i] = ++m->nrec;
	return m->nrec - 1;
}

bool host_is(const struct state *s, unsigned int x, unsigned int flags)
{
	return (s->host[x].flags & flags) == flags;
}

const struct owner_record *rec_of(const struct model *m, const struct state *s, unsigned int x)
{
	return &m->rec[s->host[x].rec];
}

void token_of(unsigned int session, struct owner_token *t)
{
	memset(t, 0, sizeof(*t));
	t->byte[0] = (uint8_t)(session + 1);
}

unsigned int session_of(const struct owner_token *t)
{
	return t->byte[0] ? t->byte[0] - 1u : 0;
}

unsigned int source_of(const struct model *m, unsigned int session)
{
	return session == STRANGER ? HOSTS : m->sc->plan[session].src;
}

unsigned int dest_of(const struct model *m, unsigned int session)
{
	return session == STRANGER ? 1 : m->sc->plan[session].dst;
}

enum owner_kind kind_of(const struct model *m, unsigned int session)
{
	return session == STRANGER ? OWNER_KIND_PRECOPY : m->sc->plan[session].kind;
}

unsigned int host_of_peer(const char *peer)
{
	return (unsigned int)(*peer - 'A');
}

struct owner_source src_of(const struct state *s, unsigned int x)
{
	unsigned int v = s->host[x].src;

	return (struct owner_source){
		.phase = v & 31, .kind = v >> 5 & 3, .word = v >> 7 & 3, .will = v >> 9 & 1,
	};
}

static void set_src(struct state *s, unsigned int x, const struct owner_source *o)
{
	s->host[x].src = (uint16_t)(o->phase | o->kind << 5 | o->word << 7 | o->will << 9);
}

struct owner_dest dst_of(const struct state *s, unsigned int x)
{
	unsigned int v = s->host[x].dst;

	return (struct owner_dest){ .phase = v & 31, .kind = v >> 5 & 3 };
}

static void set_dst(struct state *s, unsigned int x, const struct owner_dest *d)
{
	s->host[x].dst = (uint8_t)(d->phase | d->kind << 5);
}

bool readable(const struct state *s, unsigned int x)
{
	return host_is(s, x, H_VMM | H_LINK | H_DAEMON) && !s->host[x].pend;
}

void model_begin(struct model *m, struct state *s)
{
	struct owner_record rec;
	unsigned int x;

	memset(s, 0, sizeof(*s));
	for (x = 0; x < m->sc->hosts; x++) {
		owner_record_init(&rec, x > 0, !m->sc->stopped);
		s->host[x].rec = (uint16_t)intern(m, &rec);
		s->host[x].flags = H_VMM | H_DAEMON | H_LINK;
	}
	s->host[0].image = IMG_CUR;
	s->host[0].wants = !m->sc->stopped;
	s->faults = (uint8_t)m->sc->faults;
	s->users = (uint8_t)m->sc->users;
	s->deaths = (uint8_t)m->sc->deaths;
	s->cancels = (uint8_t)m->sc->cancels;
}

struct request request_of(enum owner_event ev, unsigned int session)
{
	return (struct request){ .event = (uint8_t)ev, .session = (uint8_t)session };
}

uint8_t request_id(struct model *m, struct request q)
{
	unsigned int i;

	for (i = 1; i < m->nreq; i++)
		if (!memcmp(&m->req[i], &q, sizeof(q)))
			return (uint8_t)i;
	if (m->nreq == 256) {
		fprintf(stderr, "model: too many requests\n");
		exit(2);
	}
	m->req[m->nreq] = q;
	return (uint8_t)m->nreq++;
}

/* Time is two events of a session: COMMIT is too late, and 6 s of doubt have passed. */
static uint64_t now_of(unsigned int event, unsigned int lease)
{
	if (event == OWNER_EV_TAKE)
		return BASE + (lease == 3 ? 7 : 1) * SECOND;
	if (event == OWNER_EV_OWN)
		return BASE + (lease >= 2 ? 6 : 1) * SECOND;
	return BASE;
}

static void ask_table(struct model *m, unsigned int rec, struct request q, unsigned int lease,
		      struct memo *out)
{
	static const char *const names[] = { "A", "B", "C" };
	struct owner_record next;
	enum owner_reply reply = OWNER_REPLY_NONE;
	unsigned int actions = 0;
	struct owner_args a = {
		.by = q.by, .will = q.will, .kind = kind_of(m, q.session),
		.until = kind_of(m, q.session) == OWNER_KIND_ONE_WAY ? OWNER_NEVER :
			 BASE + 5 * SECOND,
		.peer = names[dest_of(m, q.session)],
	};

	const struct owner_row *row;
	unsigned int failing;

	token_of(q.session, &a.token);
	row = owner_machine_row(m->machine, &m->rec[rec], q.event, &a, now_of(q.event, lease),
				&failing);
	if (row)
		(&m->seen.vmm[0][0][0])[row - &m->machine->vmm[0][0][0]] = true;
	memset(&next, 0, sizeof(next));
	out->ok = owner_machine_step(m->machine, &m->rec[rec], q.event, &a, now_of(q.event, lease),
				     &next, &actions, &reply, NULL) >= 0;
	if (!out->ok)
		return;
	out->next = (uint16_t)intern(m, &next);
	out->actions = (uint8_t)actions;
	out->reply = (uint8_t)reply;
}

static void memo_grow(struct model *m)
{
	struct memo *old = m->memo;
	uint64_t cap = m->memo_cap, i, k;

	m->memo_cap *= 2;
	m->memo = grab(m->memo_cap, sizeof(*m->memo));
	for (i = 0; i < cap; i++) {
		if (!old[i].key)
			continue;
		for (k = old[i].key * 0x9e3779b97f4a7c15ull >> 20 & (m->memo_cap - 1);
		     m->memo[k].key; k = (k + 1) & (m->memo_cap - 1))
			;
		m->memo[k] = old[i];
	}
	free(old);
}

static const struct memo *remember(struct model *m, unsigned int rec, struct request q,
				   unsigned int lease)
{
	uint64_t key = ((uint64_t)rec << 16 | (uint64_t)q.event << 9 | q.session << 7 | q.by << 5 |
			q.will << 4 | lease << 2) + 1;
	uint64_t i;

	if (m->memo_n * 2 > m->memo_cap)
		memo_grow(m);
	for (i = key * 0x9e3779b97f4a7c15ull >> 20 & (m->memo_cap - 1); m->memo[i].key;
	     i = (i + 1) & (m->memo_cap - 1))
		if (m->memo[i].key == key)
			return &m->memo[i];
	m->memo[i].key = key;
	m->memo_n++;
	ask_table(m, rec, q, lease, &m->memo[i]);
	return &m->memo[i];
}

bool vmm_event(struct model *m, struct state *s, unsigned int x, struct request q,
	       enum owner_reply *reply)
{
	const struct memo *e = remember(m, s->host[x].rec, q, s->session[q.session].lease);
	enum owner_state was;

	if (!e->ok)
		return false;
	if (reply)
		*reply = e->reply;
	/* What the user wants is known to him, whatever the record makes of it. */
	if (q.event == OWNER_EV_STOP || q.event == OWNER_EV_CONT)
		s->host[x].wants = q.event == OWNER_EV_CONT;
	if (e->next == s->host[x].rec && !e->actions)
		return true;
	was = rec_of(m, s, x)->state;
	s->host[x].rec = e->next;
	ghost_step(m, s, x, q, was, e->actions);
	return true;
}

/* ---- daemons -------------------------------------------------------------------- */

/* The daemon's link ends; what was asked on it may be carried out still. */
void close_link(struct state *s, unsigned int x)
{
	struct host *h = &s->host[x];

	if (!(h->flags & H_LINK))
		return;
	h->flags &= (uint8_t)~H_LINK;
	h->flags |= H_OLD;
	h->old = h->pend;
	h->pend = 0;
}

static void say(struct model *m, struct state *s, unsigned int i, enum msg_to_dest msg)
{
	struct session *c = &s->session[i];

	if (!c->src_up || !c->dst_up || c->cut)
		return;
	if (c->to == TO_STATE && msg == TO_FAIL)
		c->to = TO_STATE_FAIL;
	else if (c->to == TO_STATE && msg == TO_END)
		c->to = TO_STATE_END;
	else if (c->to == TO_NONE)
		c->to = (uint8_t)msg;
	else
		breaks(m, I6, "the model cannot hold this sequence of messages");
}

static void answer(struct state *s, unsigned int i, enum msg_to_source msg)
{
	struct session *c = &s->session[i];

	if (c->src_up && c->dst_up && !c->cut)
		c->back = (uint8_t)msg;
}

static void say_released(struct model *m, struct state *s, unsigned int i)
{
	unsigned int y = dest_of(m, i);
	struct session *c = &s->session[i];

	if (c->src_up && c->dst_up && !c->cut) {
		say(m, s, i, TO_RELEASED);
		return;
	}
	/* Over the connection that gave the answer; it is nothing new to who takes no notice. */
	if (!readable(s, y))
		return;
	if (dst_of(s, y).phase == OWNER_DST_IDLE)
		s->host[y].dst_session = (uint8_t)i;
	if (s->host[y].dst_session == i)
		dst_event(m, s, y, OWNER_DST_EV_RELEASED);
}

static void resume(struct model *m, struct state *s, unsigned int x)
{
	unsigned int i = s->host[x].src_session, y = dest_of(m, i);
	struct owner_token t;
	enum owner_class c;

	if (!readable(s, y))
		return;
	token_of(i, &t);
	c = owner_class_of(rec_of(m, s, y), &t);
	if (c == OWNER_CLASS_OWNED) {
		src_event(m, s, x, OWNER_SRC_EV_COMMITTED);
	} else if (c == OWNER_CLASS_MISSING && dst_of(s, y).phase == OWNER_DST_PAUSED) {
		s->session[i].src_up = s->session[i].dst_up = 1;
		s->session[i].cut = s->session[i].to = s->session[i].back = 0;
		s->host[y].dst_session = (uint8_t)i;
		src_event(m, s, x, OWNER_SRC_EV_RESUMED);
		dst_event(m, s, y, OWNER_DST_EV_RESUMED);
	}
}

static void drop_peer(struct session *c, bool source, bool one_way)
{
	if (source) {
		c->src_up = 0;
		c->back = BACK_NONE;
	} else {
		c->dst_up = 0;
		if (!one_way || c->to != TO_NONE)
			c->to = TO_NONE;
	}
}

static void do_src(struct model *m, struct state *s, unsigned int x, uint32_t todo)
{
	unsigned int i = s->host[x].src_session;
	struct session *c = &s->session[i];

	if (todo & OWNER_DO_OF(END_LINK))
		close_link(s, x);
	if (todo & OWNER_DO_OF(SEND_STATE)) {
		c->stale = 0;
		say(m, s, i, TO_STATE);
	}
	if (todo & OWNER_DO_OF(SAY_COMMIT)) {
		c->will = src_of(s, x).will;
		say(m, s, i, TO_COMMIT);
	}
	if (todo & OWNER_DO_OF(SAY_END)) {
		c->will = src_of(s, x).will;
		c->ended = 1;
		say(m, s, i, TO_END);
	}
	if (todo & OWNER_DO_OF(SAY_RELEASED))
		say_released(m, s, i);
	if (todo & OWNER_DO_OF(SAY_FAIL))
		say(m, s, i, TO_FAIL);
	if (todo & OWNER_DO_OF(DROP_PEER))
		drop_peer(c, true, kind_of(m, i) == OWNER_KIND_ONE_WAY);
	if (todo & OWNER_DO_OF(RESUME))
		resume(m, s, x);
}

static void do_dst(struct model *m, struct state *s, unsigned int x, uint32_t todo)
{
	unsigned int i = s->host[x].dst_session;
	struct session *c = &s->session[i];

	if (todo & OWNER_DO_OF(END_LINK))
		close_link(s, x);
	if (todo & OWNER_DO_OF(SAY_ACKS)) {
		c->lease = 1;
		answer(s, i, BACK_ACKS);
	}
	if (todo & OWNER_DO_OF(SAY_COMMIT_ACK))
		answer(s, i, BACK_COMMIT_ACK);
	if (todo & OWNER_DO_OF(SAY_COMPLETE))
		answer(s, i, BACK_COMPLETE);
	if (todo & OWNER_DO_OF(SAY_FAIL))
		answer(s, i, BACK_FAIL);
	if (todo & (OWNER_DO_OF(DROP_PEER) | OWNER_DO_OF(REFUSE)))
		drop_peer(c, false, kind_of(m, i) == OWNER_KIND_ONE_WAY);
}

static void ask_vmm(struct model *m, struct state *s, unsigned int x, const struct owner_plan *p,
		    unsigned int role)
{
	struct host *h = &s->host[x];
	const struct owner_record *rec = rec_of(m, s, x);
	struct request q = {
		.event = (uint8_t)p->request, .by = (uint8_t)p->by, .role = (uint8_t)role,
		.session = role == ROLE_SRC ? h->src_session : h->dst_session,
	};

	if (!p->has_request)
		return;
	if (p->request == OWNER_EV_OWN)
		q.will = s->session[q.session].will;
	if (p->request == OWNER_EV_TAKE)
		q.session = (uint8_t)session_of(&rec->token);
	h->pend = request_id(m, q);
}

bool src_event(struct model *m, struct state *s, unsigned int x, enum owner_source_event ev)
{
	struct host *h = &s->host[x];
	struct owner_source o = src_of(s, x);
	struct owner_facts f = {
		.rec = readable(s, x) ? rec_of(m, s, x) : NULL,
		.live = s->session[h->src_session].src_up,
	};
	const struct owner_source_row *row;
	struct owner_plan p;
	unsigned int failing;

	if (ev == OWNER_SRC_EV_MIGRATE)
		o.kind = kind_of(m, s->next);
	row = owner_machine_source_row(m->machine, &o, ev, &f, &failing);
	if (!row || owner_machine_source(m->machine, &o, ev, &f, &o, &p, NULL) < 0)
		return false;
	(&m->seen.source[0][0][0])[row - &m->machine->source[0][0][0]] = true;
	set_src(s, x, &o);
	if (ev == OWNER_SRC_EV_ATTACHED && owner_token_set(&f.rec->token))
		h->src_session = (uint8_t)session_of(&f.rec->token);
	do_src(m, s, x, p.todo);
	if (!p.has_request || host_is(s, x, H_LINK))
		ask_vmm(m, s, x, &p, ROLE_SRC);
	else
		return src_event(m, s, x, OWNER_SRC_EV_LINK_GONE);
	return true;
}

bool dst_event(struct model *m, struct state *s, unsigned int x, enum owner_dest_event ev)
{
	struct host *h = &s->host[x];
	struct owner_dest d = dst_of(s, x);
	struct owner_facts f = {
		.rec = readable(s, x) ? rec_of(m, s, x) : NULL,
		/* A stranger flags nothing. */
		.flags_agree = !(m->sc->shared && h->dst_session == STRANGER),
	};
	const struct owner_dest_row *row;
	struct owner_plan p;
	unsigned int failing;

	if (ev == OWNER_DST_EV_HELLO)
		d.kind = kind_of(m, h->dst_session);
	row = owner_machine_dest_row(m->machine, &d, ev, &f, &failing);
	if (!row || owner_machine_dest(m->machine, &d, ev, &f, &d, &p, NULL) < 0)
		return false;
	(&m->seen.dest[0][0][0])[row - &m->machine->dest[0][0][0]] = true;
	set_dst(s, x, &d);
	if (ev == OWNER_DST_EV_ATTACHED && owner_token_set(&f.rec->token) &&
	    f.rec->state != OWNER_FINAL && f.rec->state != OWNER_IN_DOUBT &&
	    f.rec->state != OWNER_SERVING && f.rec->state != OWNER_RELEASED)
		h->dst_session = (uint8_t)session_of(&f.rec->token);
	do_dst(m, s, x, p.todo);
	if (!p.has_request || host_is(s, x, H_LINK))
		ask_vmm(m, s, x, &p, ROLE_DST);
	else
		return dst_event(m, s, x, OWNER_DST_EV_LINK_GONE);
	return true;
}
