/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_OWNER_MACHINE_H
#define DROVER_OWNER_MACHINE_H

#include "owner/sides.h"
#include "owner/owner.h"

/*
 * The tables as data. Only this layer, the page generator and the tests include this:
 * everybody else calls owner_step(), owner_source_step(), owner_dest_step(), owner_answer(),
 * which use the one constant instance. The model checker copies it and takes out a rule,
 * to show that an invariant breaks.
 */

enum owner_guard {
#define OWNER_GUARD(id, name, error, doc) OWNER_GUARD_BIT_##id,
#include "owner/owner.def"
	OWNER_GUARD_COUNT
};

enum owner_effect {
#define OWNER_EFFECT(id, name, doc) OWNER_EFFECT_BIT_##id,
#include "owner/owner.def"
	OWNER_EFFECT_COUNT
};
/* What a daemon's guards look at. */
enum owner_fact {
#define OWNER_FACT(id, name, doc) OWNER_FACT_BIT_##id,
#include "owner/fact.def"
	OWNER_FACT_COUNT
};
#define OWNER_FACT_OF(id) (1u << OWNER_FACT_BIT_##id)

#define OWNER_GUARD_OF(id) (1u << OWNER_GUARD_BIT_##id)
#define OWNER_EFFECT_OF(id) (1u << OWNER_EFFECT_BIT_##id)

#define OWNER_ALTS 3

/**
 * struct owner_row - one row of vmm.def
 * @valid: there is such a row
 * @next: enum owner_state
 * @reply: enum owner_reply
 */
struct owner_row {
	uint8_t valid;
	uint8_t next;
	uint8_t reply;
	uint32_t guards;
	uint32_t effects;
	uint32_t actions;
};

/**
 * struct owner_source_row, struct owner_dest_row - one row of source.def, dest.def
 * @next: phase
 * @request: enum owner_event + 1; 0: none
 * @by: enum owner_by of RELEASE
 * @word: 0: as it was; enum owner_word + 1
 */
struct owner_source_row {
	uint8_t valid;
	uint8_t next;
	uint8_t request;
	uint8_t by;
	uint8_t word;
	uint32_t guards;
	uint32_t actions;
};

struct owner_dest_row {
	uint8_t valid;
	uint8_t next;
	uint8_t request;
	uint32_t guards;
	uint32_t actions;
};

/** struct owner_answer_row - one row of answer.def: a question, by what the record knows */
struct owner_answer_row {
	uint8_t request;
	uint8_t reply;
};

#define OWNER_DAEMON_ALTS 4

struct owner_machine {
	struct owner_row vmm[OWNER_STATE_COUNT][OWNER_EV_COUNT][OWNER_ALTS];
	struct owner_source_row source[OWNER_SRC_PHASE_COUNT][OWNER_SRC_EV_COUNT]
				      [OWNER_DAEMON_ALTS];
	struct owner_dest_row dest[OWNER_DST_PHASE_COUNT][OWNER_DST_EV_COUNT][OWNER_DAEMON_ALTS];
	struct owner_answer_row answer[OWNER_QUESTION_COUNT][OWNER_CLASS_COUNT];
	bool answers[OWNER_DST_PHASE_COUNT];    /* the daemon listens for questions */
	bool drain;                             /* see owner_may_greet() */
};

extern const struct owner_machine owner_machine;

/* First of @facts that does not hold for a daemon; OWNER_FACT_COUNT: all do. */
unsigned int owner_fact_failing(uint32_t facts, const struct owner_facts *f, enum owner_kind kind,
				enum owner_word word);
const char *owner_fact_text(unsigned int fact);

/* The row that is taken; NULL: refused, and *@failing is the guard that does not hold. */
const struct owner_row *owner_machine_row(const struct owner_machine *m,
					  const struct owner_record *rec, enum owner_event ev,
					  const struct owner_args *args, uint64_t now,
					  unsigned int *failing);
const struct owner_source_row *owner_machine_source_row(const struct owner_machine *m,
							const struct owner_source *s,
							enum owner_source_event ev,
							const struct owner_facts *f,
							unsigned int *failing);
const struct owner_dest_row *owner_machine_dest_row(const struct owner_machine *m,
						    const struct owner_dest *d,
						    enum owner_dest_event ev,
						    const struct owner_facts *f,
						    unsigned int *failing);

int owner_machine_step(const struct owner_machine *m, const struct owner_record *rec,
		       enum owner_event ev, const struct owner_args *args, uint64_t now,
		       struct owner_record *next, unsigned int *actions, enum owner_reply *reply,
		       struct drover_error *e);
int owner_machine_source(const struct owner_machine *m, const struct owner_source *s,
			 enum owner_source_event ev, const struct owner_facts *f,
			 struct owner_source *next, struct owner_plan *plan,
			 struct drover_error *e);
int owner_machine_dest(const struct owner_machine *m, const struct owner_dest *d,
		       enum owner_dest_event ev, const struct owner_facts *f,
		       struct owner_dest *next, struct owner_plan *plan, struct drover_error *e);
void owner_machine_answer(const struct owner_machine *m, const struct owner_record *rec,
			  const struct owner_token *t, enum owner_question q,
			  struct owner_answer *ret);

#endif
