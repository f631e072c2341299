/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_SOURCE_HELLO_H
#define DROVER_ENGINE_SOURCE_HELLO_H

struct drover_error;
struct drover_source;

/* Connect, agree with the destination, say what will come, and attach all channels. */
int source_connect(struct drover_source *s, struct drover_error *e);
/*
 * The same for a session that goes on: its token, its config, and instead of ranges the
 * destination's account of what has arrived. -EREMOTEIO: the destination refused with FAIL.
 */
int source_reconnect(struct drover_source *s, struct drover_error *e);

#endif
