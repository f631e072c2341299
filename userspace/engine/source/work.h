/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_SOURCE_WORK_H
#define DROVER_ENGINE_SOURCE_WORK_H

/*
 * The pages of a round, which senders take unit by unit, while whoever serves urgent pages
 * claims single ones. No threads, sockets or clock in here but the bell of work_wait().
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct drover_cancel;
struct page_unit;
struct source_block;
struct source_memory;

/**
 * enum work_kind - what a round is
 * @WORK_ROUND: the guest runs; cut short as soon as the operator asks for postcopy
 * @WORK_LAST: the guest is stopped
 * @WORK_NONE: the guest is stopped and postcopy sends its pages later: the end of a round only
 * @WORK_PUSH: the guest runs at the destination: all that is left
 */
enum work_kind { WORK_ROUND, WORK_LAST, WORK_NONE, WORK_PUSH };

/* What a sender must know of the round that it works on. */
struct work_order {
	unsigned int generation;
	uint32_t round;
	enum work_kind kind;
};

/**
 * struct work - written by work.c alone
 * @mem, @hurry: never changed
 * @hurry: the operator has asked for postcopy
 * @wake_fd: eventfd for the source's thread: the round is over, or somebody failed
 * @lock: guards everything below but @taken and @left
 * @cond: a round has been opened, or @stop
 * @order: its generation counts the rounds opened; a sender runs each once
 * @running: senders that have not finished the round
 * @block, @word: where the next unit is looked for
 * @error: of the first sender, or thread for urgent pages, that failed
 * @taken: pages of this round that have been taken
 * @left: postcopy: pages that nobody has taken yet
 */
struct work {
	struct source_memory *mem;
	const atomic_bool *hurry;
	int wake_fd;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct work_order order;
	unsigned int running;
	bool stop;
	unsigned int block;
	uint64_t word;
	struct drover_error error;
	_Atomic uint64_t taken, left;
};

int work_init(struct work *w, struct source_memory *mem, const atomic_bool *hurry,
	      struct drover_error *e);
/* Accepts what a failed work_init() leaves. */
void work_deinit(struct work *w);

/* ---- the source's thread ---- */
/* Senders are about to start: nothing has been opened, nobody has failed. */
void work_start(struct work *w);
void work_stop(struct work *w);
void work_open(struct work *w, uint32_t round, enum work_kind kind, unsigned int nsenders);
/* Have all senders finished the round? @ret: what the first that failed says, or no error. */
bool work_over(struct work *w, struct drover_error *ret);
/* Until somebody calls or the time is up; 0, or why it can't be waited any more. */
int work_wait(struct work *w, const struct drover_cancel *c, uint32_t ms, struct drover_error *e);
/* After a harvest: nothing of what it found has been taken. */
void work_harvested(struct work *w);
/* Postcopy begins or goes on: @left is counted from here on. */
void work_count_left(struct work *w);

/* ---- senders ---- */
/* The next round, waiting for it; @o is the last one. false: the senders end. */
bool work_next(struct work *w, struct work_order *o);
/* The next unit of the round, for the caller alone; false: none is left. */
bool work_take(struct work *w, struct page_unit *ret);
/* The caller has finished the round, or failed in it (@r < 0, @e). */
void work_done(struct work *w, int r, const struct drover_error *e);

/* ---- urgent pages: any thread, without the lock ---- */
/* Postcopy: true: the caller sends this page; false: somebody else does or has. */
bool work_claim(struct work *w, struct source_block *b, uint64_t page);
/* Postcopy: go on around this page. */
void work_near(struct work *w, const struct source_block *b, uint64_t page);
/* A thread for urgent pages has failed. */
void work_fail(struct work *w, const struct drover_error *e);

#endif
