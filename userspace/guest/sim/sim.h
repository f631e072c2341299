/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_GUEST_SIM_SIM_H
#define DROVER_GUEST_SIM_SIM_H

/* Shared by the files of the simulated guest and by its unit test. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/ledger.h"
#include "base/bitmap.h"
#include "base/cleanup.h"
#include "guest/guest.h"
#include "guest/sim/page.h"

#define SIM_WRITERS_MAX 2u
#define SIM_STRIPES 256u
#define SIM_FILE_MAX 256u

/**
 * struct sim_args - what the LINK says; all but the last three travel with the guest
 * @size, @hot: bytes, multiples of the page size; 0 < hot <= size
 * @dirty: bytes written a second, 4096 a page; 0: no writers
 * @zero: percent of pages that start untouched
 * @prefault: populate the RAM of a destination before it listens
 * @poison: fill it with junk then (tests)
 * @file: path of the RAM on a tmpfs; empty: memory of its own. A guest that finds the file
 *	there leaves it alone and waits for the one that made it (x-ignore-shared)
 */
struct sim_args {
	uint64_t size;
	uint64_t dirty;
	uint64_t seed;
	uint64_t hot;
	unsigned int zero;
	bool prefault;
	bool poison;
	char file[SIM_FILE_MAX];
};

/* Parse "size=256M,dirty=...": 0, or -EINVAL that quotes key and value. */
int sim_args_parse(const char *text, struct sim_args *ret, struct drover_error *e);
/* Bounds of a set of values, from a LINK or from a state: 0, or -EINVAL */
int sim_args_check(const struct sim_args *a, struct drover_error *e);

enum sim_verdict { SIM_CHECK_NONE, SIM_CHECK_READY, SIM_CHECK_RUNNING, SIM_CHECK_PASSED,
		   SIM_CHECK_FAILED };

/**
 * struct sim_check - the self-check after a move
 * @checked: one bit a page, set when the page is counted; NULL: nothing to check
 * @sum, @pages, @bad: over the pages checked so far
 * @first_bad: lowest number met first; meaningful when @bad
 * @expect: what @sum must be when all are checked
 * @lock: guards @text
 */
struct sim_check {
	pthread_t thread;
	bool started;
	atomic_bool stop;
	_Atomic int verdict;
	uint64_t *checked;
	_Atomic uint64_t sum, pages, bad, first_bad;
	uint64_t expect;
	pthread_mutex_t lock;
	char text[160];
};

struct drover_sim;

/**
 * struct sim_writer - one writer thread
 * @sum, @writes: what it has added to the guest's; folded in when it has ended
 */
struct sim_writer {
	struct drover_sim *sim;
	pthread_t thread;
	uint64_t rate;                  /* bytes a second, its part */
	uint64_t rng;
	uint64_t sum;
	uint64_t writes;
};

/**
 * struct drover_sim - a guest inside this process
 * @vmm: the guest's own mapping, which it writes through; ram.block[0].host is droverd's
 * @status: enum drover_run_state
 * @ledger: of a postcopy that is not complete: pages are missing
 * @found: the RAM file was there
 * @emptied: the RAM is empty, and no session has begun since
 * @sum: of sim_page_mix() over all pages; @writes: pages written; both up to date while
 *	no writer runs
 * @step: held over a whole step of the record, which stop and cont may take beside the engine
 * @lock: guards @stop, and @record, which any thread asks for; taken alone
 * @stripe: page p is written and checked under stripe[p % SIM_STRIPES]; taken alone
 */
struct drover_sim {
	struct drover_guest base;
	struct sim_args args;
	struct drover_ram ram;
	struct drover_guest_traits traits;
	struct owner_record record;
	int fd;
	int uffd;
	int pagemap_fd;
	struct drover_ledger *ledger;
	uint8_t *vmm;
	uint64_t npages;
	_Atomic int status;
	_Atomic unsigned int throttle;  /* percent */
	bool found;
	bool emptied;
	uint64_t sum;
	uint64_t writes;
	uint64_t runs;                  /* times resumed; makes writers differ */

	struct sim_writer writer[SIM_WRITERS_MAX];
	unsigned int nwriters;
	pthread_mutex_t step;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool stop;
	atomic_bool stop_now;           /* the same, for between two pages */

	pthread_mutex_t stripe[SIM_STRIPES];
	struct sim_check check;
};

/* ram.c: memory. The guest is stopped for all but sim_ram_open and sim_ram_close. */
int sim_ram_open(struct drover_sim *s, struct drover_error *e);
void sim_ram_close(struct drover_sim *s);
/* Version 1 in every page but the untouched ones; sets the sum. */
int sim_ram_fill(struct drover_sim *s, struct drover_error *e);
/* Punch all of it; then populate and poison as the LINK says. */
int sim_ram_empty(struct drover_sim *s, struct drover_error *e);

/* fault.c: postcopy */
int sim_fault_source(struct drover_guest *g, struct drover_fault_source *ret,
		     struct drover_error *e);
/* What the record says is the caller's business. */
int sim_ledger_take(struct drover_sim *s, int fd, struct drover_error *e);
int sim_ledger_get(struct drover_guest *g, int *ret_fd, struct drover_error *e);
/* A postcopy that is not complete never will be: writers that wait go on. */
void sim_fault_forget(struct drover_sim *s);

/* run.c: writers */
int sim_run_start(struct drover_sim *s, struct drover_error *e);
/* On return no page is being written, and sum and writes are up to date. Idempotent. */
void sim_run_stop(struct drover_sim *s);

/* check.c */
/* Before the guest runs from a loaded state: everything is unchecked from here on. */
int sim_check_arm(struct drover_sim *s, struct drover_error *e);
/* A writer is about to change the page; its stripe is held. */
void sim_check_page(struct drover_sim *s, uint64_t page);
/* Check the rest in the background. */
void sim_check_start(struct drover_sim *s);
/* End the check, if any, and forget it. */
void sim_check_reset(struct drover_sim *s);
struct json_object *sim_check_json(struct drover_sim *s);

/* state.c */
#define SIM_STATE_LEN 80u
int sim_state_save(struct drover_sim *s, int *ret_fd, struct drover_error *e);
/* Nothing is changed unless all of it is right. */
int sim_state_load(struct drover_sim *s, int fd, struct drover_error *e);

#endif
