/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_SOURCE_SERVE_H
#define DROVER_ENGINE_SOURCE_SERVE_H

#include <stdbool.h>

struct drover_error;
struct drover_source;

/**
 * source_postcopy() - the guest runs at the destination, and its memory follows
 * @is_paused: nothing is connected yet: wait to be resumed first
 *
 * Return: 0: all has arrived; 1: that was found out later, or the operator gave the session
 * up: the migration's state says so already; -ECANCELED: this daemon ends, another may go on.
 */
int source_postcopy(struct drover_source *s, bool is_paused, struct drover_error *e);

#endif
