// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The tables of what is legal when, and the three questions they answer: may this message
 * come, may this phase follow, does this message need a question. Called by peer/link.c for
 * every frame in both directions, and by the engine where a session goes on to its next phase.
 */
#include "wire/phase.h"

#include <errno.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/err.h"

/* Names for the tables' columns; D stands for the destination and for data, as in frame.c. */
enum { S = DROVER_FROM_S, D = DROVER_FROM_D };
enum { M = DROVER_ON_M, P = DROVER_ON_P };
enum { TWO = DROVER_WIRE_TWO_WAY, ONE = DROVER_WIRE_ONE_WAY, POST = DROVER_WIRE_POSTCOPY };
enum { ANY = TWO | ONE | POST };

#define IN(phase) (1u << DROVER_PHASE_##phase)
/* All phases from one to another, in the order of phases.def. */
#define SPAN(first, last) ((IN(last) << 1) - IN(first))

_Static_assert(DROVER_PHASE_COUNT < 32, "a set of phases is one word");
_Static_assert((int)DROVER_FROM_D == (int)DROVER_ON_D, "D stands for both");

static const struct drover_phase_info phases[] = {
#define PHASE(name, begins, joins, doc) { #name, (begins), (joins), doc },
#include "wire/phases.def"
};

static const struct drover_phase_edge edges[] = {
#define EDGE(from, to, modes, doc) { DROVER_PHASE_##from, DROVER_PHASE_##to, (modes), doc },
#include "wire/phases.def"
};

static const struct drover_msg_when whens[] = {
#define WHEN(name, from, channels, modes, phases) \
	{ DROVER_MSG_##name, (from), (channels), (modes), (phases) },
#include "wire/messages.def"
};

static const struct {
	uint16_t answer, question;
	unsigned int channels;
} answers[] = {
#define ANSWER(name, channels, question) { DROVER_MSG_##name, DROVER_MSG_##question, (channels) },
#include "wire/messages.def"
};

const struct drover_phase_info *drover_phase_info(enum drover_phase p)
{
	return (unsigned int)p < DROVER_ARRAY_SIZE(phases) ? &phases[p] : NULL;
}

const struct drover_phase_edge *drover_phase_edges(size_t *ret_n)
{
	*ret_n = DROVER_ARRAY_SIZE(edges);
	return edges;
}

const struct drover_msg_when *drover_msg_whens(size_t *ret_n)
{
	*ret_n = DROVER_ARRAY_SIZE(whens);
	return whens;
}

const char *drover_wire_mode_name(enum drover_wire_mode mode)
{
	return mode == DROVER_WIRE_ONE_WAY ? "one-way" :
	       mode == DROVER_WIRE_POSTCOPY ? "postcopy" : "two-way";
}

static bool row_allows(const struct drover_msg_when *w, bool from_source, unsigned int channels,
		       enum drover_phase phase, enum drover_wire_mode mode)
{
	return (w->from & (from_source ? DROVER_FROM_S : DROVER_FROM_D)) &&
	       (w->channels & channels) && (w->modes & mode) && (w->phases >> phase & 1);
}

/* "PAGES, ROUND_END": what the same side might have said instead. */
static void legal_names(bool from_source, unsigned int channels, enum drover_phase phase,
			enum drover_wire_mode mode, char *text, size_t room)
{
	const struct drover_msg_when *before = NULL;
	size_t i, used = 0;

	text[0] = '\0';
	for (i = 0; i < DROVER_ARRAY_SIZE(whens) && used < room; i++) {
		if (!row_allows(&whens[i], from_source, channels, phase, mode) ||
		    (before && before->nr == whens[i].nr))
			continue;
		before = &whens[i];
		used += (size_t)snprintf(text + used, room - used, "%s%s", used ? ", " : "",
					 drover_msg_info(before->nr)->name);
	}
	if (!used)
		snprintf(text, room, "nothing");
}

int drover_phase_allows(const struct drover_msg_info *info, bool from_source,
			unsigned int channels, enum drover_phase phase,
			enum drover_wire_mode mode, struct drover_error *e)
{
	char legal[320];
	size_t i;
	int r = drover_wire_allowed(info, from_source, channels, e);

	if (r < 0)
		return r;
	for (i = 0; i < DROVER_ARRAY_SIZE(whens); i++)
		if (whens[i].nr == info->nr &&
		    row_allows(&whens[i], from_source, channels, phase, mode))
			return 0;
	legal_names(from_source, channels, phase, mode, legal, sizeof(legal));
	return drover_err(e, -EBADMSG,
			  "message %s: not in phase %s (%s), in which the %s may say: %s",
			  info->name, phases[phase].name, drover_wire_mode_name(mode),
			  from_source ? "source" : "destination", legal);
}

bool drover_phase_edge(enum drover_phase from, enum drover_phase to, enum drover_wire_mode mode)
{
	size_t i;

	if (from == to)
		return true;
	for (i = 0; i < DROVER_ARRAY_SIZE(edges); i++)
		if (edges[i].from == from && edges[i].to == to)
			return edges[i].modes & mode;
	return false;
}

int drover_msg_asks(uint16_t nr, unsigned int channel)
{
	size_t i;

	for (i = 0; i < DROVER_ARRAY_SIZE(answers); i++)
		if (answers[i].question == nr && (answers[i].channels & channel))
			return (int)i;
	return -1;
}

int drover_msg_answers(uint16_t nr, unsigned int channel)
{
	size_t i;

	for (i = 0; i < DROVER_ARRAY_SIZE(answers); i++)
		if (answers[i].answer == nr && (answers[i].channels & channel))
			return (int)i;
	return -1;
}

static unsigned int pack(enum drover_phase phase, unsigned int mode)
{
	return mode << 8 | (unsigned int)phase;
}

void drover_phase_init(struct drover_phase_state *s)
{
	atomic_init(&s->at, pack(DROVER_PHASE_GREETING, DROVER_WIRE_TWO_WAY));
}

enum drover_phase drover_phase_get(const struct drover_phase_state *s,
				   enum drover_wire_mode *ret_mode)
{
	unsigned int at = atomic_load(&s->at);

	*ret_mode = (enum drover_wire_mode)(at >> 8);
	return (enum drover_phase)(at & 0xff);
}

int drover_phase_one_way(struct drover_phase_state *s, struct drover_error *e)
{
	unsigned int at = pack(DROVER_PHASE_GREETING, DROVER_WIRE_TWO_WAY);

	if (atomic_compare_exchange_strong(&s->at, &at,
					   pack(DROVER_PHASE_GREETING, DROVER_WIRE_ONE_WAY)) ||
	    at >> 8 == DROVER_WIRE_ONE_WAY)
		return 0;
	return drover_err(e, -EPROTO, "one-way: too late in phase %s", phases[at & 0xff].name);
}

int drover_phase_move(struct drover_phase_state *s, enum drover_phase to, struct drover_error *e)
{
	unsigned int at = atomic_load(&s->at), mode;

	do {
		mode = at >> 8;
		if (!drover_phase_edge((enum drover_phase)(at & 0xff), to,
				       (enum drover_wire_mode)mode))
			return drover_err(e, -EPROTO, "phase %s cannot follow %s (%s)",
					  phases[to].name, phases[at & 0xff].name,
					  drover_wire_mode_name((enum drover_wire_mode)mode));
		if (phases[to].begins)
			mode = phases[to].begins;
	} while (!atomic_compare_exchange_weak(&s->at, &at, pack(to, mode)));
	return 0;
}
