// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The decision after a harvest, as a table: each row changes some members of a plain sample
 * and plain parameters, and says what must come of it.
 *
 * The plain case: 1 GB remains at 1 GB/s (1 s), 8 ms for all the rest: 1008 ms expected against
 * 300 ms allowed, so: another round.
 */
#include "engine/policy.h"

#include <string.h>

#include "config/config.h"
#include "tap.h"

#define GB 1000000000ull
#define MB 1000000ull

#define PLAIN_SAMPLE                                                                       \
	.remaining = GB, .bandwidth = GB, .dirty_rate = 100 * MB, .round = 3,               \
	.expected_us = 1008000, .least_us = 8000, .elapsed_s = 10
#define PLAIN_PARAMS                                                                       \
	.downtime_limit_ms = 300, .throttle_initial = 20, .throttle_increment = 10,         \
	.throttle_max = 99, .throttle_trigger = 50

/* Later members override: that is the point of the rows. */
#pragma GCC diagnostic ignored "-Woverride-init"
#ifdef __clang__
#pragma clang diagnostic ignored "-Winitializer-overrides"
#endif

#define SAMPLE(...) { PLAIN_SAMPLE, ##__VA_ARGS__ }
#define PARAMS(...) { PLAIN_PARAMS, ##__VA_ARGS__ }

struct policy_row {
	const char *what;
	struct drover_policy_sample s;
	struct drover_policy_params p;
	enum drover_action want;
	const char *why;                /* part of it */
	unsigned int next;              /* throttle_next */
	unsigned int high;              /* high_rounds afterwards */
};

#define CONTINUE DROVER_ACTION_CONTINUE
#define THROTTLE DROVER_ACTION_THROTTLE
#define SWITCHOVER DROVER_ACTION_SWITCHOVER
#define POSTCOPY DROVER_ACTION_POSTCOPY
#define GIVE_UP DROVER_ACTION_GIVE_UP

static const struct policy_row rows[] = {
	/* the downtime limit */
	{ "plain", SAMPLE(), PARAMS(), CONTINUE,
	  .why = "1008.0 ms is above downtime-limit 300.0 ms" },
	{ "exactly at the limit", SAMPLE(.expected_us = 300000), PARAMS(), SWITCHOVER,
	  .why = "within" },
	{ "a microsecond above it", SAMPLE(.expected_us = 300001), PARAMS(), CONTINUE,
	  .why = "above" },
	{ "a higher limit", SAMPLE(), PARAMS(.downtime_limit_ms = 1008), SWITCHOVER,
	  .why = "1008.0 ms" },
	{ "the highest limit", SAMPLE(.expected_us = UINT64_MAX - 1),
	  PARAMS(.downtime_limit_ms = 2000000), CONTINUE, .why = "above" },
	{ "limit 0", SAMPLE(), PARAMS(.downtime_limit_ms = 0), CONTINUE,
	  .why = "all but the pages" },
	{ "limit 0, nothing remains", SAMPLE(.remaining = 0), PARAMS(.downtime_limit_ms = 0),
	  SWITCHOVER, .why = "nothing remains" },
	{ "the rest is too slow by itself", SAMPLE(.least_us = 605000), PARAMS(), CONTINUE,
	  .why = "all but the pages takes 605.0 ms" },
	{ "and nothing remains", SAMPLE(.least_us = 605000, .remaining = 0), PARAMS(), SWITCHOVER,
	  .why = "nothing remains" },
	{ "no progress", SAMPLE(.stalled_rounds = 4), PARAMS(), CONTINUE,
	  .why = "no progress for 4 rounds" },
	{ "before the first round", SAMPLE(.round = 0, .elapsed_s = 0), PARAMS(), CONTINUE,
	  .why = "above" },
	{ "all zeros", { .remaining = 0 }, { .downtime_limit_ms = 0 }, SWITCHOVER,
	  .why = "within" },
	/* bandwidth */
	{ "unknown", SAMPLE(.expected_us = UINT64_MAX), PARAMS(), CONTINUE,
	  .why = "no bandwidth" },
	{ "unknown, no limit too high", SAMPLE(.expected_us = UINT64_MAX, .remaining = 1),
	  PARAMS(.downtime_limit_ms = UINT64_MAX), CONTINUE, .why = "no bandwidth" },
	{ "unknown, nothing remains", SAMPLE(.expected_us = UINT64_MAX, .remaining = 0), PARAMS(),
	  SWITCHOVER, .why = "expected downtime unknown" },
	/* switchover-ack */
	{ "no ack yet", SAMPLE(.expected_us = 9000, .ack_pending = true), PARAMS(), CONTINUE,
	  .why = "not allowed" },
	{ "no ack yet, nothing remains", SAMPLE(.remaining = 0, .ack_pending = true), PARAMS(),
	  CONTINUE, .why = "not allowed" },
	{ "no ack yet, still far", SAMPLE(.ack_pending = true), PARAMS(), CONTINUE,
	  .why = "above" },
	/* max-rounds, total-timeout, on-no-converge */
	{ "a round below max-rounds", SAMPLE(.round = 9), PARAMS(.max_rounds = 10,
	  .on_no_converge = DROVER_ON_NO_CONVERGE_CANCEL), CONTINUE, .why = "above" },
	{ "max-rounds, cancel", SAMPLE(.round = 10), PARAMS(.max_rounds = 10,
	  .on_no_converge = DROVER_ON_NO_CONVERGE_CANCEL), GIVE_UP,
	  .why = "max-rounds reached after 10 rounds" },
	{ "max-rounds, wait", SAMPLE(.round = 10), PARAMS(.max_rounds = 10), CONTINUE,
	  .why = "above" },
	{ "max-rounds, switchover", SAMPLE(.round = 11), PARAMS(.max_rounds = 10,
	  .on_no_converge = DROVER_ON_NO_CONVERGE_SWITCHOVER), SWITCHOVER, .why = "max-rounds" },
	{ "max-rounds, postcopy", SAMPLE(.round = 10, .can_postcopy = true),
	  PARAMS(.max_rounds = 10, .on_no_converge = DROVER_ON_NO_CONVERGE_POSTCOPY), POSTCOPY,
	  .why = "max-rounds" },
	{ "max-rounds, postcopy not possible", SAMPLE(.round = 10), PARAMS(.max_rounds = 10,
	  .on_no_converge = DROVER_ON_NO_CONVERGE_POSTCOPY), CONTINUE, .why = "above" },
	{ "max-rounds, switchover, no ack", SAMPLE(.round = 10, .ack_pending = true),
	  PARAMS(.max_rounds = 10, .on_no_converge = DROVER_ON_NO_CONVERGE_SWITCHOVER), CONTINUE,
	  .why = "above" },
	{ "max-rounds, cancel, no ack", SAMPLE(.round = 10, .ack_pending = true),
	  PARAMS(.max_rounds = 10, .on_no_converge = DROVER_ON_NO_CONVERGE_CANCEL), GIVE_UP,
	  .why = "max-rounds" },
	{ "max-rounds, but it fits", SAMPLE(.round = 10, .expected_us = 9000),
	  PARAMS(.max_rounds = 10, .on_no_converge = DROVER_ON_NO_CONVERGE_CANCEL), SWITCHOVER,
	  .why = "within" },
	{ "max-rounds, an unknown choice", SAMPLE(.round = 10), PARAMS(.max_rounds = 10,
	  .on_no_converge = 77), CONTINUE, .why = "above" },
	{ "max-rounds 1", SAMPLE(.round = 1), PARAMS(.max_rounds = 1,
	  .on_no_converge = DROVER_ON_NO_CONVERGE_SWITCHOVER), SWITCHOVER, .why = "max-rounds" },
	{ "a second below total-timeout", SAMPLE(.elapsed_s = 59), PARAMS(.total_timeout_s = 60,
	  .on_no_converge = DROVER_ON_NO_CONVERGE_CANCEL), CONTINUE, .why = "above" },
	{ "total-timeout, cancel", SAMPLE(.elapsed_s = 60), PARAMS(.total_timeout_s = 60,
	  .on_no_converge = DROVER_ON_NO_CONVERGE_CANCEL), GIVE_UP, .why = "total-timeout" },
	{ "total-timeout, switchover, bandwidth unknown", SAMPLE(.elapsed_s = 60, .expected_us = UINT64_MAX),
	  PARAMS(.total_timeout_s = 60, .on_no_converge = DROVER_ON_NO_CONVERGE_SWITCHOVER),
	  SWITCHOVER, .why = "total-timeout" },
	{ "neither limit set", SAMPLE(.round = UINT64_MAX, .elapsed_s = UINT64_MAX),
	  PARAMS(.on_no_converge = DROVER_ON_NO_CONVERGE_CANCEL), CONTINUE, .why = "above" },
	/* postcopy */
	{ "asked for", SAMPLE(.can_postcopy = true, .postcopy_requested = true), PARAMS(),
	  POSTCOPY, .why = "asked for" },
	{ "asked for, not possible", SAMPLE(.postcopy_requested = true), PARAMS(), CONTINUE,
	  .why = "above" },
	{ "asked for, no ack", SAMPLE(.can_postcopy = true, .postcopy_requested = true,
	  .ack_pending = true), PARAMS(), CONTINUE, .why = "above" },
	{ "possible, not asked for", SAMPLE(.can_postcopy = true), PARAMS(), CONTINUE,
	  .why = "above" },
	{ "asked for in the first round, nothing known", SAMPLE(.can_postcopy = true, .round = 0,
	  .expected_us = UINT64_MAX, .postcopy_requested = true), PARAMS(), POSTCOPY,
	  .why = "asked for" },
	/* auto-converge: 600 MB/s of 1 GB/s is above the trigger of 50 % */
	{ "first high round", SAMPLE(.dirty_rate = 600 * MB, .can_throttle = true),
	  PARAMS(.auto_converge = true), CONTINUE, .why = "above", .high = 1 },
	{ "second high round", SAMPLE(.dirty_rate = 600 * MB, .can_throttle = true,
	  .high_rounds = 1), PARAMS(.auto_converge = true), THROTTLE, .why = "throttle 20 %",
	  .next = 20 },
	{ "a low round does not count", SAMPLE(.can_throttle = true, .high_rounds = 1),
	  PARAMS(.auto_converge = true), CONTINUE, .why = "above", .high = 1 },
	{ "exactly at the trigger", SAMPLE(.dirty_rate = 500 * MB, .can_throttle = true,
	  .high_rounds = 1), PARAMS(.auto_converge = true), CONTINUE, .why = "above", .high = 1 },
	{ "a byte above the trigger", SAMPLE(.dirty_rate = 500 * MB + 1, .can_throttle = true,
	  .high_rounds = 1), PARAMS(.auto_converge = true), THROTTLE, .why = "throttle",
	  .next = 20 },
	{ "trigger 100 %", SAMPLE(.dirty_rate = GB, .can_throttle = true, .high_rounds = 1),
	  PARAMS(.auto_converge = true, .throttle_trigger = 100), CONTINUE, .why = "above",
	  .high = 1 },
	{ "trigger 1 %", SAMPLE(.dirty_rate = 11 * MB, .can_throttle = true, .high_rounds = 1),
	  PARAMS(.auto_converge = true, .throttle_trigger = 1), THROTTLE, .why = "throttle",
	  .next = 20 },
	{ "off", SAMPLE(.dirty_rate = 9 * GB, .can_throttle = true, .high_rounds = 1), PARAMS(),
	  CONTINUE, .why = "above", .high = 1 },
	{ "the guest can't", SAMPLE(.dirty_rate = 9 * GB, .high_rounds = 1),
	  PARAMS(.auto_converge = true), CONTINUE, .why = "above", .high = 1 },
	{ "the guest is paused", SAMPLE(.dirty_rate = 9 * GB, .can_throttle = true,
	  .high_rounds = 1, .guest_paused = true), PARAMS(.auto_converge = true), CONTINUE,
	  .why = "above", .high = 1 },
	{ "bandwidth unknown", SAMPLE(.dirty_rate = 9 * GB, .can_throttle = true,
	  .high_rounds = 1, .bandwidth = 0), PARAMS(.auto_converge = true), CONTINUE,
	  .why = "above", .high = 1 },
	{ "a further step", SAMPLE(.dirty_rate = 600 * MB, .can_throttle = true, .high_rounds = 1,
	  .throttle_percent = 20), PARAMS(.auto_converge = true), THROTTLE,
	  .why = "throttle 30 %", .next = 30 },
	{ "the last step", SAMPLE(.dirty_rate = 9 * GB, .can_throttle = true, .high_rounds = 1,
	  .throttle_percent = 90), PARAMS(.auto_converge = true), THROTTLE,
	  .why = "throttle 99 %", .next = 99 },
	{ "no step is left", SAMPLE(.dirty_rate = 9 * GB, .can_throttle = true, .high_rounds = 1,
	  .throttle_percent = 99), PARAMS(.auto_converge = true), CONTINUE, .why = "above",
	  .next = 99 },
	{ "the ceiling came down", SAMPLE(.dirty_rate = 9 * GB, .can_throttle = true,
	  .high_rounds = 1, .throttle_percent = 80), PARAMS(.auto_converge = true,
	  .throttle_max = 50), THROTTLE, .why = "throttle 50 %", .next = 50 },
	{ "the first step above the ceiling", SAMPLE(.dirty_rate = 9 * GB, .can_throttle = true,
	  .high_rounds = 1), PARAMS(.auto_converge = true, .throttle_max = 5), THROTTLE,
	  .why = "throttle 5 %", .next = 5 },
	/* 20 % taken, 600 MB/s left, 500 wanted: 80 % becomes 66 %, 14 more, so 10 */
	{ "tailslow, far off", SAMPLE(.dirty_rate = 600 * MB, .can_throttle = true,
	  .high_rounds = 1, .throttle_percent = 20), PARAMS(.auto_converge = true,
	  .throttle_tailslow = true), THROTTLE, .why = "throttle", .next = 30 },
	/* 550 left: 80 % becomes 72 %, 8 more */
	{ "tailslow, near", SAMPLE(.dirty_rate = 550 * MB, .can_throttle = true, .high_rounds = 1,
	  .throttle_percent = 20), PARAMS(.auto_converge = true, .throttle_tailslow = true),
	  THROTTLE, .why = "throttle", .next = 28 },
	{ "tailslow, a byte off", SAMPLE(.dirty_rate = 500 * MB + 1, .can_throttle = true,
	  .high_rounds = 1, .throttle_percent = 20), PARAMS(.auto_converge = true,
	  .throttle_tailslow = true), THROTTLE, .why = "throttle", .next = 21 },
	{ "tailslow, first step", SAMPLE(.dirty_rate = 501 * MB, .can_throttle = true,
	  .high_rounds = 1), PARAMS(.auto_converge = true, .throttle_tailslow = true), THROTTLE,
	  .why = "throttle", .next = 20 },
	{ "fits before it throttles", SAMPLE(.dirty_rate = 9 * GB, .expected_us = 9000,
	  .can_throttle = true, .high_rounds = 1), PARAMS(.auto_converge = true), SWITCHOVER,
	  .why = "within", .high = 1 },
	{ "throttles while it waits", SAMPLE(.dirty_rate = 9 * GB, .round = 10,
	  .can_throttle = true, .high_rounds = 1), PARAMS(.auto_converge = true,
	  .max_rounds = 10), THROTTLE, .why = "throttle", .next = 20 },
	{ "gives up before it throttles", SAMPLE(.dirty_rate = 9 * GB, .round = 10,
	  .can_throttle = true, .high_rounds = 1), PARAMS(.auto_converge = true, .max_rounds = 10,
	  .on_no_converge = DROVER_ON_NO_CONVERGE_CANCEL), GIVE_UP,
	  .why = "max-rounds", .high = 1 },
};

static void run_row(const struct policy_row *row)
{
	struct drover_policy_sample s = row->s;
	unsigned int next = row->next ? row->next : s.throttle_percent;
	char why[256] = "";
	enum drover_action act = drover_policy_next(&s, &row->p, why, sizeof(why));

	tap_ok(act == row->want && strstr(why, row->why) && s.throttle_next == next &&
	       s.high_rounds == row->high, "%s: action %d, throttle %u, high %u: %s", row->what,
	       (int)act, s.throttle_next, s.high_rounds, why);
}

/* A guest that writes more than is sent: each step takes effect, and no step is the last. */
static void test_convergence(void)
{
	struct drover_policy_params p = PARAMS(.auto_converge = true);
	struct drover_policy_sample s = SAMPLE(.can_throttle = true);
	unsigned int steps = 0, rounds;
	enum drover_action act = DROVER_ACTION_CONTINUE;
	char why[8];

	for (rounds = 1; rounds < 100 && act != DROVER_ACTION_SWITCHOVER; rounds++) {
		uint64_t speed = 5 * GB * (100 - s.throttle_percent) / 100;

		s.round = rounds;
		s.dirty_rate = speed;
		/* What is written while the last round is sent, at most all of 4 GB. */
		s.remaining = speed < 4 * GB ? s.remaining * speed / GB : 4 * GB;
		s.remaining = s.remaining < 4 * GB ? s.remaining : 4 * GB;
		s.expected_us = s.least_us + s.remaining / (GB / 1000000);
		act = drover_policy_next(&s, &p, why, sizeof(why));
		if (act == DROVER_ACTION_THROTTLE) {
			steps++;
			s.throttle_percent = s.throttle_next;
		}
	}
	tap_ok(act == DROVER_ACTION_SWITCHOVER && steps >= 8, "converges in %u rounds, %u steps",
	       rounds, steps);
	tap_ok(strlen(why) < sizeof(why), "a reason that is too long is cut");
}

int main(void)
{
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		run_row(&rows[i]);
	test_convergence();
	return tap_done();
}
