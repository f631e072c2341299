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

/* Patience with a daemon that answers at once by contract. */
#define CTL_TIMEOUT_MS 10000

/* Which options a verb takes, beside those that all take. */
#define CTL_OPT_CONFIG  (1u << 0)
#define CTL_OPT_SET     (1u << 1)
#define CTL_OPT_CHANNEL (1u << 2)
#define CTL_OPT_WAIT    (1u << 3)
#define CTL_OPT_FORCE   (1u << 4)
#define CTL_OPT_GOAL    (1u << 5)
#define CTL_OPT_POSTCOPY_AFTER (1u << 6)
#define CTL_OPT_FILE    (1u << 8)

#define CTL_LIST_MAX 512

/** struct ctl_list - a repeatable option's values, in order; borrowed strings */
struct ctl_list {
	const char *item[CTL_LIST_MAX];
	unsigned int n;
};

/**
 * struct ctl - one run of droverctl
 * @socket: of the daemon
 * @json: print what the daemon said, as it said it
 * @goal: of --goal, or NULL
 * @postcopy_after: of --postcopy-after, or NULL
 * @explain: print the config and don't migrate
 * @given: CTL_OPT_* that were given
 * @arg, @nargs: what follows the verb
 * @client: connected by ctl_connect(), freed by main()
 */
struct ctl {
	const char *socket;
	bool json, explain;
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
 * @args: synopsis of what follows the name
 * @min, @max: number of arguments; @max -1: any
 * @options: CTL_OPT_* allowed
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
/* Report a failure as --json or text asks; returns CTL_FAILED. */
int ctl_fail(const struct ctl *c, const struct drover_error *e);
/* Report wrong usage; returns CTL_USAGE. */
int ctl_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Connect if need be and call; @args is taken over. CTL_DONE or reported CTL_FAILED */
int ctl_call(struct ctl *c, const char *command, struct json_object *args,
	     struct json_object **ret);
/* Call a command whose answer holds nothing; --json prints it. */
int ctl_do(struct ctl *c, const char *command, struct json_object *args);
void ctl_print_json(struct json_object *o);

/* verb-*.c */
#define VERB(function, name, args, least, most, options, help, more)                       \
	int verb_##function(struct ctl *c);
#include "ctl/verbs.def"
#undef VERB

/* verb-migrate.c: `channels` when --channel was given, else `uri`, into the arguments */
int ctl_add_address(const struct ctl *c, struct json_object *args, struct drover_error *e);

/* verb-config.c: NAME=VALUE by the option table */
/**
 * ctl_parse_set() - put NAME=VALUE into an object
 * @defaults: `default` puts the default's value; otherwise it removes the member
 *
 * Return: 0, or -EINVAL with a message that names the option.
 */
int ctl_parse_set(struct json_object *o, const char *text, bool defaults, struct drover_error *e);

/* Follow the migration to its end. @quiet: say nothing until then. */
int ctl_follow(struct ctl *c, bool quiet);

#endif
