// SPDX-License-Identifier: GPL-2.0-or-later
/* base/crash.h for the droverd of tests/e2e/crash.t */
#include "base/crash.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void drover_crash_point(const char *name)
{
	static atomic_long passed;
	const char *want = getenv("DROVER_CRASH"), *colon = want ? strchr(want, ':') : NULL;

	if (!colon || strlen(name) != (size_t)(colon - want) ||
	    strncmp(want, name, (size_t)(colon - want)))
		return;
	if (atomic_fetch_add(&passed, 1) + 1 == atol(colon + 1))
		kill(getpid(), SIGKILL);
}
