// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What is legal when. The rules are stated here once more, phase by phase, where the tables
 * state them message by message; then every message is tried in every phase and mode, on every
 * channel, from either side. And sessions are played from their first message to their last.
 */
#include "wire/phase.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "tap.h"

/*
 * In this phase and mode (t two-way, o one-way, p postcopy) this side may say these on each of
 * these channels. What is on no line is illegal.
 */
static const struct line {
	char mode;
	const char *phase;
	char side;
	const char *channels, *names;
} lines[] = {
	{ 't', "GREETING", 'S', "M", "HELLO OWNER_QUERY" },
	{ 't', "GREETING", 'S', "DP", "ATTACH" },
	{ 't', "GREETING", 'D', "MDP", "FAIL" },
	{ 'o', "GREETING", 'S', "M", "HELLO" },
	{ 't', "JOINING", 'D', "DP", "ATTACH_ACK" },
	{ 't', "JOINING", 'D', "MDP", "FAIL" },
	{ 't', "ASKING", 'D', "M", "OWNER" },
	{ 't', "OFFERING", 'S', "M", "RANGES" },
	{ 't', "OFFERING", 'S', "MDP", "FAIL" },
	{ 't', "OFFERING", 'D', "MDP", "FAIL" },
	{ 'o', "OFFERING", 'S', "M", "RANGES" },
	{ 't', "OFFERED", 'S', "MDP", "FAIL" },
	{ 't', "OFFERED", 'D', "M", "HELLO_ACK" },
	{ 't', "OFFERED", 'D', "MDP", "FAIL" },
	{ 't', "ROUNDS", 'S', "M", "SWITCHOVER_REQ PING" },
	{ 't', "ROUNDS", 'S', "MD", "PAGES ROUND_END" },
	{ 't', "ROUNDS", 'S', "MDP", "FAIL" },
	{ 't', "ROUNDS", 'D', "M", "ROUND_ACK SWITCHOVER_ACK PONG" },
	{ 't', "ROUNDS", 'D', "MDP", "FAIL" },
	{ 'o', "ROUNDS", 'S', "MD", "PAGES ROUND_END" },
	{ 't', "FINAL", 'S', "M", "STATE DISCARD PING" },
	{ 't', "FINAL", 'S', "MD", "PAGES ROUND_END" },
	{ 't', "FINAL", 'S', "MDP", "FAIL" },
	{ 't', "FINAL", 'D', "M", "ROUND_ACK PONG" },
	{ 't', "FINAL", 'D', "MDP", "FAIL" },
	{ 'o', "FINAL", 'S', "M", "STATE" },
	{ 'o', "FINAL", 'S', "MD", "PAGES ROUND_END" },
	{ 'p', "DISCARDING", 'S', "M", "DISCARD" },
	{ 'p', "DISCARDING", 'S', "MDP", "FAIL" },
	{ 'p', "DISCARDING", 'D', "M", "ROUND_ACK PONG" },
	{ 'p', "DISCARDING", 'D', "MDP", "FAIL" },
	{ 'p', "ARMED", 'S', "M", "STATE PAGES" },
	{ 'p', "ARMED", 'S', "P", "PAGES" },
	{ 'p', "ARMED", 'S', "MDP", "FAIL" },
	{ 'p', "ARMED", 'D', "M", "ROUND_ACK PONG PAGE_REQ" },
	{ 'p', "ARMED", 'D', "P", "PAGE_REQ" },
	{ 'p', "ARMED", 'D', "MDP", "FAIL" },
	{ 't', "STATE", 'S', "M", "STATE" },
	{ 't', "STATE", 'S', "MDP", "FAIL" },
	{ 't', "STATE", 'D', "M", "ROUND_ACK PONG" },
	{ 't', "STATE", 'D', "MDP", "FAIL" },
	{ 'o', "STATE", 'S', "M", "STATE" },
	{ 'p', "STATE", 'S', "M", "STATE PAGES" },
	{ 'p', "STATE", 'S', "P", "PAGES" },
	{ 'p', "STATE", 'S', "MDP", "FAIL" },
	{ 'p', "STATE", 'D', "M", "ROUND_ACK PONG PAGE_REQ" },
	{ 'p', "STATE", 'D', "P", "PAGE_REQ" },
	{ 'p', "STATE", 'D', "MDP", "FAIL" },
	{ 't', "LOADING", 'S', "M", "DIGEST" },
	{ 't', "LOADING", 'S', "MDP", "FAIL" },
	{ 't', "LOADING", 'D', "M", "STATE_ACK ROUND_ACK PONG" },
	{ 't', "LOADING", 'D', "MDP", "FAIL" },
	{ 'o', "LOADING", 'S', "M", "DIGEST" },
	{ 'p', "LOADING", 'S', "M", "DIGEST PAGES" },
	{ 'p', "LOADING", 'S', "P", "PAGES" },
	{ 'p', "LOADING", 'S', "MDP", "FAIL" },
	{ 'p', "LOADING", 'D', "M", "STATE_ACK ROUND_ACK PONG PAGE_REQ" },
	{ 'p', "LOADING", 'D', "P", "PAGE_REQ" },
	{ 'p', "LOADING", 'D', "MDP", "FAIL" },
	{ 't', "LOADED", 'S', "M", "DIGEST" },
	{ 't', "LOADED", 'S', "MDP", "FAIL" },
	{ 't', "LOADED", 'D', "M", "DIGEST_ACK PONG" },
	{ 't', "LOADED", 'D', "MDP", "FAIL" },
	{ 'o', "LOADED", 'S', "M", "DIGEST" },
	{ 'p', "LOADED", 'S', "M", "DIGEST PAGES" },
	{ 'p', "LOADED", 'S', "P", "PAGES" },
	{ 'p', "LOADED", 'S', "MDP", "FAIL" },
	{ 'p', "LOADED", 'D', "M", "DIGEST_ACK PONG PAGE_REQ" },
	{ 'p', "LOADED", 'D', "P", "PAGE_REQ" },
	{ 'p', "LOADED", 'D', "MDP", "FAIL" },
	{ 't', "READY", 'S', "M", "COMMIT" },
	{ 't', "READY", 'S', "MDP", "FAIL" },
	{ 't', "READY", 'D', "M", "PONG" },
	{ 't', "READY", 'D', "MDP", "FAIL" },
	{ 'o', "READY", 'S', "M", "END" },
	{ 'p', "READY", 'S', "M", "COMMIT PAGES" },
	{ 'p', "READY", 'S', "P", "PAGES" },
	{ 'p', "READY", 'S', "MDP", "FAIL" },
	{ 'p', "READY", 'D', "M", "PONG PAGE_REQ" },
	{ 'p', "READY", 'D', "P", "PAGE_REQ" },
	{ 'p', "READY", 'D', "MDP", "FAIL" },
	{ 't', "COMMITTING", 'D', "M", "COMMIT_ACK PONG" },
	{ 't', "COMMITTING", 'D', "MDP", "FAIL" },
	{ 'p', "COMMITTING", 'S', "MP", "PAGES" },
	{ 'p', "COMMITTING", 'D', "M", "COMMIT_ACK PONG PAGE_REQ" },
	{ 'p', "COMMITTING", 'D', "P", "PAGE_REQ" },
	{ 'p', "COMMITTING", 'D', "MDP", "FAIL" },
	{ 't', "COMMITTED", 'S', "M", "RELEASED" },
	{ 'p', "RESUMING", 'S', "M", "PAUSED" },
	{ 'p', "RESUMING", 'D', "M", "HELLO_ACK" },
	{ 'p', "RESUMING", 'D', "MDP", "FAIL" },
	{ 'p', "RECOVERING", 'S', "M", "PAUSED" },
	{ 'p', "RECOVERING", 'D', "M", "RECOVER PAUSED" },
	{ 'p', "RECOVERING", 'D', "MDP", "FAIL" },
	{ 'p', "SERVING", 'S', "M", "PING PAUSED" },
	{ 'p', "SERVING", 'S', "MD", "PAGES ROUND_END" },
	{ 'p', "SERVING", 'S', "P", "PAGES" },
	{ 'p', "SERVING", 'D', "M", "PAGE_REQ RELEASE PONG PAUSED" },
	{ 'p', "SERVING", 'D', "P", "PAGE_REQ" },
	{ 'p', "DRAINING", 'S', "M", "PING PAUSED" },
	{ 'p', "DRAINING", 'S', "P", "PAGES" },
	{ 'p', "DRAINING", 'D', "M", "ROUND_ACK PAGE_REQ RELEASE PONG PAUSED" },
	{ 'p', "DRAINING", 'D', "P", "PAGE_REQ" },
	{ 'p', "PROVING", 'S', "M", "DIGEST PING PAUSED" },
	{ 'p', "PROVING", 'D', "M", "DIGEST_ACK PONG PAUSED" },
	{ 'p', "PROVING", 'D', "P", "PAGE_REQ" },
	{ 'p', "PROVED", 'S', "M", "RELEASED PING PAUSED" },
	{ 'p', "PROVED", 'D', "M", "PONG PAUSED" },
	{ 'p', "PROVED", 'D', "P", "PAGE_REQ" },
};

static const char mode_letter[] = "to.p";
static const char channel_letter[] = "MD.P";

static enum drover_wire_mode mode_of(char letter)
{
	return letter == 't' ? DROVER_WIRE_TWO_WAY : letter == 'o' ? DROVER_WIRE_ONE_WAY :
	       DROVER_WIRE_POSTCOPY;
}

static unsigned int channel_of(char letter)
{
	return letter == 'M' ? DROVER_ON_M : letter == 'D' ? DROVER_ON_D : DROVER_ON_P;
}

static enum drover_phase phase_of(const char *name)
{
	int p;

	for (p = 0; p < DROVER_PHASE_COUNT; p++)
		if (!strcmp(drover_phase_info((enum drover_phase)p)->name, name))
			return (enum drover_phase)p;
	tap_ok(false, "phase %s: no such one", name);
	return DROVER_PHASE_COUNT;
}

static const struct drover_msg_info *message_of(const char *name)
{
	const struct drover_msg_info *m;
	size_t i, n;

	m = drover_msg_table(&n);
	for (i = 0; i < n; i++)
		if (!strcmp(m[i].name, name))
			return &m[i];
	tap_ok(false, "message %s: no such one", name);
	return NULL;
}

static bool has_word(const char *words, const char *word)
{
	size_t n = strlen(word);
	const char *at = words;

	while ((at = strstr(at, word))) {
		if ((at == words || at[-1] == ' ') && (!at[n] || at[n] == ' '))
			return true;
		at += n;
	}
	return false;
}

static bool stated(const char *msg, bool source, unsigned int channel, const char *phase,
		   enum drover_wire_mode mode)
{
	size_t i;

	for (i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		if (lines[i].mode == mode_letter[mode - 1] && !strcmp(lines[i].phase, phase) &&
		    lines[i].side == (source ? 'S' : 'D') &&
		    strchr(lines[i].channels, channel_letter[channel - 1]) &&
		    has_word(lines[i].names, msg))
			return true;
	return false;
}

/* Phase and mode together, from GREETING on, by the edges. */
static bool reached[DROVER_PHASE_COUNT][DROVER_WIRE_POSTCOPY + 1];

static void reach(enum drover_phase p, enum drover_wire_mode mode)
{
	int to;

	if (reached[p][mode])
		return;
	reached[p][mode] = true;
	for (to = 0; to < DROVER_PHASE_COUNT; to++) {
		unsigned int begins = drover_phase_info((enum drover_phase)to)->begins;

		if (drover_phase_edge(p, (enum drover_phase)to, mode))
			reach((enum drover_phase)to, begins ? (enum drover_wire_mode)begins : mode);
	}
}

static unsigned int try_all(enum drover_phase p, enum drover_wire_mode mode, unsigned int *legal,
			    unsigned int *bad)
{
	const struct drover_msg_info *m;
	unsigned int tried = 0, ch;
	size_t i, n;
	int source;

	m = drover_msg_table(&n);
	for (i = 0; i < n; i++)
		for (source = 0; source < 2; source++)
			for (ch = 1; ch <= DROVER_ON_P; ch <<= 1) {
				const char *phase = drover_phase_info(p)->name;
				struct drover_error e = DROVER_ERROR_INIT;
				bool want = stated(m[i].name, source, ch, phase, mode);
				int r = drover_phase_allows(&m[i], source, ch, p, mode, &e);

				tried++;
				*legal += r == 0;
				if ((r == 0) == want && (want || (r == -EBADMSG && e.code == r &&
								  strstr(e.msg, m[i].name))))
					continue;
				tap_diag("%s from the %s on %c in %s, %s: %s", m[i].name,
					 source ? "source" : "destination",
					 channel_letter[ch - 1], phase,
					 drover_wire_mode_name(mode), r ? e.msg : "legal");
				++*bad;
			}
	return tried;
}

static void test_product(void)
{
	unsigned int tried = 0, legal = 0, bad = 0, pairs = 0, mode;
	int p;

	reach(DROVER_PHASE_GREETING, DROVER_WIRE_TWO_WAY);
	reach(DROVER_PHASE_GREETING, DROVER_WIRE_ONE_WAY);
	for (p = 0; p < DROVER_PHASE_COUNT; p++)
		for (mode = 1; mode <= DROVER_WIRE_POSTCOPY; mode <<= 1) {
			if (!reached[p][mode])
				continue;
			pairs++;
			tried += try_all((enum drover_phase)p, (enum drover_wire_mode)mode, &legal,
					 &bad);
		}
	tap_ok(!bad, "message x side x channel x phase x mode: %u of %u are as stated; %u are legal",
	       tried - bad, tried, legal);
	tap_ok(pairs == 37, "%u pairs of phase and mode can be reached", pairs);
}

/* A line about a phase that is never reached in that mode would state nothing. */
static void test_lines(void)
{
	bool ok = true;
	size_t i;

	for (i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		if (!reached[phase_of(lines[i].phase)][mode_of(lines[i].mode)]) {
			tap_diag("%c %s is never reached", lines[i].mode, lines[i].phase);
			ok = false;
		}
	tap_ok(ok, "every line is about a phase that a session can be in");
}

static void test_phases(void)
{
	bool all = true, ends = true;
	int p;

	for (p = 0; p < DROVER_PHASE_COUNT; p++) {
		bool any = false, out = false;
		unsigned int mode;
		int to;

		for (mode = 1; mode <= DROVER_WIRE_POSTCOPY; mode <<= 1) {
			any = any || reached[p][mode];
			for (to = 0; to < DROVER_PHASE_COUNT; to++)
				out = out || (to != p && drover_phase_edge((enum drover_phase)p,
							  (enum drover_phase)to,
							  (enum drover_wire_mode)mode));
		}
		all = all && any && drover_phase_info((enum drover_phase)p)->doc[0];
		ends = ends && out == (p != DROVER_PHASE_OVER && p != DROVER_PHASE_JOINING);
	}
	tap_ok(all, "every phase can be reached");
	tap_ok(ends, "all but OVER are left again, and JOINING by becoming a part of a session");
	tap_ok(!drover_phase_info(DROVER_PHASE_COUNT), "there is no further phase");
}

/* The text says what it was, when, and what would have been right. */
static void test_text(void)
{
	struct drover_error e = DROVER_ERROR_INIT;

	drover_phase_allows(message_of("RELEASE"), false, DROVER_ON_M, DROVER_PHASE_LOADING,
			    DROVER_WIRE_POSTCOPY, &e);
	tap_ok(!strcmp(e.msg, "message RELEASE: not in phase LOADING (postcopy), in which the "
		       "destination may say: ROUND_ACK, STATE_ACK, FAIL, PONG, PAGE_REQ"),
	       "%s", e.msg);
	drover_err_clear(&e);
	drover_phase_allows(message_of("PING"), true, DROVER_ON_M, DROVER_PHASE_OVER,
			    DROVER_WIRE_TWO_WAY, &e);
	tap_ok(strstr(e.msg, "may say: nothing"), "%s", e.msg);
	drover_err_clear(&e);
	tap_ok(drover_phase_allows(NULL, true, DROVER_ON_M, DROVER_PHASE_ROUNDS,
				   DROVER_WIRE_TWO_WAY, &e) == -EBADMSG, "%s", e.msg);
	/* Who has said nothing yet may turn out to be any kind of channel. */
	tap_ok(!drover_phase_allows(message_of("ATTACH"), true, 7, DROVER_PHASE_GREETING,
				    DROVER_WIRE_TWO_WAY, NULL) &&
	       !drover_phase_allows(message_of("HELLO"), true, 7, DROVER_PHASE_GREETING,
				    DROVER_WIRE_TWO_WAY, NULL),
	       "a first message on a channel that nobody knows yet");
}

static void test_move(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_phase_state s;
	enum drover_wire_mode mode;

	drover_phase_init(&s);
	tap_ok(drover_phase_get(&s, &mode) == DROVER_PHASE_GREETING && mode == DROVER_WIRE_TWO_WAY,
	       "a connection begins with GREETING, two-way");
	tap_ok(drover_phase_move(&s, DROVER_PHASE_SERVING, &e) == -EPROTO &&
	       !strcmp(e.msg, "phase SERVING cannot follow GREETING (two-way)") &&
	       drover_phase_get(&s, &mode) == DROVER_PHASE_GREETING, "%s", e.msg);
	tap_ok(!drover_phase_move(&s, DROVER_PHASE_GREETING, NULL), "a phase may be entered twice");
	tap_ok(!drover_phase_move(&s, DROVER_PHASE_RESUMING, NULL) &&
	       drover_phase_get(&s, &mode) == DROVER_PHASE_RESUMING && mode == DROVER_WIRE_POSTCOPY,
	       "a resumed session is in postcopy from its HELLO on");
	drover_err_clear(&e);
	tap_ok(drover_phase_one_way(&s, &e) == -EPROTO, "%s", e.msg);
	drover_phase_init(&s);
	tap_ok(!drover_phase_one_way(&s, NULL) && !drover_phase_one_way(&s, NULL) &&
	       drover_phase_move(&s, DROVER_PHASE_JOINING, NULL) == -EPROTO &&
	       !drover_phase_move(&s, DROVER_PHASE_OFFERING, NULL) &&
	       drover_phase_get(&s, &mode) == DROVER_PHASE_OFFERING && mode == DROVER_WIRE_ONE_WAY,
	       "one-way: only HELLO is the way on");
}

static void test_answers(void)
{
	tap_ok(drover_msg_asks(DROVER_MSG_PING, DROVER_ON_M) == DROVER_ASK_PING &&
	       drover_msg_answers(DROVER_MSG_PONG, DROVER_ON_M) == DROVER_ASK_PING,
	       "PONG answers PING");
	tap_ok(drover_msg_asks(DROVER_MSG_ROUND_END, DROVER_ON_M) == DROVER_ASK_ROUND_END &&
	       drover_msg_asks(DROVER_MSG_ROUND_END, DROVER_ON_D) == -1 &&
	       drover_msg_answers(DROVER_MSG_ROUND_ACK, DROVER_ON_M) == DROVER_ASK_ROUND_END,
	       "ROUND_ACK answers the ROUND_END of main");
	tap_ok(drover_msg_answers(DROVER_MSG_SWITCHOVER_ACK, DROVER_ON_M) ==
	       DROVER_ASK_SWITCHOVER_REQ, "SWITCHOVER_ACK answers SWITCHOVER_REQ");
	tap_ok(drover_msg_answers(DROVER_MSG_PAGES, DROVER_ON_P) == DROVER_ASK_PAGE_REQ &&
	       drover_msg_answers(DROVER_MSG_PAGES, DROVER_ON_M) == -1 &&
	       drover_msg_answers(DROVER_MSG_PAGES, DROVER_ON_D) == -1,
	       "PAGES answers PAGE_REQ on a postcopy channel, and is pushed on the others");
}

/*
 * A session as a text: "S HELLO M OFFERING" means that the source says HELLO on main, and both
 * ends are in OFFERING then. Without a phase they stay; "=" for who says it: no message.
 */
static bool play(const char *const *script, bool one_way)
{
	struct drover_phase_state state;
	size_t i;

	drover_phase_init(&state);
	if (one_way)
		drover_phase_one_way(&state, NULL);
	for (i = 0; script[i]; i++) {
		struct drover_error e = DROVER_ERROR_INIT;
		char side = 0, name[32] = "", channel = 'M', to[32] = "";
		enum drover_wire_mode mode;
		enum drover_phase p = drover_phase_get(&state, &mode);
		int n = sscanf(script[i], "%c %31s %c %31s", &side, name, &channel, to), r = 0;

		if (side == '=')
			n = sscanf(script[i], "= %31s", to) + 3;
		else
			r = drover_phase_allows(message_of(name), side == 'S', channel_of(channel),
						p, mode, &e);
		if (r >= 0 && n == 4)
			r = drover_phase_move(&state, phase_of(to), &e);
		if (r < 0) {
			tap_diag("%s: %s", script[i], e.msg);
			return false;
		}
	}
	return drover_phase_get(&state, &(enum drover_wire_mode){ 0 }) == DROVER_PHASE_OVER;
}

static void test_sessions(void)
{
	static const char *const precopy[] = {
		"S HELLO M OFFERING", "S RANGES M", "S RANGES M OFFERED", "D HELLO_ACK M ROUNDS",
		"S PING M", "D PONG M", "S PAGES D", "S ROUND_END D", "S ROUND_END M",
		"D ROUND_ACK M", "S SWITCHOVER_REQ M", "D SWITCHOVER_ACK M", "S PAGES D",
		"S ROUND_END D", "S ROUND_END M FINAL", "D ROUND_ACK M",
		/* a late writer */
		"S PAGES D", "S ROUND_END D", "S ROUND_END M FINAL", "D ROUND_ACK M",
		"S STATE M STATE", "S STATE M LOADING", "S DIGEST M", "D STATE_ACK M LOADED",
		"S DIGEST M", "D DIGEST_ACK M READY", "S COMMIT M COMMITTING",
		"D COMMIT_ACK M COMMITTED", "S RELEASED M OVER", NULL,
	};
	static const char *const bare[] = {
		"S HELLO M OFFERING", "S RANGES M OFFERED", "D HELLO_ACK M ROUNDS", "S PAGES M",
		"S ROUND_END M FINAL", "D ROUND_ACK M", "S STATE M STATE", "S STATE M LOADING",
		"D STATE_ACK M READY", "S COMMIT M COMMITTING", "D COMMIT_ACK M COMMITTED",
		"S RELEASED M OVER", NULL,
	};
	static const char *const postcopy[] = {
		"S HELLO M OFFERING", "S RANGES M OFFERED", "D HELLO_ACK M ROUNDS", "S PAGES M",
		"S ROUND_END M FINAL", "D ROUND_ACK M", "S DISCARD M DISCARDING",
		"S DISCARD M ARMED", "S STATE M STATE", "D PAGE_REQ P", "S PAGES P",
		"S STATE M LOADING", "S DIGEST M", "D STATE_ACK M LOADED", "D DIGEST_ACK M READY",
		"S COMMIT M COMMITTING", "D PAGE_REQ M", "D COMMIT_ACK M SERVING", "S PAGES M",
		"D PAGE_REQ P", "S PAGES P", "D RELEASE M", "S ROUND_END M DRAINING",
		"D RELEASE M", "D ROUND_ACK M PROVING", "S DIGEST M", "D DIGEST_ACK M",
		"S DIGEST M", "D DIGEST_ACK M PROVED", "S RELEASED M OVER", NULL,
	};
	static const char *const resumed[] = {
		"S HELLO M RESUMING", "D HELLO_ACK M RECOVERING", "D RECOVER M",
		"D RECOVER M SERVING", "D PAGE_REQ M", "S PAGES M", "S ROUND_END M DRAINING",
		"D ROUND_ACK M PROVED", "S RELEASED M OVER", NULL,
	};
	static const char *const one_way[] = {
		"S HELLO M OFFERING", "S RANGES M ROUNDS", "S PAGES M", "S ROUND_END M",
		"S PAGES M", "S ROUND_END M FINAL", "S STATE M STATE", "S STATE M LOADING",
		"S DIGEST M", "= READY", "S END M OVER", NULL,
	};
	static const char *const settled[] = { "S OWNER_QUERY M ASKING", "D OWNER M OVER", NULL };
	static const char *const swapped[] = {
		"S HELLO M OFFERING", "S RANGES M OFFERED", "D HELLO_ACK M ROUNDS",
		"S STATE M STATE", NULL,
	};

	tap_ok(play(precopy, false), "a precopy, with a late writer and digests that were narrowed");
	tap_ok(play(bare, false), "a precopy without digests");
	tap_ok(play(postcopy, false), "a postcopy");
	tap_ok(play(resumed, false), "a postcopy that goes on");
	tap_ok(play(one_way, true), "a stream");
	tap_ok(play(settled, false), "a question");
	tap_ok(!play(precopy, true) && !play(one_way, false), "a mode is not another");
	tap_ok(!play(swapped, false), "the state before the final round ends the play");
}

int main(void)
{
	test_product();
	test_lines();
	test_phases();
	test_text();
	test_move();
	test_answers();
	test_sessions();
	return tap_done();
}
