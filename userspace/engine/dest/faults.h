/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_DEST_FAULTS_H
#define DROVER_ENGINE_DEST_FAULTS_H

#include <pthread.h>
#include <stdint.h>

#include "engine/dest/channels.h"
#include "engine/dest/pending.h"

struct dest_block;
struct drover_ahead;
struct drover_measure;
struct fault_thread;

/**
 * struct fault_block - of a block
 * @asked: pages that somebody waits for, or waited
 * @theirs: the source's number of it; guarded by struct faults' lock
 */
struct fault_block {
	uint64_t *asked;
	unsigned int theirs;
};

/**
 * struct faults - who waits for pages, and where to ask for them; written by faults.c alone
 * @p: the pages; its handler tells who waits
 * @requests: counts what was asked for
 * @lock: guards @main, @urgent and the blocks' numbers
 * @main, @urgent: where to ask; NULL while nothing is connected
 * @bell: eventfd: the fault threads end
 * @ahead: populates what is missing
 */
struct faults {
	struct pending *p;
	struct drover_measure *requests;
	struct fault_block block[DROVER_RAM_BLOCKS_MAX];
	pthread_rwlock_t lock;
	struct drover_link *main, *urgent[CHANNELS_URGENT_MAX];
	int bell;
	struct drover_ahead *ahead;
	pthread_t thread[CHANNELS_URGENT_MAX];
	struct fault_thread *arg;
	unsigned int nthreads;
};

/* @p may be initialised later, before faults_start(). */
int faults_init(struct faults *f, const struct drover_ram *ram, struct pending *p,
		struct drover_measure *requests, struct drover_error *e);
/* Also after faults_init() has failed. The threads have ended. */
void faults_deinit(struct faults *f);
/* @threads: of which each has an urgent channel of its own, or all have main */
int faults_start(struct faults *f, unsigned int threads, struct drover_error *e);
/* Idempotent */
void faults_stop(struct faults *f);
/**
 * faults_online() - a source is connected: what was asked for and has not come is asked again
 * @l: main
 * @channels: the session's; its urgent ones that have joined already are used
 * @block, @n: by the source's number, which of our blocks it is
 */
void faults_online(struct faults *f, struct drover_link *l, struct channels *channels,
		   const struct dest_block *block, unsigned int n);
void faults_offline(struct faults *f);
/* An urgent channel comes or, NULL, goes while the session lives. */
void faults_urgent(struct faults *f, unsigned int index, struct drover_link *l);

#endif
