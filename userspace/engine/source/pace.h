/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_SOURCE_PACE_H
#define DROVER_ENGINE_SOURCE_PACE_H

#include <stdbool.h>
#include <stdint.h>

struct drover_cancel;
struct drover_error;
struct drover_migration;

/**
 * struct pace - how fast pages may be sent; written by pace.c alone
 * @limit: what senders take their bytes from
 * @host: the host's, shared with other migrations; NULL: there is none
 */
struct pace {
	struct drover_limit *limit;
	struct drover_hostlimit *host;
};

int pace_init(struct pace *p, struct drover_migration *m, struct drover_error *e);
void pace_deinit(struct pace *p);
/**
 * pace_apply() - max-bandwidth, or our share of the host's, as they are now
 * @postcopy: max-postcopy-bandwidth instead
 * @sent: bytes so far
 * @waiting: a sender is held back right now
 */
void pace_apply(struct pace *p, struct drover_migration *m, bool postcopy, uint64_t sent,
		bool waiting);
/* No limit, until pace_shut(): somebody waits for these pages. */
void pace_open(struct pace *p);
void pace_shut(struct pace *p);
/* Any thread: wait for the turn to send. 0 or -ECANCELED */
int pace_take(struct pace *p, uint64_t bytes, const struct drover_cancel *c);

#endif
