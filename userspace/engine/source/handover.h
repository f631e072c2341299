/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_SOURCE_HANDOVER_H
#define DROVER_ENGINE_SOURCE_HANDOVER_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/record.h"

struct drover_error;
struct drover_measure;
struct drover_source;

/**
 * struct handover - whose the guest is, and how long it has been stopped; written by handover.c
 *	alone, in the source's thread
 * @was_running: before the migration, so it runs again when that fails
 * @paused: the source has paused it
 * @stop_ns: when; 0: it has not been stopped
 * @lap_ns: where the last part of the downtime ended
 * @sent: bytes that had been sent when it began to run there, and one more; 0: before that
 */
struct handover {
	bool was_running;
	bool paused;
	uint64_t stop_ns;
	uint64_t lap_ns;
	uint64_t sent;
};

/* Does it run? To be asked before anything else is done to it. */
void source_look_at_guest(struct drover_source *s);
int source_pause_guest(struct drover_source *s, struct drover_error *e);
/* It runs here again if the source had paused it; what fails is the migration's error. */
void source_resume_guest(struct drover_source *s);

/* The time since the last lap belongs to @part of the downtime; a part may have several laps. */
void source_lap(struct drover_source *s, struct drover_measure *part);
/* The downtime is over: what it was, and how good the estimate. */
void source_account_downtime(struct drover_source *s);
/* The guest runs at the destination: what is sent from here on is postcopy's. */
void source_handed_over(struct drover_source *s);

/* The VMM's record, of this session. SERVING of a VMM that doesn't know it: RELEASED */
int source_record(struct drover_source *s, enum drover_owner_state state, struct drover_error *e);
/* The guest is this VMM's, and of no session. */
int source_record_owned(struct drover_source *s, struct drover_error *e);
/* What another droverd left in the VMM's record: the session's token and peer. */
int source_adopt_record(struct drover_source *s, struct drover_error *e);
/* For an error of somebody else: enough to know the session by, too little to take it over. */
void source_session_text(struct drover_source *s);

#endif
