/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_AGENT_RECORD_H
#define DROVER_AGENT_RECORD_H

/* Whether a guest runs, as its VMM tells droverd. Whose it is: owner/record.h. */
enum drover_run_state {
	DROVER_GUEST_RUNNING,
	DROVER_GUEST_PAUSED,
	DROVER_GUEST_INCOMING,          /* waiting for a migration: it must not run */
	DROVER_GUEST_GONE,              /* the VMM has died, or the link has ended */
};

#endif
