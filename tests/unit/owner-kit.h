/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_TESTS_OWNER_KIT_H
#define DROVER_TESTS_OWNER_KIT_H

/* Requests about the ownership record, as a test makes them. */
#include "base/clock.h"
#include "base/err.h"
#include "guest/ops.h"
#include "owner/owner.h"

static inline struct owner_args session_args(uint8_t token)
{
	return (struct owner_args){ .token = { { token } }, .peer = "{\"a\":1}",
				    .by = OWNER_BY_ANSWER, .will = true, .until = OWNER_NEVER };
}

static inline int ask(struct drover_guest *g, enum owner_event ev, uint8_t token,
		      struct drover_error *e)
{
	struct owner_args args = session_args(token);

	if (e)
		drover_err_clear(e);
	return g->ops->request(g, ev, &args, NULL, NULL, e);
}

static inline enum owner_state state_of(struct drover_guest *g)
{
	struct owner_record rec = { .state = OWNER_STATE_COUNT };

	g->ops->owner_known(g, &rec);
	return rec.state;
}

/* For fake guests: the table, and nothing of what it asks for but @ret_actions. */
static inline int fake_step(struct owner_record *rec, enum owner_event ev,
			    const struct owner_args *args, unsigned int *ret_actions,
			    struct drover_error *e)
{
	unsigned int actions = 0;
	int r = owner_step(rec, ev, args, drover_boot_ns(), rec, &actions, NULL, e);

	if (ret_actions)
		*ret_actions = r < 0 ? 0 : actions;
	return r;
}

#endif
