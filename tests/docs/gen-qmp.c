// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Commands and events of droverd as reStructuredText, from its tables;
 * gen-qmp jobs: how a migration's states show as a job's.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "daemon/qmp.h"

struct doc_command {
	const char *name;
	struct qmp_arg arg[QMP_ARGS_MAX + 1];
	unsigned int flags;
	const char *doc;
};

static const struct doc_command commands[] = {
#define COMMAND(function, name, flags, doc, ...) { name, { __VA_ARGS__ }, flags, doc },
#include "daemon/commands.def"
};

static const struct {
	const char *name;
	bool option;
	const char *doc;
} events[] = {
#define EVENT(id, name, option, data, doc) { name, option, doc },
#define OWN_EVENT(name, doc) { name, false, doc },
#include "daemon/events.def"
};

static const char *const types[] = {
	[QMP_STR] = "string",
	[QMP_INT] = "integer",
	[QMP_BOOL] = "boolean",
	[QMP_OBJECT] = "object",
	[QMP_ARRAY] = "array",
};

static void print_command(const struct doc_command *c)
{
	const struct qmp_arg *a;

	printf("``%s``%s\n  %s\n\n", c->name, c->flags & QMP_OOB ? " (also out of band)" : "",
	       c->doc);
	for (a = c->arg; a->name; a++)
		printf("  - ``%s`` (%s%s): %s\n", a->name, types[a->type],
		       a->optional ? ", optional" : "", a->doc);
	if (c->arg[0].name)
		putchar('\n');
}

static const struct {
	const char *state;
	const char *status;
} jobs[] = {
#define JOB_STATE(state, status) { #state, #status },
#include "daemon/job-status.def"
};

static void print_low(const char *name)
{
	for (; *name; name++)
		putchar(*name == '_' ? '-' : tolower((unsigned char)*name));
}

static int print_jobs(void)
{
	size_t i;

	puts(".. SPDX-License-Identifier: GPL-2.0-or-later\n"
	     ".. Generated from job-status.def of userspace/daemon by gen-qmp.\n\n"
	     ".. list-table::\n   :header-rows: 1\n\n   * - migration's status\n     - job's status");
	for (i = 0; i < sizeof(jobs) / sizeof(jobs[0]); i++) {
		printf("   * - ");
		print_low(jobs[i].state);
		printf("\n     - ");
		print_low(jobs[i].status);
		putchar('\n');
	}
	return 0;
}

int main(int argc, char **argv)
{
	size_t i;

	if (argc > 1 && strcmp(argv[1], "jobs") == 0)
		return print_jobs();
	puts(".. SPDX-License-Identifier: GPL-2.0-or-later\n"
	     ".. Generated from commands.def and events.def of userspace/daemon by gen-qmp.\n\n"
	     "Commands\n========\n");
	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		print_command(&commands[i]);
	puts("Events\n======\n");
	for (i = 0; i < sizeof(events) / sizeof(events[0]); i++)
		printf("``%s``%s\n  %s\n\n", events[i].name,
		       events[i].option ? " (only with the option ``events``)" : "", events[i].doc);
	return 0;
}
