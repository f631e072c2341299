/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_SOURCE_SOURCE_H
#define DROVER_ENGINE_SOURCE_SOURCE_H

/*
 * The source's own files and nobody else. Each has a header of its own beside it; each calls
 * only files that stand below it.
 *
 * thread.c      the thread: the order of things, and what happens when one fails
 *
 * serve.c       postcopy: the guest runs there: push, serve, pause, resume
 * settle.c      OWNER_QUERY until somebody knows
 * switchover.c  stop, last pages, state, digests, COMMIT
 * precopy.c     rounds until the guest may be stopped; asks the policy
 * rounds.c      harvest, and one round
 *
 * hello.c       connect, HELLO, ATTACH
 * audit.c       re-hash of the frozen RAM
 * digest.c      DIGEST and its answer
 * inbox.c       what comes back on the main channel
 * urgent.c      pages that somebody waits for
 * ranges.c      messages of runs of pages: RANGES, DISCARD, RECOVER, RELEASE
 * sender.c      channel threads
 * tick.c        statistics
 * handover.c    whose the guest is: pause, resume, record, downtime
 *
 * work.c        which pages must still be sent, and who sends them
 * encode.c      a page's way into a frame
 * memory.c      the guest's RAM: what is dirty, what was sent, the tracker
 * peer.c        the session, and the connections to the destination
 * pace.c        how fast pages may be sent
 * meter.c       what was measured
 */
#include <assert.h>

#include "engine/internal.h"
#include "engine/source/audit.h"
#include "engine/source/digest.h"
#include "engine/source/encode.h"
#include "engine/source/handover.h"
#include "engine/source/hello.h"
#include "engine/source/inbox.h"
#include "engine/source/memory.h"
#include "engine/source/meter.h"
#include "engine/source/pace.h"
#include "engine/source/peer.h"
#include "engine/source/precopy.h"
#include "engine/source/ranges.h"
#include "engine/source/rounds.h"
#include "engine/source/sender.h"
#include "engine/source/serve.h"
#include "engine/source/settle.h"
#include "engine/source/switchover.h"
#include "engine/source/tick.h"
#include "engine/source/urgent.h"
#include "engine/source/work.h"

/**
 * enum source_mode - what sort of migration this is; it only ever moves down this list
 * @SOURCE_PRECOPY: all pages are sent before the guest runs there
 * @SOURCE_ONE_WAY: the same, and the destination never answers
 * @SOURCE_POSTCOPY: the guest runs there, or will, before all pages are sent
 * @SOURCE_ADOPTED: the same, and another droverd has begun it: what was sent before is its
 *	knowledge, not ours
 */
enum source_mode { SOURCE_PRECOPY, SOURCE_ONE_WAY, SOURCE_POSTCOPY, SOURCE_ADOPTED };

/**
 * struct drover_source - the whole; a member is written by the file that it is named after,
 *	and reached by any that stands above that file, to call its functions
 * @m: the migration that this is the source of: its config, state, orders and statistics are
 *	what every file needs
 * @mode: source_enter() writes it, in the source's thread while no other thread runs; ask the
 *	functions below
 */
struct drover_source {
	struct drover_migration *m;
	enum source_mode mode;
	struct source_memory mem;
	struct peer peer;
	struct inbox inbox;
	struct meter meter;
	struct pace pace;
	struct converge converge;
	struct handover handover;
	struct digests digests;
	struct work work;
	struct encoder encoder;
	struct sender_pool pool;
	struct urgent_pool urgent;
};

static inline void source_enter(struct drover_source *s, enum source_mode mode)
{
	assert(s->mode == mode || s->mode == SOURCE_PRECOPY);
	s->mode = mode;
}

static inline bool source_one_way(const struct drover_source *s)
{
	return s->mode == SOURCE_ONE_WAY;
}

/* The guest runs at the destination, or will, before all of its memory is there. */
static inline bool source_postcopying(const struct drover_source *s)
{
	return s->mode >= SOURCE_POSTCOPY;
}

static inline bool source_adopted(const struct drover_source *s)
{
	return s->mode == SOURCE_ADOPTED;
}

#endif
