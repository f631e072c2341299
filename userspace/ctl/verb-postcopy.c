// SPDX-License-Identifier: GPL-2.0-or-later
/* Verbs for postcopy: the guest runs at the destination already, or is to run there now. */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"
#include "ctl/ctl.h"
#include "ctl/progress.h"

int verb_postcopy(struct ctl *c)
{
	return ctl_do(c, "migrate-start-postcopy", NULL);
}

int verb_pause(struct ctl *c)
{
	return ctl_do(c, "migrate-pause", NULL);
}

/* The source of a paused postcopy connects again, the destination listens again. */
int verb_recover(struct ctl *c)
{
	_cleanup_json_ struct json_object *args = json_object_new_object(), *info = NULL;
	bool wait = c->given & CTL_OPT_WAIT, source;
	struct drover_error e = DROVER_ERROR_INIT;
	const char *command;
	int status;

	if (!c->nargs && !c->channel.n)
		return ctl_usage("where? give URI, HOST:PORT or --channel main=URI");
	if (ctl_add_address(c, args, &e) < 0) {
		ctl_fail(c, &e);
		return CTL_USAGE;
	}
	status = ctl_call(c, "query-migrate", NULL, &info);
	if (status != CTL_DONE)
		return status;
	/* A restarted source daemon may know of no migration; a destination's finds its own. */
	source = !*json_text(info, NULL, "status") ||
		 strcmp(json_text(info, "drover", "side"), "source") == 0;
	command = source ? "migrate" : "migrate-recover";
	if (source)
		json_object_object_add(args, "resume", json_object_new_boolean(true));
	status = wait ? ctl_call(c, command, TAKE_PTR(args), NULL) :
			ctl_do(c, command, TAKE_PTR(args));
	return status == CTL_DONE && wait ? ctl_follow(c, true) : status;
}
