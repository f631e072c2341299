// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Ghosts: what no daemon and no VMM knows, kept for the invariants. Each host's image, what
 * the user wants of the guest there, and what the operator's word excuses.
 */
#include "model.h"

static bool another_is(const struct model *m, const struct state *s, unsigned int x,
		       enum image img)
{
	unsigned int y;

	for (y = 0; y < m->sc->hosts; y++)
		if (y != x && host_is(s, y, H_VMM) && s->host[y].image == img)
			return true;
	return false;
}

static void left_behind(struct model *m, struct state *s, unsigned int x)
{
	unsigned int y;

	if (s->ghost & G_EXCUSED)
		return;
	for (y = 0; y < m->sc->hosts; y++)
		if (y != x && s->host[y].image == IMG_CUR)
			s->host[y].image = IMG_PAST;
}

/* The operator has given an image up by --discard: it may have been the last. */
static void ghost_discarded(struct model *m, struct state *s, unsigned int x)
{
	struct host *h = &s->host[x];

	if (h->image == IMG_SERVE ||
	    (h->image == IMG_CUR && !another_is(m, s, x, IMG_CUR)))
		s->ghost |= G_LOST;
	s->ghost |= G_FORCED;
	h->image = IMG_EMPTY;
}

static void ghost_emptied(struct model *m, struct state *s, unsigned int x, unsigned int actions)
{
	struct host *h = &s->host[x];

	if (m->sc->shared && actions & OWNER_ACT_EMPTY_ALL && !(s->ghost & G_EXCUSED))
		breaks(m, I2, "RAM that another VMM maps is emptied");
	if (h->image == IMG_SERVE)
		breaks(m, I2, "pages that a postcopy still needs are emptied");
	if (h->image == IMG_CUR && !(s->ghost & (G_EXCUSED | G_LOST)) &&
	    !another_is(m, s, x, IMG_CUR) && !another_is(m, s, x, IMG_MISS))
		breaks(m, I2, "the last whole image is emptied");
	h->image = IMG_EMPTY;
}

/* Own by force: what the operator's word excuses, and what it does not. */
static void ghost_forced(struct model *m, struct state *s, unsigned int x,
			 enum owner_state was, unsigned int session)
{
	bool dest = was == OWNER_INCOMING || was == OWNER_FENCED;
	bool excuse = s->host[x].image == IMG_PAST || s->host[x].image == IMG_SERVE;
	unsigned int y;

	for (y = 0; y < m->sc->hosts; y++) {
		enum owner_state st = rec_of(m, s, y)->state;

		if (y == x || !host_is(s, y, H_VMM))
			continue;
		if (st == OWNER_OWNED || st == OWNER_FINAL)
			excuse = true;
		/* It has the promise that this one will not own: it may be about to act on it. */
		if (was == OWNER_FENCED && y == source_of(m, session))
			excuse = true;
	}
	/* A file can't be fenced, nor can its reader be told: nothing is promised from here on. */
	if (s->session[session].ended ||
	    (excuse && kind_of(m, session) == OWNER_KIND_ONE_WAY)) {
		excuse = true;
		s->ghost |= G_LOST;
	}
	s->ghost |= G_FORCED | (excuse ? G_EXCUSED : 0);
	if (dest)
		s->host[x].wants = false;
	if (s->host[x].image == IMG_PAST || s->host[x].image == IMG_SERVE)
		s->host[x].image = IMG_CUR;
}

static void ghost_owned(struct model *m, struct state *s, unsigned int x, struct request q)
{
	unsigned int y = source_of(m, q.session);
	struct host *h = &s->host[x];

	h->wants = s->ghost & G_EXCUSED || y >= HOSTS ? q.will : s->host[y].wants;
	if (h->image == IMG_MISS && y < HOSTS && s->host[y].image == IMG_CUR)
		s->host[y].image = IMG_SERVE;
	left_behind(m, s, x);
}

static void ghost_started(struct model *m, struct state *s, unsigned int x)
{
	unsigned int i;

	left_behind(m, s, x);
	/* What was sent of it before is not what it is now. */
	for (i = 0; i < m->sc->sessions; i++)
		if (source_of(m, i) == x)
			s->session[i].stale = 1;
}

/* Is all told, and nothing under way that goes back to the time of two? */
static bool all_told(const struct model *m, const struct state *s, unsigned int x)
{
	const struct owner_record *rec = rec_of(m, s, x);
	unsigned int i = 0;

	return !s->host[x].pend && !s->host[x].old && !owner_to_tell(rec, &i) &&
	       !owner_kept_copy(rec);
}

/* The operator's word excuses two until they have met: then the promise holds again. */
void ghost_peace(const struct model *m, struct state *s)
{
	unsigned int x;

	if (!(s->ghost & G_EXCUSED) || s->ghost & G_LOST || !is_goal(m, s))
		return;
	for (x = 0; x < m->sc->hosts; x++)
		if (host_is(s, x, H_VMM) && !all_told(m, s, x))
			return;
	s->ghost &= (uint8_t)~G_EXCUSED;
	for (x = 0; x < m->sc->hosts; x++)
		if (s->host[x].image == IMG_CUR && rec_of(m, s, x)->state != OWNER_OWNED)
			s->host[x].image = IMG_PAST;
}

void ghost_step(struct model *m, struct state *s, unsigned int x, struct request q,
		enum owner_state was, unsigned int actions)
{
	const struct owner_record *rec = rec_of(m, s, x);
	struct host *h = &s->host[x];

	if (q.event == OWNER_EV_DISCARD)
		ghost_discarded(m, s, x);
	else if (actions & (OWNER_ACT_EMPTY | OWNER_ACT_EMPTY_ALL))
		ghost_emptied(m, s, x, actions);
	if (q.event == OWNER_EV_INCOMING && rec->state == OWNER_INCOMING)
		h->image = IMG_PARTIAL;
	if (actions & OWNER_ACT_LOAD)
		h->image = s->session[q.session].stale ? IMG_PAST :
			   kind_of(m, q.session) == OWNER_KIND_POSTCOPY ? IMG_MISS : IMG_CUR;
	if (q.event == OWNER_EV_TAKE)
		ghost_forced(m, s, x, was, q.session);
	if (q.event == OWNER_EV_OWN && was == OWNER_INCOMING)
		ghost_owned(m, s, x, q);
	if (rec->state == OWNER_OWNED && q.event == OWNER_EV_TAKE)
		left_behind(m, s, x);
	if (q.event == OWNER_EV_MINE && was == OWNER_OWNED && rec->state == OWNER_FENCED)
		h->image = IMG_PAST;
	if (q.event == OWNER_EV_HALTED)
		s->ghost |= G_HALTED;
	if (actions & OWNER_ACT_START)
		ghost_started(m, s, x);
}
