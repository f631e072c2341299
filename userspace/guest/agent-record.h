/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_GUEST_AGENT_RECORD_H
#define DROVER_GUEST_AGENT_RECORD_H

#include <pthread.h>
#include <stdbool.h>

#include "guest/agent-link.h"
#include "owner/owner.h"

/**
 * struct agent_record - the VMM's ownership record as droverd knows it
 * @lock: guards the rest; taken last
 * @known: no request that may have changed it is without an answer
 */
struct agent_record {
	pthread_mutex_t lock;
	struct owner_record record;
	bool known;
};

void agent_record_init(struct agent_record *k);
void agent_record_deinit(struct agent_record *k);
/* struct agent_link's @took; @opaque is the struct agent_record */
int agent_record_took(void *opaque, const struct drover_agent_msg *m, struct drover_error *e);
/* 0, or -EAGAIN */
int agent_record_known(struct agent_record *k, struct owner_record *ret);

/**
 * agent_record_call() - one request that is answered with OWNER
 * @fd: goes along; -1: none
 *
 * Return: as agent_link_call(). 0 with a text in @e: the guest could not be started.
 */
int agent_record_call(struct agent_record *k, struct agent_link *l, enum drover_agent_type type,
		      const void *body, size_t len, int fd, uint64_t more_ms,
		      const struct drover_cancel *c, enum owner_reply *reply,
		      struct drover_error *e);

/* The request that asks for @ev; @ram: bytes that it may have to empty. */
int agent_record_request(struct agent_record *k, struct agent_link *l, enum owner_event ev,
			 const struct owner_args *args, uint64_t ram,
			 const struct drover_cancel *c, enum owner_reply *reply,
			 struct drover_error *e);

#endif
