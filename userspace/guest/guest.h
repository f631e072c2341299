/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_GUEST_GUEST_H
#define DROVER_GUEST_GUEST_H

#include "guest/ops.h"

/**
 * drover_guest_open() - attach to the guest a LINK names
 * @link: "sim:size=256M,...", "agent:PATH", "qemu:PATH"
 * @log: outlives the guest
 *
 * Return: 0, -EINVAL (a bad LINK; the message quotes the part), -EOPNOTSUPP (a kind
 * not built in), or what attaching failed with.
 */
int drover_guest_open(const char *link, const struct drover_log *log, struct drover_guest **ret,
		      struct drover_error *e);
struct drover_guest *drover_guest_free(struct drover_guest *g);

/* Implementations, one file each: guest/sim/sim.c, guest/agent.c */
int drover_sim_open(const char *args, const struct drover_log *log, struct drover_guest **ret,
		    struct drover_error *e);
int drover_agent_open(const char *path, const struct drover_log *log, struct drover_guest **ret,
		      struct drover_error *e);

#endif
