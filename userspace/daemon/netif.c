// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The host's interfaces, by libnl. Its cache manager follows the kernel's notifications,
 * so that asking for an interface in the main thread never waits for the kernel's lock.
 */
#include "daemon/netif.h"

#include <errno.h>
#include <net/if_arp.h>
#include <netlink/cache.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/err.h"
#include "base/log.h"

static void changed(void *opaque, uint32_t events);

static int nl_error(const char *step, int r, struct drover_error *e)
{
	return drover_err(e, -EIO, "network interfaces: %s: %s", step, nl_geterror(r));
}

int netifs_open(struct netifs *n, struct loop *loop, const struct drover_log *log,
		struct drover_error *e)
{
	int r;

	*n = (struct netifs){ .loop = loop, .log = log };
	r = nl_cache_mngr_alloc(NULL, NETLINK_ROUTE, NL_AUTO_PROVIDE, &n->mngr);
	if (r < 0)
		return nl_error("netlink", r, e);
	r = nl_cache_mngr_add(n->mngr, "route/link", NULL, NULL, &n->links);
	if (r >= 0)
		r = nl_cache_mngr_add(n->mngr, "route/addr", NULL, NULL, &n->addrs);
	r = r < 0 ? nl_error("list", r, e) :
		    loop_add(loop, &n->src, nl_cache_mngr_get_fd(n->mngr), EPOLLIN, changed, n, e);
	if (r < 0)
		netifs_close(n);
	return r < 0 ? r : 0;
}

void netifs_close(struct netifs *n)
{
	loop_remove(&n->src);
	if (n->mngr)
		nl_cache_mngr_free(n->mngr);
	n->mngr = NULL;
	n->links = n->addrs = NULL;
}

/* Notifications that were lost leave the list wrong for good: read it anew. */
static void changed(void *opaque, uint32_t events)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct netifs *n = opaque;

	(void)events;
	if (nl_cache_mngr_data_ready(n->mngr) >= 0)
		return;
	netifs_close(n);
	if (netifs_open(n, n->loop, n->log, &e) < 0)
		drover_logf(n->log, DROVER_LOG_WARNING, "%s", e.msg);
}

/*
 * The cache also holds what IPv6 and bridges say of a link, each of its own family, and some
 * of it stays when the link has gone.
 */
static struct rtnl_link *find(const struct netifs *n, const char *name)
{
	struct nl_object *o = nl_cache_get_first(n->links);

	for (; o; o = nl_cache_get_next(o)) {
		struct rtnl_link *link = (struct rtnl_link *)o;
		const char *its = rtnl_link_get_name(link);

		if (rtnl_link_get_family(link) == AF_UNSPEC && its && strcmp(its, name) == 0)
			return link;
	}
	return NULL;
}

int netifs_find(const struct netifs *n, const char *name, struct netif *ret,
		struct drover_error *e)
{
	struct rtnl_link *link;
	struct nl_addr *mac;

	if (!n->mngr)
		return drover_err(e, -EIO, "interface %s: the list of interfaces was lost", name);
	link = find(n, name);
	if (!link)
		return drover_err(e, -ENODEV, "interface %s: not found", name);
	mac = rtnl_link_get_addr(link);
	if (rtnl_link_get_arptype(link) != ARPHRD_ETHER || !mac ||
	    nl_addr_get_len(mac) != MAC_LEN)
		return drover_err(e, -EPROTOTYPE, "interface %s: not an Ethernet interface", name);
	ret->index = rtnl_link_get_ifindex(link);
	memcpy(ret->mac, nl_addr_get_binary_addr(mac), MAC_LEN);
	return 0;
}

void netifs_each_ipv4(const struct netifs *n, int index,
		      void (*fn)(void *opaque, struct in_addr ip), void *opaque)
{
	struct nl_object *o = n->mngr ? nl_cache_get_first(n->addrs) : NULL;

	for (; o; o = nl_cache_get_next(o)) {
		struct rtnl_addr *a = (struct rtnl_addr *)o;
		struct nl_addr *local = rtnl_addr_get_local(a);
		struct in_addr ip;

		if (rtnl_addr_get_ifindex(a) != index || rtnl_addr_get_family(a) != AF_INET ||
		    !local || nl_addr_get_len(local) != sizeof(ip))
			continue;
		memcpy(&ip, nl_addr_get_binary_addr(local), sizeof(ip));
		fn(opaque, ip);
	}
}
