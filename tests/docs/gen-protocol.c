// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Prints the tables of the protocol as reStructuredText: `gen-protocol messages`, `phases`,
 * `states`, `statistics` or `tracepoints`. The pages are included by Documentation/protocol.rst and its kin.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/state.h"
#include "wire/phase.h"

static const char header[] =
	".. SPDX-License-Identifier: GPL-2.0-or-later\n"
	".. Generated from %s; do not edit.\n\n"
	".. list-table::\n"
	"   :header-rows: 1\n\n";

static void row(const char *cell)
{
	printf("   * - %s\n", cell);
}

static void cell(const char *text)
{
	printf("     -%s%s\n", *text ? " " : "", text);
}

static void range(uint64_t min, uint64_t max)
{
	if (min == max)
		printf("     - %" PRIu64 "\n", min);
	else
		printf("     - %" PRIu64 " to %" PRIu64 "\n", min, max);
}

static void channels(unsigned int bits)
{
	printf("     - %s%s%s%s%s\n", bits & DROVER_ON_M ? "main" : "",
	       bits & DROVER_ON_M && bits & ~(unsigned int)DROVER_ON_M ? ", " : "",
	       bits & DROVER_ON_D ? "data" : "",
	       bits & DROVER_ON_D && bits & DROVER_ON_P ? ", " : "",
	       bits & DROVER_ON_P ? "postcopy" : "");
}

static const char *const sender[] = { "", "source", "destination", "both" };

/* Nothing for all three of them. */
static void modes(unsigned int bits, char *text, size_t room)
{
	unsigned int bit;
	size_t used = 0;

	text[0] = '\0';
	for (bit = 1; bit <= DROVER_WIRE_POSTCOPY; bit <<= 1)
		if ((bits & bit) && bits != 7)
			used += (size_t)snprintf(text + used, room - used, "%s%s", used ? ", " : "",
						 drover_wire_mode_name((enum drover_wire_mode)bit));
}

/* The second table of the page: when each message may come. */
static void whens(void)
{
	const struct drover_msg_when *w;
	size_t i, n;

	printf("\n.. list-table::\n   :header-rows: 1\n\n");
	row("Message");
	cell("From");
	cell("On channels");
	cell("Mode");
	cell("In phases");
	w = drover_msg_whens(&n);
	for (i = 0; i < n; i++) {
		const char *comma = " ";
		char in[48];
		int p;

		printf("   * - ``%s``\n", drover_msg_info(w[i].nr)->name);
		cell(sender[w[i].from & 3]);
		channels(w[i].channels);
		modes(w[i].modes, in, sizeof(in));
		cell(*in ? in : "any");
		printf("     -");
		for (p = 0; p < DROVER_PHASE_COUNT; p++)
			if (w[i].phases >> p & 1) {
				printf("%s``%s``", comma, drover_phase_info((enum drover_phase)p)->name);
				comma = ", ";
			}
		printf("\n");
	}
}

static int messages(void)
{
	const struct drover_msg_info *m;
	size_t i, n;

	printf(header, "userspace/wire/messages.def");
	row("Type");
	cell("Name");
	cell("Sent by");
	cell("On channels");
	cell("Body, bytes");
	cell("Payload, bytes");
	cell("Meaning");
	m = drover_msg_table(&n);
	for (i = 0; i < n; i++) {
		printf("   * - %u\n     - ``%s``\n", m[i].nr, m[i].name);
		cell(sender[m[i].from & 3]);
		channels(m[i].channels);
		range(m[i].min_body, m[i].max_body);
		range(0, m[i].max_payload);
		cell(m[i].doc);
	}
	whens();
	return 0;
}

/* "the first DISCARD: DISCARDING" for each way that leads on */
static void ways_on(enum drover_phase from)
{
	const struct drover_phase_edge *edge;
	const char *sep = " ";
	char in[48];
	size_t i, n;

	printf("     -");
	edge = drover_phase_edges(&n);
	for (i = 0; i < n; i++) {
		if (edge[i].from != from)
			continue;
		modes(edge[i].modes, in, sizeof(in));
		printf("%s%s: ``%s``%s%s%s", sep, edge[i].doc, drover_phase_info(edge[i].to)->name,
		       *in ? " (" : "", in, *in ? ")" : "");
		sep = "; ";
	}
	printf("\n");
}

static int phases(void)
{
	int p;

	printf(header, "userspace/wire/phases.def");
	row("Phase");
	cell("What it is");
	cell("Left by, for");
	for (p = 0; p < DROVER_PHASE_COUNT; p++) {
		const struct drover_phase_info *info = drover_phase_info((enum drover_phase)p);

		printf("   * - ``%s``\n", info->name);
		cell(info->doc);
		ways_on((enum drover_phase)p);
	}
	return 0;
}

static void followers(enum drover_state from, bool source)
{
	const char *comma = " ";
	int to;

	printf("     -");
	for (to = 0; to < DROVER_STATE_COUNT; to++)
		if (drover_state_edge(from, (enum drover_state)to, source)) {
			printf("%s%s", comma, drover_state_name((enum drover_state)to));
			comma = ", ";
		}
	printf("\n");
}

static int states(void)
{
	int s;

	printf(header, "userspace/engine/states.def");
	row("State");
	cell("Running");
	cell("May be followed on the source by");
	cell("On the destination by");
	for (s = 0; s < DROVER_STATE_COUNT; s++) {
		printf("   * - ``%s``\n", drover_state_name((enum drover_state)s));
		cell(drover_state_running((enum drover_state)s) ? "yes" : "no");
		followers((enum drover_state)s, true);
		followers((enum drover_state)s, false);
	}
	return 0;
}

static int statistics(void)
{
	static const struct {
		const char *group, *json, *type, *unit, *doc;
	} stats[] = {
#define STAT(group, json, member, type, unit, doc) { #group, json, #type, unit, doc },
#include "engine/stats.def"
#undef STAT
	};
	size_t i;

	printf(header, "userspace/engine/stats.def");
	row("Member of query-migrate's answer");
	cell("Type");
	cell("Unit");
	cell("Meaning");
	for (i = 0; i < sizeof(stats) / sizeof(stats[0]); i++) {
		const char *group = stats[i].group;

		printf("   * - ``%s%s``\n", !strcmp(group, "ram") ? "ram." :
		       !strcmp(group, "x") ? "drover." : "", stats[i].json);
		cell(!strcmp(stats[i].type, "f64") ? "number" : "integer");
		/* A lone % reads as the line under a title. */
		cell(!strcmp(stats[i].unit, "%") ? "percent" : stats[i].unit);
		cell(stats[i].doc);
	}
	printf("\n``drover.rounds`` holds an object a round, at the source:\n\n");
	printf(".. list-table::\n   :header-rows: 1\n\n");
	row("Member");
	cell("Unit");
	cell("Meaning");
#define ROUND(member, json, merge, unit, doc) \
	printf("   * - ``%s``\n", json); \
	cell(unit); \
	cell(doc);
#include "engine/rounds.def"
#undef ROUND
	return 0;
}

static int tracepoints(void)
{
	printf(header, "userspace/base/trace.def");
	row("Tracepoint");
	cell("Arguments");
	cell("When");
#define NAME(name) printf("   * - ``%s``\n", #name)
#define TRACE1(name, doc, t1, a1) NAME(name); cell(#a1); cell(doc);
#define TRACE2(name, doc, t1, a1, t2, a2) NAME(name); cell(#a1 ", " #a2); cell(doc);
#define TRACE3(name, doc, t1, a1, t2, a2, t3, a3) \
	NAME(name); cell(#a1 ", " #a2 ", " #a3); cell(doc);
#define TRACE4(name, doc, t1, a1, t2, a2, t3, a3, t4, a4) \
	NAME(name); cell(#a1 ", " #a2 ", " #a3 ", " #a4); cell(doc);
#include "base/trace.def"
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*print)(void);
	} page[] = {
		{ "messages", messages }, { "phases", phases }, { "states", states },
		{ "statistics", statistics }, { "tracepoints", tracepoints },
	};
	size_t i;

	for (i = 0; argc == 2 && i < sizeof(page) / sizeof(page[0]); i++)
		if (!strcmp(argv[1], page[i].name))
			return page[i].print();
	fprintf(stderr, "usage: gen-protocol messages|phases|states|statistics|tracepoints\n");
	return 2;
}
