/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_DAEMON_ARP_H
#define DROVER_DAEMON_ARP_H

#include <netinet/in.h>
#include <stdint.h>

#define MAC_LEN 6
/* The least that Ethernet carries, its checksum aside. */
#define ARP_FRAME_LEN 60

/*
 * Whole Ethernet frames to everybody, from @mac, that teach switches where it is now.
 * arp_reverse: a RARP request for itself, which needs no IP address; QEMU sends the same.
 * arp_gratuitous: an ARP announcement (RFC 5227) of @ip, which hosts with an entry heed, too.
 */
void arp_reverse(const uint8_t mac[MAC_LEN], uint8_t ret_frame[ARP_FRAME_LEN]);
void arp_gratuitous(const uint8_t mac[MAC_LEN], struct in_addr ip,
		    uint8_t ret_frame[ARP_FRAME_LEN]);

#endif
