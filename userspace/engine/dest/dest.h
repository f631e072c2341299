/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_DEST_DEST_H
#define DROVER_ENGINE_DEST_DEST_H

/*
 * The destination's own files and nobody else. Each calls those below it in this list, and
 * none above it.
 *
 * listen.c  the side: connections, each with a thread; a first message says what it is
 * session.c  main of a session, from HELLO_ACK to COMMIT_ACK and RELEASED: what each message does
 *
 * hello.c  HELLO and RANGES: what is accepted, what is refused and why
 * resume.c  HELLO of a paused postcopy; what an earlier droverd has left
 * attach.c  ATTACH: a data or urgent channel and its thread
 * owner.c  OWNER_QUERY
 * end.c  how a session ends: failed, paused, over
 * commit.c  COMMIT, RELEASED, END: the handover
 * discard.c  DISCARD: a session's pages change over to postcopy's way
 * pages.c  PAGES and ROUND_END, from whichever channel
 * release.c  RELEASE: what the source may free
 * begin.c  a session, as HELLO makes it
 *
 * seat.c  the one session that a side can have, found by its token; fenced tokens
 * postcopy.c  the guest runs before all is here: the whole of it, from arming to the end
 * digest.c  DIGEST
 * state.c  STATE
 * fate.c  whether a session lives, and whether its COMMIT is done
 *
 * faults.c  fault threads: who waits for pages, and where to ask for them
 * pending.c  pages that are still to come, and their way into RAM
 * channels.c  channels beside main
 * barrier.c  all channels have reached the end of a round
 * listeners.c  addresses
 * guest.c  the VMM's record, ledger and memory
 *
 * Locks, in taking order: seat.lock, fate.lock; dest_guest.lock, under which the fault
 * threads start; faults.lock, which is held while a page is asked for; all others (those of
 * channels, barrier, pending and listeners, migration.lock) are taken last.
 */
#include "channel/channel.h"
#include "engine/dest/guest.h"
#include "engine/dest/listeners.h"
#include "engine/dest/seat.h"
#include "engine/internal.h"

struct conn;

/**
 * struct drover_dest - the incoming side of a migration; written by listen.c alone
 * @m: its migration; every file reads it
 * @handshake_timeout, @one_way, @shared_ram: of the request, since a session has a config of its
 *	own. @shared_ram: x-ignore-shared: the RAM is not this side's to empty
 * @one_shot: the transport gives one connection and no more
 * @conns: connections; the accepting thread's
 * @strangers: those of them that have not yet said what they are
 * @released: the guest is here, and its source will never ask again; commit.c sets it
 */
struct drover_dest {
	struct drover_migration *m;
	uint32_t handshake_timeout;
	bool one_way, shared_ram, one_shot;
	struct listeners listeners;
	struct dest_guest guest;
	struct seat seat;
	struct conn *conns;
	atomic_uint strangers;
	atomic_bool released;
};

#endif
