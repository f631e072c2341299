// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The command table: dispatch, query-commands and the documentation are made from it.
 * A command that is not a row here does not exist for clients.
 */
#include "base/cleanup.h"
#include "daemon/daemon.h"

#define CHANNELS \
	{ "uri", QMP_STR, true, "address of the main channel; this or `channels`" }, \
	{ "channels", QMP_ARRAY, true, "list of {channel-type, addr}" }, \
	{ "config", QMP_OBJECT, true, "options of this migration, over the defaults" }

const struct qmp_command droverd_commands[] = {
	{ "qmp_capabilities", cmd_qmp_capabilities,
	  { { "enable", QMP_ARRAY, true, "capabilities of the greeting to use" } }, 0,
	  "End capabilities negotiation; the first command of a connection." },
	{ "migrate", cmd_migrate,
	  { CHANNELS, { "resume", QMP_BOOL, true, "resume a paused postcopy migration" } }, 0,
	  "Start to migrate the guest away." },
	{ "migrate-incoming", cmd_migrate_incoming,
	  { CHANNELS,
	    { "exit-on-error", QMP_BOOL, true,
	      "end the process when the migration fails; default false" } }, 0,
	  "Listen for a migration of which this guest is the destination." },
	{ "migrate_cancel", cmd_migrate_cancel, { { 0 } }, QMP_OOB,
	  "Cancel the migration; the guest runs on. Nothing to cancel is a success." },
	{ "migrate-continue", cmd_migrate_continue,
	  { { "state", QMP_STR, false, "the state it waits in: pre-switchover" } }, QMP_OOB,
	  "Go on after pause-before-switchover." },
	{ "migrate-settle", cmd_migrate_settle,
	  { { "own", QMP_BOOL, false, "the guest runs here; false: it was handed over" } }, QMP_OOB,
	  "Decide an in-doubt guest's ownership without its peer. The operator vouches." },
	{ "query-migrate", cmd_query_migrate, { { 0 } }, 0,
	  "State and statistics of the present or last migration, each with its age." },
	{ "migrate-set-config", cmd_migrate_set_config, { { 0 } }, QMP_ANY_ARGS,
	  "Change the stored settings; while a migration runs, its RUNTIME options, too." },
	{ "query-migrate-config", cmd_query_migrate_config, { { 0 } }, 0,
	  "Every option: of the running migration, else of the stored settings." },
	{ "query-status", cmd_query_status, { { 0 } }, 0, "Run state of the guest." },
	{ "query-version", cmd_query_version, { { 0 } }, 0,
	  "Version of the interface, and of drover." },
	{ "query-commands", cmd_query_commands, { { 0 } }, 0, "Names of all commands." },
	{ "quit", cmd_quit, { { 0 } }, 0,
	  "End droverd, after a running audit (at most 10 s)." },
};

const size_t droverd_ncommands = DROVER_ARRAY_SIZE(droverd_commands);
