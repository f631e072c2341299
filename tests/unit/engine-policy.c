// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The decision after a harvest, as a table: each row changes some members of a plain sample
 * and plain parameters, and says what must come of it.
 *
 * The plain case: 1 GB remains at 1 GB/s (1 s), 1 MB of state (1 ms), 1 ms round trips, 4 ms
 * fixed: 1008 ms expected against 300 ms allowed, so: another round.
 */
#include "engine/policy.h"

#include <string.h>

#include "config/config.h"
#include "tap.h"

#define GB 1000000000ull
#define MB 1000000ull

#define PLAIN_SAMPLE                                                                       \
	.remaining = GB, .bandwidth = GB, .dirty_rate = 100 * MB, .round = 3,               \
	.state_bytes = MB, .rtt_us = 1000, .fixed_us = 4000, .elapsed_s = 10
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
	{ "exactly at the limit", SAMPLE(.remaining = 292 * MB), PARAMS(), SWITCHOVER,
	  .why = "within" },
	{ "a microsecond above it", SAMPLE(.remaining = 292 * MB + 1000), PARAMS(), CONTINUE,
	  .why = "above" },
	{ "a higher limit", SAMPLE(), PARAMS(.downtime_limit_ms = 1008), SWITCHOVER,
	  .why = "1008.0 ms" },
	{ "the highest limit", SAMPLE(.remaining = UINT64_MAX),
	  PARAMS(.downtime_limit_ms = 2000000), CONTINUE, .why = "above" },
	{ "limit 0", SAMPLE(.remaining = 1), PARAMS(.downtime_limit_ms = 0), CONTINUE,
	  .why = "alone" },
	{ "limit 0, nothing remains", SAMPLE(.remaining = 0), PARAMS(.downtime_limit_ms = 0),
	  SWITCHOVER, .why = "nothing remains" },
	{ "round trips alone are too slow", SAMPLE(.rtt_us = 200000), PARAMS(), CONTINUE,
	  .why = "state and round trips alone take 605.0 ms" },
	{ "and nothing remains", SAMPLE(.rtt_us = 200000, .remaining = 0), PARAMS(), SWITCHOVER,
	  .why = "nothing remains" },
	{ "the state alone is too large", SAMPLE(.state_bytes = GB, .remaining = 4096), PARAMS(),
	  CONTINUE, .why = "alone" },
	{ "no progress", SAMPLE(.stalled_rounds = 4), PARAMS(), CONTINUE,
	  .why = "no progress for 4 rounds" },
	{ "before the first round", SAMPLE(.round = 0, .elapsed_s = 0), PARAMS(), CONTINUE,
	  .why = "above" },
	{ "all zeros", { .remaining = 0 }, { .downtime_limit_ms = 0 }, SWITCHOVER,
	  .why = "within" },
	/* bandwidth */
	{ "bandwidth unknown", SAMPLE(.bandwidth = 0), PARAMS(), CONTINUE,
	  .why = "no bandwidth" },
	{ "unknown, no limit too high", SAMPLE(.bandwidth = 0, .remaining = 1),
	  PARAMS(.downtime_limit_ms = UINT64_MAX), CONTINUE, .why = "no bandwidth" },
	{ "unknown, nothing remains", SAMPLE(.bandwidth = 0, .remaining = 0), PARAMS(),
	  SWITCHOVER, .why = "expected downtime unknown" },
	{ "avail-switchover-bandwidth, faster", SAMPLE(),
	  PARAMS(.avail_switchover_bandwidth = 10 * GB), SWITCHOVER, .why = "within" },
	{ "avail-switchover-bandwidth, slower", SAMPLE(.remaining = 100 * MB),
	  PARAMS(.avail_switchover_bandwidth = 100 * MB), CONTINUE, .why = "above" },
	{ "avail-switchover-bandwidth, none measured", SAMPLE(.bandwidth = 0),
	  PARAMS(.avail_switchover_bandwidth = 10 * GB), SWITCHOVER, .why = "within" },
	{ "1 byte/s", SAMPLE(.bandwidth = 1, .remaining = UINT64_MAX), PARAMS(), CONTINUE,
	  .why = "alone" },
	{ "a round trip of 2^64 - 1 us", SAMPLE(.rtt_us = UINT64_MAX), PARAMS(), CONTINUE,
	  .why = "alone" },
	/* switchover-ack */
	{ "no ack yet", SAMPLE(.remaining = MB, .ack_pending = true), PARAMS(), CONTINUE,
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
	{ "max-rounds, but it fits", SAMPLE(.round = 10, .remaining = MB),
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
	{ "total-timeout, switchover, bandwidth unknown", SAMPLE(.elapsed_s = 60, .bandwidth = 0),
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
	{ "from the start", SAMPLE(.can_postcopy = true, .round = 0, .bandwidth = 0),
	  PARAMS(.postcopy_from_start = true), POSTCOPY, .why = "from the start" },
	{ "from the start, not possible", SAMPLE(), PARAMS(.postcopy_from_start = true), CONTINUE,
	  .why = "above" },
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
	  .why = "no bandwidth", .high = 1 },
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
	{ "fits before it throttles", SAMPLE(.dirty_rate = 9 * GB, .remaining = MB,
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

static void test_expected(void)
{
	struct drover_policy_sample s = SAMPLE();
	struct drover_policy_params p = PARAMS();

	tap_ok(drover_policy_expected_us(&s, &p) == 1008000,
	       "RAM, state, three round trips, fixed");
	p.avail_switchover_bandwidth = 2 * GB;
	tap_ok(drover_policy_expected_us(&s, &p) == 507500, "at the bandwidth that was given");
	p.avail_switchover_bandwidth = 0;
	s.bandwidth = 0;
	tap_ok(drover_policy_expected_us(&s, &p) == DROVER_POLICY_UNKNOWN_US, "unknown");
	s.remaining = s.state_bytes = 0;
	tap_ok(drover_policy_expected_us(&s, &p) == 7000, "no bytes need no bandwidth");
	s = (struct drover_policy_sample){ .remaining = UINT64_MAX, .state_bytes = UINT64_MAX,
					   .bandwidth = 1, .rtt_us = UINT64_MAX,
					   .fixed_us = UINT64_MAX };
	tap_ok(drover_policy_expected_us(&s, &p) == UINT64_MAX - 1,
	       "saturates below what stands for unknown");
	s = (struct drover_policy_sample){ .remaining = UINT64_MAX, .bandwidth = UINT64_MAX };
	tap_ok(drover_policy_expected_us(&s, &p) == 1000000, "the largest at the fastest: 1 s");
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
	test_expected();
	test_convergence();
	return tap_done();
}
