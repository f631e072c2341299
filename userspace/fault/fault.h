/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_FAULT_FAULT_H
#define DROVER_FAULT_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ram/ram.h"

struct drover_error;

/*
 * Fault handlers: who touches a page that has not arrived is kept waiting, and we are told.
 * Armed before the guest runs. The handler's death neither lets a toucher read what is not
 * there nor kills it: another handler takes over what is left.
 */

/**
 * struct drover_fault_source - what a guest link offers to fault handlers
 * @ram: the blocks, with their files; outlives the handler
 * @uffd: userfaultfd of the VMM, -1: none; stays the guest link's
 * @base: address of each block in the VMM
 * @arm: the VMM drops its page-table entries of every page without a received bit; called
 *	by a handler that needs it, when new touches are caught already. NULL: it can't
 * @opaque: first argument of @arm
 * @received: a bitmap a block, shared with the VMM (agent/ledger.h); filled in by the engine.
 *	Before @start of the handler it says what has arrived; from then on the handler sets
 *	bits, with release order, before it lets touchers go on
 * @adopt: an earlier handler armed all this and has died: nothing that arrived is forgotten,
 *	and who was waiting is told again
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
 * struct drover_fault - somebody waits for a page
 * @block, @page: which one
 * @time_ns: CLOCK_MONOTONIC when it was first touched
 * @pid: the thread, 0 when it is not known
 * @write: it was going to write
 */
struct drover_fault {
	unsigned int block;
	uint64_t page;
	uint64_t time_ns;
	int pid;
	bool write;
};

/**
 * struct drover_fault_ops - one way to keep touchers waiting
 * @name: as in the `fault-handler` option
 * @guarantee: one line: whom it keeps waiting
 * @probe: 1 usable; 0 not usable and @why says what is missing. @received is not looked at
 * @start: from its return on, who touches a page without a received bit waits. @src is
 *	copied, what it points to outlives the handler
 * @host: where a block's content is received to: a mapping nobody waits at
 * @fds: descriptors to poll for POLLIN before @next; at most @max. Returns how many
 * @next: who waits. Never blocks. Returns how many of @max were filled in, 0: none now. A
 *	page is told once, and once more to a handler that takes over
 * @publish: content of these runs is complete, or, with @zero, they read as zero: the
 *	received bits are set and waiters go on. Twice is harmless
 * @received: OR the received pages of a block into @map
 * @stop: @open: everybody goes on, everything was received; else touchers go on waiting
 *	for another handler. Idempotent
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

/* All handlers built in, best first; NULL-terminated. */
const struct drover_fault_ops *const *drover_fault_table(void);

#define DROVER_FAULT_REPORT_MAX 512

/**
 * drover_fault_select() - choose, without arming anything
 * @want: value of the `fault-handler` option ("auto", "kmod", ...)
 * @report: DROVER_FAULT_REPORT_MAX bytes: a line a handler, and why it was not taken
 *
 * Return: the handler; NULL when none that is wanted can be used, then @e says why.
 */
const struct drover_fault_ops *drover_fault_select(const struct drover_fault_source *src,
						   const char *want, char *report,
						   struct drover_error *e);

extern const struct drover_fault_ops drover_fault_kmod;
extern const struct drover_fault_ops drover_fault_userfaultfd;

#endif
