// SPDX-License-Identifier: GPL-2.0-or-later
/* The verb `report`: writes the present or last migration as one HTML page. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"
#include "ctl/ctl.h"
#include "ctl/progress.h"
#include "ctl/report.h"

static int write_page(const char *path, struct json_object *info, struct json_object *config,
		      struct drover_error *e)
{
	FILE *f = path ? fopen(path, "we") : stdout;
	bool bad;

	if (!f)
		return drover_err(e, -errno, "%s: %s", path, drover_strerror(errno));
	report_html(f, info, config);
	bad = ferror(f) || fflush(f) != 0;
	if (path && fclose(f) != 0)
		bad = true;
	return bad ? drover_err(e, -EIO, "%s: write error", path ? path : "standard output") : 0;
}

int verb_report(struct ctl *c)
{
	_cleanup_json_ struct json_object *info = NULL, *config = NULL;
	struct drover_error e = DROVER_ERROR_INIT;
	int status = ctl_call(c, "query-migrate", NULL, &info);

	if (status == CTL_DONE)
		status = ctl_call(c, "query-migrate-config", NULL, &config);
	if (status != CTL_DONE)
		return status;
	if (!*json_text(info, NULL, "status")) {
		drover_err(&e, -ENOENT, "no migration has been started");
		return ctl_fail(c, &e);
	}
	return write_page(c->nargs ? c->arg[0] : NULL, info, config, &e) < 0 ? ctl_fail(c, &e) :
									      CTL_DONE;
}
