// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * SIGBUS in guest RAM (ram/bus.h). A signal's handler belongs to the process, so it is here
 * in the program. One droverd serves one guest: one table of ranges.
 */
#include "daemon/sigbus.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>

#include "ram/bus.h"

static const struct drover_ram *_Atomic guarded;

static void handler(int sig, siginfo_t *si, void *context)
{
	const struct drover_ram *ram = atomic_load(&guarded);
	int saved = errno;

	(void)context;
	/* Anything else is a fault of ours: it happens again, and ends the process. */
	if (!ram || !drover_ram_bus(ram, si->si_addr))
		signal(sig, SIG_DFL);
	errno = saved;
}

void sigbus_guard(const struct drover_ram *ram)
{
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };

	sigemptyset(&sa.sa_mask);
	atomic_store(&guarded, ram);
	sigaction(SIGBUS, &sa, NULL);
}

void sigbus_release(void)
{
	signal(SIGBUS, SIG_DFL);
	atomic_store(&guarded, NULL);
}
