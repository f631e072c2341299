// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The part of a postcopy's report, at the destination, about how long the guest's threads waited
 * for missing pages: a histogram. There is none without postcopy-blocktime.
 */
#include <inttypes.h>
#include <json-c/json.h>

#include "ctl/progress.h"
#include "ctl/report.h"

#define BAR_WIDTH 600

static uint64_t count_at(struct json_object *dist, size_t i)
{
	return json_object_get_uint64(json_object_array_get_idx(dist, i));
}

/* Draws bucket N of the histogram: waits of [2^N, 2^(N+1)) us. */
static void bucket(FILE *f, uint64_t low, uint64_t count, uint64_t most)
{
	const char *unit = low < 1024 ? "us" : low < 1 << 20 ? "ms" : "s";
	uint64_t shown = low < 1024 ? low : low < 1 << 20 ? low >> 10 : low >> 20;

	fprintf(f, "<tr><td class=\"n\">%" PRIu64 " %s</td><td class=\"n\">%" PRIu64
		"</td><td style=\"width: %dpx\"><svg aria-hidden=\"true\" viewBox=\"0 0 %d 14\">"
		"<rect class=\"sent\" width=\"%.1f\" height=\"14\"/></svg></td></tr>\n", shown, unit,
		count, BAR_WIDTH, BAR_WIDTH, (double)count * BAR_WIDTH / (double)most);
}

void report_waits(FILE *f, struct json_object *info)
{
	uint64_t most = 0, total = json_number(info, "drover", "postcopy-waits", NULL);
	struct json_object *dist = NULL;
	size_t i, first = SIZE_MAX, last = 0;

	if (!total || !json_object_object_get_ex(info, "postcopy-latency-dist", &dist) ||
	    !json_object_is_type(dist, json_type_array))
		return;
	for (i = 0; i < json_object_array_length(dist); i++) {
		if (!count_at(dist, i))
			continue;
		if (first == SIZE_MAX)
			first = i;
		last = i;
		if (count_at(dist, i) > most)
			most = count_at(dist, i);
	}
	fprintf(f, "<h2>Waits for missing pages</h2>\n<p class=\"note\">%" PRIu64 " waits, %.1f us in "
		"the mean; for %" PRIu64 " ms all threads that ever waited did so at once.</p>\n"
		"<table>\n<thead><tr><th class=\"n\">from</th><th class=\"n\">waits</th><th></th></tr>"
		"</thead>\n<tbody>\n", total,
		(double)json_number(info, NULL, "postcopy-latency", NULL) / 1000,
		json_number(info, NULL, "postcopy-blocktime", NULL));
	for (i = first; i <= last && i < 63; i++)
		bucket(f, 1ull << i, count_at(dist, i), most);
	fputs("</tbody>\n</table>\n", f);
}
