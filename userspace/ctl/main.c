// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * droverctl: a command line for a droverd, over QMP. Verbs and options are two tables, from which
 * parsing, usage and help are made. Exit status: 0 done, 1 failed, 2 wrong usage.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"
#include "ctl/ctl.h"
#include "engine/hostlimit.h"
#include "qmp/client.h"

static const struct ctl_verb verbs[] = {
#define VERB(f, n, a, least, most, opts, h, more)                                          \
	{ .name = n, .args = a, .min = least, .max = most, .options = opts, .fn = verb_##f, .help = h },
#include "ctl/verbs.def"
#undef VERB
};

enum {
	OPT_FIRST = 255,        /* above every character, which getopt uses for short options */
#define FLAG(id, n, a, v, h) OPT_##id,
#include "ctl/flags.def"
#undef FLAG
};

/* @verb: the CTL_OPT_* bit of an option that only some verbs take; 0: all verbs take it */
static const struct {
	int id;
	const char *name;
	const char *arg;
	unsigned int verb;
	const char *help;
} options[] = {
#define FLAG(i, n, a, v, h) { .id = OPT_##i, .name = n, .arg = a, .verb = v, .help = h },
#include "ctl/flags.def"
#undef FLAG
};

#define NOPTIONS DROVER_ARRAY_SIZE(options)

static void usage(FILE *f)
{
	char left[64];
	size_t i;

	fprintf(f, "usage: droverctl [-s PATH] VERB [ARGUMENT]... [OPTION]...\n\n");
	for (i = 0; i < DROVER_ARRAY_SIZE(verbs); i++) {
		snprintf(left, sizeof(left), "%s %s", verbs[i].name, verbs[i].args);
		fprintf(f, "  %-24s %s\n", left, verbs[i].help);
	}
	fputc('\n', f);
	for (i = 0; i < NOPTIONS; i++) {
		snprintf(left, sizeof(left), "--%s %s", options[i].name,
			 options[i].arg ? options[i].arg : "");
		fprintf(f, "  %-24s %s\n", left, options[i].help);
	}
}

int ctl_usage(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "droverctl: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\nTry 'droverctl --help'.\n");
	return CTL_USAGE;
}

void ctl_print_json(struct json_object *o)
{
	puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY |
					    JSON_C_TO_STRING_NOSLASHESCAPE));
	fflush(stdout);
}

int ctl_fail(const struct ctl *c, const struct drover_error *e)
{
	_cleanup_json_ struct json_object *o = NULL;
	struct json_object *err;

	if (!c->json) {
		fprintf(stderr, "droverctl: %s\n", e->msg);
		return CTL_FAILED;
	}
	o = json_object_new_object();
	err = json_object_new_object();
	json_object_object_add(err, "desc", json_object_new_string(e->msg));
	json_object_object_add(o, "error", err);
	ctl_print_json(o);
	return CTL_FAILED;
}

int ctl_connect(struct ctl *c)
{
	struct drover_error e = DROVER_ERROR_INIT;

	if (c->client)
		return CTL_DONE;
	if (!c->socket || !*c->socket)
		return ctl_usage("no socket: give -s PATH or set DROVER_SOCKET");
	if (qmp_client_connect(c->socket, CTL_TIMEOUT_MS, &c->client, &e) < 0)
		return ctl_fail(c, &e);
	return CTL_DONE;
}

int ctl_call(struct ctl *c, const char *command, struct json_object *args,
	     struct json_object **ret)
{
	struct drover_error e = DROVER_ERROR_INIT;
	int status = ctl_connect(c);

	if (status != CTL_DONE) {
		json_object_put(args);
		return status;
	}
	if (qmp_client_call(c->client, command, args, CTL_TIMEOUT_MS, ret, &e) < 0)
		return ctl_fail(c, &e);
	return CTL_DONE;
}

int ctl_do(struct ctl *c, const char *command, struct json_object *args)
{
	_cleanup_json_ struct json_object *ret = NULL;
	int status = ctl_call(c, command, args, &ret);

	if (status == CTL_DONE && c->json)
		ctl_print_json(ret);
	return status;
}

static bool list_add(struct ctl_list *l, const char *item)
{
	if (l->n == CTL_LIST_MAX)
		return false;
	l->item[l->n++] = item;
	return true;
}

/* Returns -1 to go on, else the exit status. */
static int take_option(struct ctl *c, int id)
{
	bool ok = true;

	switch (id) {
	case 's':
	case OPT_SOCKET:
		c->socket = optarg;
		break;
	case OPT_JSON:
		c->json = true;
		break;
	case OPT_CONFIG:
		c->config_file = optarg;
		break;
	case OPT_SET:
		ok = list_add(&c->set, optarg);
		break;
	case OPT_CHANNEL:
		ok = list_add(&c->channel, optarg);
		break;
	case OPT_FORCE:
		c->force = optarg;
		break;
	case OPT_FILE:
		c->file = optarg;
		break;
	case OPT_GOAL:
		c->goal = optarg;
		break;
	case OPT_DISCARD:
		c->discard = true;
		break;
	case OPT_EXPLAIN:
		c->explain = true;
		break;
	case OPT_POSTCOPY_AFTER:
		c->postcopy_after = optarg;
		break;
	case OPT_WAIT:
		break;
	case OPT_VERSION:
		puts("droverctl " DROVER_VERSION);
		return CTL_DONE;
	case OPT_HELP:
		usage(stdout);
		return CTL_DONE;
	default:
		fprintf(stderr, "Try 'droverctl --help'.\n");
		return CTL_USAGE;
	}
	return ok ? -1 : ctl_usage("an option is given more than %d times", CTL_LIST_MAX);
}

static unsigned int option_bit(int id)
{
	size_t i;

	for (i = 0; i < NOPTIONS; i++)
		if (options[i].id == id)
			return options[i].verb;
	return 0;
}

static int parse(struct ctl *c, int argc, char **argv)
{
	struct option lopts[NOPTIONS + 1] = { 0 };
	int id, status;
	size_t i;

	for (i = 0; i < NOPTIONS; i++) {
		lopts[i].name = options[i].name;
		lopts[i].has_arg = options[i].arg ? required_argument : no_argument;
		lopts[i].val = options[i].id;
	}
	while ((id = getopt_long(argc, argv, "s:", lopts, NULL)) != -1) {
		status = take_option(c, id);
		if (status >= 0)
			return status;
		c->given |= option_bit(id);
	}
	c->arg = argv + optind;
	c->nargs = argc - optind;
	return -1;
}

static int run_verb(struct ctl *c)
{
	const char *name = c->nargs ? c->arg[0] : NULL;
	size_t i;

	if (!name) {
		usage(stderr);
		return CTL_USAGE;
	}
	c->arg++;
	c->nargs--;
	for (i = 0; i < DROVER_ARRAY_SIZE(verbs); i++) {
		const struct ctl_verb *v = &verbs[i];

		if (strcmp(v->name, name) != 0)
			continue;
		if (c->nargs < v->min || (v->max >= 0 && c->nargs > v->max))
			return ctl_usage("%s: arguments must be: %s", name,
					 *v->args ? v->args : "none");
		if (c->given & ~v->options)
			return ctl_usage("%s: an option of another verb was given", name);
		return v->fn(c);
	}
	return ctl_usage("%s: no such verb", name);
}

int main(int argc, char **argv)
{
	struct ctl c = { .socket = getenv("DROVER_SOCKET") };
	int status = parse(&c, argc, argv);

	if (status >= 0)
		return status;
	signal(SIGPIPE, SIG_DFL);
	status = run_verb(&c);
	qmp_client_free(c.client);
	if (fflush(stdout) != 0)
		status = CTL_FAILED;
	return status;
}
