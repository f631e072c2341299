/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_DEV_FREEZE_H
#define DROVER_DEV_FREEZE_H

#include <stdint.h>

struct drover_error;

/* All threads of another process, stopped by ptrace. */
struct drover_freeze;

/**
 * drover_freeze() - stop every thread of a process for a moment
 * @pid: another process
 * @deadline: absolute (base/clock.h), 0: none
 *
 * The process cannot see it, apart from the time and EINTR where stop and continue give
 * it. It runs on by itself when the caller dies. The thread that freezes must thaw.
 *
 * Return: 0, -EPERM (not allowed, or somebody debugs it), -ESRCH, -ETIMEDOUT, or another
 * negative errno; on failure nothing stays stopped.
 */
int drover_freeze(int pid, uint64_t deadline, struct drover_freeze **ret, struct drover_error *e);
/* NULL is fine. Returns NULL */
struct drover_freeze *drover_thaw(struct drover_freeze *f);

#endif
