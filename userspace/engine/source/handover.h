/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_SOURCE_HANDOVER_H
#define DROVER_ENGINE_SOURCE_HANDOVER_H

#include <stdbool.h>
#include <stdint.h>

#include "owner/owner.h"

struct drover_error;
struct drover_measure;
struct drover_source;

/**
 * struct handover - whose the guest is, and how long it has been stopped; written by handover.c
 *	alone, in the source's thread
 * @was_running: before the migration
 * @will: its user wants it to run, as the VMM's record had it at the final pause
 * @paused: the source has asked for the final pause
 * @held: one-way: the stream's end may have been read, so the guest never comes back by itself
 * @unknown: the VMM did not answer a request: what its record says only a new link is told
 * @stop_ns: when; 0: it has not been stopped
 * @lap_ns: where the last part of the downtime ended
 * @sent: bytes that had been sent when it began to run there, and one more; 0: before that
 */
struct handover {
	bool was_running;
	bool will;
	bool paused;
	bool held;
	bool unknown;
	uint64_t stop_ns;
	uint64_t lap_ns;
	uint64_t sent;
};

/* Does it run? To be asked before anything else is done to it. */
void source_look_at_guest(struct drover_source *s);
/* The final pause, also of a guest that does not run. */
int source_pause_guest(struct drover_source *s, struct drover_error *e);
/*
 * It is this side's again if the source had paused it, and runs if its user wants that; what
 * fails is the migration's error. Of a stream that may have been read to its end it is not.
 */
void source_resume_guest(struct drover_source *s);
/* One-way: from here on only the stream's good end, or the operator, decides. */
void source_hold(struct drover_source *s);

/* The time since the last lap belongs to @part of the downtime; a part may have several laps. */
void source_lap(struct drover_source *s, struct drover_measure *part);
/* The downtime is over: what it was, and how good the estimate. */
void source_account_downtime(struct drover_source *s);
/* The guest runs at the destination: what is sent from here on is postcopy's. */
void source_handed_over(struct drover_source *s);

/* A request about this session to the VMM: DOUBT, BACK, SERVE, TAKE, MOVE. */
int source_request(struct drover_source *s, enum owner_event ev, struct drover_error *e);
/* It is handed over: RELEASE. */
int source_give(struct drover_source *s, enum owner_by by, struct drover_error *e);
/* What another droverd left in the VMM's record: the session's token and peer. */
int source_adopt_record(struct drover_source *s, struct drover_error *e);
/* For an error of somebody else: enough to know the session by, too little to take it over. */
void source_session_text(struct drover_source *s);

#endif
