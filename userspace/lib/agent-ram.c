// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Which memory libdrover takes as guest RAM. What droverd could not read, track or fill is
 * refused when it is registered, by name and with the remedy, and not by a guest that has
 * lost its memory. Called by agent.c and agent-serve.c.
 */
#include "lib/internal.h"

#include <unistd.h>

#include "ram/mapping.h"
#include "ram/ramfile.h"

int agent_ram_check_file(const struct drover_agent *a, int fd, const char *name,
			 struct drover_error *e)
{
	return drover_ramfile_check(fd, name, a->record.state == OWNER_INCOMING, e);
}

int agent_ram_check_mapping(const struct drover_ram_block *b, struct drover_error *e)
{
	uint64_t base = (uintptr_t)b->host;

	return drover_mapping_check(getpid(), b, &base, 1, e);
}

int agent_ram_check_dest(const struct drover_agent *a, struct drover_error *e)
{
	unsigned int i;
	int r = 0;

	for (i = 0; i < a->ram.n && r >= 0; i++)
		r = drover_ramfile_check(a->ram.block[i].fd, a->ram.block[i].name, true, e);
	return r;
}
