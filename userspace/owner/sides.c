// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The daemons' steps: finds the row, says what to do. Pure. Called by the engine's source
 * and destination, which do what the plan says and feed what came of it.
 */
#include "owner/sides.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "owner/machine.h"

static bool in_state(const struct owner_facts *f, enum owner_state s)
{
	return f->rec && f->rec->state == s;
}

static bool released_by(const struct owner_facts *f, enum owner_by by)
{
	return in_state(f, OWNER_RELEASED) && f->rec->by == by;
}

static bool record_says(enum owner_fact fact, const struct owner_facts *f)
{
	switch (fact) {
	case OWNER_FACT_BIT_WHOLE:
		return in_state(f, OWNER_OWNED) && !f->rec->missing;
	case OWNER_FACT_BIT_IN_DOUBT:
		return in_state(f, OWNER_IN_DOUBT);
	case OWNER_FACT_BIT_HELD:
		return in_state(f, OWNER_IN_DOUBT) && f->rec->kind == OWNER_KIND_ONE_WAY;
	case OWNER_FACT_BIT_SERVING:
		return in_state(f, OWNER_SERVING);
	case OWNER_FACT_BIT_BY_HAND:
		return released_by(f, OWNER_BY_HAND);
	case OWNER_FACT_BIT_BY_STREAM:
		return released_by(f, OWNER_BY_STREAM);
	case OWNER_FACT_BIT_MISSING:
		return in_state(f, OWNER_OWNED) && f->rec->missing;
	default:
		return false;
	}
}

static bool holds(enum owner_fact fact, const struct owner_facts *f, enum owner_kind kind,
		  enum owner_word word)
{
	switch (fact) {
	case OWNER_FACT_BIT_POSTCOPY:
		return kind == OWNER_KIND_POSTCOPY;
	case OWNER_FACT_BIT_ONE_WAY:
		return kind == OWNER_KIND_ONE_WAY;
	case OWNER_FACT_BIT_LIVE:
		return f->live;
	case OWNER_FACT_BIT_FLAGS_AGREE:
		return f->flags_agree;
	case OWNER_FACT_BIT_WORD_OWN:
		return word == OWNER_WORD_OWN;
	case OWNER_FACT_BIT_WORD_RELEASE:
		return word == OWNER_WORD_RELEASE;
	case OWNER_FACT_BIT_WORD_AGAIN:
		return word == OWNER_WORD_AGAIN;
	default:
		return record_says(fact, f);
	}
}

unsigned int owner_fact_failing(uint32_t facts, const struct owner_facts *f, enum owner_kind kind,
				enum owner_word word)
{
	unsigned int i;

	for (i = 0; i < OWNER_FACT_COUNT; i++)
		if (facts & 1u << i && !holds((enum owner_fact)i, f, kind, word))
			return i;
	return OWNER_FACT_COUNT;
}

const char *owner_fact_text(unsigned int fact)
{
	static const char *const texts[] = {
#define OWNER_FACT(id, name, doc) doc,
#include "owner/fact.def"
	};

	return fact < OWNER_FACT_COUNT ? texts[fact] : NULL;
}

/* A daemon whose record can't be read has nothing to say about it. */
static int refuse(const char *side, const char *phase, const char *event, unsigned int fact,
		  const struct owner_record *rec, struct drover_error *e)
{
	const char *why = owner_fact_text(fact);

	return drover_err(e, -EPERM, "%s: %s: %s%s%s%s%s%s%s", side, event, phase, why ? ": " : "",
			  why ? why : "", rec ? "; the record is " : "",
			  rec ? owner_state_name(rec->state) : "", rec ? ": " : "",
			  rec ? owner_state_lead(rec->state) : "");
}

static void make_plan(uint8_t request, enum owner_by by, uint32_t todo, struct owner_plan *plan)
{
	*plan = (struct owner_plan){
		.has_request = request,
		.request = (enum owner_event)(request ? request - 1 : 0),
		.by = by,
		.todo = todo,
	};
}

const struct owner_source_row *owner_machine_source_row(const struct owner_machine *m,
							const struct owner_source *s,
							enum owner_source_event ev,
							const struct owner_facts *f,
							unsigned int *failing)
{
	unsigned int i;

	*failing = OWNER_FACT_COUNT;
	for (i = 0; i < OWNER_DAEMON_ALTS; i++) {
		const struct owner_source_row *row = &m->source[s->phase][ev][i];

		if (!row->valid)
			continue;
		*failing = owner_fact_failing(row->guards, f, s->kind, s->word);
		if (*failing == OWNER_FACT_COUNT)
			return row;
	}
	return NULL;
}

const struct owner_dest_row *owner_machine_dest_row(const struct owner_machine *m,
						    const struct owner_dest *d,
						    enum owner_dest_event ev,
						    const struct owner_facts *f,
						    unsigned int *failing)
{
	unsigned int i;

	*failing = OWNER_FACT_COUNT;
	for (i = 0; i < OWNER_DAEMON_ALTS; i++) {
		const struct owner_dest_row *row = &m->dest[d->phase][ev][i];

		if (!row->valid)
			continue;
		*failing = owner_fact_failing(row->guards, f, d->kind, OWNER_WORD_NONE);
		if (*failing == OWNER_FACT_COUNT)
			return row;
	}
	return NULL;
}

int owner_machine_source(const struct owner_machine *m, const struct owner_source *s,
			 enum owner_source_event ev, const struct owner_facts *f,
			 struct owner_source *next, struct owner_plan *plan,
			 struct drover_error *e)
{
	const uint32_t says = OWNER_DO_OF(SAY_COMMIT) | OWNER_DO_OF(SAY_END);
	const struct owner_source_row *row;
	unsigned int fact;

	row = owner_machine_source_row(m, s, ev, f, &fact);
	if (!row)
		return refuse("source", owner_source_phase_name(s->phase),
			      owner_source_event_name(ev), fact, f->rec, e);
	if (next != s)
		*next = *s;
	next->phase = row->next;
	if (row->word)
		next->word = (enum owner_word)(row->word - 1);
	if (ev == OWNER_SRC_EV_ATTACHED && f->rec)
		next->kind = f->rec->kind;
	/* From DOUBT on the will can't change here, so what its answer said is what is said. */
	if (row->actions & says && f->rec)
		next->will = f->rec->will;
	make_plan(row->request, (enum owner_by)row->by, row->actions, plan);
	return 0;
}

int owner_machine_dest(const struct owner_machine *m, const struct owner_dest *d,
		       enum owner_dest_event ev, const struct owner_facts *f,
		       struct owner_dest *next, struct owner_plan *plan, struct drover_error *e)
{
	const struct owner_dest_row *row;
	unsigned int fact;

	row = owner_machine_dest_row(m, d, ev, f, &fact);
	if (!row)
		return refuse("destination", owner_dest_phase_name(d->phase),
			      owner_dest_event_name(ev), fact, f->rec, e);
	if (next != d)
		*next = *d;
	next->phase = row->next;
	make_plan(row->request, OWNER_BY_NONE, row->actions, plan);
	return 0;
}

int owner_source_step(const struct owner_source *s, enum owner_source_event ev,
		      const struct owner_facts *f, struct owner_source *next,
		      struct owner_plan *plan, struct drover_error *e)
{
	return owner_machine_source(&owner_machine, s, ev, f, next, plan, e);
}

int owner_dest_step(const struct owner_dest *d, enum owner_dest_event ev,
		    const struct owner_facts *f, struct owner_dest *next,
		    struct owner_plan *plan, struct drover_error *e)
{
	return owner_machine_dest(&owner_machine, d, ev, f, next, plan, e);
}

const char *owner_source_phase_name(enum owner_source_phase p)
{
	static const char *const names[] = {
#define OWNER_SRC_PHASE(id, name, doc) name,
#include "owner/source.def"
	};

	return (unsigned int)p < OWNER_SRC_PHASE_COUNT ? names[p] : "invalid";
}

const char *owner_source_event_name(enum owner_source_event ev)
{
	static const char *const names[] = {
#define OWNER_SRC_EVENT(id, name, doc) name,
#include "owner/source.def"
	};

	return (unsigned int)ev < OWNER_SRC_EV_COUNT ? names[ev] : "invalid";
}

const char *owner_dest_phase_name(enum owner_dest_phase p)
{
	static const char *const names[] = {
#define OWNER_DST_PHASE(id, name, answers, doc) name,
#include "owner/dest.def"
	};

	return (unsigned int)p < OWNER_DST_PHASE_COUNT ? names[p] : "invalid";
}

const char *owner_dest_event_name(enum owner_dest_event ev)
{
	static const char *const names[] = {
#define OWNER_DST_EVENT(id, name, doc) name,
#include "owner/dest.def"
	};

	return (unsigned int)ev < OWNER_DST_EV_COUNT ? names[ev] : "invalid";
}

const char *owner_do_name(uint32_t *todo)
{
	static const char *const names[] = {
#define OWNER_DO(id, name, doc) name,
#include "owner/do.def"
	};
	unsigned int i;

	for (i = 0; i < OWNER_DO_COUNT; i++)
		if (*todo & 1u << i) {
			*todo &= ~(1u << i);
			return names[i];
		}
	return NULL;
}
