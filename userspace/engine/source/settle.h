/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_SOURCE_SETTLE_H
#define DROVER_ENGINE_SOURCE_SETTLE_H

#include <stdbool.h>

struct drover_source;

/**
 * source_settle() - ask, until it is known who owns the guest
 * @resume: the source has paused the guest, so it runs again when it is ours
 *
 * Return: true: the destination owns it; false: we do, or this daemon ends and nobody knows.
 */
bool source_settle(struct drover_source *s, bool resume);
/* The destination has forgotten the session: because nothing is missing there? */
bool source_done_there(struct drover_source *s);

#endif
