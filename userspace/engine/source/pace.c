// SPDX-License-Identifier: LGPL-2.1-or-later
/* How fast pages may be sent: the migration's limit, and its share of the host's. */
#include "engine/source/pace.h"

#include "base/clock.h"
#include "engine/hostlimit.h"
#include "engine/internal.h"
#include "engine/limit.h"

int pace_init(struct pace *p, struct drover_migration *m, struct drover_error *e)
{
	struct drover_runtime rt;
	int r;

	drover_runtime_get(m, &rt);
	r = drover_limit_new(rt.max_bandwidth, &p->limit, e);
	if (r >= 0 && m->host_limit)
		r = drover_hostlimit_new(m->host_limit, &p->host, e);
	return r;
}

void pace_deinit(struct pace *p)
{
	p->limit = drover_limit_free(p->limit);
	p->host = drover_hostlimit_free(p->host);
}

void pace_apply(struct pace *p, struct drover_migration *m, bool postcopy, uint64_t sent,
		bool waiting)
{
	struct drover_runtime rt;
	uint64_t rate, share = 0;

	drover_runtime_get(m, &rt);
	rate = postcopy ? rt.max_postcopy_bandwidth : rt.max_bandwidth;
	if (p->host)
		share = drover_hostlimit_share(p->host, drover_now_ns(), sent, waiting);
	if (share && (!rate || share < rate))
		rate = share;
	drover_limit_set(p->limit, rate);
}

void pace_open(struct pace *p)
{
	drover_limit_open(p->limit);
}

void pace_shut(struct pace *p)
{
	drover_limit_shut(p->limit);
}

int pace_take(struct pace *p, uint64_t bytes, const struct drover_cancel *c)
{
	return drover_limit_take(p->limit, bytes, c);
}
