// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What can happen next: each move is made on a copy of the state and handed on. A move that
 * changes nothing is dropped. Moves of chance (faults, the user, new migrations) have
 * budgets; recovery may not count on them. Here: commands, a migration's own steps, time.
 */
#include <string.h>

#include "moves.h"

void emit(struct gen *g, struct state *n, enum move_class class, const char *what,
		 unsigned int x, const char *detail)
{
	struct move mv = { class, what, x, detail };
	struct model *m = g->m;

	ghost_peace(m, n);
	if (memcmp(n, g->s, sizeof(*n)) || m->broken)
		g->fn(g->opaque, n, &mv, m->broken, m->why);
	m->broken = INV_NONE;
}

/* ---- commands ---------------------------------------------------------------------- */

static void try_src(struct gen *g, unsigned int x, enum owner_source_event ev, bool cancel,
		    enum move_class class, const char *what)
{
	struct state n = *g->s;

	if (cancel)
		n.cancels--;
	if (class == MOVE_FORCE)
		n.ghost |= G_FORCED;
	if (src_event(g->m, &n, x, ev))
		emit(g, &n, class, what, x, NULL);
	g->m->broken = INV_NONE;
}

static void try_dst(struct gen *g, unsigned int x, enum owner_dest_event ev, bool cancel,
		    enum move_class class, const char *what)
{
	struct state n = *g->s;

	if (cancel)
		n.cancels--;
	if (class == MOVE_FORCE)
		n.ghost |= G_FORCED;
	if (dst_event(g->m, &n, x, ev))
		emit(g, &n, class, what, x, NULL);
	g->m->broken = INV_NONE;
}

static void migrate(struct gen *g, unsigned int x)
{
	const struct scenario *sc = g->m->sc;
	unsigned int i = g->s->next, y;
	struct state n = *g->s;

	if (i >= sc->sessions || sc->plan[i].src != x)
		return;
	y = sc->plan[i].dst;
	if (!readable(g->s, y) || dst_of(g->s, y).phase != OWNER_DST_LISTENING ||
	    !src_event(g->m, &n, x, OWNER_SRC_EV_MIGRATE))
		return;
	n.next++;
	n.host[x].src_session = n.host[y].dst_session = (uint8_t)i;
	n.session[i].src_up = n.session[i].dst_up = 1;
	dst_event(g->m, &n, y, OWNER_DST_EV_HELLO);
	emit(g, &n, MOVE_CHANCE, "%s: migrate; HELLO arrives", x, NULL);
}

static void commands(struct gen *g, unsigned int x)
{
	const struct scenario *sc = g->m->sc;
	const struct owner_record *rec = rec_of(g->m, g->s, x);
	bool next = g->s->next < sc->sessions && sc->plan[g->s->next].dst == x;

	migrate(g, x);
	if ((next || sc->stray) && src_of(g->s, x).phase == OWNER_SRC_IDLE)
		try_dst(g, x, OWNER_DST_EV_LISTEN, false, MOVE_CHANCE, "%s: migrate-incoming");
	if (g->s->cancels) {
		try_src(g, x, OWNER_SRC_EV_CANCEL, true, MOVE_CHANCE, "%s: cancel");
		try_dst(g, x, OWNER_DST_EV_CANCEL, true, MOVE_CHANCE, "%s: cancel incoming");
	}
	if (g->s->cancels) {
		try_src(g, x, OWNER_SRC_EV_PAUSE, true, MOVE_CHANCE, "%s: pause the postcopy");
		try_dst(g, x, OWNER_DST_EV_PAUSE, true, MOVE_CHANCE, "%s: pause the postcopy");
	}
	if (sc->discard && src_of(g->s, x).phase == OWNER_SRC_IDLE)
		try_dst(g, x, OWNER_DST_EV_DISCARD, false, MOVE_FORCE, "%s: incoming --discard");
	try_src(g, x, OWNER_SRC_EV_RECOVER, false, MOVE_COMMAND, "%s: recover");
	try_src(g, x, OWNER_SRC_EV_SETTLE, false, MOVE_COMMAND, "%s: settle");
	if (!sc->force)
		return;
	try_src(g, x, OWNER_SRC_EV_OWN, false, MOVE_FORCE, "%s: settle --force own");
	try_src(g, x, OWNER_SRC_EV_RELEASE, false, MOVE_FORCE, "%s: settle --force release");
	if (owner_kept_copy(rec) && src_of(g->s, x).phase == OWNER_SRC_IDLE)
		try_dst(g, x, OWNER_DST_EV_OWN, false, MOVE_FORCE,
			"%s: settle --force own, of a kept copy");
}

/* ---- steps of a migration ------------------------------------------------------------ */

static void source_goes_on(struct gen *g, unsigned int x)
{
	const struct owner_source o = src_of(g->s, x);
	unsigned int i = g->s->host[x].src_session, y = dest_of(g->m, i);

	if (o.phase == OWNER_SRC_PRECOPY && dst_of(g->s, y).phase == OWNER_DST_RECEIVING &&
	    g->s->host[y].dst_session == i && g->s->session[i].dst_up)
		try_src(g, x, OWNER_SRC_EV_SWITCH, false, MOVE_PROGRESS,
			"%s: the policy says switch over");
	if (o.kind != OWNER_KIND_ONE_WAY)
		return;
	if (o.phase == OWNER_SRC_FINAL)
		try_src(g, x, OWNER_SRC_EV_ACKED, false, MOVE_PROGRESS,
			"%s: all but END is written");
	try_src(g, x, OWNER_SRC_EV_STREAM_GOOD, false, MOVE_PROGRESS,
		"%s: the stream's end is safe");
	if (o.phase == OWNER_SRC_STREAMING && g->s->faults) {
		struct state n = *g->s;

		n.faults--;
		src_event(g->m, &n, x, OWNER_SRC_EV_STREAM_BAD);
		emit(g, &n, MOVE_CHANCE, "%s: the stream ends badly", x, NULL);
	}
}

static void all_here(struct gen *g, unsigned int x)
{
	unsigned int i = g->s->host[x].dst_session, y = source_of(g->m, i);
	const struct session *c = &g->s->session[i];
	enum owner_dest_phase phase = dst_of(g->s, x).phase;
	enum owner_source_phase serving = src_of(g->s, y < HOSTS ? y : 0).phase;
	struct state n = *g->s;

	if (phase != OWNER_DST_POSTCOPY && !(phase == OWNER_DST_PAUSED && c->here))
		return;
	if (!c->here && (!c->src_up || !c->dst_up || c->cut || serving != OWNER_SRC_SERVING))
		return;
	n.session[i].here = 1;
	if (n.host[x].image == IMG_MISS) {
		n.host[x].image = IMG_CUR;
		if (n.host[y].image == IMG_SERVE)
			n.host[y].image = IMG_PAST;
	}
	dst_event(g->m, &n, x, OWNER_DST_EV_ALL_HERE);
	emit(g, &n, MOVE_PROGRESS, "%s: all memory is here, and proved", x, NULL);
}

/* The copy was never good; if its source has died meanwhile, so has the guest. */
static void spoil(struct gen *g, struct state *n, unsigned int x)
{
	unsigned int y;

	n->host[x].image = IMG_PARTIAL;
	for (y = 0; y < g->m->sc->hosts; y++)
		if (host_is(n, y, H_VMM) && n->host[y].image == IMG_CUR)
			return;
	n->ghost |= G_LOST;
}

static void dest_goes_on(struct gen *g, unsigned int x)
{
	enum owner_dest_phase phase = dst_of(g->s, x).phase;
	struct state n = *g->s;

	try_dst(g, x, OWNER_DST_EV_PROVED, false, MOVE_PROGRESS, "%s: the digests are equal");
	all_here(g, x);
	if (g->s->faults && (phase == OWNER_DST_PROVING || phase == OWNER_DST_RECEIVING ||
			     phase == OWNER_DST_LOADED)) {
		n.faults--;
		if (phase != OWNER_DST_LOADED)
			spoil(g, &n, x);
		dst_event(g->m, &n, x, OWNER_DST_EV_BROKEN);
		emit(g, &n, MOVE_CHANCE, "%s: a step fails, or digests differ", x, NULL);
	}
	if (g->m->sc->stranger && phase == OWNER_DST_LISTENING && !(g->s->ghost & G_STRANGER) &&
	    x == 1) {
		n = *g->s;
		n.ghost |= G_STRANGER;
		n.host[x].dst_session = STRANGER;
		n.session[STRANGER].dst_up = 1;
		dst_event(g->m, &n, x, OWNER_DST_EV_HELLO);
		/* Who is let in writes pages. */
		if (g->m->sc->shared && n.host[x].pend)
			breaks(g->m, I2, "RAM that another VMM maps is written by a stranger");
		emit(g, &n, MOVE_CHANCE, "%s: a stranger says HELLO", x, NULL);
	}
}

static void time_passes(struct gen *g)
{
	unsigned int i;

	for (i = 0; i < g->m->sc->sessions; i++) {
		unsigned int x = source_of(g->m, i), y = dest_of(g->m, i);
		const struct owner_record *src = rec_of(g->m, g->s, x);
		const struct owner_record *dst = rec_of(g->m, g->s, y);
		struct owner_token t;
		struct state n = *g->s;

		token_of(i, &t);
		if (g->s->session[i].lease == 1 && dst->state == OWNER_INCOMING &&
		    owner_token_equal(&dst->loaded, &t)) {
			n.session[i].lease = 2;
			emit(g, &n, MOVE_PROGRESS, "%s: 5 s pass: COMMIT would be too late", y,
			     NULL);
		}
		if (g->s->session[i].lease < 3 && g->m->sc->force &&
		    (src->state == OWNER_IN_DOUBT ||
		     (src->state == OWNER_RELEASED && src->by == OWNER_BY_HAND)) &&
		    owner_token_equal(&src->token, &t)) {
			n = *g->s;
			n.session[i].lease = 3;
			emit(g, &n, MOVE_PROGRESS, "%s: 6 s of doubt have passed", x, NULL);
		}
	}
}

void model_moves(struct model *m, const struct state *s, move_fn fn, void *opaque)
{
	struct gen g = { m, s, fn, opaque };
	unsigned int x;

	m->broken = INV_NONE;
	for (x = 0; x < m->sc->hosts; x++) {
		link_moves(&g, x);
		life_moves(&g, x);
		user_moves(&g, x);
		if (!readable(s, x)) {
			/* The daemon waits for its VMM; a postcopy's pages and a stream go on. */
			continue;
		}
		commands(&g, x);
		source_hears(&g, x);
		dest_hears(&g, x);
		source_goes_on(&g, x);
		dest_goes_on(&g, x);
		ask(&g, x);
		tell(&g, x);
	}
	network(&g);
	time_passes(&g);
}
