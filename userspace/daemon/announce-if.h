/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_DAEMON_ANNOUNCE_IF_H
#define DROVER_DAEMON_ANNOUNCE_IF_H

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "daemon/arp.h"

struct netifs;

#define ANNOUNCE_FRAMES_MAX 64u

/**
 * struct announce_frame - one frame of a round
 * @own: from the MAC address that the interface has then, not from @mac
 * @has_ip: gratuitous ARP for @ip; else RARP
 */
struct announce_frame {
	bool own;
	uint8_t mac[MAC_LEN];
	bool has_ip;
	struct in_addr ip;
};

/**
 * struct announce_if - one --announce-if
 * @all_ipv4: nothing but the name was given: also every IPv4 address it has then
 */
struct announce_if {
	char name[IFNAMSIZ];
	bool all_ipv4;
	unsigned int n;
	struct announce_frame frame[ANNOUNCE_FRAMES_MAX];
};

/** struct announce_tally - what came of it; @error is the first failure */
struct announce_tally {
	uint64_t frames, failed;
	struct drover_error error;
};

/**
 * announce_if_parse() - NAME[,mac=MAC][,ip=IPV4]...
 *
 * Each ip belongs to the mac before it; one before any mac to the interface's own.
 */
int announce_if_parse(const char *text, struct announce_if *ret, struct drover_error *e);
/* One round on the interface. @fd: a packet socket. Never waits. */
void announce_if_send(const struct announce_if *a, const struct netifs *ifs, int fd,
		      struct announce_tally *t);

#endif
