// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * droverd's own look at the RAM that a VMM offers: the VMM may not use libdrover, which has
 * asked the same questions. Called by agent.c.
 */
#include "guest/agent-memory.h"

#include <errno.h>

#include "agent/message.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/log.h"
#include "ram/mapping.h"
#include "ram/ramfile.h"
#include "ram/wrote.h"

static bool can_look(const struct drover_error *e)
{
	return e->code != -EACCES && e->code != -EPERM && e->code != -ENOENT && e->code != -ESRCH;
}

int agent_memory_mapped(const struct drover_ram *ram, const struct drover_track_block *at,
			     int pid, uint64_t features, const struct drover_log *log,
			     struct drover_error *e)
{
	uint64_t base[DROVER_RAM_BLOCKS_MAX];
	unsigned int i;
	int r;

	for (i = 0; i < ram->n; i++)
		base[i] = at[i].base;
	r = drover_mapping_check(pid, ram->block, base, ram->n, e);
	if (r >= 0 || can_look(e))
		return r;
	/* The VMM may be another user's, or in a process namespace that is not seen here. */
	if (features & DROVER_AGENT_F_RAM_CHECKED) {
		drover_debug(log, "agent: %s; its libdrover has looked", e->msg);
		drover_err_clear(e);
		return 0;
	}
	return drover_err_prefix(e, "how the VMM maps its RAM can't be found out: let droverd "
				 "read /proc/PID/maps, or use libdrover: "), r;
}

int agent_memory_wrote(struct agent_link *l, const struct drover_ram *ram,
		       struct drover_wrote **ret, struct drover_error *e)
{
	_cleanup_(drover_agent_msg_deinit) struct drover_agent_msg m;
	int r;

	drover_agent_msg_init(&m);
	r = agent_link_call(l, DROVER_AGENT_WROTE_GET, NULL, 0, -1, 0, NULL, &m, e);
	if (r >= 0)
		r = drover_wrote_open(TAKE_FD(m.fd[0]), ram, ret, e);
	return r;
}

int agent_memory_dest(const struct drover_ram *ram, struct drover_error *e)
{
	unsigned int i;
	int r = 0;

	for (i = 0; i < ram->n && r >= 0; i++)
		r = drover_ramfile_check(ram->block[i].fd, ram->block[i].name, true, e);
	return r;
}
