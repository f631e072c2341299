// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The simulated guest as a destination of postcopy: its writers wait for pages through the
 * userfaultfd of this process, and the ledger is kept for as long as this process lives,
 * which is also how long the guest does.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>

#include "base/err.h"
#include "dev/uffd.h"
#include "fault/fault.h"
#include "guest/sim/sim.h"

static int arm(void *opaque, struct drover_error *e)
{
	struct drover_sim *s = opaque;

	if (!s->ledger)
		return drover_err(e, -EINVAL, "guest sim: there is no ledger that says what has "
				  "arrived");
	return drover_ledger_drop(s->ledger, 0, s->vmm, s->npages, e);
}

int sim_fault_source(struct drover_guest *g, struct drover_fault_source *ret,
		     struct drover_error *e)
{
	struct drover_sim *s = (struct drover_sim *)g;

	(void)e;
	ret->ram = &s->ram;
	ret->uffd = s->uffd;
	ret->base[0] = (uintptr_t)s->vmm;
	ret->arm = arm;
	ret->opaque = s;
	return 0;
}

int sim_ledger_take(struct drover_sim *s, int fd, struct drover_error *e)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0), r;
	struct drover_ledger *l = NULL;

	if (copy < 0)
		return drover_err(e, -errno, "guest sim: ledger: %s", drover_strerror(errno));
	r = drover_ledger_view(copy, &s->ram, &l, e);
	if (r < 0)
		return drover_err_prefix(e, "guest sim: "), r;
	drover_ledger_free(s->ledger);
	s->ledger = l;
	return 0;
}

int sim_ledger_get(struct drover_guest *g, int *ret_fd, struct drover_error *e)
{
	struct drover_sim *s = (struct drover_sim *)g;
	int fd = s->ledger ? fcntl(s->ledger->fd, F_DUPFD_CLOEXEC, 0) : -1;

	if (s->ledger && fd < 0)
		return drover_err(e, -errno, "guest sim: ledger: %s", drover_strerror(errno));
	*ret_fd = fd;
	return 0;
}

void sim_fault_forget(struct drover_sim *s)
{
	if (s->ledger && s->uffd >= 0)
		drover_uffd_unregister(s->uffd, (uintptr_t)s->vmm, s->args.size);
	s->ledger = drover_ledger_free(s->ledger);
}
