/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_DEST_CHANNELS_H
#define DROVER_ENGINE_DEST_CHANNELS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "peer/link.h"

#define CHANNELS_DATA_MAX (DROVER_ATTACH_INDEX_MAX + 1)
#define CHANNELS_URGENT_MAX (DROVER_ATTACH_POSTCOPY_MAX + 1)

/*
 * The channels of a session beside main. Each has a thread of its own, which joins when its
 * ATTACH has been read and leaves before it frees its link.
 */

/**
 * struct channels - written by channels.c alone; guarded by @lock
 * @data, @urgent: in use, by their index; NULL: not there
 * @ndata, @nurgent: how many may join; 0 until the handshake is done
 * @users: threads inside
 * @closed: the session ends: nobody joins any more
 */
struct channels {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct drover_link *data[CHANNELS_DATA_MAX];
	struct drover_link *urgent[CHANNELS_URGENT_MAX];
	unsigned int ndata, nurgent;
	unsigned int users;
	bool closed;
};

void channels_init(struct channels *c);
void channels_deinit(struct channels *c);
/* From here on so many may join. */
void channels_expect(struct channels *c, unsigned int ndata, unsigned int nurgent);
/* false: the session does not want this channel, or has it already. */
bool channels_join(struct channels *c, const struct drover_msg_attach *a, struct drover_link *l);
/* Nobody learns of its link from here on; its thread is still inside. */
void channels_withdraw(struct channels *c, const struct drover_msg_attach *a);
/* Its thread leaves, and touches the session no more. */
void channels_leave(struct channels *c);
/* Tell @fn, under the lock, of each urgent channel that is here. */
void channels_each_urgent(struct channels *c,
			  void (*fn)(void *arg, unsigned int index, struct drover_link *l),
			  void *arg);
/* All of them fail from here on, and none joins any more. */
void channels_close(struct channels *c);
/* Until every thread has left. */
void channels_wait(struct channels *c);
uint64_t channels_rx_bytes(struct channels *c);
/* Does main carry the pages? */
bool channels_none(struct channels *c);

#endif
