// SPDX-License-Identifier: GPL-2.0-or-later
/* The verb `status`: prints the state of guest and migration in a few lines. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "ctl/ctl.h"
#include "ctl/progress.h"

static void row(const char *name, const char *text)
{
	if (*text)
		printf("%-12s%s\n", name, text);
}

static void row_text(struct json_object *info, const char *name, const char *outer,
		     const char *member)
{
	row(name, json_text(info, outer, member));
}

static void listening(struct json_object *info)
{
	struct json_object *list = NULL;
	size_t i;

	if (!json_object_object_get_ex(info, "socket-address", &list))
		return;
	for (i = 0; i < json_object_array_length(list); i++)
		row("listening", json_object_to_json_string_ext(
			    json_object_array_get_idx(list, i),
			    JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
}

static void bad_pages(struct json_object *info)
{
	struct json_object *x = NULL, *list = NULL;
	size_t i;

	if (!json_object_object_get_ex(info, "drover", &x) ||
	    !json_object_object_get_ex(x, "bad-pages", &list))
		return;
	for (i = 0; i < json_object_array_length(list); i++)
		row("bad page", json_object_get_string(json_object_array_get_idx(list, i)));
}

/* Print "downtime 6.2 ms: pause 0.1, ...", the parts in the order in which they happen. */
static void downtime(struct json_object *info)
{
	struct json_object *x = NULL;
	char text[512];
	size_t n;
	bool has;
	double us = (double)json_number(info, "drover", "downtime-us", &has);

	if (!has || !json_object_object_get_ex(info, "drover", &x))
		return;
	n = (size_t)snprintf(text, sizeof(text), "%.1f ms", us / 1000);
	json_object_object_foreach(x, name, v) {
		unsigned int len = downtime_part(name);

		if (len && n < sizeof(text))
			n += (size_t)snprintf(text + n, sizeof(text) - n, ", %.*s %.1f", (int)len,
					      name + DOWNTIME_PREFIX,
					      (double)json_object_get_uint64(v) / 1000);
	}
	us = (double)json_number(info, "drover", "expected-downtime-us", &has);
	if (has && n < sizeof(text))
		snprintf(text + n, sizeof(text) - n, "; expected %.1f", us / 1000);
	row("downtime", text);
}

static void ram(struct json_object *info, const struct progress *p)
{
	char total[HUMAN_SIZE], sent[HUMAN_SIZE], left[HUMAN_SIZE];

	if (!p->has_ram)
		return;
	printf("%-12s%s total, %s sent, %s remaining, %" PRIu64 " zero pages\n", "ram",
	       human_bytes(p->total, total), human_bytes(p->transferred, sent),
	       human_bytes(p->remaining, left), json_number(info, "ram", "duplicate", NULL));
}

static void migration(struct json_object *info, struct json_object *config)
{
	char line[1400];
	struct progress p;

	progress_read(info, config, &p);
	if (!*p.status) {
		row("migration", "none");
		return;
	}
	if (progress_ended(&p))
		progress_verdict(&p, line, sizeof(line));
	else
		progress_line(&p, 512, false, line, sizeof(line));
	row("migration", line);
	progress_hint(&p, line, sizeof(line));
	row("", line);
	row_text(info, "side", "drover", "side");
	row_text(info, "peer", "drover", "peer");
	listening(info);
	ram(info, &p);
	downtime(info);
	row_text(info, "tracker", "drover", "tracker");
	row_text(info, "zero-copy", "drover", "zero-copy");
	row_text(info, "digest", "drover", "digest");
	bad_pages(info);
}

int verb_status(struct ctl *c)
{
	_cleanup_json_ struct json_object *status = NULL, *info = NULL, *both = NULL;
	_cleanup_json_ struct json_object *config = NULL;
	int r = ctl_call(c, "query-status", NULL, &status);

	if (r == CTL_DONE)
		r = ctl_call(c, "query-migrate", NULL, &info);
	if (r == CTL_DONE)
		r = ctl_call(c, "query-migrate-config", NULL, &config);
	if (r != CTL_DONE)
		return r;
	if (c->json) {
		both = json_object_new_object();
		json_object_object_add(both, "guest", TAKE_PTR(status));
		json_object_object_add(both, "migration", TAKE_PTR(info));
		ctl_print_json(both);
		return CTL_DONE;
	}
	row("guest", json_text(status, NULL, "status"));
	migration(info, config);
	return CTL_DONE;
}
