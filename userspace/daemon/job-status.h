/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_DAEMON_JOB_STATUS_H
#define DROVER_DAEMON_JOB_STATUS_H

#include <stddef.h>

#include "engine/state.h"

#define JOB_TYPE "migration"

enum job_status {
#define JOB_STATUS(id, name, cancel) JOB_##id,
#include "daemon/job-status.def"
	JOB_STATUS_COUNT
};

/* NULL for a number that is no status, so that it can be counted through */
const char *job_status_name(size_t status);
enum job_status job_status_of(enum drover_state state);

#endif
