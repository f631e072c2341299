// SPDX-License-Identifier: GPL-2.0-or-later
/* Prints a table of droverctl for its man page: gen-ctl verbs|options|goals. */
#include <stdio.h>
#include <string.h>

#include "ctl/ctl.h"
#include "engine/hostlimit.h"

static const struct {
	const char *name, *args, *help, *more;
	unsigned int options;
} verbs[] = {
#define VERB(f, n, a, least, most, opts, h, m)                                             \
	{ .name = n, .args = a, .help = h, .more = m, .options = opts },
#include "ctl/verbs.def"
#undef VERB
};

static const struct {
	const char *name, *arg, *help;
	unsigned int verb;
} flags[] = {
#define FLAG(i, n, a, v, h) { .name = n, .arg = a, .help = h, .verb = v },
#include "ctl/flags.def"
#undef FLAG
};

static const struct {
	const char *name, *arg, *doc;
} goals[] = {
#define GOAL(n, a, d) { n, a, d },
#define SETS(option, value, when, why)
#include "ctl/goals.def"
#undef GOAL
#undef SETS
};

#define N(a) (sizeof(a) / sizeof((a)[0]))

static void flag_name(size_t i, const char *before, const char *after)
{
	printf("%s--%s%s%s%s", before, flags[i].name, flags[i].arg ? " " : "",
	       flags[i].arg ? flags[i].arg : "", after);
}

static void print_verbs(void)
{
	size_t i, k;

	for (i = 0; i < N(verbs); i++) {
		printf("``%s%s%s", verbs[i].name, *verbs[i].args ? " " : "", verbs[i].args);
		for (k = 0; k < N(flags); k++)
			if (flags[k].verb & verbs[i].options)
				flag_name(k, " [", "]");
		printf("``\n  %s%s%s\n", verbs[i].help, verbs[i].more ? ". " : "",
		       verbs[i].more ? verbs[i].more : "");
	}
}

static void print_options(void)
{
	size_t i;

	for (i = 0; i < N(flags); i++) {
		flag_name(i, strcmp(flags[i].name, "socket") == 0 ? "``-s PATH``, ``" : "``", "``\n");
		printf("  %s\n", flags[i].help);
	}
}

static void print_goals(void)
{
	size_t i;

	for (i = 0; i < N(goals); i++)
		printf("``%s%s%s``\n  %s\n", goals[i].name, goals[i].arg ? "=" : "",
		       goals[i].arg ? goals[i].arg : "", goals[i].doc);
}

int main(int argc, char **argv)
{
	const char *what = argc == 2 ? argv[1] : "";

	printf(".. SPDX-License-Identifier: GPL-2.0-or-later\n"
	       ".. Generated from userspace/ctl/*.def; do not edit.\n\n");
	if (strcmp(what, "verbs") == 0)
		print_verbs();
	else if (strcmp(what, "options") == 0)
		print_options();
	else if (strcmp(what, "goals") == 0)
		print_goals();
	else
		return 2;
	return 0;
}
