// SPDX-License-Identifier: GPL-2.0-or-later
/* What the source measures: rates of pages, bytes and drains, without a clock. */
#include "engine/source/meter.h"

#include "base/clock.h"
#include "base/units.h"
#include "tap.h"

#define MS DROVER_NS_PER_MS

static void test_harvest(void)
{
	struct meter t = { 0 };
	uint64_t rate = 77;

	meter_harvest(&t, 1000 * MS, 1003 * MS, 500);
	tap_ok(t.harvest_us == 3000 && meter_remaining(&t) == 500 * DROVER_PAGE_SIZE,
	       "a harvest: how long, how much");
	tap_ok(!meter_dirty_rate(&t, 0, &rate) && rate == 77 && !t.dirty_rate,
	       "the first says nothing of a rate");
	tap_ok(!meter_dirty_rate(&t, 1000 * MS, &rate), "nor does one at the same moment");
	meter_harvest(&t, 1500 * MS, 1501 * MS, 1000);
	tap_ok(meter_dirty_rate(&t, 1000 * MS, &rate) && rate == 2000 &&
	       t.dirty_rate == 2000 * DROVER_PAGE_SIZE, "1000 pages in half a second");
	meter_harvest(&t, 2000 * MS, 2001 * MS, 0);
	tap_ok(meter_dirty_rate(&t, 1500 * MS, &rate) && !rate && !t.dirty_rate,
	       "an idle guest: the rate is 0, and known");
	meter_harvest_before(&t, 400);
	tap_ok(t.harvest_us == 400, "the shorter of two harvests counts");
	meter_harvest_before(&t, 500);
	tap_ok(t.harvest_us == 400, "whichever it was");
}

static void test_drain(void)
{
	struct meter t = { 0 };

	tap_ok(!meter_drained(&t, MS, 1000000) && !t.bandwidth, "a short round says nothing");
	tap_ok(meter_drained(&t, MS, 1000000) == 1000000000, "two of them: 1 GB/s");
	tap_ok(!meter_drained(&t, 10 * MS, 0), "a round of nothing has no speed");
	tap_ok(t.bandwidth == 1000000000, "and changes none");
	tap_ok(meter_drained(&t, 10 * MS, 40000000) == 1250000000,
	       "a round of some ms moves it by a quarter (20 ms, 40 MB)");
	tap_ok(meter_drained(&t, 100 * MS, 400000000) == 4000000000, "a long one makes it");
}

static void test_rates(void)
{
	struct meter t = { 0 };
	struct meter_rates r;

	meter_start(&t, 1000 * MS);
	meter_sent(&t, 30, 70);
	tap_ok(!meter_rates(&t, 1099 * MS, 1000000, &r), "no rate of less than 100 ms");
	tap_ok(meter_rates(&t, 1100 * MS, 1000000, &r) && r.pages_per_second == 1000 &&
	       r.mbps > 79.9 && r.mbps < 80.1, "1 MB and 100 pages in 100 ms");
	tap_ok(meter_rates(&t, 1200 * MS, 1000000, &r) && !r.pages_per_second,
	       "the next interval begins anew");
}

static void test_expect(void)
{
	struct drover_estimate est, idle;
	struct meter t = { 0 };

	meter_harvest(&t, 0, MS, 1000);
	meter_dirty_rate(&t, 0, &(uint64_t){ 0 });
	meter_expect(&t, MS, 0, true, 0, 0, &est);
	tap_ok(est.whole == DROVER_ESTIMATE_UNKNOWN && t.expected_us == est.whole,
	       "before the first round nobody knows");
	meter_rtt(&t, 200);
	meter_drained(&t, 1000 * MS, 1000000000);
	meter_expect(&t, MS, 0, true, 50, 60, &est);
	tap_ok(est.whole != DROVER_ESTIMATE_UNKNOWN && est.pages >= 4000 && est.pages < 5000,
	       "4 MB at 1 GB/s: %llu us", (unsigned long long)est.pages);
	meter_expect(&t, MS, 8000000000ull, true, 50, 60, &est);
	tap_ok(est.pages < 4000, "less at what the user promises");
	t.dirty_rate = 1000000000;
	meter_expect(&t, 101 * MS, 0, true, 0, 0, &est);
	meter_expect(&t, 101 * MS, 0, false, 0, 0, &idle);
	tap_ok(est.pages > idle.pages + 90000, "a running guest writes on until it is stopped");
	meter_expect_no_pages(&t, &est);
	tap_ok(!est.pages && est.whole == est.least && t.expected_us == est.least,
	       "in postcopy it does not wait for them");
}

int main(void)
{
	test_harvest();
	test_drain();
	test_rates();
	test_expect();
	return tap_done();
}
