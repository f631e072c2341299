// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The VMM library's table, in the words of Documentation/ownership.rst and not of vmm.def:
 * every state with every event, then each guard, the will, the history and the lease.
 */
#include "owner/owner.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "tap.h"

#define SECOND 1000000000ull
#define NOW (1000 * SECOND)

static struct owner_token token(unsigned int i)
{
	struct owner_token t = { { (uint8_t)i, 7 } };

	return t;
}

static struct owner_args args_of(unsigned int i)
{
	return (struct owner_args){
		.token = token(i), .peer = "there", .kind = OWNER_KIND_PRECOPY,
		.by = OWNER_BY_ANSWER, .will = true, .until = NOW + SECOND,
	};
}

/* A plain record of a state: session 1, nothing loaded; an owned one runs and has no session. */
static struct owner_record plain(enum owner_state st)
{
	struct owner_record r;

	owner_record_init(&r, st != OWNER_OWNED, true);
	r.state = st;
	r.will = st != OWNER_INCOMING && st != OWNER_FENCED;
	if (st == OWNER_OWNED)
		return r;
	r.token = token(1);
	strcpy(r.peer, "there");
	if (st == OWNER_IN_DOUBT)
		r.since = NOW - 7 * SECOND;
	if (st == OWNER_RELEASED)
		r.by = OWNER_BY_ANSWER;
	return r;
}

static int try(struct owner_record *r, enum owner_event ev, const struct owner_args *a,
	       unsigned int *actions)
{
	unsigned int none;

	return owner_step(r, ev, a, NOW, r, actions ? actions : &none, NULL, NULL);
}

/* owned, final, in-doubt, serving, released, incoming, fenced; "-" is refused, "=" stays. */
static const struct {
	enum owner_event ev;
	const char *to[OWNER_STATE_COUNT];
} grid[] = {
	{ OWNER_EV_PAUSE, { "final", "=", "-", "-", "-", "-", "-" } },
	{ OWNER_EV_SAVE, { "-", "=", "-", "-", "-", "-", "-" } },
	{ OWNER_EV_DOUBT, { "-", "in-doubt", "=", "-", "-", "-", "-" } },
	{ OWNER_EV_BACK, { "=", "owned", "owned", "-", "-", "-", "-" } },
	{ OWNER_EV_SERVE, { "-", "-", "serving", "=", "-", "-", "-" } },
	{ OWNER_EV_RELEASE, { "-", "-", "released", "released", "=", "-", "-" } },
	{ OWNER_EV_TAKE, { "-", "-", "owned", "-", "-", "-", "-" } },
	{ OWNER_EV_MOVE, { "-", "-", "=", "=", "=", "-", "-" } },
	{ OWNER_EV_PREPARE, { "-", "-", "-", "-", "incoming", "=", "incoming" } },
	{ OWNER_EV_DISCARD, { "-", "-", "-", "-", "incoming", "=", "incoming" } },
	{ OWNER_EV_INCOMING, { "-", "-", "-", "-", "-", "=", "incoming" } },
	{ OWNER_EV_LOAD, { "-", "-", "-", "-", "-", "=", "-" } },
	{ OWNER_EV_PROVED, { "-", "-", "-", "-", "-", "-", "-" } },
	{ OWNER_EV_LEDGER, { "-", "-", "-", "-", "-", "=", "-" } },
	{ OWNER_EV_COMPLETE, { "=", "-", "-", "-", "-", "-", "-" } },
	{ OWNER_EV_OWN, { "-", "-", "-", "-", "-", "-", "-" } },
	{ OWNER_EV_FENCE, { "-", "-", "-", "-", "-", "fenced", "=" } },
	{ OWNER_EV_MINE, { "=", "=", "=", "=", "=", "fenced", "=" } },
	{ OWNER_EV_CONFIRMED, { "=", "=", "=", "=", "=", "=", "=" } },
	{ OWNER_EV_TOLD, { "=", "=", "=", "=", "=", "=", "=" } },
	{ OWNER_EV_STOP, { "=", "=", "-", "-", "-", "-", "-" } },
	{ OWNER_EV_CONT, { "=", "=", "-", "-", "-", "-", "-" } },
	{ OWNER_EV_HALTED, { "=", "-", "-", "-", "-", "-", "-" } },
	{ OWNER_EV_CLOSED, { "=", "owned", "=", "=", "=", "=", "=" } },
};

static void test_grid(void)
{
	struct owner_args a = args_of(1);
	unsigned int i, st;

	for (i = 0; i < DROVER_ARRAY_SIZE(grid); i++) {
		bool good = true;

		for (st = 0; st < OWNER_STATE_COUNT; st++) {
			struct owner_record r = plain(st), old = r;
			int n = try(&r, grid[i].ev, &a, NULL);
			const char *to = grid[i].to[st];

			if (*to == '=')
				to = owner_state_name(st);
			if (*to == '-' ? n != -EPERM || !owner_record_equal(&r, &old) :
					 n < 0 || strcmp(owner_state_name(r.state), to)) {
				tap_diag("%s: %s: %d, %s", owner_event_name(grid[i].ev),
					 owner_state_name(st), n, owner_state_name(r.state));
				good = false;
			}
		}
		tap_ok(good, "%s in each state", owner_event_name(grid[i].ev));
	}
	tap_ok(DROVER_ARRAY_SIZE(grid) == OWNER_EV_COUNT, "no event was left out");
}

static void test_other_session(void)
{
	static const struct {
		enum owner_state st;
		enum owner_event ev;
	} rows[] = {
		{ OWNER_FINAL, OWNER_EV_PAUSE }, { OWNER_FINAL, OWNER_EV_DOUBT },
		{ OWNER_FINAL, OWNER_EV_BACK }, { OWNER_IN_DOUBT, OWNER_EV_DOUBT },
		{ OWNER_IN_DOUBT, OWNER_EV_BACK }, { OWNER_IN_DOUBT, OWNER_EV_SERVE },
		{ OWNER_IN_DOUBT, OWNER_EV_RELEASE }, { OWNER_IN_DOUBT, OWNER_EV_TAKE },
		{ OWNER_SERVING, OWNER_EV_RELEASE }, { OWNER_RELEASED, OWNER_EV_RELEASE },
		{ OWNER_INCOMING, OWNER_EV_LOAD }, { OWNER_INCOMING, OWNER_EV_FENCE },
		{ OWNER_INCOMING, OWNER_EV_PROVED }, { OWNER_INCOMING, OWNER_EV_LEDGER },
		{ OWNER_FENCED, OWNER_EV_FENCE },
	};
	struct owner_args a = args_of(2), none = { .kind = OWNER_KIND_PRECOPY };
	unsigned int i;

	for (i = 0; i < DROVER_ARRAY_SIZE(rows); i++) {
		struct owner_record r = plain(rows[i].st), old = r;

		tap_ok(try(&r, rows[i].ev, &a, NULL) == -EPERM &&
		       try(&r, rows[i].ev, &none, NULL) == -EPERM &&
		       try(&r, rows[i].ev, NULL, NULL) == -EPERM && owner_record_equal(&r, &old),
		       "%s of another session, or of none, is refused when %s",
		       owner_event_name(rows[i].ev), owner_state_name(rows[i].st));
	}
}

static void test_will(void)
{
	struct owner_args a = args_of(1);
	struct owner_record r = plain(OWNER_OWNED);
	unsigned int act;

	tap_ok(!try(&r, OWNER_EV_PAUSE, &a, &act) && act == OWNER_ACT_STOP && !r.running && r.will,
	       "the final pause stops the vCPUs and is not the user's will");
	tap_ok(!try(&r, OWNER_EV_CONT, NULL, &act) && !act && !r.running,
	       "cont in the final pause is noted, and starts nothing");
	tap_ok(!try(&r, OWNER_EV_STOP, NULL, &act) && !act && !r.will,
	       "stop in the final pause is noted");
	tap_ok(!try(&r, OWNER_EV_BACK, &a, &act) && !act && !r.running,
	       "what was stopped meanwhile does not start when it comes back");
	tap_ok(!try(&r, OWNER_EV_CLOSED, NULL, &act) && !act && !r.running,
	       "nor when a link ends");
	tap_ok(!try(&r, OWNER_EV_CONT, NULL, &act) && act == OWNER_ACT_START && r.running,
	       "cont starts it");
	tap_ok(!try(&r, OWNER_EV_CONT, NULL, &act) && !act, "a second cont does nothing");
	tap_ok(!try(&r, OWNER_EV_HALTED, NULL, &act) && !act && !r.running && r.will,
	       "a start that failed is not the user's will");
	tap_ok(!try(&r, OWNER_EV_CLOSED, NULL, &act) && act == OWNER_ACT_START,
	       "it is tried again when a link ends");
	r = plain(OWNER_FINAL);
	tap_ok(!try(&r, OWNER_EV_CLOSED, NULL, &act) && act == OWNER_ACT_START &&
	       r.state == OWNER_OWNED && owner_outcome(&r, &a.token) == OWNER_OUTCOME_MINE,
	       "a link that ends in the final pause gives the guest back, to be told");
	r = plain(OWNER_IN_DOUBT);
	tap_ok(!try(&r, OWNER_EV_CLOSED, NULL, &act) && !act && r.state == OWNER_IN_DOUBT,
	       "in doubt stays in doubt when the link ends");
}

static void test_own(void)
{
	struct owner_args a = args_of(1);
	struct owner_record r = plain(OWNER_INCOMING);
	unsigned int act;

	tap_ok(try(&r, OWNER_EV_OWN, &a, NULL) == -EPERM, "OWN before LOAD is refused");
	tap_ok(!try(&r, OWNER_EV_LOAD, &a, &act) && act == OWNER_ACT_LOAD, "LOAD loads");
	tap_ok(!try(&r, OWNER_EV_LOAD, &a, &act) && !act, "LOAD again loads nothing");
	tap_ok(try(&r, OWNER_EV_OWN, &a, NULL) == -EPERM,
	       "OWN before the digests are compared, too");
	tap_ok(!try(&r, OWNER_EV_PROVED, &a, &act) && !act && r.proved,
	       "PROVED says that they are");
	a.until = NOW - 1;
	tap_ok(try(&r, OWNER_EV_OWN, &a, NULL) == -ETIME && r.state == OWNER_INCOMING,
	       "OWN after COMMIT has expired is refused");
	a.until = NOW;
	tap_ok(!try(&r, OWNER_EV_OWN, &a, &act) && act == OWNER_ACT_START && r.running && r.will &&
	       owner_outcome(&r, &a.token) == OWNER_OUTCOME_COMMITTED,
	       "OWN at the last moment starts the guest, and is remembered");
	tap_ok(owner_in_time(&r, NOW) && !owner_in_time(&r, NOW + 1),
	       "whether it was in time can be asked afterwards");
	a.until = 0;
	tap_ok(!try(&r, OWNER_EV_OWN, &a, &act) && !act && r.state == OWNER_OWNED,
	       "OWN again is no error, however late");
	a = args_of(1);
	a.will = false;
	r = plain(OWNER_INCOMING);
	r.loaded = a.token;
	r.proved = true;
	tap_ok(!try(&r, OWNER_EV_OWN, &a, &act) && !act && !r.running && !r.will,
	       "a guest that its user has stopped arrives stopped");
	r = plain(OWNER_INCOMING);
	r.loaded = token(2);
	r.proved = true;
	tap_ok(try(&r, OWNER_EV_OWN, &a, NULL) == -EPERM,
	       "what another session loaded does not count");
}

static void test_force(void)
{
	struct owner_args a = args_of(1);
	struct owner_record r = plain(OWNER_IN_DOUBT);
	unsigned int act;

	r.since = NOW - OWNER_FORCE_NS;
	tap_ok(try(&r, OWNER_EV_TAKE, &a, NULL) == -EAGAIN, "own by force waits for 6 s of doubt");
	r.since = NOW + SECOND;
	tap_ok(try(&r, OWNER_EV_TAKE, &a, NULL) == -EAGAIN,
	       "a clock that went back does not hasten it");
	r.since = NOW - OWNER_FORCE_NS - 1;
	tap_ok(!try(&r, OWNER_EV_TAKE, &a, &act) && act == OWNER_ACT_START &&
		       owner_outcome(&r, &a.token) == OWNER_OUTCOME_MINE,
	       "then it has the guest, to be told");
	r = plain(OWNER_IN_DOUBT);
	r.since = NOW;
	r.kind = OWNER_KIND_ONE_WAY;
	tap_ok(!try(&r, OWNER_EV_TAKE, &a, NULL) &&
	       owner_outcome(&r, &a.token) == OWNER_OUTCOME_NONE,
	       "one-way waits for nothing, and there is nobody to tell");
	r = plain(OWNER_INCOMING);
	tap_ok(try(&r, OWNER_EV_TAKE, &a, NULL) == -EPERM, "without a copy nothing can be owned");
	r.loaded = a.token;
	tap_ok(try(&r, OWNER_EV_TAKE, &a, NULL) == -EPERM, "nor a copy that was not proved");
	r.proved = true;
	r.will = true;
	tap_ok(!try(&r, OWNER_EV_TAKE, &a, &act) && !act && !r.will && !r.running &&
	       owner_outcome(&r, &a.token) == OWNER_OUTCOME_COMMITTED,
	       "a kept copy is owned, and stays stopped");
	tap_ok(!try(&r, OWNER_EV_CONT, NULL, &act) && act == OWNER_ACT_START, "until cont");
	r = plain(OWNER_FENCED);
	r.loaded = a.token;
	r.proved = true;
	tap_ok(!try(&r, OWNER_EV_TAKE, &a, NULL) && r.state == OWNER_OWNED,
	       "fenced is not taken back: its copy can be owned, too");
}

static void test_by_hand(void)
{
	struct owner_args a = args_of(1);
	struct owner_record r;
	unsigned int i;
	static const enum owner_event undo[] = { OWNER_EV_BACK, OWNER_EV_SERVE, OWNER_EV_TAKE };

	for (i = 0; i < 3; i++) {
		r = plain(OWNER_RELEASED);
		r.by = OWNER_BY_HAND;
		tap_ok(!try(&r, undo[i], &a, NULL) && r.by == OWNER_BY_NONE,
		       "released by hand can be undone by %s", owner_event_name(undo[i]));
	}
	r = plain(OWNER_RELEASED);
	r.by = OWNER_BY_STREAM;
	tap_ok(try(&r, OWNER_EV_BACK, &a, NULL) == -EPERM && !try(&r, OWNER_EV_TAKE, &a, NULL),
	       "released to a stream by force only");
	r = plain(OWNER_RELEASED);
	r.by = OWNER_BY_HAND;
	tap_ok(try(&r, OWNER_EV_PREPARE, &a, NULL) == -EPERM,
	       "what was released by hand is not emptied");
	tap_ok(!try(&r, OWNER_EV_RELEASE, &a, NULL) && r.by == OWNER_BY_ANSWER &&
	       !try(&r, OWNER_EV_PREPARE, &a, NULL), "an answer confirms it, then it is");
	r = plain(OWNER_RELEASED);
	a.by = OWNER_BY_HAND;
	tap_ok(!try(&r, OWNER_EV_RELEASE, &a, NULL) && r.by == OWNER_BY_ANSWER,
	       "a hand takes nothing from an answer");
	r.by = OWNER_BY_HAND;
	tap_ok(!try(&r, OWNER_EV_DISCARD, &a, NULL) && r.state == OWNER_INCOMING,
	       "by --discard it is given up");
}

static void test_kept(void)
{
	struct owner_args a = args_of(2);
	struct owner_record r = plain(OWNER_INCOMING);
	unsigned int act;

	tap_ok(!owner_kept_copy(&r), "nothing is kept where nothing is loaded");
	r.loaded = r.token;
	tap_ok(!owner_kept_copy(&r), "nor where the digests were not compared");
	r.proved = true;
	tap_ok(owner_kept_copy(&r), "a copy that is loaded and proved is kept");
	tap_ok(try(&r, OWNER_EV_PREPARE, NULL, NULL) == -EPERM &&
	       try(&r, OWNER_EV_INCOMING, &a, NULL) == -EPERM, "it is not emptied, by nobody");
	r.missing = true;
	tap_ok(!owner_kept_copy(&r), "not when memory is missing");
	r.missing = false;
	a = args_of(1);
	tap_ok(!try(&r, OWNER_EV_FENCE, &a, NULL) && owner_kept_copy(&r) &&
	       try(&r, OWNER_EV_PREPARE, NULL, NULL) == -EPERM,
	       "not committed was answered: it is kept still");
	tap_ok(!try(&r, OWNER_EV_MINE, &a, NULL) && !owner_kept_copy(&r) &&
	       owner_outcome(&r, &a.token) == OWNER_OUTCOME_TAKEN_BACK &&
	       !try(&r, OWNER_EV_PREPARE, NULL, &act) && act == OWNER_ACT_EMPTY,
	       "the source has said that it has the guest: it is emptied");
	tap_ok(!owner_token_set(&r.token) && !owner_token_set(&r.loaded) &&
		       r.state == OWNER_INCOMING,
	       "and is about no session");
	tap_ok(try(&r, OWNER_EV_INCOMING, &a, NULL) == -EPERM, "that session never begins again");
	a = args_of(2);
	tap_ok(!try(&r, OWNER_EV_INCOMING, &a, &act) && act == OWNER_ACT_EMPTY &&
	       owner_token_equal(&r.token, &a.token) && !strcmp(r.peer, "there"), "another does");
	tap_ok(!try(&r, OWNER_EV_INCOMING, &a, &act) && !act, "twice is once");
	tap_ok(!try(&r, OWNER_EV_LOAD, &a, NULL) && !r.proved && !owner_kept_copy(&r),
	       "what another session has proved is nothing to this one");
	r.proved = true;
	tap_ok(!try(&r, OWNER_EV_DISCARD, NULL, &act) && act == OWNER_ACT_EMPTY &&
	       owner_outcome(&r, &a.token) == OWNER_OUTCOME_FENCED, "by --discard it is given up");
}

static void test_missing(void)
{
	struct owner_args a = args_of(1);
	struct owner_record r = plain(OWNER_INCOMING);

	a.kind = OWNER_KIND_POSTCOPY;
	tap_ok(!try(&r, OWNER_EV_LEDGER, &a, NULL) && r.missing &&
		       !try(&r, OWNER_EV_LOAD, &a, NULL) && !try(&r, OWNER_EV_PROVED, &a, NULL) &&
		       !try(&r, OWNER_EV_OWN, &a, NULL) && r.running && r.missing,
	       "in postcopy it runs while memory is missing");
	tap_ok(try(&r, OWNER_EV_PAUSE, &a, NULL) == -EPERM &&
	       try(&r, OWNER_EV_CONFIRMED, &a, NULL) == -EPERM,
	       "then it is neither migrated on nor confirmed");
	tap_ok(!try(&r, OWNER_EV_COMPLETE, NULL, NULL) && !r.missing &&
	       !try(&r, OWNER_EV_CONFIRMED, &a, NULL) && !owner_token_set(&r.token) &&
	       owner_outcome(&r, &a.token) == OWNER_OUTCOME_NONE,
	       "when all has come it is, and nobody asks about the session any more");
	a = args_of(2);
	tap_ok(!try(&r, OWNER_EV_PAUSE, &a, NULL), "and may be migrated on");
}

static int mine(struct owner_record *r, unsigned int i, enum owner_reply *reply, unsigned int *act)
{
	struct owner_args a = args_of(i);

	return owner_step(r, OWNER_EV_MINE, &a, NOW, r, act, reply, NULL);
}

static void test_mine(void)
{
	struct owner_record r = plain(OWNER_OWNED);
	enum owner_reply reply;
	unsigned int act;
	struct owner_token t = token(1), other = token(2);
	struct owner_args a = args_of(2);

	r.token = t;
	tap_ok(!mine(&r, 1, &reply, &act) && act == OWNER_ACT_STOP &&
		       reply == OWNER_REPLY_STOPPED && r.state == OWNER_FENCED &&
		       !owner_kept_copy(&r),
	       "who owns by that session stops, and keeps nothing");
	r = plain(OWNER_OWNED);
	tap_ok(!mine(&r, 1, &reply, &act) && !act && reply == OWNER_REPLY_FENCED && r.running &&
	       owner_outcome(&r, &t) == OWNER_OUTCOME_TAKEN_BACK,
	       "who owns by another goes on, and remembers");
	r = plain(OWNER_FINAL);
	tap_ok(!mine(&r, 1, &reply, &act) && reply == OWNER_REPLY_LATER &&
	       r.history[0].outcome == OWNER_OUTCOME_NONE, "in a final pause: later");
	r = plain(OWNER_IN_DOUBT);
	tap_ok(!mine(&r, 9, &reply, &act) && reply == OWNER_REPLY_LATER, "in doubt: later");
	r = plain(OWNER_RELEASED);
	r.history[0] = (struct owner_entry){ .token = other, .outcome = OWNER_OUTCOME_COMMITTED };
	tap_ok(!mine(&r, 2, &reply, &act) && reply == OWNER_REPLY_MOVED_ON &&
	       owner_outcome(&r, &other) == OWNER_OUTCOME_COMMITTED,
	       "who has handed it on says so");
	tap_ok(!mine(&r, 3, &reply, &act) && reply == OWNER_REPLY_FENCED,
	       "of a session nobody knows: fenced");
	r = plain(OWNER_INCOMING);
	tap_ok(!mine(&r, 2, &reply, &act) && reply == OWNER_REPLY_FENCED &&
	       r.state == OWNER_INCOMING && try(&r, OWNER_EV_INCOMING, &a, NULL) == -EPERM,
	       "and its HELLO, if it comes late, is refused");
}

static void test_history(void)
{
	struct owner_record r = plain(OWNER_INCOMING);
	struct owner_token t;
	unsigned int i;

	for (i = 2; i < 12; i++) {
		struct owner_args a = args_of(i);

		try(&r, OWNER_EV_INCOMING, &a, NULL);
	}
	t = token(10);
	tap_ok(owner_outcome(&r, &t) == OWNER_OUTCOME_FENCED &&
	       owner_token_equal(&r.history[0].token, &t) && !strcmp(r.history[0].peer, "there"),
	       "a session that is replaced is fenced, the newest first");
	t = token(3);
	tap_ok(owner_outcome(&r, &t) == OWNER_OUTCOME_FENCED, "eight are kept");
	t = token(2);
	tap_ok(owner_outcome(&r, &t) == OWNER_OUTCOME_NONE, "the ninth has pushed out the oldest");
	{
		struct owner_args a = args_of(3);
		enum owner_reply reply;
		unsigned int act;

		mine(&r, 3, &reply, &act);
		tap_ok(owner_token_equal(&r.history[0].token, &a.token) &&
		       r.history[0].outcome == OWNER_OUTCOME_TAKEN_BACK &&
		       !strcmp(r.history[0].peer, "there") &&
		       r.history[7].outcome == OWNER_OUTCOME_FENCED,
		       "what is known of a session is replaced, never doubled");
	}
}

static void test_told(void)
{
	struct owner_record r = plain(OWNER_IN_DOUBT);
	struct owner_args a = args_of(1);
	unsigned int i = 0;

	try(&r, OWNER_EV_BACK, &a, NULL);
	tap_ok(owner_to_tell(&r, &i) == &r.history[0] && !owner_to_tell(&r, &i) &&
	       !owner_token_set(&r.token), "who takes the guest back has one to tell");
	tap_ok(owner_must_answer(&r), "and may be asked");
	i = 0;
	tap_ok(!try(&r, OWNER_EV_CONFIRMED, &a, NULL) && owner_to_tell(&r, &i),
	       "RELEASED of that session is not that");
	i = 0;
	tap_ok(!try(&r, OWNER_EV_TOLD, &a, NULL) && !owner_to_tell(&r, &i) &&
	       !owner_must_answer(&r), "when it is told nothing is left");
}

static void test_refusals(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct owner_record r = plain(OWNER_IN_DOUBT), next = plain(OWNER_OWNED), old = next;
	unsigned int act = 77;

	tap_ok(owner_step(&r, OWNER_EV_CONT, NULL, NOW, &next, &act, NULL, &e) == -EPERM &&
	       owner_record_equal(&next, &old) && act == 77, "a refusal changes nothing");
	tap_ok(strstr(e.msg, "in-doubt") && strstr(e.msg, "settle"),
	       "it names the state and what leads on: %s", e.msg);
	drover_err_clear(&e);
	r = plain(OWNER_INCOMING);
	r.loaded = r.token;
	r.proved = true;
	owner_step(&r, OWNER_EV_PREPARE, NULL, NOW, &next, &act, NULL, &e);
	tap_ok(strstr(e.msg, "--discard") && strstr(e.msg, "copy is kept"), "and why: %s", e.msg);
	r.state = OWNER_STATE_COUNT;
	tap_ok(owner_step(&r, OWNER_EV_CONT, NULL, NOW, &next, &act, NULL, NULL) == -EINVAL,
	       "no such state");
	tap_ok(owner_may_greet(false, true) && !owner_may_greet(true, true) &&
	       !owner_may_greet(false, false), "the old link first");
}

static void test_equal(void)
{
	struct owner_record a = plain(OWNER_RELEASED), b[14];
	unsigned int i, n = 0;

	for (i = 0; i < 14; i++)
		b[i] = a;
	b[0].state = OWNER_OWNED;
	b[1].kind = OWNER_KIND_ONE_WAY;
	b[2].by = OWNER_BY_HAND;
	b[3].will = !a.will;
	b[4].running = !a.running;
	b[5].missing = true;
	b[6].token = token(5);
	b[7].loaded = token(5);
	b[8].since = 1;
	b[9].until = 1;
	b[10].peer[0] = 'x';
	b[11].history[7].outcome = OWNER_OUTCOME_MINE;
	b[12].history[3].peer[0] = 'x';
	b[13].proved = true;
	for (i = 0; i < 14; i++)
		n += !owner_record_equal(&a, &b[i]);
	tap_ok(n == 14, "each member counts for equality");
	tap_ok(owner_record_equal(&a, &a), "and nothing else");
}

static void test_names(void)
{
	unsigned int i, act = OWNER_ACT_STOP | OWNER_ACT_START;

	for (i = 0; i < OWNER_STATE_COUNT; i++)
		if (!*owner_state_name(i) || !*owner_state_lead(i))
			break;
	tap_ok(i == OWNER_STATE_COUNT && !strcmp(owner_state_name(i), "invalid"),
	       "states have names");
	tap_ok(!strcmp(owner_event_name(OWNER_EV_COUNT), "invalid") &&
		       !strcmp(owner_event_name(OWNER_EV_OWN), "OWN") &&
		       !strcmp(owner_reply_name(OWNER_REPLY_MOVED_ON), "moved-on") &&
		       !strcmp(owner_by_name(OWNER_BY_HAND), "hand") &&
		       !strcmp(owner_kind_name(OWNER_KIND_ONE_WAY), "one-way") &&
		       !strcmp(owner_outcome_name(OWNER_OUTCOME_TAKEN_BACK), "taken-back"),
	       "so has the rest");
	tap_ok(!strcmp(owner_action_name(&act), "STOP") &&
		       !strcmp(owner_action_name(&act), "START") && !owner_action_name(&act),
	       "actions are named one by one");
	for (i = 0; i < OWNER_STATE_COUNT; i++) {
		struct owner_record r = plain(i);

		if (owner_may_run(&r) != (i == OWNER_OWNED))
			break;
	}
	tap_ok(i == OWNER_STATE_COUNT, "a guest may run where its record is owned, nowhere else");
}

int main(void)
{
	test_grid();
	test_other_session();
	test_will();
	test_own();
	test_force();
	test_by_hand();
	test_kept();
	test_missing();
	test_mine();
	test_history();
	test_told();
	test_refusals();
	test_equal();
	test_names();
	return tap_done();
}
