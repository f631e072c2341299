// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Which trackers a migration uses, and what they are together: the table, the choice
 * with its reasons, and the handle that drives the chosen ones and the hole tracker as
 * one. Order inside a harvest: writes first, then what the VMM reports of its devices,
 * then holes, whose data maps need to know what was written. Called by the source's engine, from one thread at a time.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bitmap.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "ram/bus.h"
#include "track/internal.h"

/* One that sees everything the VMM does and, beside it, one that sees vCPUs. */
#define CHOSEN_MAX 2u
#define TABLE_LEN 4u
#define WHY_MAX 200u
/* So often writers that nobody sees are looked for anew. */
#define LOOK_NS 1000000000ull

static const struct drover_tracker_ops *const table[TABLE_LEN + 1] = {
	&drover_tracker_kmod,
	&drover_tracker_pagemap_scan,
	&drover_tracker_soft_dirty,
	&drover_tracker_kvm_log,
	NULL,
};

/**
 * struct drover_tracker - see track.h
 * @src: a copy; trackers keep pointers into it
 * @state: of chosen[i] while it is armed
 * @armed: chosen trackers armed, from the first on
 * @holes: while armed
 */
struct drover_tracker {
	struct drover_track_source src;
	const struct drover_tracker_ops *chosen[CHOSEN_MAX];
	void *state[CHOSEN_MAX];
	unsigned int n, armed;
	struct drover_reported *reported;
	struct drover_holes *holes;
	uint64_t looked_ns;             /* for writers that nobody sees */
	bool sees_all;                  /* devices and other processes, too */
	char name[64];
	char report[DROVER_TRACK_REPORT_MAX];
};

/* What was asked for and found out, before anything is chosen. */
struct choice {
	bool usable[TABLE_LEN];
	char why[TABLE_LEN][WHY_MAX];
	bool taken[TABLE_LEN];
};

const struct drover_tracker_ops *const *drover_tracker_table(void)
{
	return table;
}

static int refused(const struct choice *c, const char *what, struct drover_error *e)
{
	char all[DROVER_ERR_MAX] = "";
	size_t at = 0;
	unsigned int i;

	for (i = 0; i < TABLE_LEN && at < sizeof(all); i++)
		if (!c->usable[i])
			at += (size_t)snprintf(all + at, sizeof(all) - at, "%s%s: %s",
					       at ? "; " : "", table[i]->name, c->why[i]);
	return drover_err(e, -EOPNOTSUPP, "%s: %s", what, all);
}

/* Take this one, and the one that sees the vCPUs if this one does not. */
static void take_with_vcpus(struct choice *c, unsigned int i)
{
	unsigned int v;

	c->taken[i] = true;
	for (v = 0; table[i]->no_vcpus && v < TABLE_LEN; v++)
		if (c->usable[v] && table[v]->vcpu_only)
			c->taken[v] = true;
}

/* The first usable tracker that sees more than vCPUs; TABLE_LEN when there is none. */
static unsigned int first_complete(const struct choice *c)
{
	unsigned int i;

	for (i = 0; i < TABLE_LEN; i++)
		if (c->usable[i] && !table[i]->vcpu_only)
			return i;
	return TABLE_LEN;
}

static int choose(struct choice *c, const char *want, struct drover_error *e)
{
	unsigned int i, complete = first_complete(c);

	if (strcmp(want, "auto") == 0) {
		if (complete == TABLE_LEN)
			return refused(c, "tracker: none can be used here", e);
		take_with_vcpus(c, complete);
		return 0;
	}
	for (i = 0; i < TABLE_LEN && strcmp(want, table[i]->name) != 0; i++)
		;
	if (i == TABLE_LEN)
		return drover_err(e, -EINVAL, "tracker: there is no tracker '%s'", want);
	if (!c->usable[i])
		return drover_err(e, -EOPNOTSUPP, "tracker %s: cannot be used: %s", want,
				  c->why[i]);
	take_with_vcpus(c, i);
	if (!table[i]->vcpu_only)
		return 0;
	if (complete == TABLE_LEN)
		return refused(c, "tracker kvm-log: sees vCPUs only, and none can be used for the "
			       "VMM's other threads", e);
	c->taken[complete] = true;
	return 0;
}

/* vCPU loggers first: the others must be read after them, as they see all writers. */
static void take(struct drover_tracker *t, const struct choice *c)
{
	bool holes = false;
	unsigned int pass, i;
	size_t at = 0;

	for (pass = 0; pass < 2; pass++)
		for (i = 0; i < TABLE_LEN; i++) {
			if (!c->taken[i] || table[i]->vcpu_only != (pass == 0))
				continue;
			t->chosen[t->n++] = table[i];
			t->sees_all |= table[i]->sees_all;
			holes |= table[i]->holes != NULL;
			at += (size_t)snprintf(t->name + at, sizeof(t->name) - at, "%s%s",
					       at ? "+" : "", table[i]->name);
		}
	if (!holes)
		at += (size_t)snprintf(t->name + at, sizeof(t->name) - at, "+holes");
	if (t->src.wrote)
		snprintf(t->name + at, sizeof(t->name) - at, "+wrote");
}

/* Writers that none of the chosen sees: for the report, and for ever in the name. */
static int judge_unseen(struct drover_tracker *t, struct drover_error *e)
{
	size_t name = strlen(t->name), at = strlen(t->report);
	char text[DROVER_UNSEEN_MAX];
	int r;

	if (t->sees_all) {
		snprintf(text, sizeof(text), "device writes: seen by the module");
		r = 0;
	} else {
		t->looked_ns = drover_now_ns();
		r = drover_unseen_look(&t->src, t->name, true, text, e);
	}
	if (r < 0)
		return r;
	if (r > 0)
		snprintf(t->name + name, sizeof(t->name) - name, "+unsafe-device-writes");
	if (at < sizeof(t->report))
		snprintf(t->report + at, sizeof(t->report) - at, "%s%s", at ? "\n" : "", text);
	return 0;
}

/* A disk may be plugged in during a migration. Costs a millisecond, so not in the downtime. */
static int look_again(struct drover_tracker *t, bool final, struct drover_error *e)
{
	char text[DROVER_UNSEEN_MAX];
	int r;

	if (final || t->sees_all || drover_now_ns() - t->looked_ns < LOOK_NS)
		return 0;
	t->looked_ns = drover_now_ns();
	r = drover_unseen_look(&t->src, t->name, false, text, e);
	return r < 0 ? r : 0;
}

static void report(struct drover_tracker *t, const struct choice *c, const struct drover_log *log)
{
	size_t at = 0;
	unsigned int i;

	for (i = 0; i < TABLE_LEN; i++) {
		const char *verdict = c->taken[i] ? "used" :
			c->usable[i] ? "not needed" : "refused";
		const char *text = c->taken[i] ? table[i]->guarantee : c->usable[i] ?
			"a better one is used" : c->why[i];

		drover_debug(log, "tracker %s: %s: %s", table[i]->name, verdict, text);
		at += (size_t)snprintf(t->report + at, sizeof(t->report) - at, "%s%s: %s: %s",
				       at ? "\n" : "", table[i]->name, verdict, text);
		if (at >= sizeof(t->report))
			break;
	}
}

int drover_tracker_select(const struct drover_track_source *src, const char *want,
			  const struct drover_log *log, struct drover_tracker **ret,
			  struct drover_error *e)
{
	_cleanup_free_ struct drover_tracker *t = calloc(1, sizeof(*t));
	struct choice c = { 0 };
	unsigned int i;
	int r;

	if (!t)
		return drover_err(e, -ENOMEM, "tracker: out of memory");
	t->src = *src;
	for (i = 0; i < TABLE_LEN; i++)
		c.usable[i] = table[i]->probe(src, c.why[i], sizeof(c.why[i])) > 0;
	r = choose(&c, want, e);
	if (r < 0)
		return r;
	take(t, &c);
	report(t, &c, log);
	r = judge_unseen(t, e);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(t);
	return 0;
}

const char *drover_tracker_name(const struct drover_tracker *t)
{
	return t->name;
}

const char *drover_tracker_report(const struct drover_tracker *t)
{
	return t->report;
}

/*
 * One that sees holes says in its first harvest which pages are none. Before the first
 * round, which sends all, nobody needs anything else of it.
 */
static int first_harvest(struct drover_tracker *t, struct drover_error *e)
{
	uint64_t *maps[DROVER_RAM_BLOCKS_MAX] = { NULL };
	unsigned int i;
	int r = 0;

	for (i = 0; i < t->src.ram->n && r >= 0; i++) {
		maps[i] = drover_bitmap_new(drover_pages(t->src.ram->block[i].size));
		if (!maps[i])
			r = drover_err(e, -ENOMEM, "tracker: out of memory");
	}
	if (r >= 0)
		r = drover_tracker_harvest(t, maps, false, e);
	for (i = 0; i < t->src.ram->n; i++)
		free(maps[i]);
	return r;
}

static int tracker_arm(struct drover_tracker *t, struct drover_error *e)
{
	enum drover_holes_how how = DROVER_HOLES_BEST;
	unsigned int i;
	int r;

	for (i = 0; i < t->n; i++) {
		r = t->chosen[i]->start(&t->src, &t->state[i], e);
		if (r < 0)
			return r;
		t->armed = i + 1;
		if (t->chosen[i]->holes)
			how = DROVER_HOLES_SEEN;
	}
	/* Last: what is written while the data map is read has a tracker already. */
	if (t->src.wrote) {
		r = drover_reported_new(t->src.ram, t->src.wrote, &t->reported, e);
		if (r < 0)
			return r;
	}
	r = drover_holes_new(t->src.ram, how, &t->holes, e);
	return r >= 0 && how == DROVER_HOLES_SEEN ? first_harvest(t, e) : r;
}

int drover_tracker_start(struct drover_tracker *t, struct drover_error *e)
{
	int r;

	if (t->holes)
		return drover_err(e, -EALREADY, "tracker %s: started twice", t->name);
	r = tracker_arm(t, e);
	if (r < 0)
		drover_tracker_stop(t);
	return r;
}

static void tell_holes(struct drover_tracker *t, unsigned int chosen, uint64_t *const *maps)
{
	unsigned int i;

	for (i = 0; t->chosen[chosen]->holes && i < t->src.ram->n; i++)
		drover_holes_seen(t->holes, i, t->chosen[chosen]->holes(t->state[chosen], i),
				  maps[i]);
}

int drover_tracker_harvest(struct drover_tracker *t, uint64_t *const *maps, bool final,
			   struct drover_error *e)
{
	unsigned int i;
	int r;

	if (!t->holes)
		return drover_err(e, -EINVAL, "tracker %s: harvest: it is not started", t->name);
	/* What was sent of such a page is not what the guest has. */
	r = drover_ram_bus_error(t->src.ram, e);
	if (r >= 0)
		r = look_again(t, final, e);
	if (r < 0)
		return r;
	for (i = 0; i < t->armed; i++) {
		r = t->chosen[i]->harvest(t->state[i], maps, final, e);
		if (r < 0)
			return r;
	}
	r = t->sees_all ? 0 : drover_unseen_mapped(&t->src, t->name, e);
	if (r < 0)
		return r;
	if (t->reported) {
		r = drover_reported_harvest(t->reported, maps, final, e);
		if (r < 0)
			return r;
	}
	for (i = 0; i < t->armed; i++)
		tell_holes(t, i, maps);
	return drover_holes_harvest(t->holes, maps, e);
}

const uint64_t *drover_tracker_data(const struct drover_tracker *t, unsigned int block)
{
	return t->holes ? drover_holes_data(t->holes, block) : NULL;
}

const uint64_t *drover_tracker_pinned(const struct drover_tracker *t, unsigned int block)
{
	unsigned int i;

	for (i = 0; i < t->armed; i++)
		if (t->chosen[i]->pinned)
			return t->chosen[i]->pinned(t->state[i], block);
	return NULL;
}

void drover_tracker_stop(struct drover_tracker *t)
{
	t->holes = drover_holes_free(t->holes);
	t->reported = drover_reported_free(t->reported);
	while (t->armed) {
		t->armed--;
		t->chosen[t->armed]->stop(t->state[t->armed]);
		t->state[t->armed] = NULL;
	}
}

struct drover_tracker *drover_tracker_free(struct drover_tracker *t)
{
	if (!t)
		return NULL;
	drover_tracker_stop(t);
	free(t);
	return NULL;
}
