// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What can happen to one host by itself: its VMM carries out a request, or stalls; links
 * break; daemons and VMMs die and are started again; the user types.
 */
#include <string.h>

#include "moves.h"

/* ---- the VMM's link ------------------------------------------------------------- */

static void tell_role(struct gen *g, struct state *n, unsigned int x, struct request q,
		      enum owner_source_event se, enum owner_dest_event de)
{
	if (q.role == ROLE_SRC)
		src_event(g->m, n, x, se);
	else
		dst_event(g->m, n, x, de);
}

void link_gone(struct gen *g, struct state *n, unsigned int x)
{
	src_event(g->m, n, x, OWNER_SRC_EV_LINK_GONE);
	dst_event(g->m, n, x, OWNER_DST_EV_LINK_GONE);
}

static void carry_out(struct gen *g, unsigned int x)
{
	struct request q = g->m->req[g->s->host[x].pend];
	struct state n = *g->s;
	bool ok = true;

	/* Pages are placed after INCOMING, and postcopy's ledger is put before the state. */
	if (q.event == OWNER_EV_LOAD && kind_of(g->m, q.session) == OWNER_KIND_POSTCOPY)
		ok = vmm_event(g->m, &n, x, request_of(OWNER_EV_LEDGER, q.session),
			       NULL);
	ok = vmm_event(g->m, &n, x, q, NULL) && ok;
	n.host[x].pend = 0;
	tell_role(g, &n, x, q, ok ? OWNER_SRC_EV_DONE : OWNER_SRC_EV_REFUSED,
		  ok ? OWNER_DST_EV_DONE : OWNER_DST_EV_REFUSED);
	emit(g, &n, MOVE_PROGRESS, ok ? "%s: its VMM carries out %s" : "%s: its VMM refuses %s", x,
	     owner_event_name(q.event));
}

/* The daemon gives up waiting, or a callback of the VMM fails. */
static void request_fails(struct gen *g, unsigned int x)
{
	struct request q = g->m->req[g->s->host[x].pend];
	struct state n = *g->s;

	n.faults--;
	tell_role(g, &n, x, q, OWNER_SRC_EV_DEADLINE, OWNER_DST_EV_DEADLINE);
	emit(g, &n, MOVE_CHANCE, "%s: %s is past its deadline", x, owner_event_name(q.event));
	n = *g->s;
	n.faults--;
	n.host[x].pend = 0;
	tell_role(g, &n, x, q, OWNER_SRC_EV_REFUSED, OWNER_DST_EV_REFUSED);
	emit(g, &n, MOVE_CHANCE, "%s: its VMM fails at %s", x, owner_event_name(q.event));
}

static void old_link(struct gen *g, unsigned int x)
{
	struct request q = g->m->req[g->s->host[x].old];
	struct state n = *g->s;

	if (!g->s->host[x].old) {
		n.host[x].flags &= (uint8_t)~H_OLD;
		vmm_event(g->m, &n, x, request_of(OWNER_EV_CLOSED, 0), NULL);
		emit(g, &n, MOVE_PROGRESS, "%s: its VMM sees that the link has ended", x, NULL);
		return;
	}
	n.host[x].old = 0;
	if (q.event == OWNER_EV_LOAD && kind_of(g->m, q.session) == OWNER_KIND_POSTCOPY)
		vmm_event(g->m, &n, x, request_of(OWNER_EV_LEDGER, q.session), NULL);
	vmm_event(g->m, &n, x, q, NULL);
	emit(g, &n, MOVE_PROGRESS, "%s: its VMM carries out %s of the old link, late", x,
	     owner_event_name(q.event));
	n = *g->s;
	n.host[x].old = 0;
	emit(g, &n, MOVE_PROGRESS, "%s: its VMM drops %s of the old link", x,
	     owner_event_name(q.event));
}

static void attach(struct gen *g, unsigned int x)
{
	const struct host *h = &g->s->host[x];
	struct state n = *g->s;

	if (g->m->machine->drain && !owner_may_greet(h->old, !(h->flags & H_OLD)))
		return;
	n.host[x].flags |= H_LINK;
	src_event(g->m, &n, x, OWNER_SRC_EV_ATTACHED);
	if (!n.host[x].pend)
		dst_event(g->m, &n, x, OWNER_DST_EV_ATTACHED);
	emit(g, &n, MOVE_PROGRESS, "%s: its daemon attaches and reads the record", x, NULL);
}

void link_moves(struct gen *g, unsigned int x)
{
	const struct host *h = &g->s->host[x];
	struct state n = *g->s;

	if (!(h->flags & H_VMM))
		return;
	if (h->flags & H_OLD)
		old_link(g, x);
	if (!(h->flags & H_LINK)) {
		if (h->flags & H_DAEMON)
			attach(g, x);
		return;
	}
	if (h->pend)
		carry_out(g, x);
	if (!g->s->faults || h->flags & H_OLD)
		return;
	if (h->pend)
		request_fails(g, x);
	n.faults--;
	close_link(&n, x);
	link_gone(g, &n, x);
	emit(g, &n, MOVE_CHANCE, "%s: the link between daemon and VMM breaks", x, NULL);
}

/* ---- life and death --------------------------------------------------------------- */

static void kill_daemon(struct gen *g, unsigned int x)
{
	struct state n = *g->s;
	unsigned int i;

	n.faults--;
	close_link(&n, x);
	n.host[x].flags &= (uint8_t)~H_DAEMON;
	n.host[x].src = n.host[x].dst = n.host[x].src_session = n.host[x].dst_session = 0;
	for (i = 0; i < SESSIONS; i++) {
		struct session *c = &n.session[i];

		if (source_of(g->m, i) == x && c->src_up) {
			c->src_up = 0;
			c->back = BACK_NONE;
		}
		if (dest_of(g->m, i) == x && c->dst_up) {
			c->dst_up = 0;
			c->to = TO_NONE;
		}
	}
	emit(g, &n, MOVE_CHANCE, "%s: its daemon is killed", x, NULL);
}

/* Is what the dead VMM had really lost to nobody's fault? */
static void judge_death(struct gen *g, struct state *n, unsigned int x)
{
	const struct owner_record *rec = rec_of(g->m, g->s, x);
	enum image img = g->s->host[x].image;
	bool elsewhere = false, kept = false;
	unsigned int y;

	for (y = 0; y < g->m->sc->hosts; y++) {
		if (y == x || !host_is(n, y, H_VMM))
			continue;
		elsewhere |= n->host[y].image == IMG_CUR;
		kept |= n->host[y].image == IMG_CUR && owner_kept_copy(rec_of(g->m, n, y));
	}
	if (rec->state == OWNER_OWNED || (rec->state == OWNER_FINAL && !kept)) {
		/* It takes the guest with it, as without migration. */
		n->ghost |= G_LOST;
	} else if (img == IMG_SERVE) {
		n->ghost |= G_LOST;
	} else if (rec->state != OWNER_FINAL && img == IMG_CUR && !elsewhere) {
		if (rec->kind == OWNER_KIND_PRECOPY && !(n->ghost & G_EXCUSED))
			breaks(g->m, I3A, "the last image dies: no copy was kept");
		n->ghost |= G_LOST;
	}
}

static void kill_vmm(struct gen *g, unsigned int x)
{
	struct state n = *g->s;
	struct host *h = &n.host[x];
	bool linked = h->flags & H_LINK;

	n.deaths--;
	n.ghost |= G_DEATH;
	h->flags &= (uint8_t)~(H_VMM | H_LINK | H_OLD);
	h->pend = h->old = 0;
	judge_death(g, &n, x);
	h->image = IMG_EMPTY;
	if (linked)
		link_gone(g, &n, x);
	emit(g, &n, MOVE_CHANCE, "%s: its VMM dies", x, NULL);
}

void life_moves(struct gen *g, unsigned int x)
{
	struct owner_record rec;
	struct state n = *g->s;
	unsigned int y;

	if (host_is(g->s, x, H_DAEMON) && g->s->faults)
		kill_daemon(g, x);
	if (!host_is(g->s, x, H_DAEMON)) {
		n.host[x].flags |= H_DAEMON;
		emit(g, &n, MOVE_COMMAND, "%s: its daemon is started again", x, NULL);
	}
	if (host_is(g->s, x, H_VMM) && g->s->deaths)
		kill_vmm(g, x);
	if (host_is(g->s, x, H_VMM))
		return;
	n = *g->s;
	owner_record_init(&rec, true, false);
	/* The first record of a destination is host 1's at the beginning: interned. */
	for (y = 0; y < g->m->nrec; y++)
		if (owner_record_equal(&g->m->rec[y], &rec))
			break;
	n.host[x].rec = (uint16_t)y;
	n.host[x].flags |= H_VMM | H_REBORN;
	emit(g, &n, MOVE_COMMAND, "%s: its VMM is started anew, as a destination", x, NULL);
}

/* ---- the user ------------------------------------------------------------------- */

void user_moves(struct gen *g, unsigned int x)
{
	const struct owner_record *rec = rec_of(g->m, g->s, x);
	struct state n;

	if (!host_is(g->s, x, H_VMM))
		return;
	if (rec->state == OWNER_OWNED && !rec->running && g->s->host[x].wants) {
		n = *g->s;
		vmm_event(g->m, &n, x, request_of(OWNER_EV_CONT, 0), NULL);
		emit(g, &n, MOVE_COMMAND, "%s: the user types cont", x, NULL);
	}
	if (rec->running && g->s->faults) {
		n = *g->s;
		n.faults--;
		vmm_event(g->m, &n, x, request_of(OWNER_EV_HALTED, 0), NULL);
		emit(g, &n, MOVE_CHANCE, "%s: the vCPUs stand still by themselves", x, NULL);
	}
	if (!g->s->users)
		return;
	n = *g->s;
	n.users--;
	if (vmm_event(g->m, &n, x, request_of(OWNER_EV_STOP, 0), NULL))
		emit(g, &n, MOVE_CHANCE, "%s: the user types stop", x, NULL);
	n = *g->s;
	n.users--;
	if (vmm_event(g->m, &n, x, request_of(OWNER_EV_CONT, 0), NULL))
		emit(g, &n, MOVE_CHANCE, "%s: the user types cont", x, NULL);
}
