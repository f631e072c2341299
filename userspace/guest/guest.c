// SPDX-License-Identifier: LGPL-2.1-or-later
/* Guest links by the kind that a LINK begins with. Called by the daemon. */
#include "guest/guest.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"

/* @open: NULL when the kind is known but not built in */
static const struct {
	const char *prefix;
	int (*open)(const char *rest, const struct drover_log *log, struct drover_guest **ret,
		    struct drover_error *e);
} kinds[] = {
	{ "sim:", drover_sim_open },
	{ "agent:", drover_agent_open },
	{ "qemu:", NULL },
};

int drover_guest_open(const char *link, const struct drover_log *log, struct drover_guest **ret,
		      struct drover_error *e)
{
	size_t i;

	for (i = 0; i < DROVER_ARRAY_SIZE(kinds); i++) {
		size_t n = strlen(kinds[i].prefix);

		if (strncmp(link, kinds[i].prefix, n) != 0)
			continue;
		if (!kinds[i].open)
			return drover_err(e, -EOPNOTSUPP, "guest '%s': links of kind '%s' are not "
					  "built in", link, kinds[i].prefix);
		return kinds[i].open(link + n, log, ret, e);
	}
	return drover_err(e, -EINVAL, "guest '%s': expected sim:, agent: or qemu:", link);
}

struct drover_guest *drover_guest_free(struct drover_guest *g)
{
	if (g)
		g->ops->free(g);
	return NULL;
}
