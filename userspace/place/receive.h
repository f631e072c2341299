/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_PLACE_RECEIVE_H
#define DROVER_PLACE_RECEIVE_H

#include <stdint.h>

#include "place/place.h"
#include "wire/wire.h"

struct drover_link;

/** struct drover_received - pages of one message, or of many */
struct drover_received {
	uint64_t raw, zero;
};

/**
 * drover_place_receive() - place the pages of one PAGES message
 * @ops, @place: where they go
 * @b, @block: our block, and its number here
 * @l: its last frame was PAGES; the payload has not been taken
 * @m: that frame's decoded body
 * @ret: how many pages the message held; written on success
 *
 * Content is received straight into the pages that were claimed, and into a scratch page for
 * those that somebody else has claimed. Nothing is received before all runs have been checked,
 * unless there are more pieces than one receive takes.
 *
 * Return: 0; -ERANGE for a run that does not lie in the block; -EBADMSG for a kind of page that
 * was not negotiated; or what @ops or the link failed with.
 */
int drover_place_receive(const struct drover_place_ops *ops, void *place,
			 const struct drover_ram_block *b, unsigned int block,
			 struct drover_link *l, const struct drover_msg_pages *m,
			 struct drover_received *ret, struct drover_error *e);

#endif
