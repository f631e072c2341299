// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The ownership record as the VMM keeps it: each change goes through the machine's table
 * (owner/vmm.def), whatever a droverd asks, and what a step says is done by the VMM's
 * callbacks in the machine's order. Called for each request, for the user's stop and cont,
 * and when a link has ended.
 */
#define _GNU_SOURCE
#include "lib/internal.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "ram/ramfile.h"

enum drover_run_state agent_run_state(const struct drover_agent *a)
{
	if (a->record.running)
		return DROVER_GUEST_RUNNING;
	return a->record.state == OWNER_INCOMING || a->record.state == OWNER_FENCED ?
	       DROVER_GUEST_INCOMING : DROVER_GUEST_PAUSED;
}

int agent_failed(int r, const struct drover_text *why, struct drover_error *e)
{
	if (r < -4095)
		r = -EIO;
	return drover_err(e, r, "%.*s", DROVER_TEXT_MAX - 1,
			  *why->text ? why->text : drover_strerror(r));
}

/* Before the record is changed: a failure is the request's, and nothing has changed. */
static int do_before(struct drover_agent *a, unsigned int actions, struct drover_error *e)
{
	struct drover_text why = { "" };
	int r = 0;

	if (actions & OWNER_ACT_STOP)
		r = a->ops.pause(a->opaque, &why);
	if (r >= 0 && actions & OWNER_ACT_LOAD)
		r = a->ops.load(a->opaque, a->request.fd[0], a->request.body.args.len, &why);
	return r < 0 ? agent_failed(r, &why, e) : 0;
}

static int punch_ram(struct drover_agent *a, struct drover_error *e)
{
	unsigned int i;
	int r;

	for (i = 0; i < a->ram.n; i++) {
		const struct drover_ram_block *b = &a->ram.block[i];

		/* The source does not send it: this side's content is the guest's. */
		if (b->flags & DROVER_RAM_SHARED_DEST)
			continue;
		r = drover_ramfile_punch(b->fd, b->fd_off, b->size, b->host);
		if (r < 0)
			return drover_err(e, r, "RAM %s: punch: %s", b->name, drover_strerror(r));
	}
	return 0;
}

/* The record says incoming already: there is no guest here, also when a step fails. */
static int empty(struct drover_agent *a, struct drover_error *e)
{
	struct drover_text why = { "" };
	int r;

	/* Of a postcopy that never came to COMMIT. */
	a->ledger = drover_ledger_free(a->ledger);
	agent_uffd_release(a);
	r = a->ops.prepare(a->opaque, &why);
	if (r < 0)
		return agent_failed(r, &why, e);
	r = punch_ram(a, e);
	a->emptied = r >= 0;
	return r;
}

/* A guest that can't be started is owned here all the same: cont tries again. */
static void start(struct drover_agent *a)
{
	unsigned int none;

	if (a->ops.resume(a->opaque, &a->still) >= 0) {
		a->still.text[0] = '\0';
		return;
	}
	if (!*a->still.text)
		strcpy(a->still.text, "the VMM can't start its guest");
	owner_step(&a->record, OWNER_EV_HALTED, NULL, a->now(), &a->record, &none, NULL, NULL);
}

int agent_step(struct drover_agent *a, enum owner_event ev, const struct owner_args *args,
	       enum owner_reply *reply, struct drover_error *e)
{
	struct owner_record next, old = a->record;
	unsigned int actions;
	int r;

	r = owner_step(&a->record, ev, args, a->now(), &next, &actions, reply, e);
	if (r >= 0)
		r = do_before(a, actions, e);
	if (r < 0)
		return r;
	a->record = next;
	/* What counts as owned was owned in time, though the VMM may have stood still just now. */
	if (ev == OWNER_EV_OWN && old.state != OWNER_OWNED &&
	    !owner_in_time(&a->record, a->now())) {
		a->record = old;
		return drover_err(e, -ETIME, "OWN: COMMIT came too late");
	}
	/* Emptied over this link, and no session has begun since: it is empty still. */
	if (actions & OWNER_ACT_EMPTY && !(ev == OWNER_EV_INCOMING && a->emptied))
		r = empty(a, e);
	if (ev == OWNER_EV_INCOMING)
		a->emptied = false;
	if (actions & OWNER_ACT_START)
		start(a);
	return r;
}

int agent_step_done(struct drover_agent *a, enum owner_event ev)
{
	unsigned int actions;

	return owner_step(&a->record, ev, NULL, a->now(), &a->record, &actions, NULL, NULL);
}
