/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_SOURCE_SETTLE_H
#define DROVER_ENGINE_SOURCE_SETTLE_H

#include <stdbool.h>

struct drover_source;

/**
 * source_settle() - ask, until it is known who owns the guest
 *
 * Return: true: it runs at the destination, which needs the memory here; false: there is no
 * more to do: it is ours, or was handed over whole, or this daemon ends and nobody knows, or
 * the VMM does not answer.
 */
bool source_settle(struct drover_source *s);
/* The destination has forgotten the session: because nothing is missing there? */
bool source_done_there(struct drover_source *s);

#endif
