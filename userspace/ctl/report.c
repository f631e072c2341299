// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The page that `report` writes: verdict, timeline of rounds, parts of the downtime, tables. All
 * drawings are inline SVG. All text is escaped, since some of it comes from the peer.
 */
#define _GNU_SOURCE
#include "ctl/report.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <string.h>

#include "base/cleanup.h"
#include "ctl/progress.h"

/* Coordinates of the drawing: the plot, and room for the labels of its axes. */
#define LEFT 90
#define WIDTH 820
#define HEIGHT 220
#define TOP 10
#define BAR_HEIGHT 30
#define BAR_Y(second) ((second) ? BAR_HEIGHT + 4 : 0)
/* The least width of a round in the drawing: a narrower one could not be seen. */
#define THIN 1.0
/*
 * A round that takes a smaller share of the time does not count for the scale: otherwise the
 * short burst of the last pages would make all others look small.
 */
#define SCALE_SHARE 0.01

static const char head[] =
	"<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
	"<meta http-equiv=\"Content-Security-Policy\" "
	"content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
	"<meta name=\"viewport\" content=\"width=device-width\">\n"
	"<title>drover migration report</title>\n<style>\n"
	":root { color-scheme: light dark; --text: #1c2733; --back: #fff; --soft: #56646f;"
	" --line: #9aa7b4; --card: #f2f5f8; --bad: #b02a26; --c0: #2f7ed8; --c1: #8795a3;"
	" --c2: #7450c9; --c3: #22937d; --c4: #d98a00; --c5: #b8577c; --c6: #d9534f }\n"
	"@media (prefers-color-scheme: dark) { :root { --text: #dfe6ec; --back: #14191f;"
	" --soft: #9fadba; --line: #53616e; --card: #1e262e; --bad: #ff8f89; --c0: #4f97e5;"
	" --c1: #748493; --c2: #9478e0; --c3: #35ae96; --c4: #f0a93c; --c5: #d27a9c;"
	" --c6: #ec6d68 } }\n"
	"body { font: 15px/1.45 sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;"
	" color: var(--text); background: var(--back) }\n"
	"h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }\n"
	"table { border-collapse: collapse; font-variant-numeric: tabular-nums }\n"
	"th, td { padding: .15rem .9rem .15rem 0; text-align: left; vertical-align: top }\n"
	"thead th { border-bottom: 1px solid var(--line) } td.n, th.n { text-align: right }\n"
	".tiles { display: flex; flex-wrap: wrap; gap: .7rem; margin: 1rem 0 }\n"
	".tiles div { background: var(--card); border-radius: .4rem; padding: .5rem 1rem }\n"
	".tiles b { display: block; font-size: 1.3rem } .tiles, .note { color: var(--soft) }\n"
	".tiles b { color: var(--text) } .rounds { font-size: .85rem }\n"
	"details { margin: .6rem 0 } summary { cursor: pointer }\n"
	"svg { width: 100%; height: auto } svg text { font: 12px sans-serif; fill: var(--soft) }\n"
	"svg .in { fill: #fff } .axis { stroke: var(--line) }\n"
	".sent { fill: var(--c0) } .stopped { fill: var(--c6) }\n"
	".dirty { fill: none; stroke: var(--c4); stroke-width: 2.5 }\n"
	".p0 { fill: var(--c0) } .p1 { fill: var(--c1) } .p2 { fill: var(--c2) }\n"
	".p3 { fill: var(--c3) } .p4 { fill: var(--c4) } .p5 { fill: var(--c5) }\n"
	".p6 { fill: var(--c6) } .e { opacity: .6 }\n"
	".key { display: inline-block; width: .8em; height: .8em; margin-right: .4em }\n"
	".key svg { width: 100%; height: 100% }\n"
	".bad { color: var(--bad) }\n</style>\n</head>\n<body>\n";

static void text(FILE *f, const char *s)
{
	for (; *s; s++)
		switch (*s) {
		case '&': fputs("&amp;", f); break;
		case '<': fputs("&lt;", f); break;
		case '>': fputs("&gt;", f); break;
		case '"': fputs("&quot;", f); break;
		case '\'': fputs("&#39;", f); break;
		default:
			/* HTML does not allow control characters. */
			fputc((unsigned char)*s < ' ' && *s != '\n' ? ' ' : *s, f);
		}
}

static const char *plain(struct json_object *v)
{
	return json_object_is_type(v, json_type_string) ? json_object_get_string(v) :
		json_object_to_json_string_ext(v, JSON_C_TO_STRING_PLAIN |
					       JSON_C_TO_STRING_NOSLASHESCAPE);
}

static void row(FILE *f, const char *name, const char *value)
{
	if (!*value)
		return;
	fputs("<tr><th>", f);
	text(f, name);
	fputs("</th><td>", f);
	text(f, value);
	fputs("</td></tr>\n", f);
}

static struct json_object *ours(struct json_object *info, const char *name)
{
	struct json_object *x = NULL, *v = NULL;

	if (json_object_object_get_ex(info, "drover", &x))
		json_object_object_get_ex(x, name, &v);
	return v;
}

static void tile(FILE *f, const char *value, const char *what)
{
	fputs("<div><b>", f);
	text(f, value);
	fprintf(f, "</b>%s</div>\n", what);
}

/* The figures that readers look for first. */
static void tiles(FILE *f, const struct progress *p, struct json_object *info)
{
	uint64_t us = json_number(info, "drover", "downtime-us", NULL);
	char value[64], size[HUMAN_SIZE];

	fputs("<div class=\"tiles\">\n", f);
	snprintf(value, sizeof(value), "%.2f s", (double)p->total_ms / 1000);
	tile(f, value, "total time");
	if (us) {
		snprintf(value, sizeof(value), "%.1f ms", (double)us / 1000);
		tile(f, value, "downtime");
	}
	if (p->has_ram && p->source) {
		tile(f, human_bytes(p->total, size), "guest RAM");
		tile(f, human_bytes(p->transferred, size), "sent");
		snprintf(value, sizeof(value), "%s/s", human_bytes(p->bandwidth, size));
		tile(f, value, "drain rate");
		snprintf(value, sizeof(value), "%s/s", human_bytes(p->dirty_rate, size));
		tile(f, value, "dirty rate");
		snprintf(value, sizeof(value), "%" PRIu64, p->round);
		tile(f, value, "rounds");
	}
	fputs("</div>\n", f);
}

static void summary(FILE *f, struct json_object *info, struct json_object *config)
{
	static const struct { const char *name, *outer, *member; } rows[] = {
		{ "Status", NULL, "status" }, { "Error", NULL, "error-desc" },
		{ "Side", "drover", "side" }, { "Peer", "drover", "peer" },
		{ "Dirty tracker", "drover", "tracker" }, { "Zero-copy", "drover", "zero-copy" },
		{ "Digests", "drover", "digest" },
	};
	char line[2048];
	struct progress p;
	size_t i;

	progress_read(info, config, &p);
	if (progress_ended(&p))
		progress_verdict(&p, line, sizeof(line));
	else
		progress_line(&p, sizeof(line) - 1, false, line, sizeof(line));
	fprintf(f, "<h1>Migration: <span class=\"%s\">",
		strcmp(p.status, "completed") == 0 && !p.differences ? "good" : "bad");
	text(f, line);
	fputs("</span></h1>\n", f);
	tiles(f, &p, info);
	fputs("<table>\n", f);
	for (i = 0; i < DROVER_ARRAY_SIZE(rows); i++)
		row(f, rows[i].name, json_text(info, rows[i].outer, rows[i].member));
	progress_hint(&p, line, sizeof(line));
	row(f, "Note", line);
	fputs("</table>\n", f);
}

static double rate_of(struct json_object *r)
{
	uint64_t us = json_number(r, NULL, "duration-us", NULL);

	return us ? (double)json_number(r, NULL, "sent-bytes", NULL) * 1e6 / (double)us : 0;
}

/**
 * struct plot - scales of the timeline
 * @us: time at the right edge
 * @top: bytes/s at the upper edge
 */
struct plot {
	double us, top;
};

static double x_of(const struct plot *p, uint64_t us)
{
	return LEFT + (double)us / p->us * WIDTH;
}

static double y_of(const struct plot *p, double rate)
{
	return TOP + HEIGHT * (1 - (rate < p->top ? rate : p->top) / p->top);
}

static double end_of(struct json_object *r)
{
	return (double)(json_number(r, NULL, "at-us", NULL) +
			json_number(r, NULL, "duration-us", NULL));
}

/*
 * The step between the marks of an axis: 1, 2, 2.5 or 5 times a power of ten, not below @least, in
 * a unit of which @base make the next larger one.
 */
static double step_of(double least, double base)
{
	static const double nice[] = { 1, 2, 2.5, 5, 10 };
	double unit = 1;
	size_t i = 0;

	while (least / unit >= base)
		unit *= base;
	while (least / unit >= 10)
		unit *= 10;
	while (least / unit > nice[i])
		i++;
	return nice[i] * unit;
}

static struct plot scales(struct json_object *list)
{
	size_t i, n = json_object_array_length(list);
	struct plot p = { .us = 1, .top = 1 };

	if (n)
		p.us += end_of(json_object_array_get_idx(list, n - 1));
	for (i = 0; i < n; i++) {
		struct json_object *r = json_object_array_get_idx(list, i);
		double us = (double)json_number(r, NULL, "duration-us", NULL);
		double dirty = (double)json_number(r, NULL, "dirty-bytes-rate", NULL);

		if (us < p.us * SCALE_SHARE)
			continue;
		if (rate_of(r) > p.top)
			p.top = rate_of(r);
		if (dirty > p.top)
			p.top = dirty;
	}
	p.top = 4 * step_of(p.top / 4, 1024);
	return p;
}

static void axes(FILE *f, const struct plot *p)
{
	double step = step_of(p->us / 5e6, 10), s;
	char size[HUMAN_SIZE];
	int i;

	for (i = 0; i <= 4; i++) {
		double rate = p->top * i / 4;

		fprintf(f, "<line class=\"axis\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" "
			"stroke-opacity=\"%s\"/>\n<text x=\"%d\" y=\"%.1f\" "
			"text-anchor=\"end\">%s/s</text>\n", LEFT, LEFT + WIDTH, y_of(p, rate),
			y_of(p, rate), i ? ".3" : "1", LEFT - 6, y_of(p, rate) + 4,
			human_bytes((uint64_t)rate, size));
	}
	for (s = 0; s * 1e6 <= p->us; s += step)
		fprintf(f, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%g s</text>\n",
			x_of(p, (uint64_t)(s * 1e6)), TOP + HEIGHT + 18, s);
}

static void round_bar(FILE *f, const struct plot *p, struct json_object *r)
{
	uint64_t at = json_number(r, NULL, "at-us", NULL);
	uint64_t us = json_number(r, NULL, "duration-us", NULL);
	double width = x_of(p, at + us) - x_of(p, at), y = y_of(p, rate_of(r));
	char rate[HUMAN_SIZE], sent[HUMAN_SIZE];

	fprintf(f, "<rect class=\"%s\" x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\"><title>"
		"round %" PRIu64 ": %s in %.1f ms, %s/s</title></rect>\n",
		json_number(r, NULL, "stopped", NULL) ? "stopped" : "sent", x_of(p, at), y,
		width < THIN ? THIN : width, TOP + HEIGHT - y, json_number(r, NULL, "round", NULL),
		human_bytes(json_number(r, NULL, "sent-bytes", NULL), sent), (double)us / 1000,
		human_bytes((uint64_t)rate_of(r), rate));
}

/* A round's dirty rate at its begin was measured during the round before it. */
static void dirty_line(FILE *f, const struct plot *p, struct json_object *list)
{
	size_t i, n = json_object_array_length(list);

	fputs("<polyline class=\"dirty\" points=\"", f);
	for (i = 1; i < n; i++) {
		struct json_object *before = json_object_array_get_idx(list, i - 1);
		struct json_object *r = json_object_array_get_idx(list, i);
		double y = y_of(p, (double)json_number(r, NULL, "dirty-bytes-rate", NULL));

		fprintf(f, "%.2f,%.2f %.2f,%.2f ", x_of(p, json_number(before, NULL, "at-us", NULL)),
			y, x_of(p, json_number(r, NULL, "at-us", NULL)), y);
		if (json_number(r, NULL, "stopped", NULL))
			break;
	}
	fputs("\"/>\n", f);
}

static void key(FILE *f, const char *class, const char *name)
{
	fprintf(f, "<span class=\"key\"><svg viewBox=\"0 0 10 10\"><rect class=\"%s\" width=\"10\" "
		"height=\"10\"/></svg></span>%s &nbsp; ", class, name);
}

static void timeline(FILE *f, struct json_object *list)
{
	struct plot p = scales(list);
	size_t i;

	fprintf(f, "<h2>Rounds</h2>\n<svg role=\"img\" aria-label=\"throughput and dirty rate over "
		"time\" viewBox=\"0 0 %d %d\">\n", LEFT + WIDTH + 30, TOP + HEIGHT + 26);
	axes(f, &p);
	for (i = 0; i < json_object_array_length(list); i++)
		round_bar(f, &p, json_object_array_get_idx(list, i));
	dirty_line(f, &p, list);
	fputs("</svg>\n<p class=\"note\">", f);
	key(f, "sent", "throughput of a round");
	key(f, "stopped", "the same, guest stopped");
	key(f, "p4", "dirty rate");
	fputs("A round too short to see may reach beyond the scale; the table has it.</p>\n", f);
}

static void round_table(FILE *f, struct json_object *list)
{
	size_t i;

	fputs("<details>\n<summary>The rounds in figures</summary>\n<table class=\"rounds\">\n"
	      "<thead><tr>", f);
	for (i = 0; i < json_object_array_length(list); i++) {
		struct json_object *r = json_object_array_get_idx(list, i);

		if (!i) {
			json_object_object_foreach(r, name, unused) {
				(void)unused;
				fputs("<th class=\"n\">", f);
				text(f, name);
				fputs("</th>", f);
			}
			fputs("</tr></thead>\n<tbody>\n", f);
		}
		fputs("<tr>", f);
		json_object_object_foreach(r, member, v) {
			(void)member;
			fputs("<td class=\"n\">", f);
			text(f, plain(v));
			fputs("</td>", f);
		}
		fputs("</tr>\n", f);
	}
	fputs("</tbody>\n</table>\n</details>\n", f);
}

static void rounds(FILE *f, struct json_object *info)
{
	struct json_object *list = ours(info, "rounds");

	if (!list || !json_object_is_type(list, json_type_array) ||
	    !json_object_array_length(list)) {
		fputs("<p>Rounds are told by the source's daemon.</p>\n", f);
		return;
	}
	timeline(f, list);
	round_table(f, list);
}

/* Find the expected value of a part: "expected-pages-us" for "downtime-pages-us". */
static bool expected_part(struct json_object *x, const char *part, uint64_t *ret)
{
	char name[64];
	bool has;

	snprintf(name, sizeof(name), "expected-%s", part + DOWNTIME_PREFIX);
	*ret = json_number(x, NULL, name, &has);
	return has;
}

/* Draws a bar of all parts; with @expected one of the estimated parts. */
static void part_bar(FILE *f, struct json_object *x, bool expected, double scale)
{
	double at = 0;
	unsigned int i = 0;

	fprintf(f, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", LEFT - 6,
		BAR_Y(expected) + BAR_HEIGHT / 2.0 + 4, expected ? "expected" : "achieved");
	json_object_object_foreach(x, part, v) {
		uint64_t us = json_object_get_uint64(v);
		double width;

		if (!downtime_part(part))
			continue;
		if (expected)
			expected_part(x, part, &us);
		width = (double)us / scale * WIDTH;
		fprintf(f, "<rect class=\"p%u%s\" x=\"%.2f\" y=\"%d\" width=\"%.2f\" "
			"height=\"%d\"/>\n", i++ % 7, expected ? " e" : "", LEFT + at,
			BAR_Y(expected), width, BAR_HEIGHT);
		if (width > 90)
			fprintf(f, "<text class=\"in\" x=\"%.2f\" y=\"%.1f\" "
				"text-anchor=\"middle\">%.*s %.1f ms</text>\n",
				LEFT + at + width / 2, BAR_Y(expected) + BAR_HEIGHT / 2.0 + 4,
				(int)downtime_part(part), part + DOWNTIME_PREFIX,
				(double)us / 1000);
		at += width;
	}
}

static void part_table(FILE *f, struct json_object *x, uint64_t achieved, uint64_t expected)
{
	unsigned int i = 0;

	fputs("<table class=\"downtime\">\n<thead><tr><th>Part</th><th class=\"n\">achieved, us</th>"
	      "<th class=\"n\">expected, us</th></tr></thead>\n<tbody>\n", f);
	json_object_object_foreach(x, name, v) {
		uint64_t us;

		if (!downtime_part(name))
			continue;
		fprintf(f, "<tr><td><span class=\"key\"><svg viewBox=\"0 0 10 10\"><rect "
			"class=\"p%u\" width=\"10\" height=\"10\"/></svg></span>%.*s</td>"
			"<td class=\"n\">%" PRIu64 "</td><td class=\"n\">", i++ % 7,
			(int)downtime_part(name), name + DOWNTIME_PREFIX, json_object_get_uint64(v));
		if (expected_part(x, name, &us))
			fprintf(f, "%" PRIu64, us);
		fputs("</td></tr>\n", f);
	}
	fprintf(f, "<tr><th>whole</th><td class=\"n\">%" PRIu64 "</td><td class=\"n\">", achieved);
	if (expected)
		fprintf(f, "%" PRIu64, expected);
	fputs("</td></tr>\n</tbody>\n</table>\n", f);
}

static void downtime(FILE *f, struct json_object *info)
{
	uint64_t achieved = json_number(info, "drover", "downtime-us", NULL);
	uint64_t expected = json_number(info, "drover", "expected-downtime-us", NULL);
	double scale = (double)(achieved > expected ? achieved : expected);
	struct json_object *x = NULL;

	if (!achieved || !json_object_object_get_ex(info, "drover", &x))
		return;
	fprintf(f, "<h2>Downtime</h2>\n<svg role=\"img\" aria-label=\"parts of the downtime, achieved "
		"and expected\" viewBox=\"0 0 %d %d\">\n", LEFT + WIDTH + 30,
		BAR_Y(expected > 0) + BAR_HEIGHT);
	part_bar(f, x, false, scale);
	if (expected)
		part_bar(f, x, true, scale);
	fputs("</svg>\n", f);
	part_table(f, x, achieved, expected);
}

static void channels(FILE *f, struct json_object *info)
{
	struct json_object *list = ours(info, "channels");
	size_t i;

	if (!list || !json_object_is_type(list, json_type_array))
		return;
	fputs("<h2>Channels</h2>\n<table>\n<thead><tr><th>Channel</th><th class=\"n\">sent, bytes</th>"
	      "<th class=\"n\">received, bytes</th></tr></thead>\n<tbody>\n", f);
	for (i = 0; i < json_object_array_length(list); i++) {
		struct json_object *o = json_object_array_get_idx(list, i);

		fputs("<tr><td>", f);
		text(f, json_text(o, NULL, "name"));
		fprintf(f, "</td><td class=\"n\">%" PRIu64 "</td><td class=\"n\">%" PRIu64
			"</td></tr>\n", json_number(o, NULL, "tx-bytes", NULL),
			json_number(o, NULL, "rx-bytes", NULL));
	}
	fputs("</tbody>\n</table>\n", f);
}

static void members(FILE *f, struct json_object *o)
{
	json_object_object_foreach(o, name, v) {
		if (!json_object_is_type(v, json_type_object) &&
		    !json_object_is_type(v, json_type_array))
			row(f, name, plain(v));
	}
}

void report_html(FILE *f, struct json_object *info, struct json_object *config)
{
	struct json_object *ram = NULL, *x = NULL;

	fputs(head, f);
	summary(f, info, config);
	rounds(f, info);
	downtime(f, info);
	report_waits(f, info);
	channels(f, info);
	fputs("<details>\n<summary>All numbers</summary>\n<table>\n", f);
	members(f, info);
	if (json_object_object_get_ex(info, "ram", &ram))
		members(f, ram);
	if (json_object_object_get_ex(info, "drover", &x))
		members(f, x);
	fputs("</table>\n</details>\n<details>\n<summary>Options</summary>\n<table>\n", f);
	members(f, config);
	fputs("</table>\n</details>\n<p class=\"note\">Written by droverctl " DROVER_VERSION ".</p>\n"
	      "</body>\n</html>\n", f);
}
