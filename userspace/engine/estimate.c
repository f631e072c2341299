// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The expected downtime: no I/O, no clock, no memory. Rounds feed it what they measured,
 * the policy gets the sum, query-migrate the parts. Arithmetic saturates: a peer's round
 * trip or a user's bandwidth may be anything.
 */
#include "engine/estimate.h"

#include <stdbool.h>

#define US_PER_S 1000000u

typedef unsigned __int128 u128;

static uint64_t sat_add(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* a * b / c, c > 0 */
static uint64_t sat_mul_div(uint64_t a, uint64_t b, uint64_t c)
{
	u128 v = (u128)a * b / c;

	return v > UINT64_MAX ? UINT64_MAX : (uint64_t)v;
}

/* Too long to say is not the same as unknown. */
static uint64_t told(uint64_t us)
{
	return us == DROVER_ESTIMATE_UNKNOWN ? us - 1 : us;
}

static uint64_t known(double us)
{
	return us < 0 ? 0 : us >= 1.8e19 ? told(UINT64_MAX) : (uint64_t)(us + 0.5);
}

void drover_drain_add(struct drover_drain *d, uint64_t bytes, uint64_t us)
{
	double x = (double)bytes, y = us ? (double)us : 1, w = 1 / (y * y);

	d->n = d->n / 2 + w;
	d->x = d->x / 2 + w * x;
	d->y = d->y / 2 + w * y;
	d->xx = d->xx / 2 + w * x * x;
	d->xy = d->xy / 2 + w * x * y;
}

/* The line's height and slope; false: there is no such line. */
static bool line(const struct drover_drain *d, double *ret_wait, double *ret_slope)
{
	double det = d->n * d->xx - d->x * d->x;

	/* Rounds of one size don't tell the two apart. */
	if (!(det > 1e-6 * d->n * d->xx))
		return false;
	*ret_slope = (d->n * d->xy - d->x * d->y) / det;
	*ret_wait = (d->y - *ret_slope * d->x) / d->n;
	return true;
}

uint64_t drover_drain_us(const struct drover_drain *d, uint64_t bytes, uint64_t least)
{
	double wait, slope;

	if (!(d->n > 0))
		return bytes ? DROVER_ESTIMATE_UNKNOWN : least;
	if (line(d, &wait, &slope)) {
		if (slope < 0)
			return told(max(known(d->y / d->n), least));
		if (wait >= (double)least)
			return known(wait + slope * (double)bytes);
	}
	if (!(d->xx > 0))
		return bytes ? DROVER_ESTIMATE_UNKNOWN : told(max(known(d->y / d->n), least));
	/* The best line that begins at the least. */
	slope = (d->xy - (double)least * d->x) / d->xx;
	return known((double)least + (slope > 0 ? slope : 0) * (double)bytes);
}

static uint64_t pages_us(const struct drover_estimate_input *in, uint64_t bytes)
{
	if (in->bandwidth)
		return told(sat_add(sat_mul_div(bytes, US_PER_S, in->bandwidth), in->rtt_us));
	return drover_drain_us(&in->drain, bytes, in->rtt_us);
}

void drover_estimate(const struct drover_estimate_input *in, struct drover_estimate *ret)
{
	struct drover_estimate e = { 0 };
	uint64_t rest;

	/* One for the last pages, one that must find nothing. */
	e.harvest = sat_add(in->harvest_us, in->harvest_us);
	e.pages = pages_us(in, sat_add(in->remaining,
				       sat_mul_div(in->dirty_rate, in->since_us, US_PER_S)));
	e.state = in->rtt_us;
	e.digest = sat_add(in->digest_us, in->compare_us);
	e.commit = in->rtt_us;
	rest = sat_add(sat_add(e.harvest, e.state), sat_add(e.digest, e.commit));
	e.least = told(rest);
	e.whole = e.pages == DROVER_ESTIMATE_UNKNOWN ? e.pages : told(sat_add(e.pages, rest));
	*ret = e;
}
