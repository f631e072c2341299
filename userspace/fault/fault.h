/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_FAULT_FAULT_H
#define DROVER_FAULT_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ram/ram.h"

struct drover_error;

/*
 * Fault handlers of a postcopy's destination. A thread that touches a page that has not arrived
 * waits, and droverd learns of it. The handler is armed before the guest runs. If the daemon that
 * holds the handler dies, waiting threads go on waiting: they neither read missing content nor
 * die, and the handler of the next daemon takes over.
 */

/**
 * struct drover_fault_source - what a guest link offers to fault handlers
 * @ram: the blocks, with their files; outlives the handler
 * @uffd: userfaultfd of the VMM, -1: none; owned by the guest link
 * @base: address of each block in the VMM
 * @arm: makes the VMM drop its page-table entries of all pages without a received bit. A handler
 *	that needs it calls it when new faults are caught already. NULL: the VMM can't do it
 * @opaque: first argument of @arm
 * @received: a bitmap for each block, shared with the VMM (agent/ledger.h); the engine fills this
 *	in. Before the handler's @start it says which pages have arrived; from then on the
 *	handler sets the bits, with release order, and only then lets waiting threads go on
 * @adopt: the handler of a daemon that died had armed the guest: pages that arrived then stay
 *	published, and faults of threads that still wait are reported again
 */
struct drover_fault_source {
	const struct drover_ram *ram;
	int uffd;
	uint64_t base[DROVER_RAM_BLOCKS_MAX];
	int (*arm)(void *opaque, struct drover_error *e);
	void *opaque;
	uint64_t *received[DROVER_RAM_BLOCKS_MAX];
	bool adopt;
};

/**
 * struct drover_fault - a thread waits for a page
 * @block, @page: the page
 * @time_ns: CLOCK_MONOTONIC of the first touch
 * @pid: id of the thread, 0 when it is not known
 * @write: the touch was a write
 */
struct drover_fault {
	unsigned int block;
	uint64_t page;
	uint64_t time_ns;
	int pid;
	bool write;
};

/**
 * struct drover_fault_ops - a fault handler
 * @name: as in the `fault-handler` option
 * @guarantee: one line that says which threads it keeps waiting
 * @probe: returns 1: usable; 0: not usable, and @why says what is missing. Does not look at the
 *	source's @received
 * @start: once it has returned, a thread that touches a page without a received bit waits.
 *	@src is copied; what it points to must outlive the handler
 * @host: the mapping into which a block's content is received; accesses to it never wait
 * @fds: gives the descriptors to poll for POLLIN before @next, at most @max. Returns their number
 * @next: gives the faults for which threads wait. Never blocks. Returns how many of @max were
 *	filled in, 0 when there are none now. A page is reported once by each handler, so once
 *	more by one that takes over
 * @publish: the content of these runs is complete, or, with @zero, they are to read as zero: sets
 *	the received bits, then lets waiting threads go on. Publishing a page twice is harmless
 * @received: ORs the received pages of a block into @map
 * @stop: with @open everything has been received and all threads go on; without it threads that
 *	touch missing pages go on waiting for another handler. NULL is fine
 *
 * All but @start and @stop may be called by several threads at once.
 */
struct drover_fault_ops {
	const char *name;
	const char *guarantee;
	int (*probe)(const struct drover_fault_source *src, char *why, size_t why_len);
	int (*start)(const struct drover_fault_source *src, void **ret_state,
		     struct drover_error *e);
	uint8_t *(*host)(void *state, unsigned int block);
	unsigned int (*fds)(void *state, int *fd, unsigned int max);
	int (*next)(void *state, struct drover_fault *fault, unsigned int max,
		    struct drover_error *e);
	int (*publish)(void *state, const struct drover_ram_run *run, unsigned int n, bool zero,
		       struct drover_error *e);
	int (*received)(void *state, unsigned int block, uint64_t *map, struct drover_error *e);
	void (*stop)(void *state, bool open);
};

/* All handlers that are built in, the best first; NULL-terminated. */
const struct drover_fault_ops *const *drover_fault_table(void);

#define DROVER_FAULT_REPORT_MAX 512

/**
 * drover_fault_select() - choose a handler without arming it
 * @want: value of the `fault-handler` option ("auto", "kmod", ...)
 * @report: DROVER_FAULT_REPORT_MAX bytes: one line for each handler that was not taken, with why
 *
 * Return: the handler; NULL when none that @want allows can be used, then @e says why.
 */
const struct drover_fault_ops *drover_fault_select(const struct drover_fault_source *src,
						   const char *want, char *report,
						   struct drover_error *e);

extern const struct drover_fault_ops drover_fault_kmod;
extern const struct drover_fault_ops drover_fault_userfaultfd;

#endif
