/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_SOURCE_SWITCHOVER_H
#define DROVER_ENGINE_SOURCE_SWITCHOVER_H

struct drover_error;
struct drover_source;

/*
 * Stop the guest and hand it over. 0: the destination owns it (one-way: the stream is
 * complete); 1: in doubt, since COMMIT was not answered; < 0: failed before COMMIT, and the
 * guest may run here again
 */
int source_switchover(struct drover_source *s, struct drover_error *e);

#endif
