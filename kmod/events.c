// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the module tells of itself: a generic netlink family that only multicasts, and the
 * definitions of the tracepoints.
 *
 * Nobody waits for a listener and none is waited for: an event that can't be allocated or
 * queued is lost, a socket that is too slow gets ENOBUFS. Without a listener an event costs
 * the look whether there is one. The time in it is taken here, under no lock of ours, so
 * events of one object are in order only where its callers call in order.
 *
 * Who may listen: inode numbers, pids and names of regions are the host's, so joining the
 * group takes CAP_NET_ADMIN in the user namespace of the initial network namespace, the
 * only one the family is in. Generic netlink asks when a socket joins; it does not ask one
 * that has joined the group's number before the module was there.
 */
#include <linux/ktime.h>
#include <linux/module.h>
#include <net/genetlink.h>

#include "internal.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

/* The largest one: a stall, or a new region with a name. */
#define EVENT_SIZE (5 * nla_total_size_64bit(sizeof(u64)) + nla_total_size(sizeof(u32)) + \
		    nla_total_size(DROVER_NAME_LEN))

/*
 * A kernel that can't keep anybody out gets no family: `droverctl monitor` says that there
 * are no events, everything else works.
 */
#ifdef GENL_MCAST_CAP_NET_ADMIN
static const struct genl_multicast_group groups[] = {
	{ .name = DROVER_NL_GROUP, .flags = GENL_MCAST_CAP_NET_ADMIN },
};
#define NGROUPS ARRAY_SIZE(groups)
#else
#define groups NULL
#define NGROUPS 0
#endif

static struct genl_family family __ro_after_init = {
	.name = DROVER_NL_FAMILY,
	.version = DROVER_NL_VERSION,
	.maxattr = DROVER_NL_A_MAX,
	.module = THIS_MODULE,
	.mcgrps = groups,
	.n_mcgrps = NGROUPS,
};

/* An event under construction; without a buffer it is not wanted, or can't be had. */
struct event {
	struct sk_buff *skb;
	void *head;
	bool full;
};

static void add_u64(struct event *e, enum drover_nl_attr attr, u64 value)
{
	if (e->skb && nla_put_u64_64bit(e->skb, attr, value, DROVER_NL_A_PAD))
		e->full = true;
}

static struct event begin(enum drover_nl_cmd cmd)
{
	struct event e = {};

	if (!NGROUPS || !genl_has_listeners(&family, &init_net, 0))
		return e;
	e.skb = genlmsg_new(EVENT_SIZE, GFP_KERNEL);
	if (!e.skb)
		return e;
	e.head = genlmsg_put(e.skb, 0, 0, &family, 0, cmd);
	e.full = !e.head;
	add_u64(&e, DROVER_NL_A_TIME_NS, ktime_get_ns());
	return e;
}

static void send(struct event *e)
{
	if (!e->skb)
		return;
	if (WARN_ON_ONCE(e->full)) {
		nlmsg_free(e->skb);
		return;
	}
	genlmsg_end(e->skb, e->head);
	genlmsg_multicast(&family, e->skb, 0, 0, GFP_KERNEL);
}

void drover_event_attach(u64 ino, u64 pages)
{
	struct event e = begin(DROVER_NL_ATTACH);

	trace_drover_attach(ino, pages);
	add_u64(&e, DROVER_NL_A_INO, ino);
	add_u64(&e, DROVER_NL_A_PAGES, pages);
	send(&e);
}

void drover_event_release(u64 ino)
{
	struct event e = begin(DROVER_NL_RELEASE);

	trace_drover_release(ino);
	add_u64(&e, DROVER_NL_A_INO, ino);
	send(&e);
}

void drover_event_harvest(u64 ino, const struct drover_harvest *a, u64 ns)
{
	trace_drover_harvest(ino, a->ndirty, a->nhole, a->npinned, ns);
}

void drover_event_late(u64 ino, u64 page, u64 n)
{
	struct event e = begin(DROVER_NL_LATE);

	add_u64(&e, DROVER_NL_A_INO, ino);
	add_u64(&e, DROVER_NL_A_PAGE, page);
	add_u64(&e, DROVER_NL_A_COUNT, n);
	send(&e);
}

void drover_event_region_new(u64 id, u64 pages, const char *name)
{
	struct event e = begin(DROVER_NL_REGION_NEW);

	add_u64(&e, DROVER_NL_A_REGION, id);
	add_u64(&e, DROVER_NL_A_PAGES, pages);
	if (e.skb && *name && nla_put_string(e.skb, DROVER_NL_A_NAME, name))
		e.full = true;
	send(&e);
}

void drover_event_region_end(u64 id)
{
	struct event e = begin(DROVER_NL_REGION_END);

	add_u64(&e, DROVER_NL_A_REGION, id);
	send(&e);
}

void drover_event_loader_died(u64 id, u64 waiters)
{
	struct event e = begin(DROVER_NL_LOADER_DIED);

	add_u64(&e, DROVER_NL_A_REGION, id);
	add_u64(&e, DROVER_NL_A_WAITERS, waiters);
	send(&e);
}

void drover_event_loader_adopted(u64 id)
{
	struct event e = begin(DROVER_NL_LOADER_ADOPTED);

	add_u64(&e, DROVER_NL_A_REGION, id);
	send(&e);
}

void drover_event_stall(u64 id, u64 page, u32 pid, u64 wait_ms)
{
	struct event e = begin(DROVER_NL_STALL);

	add_u64(&e, DROVER_NL_A_REGION, id);
	add_u64(&e, DROVER_NL_A_PAGE, page);
	if (e.skb && nla_put_u32(e.skb, DROVER_NL_A_PID, pid))
		e.full = true;
	add_u64(&e, DROVER_NL_A_WAIT_MS, wait_ms);
	send(&e);
}

int __init drover_events_init(void)
{
	return NGROUPS ? genl_register_family(&family) : 0;
}

void drover_events_exit(void)
{
	if (NGROUPS)
		genl_unregister_family(&family);
}
