/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_OWNER_SIDES_H
#define DROVER_OWNER_SIDES_H

#include "owner/owner.h"

/*
 * The daemons' tables (source.def, dest.def, answer.def). A daemon keeps nothing that it
 * cannot read again from its VMM's record: a phase, and what belongs to its connection. The
 * engine feeds events, does what the plan says, and feeds what came of it. At most one
 * request to the VMM is under way; commands that come meanwhile wait for its end.
 */

enum owner_source_phase {
#define OWNER_SRC_PHASE(id, name, doc) OWNER_SRC_##id,
#include "owner/source.def"
	OWNER_SRC_PHASE_COUNT
};

enum owner_source_event {
#define OWNER_SRC_EVENT(id, name, doc) OWNER_SRC_EV_##id,
#include "owner/source.def"
	OWNER_SRC_EV_COUNT
};

enum owner_dest_phase {
#define OWNER_DST_PHASE(id, name, answers, doc) OWNER_DST_##id,
#include "owner/dest.def"
	OWNER_DST_PHASE_COUNT
};

enum owner_dest_event {
#define OWNER_DST_EVENT(id, name, doc) OWNER_DST_EV_##id,
#include "owner/dest.def"
	OWNER_DST_EV_COUNT
};

/** enum owner_word - what the operator has said of a guest in doubt */
enum owner_word {
	OWNER_WORD_NONE,
	OWNER_WORD_OWN,         /* settle --force own */
	OWNER_WORD_RELEASE,     /* settle --force release */
	OWNER_WORD_AGAIN,       /* settle, of a guest that was released by hand */
	OWNER_WORD_COUNT
};

/* What a daemon does besides its request to the VMM, in this order; the request comes last. */
enum owner_do {
#define OWNER_DO(id, name, doc) OWNER_DO_BIT_##id,
#include "owner/do.def"
	OWNER_DO_COUNT
};
#define OWNER_DO_OF(id) (1u << OWNER_DO_BIT_##id)

/**
 * struct owner_source - a source's daemon; all zeros: idle
 * @kind: of the session under way; set by the caller with MIGRATE, by ATTACHED from the record
 * @will: the will that DOUBT's answer gave; COMMIT and END carry it
 */
struct owner_source {
	enum owner_source_phase phase;
	enum owner_kind kind;
	enum owner_word word;
	bool will;
};

/** struct owner_dest - a destination's daemon; @kind is set by the caller with HELLO */
struct owner_dest {
	enum owner_dest_phase phase;
	enum owner_kind kind;
};

/**
 * struct owner_facts - what guards look at
 * @rec: the VMM's record, read after the last request was done with; NULL: it can't be read
 * @live: the session's connection lives
 * @flags_agree: HELLO: each block that this VMM shares is flagged on both sides, and no other
 */
struct owner_facts {
	const struct owner_record *rec;
	bool live;
	bool flags_agree;
};

/**
 * struct owner_plan - what to do
 * @request: to send to the VMM when @has_request; its end is fed as DONE, REFUSED, DEADLINE
 *	or LINK_GONE
 * @by: of RELEASE
 * @todo: OWNER_DO_OF() bits
 */
struct owner_plan {
	bool has_request;
	enum owner_event request;
	enum owner_by by;
	uint32_t todo;
};

/**
 * owner_source_step(), owner_dest_step() - what an event does to a daemon
 * @next: out; may be the first argument
 *
 * Return: 0; a negative errno when the phase does not know the event, and nothing changes:
 * a command is refused with this error, anything else is ignored.
 */
int owner_source_step(const struct owner_source *s, enum owner_source_event ev,
		      const struct owner_facts *f, struct owner_source *next,
		      struct owner_plan *plan, struct drover_error *e);
int owner_dest_step(const struct owner_dest *d, enum owner_dest_event ev,
		    const struct owner_facts *f, struct owner_dest *next,
		    struct owner_plan *plan, struct drover_error *e);

enum owner_question {
	OWNER_QUESTION_ASK,             /* who owns the guest of session t? */
	OWNER_QUESTION_MINE,            /* the source has it: fence and stop t */
	OWNER_QUESTION_COUNT
};

/** enum owner_class - what a record knows of session t */
enum owner_class {
#define OWNER_CLASS(id, name, doc) OWNER_CLASS_##id,
#include "owner/answer.def"
	OWNER_CLASS_COUNT
};

/**
 * struct owner_answer - how to answer
 * @request: to send to the VMM first, when @has_request: not carried out in time means
 *	unreadable, refused means unknown
 * @reply: NONE: what MINE's step replied
 */
struct owner_answer {
	bool has_request;
	enum owner_event request;
	enum owner_reply reply;
};

/**
 * owner_answer() - what to answer to OWNER_QUERY
 * @rec: the VMM's record; NULL: it can't be read: no link, or a request is under way
 *
 * When a request was carried out for it, the destination's table is fed ASKED.
 */
void owner_answer(const struct owner_record *rec, const struct owner_token *t,
		  enum owner_question q, struct owner_answer *ret);

enum owner_class owner_class_of(const struct owner_record *rec, const struct owner_token *t);

/** owner_answers() - does a destination in this phase listen for questions? All do */
bool owner_answers(enum owner_dest_phase p);

/** owner_reply_event() - the source's event for an answer to "ask" */
enum owner_source_event owner_reply_event(enum owner_reply r);

/**
 * owner_told() - is "mine" heard, so that TOLD is requested?
 * @alarm: out: two may run: the guest was handed on to another host, and runs there
 */
bool owner_told(enum owner_reply r, bool *alarm);

const char *owner_source_phase_name(enum owner_source_phase p);
const char *owner_source_event_name(enum owner_source_event ev);
const char *owner_dest_phase_name(enum owner_dest_phase p);
const char *owner_dest_event_name(enum owner_dest_event ev);
const char *owner_class_name(enum owner_class c);

/** owner_do_name() - name of the lowest bit of *@todo, which is taken away; NULL: none */
const char *owner_do_name(uint32_t *todo);

#endif
