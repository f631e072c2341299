/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_GUEST_AGENT_LINK_H
#define DROVER_GUEST_AGENT_LINK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/message.h"
#include "base/cancel.h"
#include "base/err.h"

/**
 * struct agent_link - droverd's end of an agent link
 * @path: for messages
 * @pid: the VMM's, as the kernel says
 * @watch_fd: eventfd, readable when status or verdict changed or the VMM has gone
 * @status: enum drover_run_state
 * @deadline_ms: the least that a request has; less only in a unit test, and the rest with it
 * @took: told of each HELLO_ACK, OWNER and STATUS, in the order in which they came, by the
 *	reader and under @lock; negative: the message is bad, the link ends
 *
 * A thread of its own reads the socket, so that an event or the VMM's death is
 * noticed whether or not a call is under way.
 *
 * Locks, in taking order: @call (one request at a time), @lock.
 */
struct agent_link {
	char path[108];
	int sock;
	int pid;
	int watch_fd;
	_Atomic int status;
	unsigned int deadline_ms;
	int (*took)(void *opaque, const struct drover_agent_msg *m, struct drover_error *e);
	void *opaque;

	pthread_t reader;
	bool reader_runs;
	struct drover_cancel stop;
	pthread_mutex_t call;

	pthread_mutex_t lock;
	int reply_fd;                           /* eventfd: answered or dead */
	uint32_t seq;                           /* of the request under way */
	bool waiting, answered;
	struct drover_agent_msg reply;
	struct drover_error dead;               /* code 0: alive */
	char *verdict;                          /* the last one, NULL: none */
};

/* Connect, check the VMM's credentials, start the reader. */
int agent_link_open(struct agent_link *l, const char *path,
		    int (*took)(void *opaque, const struct drover_agent_msg *m,
				struct drover_error *e),
		    void *opaque, struct drover_error *e);
/* Says BYE when the link lives. Accepts what a failed open left. */
void agent_link_close(struct agent_link *l);

/**
 * agent_link_call() - one request and its reply
 * @fd: goes along; -1: none. Stays the caller's
 * @more_ms: beyond the least deadline, for what moves data
 * @c: ends the wait with -ECANCELED; the VMM may carry out the request all the same
 * @ret: initialised; holds the reply, whose length and descriptors fit the table
 *
 * Return: 0; -ENOTCONN (no VMM any more); -ETIMEDOUT, and then the link was ended; -ECANCELED;
 * or what the VMM answered.
 */
int agent_link_call(struct agent_link *l, enum drover_agent_type type, const void *body,
		    size_t len, int fd, uint64_t more_ms, const struct drover_cancel *c,
		    struct drover_agent_msg *ret, struct drover_error *e);

struct drover_guest;
/* The link of an agent guest, for its unit tests. */
struct agent_link *drover_agent_link(struct drover_guest *g);

#endif
