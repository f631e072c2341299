/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_DEST_STATE_H
#define DROVER_ENGINE_DEST_STATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "wire/wire.h"

struct drover_error;
struct session;

#define STATE_IN_MAX (1ull << 30)

/**
 * enum state_step - how much of STATE has come
 * @STATE_RUN: nothing: section drover/run is next
 * @STATE_GUEST: that section; section guest is next
 * @STATE_WHOLE: all of it
 * @STATE_LOADED: and the guest has loaded it
 */
enum state_step { STATE_RUN, STATE_GUEST, STATE_WHOLE, STATE_LOADED };

/**
 * struct state_in - device state being received; written by state.c alone
 * @fd: memfd of section guest, -1 before its first piece
 * @off, @total: of the section that is next
 * @run: the guest ran at the source, and shall run here
 * @step: enum state_step; read by the threads of data channels
 */
struct state_in {
	int fd;
	uint64_t off, total;
	bool run;
	_Atomic int step;
};

void state_init(struct state_in *in);
void state_deinit(struct state_in *in);
static inline enum state_step state_step(const struct state_in *in)
{
	return (enum state_step)atomic_load(&in->step);
}

/*
 * May this piece come now? Only sections drover/run and guest may, in this order, whole.
 * @len: of the piece. Changes nothing.
 */
int state_check(const struct state_in *in, const struct drover_msg_state *s, uint64_t len,
		struct drover_error *e);
/* A piece that passed state_check(). 1: that was the last one, and all is there */
int state_put(struct state_in *in, const struct drover_msg_state *s, const uint8_t *piece,
	      uint64_t len, struct drover_error *e);
/* Nothing is left to come: the state was loaded in an earlier session of this postcopy. */
void state_skip(struct state_in *in);

/* STATE has come on main. */
int session_state(struct session *x, const struct drover_frame *f, struct drover_error *e);

#endif
