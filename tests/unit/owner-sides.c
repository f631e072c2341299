// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The daemons' tables: migrations told as stories, then what must hold of every row, and how
 * questions are answered.
 */
#include "owner/sides.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "owner/machine.h"
#include "tap.h"

#define DO(id) OWNER_DO_OF(id)
#define NOTHING (-1)

struct source_step {
	enum owner_source_event ev;
	enum owner_source_phase then;
	int request;
	uint32_t todo;
};

struct dest_step {
	enum owner_dest_event ev;
	enum owner_dest_phase then;
	int request;
	uint32_t todo;
};

static bool source_story(struct owner_source s, const struct owner_facts *f,
			 const struct source_step *step, size_t n)
{
	struct owner_plan p;
	size_t i;

	for (i = 0; i < n; i++) {
		int r = owner_source_step(&s, step[i].ev, f, &s, &p, NULL);

		if (r < 0 || s.phase != step[i].then || p.has_request != (step[i].request >= 0) ||
		    (p.has_request && (int)p.request != step[i].request) ||
		    p.todo != step[i].todo) {
			tap_diag("step %zu, %s: %d, %s, request %d, todo 0x%x", i,
				 owner_source_event_name(step[i].ev), r,
				 owner_source_phase_name(s.phase),
				 p.has_request ? (int)p.request : NOTHING, p.todo);
			return false;
		}
	}
	return true;
}

static bool dest_story(struct owner_dest d, const struct owner_facts *f,
		       const struct dest_step *step, size_t n)
{
	struct owner_plan p;
	size_t i;

	for (i = 0; i < n; i++) {
		int r = owner_dest_step(&d, step[i].ev, f, &d, &p, NULL);

		if (r < 0 || d.phase != step[i].then || p.has_request != (step[i].request >= 0) ||
		    (p.has_request && (int)p.request != step[i].request) ||
		    p.todo != step[i].todo) {
			tap_diag("step %zu, %s: %d, %s, request %d, todo 0x%x", i,
				 owner_dest_event_name(step[i].ev), r,
				 owner_dest_phase_name(d.phase),
				 p.has_request ? (int)p.request : NOTHING, p.todo);
			return false;
		}
	}
	return true;
}

static struct owner_record record_in(enum owner_state st)
{
	struct owner_record r;

	owner_record_init(&r, false, true);
	r.state = st;
	r.token.byte[0] = 1;
	return r;
}

#define STORY(what, fn, from, facts, ...)                                                       \
	do {                                                                                    \
		static const typeof(*((struct fn##_step *)0)) steps[] = { __VA_ARGS__ };        \
		tap_ok(fn##_story(from, facts, steps, DROVER_ARRAY_SIZE(steps)), "%s", what);   \
	} while (0)

#define S(ev, then, request, todo) { OWNER_SRC_EV_##ev, OWNER_SRC_##then, request, todo }
#define D(ev, then, request, todo) { OWNER_DST_EV_##ev, OWNER_DST_##then, request, todo }

static void test_source(void)
{
	struct owner_record owned = record_in(OWNER_OWNED);
	struct owner_facts f = { .rec = &owned, .live = true };
	struct owner_source pre = { .kind = OWNER_KIND_PRECOPY };
	struct owner_source post = { .kind = OWNER_KIND_POSTCOPY };
	struct owner_source one = { .kind = OWNER_KIND_ONE_WAY };

	STORY("source: precopy", source, pre, &f, S(MIGRATE, PRECOPY, NOTHING, DO(CONNECT)),
	      S(SWITCH, PAUSING, OWNER_EV_PAUSE, 0), S(DONE, SAVING, OWNER_EV_SAVE, 0),
	      S(DONE, FINAL, NOTHING, DO(SEND_STATE)), S(ACKED, DOUBTING, OWNER_EV_DOUBT, 0),
	      S(DONE, COMMITTING, NOTHING, DO(SAY_COMMIT)),
	      S(COMMIT_ACK, RELEASING, OWNER_EV_RELEASE, 0),
	      S(DONE, IDLE, NOTHING, DO(SAY_RELEASED) | DO(DROP_PEER)));
	post.phase = OWNER_SRC_COMMITTING;
	STORY("source: postcopy", source, post, &f, S(COMMIT_ACK, HANDING, OWNER_EV_SERVE, 0),
	      S(DONE, SERVING, NOTHING, 0), S(PEER_GONE, PAUSED, NOTHING, DO(DROP_PEER)),
	      S(RESUMED, SERVING, NOTHING, 0), S(COMPLETE, RELEASING, OWNER_EV_RELEASE, 0),
	      S(DONE, IDLE, NOTHING, DO(SAY_RELEASED) | DO(DROP_PEER)));
	one.phase = OWNER_SRC_FINAL;
	STORY("source: one-way", source, one, &f, S(ACKED, DOUBTING, OWNER_EV_DOUBT, 0),
	      S(DONE, STREAMING, NOTHING, DO(SAY_END)),
	      S(STREAM_GOOD, GIVING, OWNER_EV_RELEASE, 0), S(DONE, IDLE, NOTHING, DO(DROP_PEER)));
	STORY("source: one-way ends badly: the operator's word", source, one, &f,
	      S(ACKED, DOUBTING, OWNER_EV_DOUBT, 0), S(DONE, STREAMING, NOTHING, DO(SAY_END)),
	      S(STREAM_BAD, HELD, NOTHING, DO(DROP_PEER)), S(OWN, TAKING, OWNER_EV_TAKE, 0),
	      S(DONE, IDLE, NOTHING, 0));
	pre.phase = OWNER_SRC_FINAL;
	STORY("source: a cancel in the final pause gives the guest back, then says so", source, pre,
	      &f, S(CANCEL, RETURNING, OWNER_EV_BACK, 0),
	      S(DONE, IDLE, NOTHING, DO(SAY_FAIL) | DO(DROP_PEER)));
	pre.phase = OWNER_SRC_PRECOPY;
	STORY("source: a cancel before it has nothing to undo", source, pre, &f,
	      S(CANCEL, IDLE, NOTHING, DO(SAY_FAIL) | DO(DROP_PEER)));
}

static void test_doubt(void)
{
	struct owner_record doubt = record_in(OWNER_IN_DOUBT), hand = record_in(OWNER_RELEASED);
	struct owner_facts f = { .rec = &doubt }, h = { .rec = &hand };
	struct owner_source s = { .phase = OWNER_SRC_COMMITTING }, idle = { 0 };

	STORY("in doubt: asked until somebody knows", source, s, &f,
	      S(PEER_GONE, ASKING, NOTHING, DO(DROP_PEER) | DO(ASK)),
	      S(UNREACHABLE, ASKING, NOTHING, DO(ASK_LATER)),
	      S(UNREADABLE, ASKING, NOTHING, DO(ASK_LATER)),
	      S(UNKNOWN, ASKING, NOTHING, DO(ASK_LATER)),
	      S(NOT_COMMITTED, RETURNING, OWNER_EV_BACK, 0),
	      S(DONE, IDLE, NOTHING, DO(SAY_FAIL) | DO(DROP_PEER)));
	s.phase = OWNER_SRC_ASKING;
	STORY("in doubt: committed", source, s, &f, S(COMMITTED, RELEASING, OWNER_EV_RELEASE, 0));
	STORY("in doubt: incomplete", source, s, &f, S(INCOMPLETE, HANDING, OWNER_EV_SERVE, 0),
	      S(DONE, PAUSED, NOTHING, DO(DROP_PEER)));
	STORY("own by force asks once more, and again until the VMM agrees", source, s, &f,
	      S(OWN, ASKING, NOTHING, DO(ASK)), S(UNREACHABLE, TAKING, OWNER_EV_TAKE, 0),
	      S(REFUSED, ASKING, NOTHING, DO(ASK_LATER)), S(UNREACHABLE, TAKING, OWNER_EV_TAKE, 0),
	      S(DONE, IDLE, NOTHING, 0));
	STORY("an answer goes before the operator's word", source, s, &f,
	      S(OWN, ASKING, NOTHING, DO(ASK)), S(COMMITTED, RELEASING, OWNER_EV_RELEASE, 0));
	STORY("release by force", source, s, &f, S(RELEASE, ASKING, NOTHING, DO(ASK)),
	      S(UNKNOWN, GIVING, OWNER_EV_RELEASE, 0), S(DONE, IDLE, NOTHING, DO(DROP_PEER)));
	STORY("a new daemon follows the record", source, idle, &f,
	      S(ATTACHED, ASKING, NOTHING, DO(ASK)));
	s.phase = OWNER_SRC_DOUBTING;
	STORY("DOUBT past its deadline: the link ends, and the record is followed", source, s, &f,
	      S(DEADLINE, ATTACHING, NOTHING, DO(END_LINK) | DO(DROP_PEER) | DO(ATTACH)),
	      S(ATTACHED, ASKING, NOTHING, DO(ASK)));
	hand.by = OWNER_BY_HAND;
	STORY("released by hand is asked again", source, idle, &h,
	      S(SETTLE, ASKING, NOTHING, DO(ASK)), S(UNREACHABLE, IDLE, NOTHING, 0));
	hand.by = OWNER_BY_ANSWER;
	tap_ok(owner_source_step(&idle, OWNER_SRC_EV_SETTLE, &h, &idle, &(struct owner_plan){ 0 },
				 NULL) == -EPERM, "what was released by answer is not");
}

static void test_dest(void)
{
	struct owner_record r = record_in(OWNER_INCOMING);
	struct owner_facts f = { .rec = &r, .flags_agree = true }, bad = { .rec = &r };
	struct owner_dest idle = { .kind = OWNER_KIND_PRECOPY };
	struct owner_dest post = { .phase = OWNER_DST_OWNING, .kind = OWNER_KIND_POSTCOPY };
	struct owner_dest one = { .phase = OWNER_DST_PROVING, .kind = OWNER_KIND_ONE_WAY };
	struct owner_dest got = { .phase = OWNER_DST_RECEIVING };
	struct owner_dest loaded = { .phase = OWNER_DST_LOADED };
	struct owner_dest listening = { .phase = OWNER_DST_LISTENING };

	STORY("destination: precopy", dest, idle, &f, D(LISTEN, PREPARING, OWNER_EV_PREPARE, 0),
	      D(DONE, LISTENING, NOTHING, DO(LISTEN)), D(HELLO, JOINING, OWNER_EV_INCOMING, 0),
	      D(DONE, RECEIVING, NOTHING, DO(ACCEPT)), D(STATE, LOADING, OWNER_EV_LOAD, 0),
	      D(DONE, PROVING, NOTHING, 0), D(PROVED, KEEPING, OWNER_EV_PROVED, 0),
	      D(DONE, LOADED, NOTHING, DO(SAY_ACKS)),
	      D(COMMIT, OWNING, OWNER_EV_OWN, 0), D(DONE, ARRIVED, NOTHING, DO(SAY_COMMIT_ACK)),
	      D(RELEASED, CONFIRMING, OWNER_EV_CONFIRMED, 0),
	      D(DONE, IDLE, NOTHING, DO(DROP_PEER)));
	STORY("destination: postcopy", dest, post, &f,
	      D(DONE, POSTCOPY, NOTHING, DO(SAY_COMMIT_ACK)),
	      D(PEER_GONE, PAUSED, NOTHING, DO(DROP_PEER)), D(RESUMED, POSTCOPY, NOTHING, 0),
	      D(ALL_HERE, COMPLETING, OWNER_EV_COMPLETE, 0),
	      D(DONE, ARRIVED, NOTHING, DO(SAY_COMPLETE)));
	STORY("destination: one-way answers nothing, and nobody will ask", dest, one, &f,
	      D(PROVED, KEEPING, OWNER_EV_PROVED, 0), D(DONE, LOADED, NOTHING, 0),
	      D(COMMIT, OWNING, OWNER_EV_OWN, 0),
	      D(DONE, CONFIRMING, OWNER_EV_CONFIRMED, 0), D(DONE, IDLE, NOTHING, DO(DROP_PEER)));
	STORY("destination: what fails is fenced, said, and emptied", dest, got, &f,
	      D(BROKEN, DISOWNING, OWNER_EV_FENCE, 0),
	      D(DONE, PREPARING, OWNER_EV_PREPARE, DO(SAY_FAIL) | DO(DROP_PEER)),
	      D(DONE, LISTENING, NOTHING, DO(LISTEN)));
	STORY("destination: a copy whose digests differ is not kept", dest,
	      ((struct owner_dest){ .phase = OWNER_DST_PROVING }), &f,
	      D(BROKEN, DISOWNING, OWNER_EV_FENCE, 0));
	STORY("destination: a loaded copy is kept when the source falls silent", dest, loaded, &f,
	      D(PEER_GONE, LISTENING, NOTHING, DO(DROP_PEER)));
	STORY("destination: and given up when the source has the guest", dest, loaded, &f,
	      D(FAILED, YIELDING, OWNER_EV_MINE, DO(DROP_PEER)), D(DONE, LISTENING, NOTHING, 0));
	STORY("destination: COMMIT too late is as silence", dest, loaded, &f,
	      D(COMMIT, OWNING, OWNER_EV_OWN, 0), D(REFUSED, LISTENING, NOTHING, DO(DROP_PEER)));
	STORY("destination: OWN past its deadline is not answered", dest, loaded, &f,
	      D(COMMIT, OWNING, OWNER_EV_OWN, 0),
	      D(DEADLINE, ATTACHING, NOTHING, DO(END_LINK) | DO(DROP_PEER) | DO(ATTACH)));
	STORY("destination: shared blocks that are not flagged are refused by name", dest,
	      listening, &bad, D(HELLO, LISTENING, NOTHING, DO(REFUSE)));
	r.state = OWNER_OWNED;
	r.missing = true;
	STORY("destination: a new daemon of a postcopy waits for its source", dest, idle, &f,
	      D(ATTACHED, PAUSED, NOTHING, DO(LISTEN)));
}

/* Who says what, and where from: no other row does. */
static void test_says(void)
{
	unsigned int p, e, a, bad = 0, rows = 0;

	for (p = 0; p < OWNER_SRC_PHASE_COUNT; p++)
		for (e = 0; e < OWNER_SRC_EV_COUNT; e++)
			for (a = 0; a < OWNER_DAEMON_ALTS; a++) {
				const struct owner_source_row *r = &owner_machine.source[p][e][a];
				bool done = e == OWNER_SRC_EV_DONE;

				rows += r->valid;
				if (r->actions & (DO(SAY_COMMIT) | DO(SAY_END)) &&
				    !(done && p == OWNER_SRC_DOUBTING))
					bad++;
				if (r->actions & DO(SAY_RELEASED) &&
				    !(done && p == OWNER_SRC_RELEASING))
					bad++;
			}
	for (p = 0; p < OWNER_DST_PHASE_COUNT; p++)
		for (e = 0; e < OWNER_DST_EV_COUNT; e++)
			for (a = 0; a < OWNER_DAEMON_ALTS; a++) {
				const struct owner_dest_row *r = &owner_machine.dest[p][e][a];
				bool done = e == OWNER_DST_EV_DONE;

				rows += r->valid;
				if (r->actions & DO(SAY_COMMIT_ACK) &&
				    !(done && p == OWNER_DST_OWNING))
					bad++;
				if (r->actions & DO(SAY_ACKS) && !(done && p == OWNER_DST_KEEPING))
					bad++;
			}
	tap_ok(!bad && rows > 150,
	       "COMMIT after DOUBT, COMMIT_ACK after OWN, RELEASED after RELEASE");
}

/* A request is under way in the phases that some row enters with one. */
static void test_requests(void)
{
	bool src[OWNER_SRC_PHASE_COUNT] = { false }, dst[OWNER_DST_PHASE_COUNT] = { false };
	const struct owner_source_row *s = &owner_machine.source[0][0][0];
	const struct owner_dest_row *d = &owner_machine.dest[0][0][0];
	unsigned int i, n = 0;
	bool all = true;

	for (i = 0; i < sizeof(owner_machine.source) / sizeof(*s); i++)
		src[s[i].next] |= s[i].valid && s[i].request;
	for (i = 0; i < sizeof(owner_machine.dest) / sizeof(*d); i++)
		dst[d[i].next] |= d[i].valid && d[i].request;
	for (i = 0; i < OWNER_SRC_PHASE_COUNT; i++) {
		n += src[i];
		all &= !src[i] || (owner_machine.source[i][OWNER_SRC_EV_DONE][0].valid &&
				   owner_machine.source[i][OWNER_SRC_EV_REFUSED][0].valid &&
				   owner_machine.source[i][OWNER_SRC_EV_LINK_GONE][0].valid &&
				   owner_machine.source[i][OWNER_SRC_EV_DEADLINE][0].actions &
				   DO(END_LINK));
	}
	tap_ok(all && n == 9,
	       "source: each request may end in four ways; past its deadline the link ends");
	for (i = n = 0, all = true; i < OWNER_DST_PHASE_COUNT; i++) {
		n += dst[i];
		all &= !dst[i] || (owner_machine.dest[i][OWNER_DST_EV_DONE][0].valid &&
				   owner_machine.dest[i][OWNER_DST_EV_REFUSED][0].valid &&
				   owner_machine.dest[i][OWNER_DST_EV_LINK_GONE][0].valid &&
				   owner_machine.dest[i][OWNER_DST_EV_DEADLINE][0].actions &
				   DO(END_LINK));
		all &= owner_answers(i);
	}
	tap_ok(all && n == 11, "destination: the same; and all its phases answer questions");
}

static void test_will_is_kept(void)
{
	struct owner_record r = record_in(OWNER_IN_DOUBT);
	struct owner_facts f = { .rec = &r, .live = true };
	struct owner_source s = { .phase = OWNER_SRC_DOUBTING };
	struct owner_plan p;

	r.will = false;
	owner_source_step(&s, OWNER_SRC_EV_DONE, &f, &s, &p, NULL);
	tap_ok(p.todo == DO(SAY_COMMIT) && !s.will,
	       "COMMIT carries the will that DOUBT has answered");
	s.phase = OWNER_SRC_DOUBTING;
	r.will = true;
	owner_source_step(&s, OWNER_SRC_EV_DONE, &f, &s, &p, NULL);
	tap_ok(s.will, "whichever it is");
}

static void test_refused(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct owner_record r = record_in(OWNER_SERVING);
	struct owner_facts f = { .rec = &r }, blind = { 0 };
	struct owner_source s = { .phase = OWNER_SRC_PAUSED }, old = s;
	struct owner_plan p = { .todo = 77 };

	tap_ok(owner_source_step(&s, OWNER_SRC_EV_OWN, &f, &s, &p, &e) == -EPERM &&
	       s.phase == old.phase && p.todo == 77,
	       "own in a postcopy is refused, and changes nothing");
	tap_ok(strstr(e.msg, "postcopy-paused") && strstr(e.msg, "serving") &&
	       strstr(e.msg, "recover"), "it names phase, state and what leads on: %s", e.msg);
	s.phase = OWNER_SRC_IDLE;
	tap_ok(owner_source_step(&s, OWNER_SRC_EV_MIGRATE, &f, &s, &p, NULL) == -EPERM &&
	       owner_source_step(&s, OWNER_SRC_EV_MIGRATE, &blind, &s, &p, NULL) == -EPERM,
	       "migrate needs an owned record that can be read");
	r = record_in(OWNER_OWNED);
	r.missing = true;
	tap_ok(owner_source_step(&s, OWNER_SRC_EV_MIGRATE, &f, &s, &p, NULL) == -EPERM,
	       "of a whole guest");
	s.phase = OWNER_SRC_COMMITTING;
	tap_ok(owner_source_step(&s, OWNER_SRC_EV_CANCEL, &f, &s, &p, NULL) == -EPERM,
	       "no cancel once COMMIT is sent");
}

static void answers(const struct owner_record *rec, enum owner_question q, const char *what,
		    int request, enum owner_reply reply)
{
	struct owner_token t = { { 1 } };
	struct owner_answer a;

	owner_answer(rec, &t, q, &a);
	tap_ok(a.has_request == (request >= 0) && (request < 0 || (int)a.request == request) &&
	       a.reply == reply, "%s: %s", what, owner_reply_name(a.reply));
}

static void test_answers(void)
{
	struct owner_record r = record_in(OWNER_OWNED), other = record_in(OWNER_OWNED);

	answers(NULL, OWNER_QUESTION_ASK, "a record that cannot be read", NOTHING,
		OWNER_REPLY_UNREADABLE);
	answers(NULL, OWNER_QUESTION_MINE, "the same, told", NOTHING, OWNER_REPLY_UNREADABLE);
	answers(&r, OWNER_QUESTION_ASK, "owned", NOTHING, OWNER_REPLY_COMMITTED);
	r.missing = true;
	answers(&r, OWNER_QUESTION_ASK, "owned, memory is missing", NOTHING,
		OWNER_REPLY_INCOMPLETE);
	r = record_in(OWNER_INCOMING);
	answers(&r, OWNER_QUESTION_ASK, "incoming: the fence first", OWNER_EV_FENCE,
		OWNER_REPLY_NOT_COMMITTED);
	answers(&r, OWNER_QUESTION_MINE, "incoming, told", OWNER_EV_MINE, OWNER_REPLY_NONE);
	other.token.byte[0] = 2;
	answers(&other, OWNER_QUESTION_ASK, "another session's", NOTHING, OWNER_REPLY_UNKNOWN);
	other.history[3] = (struct owner_entry){ .token = { { 1 } },
						 .outcome = OWNER_OUTCOME_COMMITTED };
	other.state = OWNER_RELEASED;
	answers(&other, OWNER_QUESTION_ASK, "committed, and handed on", NOTHING,
		OWNER_REPLY_COMMITTED);
	other.history[3].outcome = OWNER_OUTCOME_FENCED;
	answers(&other, OWNER_QUESTION_ASK, "fenced", NOTHING, OWNER_REPLY_NOT_COMMITTED);
	other.history[3].outcome = OWNER_OUTCOME_TAKEN_BACK;
	answers(&other, OWNER_QUESTION_ASK, "taken back", NOTHING, OWNER_REPLY_NOT_COMMITTED);
	other.history[3].outcome = OWNER_OUTCOME_MINE;
	answers(&other, OWNER_QUESTION_ASK, "a source does not answer for its destination", NOTHING,
		OWNER_REPLY_UNKNOWN);
}

static void test_replies(void)
{
	static const struct {
		enum owner_reply reply;
		bool told, alarm;
	} rows[] = {
		{ OWNER_REPLY_FENCED, true, false }, { OWNER_REPLY_STOPPED, true, false },
		{ OWNER_REPLY_MOVED_ON, true, true }, { OWNER_REPLY_LATER, false, false },
		{ OWNER_REPLY_UNREADABLE, false, false }, { OWNER_REPLY_UNREACHABLE, false, false },
	};
	unsigned int i;
	bool alarm;

	for (i = 0; i < DROVER_ARRAY_SIZE(rows); i++)
		tap_ok(owner_told(rows[i].reply, &alarm) == rows[i].told && alarm == rows[i].alarm,
		       "mine, answered %s: %s%s", owner_reply_name(rows[i].reply),
		       rows[i].told ? "told" : "again", rows[i].alarm ? ", and an alarm" : "");
	tap_ok(owner_reply_event(OWNER_REPLY_COMMITTED) == OWNER_SRC_EV_COMMITTED &&
	       owner_reply_event(OWNER_REPLY_INCOMPLETE) == OWNER_SRC_EV_INCOMPLETE &&
	       owner_reply_event(OWNER_REPLY_NOT_COMMITTED) == OWNER_SRC_EV_NOT_COMMITTED &&
	       owner_reply_event(OWNER_REPLY_UNKNOWN) == OWNER_SRC_EV_UNKNOWN &&
	       owner_reply_event(OWNER_REPLY_UNREADABLE) == OWNER_SRC_EV_UNREADABLE,
	       "each answer is an event");
	tap_ok(owner_reply_event(OWNER_REPLY_LATER) == OWNER_SRC_EV_UNREACHABLE &&
	       owner_reply_event(OWNER_REPLY_NONE) == OWNER_SRC_EV_UNREACHABLE,
	       "what is no answer to the question is none");
}

int main(void)
{
	test_source();
	test_doubt();
	test_dest();
	test_says();
	test_requests();
	test_will_is_kept();
	test_refused();
	test_answers();
	test_replies();
	return tap_done();
}
