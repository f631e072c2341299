// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A postcopy on the destination, from the handshake to the proof: the pages that are still to
 * come (pending.c), who waits for them (faults.c), and the guest's VMM, which has the memory
 * and keeps the ledger. Called by the threads of main, and at the start by the destination's.
 */
#include "engine/dest/postcopy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bitmap.h"
#include "base/cleanup.h"
#include "base/crash.h"
#include "base/err.h"
#include "engine/dest/dest.h"

static const char *const handler_names[] = {
	[DROVER_FAULT_HANDLER_AUTO] = "auto",
	[DROVER_FAULT_HANDLER_KMOD] = "kmod",
	[DROVER_FAULT_HANDLER_USERFAULTFD] = "userfaultfd",
};

struct postcopy *postcopy_free(struct postcopy *pc, bool open)
{
	unsigned int i;

	if (!pc)
		return NULL;
	faults_stop(&pc->faults);
	pending_deinit(&pc->pending, open);
	faults_deinit(&pc->faults);
	for (i = 0; i < DROVER_RAM_BLOCKS_MAX; i++)
		free(pc->told[i]);
	free(pc);
	return NULL;
}

int postcopy_new(struct drover_dest *d, const uint8_t *token, struct drover_ledger *ledger,
		 struct postcopy **ret, struct drover_error *e)
{
	struct drover_migration *m = d->m;
	struct postcopy *pc = calloc(1, sizeof(*pc));
	unsigned int i;
	int r = 0;

	if (!pc)
		r = drover_err(e, -ENOMEM, "postcopy: out of memory");
	else if (!ledger)
		r = drover_ledger_new(m->ram, m->config->verify != DROVER_VERIFY_NONE, &ledger, e);
	if (r < 0) {
		free(pc);
		drover_ledger_free(ledger);
		return r;
	}
	pc->d = d;
	memcpy(pc->token, token, sizeof(pc->token));
	r = faults_init(&pc->faults, m->ram, &pc->pending, &m->stats.postcopy_requests, e);
	if (pending_init(&pc->pending, m->ram, ledger, e) < 0)
		r = -ENOMEM;
	for (i = 0; r >= 0 && i < m->ram->n; i++) {
		pc->told[i] = drover_bitmap_new(drover_pages(m->ram->block[i].size));
		if (!pc->told[i])
			r = drover_err(e, -ENOMEM, "postcopy: bitmaps: out of memory");
	}
	if (r < 0) {
		postcopy_free(pc, false);
		return r;
	}
	*ret = pc;
	return 0;
}

static int arm_handler(struct postcopy *pc, bool adopt, struct drover_error *e)
{
	struct drover_migration *m = pc->d->m;
	struct drover_guest *g = m->guest;
	const struct drover_fault_ops *ops;
	char report[DROVER_FAULT_REPORT_MAX];
	struct drover_fault_source src;
	struct owner_token t;
	unsigned int i;
	int r;

	if (!g->ops->fault_source)
		return drover_err(e, -EOPNOTSUPP, "postcopy: this guest link has no fault handling");
	r = g->ops->fault_source(g, &src, e);
	if (r < 0)
		return r;
	for (i = 0; i < m->ram->n; i++)
		src.received[i] = pending_received(&pc->pending, i);
	src.adopt = adopt;
	ops = drover_fault_select(&src, handler_names[m->config->fault_handler], report, e);
	if (!ops)
		return e->code;
	DROVER_INFO(m, fault_handler, "%s", ops->name);
	drover_debug(m->log, "fault handler: %s", report);
	memcpy(t.byte, pc->token, sizeof(t.byte));
	r = adopt ? 0 : g->ops->ledger_put(g, &t, pc->pending.ledger->fd, e);
	return r < 0 ? r : pending_arm(&pc->pending, ops, &src, m->config->postcopy_blocktime, e);
}

int postcopy_arm(struct postcopy *pc, bool adopt, struct drover_error *e)
{
	const struct drover_config *c = pc->d->m->config;
	int r;
	DROVER_LOCK(&pc->d->guest.lock);

	r = arm_handler(pc, adopt, e);
	if (r >= 0)
		r = faults_start(&pc->faults, c->postcopy_preempt ? c->postcopy_channels : 1, e);
	return r < 0 ? r : (pending_armed(&pc->pending), 0);
}

void postcopy_all_here(struct postcopy *pc)
{
	if (pending_step(&pc->pending) >= PENDING_HERE)
		return;
	faults_stop(&pc->faults);
	pending_all_here(&pc->pending);
	drover_crash_point("all-here");
}
