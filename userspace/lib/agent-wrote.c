// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Device writes, as the VMM reports them: ram/wrote.h behind the public face. The file is
 * made before droverd can attach and lives as long as the agent, so the calls need no lock
 * and no test for a droverd. Called by the VMM's threads, and by agent-serve.c.
 */
#include "lib/internal.h"

#include <errno.h>

#include "ram/wrote.h"

int agent_wrote_open(struct drover_agent *a, struct drover_error *e)
{
	return a->reports && !a->wrote ? drover_wrote_new(&a->ram, &a->wrote, e) : 0;
}

int agent_serve_wrote_get(struct drover_agent *a, struct drover_error *e)
{
	if (!a->wrote)
		return drover_err(e, -EOPNOTSUPP, "this VMM does not report device writes");
	return agent_out_fd(a, drover_wrote_fd(a->wrote), e);
}

int drover_agent_wrote(struct drover_agent *a, unsigned int block, uint64_t offset, uint64_t len)
{
	uint64_t size, first;

	if (!a->reports || block >= a->ram.n)
		return -EINVAL;
	size = a->ram.block[block].size;
	if (offset > size || len > size - offset)
		return -EINVAL;
	if (!len || !a->wrote)
		return 0;
	first = drover_pages(offset);
	drover_wrote_mark(a->wrote, block, first, drover_pages(offset + len - 1) - first + 1);
	return 0;
}

unsigned int drover_agent_io_begin(struct drover_agent *a)
{
	return a->wrote ? drover_wrote_begin(a->wrote) : 0;
}

void drover_agent_io_end(struct drover_agent *a, unsigned int token)
{
	if (a->wrote)
		drover_wrote_end(a->wrote, token);
}
