// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a VMM does for postcopy: it keeps the ledger of what has arrived, so that another
 * droverd can go on where one has died, and drops its page-table entries of what has not,
 * so that who touches that waits. Called by agent-serve.c.
 */
#define _GNU_SOURCE
#include "lib/internal.h"

#include <errno.h>
#include <fcntl.h>

#include "base/cleanup.h"
#include "dev/uffd.h"

int agent_serve_arm_faults(struct drover_agent *a, struct drover_error *e)
{
	unsigned int i;
	int r;

	if (!a->ledger)
		return drover_err(e, -EINVAL, "there is no ledger that says what has arrived");
	for (i = 0; i < a->ram.n; i++) {
		const struct drover_ram_block *b = &a->ram.block[i];

		r = drover_ledger_drop(a->ledger, i, b->host, drover_pages(b->size), e);
		if (r < 0)
			return drover_err_prefix(e, "RAM %s: ", b->name), r;
	}
	return 0;
}

int agent_serve_ledger_get(struct drover_agent *a, struct drover_error *e)
{
	return a->ledger ? agent_out_fd(a, a->ledger->fd, e) : 0;
}

void agent_uffd_release(struct drover_agent *a)
{
	unsigned int i;

	for (i = 0; a->uffd >= 0 && i < a->ram.n; i++)
		drover_uffd_unregister(a->uffd, (uintptr_t)a->ram.block[i].host,
				       a->ram.block[i].size);
}
