// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * How a daemon answers OWNER_QUERY from its VMM's record, and what a source makes of an
 * answer. Pure. A record that can't be read is no record that says "unknown": neither
 * moves anybody.
 */
#include "owner/sides.h"

#include "base/cleanup.h"
#include "owner/machine.h"

enum owner_class owner_class_of(const struct owner_record *rec, const struct owner_token *t)
{
	bool session;

	if (!rec)
		return OWNER_CLASS_UNREADABLE;
	session = owner_token_set(t) && owner_token_equal(&rec->token, t);
	if (session && rec->state == OWNER_OWNED)
		return rec->missing ? OWNER_CLASS_MISSING : OWNER_CLASS_OWNED;
	switch (owner_outcome(rec, t)) {
	case OWNER_OUTCOME_COMMITTED:
		return OWNER_CLASS_OWNED;
	case OWNER_OUTCOME_FENCED:
	case OWNER_OUTCOME_TAKEN_BACK:
		return OWNER_CLASS_OVER;
	default:
		return session && rec->state == OWNER_INCOMING ? OWNER_CLASS_INCOMING :
			OWNER_CLASS_UNKNOWN;
	}
}

void owner_machine_answer(const struct owner_machine *m, const struct owner_record *rec,
			  const struct owner_token *t, enum owner_question q,
			  struct owner_answer *ret)
{
	const struct owner_answer_row *row = &m->answer[q][owner_class_of(rec, t)];

	*ret = (struct owner_answer){
		.has_request = row->request,
		.request = (enum owner_event)(row->request ? row->request - 1 : 0),
		.reply = (enum owner_reply)row->reply,
	};
}

void owner_answer(const struct owner_record *rec, const struct owner_token *t,
		  enum owner_question q, struct owner_answer *ret)
{
	owner_machine_answer(&owner_machine, rec, t, q, ret);
}

bool owner_answers(enum owner_dest_phase p)
{
	return owner_machine.answers[p];
}

enum owner_source_event owner_reply_event(enum owner_reply r)
{
	switch (r) {
	case OWNER_REPLY_COMMITTED:
		return OWNER_SRC_EV_COMMITTED;
	case OWNER_REPLY_INCOMPLETE:
		return OWNER_SRC_EV_INCOMPLETE;
	case OWNER_REPLY_NOT_COMMITTED:
		return OWNER_SRC_EV_NOT_COMMITTED;
	case OWNER_REPLY_UNKNOWN:
		return OWNER_SRC_EV_UNKNOWN;
	case OWNER_REPLY_UNREADABLE:
		return OWNER_SRC_EV_UNREADABLE;
	default:
		return OWNER_SRC_EV_UNREACHABLE;
	}
}

bool owner_told(enum owner_reply r, bool *alarm)
{
	*alarm = r == OWNER_REPLY_MOVED_ON;
	return *alarm || r == OWNER_REPLY_FENCED || r == OWNER_REPLY_STOPPED;
}

const char *owner_class_name(enum owner_class c)
{
	static const char *const names[] = {
#define OWNER_CLASS(id, name, doc) name,
#include "owner/answer.def"
	};

	return (unsigned int)c < OWNER_CLASS_COUNT ? names[c] : "invalid";
}
