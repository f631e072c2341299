// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The VMM library's step: finds the row, applies its effects to a copy of the record, and
 * says what is to be done. Pure. Called by libdrover for each request of a daemon, for the
 * user's stop and cont, and when a link has ended; and by the model checker.
 */
#include "owner/owner.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "owner/machine.h"

static const struct {
	const char *text;
	int error;
} guard_info[] = {
#define OWNER_GUARD(id, name, error, doc) { doc, error },
#include "owner/owner.def"
};

/* What a guard looks at. */
struct view {
	const struct owner_record *rec;
	const struct owner_args *args;
	uint64_t now;
};

static bool is_same(const struct view *v)
{
	return owner_token_set(&v->args->token) &&
	       owner_token_equal(&v->rec->token, &v->args->token);
}

static bool is_not_missing(const struct view *v)
{
	return !v->rec->missing;
}

static bool is_loaded_here(const struct view *v)
{
	return owner_token_equal(&v->rec->loaded, &v->args->token);
}

static bool is_not_loaded(const struct view *v)
{
	return !is_loaded_here(v);
}

static bool is_proved(const struct view *v)
{
	return v->rec->proved;
}

static bool is_in_time(const struct view *v)
{
	return v->now <= v->args->until;
}

/* A stream has no destination whose COMMIT could be in time. */
static bool is_expired(const struct view *v)
{
	return v->rec->kind == OWNER_KIND_ONE_WAY ||
	       (v->now > v->rec->since && v->now - v->rec->since > OWNER_FORCE_NS);
}

static bool is_by_answer(const struct view *v)
{
	return v->rec->by == OWNER_BY_ANSWER;
}

static bool is_by_hand(const struct view *v)
{
	return v->rec->by == OWNER_BY_HAND;
}

static bool is_by_word(const struct view *v)
{
	return v->rec->by == OWNER_BY_HAND || v->rec->by == OWNER_BY_STREAM;
}

static bool is_arg_answer(const struct view *v)
{
	return v->args->by == OWNER_BY_ANSWER;
}

static bool is_kept_copy(const struct view *v)
{
	return owner_kept_copy(v->rec);
}

static bool is_no_kept_copy(const struct view *v)
{
	return !owner_kept_copy(v->rec);
}

static bool is_new(const struct view *v)
{
	return owner_token_set(&v->args->token) &&
	       owner_outcome(v->rec, &v->args->token) == OWNER_OUTCOME_NONE;
}

/* An owned record has a session only where the guest came by it. */
static bool is_of_session(const struct view *v)
{
	return (v->rec->state == OWNER_OWNED && is_same(v)) ||
	       owner_outcome(v->rec, &v->args->token) == OWNER_OUTCOME_COMMITTED;
}

static bool (*const guards[OWNER_GUARD_COUNT])(const struct view *v) = {
	[OWNER_GUARD_BIT_SAME] = is_same,
	[OWNER_GUARD_BIT_NOT_MISSING] = is_not_missing,
	[OWNER_GUARD_BIT_LOADED_HERE] = is_loaded_here,
	[OWNER_GUARD_BIT_NOT_LOADED] = is_not_loaded,
	[OWNER_GUARD_BIT_PROVED] = is_proved,
	[OWNER_GUARD_BIT_IN_TIME] = is_in_time,
	[OWNER_GUARD_BIT_EXPIRED] = is_expired,
	[OWNER_GUARD_BIT_BY_ANSWER] = is_by_answer,
	[OWNER_GUARD_BIT_BY_HAND] = is_by_hand,
	[OWNER_GUARD_BIT_BY_WORD] = is_by_word,
	[OWNER_GUARD_BIT_ARG_ANSWER] = is_arg_answer,
	[OWNER_GUARD_BIT_KEPT_COPY] = is_kept_copy,
	[OWNER_GUARD_BIT_NO_KEPT_COPY] = is_no_kept_copy,
	[OWNER_GUARD_BIT_NEW] = is_new,
	[OWNER_GUARD_BIT_OF_SESSION] = is_of_session,
};

/* The first guard that does not hold; OWNER_GUARD_COUNT: all do. */
static unsigned int first_failing(uint32_t wanted, const struct view *v)
{
	unsigned int i;

	for (i = 0; i < OWNER_GUARD_COUNT; i++)
		if (wanted & 1u << i && !guards[i](v))
			return i;
	return OWNER_GUARD_COUNT;
}

static void forget_entry(struct owner_record *rec, unsigned int i)
{
	memmove(&rec->history[i], &rec->history[i + 1],
		(OWNER_HISTORY - 1 - i) * sizeof(rec->history[0]));
	memset(&rec->history[OWNER_HISTORY - 1], 0, sizeof(rec->history[0]));
}

static unsigned int find_entry(const struct owner_record *rec, const struct owner_token *t)
{
	unsigned int i;

	for (i = 0; i < OWNER_HISTORY; i++)
		if (rec->history[i].outcome != OWNER_OUTCOME_NONE &&
		    owner_token_equal(&rec->history[i].token, t))
			break;
	return i;
}

static void forget(struct owner_record *rec, const struct owner_token *t,
		   enum owner_outcome outcome)
{
	unsigned int i = find_entry(rec, t);

	if (i < OWNER_HISTORY && rec->history[i].outcome == outcome)
		forget_entry(rec, i);
}

/* The newest comes first; one about the same session is replaced, else the oldest goes. */
static void enter(struct owner_record *rec, const struct owner_token *t,
		  enum owner_outcome outcome)
{
	struct owner_entry en = { .token = *t, .outcome = outcome };
	unsigned int i = find_entry(rec, t);

	if (owner_token_equal(&rec->token, t)) {
		memcpy(en.peer, rec->peer, sizeof(en.peer));
	} else if (i < OWNER_HISTORY) {
		memcpy(en.peer, rec->history[i].peer, sizeof(en.peer));
	}
	if (i == OWNER_HISTORY)
		i = OWNER_HISTORY - 1;
	forget_entry(rec, i);
	memmove(&rec->history[1], &rec->history[0], (OWNER_HISTORY - 1) * sizeof(en));
	rec->history[0] = en;
}

static void set_peer(struct owner_record *rec, const char *peer)
{
	memset(rec->peer, 0, sizeof(rec->peer));
	if (peer)
		memcpy(rec->peer, peer, strnlen(peer, sizeof(rec->peer) - 1));
}

static void apply_history(struct owner_record *rec, uint32_t fx, const struct owner_args *a)
{
	if (fx & OWNER_EFFECT_OF(ENTER) && owner_token_set(&rec->token) &&
	    owner_outcome(rec, &rec->token) == OWNER_OUTCOME_NONE)
		enter(rec, &rec->token, OWNER_OUTCOME_FENCED);
	/* Nobody can be told that a file must not be loaded. */
	if (fx & OWNER_EFFECT_OF(MINE) && rec->kind != OWNER_KIND_ONE_WAY)
		enter(rec, &rec->token, OWNER_OUTCOME_MINE);
	if (fx & OWNER_EFFECT_OF(COMMITTED))
		enter(rec, &a->token, OWNER_OUTCOME_COMMITTED);
	if (fx & OWNER_EFFECT_OF(FENCED))
		enter(rec, &a->token, OWNER_OUTCOME_FENCED);
	if (fx & OWNER_EFFECT_OF(TAKEN_BACK))
		enter(rec, &a->token, OWNER_OUTCOME_TAKEN_BACK);
	if (fx & OWNER_EFFECT_OF(FORGET))
		forget(rec, &a->token, OWNER_OUTCOME_COMMITTED);
	if (fx & OWNER_EFFECT_OF(FORGET_MINE))
		forget(rec, &a->token, OWNER_OUTCOME_MINE);
}

static void apply_session(struct owner_record *rec, uint32_t fx, const struct owner_args *a,
			  uint64_t now)
{
	if (fx & OWNER_EFFECT_OF(NO_SESSION)) {
		memset(&rec->token, 0, sizeof(rec->token));
		memset(rec->peer, 0, sizeof(rec->peer));
		rec->kind = OWNER_KIND_PRECOPY;
		rec->since = rec->until = 0;
	}
	if (fx & OWNER_EFFECT_OF(SESSION)) {
		rec->token = a->token;
		rec->kind = a->kind;
		rec->since = rec->until = 0;
	}
	if (fx & (OWNER_EFFECT_OF(SESSION) | OWNER_EFFECT_OF(PEER)))
		set_peer(rec, a->peer);
	if (fx & OWNER_EFFECT_OF(SINCE))
		rec->since = now;
	if (fx & OWNER_EFFECT_OF(UNTIL))
		rec->until = a->until;
	if (fx & OWNER_EFFECT_OF(BY))
		rec->by = a->by;
	if (fx & OWNER_EFFECT_OF(NOT_BY))
		rec->by = OWNER_BY_NONE;
}

static void apply_image(struct owner_record *rec, uint32_t fx, const struct owner_args *a)
{
	if (fx & OWNER_EFFECT_OF(LOADED))
		rec->loaded = a->token;
	if (fx & OWNER_EFFECT_OF(UNLOADED))
		memset(&rec->loaded, 0, sizeof(rec->loaded));
	if (fx & (OWNER_EFFECT_OF(LOADED) | OWNER_EFFECT_OF(UNLOADED)))
		rec->proved = false;
	if (fx & OWNER_EFFECT_OF(PROVED))
		rec->proved = true;
	if (fx & OWNER_EFFECT_OF(MISSING))
		rec->missing = true;
	if (fx & OWNER_EFFECT_OF(WHOLE))
		rec->missing = false;
}

/* Return: the actions that follow from it. */
static unsigned int apply_running(struct owner_record *rec, uint32_t fx,
				  const struct owner_args *a)
{
	unsigned int actions = 0;

	if (fx & OWNER_EFFECT_OF(WILL))
		rec->will = a->will;
	if (fx & OWNER_EFFECT_OF(WILL_RUN))
		rec->will = true;
	if (fx & OWNER_EFFECT_OF(WILL_STOP))
		rec->will = false;
	if (fx & OWNER_EFFECT_OF(HALT) && rec->running)
		actions |= OWNER_ACT_STOP;
	if (fx & (OWNER_EFFECT_OF(HALT) | OWNER_EFFECT_OF(STILL)))
		rec->running = false;
	if (!rec->running && (fx & OWNER_EFFECT_OF(RUN) ||
			      (fx & OWNER_EFFECT_OF(OBEY) && rec->will))) {
		actions |= OWNER_ACT_START;
		rec->running = true;
	}
	return actions;
}

static int refuse(const struct owner_record *rec, enum owner_event ev, unsigned int guard,
		  struct drover_error *e)
{
	if (guard == OWNER_GUARD_COUNT)
		return drover_err(e, -EPERM, "%s: the record is %s; %s", owner_event_name(ev),
				  owner_state_name(rec->state), owner_state_lead(rec->state));
	return drover_err(e, guard_info[guard].error, "%s: the record is %s: %s; %s",
			  owner_event_name(ev), owner_state_name(rec->state),
			  guard_info[guard].text, owner_state_lead(rec->state));
}

const struct owner_row *owner_machine_row(const struct owner_machine *m,
					  const struct owner_record *rec, enum owner_event ev,
					  const struct owner_args *args, uint64_t now,
					  unsigned int *failing)
{
	struct view v = { rec, args, now };
	unsigned int i;

	*failing = OWNER_GUARD_COUNT;
	for (i = 0; i < OWNER_ALTS; i++) {
		const struct owner_row *row = &m->vmm[rec->state][ev][i];

		if (!row->valid)
			continue;
		*failing = first_failing(row->guards, &v);
		if (*failing == OWNER_GUARD_COUNT)
			return row;
	}
	return NULL;
}

int owner_machine_step(const struct owner_machine *m, const struct owner_record *rec,
		       enum owner_event ev, const struct owner_args *args, uint64_t now,
		       struct owner_record *next, unsigned int *actions, enum owner_reply *reply,
		       struct drover_error *e)
{
	static const struct owner_args none;
	const struct owner_args *a = args ? args : &none;
	const struct owner_row *row;
	unsigned int failing;

	if ((unsigned int)rec->state >= OWNER_STATE_COUNT || (unsigned int)ev >= OWNER_EV_COUNT)
		return drover_err(e, -EINVAL, "ownership record: no such state or event");
	row = owner_machine_row(m, rec, ev, a, now, &failing);
	if (!row)
		return refuse(rec, ev, failing, e);
	if (next != rec)
		*next = *rec;
	apply_history(next, row->effects, a);
	apply_session(next, row->effects, a, now);
	apply_image(next, row->effects, a);
	*actions = row->actions | apply_running(next, row->effects, a);
	next->state = row->next;
	if (reply)
		*reply = row->reply;
	return 0;
}

int owner_step(const struct owner_record *rec, enum owner_event ev, const struct owner_args *args,
	       uint64_t now, struct owner_record *next, unsigned int *actions,
	       enum owner_reply *reply, struct drover_error *e)
{
	return owner_machine_step(&owner_machine, rec, ev, args, now, next, actions, reply, e);
}

bool owner_may_greet(bool busy, bool closed)
{
	return !busy && closed;
}

const char *owner_event_name(enum owner_event ev)
{
	static const char *const names[] = {
#define OWNER_EVENT(id, name, from, doc) name,
#include "owner/owner.def"
	};

	return (unsigned int)ev < OWNER_EV_COUNT ? names[ev] : "invalid";
}

const char *owner_reply_name(enum owner_reply r)
{
	static const char *const names[] = {
		"",
#define OWNER_REPLY(id, name, doc) name,
#include "owner/owner.def"
	};

	return (unsigned int)r < OWNER_REPLY_COUNT ? names[r] : "invalid";
}

const char *owner_action_name(unsigned int *actions)
{
	static const char *const names[] = {
#define OWNER_ACTION(id, name, doc) name,
#include "owner/owner.def"
	};
	unsigned int i;

	for (i = 0; i < OWNER_ACT_COUNT; i++)
		if (*actions & 1u << i) {
			*actions &= ~(1u << i);
			return names[i];
		}
	return NULL;
}
