/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_GUEST_AGENT_MEMORY_H
#define DROVER_GUEST_AGENT_MEMORY_H

#include <stdint.h>

#include "guest/agent-link.h"
#include "ram/ram.h"
#include "track/track.h"

struct drover_error;
struct drover_log;

/**
 * agent_memory_mapped() - does the VMM share with its files what the guest writes?
 * @at: where the VMM says that it maps the blocks
 * @pid: the VMM's; 0 when it is in a process namespace that is not seen here
 * @features: HELLO_ACK's
 *
 * Return: 0; -EOPNOTSUPP with block, mapping and remedy; another negative errno when the
 * VMM's mappings can't be read and its libdrover has not read them either.
 */
int agent_memory_mapped(const struct drover_ram *ram, const struct drover_track_block *at,
			     int pid, uint64_t features, const struct drover_log *log,
			     struct drover_error *e);
/* The file in which the VMM reports its devices' writes; the caller's. */
int agent_memory_wrote(struct agent_link *l, const struct drover_ram *ram,
		       struct drover_wrote **ret, struct drover_error *e);
/* A destination is written to: more is asked of its files. */
int agent_memory_dest(const struct drover_ram *ram, struct drover_error *e);

#endif
