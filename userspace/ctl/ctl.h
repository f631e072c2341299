/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_CTL_CTL_H
#define DROVER_CTL_CTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct drover_error;
struct json_object;
struct qmp_client;

/* Exit statuses */
enum { CTL_DONE = 0, CTL_FAILED = 1, CTL_USAGE = 2 };

/* How long droverctl waits for an answer; the daemon answers every command at once. */
#define CTL_TIMEOUT_MS 10000

/* The options that a verb takes, beside those that all verbs take. */
#define CTL_OPT_CONFIG  (1u << 0)
#define CTL_OPT_SET     (1u << 1)
#define CTL_OPT_CHANNEL (1u << 2)
#define CTL_OPT_WAIT    (1u << 3)
#define CTL_OPT_FORCE   (1u << 4)
#define CTL_OPT_GOAL    (1u << 5)
#define CTL_OPT_POSTCOPY_AFTER (1u << 6)
#define CTL_OPT_FILE    (1u << 8)
#define CTL_OPT_DISCARD (1u << 9)

#define CTL_LIST_MAX 512

/** struct ctl_list - the values of a repeatable option, in order; the strings are argv's */
struct ctl_list {
	const char *item[CTL_LIST_MAX];
	unsigned int n;
};

/**
 * struct ctl - one run of droverctl
 * @socket: path of the daemon's QMP socket
 * @json: print the daemon's answer as it is
 * @goal: value of --goal, or NULL
 * @postcopy_after: value of --postcopy-after, or NULL
 * @explain: print the config and don't migrate
 * @discard: incoming gives up an image that may be the only one
 * @given: the CTL_OPT_* that were given
 * @arg, @nargs: the arguments after the verb
 * @client: made by ctl_connect(), freed by main()
 */
struct ctl {
	const char *socket;
	bool json, explain, discard;
	unsigned int given;
	const char *config_file;
	const char *force;
	const char *goal;
	const char *postcopy_after;
	const char *file;
	struct ctl_list set, channel;
	char **arg;
	int nargs;
	struct qmp_client *client;
};

/**
 * struct ctl_verb - a row of the table that parsing, help and completion use
 * @args: synopsis of the arguments after the name
 * @min, @max: number of arguments; @max -1: any number
 * @options: the CTL_OPT_* that are allowed
 * @fn: returns the exit status
 */
struct ctl_verb {
	const char *name;
	const char *args;
	int min, max;
	unsigned int options;
	int (*fn)(struct ctl *c);
	const char *help;
};

/* main.c */
int ctl_connect(struct ctl *c);
/* Print a failure, as JSON with --json, else as text; returns CTL_FAILED. */
int ctl_fail(const struct ctl *c, const struct drover_error *e);
/* Print what is wrong with the command line; returns CTL_USAGE. */
int ctl_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/*
 * Connect if that is not done yet, and call a command; takes over @args. Returns CTL_DONE, or
 * CTL_FAILED after it has printed the failure.
 */
int ctl_call(struct ctl *c, const char *command, struct json_object *args,
	     struct json_object **ret);
/* Call a command whose answer is empty; --json prints the answer. */
int ctl_do(struct ctl *c, const char *command, struct json_object *args);
void ctl_print_json(struct json_object *o);

/* verb-*.c */
#define VERB(function, name, args, least, most, options, help, more)                       \
	int verb_##function(struct ctl *c);
#include "ctl/verbs.def"
#undef VERB

/* verb-migrate.c: put `channels` into @args if --channel was given, else `uri`. */
int ctl_add_address(const struct ctl *c, struct json_object *args, struct drover_error *e);

/* verb-config.c: NAME=VALUE by the table of options */
/**
 * ctl_parse_set() - put NAME=VALUE into an object
 * @defaults: whether NAME=default puts the default's value there, or removes the member
 *
 * Return: 0, or -EINVAL with a message that names the option.
 */
int ctl_parse_set(struct json_object *o, const char *text, bool defaults, struct drover_error *e);

/* Follow the migration to its end. @quiet: print nothing until then. */
int ctl_follow(struct ctl *c, bool quiet);

#endif
