/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_DEST_GUEST_H
#define DROVER_ENGINE_DEST_GUEST_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "owner/owner.h"

struct drover_dest;
struct drover_error;

/**
 * struct dest_guest - the destination's use of its guest link
 * @lock: held over each call, since the link takes one at a time
 * @address: main's, as JSON text, for the record; set before the side's thread starts
 */
struct dest_guest {
	pthread_mutex_t lock;
	char address[OWNER_PEER_MAX];
};

void dest_guest_init(struct dest_guest *g);
void dest_guest_deinit(struct dest_guest *g);
/* The side begins: the VMM becomes a destination, and empty. */
int dest_become(struct drover_dest *d, struct drover_error *e);
/* Fit for the next HELLO, after a session that failed */
int dest_prepare_guest(struct drover_dest *d, struct drover_error *e);
/* A session begins: the record is about it from here on. */
int dest_begin(struct drover_dest *d, const uint8_t *token, enum owner_kind kind,
	       struct drover_error *e);
/* Device state from a sealed file */
int dest_load(struct drover_dest *d, const uint8_t *token, int fd, struct drover_error *e);
/*
 * COMMIT has come: the guest is owned here, and runs if its user wants that. @until: on the
 * boot clock; later it is refused. 0 with a text in @e: it is here and could not be started
 */
int dest_own(struct drover_dest *d, const uint8_t *token, bool will, uint64_t until,
	     struct drover_error *e);
/* The guest is here with all its memory, and may check itself. */
void dest_told(struct drover_dest *d);
/* A request that needs no more than the session: PROVED, FENCE, MINE, CONFIRMED */
int dest_request(struct drover_dest *d, enum owner_event ev, const uint8_t *token,
		 struct drover_error *e);
/* Does the VMM keep a whole copy whose source has not spoken? */
bool dest_keeps_copy(struct drover_dest *d);
/* -EAGAIN: it can't be read now */
int dest_record_get(struct drover_dest *d, struct owner_record *ret);
/*
 * A postcopy is proved, and its guest is like any other: the VMM forgets the ledger, which was
 * kept so that another droverd could still prove it, and the guest may check itself.
 */
int dest_whole(struct drover_dest *d, struct drover_error *e);
/* The ledger that the VMM keeps; -1: it has none. -EOPNOTSUPP: its link knows of none */
int dest_ledger(struct drover_dest *d, int *ret_fd, struct drover_error *e);

#endif
