/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_DAEMON_ANNOUNCE_H
#define DROVER_DAEMON_ANNOUNCE_H

#include <stdint.h>

#include "daemon/netif.h"

struct announce_if;
struct announcement;
struct drover_error;
struct droverd;

#define ANNOUNCE_IFS_MAX 64u    /* bits of a set of them */
#define ANNOUNCE_ALL UINT64_MAX
#define ANNOUNCE_IDS_MAX 16u

/** struct announce_plan - the options announce-*: milliseconds, but @rounds */
struct announce_plan {
	uint64_t initial, max, rounds, step;
};

/**
 * struct announcer - the interfaces to announce on and what is under way
 * @fd: packet socket that receives nothing; -EBADF without interfaces
 * @iface: @n interfaces
 * @list: announcements under way
 */
struct announcer {
	struct netifs ifs;
	int fd;
	struct announce_if *iface;
	unsigned int n;
	struct announcement *list;
};

/* Time to wait after so many rounds have been sent (>= 1); QEMU's schedule. */
uint32_t announce_delay_ms(const struct announce_plan *p, uint64_t sent);

/* The interfaces of the command line, each checked; none opens nothing. */
int announce_open(struct droverd *d, struct drover_error *e);
void announce_close(struct droverd *d);
/* The guest has moved here: the migration's own announcement, by its options. */
void announce_arrived(struct droverd *d);
/* It runs here no more: whoever announces it now lies. */
void announce_left(struct droverd *d);
/**
 * announce_start() - the first round now, the others by the loop
 * @id: one of the same id is ended; NULL is the migration's own
 * @set: bit i: on interface i
 *
 * No rounds: ends the one of this id and starts none. What fails later is a warning in
 * the log and in the event DROVER_ANNOUNCE, which tells the end of each.
 */
int announce_start(struct droverd *d, const char *id, const struct announce_plan *p, uint64_t set,
		   struct drover_error *e);
/* Index of an interface of the command line, or -1. */
int announce_find(const struct announcer *a, const char *name);

#endif
