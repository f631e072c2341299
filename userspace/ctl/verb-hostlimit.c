// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * droverctl host-limit: the rate that all migrations leaving this host share. No daemon is asked:
 * the limit is a file in shared memory, which each daemon reads.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"
#include "ctl/ctl.h"
#include "engine/hostlimit.h"

/* Parse a rate in the format of max-bandwidth. */
static int parse_rate(const char *text, uint64_t *ret, struct drover_error *e)
{
	_cleanup_json_ struct json_object *o = json_object_new_object();
	struct json_object *v;
	char set[64];
	int r;

	*ret = 0;
	if (!strcmp(text, "off"))
		return 0;
	if (!o || (size_t)snprintf(set, sizeof(set), "max-bandwidth=%s", text) >= sizeof(set))
		return drover_err(e, -EINVAL, "host-limit: '%s' is no rate", text);
	r = ctl_parse_set(o, set, false, e);
	if (r < 0)
		return r;
	if (!json_object_object_get_ex(o, "max-bandwidth", &v))
		return drover_err(e, -EINVAL, "host-limit: '%s' is no rate", text);
	*ret = json_object_get_uint64(v);
	return 0;
}

static int show(const struct ctl *c, const char *path)
{
	struct drover_error e = DROVER_ERROR_INIT;
	unsigned int n;
	uint64_t rate;

	if (drover_hostlimit_get(path, &rate, &n, &e) < 0)
		return ctl_fail(c, &e);
	if (c->json)
		printf("{\"rate\": %" PRIu64 ", \"migrations\": %u}\n", rate, n);
	else if (rate)
		printf("%" PRIu64 " bytes/s, shared by %u migrations\n", rate, n);
	else
		printf("no limit\n");
	return CTL_DONE;
}

int verb_host_limit(struct ctl *c)
{
	const char *path = c->file ? c->file : DROVER_HOSTLIMIT_PATH;
	struct drover_error e = DROVER_ERROR_INIT;
	uint64_t rate;

	if (!c->nargs)
		return show(c, path);
	if (parse_rate(c->arg[0], &rate, &e) < 0)
		return ctl_usage("%s", e.msg);
	if (drover_hostlimit_set(path, rate, &e) < 0)
		return ctl_fail(c, &e);
	return CTL_DONE;
}
