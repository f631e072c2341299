// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Each rule of Documentation/ownership.rst taken out alone, by an edit of a copy of the
 * tables: an invariant must break then. What nothing breaks without is no rule, or the model
 * is blind to it.
 */
#include <string.h>

#include "model.h"

#define VMM(state, ev, nth) (m->vmm[OWNER_##state][OWNER_EV_##ev][nth])
#define SRC(phase, ev, nth) (m->source[OWNER_SRC_##phase][OWNER_SRC_EV_##ev][nth])
#define DST(phase, ev, nth) (m->dest[OWNER_DST_##phase][OWNER_DST_EV_##ev][nth])
#define E(id) OWNER_EFFECT_OF(id)
#define G(id) OWNER_GUARD_OF(id)
#define D(id) OWNER_DO_OF(id)

/* Guards, effects and actions that no row has any more. */
static void strip(struct owner_machine *m, uint32_t guards, uint32_t effects)
{
	struct owner_row *r = &m->vmm[0][0][0];
	size_t i;

	for (i = 0; i < sizeof(m->vmm) / sizeof(*r); i++) {
		r[i].guards &= ~guards;
		r[i].effects &= ~effects;
	}
}

static void no_will(struct owner_machine *m)
{
	struct owner_row *r = &m->vmm[0][0][0];
	size_t i;

	for (i = 0; i < sizeof(m->vmm) / sizeof(*r); i++)
		if (r[i].effects & E(OBEY))
			r[i].effects |= E(RUN);
}

static void no_final(struct owner_machine *m)
{
	VMM(FINAL, CONT, 0).effects |= E(OBEY);
	VMM(FINAL, STOP, 0).effects |= E(HALT);
}

/* The daemon gives up, and the link stays as it is. */
static void no_hangup(struct owner_machine *m)
{
	unsigned int i;

	for (i = 0; i < OWNER_SRC_PHASE_COUNT; i++) {
		struct owner_source_row *r = &m->source[i][OWNER_SRC_EV_DEADLINE][0];

		r->next = OWNER_SRC_IDLE;
		r->actions &= ~(D(END_LINK) | D(ATTACH));
	}
	for (i = 0; i < OWNER_DST_PHASE_COUNT; i++) {
		struct owner_dest_row *r = &m->dest[i][OWNER_DST_EV_DEADLINE][0];

		r->next = OWNER_DST_IDLE;
		r->actions &= ~(D(END_LINK) | D(ATTACH));
	}
}

static void final_stays(struct owner_machine *m)
{
	VMM(FINAL, CLOSED, 0).next = OWNER_FINAL;
	VMM(FINAL, CLOSED, 0).effects = 0;
}

static void no_drain(struct owner_machine *m)
{
	m->drain = false;
}

/* The daemon remembers that it has sent no COMMIT, and takes the guest back. */
static void no_ask(struct owner_machine *m)
{
	SRC(DOUBTING, DEADLINE, 0).next = OWNER_SRC_RETURNING;
	SRC(DOUBTING, LINK_GONE, 0).next = OWNER_SRC_RETURNING;
	SRC(RETURNING, ATTACHED, 0) = (struct owner_source_row){
		.valid = 1, .next = OWNER_SRC_RETURNING, .request = OWNER_EV_BACK + 1,
	};
}

static void no_doubt1st(struct owner_machine *m)
{
	SRC(FINAL, ACKED, 0).actions |= D(SAY_COMMIT);
	SRC(DOUBTING, DONE, 1).actions = 0;
}

static void no_owned1st(struct owner_machine *m)
{
	DST(LOADED, COMMIT, 0).actions |= D(SAY_COMMIT_ACK);
	DST(OWNING, DONE, 2).actions = 0;
}

static void no_fence1st(struct owner_machine *m)
{
	m->answer[OWNER_QUESTION_ASK][OWNER_CLASS_INCOMING].request = 0;
}

static void no_unread(struct owner_machine *m)
{
	m->answer[OWNER_QUESTION_ASK][OWNER_CLASS_UNREADABLE].reply = OWNER_REPLY_NOT_COMMITTED;
}

static void no_history_committed(struct owner_machine *m)
{
	strip(m, 0, E(COMMITTED));
}

static void no_history_fenced(struct owner_machine *m)
{
	strip(m, 0, E(ENTER));
}

static void no_answers(struct owner_machine *m)
{
	m->answers[OWNER_DST_IDLE] = false;
}

static void no_lease_there(struct owner_machine *m)
{
	strip(m, G(IN_TIME), 0);
}

static void no_lease_here(struct owner_machine *m)
{
	strip(m, G(EXPIRED), 0);
}

static void no_claim(struct owner_machine *m)
{
	strip(m, 0, E(MINE));
}

static void no_keep(struct owner_machine *m)
{
	strip(m, G(NO_KEPT_COPY), 0);
}

static void no_keep_fenced(struct owner_machine *m)
{
	VMM(FENCED, PREPARE, 0).guards &= ~G(NO_KEPT_COPY);
}

static void no_keep_take(struct owner_machine *m)
{
	VMM(INCOMING, TAKE, 0).valid = 0;
	VMM(FENCED, TAKE, 0).valid = 0;
}

static void no_stay(struct owner_machine *m)
{
	VMM(INCOMING, TAKE, 0).effects = E(COMMITTED) | E(WILL_RUN) | E(OBEY);
	VMM(FENCED, TAKE, 0).effects = E(COMMITTED) | E(WILL_RUN) | E(OBEY);
}

static void no_undo(struct owner_machine *m)
{
	VMM(RELEASED, BACK, 0).valid = 0;
	VMM(RELEASED, TAKE, 0).valid = 0;
	VMM(RELEASED, SERVE, 0).valid = 0;
}

static void no_complete(struct owner_machine *m)
{
	VMM(OWNED, PAUSE, 0).guards = 0;
	SRC(IDLE, MIGRATE, 0).guards = 0;
}

static void no_serving(struct owner_machine *m)
{
	SRC(COMMITTING, COMMIT_ACK, 0) = SRC(COMMITTING, COMMIT_ACK, 1);
}

static void no_prepare(struct owner_machine *m)
{
	VMM(RELEASED, PREPARE, 0).guards = 0;
}

static void no_ow_doubt(struct owner_machine *m)
{
	SRC(FINAL, ACKED, 1) = SRC(FINAL, ACKED, 0);
	SRC(FINAL, ACKED, 0) = (struct owner_source_row){
		.valid = 1, .next = OWNER_SRC_STREAMING, .guards = OWNER_FACT_OF(ONE_WAY),
		.actions = D(SAY_END),
	};
}

static void no_flags(struct owner_machine *m)
{
	DST(LISTENING, HELLO, 0).guards = 0;
}

static void empties_shared(struct owner_machine *m)
{
	struct owner_row *r = &m->vmm[0][0][0];
	size_t i;

	for (i = 0; i < sizeof(m->vmm) / sizeof(*r); i++)
		if (r[i].actions & OWNER_ACT_EMPTY)
			r[i].actions |= OWNER_ACT_EMPTY_ALL;
}

static void no_cont(struct owner_machine *m)
{
	VMM(OWNED, CONT, 0).valid = 0;
}

/* A refusal that nobody expects: the daemon takes it that all is over. */
static void no_follow(struct owner_machine *m)
{
	SRC(RELEASING, REFUSED, 0).next = SRC(GIVING, REFUSED, 0).next = OWNER_SRC_IDLE;
	SRC(HANDING, REFUSED, 0).next = SRC(RETURNING, REFUSED, 1).next = OWNER_SRC_IDLE;
	SRC(RELEASING, REFUSED, 0).actions = SRC(GIVING, REFUSED, 0).actions = D(DROP_PEER);
	SRC(HANDING, REFUSED, 0).actions = SRC(RETURNING, REFUSED, 1).actions = D(DROP_PEER);
}

static void no_proof(struct owner_machine *m)
{
	VMM(INCOMING, LOAD, 0).effects |= E(PROVED);
}

static void loaded_of_any(struct owner_machine *m)
{
	strip(m, G(LOADED_HERE), 0);
}

static void own_starts_nothing(struct owner_machine *m)
{
	VMM(INCOMING, OWN, 0).effects &= ~E(OBEY);
}

const struct control controls[] = {
	{ "will", "each start runs the guest, whatever the user wants", no_will, false },
	{ "final", "cont and stop act in the final pause", no_final, false },
	{ "hangup", "a request past its deadline leaves the link open", no_hangup, false },
	{ "hangup", "a closed link leaves final as it is", final_stays, false },
	{ "drain", "a new link is greeted before the old one is drained", no_drain, false },
	{ "ask", "in doubt is left by what the daemon remembers", no_ask, false },
	{ "doubt1st", "COMMIT is sent before the record is in doubt", no_doubt1st, false },
	{ "owned1st", "COMMIT_ACK is sent before the record is owned", no_owned1st, false },
	{ "fence1st", "not-committed is answered without a fence", no_fence1st, false },
	{ "unread", "who cannot read the record answers not-committed", no_unread, false },
	{ "history", "committed sessions are forgotten", no_history_committed, false },
	{ "history", "replaced sessions are forgotten", no_history_fenced, false },
	{ "answers", "an idle daemon does not listen", no_answers, false },
	{ "lease", "COMMIT never expires", no_lease_there, false },
	{ "lease", "own by force does not wait", no_lease_here, false },
	{ "claim", "who takes the guest back does not tell", no_claim, false },
	{ "keep", "a kept copy can be emptied", no_keep, false },
	{ "keep", "a fenced copy can be emptied", no_keep_fenced, false },
	{ "keep", "a kept copy cannot be owned by force", no_keep_take, false },
	{ "stay", "own by force at a destination starts the guest", no_stay, false },
	{ "undo", "what was released by hand cannot be taken back", no_undo, false },
	{ "complete", "an incomplete guest is migrated on", no_complete, false },
	{ "serving", "a postcopy's source is released at once", no_serving, false },
	{ "prepare", "what was released by hand is emptied", no_prepare, false },
	{ "ow_doubt", "END is written before the record is in doubt", no_ow_doubt, false },
	{ "shared", "a stranger that does not flag shared blocks is let in", no_flags, false },
	{ "shared", "blocks that the VMM shares are emptied", empties_shared, false },
	{ "cont", "cont is no command", no_cont, false },
	{ "follow", "a refused request ends the session, and the link stays", no_follow, false },
	{ "proved", "a copy is kept before its digests are compared", no_proof, false },
	{ "atomic", "OWN does not start the guest", own_starts_nothing, false },
	{ "loaded", "OWN takes what any session has loaded", loaded_of_any, true },
};

const unsigned int ncontrols = sizeof(controls) / sizeof(controls[0]);
