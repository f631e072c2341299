/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_DEST_PENDING_H
#define DROVER_ENGINE_DEST_PENDING_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/ledger.h"
#include "engine/blocktime.h"
#include "fault/fault.h"
#include "place/place.h"
#include "wire/wire.h"

/**
 * enum pending_step - how far a postcopy is
 * @PENDING_OPEN: precopy: pages are received the old way
 * @PENDING_DISCARD: DISCARD comes, which says what is still to come
 * @PENDING_ARMED: who touches a page that is still to come waits
 * @PENDING_HERE: all pages have arrived, and the fault handler is gone
 * @PENDING_PROVED: the digests of all of them have been compared
 */
enum pending_step {
	PENDING_OPEN, PENDING_DISCARD, PENDING_ARMED, PENDING_HERE, PENDING_PROVED,
};

/**
 * struct pending - pages that are still to come; written by pending.c alone
 * @ram: the blocks; outlive it
 * @ledger: owned: what has arrived, and its digests. The VMM keeps it too
 * @claim: pages a receiver has begun with, by block
 * @ops, @handler: the fault handler; @handler is NULL before it is armed and from
 *	PENDING_HERE on
 * @bt: postcopy-blocktime; NULL: it is off
 * @step: enum pending_step; goes up only
 * @missing: pages that have not arrived
 * @lock, @cond: signalled when none is missing any more; @lock guards nothing else
 */
struct pending {
	const struct drover_ram *ram;
	struct drover_ledger *ledger;
	uint64_t *claim[DROVER_RAM_BLOCKS_MAX];
	const struct drover_fault_ops *ops;
	void *handler;
	struct drover_blocktime *bt;
	_Atomic int step;
	_Atomic uint64_t missing;
	pthread_mutex_t lock;
	pthread_cond_t cond;
};

static inline enum pending_step pending_step(const struct pending *p)
{
	return (enum pending_step)atomic_load(&p->step);
}

static inline uint64_t pending_missing(const struct pending *p)
{
	return atomic_load(&p->missing);
}

/* One bit a page; set, by the handler, before whoever waits for the page goes on. */
static inline uint64_t *pending_received(const struct pending *p, unsigned int block)
{
	return p->ledger->received[block];
}

/* One digest a page; NULL without digests. */
static inline uint64_t *pending_digests(const struct pending *p, unsigned int block)
{
	return p->ledger->digest[block];
}

/* @ledger is taken over, also on failure. */
int pending_init(struct pending *p, const struct drover_ram *ram, struct drover_ledger *ledger,
		 struct drover_error *e);
/* @open: everybody who waits goes on, as before a guest is emptied. Also after a failed init. */
void pending_deinit(struct pending *p, bool open);

/* A run of DISCARD; before the first one counts, all pages count as received. */
int pending_discard(struct pending *p, unsigned int block, const struct drover_run *run,
		    struct drover_error *e);
void pending_begin_discard(struct pending *p);
/**
 * pending_arm() - from its return on, who touches what is missing waits
 * @ops: chosen for @src by drover_fault_select()
 * @blocktime: measure the waits
 */
int pending_arm(struct pending *p, const struct drover_fault_ops *ops,
		const struct drover_fault_source *src, bool blocktime, struct drover_error *e);
/* pending_arm() and the threads of faults.c: both are under way. */
void pending_armed(struct pending *p);
/* What is claimed and has not arrived was under way on a connection that is gone. */
void pending_drop_claims(struct pending *p);
/* A toucher waits. true: the page has to be asked for; false: it is there, the toucher goes on */
bool pending_fault(struct pending *p, const struct drover_fault *f);

/** struct arrival - argument of pending_place: what arrives, and by which channel (for traces) */
struct arrival {
	struct pending *p;
	const char *channel;
};

/*
 * Postcopy's way for a page: claim, content, digest, received bit, and only then does
 * whoever waits go on. A second copy never gets a claim, so it never lands on a page that
 * may be in use already.
 */
extern const struct drover_place_ops pending_place;

/**
 * pending_wait() - until nothing is missing
 * @idle: as barrier_wait()'s
 */
int pending_wait(struct pending *p, int (*idle)(void *arg, struct drover_error *e), void *arg,
		 struct drover_error *e);
void pending_wake(struct pending *p);
/* All has arrived, and no thread calls the handler any more: it goes. Once is enough. */
void pending_all_here(struct pending *p);
/* Digests of everything were compared. */
void pending_proved(struct pending *p);

#endif
