// SPDX-License-Identifier: LGPL-2.1-or-later
/* What the source has measured; see meter.h. */
#include "engine/source/meter.h"

#include "base/clock.h"
#include "base/units.h"

#define RATES_NS (100 * DROVER_NS_PER_MS)
/* The shortest time over which a drain rate means something. */
#define MIN_RATE_NS (2 * DROVER_NS_PER_MS)
/* What a shorter time says moves the bandwidth, but does not make it. */
#define SURE_RATE_NS (50 * DROVER_NS_PER_MS)

void meter_start(struct meter *t, uint64_t now)
{
	t->tick_ns = now;
}

void meter_sent(struct meter *t, uint64_t raw, uint64_t zero)
{
	atomic_fetch_add_explicit(&t->raw, raw, memory_order_relaxed);
	atomic_fetch_add_explicit(&t->zero, zero, memory_order_relaxed);
}

void meter_harvest(struct meter *t, uint64_t begin, uint64_t end, uint64_t pages)
{
	t->dirty_pages = pages;
	t->harvest_ns = begin;
	t->harvest_us = (end - begin) / 1000;
}

bool meter_dirty_rate(struct meter *t, uint64_t before, uint64_t *ret_pages)
{
	uint64_t interval = t->harvest_ns - before;
	double rate;

	if (!before || !interval)
		return false;
	rate = (double)t->dirty_pages * 1e9 / (double)interval;
	t->dirty_rate = (uint64_t)(rate * DROVER_PAGE_SIZE);
	*ret_pages = (uint64_t)rate;
	return true;
}

void meter_harvest_before(struct meter *t, uint64_t us)
{
	if (us < t->harvest_us)
		t->harvest_us = us;
}

uint64_t meter_remaining(const struct meter *t)
{
	return t->dirty_pages * DROVER_PAGE_SIZE;
}

uint64_t meter_drained(struct meter *t, uint64_t ns, uint64_t bytes)
{
	uint64_t rate;

	drover_drain_add(&t->drain, bytes, ns / 1000);
	t->rate_ns += ns;
	t->rate_bytes += bytes;
	if (t->rate_ns < MIN_RATE_NS || !t->rate_bytes)
		return 0;
	rate = (uint64_t)((double)t->rate_bytes * 1e9 / (double)t->rate_ns);
	if (t->bandwidth && t->rate_ns < SURE_RATE_NS)
		rate = (t->bandwidth * 3 + rate) / 4;
	t->rate_ns = t->rate_bytes = 0;
	t->bandwidth = rate;
	return rate;
}

void meter_rtt(struct meter *t, uint64_t us)
{
	t->rtt_us = us;
}

void meter_expect(struct meter *t, uint64_t now, uint64_t bandwidth, bool running,
		  uint64_t digest_us, uint64_t compare_us, struct drover_estimate *ret)
{
	struct drover_estimate_input in = {
		.drain = t->drain,
		.bandwidth = bandwidth,
		.remaining = meter_remaining(t),
		.dirty_rate = running ? t->dirty_rate : 0,
		.since_us = (now - t->harvest_ns) / 1000,
		.rtt_us = t->rtt_us,
		.harvest_us = t->harvest_us,
		.digest_us = digest_us,
		.compare_us = compare_us,
	};

	drover_estimate(&in, ret);
	t->expected_us = ret->whole;
}

void meter_expect_no_pages(struct meter *t, struct drover_estimate *est)
{
	est->pages = 0;
	est->whole = est->least;
	t->expected_us = est->whole;
}

bool meter_rates(struct meter *t, uint64_t now, uint64_t bytes, struct meter_rates *ret)
{
	uint64_t pages = atomic_load(&t->raw) + atomic_load(&t->zero);
	double dt = (double)(now - t->tick_ns) / 1e9;

	if (now - t->tick_ns < RATES_NS)
		return false;
	ret->mbps = (double)(bytes - t->tick_bytes) * 8 / dt / 1e6;
	ret->pages_per_second = (uint64_t)((double)(pages - t->tick_pages) / dt);
	t->tick_ns = now;
	t->tick_bytes = bytes;
	t->tick_pages = pages;
	return true;
}
