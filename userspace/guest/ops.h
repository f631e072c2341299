/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_GUEST_OPS_H
#define DROVER_GUEST_OPS_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/record.h"
#include "owner/owner.h"
#include "ram/ram.h"
#include "track/track.h"

struct drover_cancel;
struct drover_error;
struct drover_fault_source;
struct drover_log;
struct drover_guest;
struct json_object;

/*
 * What the engine needs of a guest, whoever runs it. The implementations are in
 * guest/ (sim, agent, qemu). Apart from watch_fd, watch, status and check, calls come
 * from one thread at a time. Each call that waits for the VMM has a deadline of
 * its own (10 s unless said) and is woken by @cancel where it takes one.
 */

/** struct drover_guest_traits - what a guest link is like; constant once attached */
struct drover_guest_traits {
	uint8_t uuid[16];
	bool has_uuid;
	bool can_throttle;
	bool keeps_record;              /* the record survives droverd (agent); sim: false */
};

/**
 * struct drover_guest_ops - a guest link
 * @name: "sim", "agent"
 * @ram: the blocks, with host mapped; stable for the guest's life
 * @traits: see struct
 * @track_source: what trackers can use; filled in by the guest
 * @status: run state, from any thread, without waiting
 * @request: one step of the VMM's table (owner/vmm.def), but SAVE, LOAD and LEDGER. @reply:
 *	MINE's, may be NULL. Returns 0 with a text in @e when it was done and the guest that
 *	should run could not be started
 * @save: SAVE: device state as a sealed memfd. @ret_fd is the caller's
 * @load: LOAD of session @t; the VMM checks it whole before it applies it
 * @ledger_put: LEDGER of session @t: the VMM keeps this file (agent/ledger.h) for the next
 *	droverd. The descriptor stays the caller's
 * @owner_known: from any thread, without waiting: the record as this link has left it, and as
 *	the user's stop and cont in the VMM have. -EAGAIN: a request is not answered
 * @throttle: percent 0..99 of vCPU time taken away; 0 ends it
 * @fault_source: what fault handlers can use; @received and @adopt are left alone. NULL: this
 *	guest link has no postcopy
 * @ledger_get: the file an earlier droverd left, -1: there is none; the caller's
 * @resumed: told to the guest after COMMIT, when it runs from migrated state, so that a
 *	self-checking guest can check itself; may be NULL
 * @watch_fd: fd to poll for POLLIN|POLLHUP while no call is under way; -1: none
 * @watch: handle what came on watch_fd, without waiting
 * @check: the guest's own verdict after a move as JSON (sim: self-check; agent: what the
 *	VMM reports), or NULL when there is none; caller puts the reference
 * @free: end the link; NULL-safe by the wrapper
 */
struct drover_guest_ops {
	const char *name;
	const struct drover_ram *(*ram)(struct drover_guest *g);
	const struct drover_guest_traits *(*traits)(struct drover_guest *g);
	int (*track_source)(struct drover_guest *g, struct drover_track_source *ret,
			    struct drover_error *e);
	enum drover_run_state (*status)(struct drover_guest *g);
	int (*request)(struct drover_guest *g, enum owner_event ev, const struct owner_args *args,
		       const struct drover_cancel *c, enum owner_reply *reply,
		       struct drover_error *e);
	int (*save)(struct drover_guest *g, int *ret_fd, struct drover_error *e);
	int (*load)(struct drover_guest *g, const struct owner_token *t, int state_fd,
		    struct drover_error *e);
	int (*ledger_put)(struct drover_guest *g, const struct owner_token *t, int fd,
			  struct drover_error *e);
	int (*owner_known)(struct drover_guest *g, struct owner_record *ret);
	int (*throttle)(struct drover_guest *g, unsigned int percent, struct drover_error *e);
	int (*fault_source)(struct drover_guest *g, struct drover_fault_source *ret,
			    struct drover_error *e);
	int (*ledger_get)(struct drover_guest *g, int *ret_fd, struct drover_error *e);
	void (*resumed)(struct drover_guest *g);
	int (*watch_fd)(struct drover_guest *g);
	void (*watch)(struct drover_guest *g);
	struct json_object *(*check)(struct drover_guest *g);
	void (*free)(struct drover_guest *g);
};

/* First member of every implementation. */
struct drover_guest {
	const struct drover_guest_ops *ops;
};

#endif
