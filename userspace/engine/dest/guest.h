/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_DEST_GUEST_H
#define DROVER_ENGINE_DEST_GUEST_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/record.h"

struct drover_dest;
struct drover_error;

/**
 * struct dest_guest - the destination's use of its guest link
 * @lock: held over each call, since the link takes one at a time
 * @address: main's, as JSON text, for the record; set before the side's thread starts
 */
struct dest_guest {
	pthread_mutex_t lock;
	char address[DROVER_OWNER_PEER_MAX];
};

void dest_guest_init(struct dest_guest *g);
void dest_guest_deinit(struct dest_guest *g);
/* Fit for a HELLO: stopped and empty. */
int dest_prepare_guest(struct drover_dest *d, struct drover_error *e);
/* Device state from a sealed file */
int dest_load(struct drover_dest *d, int fd, struct drover_error *e);
/* The guest is owned here: it runs if it @ran; @whole: and all its memory is here */
int dest_start(struct drover_dest *d, bool ran, bool whole, struct drover_error *e);
/* The VMM's record; @token NULL: of no session any more */
int dest_record(struct drover_dest *d, enum drover_owner_state state, const uint8_t *token,
		struct drover_error *e);
int dest_record_get(struct drover_dest *d, struct drover_owner_record *ret, struct drover_error *e);
/*
 * A postcopy is proved, and its guest is like any other: the VMM forgets the ledger, which was
 * kept so that another droverd could still prove it, and the guest may check itself.
 */
int dest_whole(struct drover_dest *d, struct drover_error *e);
/* The ledger that the VMM keeps; -1: it has none. -EOPNOTSUPP: its link knows of none */
int dest_ledger(struct drover_dest *d, int *ret_fd, struct drover_error *e);

#endif
