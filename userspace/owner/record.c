// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The record's predicates and names. Pure: each answers from its arguments alone.
 * Used by vmm.c, source.c, dest.c, by libdrover and by daemons.
 */
#include "owner/record.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"

void owner_record_init(struct owner_record *rec, bool incoming, bool will)
{
	memset(rec, 0, sizeof(*rec));
	rec->state = incoming ? OWNER_INCOMING : OWNER_OWNED;
	rec->will = rec->running = !incoming && will;
}

bool owner_token_equal(const struct owner_token *a, const struct owner_token *b)
{
	return !memcmp(a->byte, b->byte, sizeof(a->byte));
}

bool owner_token_set(const struct owner_token *t)
{
	static const struct owner_token none;

	return !owner_token_equal(t, &none);
}

static bool entry_equal(const struct owner_entry *a, const struct owner_entry *b)
{
	return a->outcome == b->outcome && owner_token_equal(&a->token, &b->token) &&
	       !strncmp(a->peer, b->peer, sizeof(a->peer));
}

bool owner_record_equal(const struct owner_record *a, const struct owner_record *b)
{
	unsigned int i;

	for (i = 0; i < OWNER_HISTORY; i++)
		if (!entry_equal(&a->history[i], &b->history[i]))
			return false;
	return a->state == b->state && a->kind == b->kind && a->by == b->by &&
	       a->will == b->will && a->running == b->running && a->missing == b->missing &&
	       a->proved == b->proved &&
	       owner_token_equal(&a->token, &b->token) &&
	       owner_token_equal(&a->loaded, &b->loaded) &&
	       a->since == b->since && a->until == b->until &&
	       !strncmp(a->peer, b->peer, sizeof(a->peer));
}

enum owner_outcome owner_outcome(const struct owner_record *rec, const struct owner_token *t)
{
	unsigned int i;

	for (i = 0; i < OWNER_HISTORY; i++)
		if (rec->history[i].outcome != OWNER_OUTCOME_NONE &&
		    owner_token_equal(&rec->history[i].token, t))
			return rec->history[i].outcome;
	return OWNER_OUTCOME_NONE;
}

bool owner_kept_copy(const struct owner_record *rec)
{
	return (rec->state == OWNER_INCOMING || rec->state == OWNER_FENCED) &&
	       owner_token_set(&rec->loaded) && rec->proved && !rec->missing &&
	       owner_outcome(rec, &rec->loaded) != OWNER_OUTCOME_TAKEN_BACK;
}

bool owner_may_run(const struct owner_record *rec)
{
	return rec->state == OWNER_OWNED;
}

bool owner_in_time(const struct owner_record *rec, uint64_t now)
{
	return now <= rec->until;
}

bool owner_must_answer(const struct owner_record *rec)
{
	return owner_token_set(&rec->token) || rec->history[0].outcome != OWNER_OUTCOME_NONE;
}

const struct owner_entry *owner_to_tell(const struct owner_record *rec, unsigned int *i)
{
	while (*i < OWNER_HISTORY) {
		const struct owner_entry *en = &rec->history[(*i)++];

		if (en->outcome == OWNER_OUTCOME_MINE)
			return en;
	}
	return NULL;
}

#define NAME_OF(names, i) ((unsigned int)(i) < DROVER_ARRAY_SIZE(names) ? (names)[i] : "invalid")

const char *owner_state_name(enum owner_state s)
{
	static const char *const names[] = {
#define OWNER_STATE(id, name, doc, lead) name,
#include "owner/owner.def"
	};

	return NAME_OF(names, s);
}

const char *owner_state_lead(enum owner_state s)
{
	static const char *const leads[] = {
#define OWNER_STATE(id, name, doc, lead) lead,
#include "owner/owner.def"
	};

	return NAME_OF(leads, s);
}

const char *owner_kind_name(enum owner_kind k)
{
	static const char *const names[] = {
#define OWNER_KIND(id, name, doc) name,
#include "owner/owner.def"
	};

	return NAME_OF(names, k);
}

const char *owner_by_name(enum owner_by b)
{
	static const char *const names[] = {
#define OWNER_BY(id, name, doc) name,
#include "owner/owner.def"
	};

	return NAME_OF(names, b);
}

const char *owner_outcome_name(enum owner_outcome o)
{
	static const char *const names[] = {
#define OWNER_OUTCOME(id, name, doc) name,
#include "owner/owner.def"
	};

	return NAME_OF(names, o);
}
