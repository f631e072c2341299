// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * drover-vmm: what a VMM needs to be migrated by droverd, and a guest that notices if
 * anything went wrong. The main thread owns the machine and the agent; libdrover's
 * callbacks are the whole of the integration. Exit status 0, 1 failed, 2 usage, 77 no KVM.
 */
#include "vmm/vmm.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define EXIT_USAGE 2
#define EXIT_SKIP 77

/* ---- libdrover's callbacks; those for state and log are in state.c and log.c ---- */

static int cb_pause(void *opaque, struct drover_text *why)
{
	struct vm *vm = opaque;

	vm_stop(vm);
	return foreign_write(vm, why);
}

static int cb_resume(void *opaque, struct drover_text *why)
{
	struct vm *vm = opaque;

	(void)why;
	/* Before the first instruction: the checker and the balloon must know. */
	vm_missing(vm, drover_agent_pages_missing(vm->agent));
	vm_go(vm);
	return 0;
}

/* The guest is stopped already: libdrover prepares no running one. */
static int cb_prepare(void *opaque, struct drover_text *why)
{
	struct vm *vm = opaque;

	(void)why;
	pthread_mutex_lock(&vm->lock);
	memset(&vm->v, 0, sizeof(vm->v));
	pthread_mutex_unlock(&vm->lock);
	return 0;
}

static int cb_throttle(void *opaque, unsigned int percent, struct drover_text *why)
{
	struct vm *vm = opaque;

	(void)why;
	pthread_mutex_lock(&vm->lock);
	vm->throttle = percent;
	pthread_mutex_unlock(&vm->lock);
	return 0;
}

static int cb_check(void *opaque, char *json, size_t size)
{
	check_json(opaque, json, size);
	return 0;
}

static void cb_note(void *opaque, const char *text)
{
	(void)opaque;
	fprintf(stderr, "drover-vmm: %s\n", text);
}

static int agent_new(struct vm *vm, struct drover_text *why)
{
	struct drover_agent_ops ops = {
		.size = sizeof(ops), .pause = cb_pause, .resume = cb_resume, .save = state_save,
		.load = state_load, .prepare = cb_prepare, .throttle = cb_throttle,
		.check = cb_check, .note = cb_note,
	};
	uint64_t uuid[2] = { vm->opts.seed * MIX_1, MIX_2 };
	struct drover_agent_opts opts = {
		.size = sizeof(opts), .path = vm->opts.agent, .ops = &ops, .opaque = vm,
		.uuid = (uint8_t *)uuid,
		.flags = vm->opts.incoming ? DROVER_AGENT_OPT_INCOMING : 0,
	};
	unsigned int i;
	int r;

	if (vm->opts.log || vm->opts.ring) {
		ops.log_start = log_start;
		ops.log_sync = log_sync;
		ops.log_stop = log_stop;
	}
	if (*vm->opts.disk.path && vm->opts.disk.report != REPORT_NONE)
		opts.flags |= DROVER_AGENT_OPT_REPORTS_WRITES;
	r = drover_agent_new(&opts, &vm->agent, why);
	for (i = 0; i < vm->slots && r >= 0; i++) {
		struct drover_agent_ram_opts ram = {
			.size = sizeof(ram), .name = vm->slot[i].name, .gpa = vm->slot[i].gpa,
			.len = vm->slot[i].len, .host = vm->slot[i].host, .fd = vm->slot[i].fd,
			.fd_off = vm->slot[i].off,
			.flags = vm->opts.share ? DROVER_AGENT_RAM_SHARED_DEST : 0,
		};

		r = drover_agent_add_ram(vm->agent, &ram, why);
	}
	return r < 0 ? r : drover_agent_listen(vm->agent, why);
}

/* ---- options ---- */

static const struct {
	const char *name, *arg, *help;
} options[] = {
	{ "agent", "PATH", "UNIX socket for droverd (agent:PATH); required" },
	{ "mem", "SIZE", "guest RAM, 8M to 64G in steps of 2M; default 256M" },
	{ "dirty", "RATE", "bytes the guest rewrites a second, in whole pages; default 50M" },
	{ "seed", "N", "content of the RAM, and the guest's uuid; default 1" },
	{ "incoming", NULL, "start as a destination" },
	{ "touch", "ORDER", "vcpus read and check pages all the time, in ORDER: random, "
	  "sequential, chase (each page says which is next), none; default none" },
	{ "balloon", "on|off", "the guest gives up pages and takes them back; default on" },
	{ "share", "DIR", "RAM in files of this tmpfs, for a second VMM to take over in place "
	  "(x-ignore-shared)" },
	{ "region", "[=NAME]", "RAM from the kernel module, as /dev/drover-NAME, too; needs "
	  "drover.ko" },
	{ "disk", "FILE[,...]", "a disk: threads that read and write FILE with O_DIRECT; size=16M, "
	  "threads=4, report=wrote (or count; none is for tests)" },
	{ "heartbeat-file", "PATH", "append lines: vcpu, count, source or dest, time" },
	{ "dirty-log", NULL, "offer KVM's dirty log (bitmap) to droverd" },
	{ "dirty-ring", "BYTES", "offer it as a ring a vcpu: a power of two, 8K to 1M" },
	{ "foreign-writer", "HOW", "test: write page ram0:160 unseen by trackers when first "
	  "paused; HOW: pwrite, process" },
	{ "help", NULL, "this text" },
	{ "version", NULL, "the version" },
};

#define NOPTIONS (sizeof(options) / sizeof(options[0]))

static int usage(FILE *f)
{
	const char *arg;
	unsigned int i;
	int n;

	fprintf(f, "usage: drover-vmm --agent PATH [OPTION...]\n"
		"A KVM guest of two vCPUs that checks itself, to be migrated by droverd.\n\n");
	for (i = 0; i < NOPTIONS; i++) {
		arg = options[i].arg ? options[i].arg : "";
		n = fprintf(f, "  --%s%s%s", options[i].name, *arg && *arg != '[' ? "=" : "", arg);
		fprintf(f, "%*s %s\n", n < 26 ? 26 - n : 0, "", options[i].help);
	}
	return f == stdout ? 0 : EXIT_USAGE;
}

bool parse_size(const char *s, uint64_t max, uint64_t *ret)
{
	static const char units[] = "KMG";
	const char *u;
	uint64_t n;
	char *end;

	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	n = strtoull(s, &end, 0);
	u = *end ? strchr(units, *end) : NULL;
	if (errno || (*end && (!u || end[1])))
		return false;
	if (u && n > max >> 10 * (u - units + 1))
		return false;
	n <<= u ? 10 * (u - units + 1) : 0;
	*ret = n;
	return n <= max;
}

static bool parse_touch(const char *arg, uint32_t *ret)
{
	static const char *const orders[] = {
		[TOUCH_NONE] = "none", [TOUCH_RANDOM] = "random",
		[TOUCH_SEQUENTIAL] = "sequential", [TOUCH_CHASE] = "chase",
	};
	uint32_t i;

	for (i = 0; i < sizeof(orders) / sizeof(orders[0]); i++)
		if (!strcmp(arg, orders[i])) {
			*ret = i;
			return true;
		}
	return false;
}

static bool set_option(struct vmm_opts *o, const char *name, const char *arg)
{
	if (!strcmp(name, "agent"))
		o->agent = arg;
	else if (!strcmp(name, "mem"))
		return parse_size(arg, 64ull << 30, &o->mem) && o->mem >= 8 << 20 &&
		       o->mem % (2 << 20) == 0;
	else if (!strcmp(name, "dirty"))
		return parse_size(arg, 1ull << 40, &o->dirty);
	else if (!strcmp(name, "seed"))
		return parse_size(arg, UINT64_MAX, &o->seed);
	else if (!strcmp(name, "incoming"))
		o->incoming = true;
	else if (!strcmp(name, "touch"))
		return parse_touch(arg, &o->touch);
	else if (!strcmp(name, "balloon"))
		return (o->balloon = !strcmp(arg, "on")) || !strcmp(arg, "off");
	else if (!strcmp(name, "share"))
		o->share = arg;
	else if (!strcmp(name, "region"))
		return (o->region = arg ? arg : "", !arg || *arg);
	else if (!strcmp(name, "disk"))
		return disk_parse(arg, &o->disk);
	else if (!strcmp(name, "heartbeat-file"))
		o->heartbeat = arg;
	else if (!strcmp(name, "dirty-log"))
		o->log = true;
	else if (!strcmp(name, "dirty-ring"))
		return parse_size(arg, 1 << 20, &o->ring) && o->ring >= 8192 &&
		       !(o->ring & (o->ring - 1));
	else if (!strcmp(name, "foreign-writer"))
		return (o->foreign = arg, !strcmp(arg, "pwrite") || !strcmp(arg, "process"));
	return true;
}

/* 0, 1 or 2, as getopt wants it */
static int takes_arg(const char *arg)
{
	return !arg ? no_argument : *arg == '[' ? optional_argument : required_argument;
}

/* NULL: they go together */
static const char *conflict(const struct vmm_opts *o)
{
	if (o->region && o->share)
		return "--region and --share: RAM is in one or in the other";
	if (o->region && o->foreign && !strcmp(o->foreign, "pwrite"))
		return "--region: no file that --foreign-writer=pwrite could write to";
	return NULL;
}

/* -1: go on; else the exit status */
static int parse(int argc, char **argv, struct vmm_opts *o)
{
	struct option longs[NOPTIONS + 1] = { 0 };
	int c, i = 0;

	for (c = 0; c < (int)NOPTIONS; c++)
		longs[c] = (struct option){ options[c].name, takes_arg(options[c].arg),
					   NULL, 1 };
	while ((c = getopt_long(argc, argv, "", longs, &i)) != -1) {
		if (c != 1)
			return usage(stderr);
		if (!strcmp(options[i].name, "help"))
			return usage(stdout);
		if (!strcmp(options[i].name, "version"))
			return printf("drover-vmm %s\n", drover_version()) < 0;
		if (!set_option(o, options[i].name, optarg)) {
			fprintf(stderr, "drover-vmm: --%s: bad value '%s'\n", options[i].name,
				optarg);
			return EXIT_USAGE;
		}
	}
	if (optind < argc || !o->agent)
		return usage(stderr);
	if (conflict(o)) {
		fprintf(stderr, "drover-vmm: %s\n", conflict(o));
		return EXIT_USAGE;
	}
	return -1;
}

/* ---- main loop ---- */

static void kicked(int sig)
{
	(void)sig;
}

static int loop(struct vm *vm, int sig_fd)
{
	struct pollfd p[] = {
		{ .fd = drover_agent_fd(vm->agent), .events = POLLIN },
		{ .fd = vm->notify_fd, .events = POLLIN },
		{ .fd = sig_fd, .events = POLLIN },
	};
	uint64_t n;
	int r = 0;

	while (r >= 0) {
		if (poll(p, 3, -1) < 0 && errno != EINTR)
			return -errno;
		if (p[2].revents)
			return 0;
		if (p[1].revents && read(vm->notify_fd, &n, sizeof(n)) == sizeof(n))
			drover_agent_verdict_changed(vm->agent);
		if (p[0].revents)
			r = drover_agent_dispatch(vm->agent);
		vm_missing(vm, drover_agent_pages_missing(vm->agent));
	}
	return r;
}

int main(int argc, char **argv)
{
	struct vmm_opts opts = { .mem = 256ull << 20, .dirty = 50ull << 20, .seed = 1,
				 .balloon = true };
	struct sigaction sa = { .sa_handler = kicked };
	struct drover_text why = { "" };
	bool missing;
	struct vm vm;
	sigset_t set;
	int r = parse(argc, argv, &opts);

	if (r >= 0)
		return r;
	/* The kick must have a handler, or the kernel takes it for the end of the process. */
	sigaction(SIGUSR1, &sa, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	r = vm_new(&vm, &opts, &why);
	if (r >= 0)
		r = agent_new(&vm, &why);
	if (r >= 0) {
		if (!opts.incoming)
			vm_go(&vm);
		printf("drover-vmm: ready on %s\n", opts.agent);
		fflush(stdout);
		r = loop(&vm, signalfd(-1, &set, SFD_CLOEXEC));
		if (r < 0)
			vm_err(&why, r, "agent");
	}
	if (r < 0)
		fprintf(stderr, "drover-vmm: %s\n", why.text);
	/* vCPUs that wait for a page that never comes go on when the agent ends: into their end. */
	vm_quit(&vm);
	missing = vm.agent && drover_agent_pages_missing(vm.agent);
	drover_agent_free(vm.agent);
	/* Unless the module's gate keeps them: then they can only be killed, as exit does. */
	if (!missing || !opts.region)
		vm_free(&vm);
	return r == -EOPNOTSUPP ? EXIT_SKIP : r < 0;
}
