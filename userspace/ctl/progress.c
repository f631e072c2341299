// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The text that watch, --wait and status show, made from query-migrate's answer. All functions
 * are pure: the callers print.
 */
#define _GNU_SOURCE
#include "ctl/progress.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"

#define BAR_MIN 10
#define BAR_MAX 40

const char *human_bytes(uint64_t n, char buf[HUMAN_SIZE])
{
	static const char *const unit[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double v = (double)n;
	size_t i = 0;

	while (v >= 1024 && i + 1 < DROVER_ARRAY_SIZE(unit)) {
		v /= 1024;
		i++;
	}
	snprintf(buf, HUMAN_SIZE, i && v < 100 ? "%.1f %s" : "%.0f %s", v, unit[i]);
	return buf;
}

static struct json_object *member(struct json_object *o, const char *outer, const char *name)
{
	struct json_object *v = o;

	if (outer && !json_object_object_get_ex(o, outer, &v))
		return NULL;
	return json_object_object_get_ex(v, name, &v) ? v : NULL;
}

uint64_t json_number(struct json_object *o, const char *outer, const char *name, bool *ret_has)
{
	struct json_object *v = member(o, outer, name);

	if (ret_has)
		*ret_has = v != NULL;
	return v ? json_object_get_uint64(v) : 0;
}

const char *json_text(struct json_object *o, const char *outer, const char *name)
{
	struct json_object *v = member(o, outer, name);

	return v && json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";
}

static bool flag(struct json_object *o, const char *name)
{
	struct json_object *v = member(o, "drover", name);

	return v && json_object_get_boolean(v);
}

void progress_read(struct json_object *info, struct json_object *config, struct progress *ret)
{
	struct json_object *mbps = member(info, "ram", "mbps");

	memset(ret, 0, sizeof(*ret));
	snprintf(ret->status, sizeof(ret->status), "%s", json_text(info, NULL, "status"));
	ret->text = json_text(info, NULL, "error-desc");
	ret->source = strcmp(json_text(info, "drover", "side"), "source") == 0;
	ret->auditing = flag(info, "auditing");
	ret->in_doubt = flag(info, "in-doubt");
	ret->total = json_number(info, "ram", "total", &ret->has_ram);
	ret->remaining = json_number(info, "ram", "remaining", NULL);
	ret->transferred = json_number(info, "ram", "transferred", NULL);
	ret->rate = mbps ? (uint64_t)(json_object_get_double(mbps) * 1e6 / 8) : 0;
	ret->dirty_rate = json_number(info, "drover", "dirty-bytes-rate", NULL);
	ret->bandwidth = json_number(info, "drover", "bandwidth", NULL);
	ret->downtime_limit_ms = json_number(config, NULL, "downtime-limit", NULL);
	ret->max_bandwidth = json_number(config, NULL, "max-bandwidth", NULL);
	ret->round = json_number(info, "drover", "round", NULL);
	ret->expected_ms = json_number(info, NULL, "expected-downtime", &ret->has_expected);
	ret->downtime_ms = json_number(info, NULL, "downtime", &ret->has_downtime);
	ret->total_ms = json_number(info, NULL, "total-time", NULL);
	ret->differences = json_number(info, "drover", "audit-differences", NULL);
}

static bool is(const struct progress *p, const char *status)
{
	return strcmp(p->status, status) == 0;
}

bool progress_ended(const struct progress *p)
{
	return (is(p, "completed") || is(p, "failed") || is(p, "cancelled")) && !p->auditing;
}

unsigned int progress_percent(const struct progress *p)
{
	if (is(p, "completed"))
		return 100;
	/* Before the first round it is not known how much remains. */
	if (!p->total || !p->round || p->remaining >= p->total)
		return 0;
	return (unsigned int)((double)(p->total - p->remaining) * 100 / (double)p->total);
}

/* Bytes/s that can be sent: as measured over rounds, before that the latest rate. */
static uint64_t capacity(const struct progress *p)
{
	return p->bandwidth ? p->bandwidth : p->rate;
}

/*
 * Does the guest write as fast as is sent, so that what remains can't get smaller? Nearly as fast
 * is enough: a page counts once in a round, so the dirty rate of a guest that writes all its pages
 * again never exceeds the rate of sending. The first round says nothing yet.
 */
static bool diverges(const struct progress *p)
{
	return p->round > 1 && capacity(p) && p->dirty_rate >= capacity(p) - capacity(p) / 20;
}

uint64_t progress_eta(const struct progress *p)
{
	uint64_t dirty = p->round > 1 ? p->dirty_rate : 0, rate = capacity(p);

	if (!rate || diverges(p))
		return UINT64_MAX;
	return (p->remaining + (rate - dirty) / 2) / (rate - dirty);
}

unsigned int downtime_part(const char *name)
{
	size_t len = strlen(name);

	/* downtime-us is the sum; downtime-resume-us is part of the source's commit part. */
	if (strncmp(name, "downtime-", DOWNTIME_PREFIX) != 0 || len <= DOWNTIME_PREFIX + 3 ||
	    strcmp(name + len - 3, "-us") != 0 || strcmp(name, "downtime-resume-us") == 0)
		return 0;
	return (unsigned int)len - DOWNTIME_PREFIX - 3;
}

static void draw_bar(unsigned int percent, unsigned int cells, char *buf)
{
	unsigned int full = percent * cells / 100, i;

	for (i = 0; i < cells; i++)
		buf[i] = i < full ? '#' : '.';
	buf[cells] = '\0';
}

static void eta_text(const struct progress *p, char *buf, size_t size)
{
	uint64_t s = progress_eta(p);

	if (s == UINT64_MAX)
		snprintf(buf, size, "-");
	else if (s < 60)
		snprintf(buf, size, "%" PRIu64 "s", s);
	else
		snprintf(buf, size, "%" PRIu64 "m%02" PRIu64 "s", s / 60, s % 60);
}

static void numbers(const struct progress *p, char *buf, size_t size)
{
	char rate[HUMAN_SIZE], dirty[HUMAN_SIZE], eta[32], expected[48] = "";

	eta_text(p, eta, sizeof(eta));
	if (p->has_expected)
		snprintf(expected, sizeof(expected), "  downtime ~%" PRIu64 " ms", p->expected_ms);
	snprintf(buf, size, "%3u%%  round %" PRIu64 "  %s/s  dirty %s/s  ETA %s%s",
		 progress_percent(p), p->round, human_bytes(p->rate, rate),
		 human_bytes(p->dirty_rate, dirty), eta, expected);
}

void progress_line(const struct progress *p, unsigned int width, bool bar, char *buf, size_t size)
{
	char right[256] = "", cells[BAR_MAX + 1];
	unsigned int used, room;

	if (p->auditing)
		snprintf(right, sizeof(right), "re-hashing the frozen RAM");
	else if (p->has_ram && p->source)
		numbers(p, right, sizeof(right));
	used = (unsigned int)(strlen(p->status) + strlen(right) + 2);
	room = bar && *right && !p->auditing && width > used + 3 ? width - used - 3 : 0;
	if (room >= BAR_MIN) {
		draw_bar(progress_percent(p), room > BAR_MAX ? BAR_MAX : room, cells);
		snprintf(buf, size, "%s  [%s] %s", p->status, cells, right);
	} else {
		snprintf(buf, size, "%s%s%s", p->status, *right ? "  " : "", right);
	}
	if (width < size)
		buf[width] = '\0';
}

/* What would make the migration converge; max-bandwidth comes first, if it is what limits. */
static void advice(const struct progress *p, char *buf, size_t size)
{
	uint64_t limit = p->expected_ms + p->expected_ms / 4 + 1;

	if (p->max_bandwidth && p->max_bandwidth / 10 * 8 <= capacity(p))
		snprintf(buf, size, "'droverctl set max-bandwidth=0'");
	else if (p->has_expected && limit > p->downtime_limit_ms && limit <= 2000000)
		snprintf(buf, size, "'droverctl set downtime-limit=%" PRIu64 "'", limit);
	else
		snprintf(buf, size, "'droverctl set total-timeout=1 on-no-converge=switchover'");
}

void progress_hint(const struct progress *p, char *buf, size_t size)
{
	char rate[HUMAN_SIZE], dirty[HUMAN_SIZE], tip[96];

	*buf = '\0';
	if (p->in_doubt) {
		snprintf(buf, size,
			 "in doubt: the guest may have been handed over; see 'droverctl settle'");
	} else if (is(p, "pre-switchover")) {
		snprintf(buf, size, "waiting for 'droverctl continue'");
	} else if (is(p, "postcopy-paused")) {
		snprintf(buf, size, "paused: 'droverctl recover URI' %s",
			 p->source ? "at the destination, then here; this memory is needed there" :
				     "here, then at the source");
	} else if (is(p, "active") && p->source && diverges(p)) {
		advice(p, tip, sizeof(tip));
		snprintf(buf, size,
			 "will not converge because dirty rate %s/s %s bandwidth %s/s; try %s",
			 human_bytes(p->dirty_rate, dirty),
			 p->dirty_rate > capacity(p) ? ">" : "~", human_bytes(capacity(p), rate), tip);
	}
}

void progress_verdict(const struct progress *p, char *buf, size_t size)
{
	char sent[HUMAN_SIZE];
	int n;

	if (!is(p, "completed")) {
		snprintf(buf, size, "%s%s%s", p->status, *p->text ? ": " : "", p->text);
		return;
	}
	n = snprintf(buf, size, "completed in %.2f s", (double)p->total_ms / 1000);
	if (p->source && p->has_ram)
		n += snprintf(buf + n, size - (size_t)n, ": %s sent, %" PRIu64 " rounds",
			      human_bytes(p->transferred, sent), p->round);
	if (p->has_downtime)
		n += snprintf(buf + n, size - (size_t)n, ", downtime %" PRIu64 " ms",
			      p->downtime_ms);
	if (p->differences)
		snprintf(buf + n, size - (size_t)n,
			 "; ALARM: the audit found %" PRIu64 " pages that differ", p->differences);
}
