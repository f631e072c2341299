/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_DEST_POSTCOPY_H
#define DROVER_ENGINE_DEST_POSTCOPY_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/dest/faults.h"
#include "engine/dest/pending.h"

struct drover_dest;

/**
 * struct postcopy - memory that is still to come; from its session's COMMIT on it outlives
 *	sessions. Written by postcopy.c alone
 * @token: of the session, and of those that resume it
 * @told: pages the source was told to free, by block; release.c, main's thread only
 */
struct postcopy {
	struct drover_dest *d;
	uint8_t token[DROVER_TOKEN_LEN];
	struct pending pending;
	struct faults faults;
	uint64_t *told[DROVER_RAM_BLOCKS_MAX];
};

/* @ledger: the one that was found, taken over also on failure; NULL: a new one is made */
int postcopy_new(struct drover_dest *d, const uint8_t *token, struct drover_ledger *ledger,
		 struct postcopy **ret, struct drover_error *e);
/* @open: everybody who waits goes on, as before a guest is emptied. Returns NULL */
struct postcopy *postcopy_free(struct postcopy *pc, bool open);
/* From its return on, who touches what is missing waits. @adopt: an earlier droverd armed it */
int postcopy_arm(struct postcopy *pc, bool adopt, struct drover_error *e);
/* All has arrived: nobody can wait any more. */
void postcopy_all_here(struct postcopy *pc);

#endif
