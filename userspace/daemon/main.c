// SPDX-License-Identifier: GPL-2.0-or-later
/* droverd: one process per guest endpoint. Its command line, and its exit status. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "daemon/daemon.h"
#include "engine/hostlimit.h"

enum { EXIT_USAGE = 2 };

/* Below any character, so that no option can be mistaken for a short one. */
enum option_id { OPT_QMP = 1, OPT_GUEST, OPT_CONFIG, OPT_HOST_LIMIT, OPT_ANNOUNCE_IF, OPT_TLS,
		 OPT_VERBOSE, OPT_VERSION, OPT_HELP };

static const struct {
	enum option_id id;
	const char *name;
	const char *arg;
	const char *help;
} options[] = {
	{ OPT_QMP, "qmp", "unix:PATH", "control socket (QMP), made with mode 0600" },
	{ OPT_GUEST, "guest", "LINK",
	  "guest to serve: agent:PATH, qemu:PATH or sim:size=256M[,...]" },
	{ OPT_CONFIG, "config", "FILE", "JSON object applied to the stored settings" },
	{ OPT_HOST_LIMIT, "host-limit", "FILE",
	  "rate that all migrations of the host share (" DROVER_HOSTLIMIT_PATH ")" },
	{ OPT_ANNOUNCE_IF, "announce-if", "NAME[,mac=MAC][,ip=IPV4]...",
	  "interface on which a guest that arrives is announced; repeatable" },
	{ OPT_TLS, "tls-creds-dir", "DIR", "certificates and keys (not built in)" },
	{ OPT_VERBOSE, "verbose", NULL, "say on stderr what happens" },
	{ OPT_VERSION, "version", NULL, "print the version and exit" },
	{ OPT_HELP, "help", NULL, "print this and exit" },
};

#define NOPTIONS DROVER_ARRAY_SIZE(options)

static void usage(FILE *f)
{
	char left[40];
	size_t i;

	fprintf(f, "usage: droverd --qmp unix:PATH --guest LINK [OPTION]...\n");
	for (i = 0; i < NOPTIONS; i++) {
		snprintf(left, sizeof(left), "--%s %s", options[i].name,
			 options[i].arg ? options[i].arg : "");
		fprintf(f, "  %-24s %s\n", left, options[i].help);
	}
}

static void long_options(struct option ret[NOPTIONS + 1])
{
	size_t i;

	memset(ret, 0, (NOPTIONS + 1) * sizeof(ret[0]));
	for (i = 0; i < NOPTIONS; i++) {
		ret[i].name = options[i].name;
		ret[i].has_arg = options[i].arg ? required_argument : no_argument;
		ret[i].val = (int)options[i].id;
	}
}

static int bad_usage(const char *why)
{
	if (why)
		fprintf(stderr, "droverd: %s\n", why);
	fprintf(stderr, "Try 'droverd --help'.\n");
	return EXIT_USAGE;
}

/* -1 to go on, else the exit status. */
static int take_option(int id, struct droverd_opts *o)
{
	switch (id) {
	case OPT_QMP:
		o->qmp = optarg;
		return -1;
	case OPT_GUEST:
		o->guest = optarg;
		return -1;
	case OPT_CONFIG:
		o->config = optarg;
		return -1;
	case OPT_HOST_LIMIT:
		o->host_limit = optarg;
		return -1;
	case OPT_ANNOUNCE_IF:
		if (o->nannounce_if == ANNOUNCE_IFS_MAX)
			return bad_usage("--announce-if: given too often");
		o->announce_if[o->nannounce_if++] = optarg;
		return -1;
	case OPT_VERBOSE:
		o->verbose = true;
		return -1;
	case OPT_TLS:
		fprintf(stderr, "droverd: --tls-creds-dir: TLS is not built in\n");
		return EXIT_FAILURE;
	case OPT_VERSION:
		puts("droverd " DROVER_VERSION);
		return EXIT_SUCCESS;
	case OPT_HELP:
		usage(stdout);
		return EXIT_SUCCESS;
	default:
		return bad_usage(NULL);
	}
}

static int parse_command_line(int argc, char **argv, struct droverd_opts *o)
{
	struct option lopts[NOPTIONS + 1];
	int id, status;

	long_options(lopts);
	while ((id = getopt_long(argc, argv, "", lopts, NULL)) != -1) {
		status = take_option(id, o);
		if (status >= 0)
			return status;
	}
	if (optind < argc)
		return bad_usage("unexpected argument");
	if (!o->qmp)
		return bad_usage("--qmp unix:PATH is missing");
	if (!o->guest)
		return bad_usage("--guest LINK is missing");
	return -1;
}

/* A channel takes several descriptors, and there may be 272 of them. */
static void raise_fd_limit(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) < 0)
		return;
	rl.rlim_cur = rl.rlim_max;
	setrlimit(RLIMIT_NOFILE, &rl);
}

int main(int argc, char **argv)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct droverd_opts opts = { .host_limit = DROVER_HOSTLIMIT_PATH };
	struct droverd d;
	int r;

	/* First of all: what is open now was inherited. */
	fd_table_init(&d.fds);
	raise_fd_limit();
	r = parse_command_line(argc, argv, &opts);
	if (r >= 0)
		return r;
	r = droverd_init(&d, &opts, &e);
	if (r >= 0) {
		r = droverd_run(&d, &e);
		droverd_deinit(&d);
	}
	if (r < 0)
		fprintf(stderr, "droverd: %s\n", e.msg);
	return r ? EXIT_FAILURE : EXIT_SUCCESS;
}
