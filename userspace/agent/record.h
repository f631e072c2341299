/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_AGENT_RECORD_H
#define DROVER_AGENT_RECORD_H

#include <stdint.h>

/* What a VMM knows of its guest and tells droverd: who owns it, and whether it runs. */

/** enum drover_owner_state - the ownership record a VMM keeps; design: "Ownership" */
enum drover_owner_state {
	DROVER_OWNER_OWNED,             /* may run; a VMM that was never migrated */
	DROVER_OWNER_INCOMING,          /* a destination before COMMIT: must not run */
	DROVER_OWNER_IN_DOUBT,          /* a source from before COMMIT until settled: must not run */
	DROVER_OWNER_RELEASED,          /* a source that handed over: must not run */
	DROVER_OWNER_FENCED,            /* a destination that answered "not committed": must not run */
	DROVER_OWNER_SERVING,           /* a source in postcopy: must not run, its RAM is needed still */
};

#define DROVER_OWNER_PEER_MAX 512

/**
 * struct drover_owner_record - kept by the VMM, outlives droverd
 * @state: see enum
 * @token: the session it is about; zeros when none
 * @peer: source: URI-like JSON text of the destination's main address; destination:
 *	JSON text of the address it listens on; so that a new droverd can settle
 *
 * A VMM that was never migrated, or whose last migration is settled on both sides,
 * is OWNED with a zero token. A destination keeps the token until RELEASED came.
 */
struct drover_owner_record {
	enum drover_owner_state state;
	uint8_t token[16];
	char peer[DROVER_OWNER_PEER_MAX];
};

enum drover_run_state {
	DROVER_GUEST_RUNNING,
	DROVER_GUEST_PAUSED,
	DROVER_GUEST_INCOMING,          /* waiting for a migration: RAM empty, never ran */
	DROVER_GUEST_GONE,              /* the VMM has died or closed the link */
};

#endif
