/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_HOSTLIMIT_H
#define DROVER_ENGINE_HOSTLIMIT_H

#include <stdbool.h>
#include <stdint.h>

struct drover_error;

/*
 * A byte rate that all migrations leaving this host share, each with a daemon of its own:
 * a small file in shared memory with the rate and a slot for each migration. Each one
 * computes its own share from what all of them say; nobody has to serve the others, and
 * one that dies is forgotten. Shares are max-min fair: who needs less than its equal part
 * leaves the rest to the others.
 */
#define DROVER_HOSTLIMIT_PATH "/dev/shm/drover-host-limit"
#define DROVER_HOSTLIMIT_SLOTS 64u

struct drover_hostlimit;

/** drover_hostlimit_new() - @path need not exist, now or later. Return: 0 or -ENOMEM */
int drover_hostlimit_new(const char *path, struct drover_hostlimit **ret, struct drover_error *e);
/* Gives the slot up. NULL is fine. Returns NULL */
struct drover_hostlimit *drover_hostlimit_free(struct drover_hostlimit *h);

/**
 * drover_hostlimit_share() - what this migration may send now
 * @now: ns, of drover_now_ns()
 * @sent: bytes sent so far
 * @held: somebody waits for the limit right now: it needs all it can have
 *
 * To be called some times a second; a migration that does not for 2 s is forgotten until
 * it calls again. Return: bytes/s, 0: no limit.
 */
uint64_t drover_hostlimit_share(struct drover_hostlimit *h, uint64_t now, uint64_t sent, bool held);

/**
 * drover_hostlimit_set() - change the rate for all migrations of this host
 * @rate: bytes/s, 0: no limit
 *
 * The file is made with mode 0600: it binds migrations of daemons of the same user, and
 * root's binds everybody's that may open it. Return: 0, or -errno and @e says why.
 */
int drover_hostlimit_set(const char *path, uint64_t rate, struct drover_error *e);

/**
 * drover_hostlimit_get() - the rate, and who shares it
 * @ret_rate: 0: no limit; so when there is no file
 * @ret_migrations: how many share it now; may be NULL
 */
int drover_hostlimit_get(const char *path, uint64_t *ret_rate, unsigned int *ret_migrations,
			 struct drover_error *e);

/**
 * drover_hostlimit_split() - the arithmetic: one's share of @rate
 * @need: n bytes/s that are needed, UINT64_MAX: whatever can be had
 * @me: whose share
 *
 * Max-min fairness: the smallest needs are met first, what is left is split evenly.
 */
uint64_t drover_hostlimit_split(uint64_t rate, const uint64_t *need, unsigned int n,
				unsigned int me);

#endif
