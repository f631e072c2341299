// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Prints the ownership machine's tables as reStructuredText, for Documentation/ownership.rst:
 * gen-owner states|matrix|vmm|source|destination|answers|advice|words.
 */
#include <stdio.h>
#include <string.h>

#include "owner/advice.h"
#include "owner/machine.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))

struct word {
	const char *name, *doc;
};

static const struct word states[] = {
#define OWNER_STATE(id, name, doc, lead) { name, doc },
#include "owner/owner.def"
}, outcomes[] = {
#define OWNER_OUTCOME(id, name, doc) { name, doc },
#include "owner/owner.def"
}, events[] = {
#define OWNER_EVENT(id, name, from, doc) { name, doc },
#include "owner/owner.def"
}, guards[] = {
#define OWNER_GUARD(id, name, error, doc) { name, doc },
#include "owner/owner.def"
}, effects[] = {
#define OWNER_EFFECT(id, name, doc) { name, doc },
#include "owner/owner.def"
}, actions[] = {
#define OWNER_ACTION(id, name, doc) { name, doc },
#include "owner/owner.def"
}, replies[] = {
#define OWNER_REPLY(id, name, doc) { name, doc },
#include "owner/owner.def"
}, facts[] = {
#define OWNER_FACT(id, name, doc) { name, doc },
#include "owner/fact.def"
}, todos[] = {
#define OWNER_DO(id, name, doc) { name, doc },
#include "owner/do.def"
}, source_phases[] = {
#define OWNER_SRC_PHASE(id, name, doc) { name, doc },
#include "owner/source.def"
}, source_events[] = {
#define OWNER_SRC_EVENT(id, name, doc) { name, doc },
#include "owner/source.def"
}, dest_phases[] = {
#define OWNER_DST_PHASE(id, name, answers, doc) { name, doc },
#include "owner/dest.def"
}, dest_events[] = {
#define OWNER_DST_EVENT(id, name, doc) { name, doc },
#include "owner/dest.def"
}, classes[] = {
#define OWNER_CLASS(id, name, doc) { name, doc },
#include "owner/answer.def"
};

static void table(const char *const *heads, size_t n)
{
	size_t i;

	printf(".. list-table::\n   :header-rows: 1\n\n");
	for (i = 0; i < n; i++)
		printf("   %s - %s\n", i ? " " : "*", heads[i]);
}

static void cell(bool first, const char *text)
{
	printf("   %s -%s%s\n", first ? "*" : " ", *text ? " " : "", text);
}

/* Names of the bits that are set, one after the other. */
static void bits(uint32_t set, const struct word *w, size_t n)
{
	const char *comma = " ";
	size_t i;

	printf("     -");
	for (i = 0; i < n; i++)
		if (set & 1u << i) {
			printf("%s%s", comma, w[i].name);
			comma = ", ";
		}
	putchar('\n');
}

static void print_words(const struct word *w, size_t n, const char *what)
{
	const char *const heads[] = { what, "Meaning" };
	size_t i;

	table(heads, N(heads));
	for (i = 0; i < n; i++) {
		if (!*w[i].name)
			continue;
		printf("   * - ``%s``\n     - %s\n", w[i].name, w[i].doc);
	}
	putchar('\n');
}

static bool guarded(const struct owner_row *r)
{
	return !r[0].valid || r[0].guards & ~OWNER_GUARD_OF(SAME);
}

static void print_matrix(void)
{
	unsigned int st, ev, i;

	printf(".. list-table::\n   :header-rows: 1\n\n   * - Request\n");
	for (st = 0; st < OWNER_STATE_COUNT; st++)
		printf("     - %s\n", states[st].name);
	for (ev = 0; ev < OWNER_EV_COUNT; ev++) {
		printf("   * - ``%s``\n", events[ev].name);
		for (st = 0; st < OWNER_STATE_COUNT; st++) {
			const struct owner_row *r = owner_machine.vmm[st][ev];

			if (!r[0].valid) {
				cell(false, "\\-");
				continue;
			}
			printf("     - ");
			for (i = 0; i < OWNER_ALTS && r[i].valid; i++)
				if (!i || r[i].next != r[i - 1].next)
					printf("%s%s", i ? " or " : "",
					       r[i].next == st ? "=" : states[r[i].next].name);
			printf("%s\n", guarded(r) ? ", if" : "");
		}
	}
}

static void print_vmm(void)
{
	static const char *const heads[] = { "Request", "When", "If", "Then", "Changes", "Done",
					     "Answered" };
	unsigned int st, ev, i;

	table(heads, N(heads));
	for (ev = 0; ev < OWNER_EV_COUNT; ev++)
		for (st = 0; st < OWNER_STATE_COUNT; st++)
			for (i = 0; i < OWNER_ALTS; i++) {
				const struct owner_row *r = &owner_machine.vmm[st][ev][i];

				if (!r->valid)
					continue;
				printf("   * - ``%s``\n", events[ev].name);
				cell(false, states[st].name);
				bits(r->guards, guards, N(guards));
				cell(false, r->next == st ? "=" : states[r->next].name);
				bits(r->effects, effects, N(effects));
				bits(r->actions, actions, N(actions));
				cell(false, r->reply ? replies[r->reply - 1].name : "");
			}
}

static void request(unsigned int r, unsigned int by)
{
	if (r && by)
		printf("     - ``%s`` by %s\n", events[r - 1].name, owner_by_name(by));
	else if (r)
		printf("     - ``%s``\n", events[r - 1].name);
	else
		cell(false, "");
}

static const char *const side_heads[] = { "Phase", "Event", "If", "Then", "Request", "Done" };

static void print_source(void)
{
	unsigned int p, e, i;

	print_words(source_phases, N(source_phases), "Phase");
	print_words(source_events, N(source_events), "Event");
	table(side_heads, N(side_heads));
	for (p = 0; p < OWNER_SRC_PHASE_COUNT; p++)
		for (e = 0; e < OWNER_SRC_EV_COUNT; e++)
			for (i = 0; i < OWNER_DAEMON_ALTS; i++) {
				const struct owner_source_row *r = &owner_machine.source[p][e][i];

				if (!r->valid)
					continue;
				cell(true, source_phases[p].name);
				cell(false, source_events[e].name);
				bits(r->guards, facts, N(facts));
				cell(false, r->next == p ? "=" : source_phases[r->next].name);
				request(r->request, r->by);
				bits(r->actions, todos, N(todos));
			}
}

static void print_dest(void)
{
	unsigned int p, e, i;

	print_words(dest_phases, N(dest_phases), "Phase");
	print_words(dest_events, N(dest_events), "Event");
	table(side_heads, N(side_heads));
	for (p = 0; p < OWNER_DST_PHASE_COUNT; p++)
		for (e = 0; e < OWNER_DST_EV_COUNT; e++)
			for (i = 0; i < OWNER_DAEMON_ALTS; i++) {
				const struct owner_dest_row *r = &owner_machine.dest[p][e][i];

				if (!r->valid)
					continue;
				cell(true, dest_phases[p].name);
				cell(false, dest_events[e].name);
				bits(r->guards, facts, N(facts));
				cell(false, r->next == p ? "=" : dest_phases[r->next].name);
				request(r->request, 0);
				bits(r->actions, todos, N(todos));
			}
}

static void print_answers(void)
{
	static const char *const heads[] = { "What the record knows of t", "Meaning",
					     "To ask: request first", "Answer",
					     "To mine: request first" };
	unsigned int c;

	table(heads, N(heads));
	for (c = 0; c < OWNER_CLASS_COUNT; c++) {
		const struct owner_answer_row *ask = &owner_machine.answer[OWNER_QUESTION_ASK][c];

		cell(true, classes[c].name);
		cell(false, classes[c].doc);
		request(ask->request, 0);
		cell(false, replies[ask->reply - 1].name);
		request(owner_machine.answer[OWNER_QUESTION_MINE][c].request, 0);
	}
	putchar('\n');
	print_words(replies, N(replies), "Answer");
}

static void print_advice(void)
{
	static const char *const heads[] = { "Record", "You see", "You type", "What happens" };
	const struct owner_advice *a;
	size_t n, i;

	a = owner_advice_table(&n);
	table(heads, N(heads));
	for (i = 0; i < n; i++) {
		cell(true, states[a[i].state].name);
		cell(false, a[i].seen);
		cell(false, a[i].typed);
		cell(false, a[i].then);
	}
}

static void print_all_words(void)
{
	print_words(events, N(events), "Request or event");
	print_words(guards, N(guards), "If: else refused, since");
	print_words(effects, N(effects), "Changes");
	print_words(actions, N(actions), "Done by the library");
	print_words(facts, N(facts), "If, of a daemon: else refused, since");
	print_words(todos, N(todos), "Done by a daemon");
}

int main(int argc, char **argv)
{
	const char *page = argc == 2 ? argv[1] : "";

	printf(".. SPDX-License-Identifier: GPL-2.0-or-later\n"
	       ".. Generated from userspace/owner/*.def; do not edit.\n\n");
	if (!strcmp(page, "states")) {
		print_words(states, N(states), "State");
		print_words(outcomes, N(outcomes), "Outcome");
	} else if (!strcmp(page, "matrix")) {
		print_matrix();
	} else if (!strcmp(page, "vmm")) {
		print_vmm();
	} else if (!strcmp(page, "source")) {
		print_source();
	} else if (!strcmp(page, "destination")) {
		print_dest();
	} else if (!strcmp(page, "answers")) {
		print_answers();
	} else if (!strcmp(page, "advice")) {
		print_advice();
	} else if (!strcmp(page, "words")) {
		print_all_words();
	} else {
		return fprintf(stderr, "gen-owner: no such page\n"), 2;
	}
	return fflush(stdout) ? 1 : 0;
}
