// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The invariants, as they can be seen in one state; I2 and a part of I6 are seen in steps
 * (world.c, moves.c), and I3 is a matter of the whole graph (explore.c).
 */
#include "model.h"

static bool is_owner(enum owner_state st)
{
	return st == OWNER_OWNED || st == OWNER_FINAL;
}

/* At most one, and the guest it has is the guest. */
static enum invariant check_owners(const struct model *m, const struct state *s, const char **why)
{
	unsigned int x, owners = 0, running = 0;

	for (x = 0; x < m->sc->hosts; x++) {
		const struct owner_record *rec = rec_of(m, s, x);
		enum image img = s->host[x].image;

		if (!host_is(s, x, H_VMM))
			continue;
		running += rec->running;
		owners += is_owner(rec->state);
		if (rec->running && !owner_may_run(rec))
			return *why = "a guest runs where its record is not owned", I1;
		if (s->ghost & G_EXCUSED || !is_owner(rec->state))
			continue;
		if (img == IMG_PAST)
			return *why = "an image of the past is owned", I1;
		if (img != IMG_CUR && img != IMG_MISS)
			return *why = "there is no guest where the record is owned", I1;
	}
	if (s->ghost & G_EXCUSED)
		return INV_NONE;
	if (running > 1)
		return *why = "two run", I1;
	if (owners > 1)
		return *why = "two own", I1;
	return INV_NONE;
}

static enum invariant check_forgotten(const struct model *m, const struct state *s,
				      unsigned int x, const char **why)
{
	const struct owner_record *rec = rec_of(m, s, x);
	unsigned int y;

	if (rec->kind == OWNER_KIND_ONE_WAY || s->ghost & G_EXCUSED)
		return INV_NONE;
	if (rec->state != OWNER_IN_DOUBT && rec->state != OWNER_SERVING)
		return INV_NONE;
	y = dest_of(m, session_of(&rec->token));
	if (host_is(s, y, H_VMM) && !host_is(s, y, H_REBORN) &&
	    owner_class_of(rec_of(m, s, y), &rec->token) == OWNER_CLASS_UNKNOWN)
		return *why = "the destination has forgotten a session that its source asks about",
		       I6;
	return INV_NONE;
}

enum invariant check_state(const struct model *m, const struct state *s, const char **why)
{
	enum invariant inv = check_owners(m, s, why);
	unsigned int x;

	for (x = 0; x < m->sc->hosts && !inv; x++) {
		const struct owner_record *rec = rec_of(m, s, x);

		if (!host_is(s, x, H_VMM))
			continue;
		if (rec->running && !s->host[x].wants)
			return *why = "a guest runs that its user has stopped", I4;
		if (s->host[x].image == IMG_MISS &&
		    (rec->state == OWNER_FINAL || rec->state == OWNER_IN_DOUBT ||
		     rec->state == OWNER_SERVING || rec->state == OWNER_RELEASED))
			return *why = "an incomplete guest is migrated on", I5;
		inv = check_forgotten(m, s, x, why);
	}
	return inv;
}

/* Exactly one whole guest, which runs if and only if the user wants it, and nothing else open. */
bool is_goal(const struct model *m, const struct state *s)
{
	unsigned int x, owners = 0;

	if (s->ghost & G_LOST)
		return true;
	for (x = 0; x < m->sc->hosts; x++) {
		const struct owner_record *rec = rec_of(m, s, x);

		if (!host_is(s, x, H_VMM))
			continue;
		if (rec->state == OWNER_FINAL || rec->state == OWNER_IN_DOUBT ||
		    rec->state == OWNER_SERVING)
			return false;
		if (rec->state != OWNER_OWNED)
			continue;
		owners++;
		if (s->host[x].image != IMG_CUR || rec->missing ||
		    rec->running != (bool)s->host[x].wants)
			return false;
	}
	return owners == 1;
}

/*
 * What comes by itself: nobody is in doubt, at most one owns, it runs if the user wants it
 * (unless its vCPUs stopped by themselves), nobody is left to be told. One-way is left to the
 * operator: a file can't be asked.
 */
bool is_settled(const struct model *m, const struct state *s)
{
	unsigned int x, i = 0, owners = 0;

	if (s->ghost & G_LOST)
		return true;
	for (x = 0; x < m->sc->hosts; x++) {
		const struct owner_record *rec = rec_of(m, s, x);

		if (!host_is(s, x, H_VMM))
			continue;
		if (rec->state == OWNER_IN_DOUBT && rec->kind != OWNER_KIND_ONE_WAY)
			return false;
		if (rec->state == OWNER_OWNED && !(s->ghost & G_HALTED) &&
		    rec->running != (bool)s->host[x].wants)
			return false;
		owners += is_owner(rec->state);
		if (owner_to_tell(rec, &i))
			return false;
		i = 0;
	}
	return owners <= 1;
}

bool all_alive(const struct model *m, const struct state *s)
{
	unsigned int x;

	for (x = 0; x < m->sc->hosts; x++)
		if (!host_is(s, x, H_VMM | H_DAEMON))
			return false;
	return !(s->ghost & G_DEATH);
}
