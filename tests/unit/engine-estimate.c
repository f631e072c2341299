// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The expected downtime as a table: rounds that were measured, what is left, and what must
 * come of it in each part.
 */
#include "engine/estimate.h"

#include "tap.h"

#define MB 1000000ull
#define GB 1000000000ull
#define MAX UINT64_MAX
#define UNKNOWN DROVER_ESTIMATE_UNKNOWN

/* How long @bytes take after these rounds, oldest first. */
struct drain_row {
	const char *what;
	struct {
		uint64_t bytes, us;
	} round[4];
	unsigned int n;
	uint64_t bytes, want;
	uint64_t tolerance;             /* % */
	uint64_t least;                 /* us */
};

/* Most rows end before @least. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

static const struct drain_row drains[] = {
	{ "nothing is known", { { 0, 0 } }, 0, 1, UNKNOWN, 0 },
	{ "nothing is known, nothing is left", { { 0, 0 } }, 0, 0, 0, 0 },
	{ "one round: its speed", { { GB, 1000000 } }, 1, 10 * MB, 10000, 0 },
	{ "a wait and a speed", { { GB, 1002000 }, { 10 * MB, 12000 } }, 2, 5 * MB, 7000, 0 },
	{ "the wait alone", { { GB, 1002000 }, { 10 * MB, 12000 } }, 2, 0, 2000, 0 },
	{ "no wait", { { GB, 1000000 }, { 10 * MB, 10000 } }, 2, 5 * MB, 5000, 0 },
	{ "an early round in doubt", { { GB, 1500000 }, { 100 * MB, 102000 }, { 10 * MB, 12000 } },
	  3, 5 * MB, 7000, 15 },
	{ "the last are slower", { { 10 * MB, 10000 }, { 10 * MB, 20000 }, { 10 * MB, 20000 },
	  { 10 * MB, 20000 } }, 4, 10 * MB, 18000, 15 },
	{ "rounds of one size", { { 10 * MB, 9000 }, { 10 * MB, 9000 } }, 2, 20 * MB, 18000, 0 },
	{ "smaller took longer: their mean", { { 20 * MB, 10000 }, { 10 * MB, 20000 } }, 2, 5 * MB,
	  14000, 20 },
	{ "large ones were slower: no negative wait", { { 10 * MB, 5000 }, { 100 * MB, 100000 } },
	  2, 1, 0, 0 },
	{ "a round of nothing: the wait", { { GB, 1002000 }, { 0, 2000 } }, 2, 0, 2000, 0 },
	{ "rounds of nothing, and now something", { { 0, 2000 }, { 0, 2000 } }, 2, 1, UNKNOWN, 0 },
	{ "rounds of nothing, and nothing", { { 0, 2000 }, { 0, 2000 } }, 2, 0, 2000, 0 },
	{ "nothing is known, nothing is left: the answer", { { 0, 0 } }, 0, 0, 300, 0, 300 },
	{ "one round: a line from the answer's wait", { { GB, 1000200 } }, 1, 10 * MB, 10200, 0, 200 },
	{ "nothing is left: the answer", { { GB, 1000200 } }, 1, 0, 200, 0, 200 },
	{ "a wait above the answer's", { { GB, 1002000 }, { 10 * MB, 12000 } }, 2, 0, 2000, 0, 200 },
	{ "an answer slower than the rounds", { { MB, 1000 } }, 1, MB, 5000, 0, 5000 },
	{ "an answer that takes for ever", { { MB, 1000 } }, 1, MB, UNKNOWN - 1, 0, MAX },
	{ "no time at all", { { MB, 0 } }, 1, 2 * MB, 2, 0 },
	{ "the most bytes", { { 1, 1000000 } }, 1, MAX, UNKNOWN - 1, 0 },
	{ "the longest round", { { 1, MAX } }, 1, 1, UNKNOWN - 1, 0 },
};

static bool near(uint64_t got, uint64_t want, uint64_t tolerance)
{
	/* Doubles round. */
	uint64_t slack = want / 100 * tolerance + want / 100000000 + 1;

	if (want >= UNKNOWN - 1 || got >= UNKNOWN - 1)
		return got == want;
	return got <= want + slack && want <= got + slack;
}

static void run_drain(const struct drain_row *row)
{
	struct drover_drain d = { 0 };
	unsigned int i;
	uint64_t got;

	for (i = 0; i < row->n; i++)
		drover_drain_add(&d, row->round[i].bytes, row->round[i].us);
	got = drover_drain_us(&d, row->bytes, row->least);
	tap_ok(near(got, row->want, row->tolerance), "%s: %llu us, %llu wanted", row->what,
	       (unsigned long long)got, (unsigned long long)row->want);
}

struct estimate_row {
	const char *what;
	struct drover_estimate_input in;
	uint64_t round_us;              /* that 1 GB took; 0: no round yet */
	struct drover_estimate want;
};

/* 100 MB at 1 GB/s and an answer; 2 harvests of 3 ms, 4 + 5 ms of digests, round trips of 1 ms */
#define PLAIN                                                                              \
	.remaining = 100 * MB, .harvest_us = 3000, .digest_us = 4000, .compare_us = 5000,   \
	.rtt_us = 1000
#define WANT                                                                               \
	.harvest = 6000, .pages = 101000, .state = 1000, .digest = 9000, .commit = 1000,    \
	.whole = 118000, .least = 17000

#pragma GCC diagnostic ignored "-Woverride-init"
#ifdef __clang__
#pragma clang diagnostic ignored "-Winitializer-overrides"
#endif

static const struct estimate_row rows[] = {
	{ "plain", { PLAIN }, 1001000, { WANT } },
	{ "all zeros", { .remaining = 0 }, 0, { .whole = 0 } },
	{ "no round yet", { PLAIN }, 0, { WANT, .pages = UNKNOWN, .whole = UNKNOWN } },
	{ "no round yet, nothing left", { PLAIN, .remaining = 0 }, 0,
	  { WANT, .pages = 1000, .whole = 18000 } },
	{ "the guest went on writing", { PLAIN, .dirty_rate = 50 * MB, .since_us = 200000 },
	  1001000, { WANT, .pages = 111000, .whole = 128000 } },
	{ "a bandwidth is promised", { PLAIN, .bandwidth = 2 * GB }, 1001000,
	  { WANT, .pages = 51000, .whole = 68000 } },
	{ "a bandwidth is promised, none measured", { PLAIN, .bandwidth = 200 * MB }, 0,
	  { WANT, .pages = 501000, .whole = 518000 } },
	{ "nothing left", { PLAIN, .remaining = 0 }, 1001000,
	  { WANT, .pages = 1000, .whole = 18000 } },
	{ "no digests", { PLAIN, .digest_us = 0, .compare_us = 0 }, 1001000,
	  { WANT, .digest = 0, .whole = 109000, .least = 8000 } },
	{ "a round trip of 2^64 - 1 us", { PLAIN, .rtt_us = MAX }, 1001000,
	  { WANT, .pages = UNKNOWN - 1, .state = MAX, .commit = MAX, .whole = UNKNOWN - 1, .least = UNKNOWN - 1 } },
	{ "bytes without end", { PLAIN, .remaining = MAX, .dirty_rate = MAX, .since_us = MAX,
	  .bandwidth = 1 }, 0, { WANT, .pages = UNKNOWN - 1, .whole = UNKNOWN - 1 } },
};

static void run_row(const struct estimate_row *row)
{
	struct drover_estimate_input in = row->in;
	const struct drover_estimate *w = &row->want;
	struct drover_estimate e;

	if (row->round_us)
		drover_drain_add(&in.drain, GB, row->round_us);
	drover_estimate(&in, &e);
	tap_ok(e.harvest == w->harvest && near(e.pages, w->pages, 0) && e.state == w->state &&
	       e.digest == w->digest && e.commit == w->commit && near(e.whole, w->whole, 0) &&
	       e.least == w->least,
	       "%s: harvest %llu, pages %llu, state %llu, digest %llu, commit %llu: %llu, at least %llu",
	       row->what, (unsigned long long)e.harvest, (unsigned long long)e.pages,
	       (unsigned long long)e.state, (unsigned long long)e.digest,
	       (unsigned long long)e.commit, (unsigned long long)e.whole,
	       (unsigned long long)e.least);
}

int main(void)
{
	size_t i;

	for (i = 0; i < sizeof(drains) / sizeof(drains[0]); i++)
		run_drain(&drains[i]);
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		run_row(&rows[i]);
	return tap_done();
}
