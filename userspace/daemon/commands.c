// SPDX-License-Identifier: GPL-2.0-or-later
/* The table of commands.def, as the dispatcher reads it. */
#include "base/cleanup.h"
#include "daemon/daemon.h"

const struct qmp_command droverd_commands[] = {
#define COMMAND(function, name, flags, doc, ...) \
	{ name, cmd_##function, { __VA_ARGS__ }, flags, doc },
#include "daemon/commands.def"
};

const size_t droverd_ncommands = DROVER_ARRAY_SIZE(droverd_commands);
