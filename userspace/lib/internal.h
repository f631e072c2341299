/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_LIB_INTERNAL_H
#define DROVER_LIB_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/ledger.h"
#include "agent/message.h"
#include "base/err.h"
#include "lib/drover.h"
#include "owner/owner.h"
#include "ram/ram.h"

/**
 * struct drover_agent - the VMM's end of an agent link
 * @ram: host is the VMM's own mapping
 * @epoll_fd: what the VMM polls: the listener and the connection
 * @conn_fd: the one droverd that is attached; -EBADF: none
 * @conn_pid: its pid
 * @greeted: HELLO has been answered
 * @bye: droverd left in order
 * @busy: a request is being carried out; @closed: the end of the last link was stepped
 * @told: what the last STATUS said
 * @record: the ownership record; it outlives every connection
 * @emptied: the RAM was emptied over this link, and no session has begun since
 * @still: why the guest could not be started; empty: it was, or need not be
 * @now: the record's clock; drover_boot_ns() but in a unit test
 * @throttled, @logging: what to undo when the link closes
 * @ledger: of a postcopy that is not complete: pages are missing
 * @reports, @wrote: the promise to report device writes, and the file they are reported in
 * @answer: the reply being built
 */
struct drover_agent {
	struct drover_agent_ops ops;
	void *opaque;
	char path[108];
	uint8_t uuid[16];
	bool has_uuid;
	struct drover_ram ram;
	int uffd, pagemap_fd;

	int epoll_fd, listen_fd;
	bool bound;
	int conn_fd;
	int conn_pid;
	bool greeted, bye, busy, closed;
	struct drover_agent_status told;

	struct owner_record record;
	bool emptied;
	struct drover_text still;
	uint64_t (*now)(void);
	bool throttled, logging;
	struct drover_ledger *ledger;
	bool reports;
	struct drover_wrote *wrote;

	struct drover_agent_msg request, answer;
};

/* lib/agent-record.c: the ownership record, and what its steps ask of the VMM */
enum drover_run_state agent_run_state(const struct drover_agent *a);
/*
 * Ask the machine, stop or load, store the record, empty, start. 0; negative: refused, or
 * what a callback failed with. @reply may be NULL
 */
int agent_step(struct drover_agent *a, enum owner_event ev, const struct owner_args *args,
	       enum owner_reply *reply, struct drover_error *e);
/* The same for what the VMM has done by itself: no callback is called. */
int agent_step_done(struct drover_agent *a, enum owner_event ev);
/* A callback's failure, with its text if it gave one */
int agent_failed(int r, const struct drover_text *why, struct drover_error *e);

/* lib/agent-ram.c: what can be guest RAM. 0, or -EOPNOTSUPP with the remedy */
int agent_ram_check_file(const struct drover_agent *a, int fd, const char *name,
			 struct drover_error *e);
int agent_ram_check_mapping(const struct drover_ram_block *b, struct drover_error *e);
int agent_ram_check_dest(const struct drover_agent *a, struct drover_error *e);

/* lib/agent-serve.c: one request; a negative return ends the link */
int agent_serve(struct drover_agent *a, struct drover_agent_msg *m);
/* Events, when droverd is attached and they are news */
int agent_send_status(struct drover_agent *a);
int agent_send_verdict(struct drover_agent *a);
/* Undo what a link left behind; step its end. */
void agent_link_closed(struct drover_agent *a);

/* Answers lend descriptors only for the sending; the agent keeps its own. */
int agent_out_fd(struct drover_agent *a, int fd, struct drover_error *e);

/* lib/agent-postcopy.c: more requests */
int agent_serve_arm_faults(struct drover_agent *a, struct drover_error *e);
int agent_serve_ledger_get(struct drover_agent *a, struct drover_error *e);
/* Nothing is registered any more; who waits goes on. */
void agent_uffd_release(struct drover_agent *a);

/* lib/agent-wrote.c */
int agent_wrote_open(struct drover_agent *a, struct drover_error *e);
int agent_serve_wrote_get(struct drover_agent *a, struct drover_error *e);

/* lib/agent-conn.c */
void agent_conn_ready(struct drover_agent *a);
void agent_conn_accept(struct drover_agent *a);
void agent_conn_close(struct drover_agent *a);
int agent_conn_listen(struct drover_agent *a, struct drover_error *e);

#endif
