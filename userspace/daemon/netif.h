/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_DAEMON_NETIF_H
#define DROVER_DAEMON_NETIF_H

#include <netinet/in.h>
#include <stdint.h>

#include "daemon/arp.h"
#include "qmp/loop.h"

struct drover_error;
struct drover_log;
struct nl_cache;
struct nl_cache_mngr;

/**
 * struct netifs - the host's network interfaces and their IPv4 addresses
 * @mngr: NULL while not open; keeps @links and @addrs as the kernel tells of changes
 *
 * A look-up reads memory and never waits for the kernel.
 */
struct netifs {
	struct loop *loop;
	const struct drover_log *log;
	struct nl_cache_mngr *mngr;
	struct nl_cache *links, *addrs;
	struct loop_source src;
};

/** struct netif - an Ethernet interface as it is now */
struct netif {
	int index;
	uint8_t mac[MAC_LEN];
};

int netifs_open(struct netifs *n, struct loop *loop, const struct drover_log *log,
		struct drover_error *e);
void netifs_close(struct netifs *n);
/* -ENODEV: there is none of this name. -EPROTOTYPE: it has no Ethernet address. */
int netifs_find(const struct netifs *n, const char *name, struct netif *ret,
		struct drover_error *e);
/* @fn for each IPv4 address of the interface with this index. */
void netifs_each_ipv4(const struct netifs *n, int index,
		      void (*fn)(void *opaque, struct in_addr ip), void *opaque);

#endif
