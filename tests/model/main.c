// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The model checker: walks every scenario, then takes out each rule. TAP; a state that
 * breaks an invariant is printed with the way to it.
 *
 * model [--faults N] [--jobs N] [--max STATES] [--only WORDS] [--no-controls]
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "model.h"
#include "tap.h"

#define CONTROL_FAULTS 1u

struct options {
	unsigned int faults, jobs;
	uint64_t max;
	const char *only;
	bool controls;
};

typedef void (*job_fn)(const struct options *o, unsigned int i, struct result *ret);

static bool wanted(const struct options *o, const char *name)
{
	return !o->only || strstr(name, o->only);
}

static unsigned int faults_of(const struct options *o, const struct scenario *sc)
{
	return o->faults > sc->less ? o->faults - sc->less : 0;
}

static void run_scenario(const struct options *o, unsigned int i, struct result *ret)
{
	struct scenario sc = scenarios[i];

	sc.faults = faults_of(o, &sc);
	if (wanted(o, sc.name))
		explore(&owner_machine, &sc, o->max, true, ret);
}

/* The nearest trace counts: without a fault first. */
static void run_control(const struct options *o, unsigned int i, struct result *ret)
{
	struct owner_machine m = owner_machine;
	struct scenario sc;
	unsigned int k, faults;
	uint64_t states = 0;

	controls[i].take_out(&m);
	for (faults = 0; faults <= CONTROL_FAULTS; faults++)
		for (k = 0; k < nscenarios; k++) {
			sc = scenarios[k];
			sc.faults = faults;
			explore(&m, &sc, o->max, o->only != NULL, ret);
			ret->states = states += ret->states;
			if (!ret->broken)
				continue;
			ret->scenario = k;
			ret->faults = faults;
			return;
		}
}

/* Each job is a process of its own, so that its memory is given back when it ends. */
static bool run_jobs(const struct options *o, unsigned int n, job_fn fn, struct result *results)
{
	unsigned int i, running = 0;
	bool fine = true;
	int status;

	for (i = 0; i < n || running;) {
		if (i < n && running < o->jobs) {
			pid_t pid = fork();

			if (!pid) {
				fn(o, i, &results[i]);
				fflush(stdout);
				_exit(0);
			}
			fine &= pid > 0;
			running += pid > 0;
			i++;
			continue;
		}
		if (wait(&status) < 0)
			return false;
		running--;
		fine &= WIFEXITED(status) && !WEXITSTATUS(status);
	}
	return fine;
}

static void add(bool *to, const bool *from, size_t n)
{
	while (n--)
		to[n] |= from[n];
}

static void add_coverage(struct coverage *all, const struct coverage *c)
{
	add(&all->vmm[0][0][0], &c->vmm[0][0][0], sizeof(c->vmm) / sizeof(bool));
	add(&all->source[0][0][0], &c->source[0][0][0], sizeof(c->source) / sizeof(bool));
	add(&all->dest[0][0][0], &c->dest[0][0][0], sizeof(c->dest) / sizeof(bool));
}

/*
 * Not counted: what only answers "yes, as it is", since no daemon here asks twice; and
 * what keeps the history in states that no plan of the scenarios leads through.
 */
static bool may_sleep(unsigned int state, unsigned int ev, const struct owner_row *r)
{
	return (r->next == state && !r->effects && !r->actions) || ev == OWNER_EV_CONFIRMED ||
	       ev == OWNER_EV_TOLD || (ev == OWNER_EV_MINE && r->next == state);
}

static unsigned int vmm_rows_asleep(const struct coverage *c)
{
	unsigned int s, e, a, n = 0;

	for (s = 0; s < OWNER_STATE_COUNT; s++)
		for (e = 0; e < OWNER_EV_COUNT; e++)
			for (a = 0; a < OWNER_ALTS; a++) {
				const struct owner_row *r = &owner_machine.vmm[s][e][a];

				if (!r->valid || c->vmm[s][e][a] || may_sleep(s, e, r))
					continue;
				tap_diag("asleep: VMM: %s %s %u", owner_state_name(s),
					 owner_event_name(e), a);
				n++;
			}
	return n;
}

/* A destination that says FAIL after COMMIT breaks the protocol; nobody here does. */
static bool never_said(unsigned int phase, unsigned int ev)
{
	return phase == OWNER_SRC_COMMITTING && ev == OWNER_SRC_EV_FAILED;
}

static unsigned int source_rows_asleep(const struct coverage *c)
{
	unsigned int s, e, a, n = 0;

	for (s = 0; s < OWNER_SRC_PHASE_COUNT; s++)
		for (e = 0; e < OWNER_SRC_EV_COUNT; e++)
			for (a = 0; a < OWNER_DAEMON_ALTS; a++)
				if (owner_machine.source[s][e][a].valid && !c->source[s][e][a] &&
				    !never_said(s, e)) {
					tap_diag("asleep: source: %s %s %u",
						 owner_source_phase_name(s),
						 owner_source_event_name(e), a);
					n++;
				}
	return n;
}

static unsigned int dest_rows_asleep(const struct coverage *c)
{
	unsigned int s, e, a, n = 0;

	for (s = 0; s < OWNER_DST_PHASE_COUNT; s++)
		for (e = 0; e < OWNER_DST_EV_COUNT; e++)
			for (a = 0; a < OWNER_DAEMON_ALTS; a++)
				if (owner_machine.dest[s][e][a].valid && !c->dest[s][e][a]) {
					tap_diag("asleep: destination: %s %s %u",
						 owner_dest_phase_name(s),
						 owner_dest_event_name(e), a);
					n++;
				}
	return n;
}

static void check_scenarios(const struct options *o, struct result *r)
{
	struct coverage all = { 0 };
	uint64_t states = 0;
	double seconds = 0;
	unsigned int i;

	tap_ok(run_jobs(o, nscenarios, run_scenario, r), "all scenarios were walked");
	for (i = 0; i < nscenarios; i++) {
		if (!wanted(o, scenarios[i].name))
			continue;
		tap_ok(r[i].complete && !r[i].broken && r[i].states > 100,
		       "%s, at most %u faults: %llu states, %llu steps, depth %u, %.1f s%s%s%s%s%s",
		       scenarios[i].name, faults_of(o, &scenarios[i]),
		       (unsigned long long)r[i].states, (unsigned long long)r[i].edges, r[i].depth,
		       r[i].seconds, r[i].complete ? "" : ": NOT ALL", r[i].broken ? ": " : "",
		       r[i].broken ? invariant_name(r[i].broken) : "", r[i].broken ? ": " : "",
		       r[i].why);
		states += r[i].states;
		seconds += r[i].seconds;
		add_coverage(&all, &r[i].seen);
	}
	tap_diag("%llu states in %.1f s of processor time", (unsigned long long)states, seconds);
	if (o->only)
		return;
	tap_ok(o->faults < 2 || states >= 1000000, "at least a million states");
	tap_ok(!(vmm_rows_asleep(&all) + source_rows_asleep(&all) + dest_rows_asleep(&all)),
	       "every row of the tables was taken");
}

static void check_controls(const struct options *o, struct result *r)
{
	unsigned int i;

	tap_ok(run_jobs(o, ncontrols, run_control, r), "all controls were walked");
	for (i = 0; i < ncontrols; i++) {
		const struct control *c = &controls[i];

		if (c->second_line)
			tap_ok(!r[i].broken, "second line: %s: nothing breaks: %s", c->rule,
			       c->what);
		else
			tap_ok(r[i].broken, "without %s %s breaks (%s, %u faults, %s): %s", c->rule,
			       invariant_name(r[i].broken), scenarios[r[i].scenario].name,
			       r[i].faults, r[i].why, c->what);
	}
}

static void parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "faults", required_argument, NULL, 'f' },
		{ "jobs", required_argument, NULL, 'j' },
		{ "max", required_argument, NULL, 'm' },
		{ "only", required_argument, NULL, 'o' },
		{ "no-controls", no_argument, NULL, 'n' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) >= 0) {
		if (c == 'f')
			o->faults = (unsigned int)strtoul(optarg, NULL, 10);
		else if (c == 'j')
			o->jobs = (unsigned int)strtoul(optarg, NULL, 10);
		else if (c == 'm')
			o->max = strtoull(optarg, NULL, 10);
		else if (c == 'o')
			o->only = optarg;
		else if (c == 'n')
			o->controls = false;
		else
			exit(2);
	}
	if (!o->jobs)
		o->jobs = 1;
}

int main(int argc, char **argv)
{
	/* Some 110 bytes a state: two jobs stay below 4 GiB. */
	struct options o = { .faults = 2, .jobs = 2, .max = 16000000, .controls = true };
	size_t n = nscenarios > ncontrols ? nscenarios : ncontrols;
	struct result *r;

	parse(argc, argv, &o);
	r = mmap(NULL, n * sizeof(*r), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (r == MAP_FAILED)
		return perror("mmap"), 2;
	check_scenarios(&o, r);
	memset(r, 0, n * sizeof(*r));
	if (o.controls && !o.only)
		check_controls(&o, r);
	return tap_done();
}
