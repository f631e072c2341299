// SPDX-License-Identifier: GPL-2.0-or-later
/* The two frames of an announcement. Pure. */
#include "daemon/arp.h"

#include <arpa/inet.h>
#include <net/ethernet.h>
#include <netinet/if_ether.h>
#include <string.h>

_Static_assert(MAC_LEN == ETH_ALEN, "a MAC address");
_Static_assert(sizeof(struct ether_header) + sizeof(struct ether_arp) <= ARP_FRAME_LEN,
	       "the frame holds both");

static void build(const uint8_t mac[MAC_LEN], uint16_t type, uint16_t op, struct ether_arp *arp,
		  uint8_t ret_frame[ARP_FRAME_LEN])
{
	struct ether_header eth = { .ether_type = htons(type) };

	memset(eth.ether_dhost, 0xff, MAC_LEN);
	memcpy(eth.ether_shost, mac, MAC_LEN);
	arp->arp_hrd = htons(ARPHRD_ETHER);
	arp->arp_pro = htons(ETHERTYPE_IP);
	arp->arp_hln = MAC_LEN;
	arp->arp_pln = sizeof(arp->arp_spa);
	arp->arp_op = htons(op);
	memcpy(arp->arp_sha, mac, MAC_LEN);
	memset(ret_frame, 0, ARP_FRAME_LEN);
	memcpy(ret_frame, &eth, sizeof(eth));
	memcpy(ret_frame + sizeof(eth), arp, sizeof(*arp));
}

void arp_reverse(const uint8_t mac[MAC_LEN], uint8_t ret_frame[ARP_FRAME_LEN])
{
	struct ether_arp arp = { 0 };

	memcpy(arp.arp_tha, mac, MAC_LEN);
	build(mac, ETHERTYPE_REVARP, ARPOP_RREQUEST, &arp, ret_frame);
}

void arp_gratuitous(const uint8_t mac[MAC_LEN], struct in_addr ip,
		    uint8_t ret_frame[ARP_FRAME_LEN])
{
	struct ether_arp arp = { 0 };

	memcpy(arp.arp_spa, &ip, sizeof(arp.arp_spa));
	memcpy(arp.arp_tpa, &ip, sizeof(arp.arp_tpa));
	build(mac, ETHERTYPE_ARP, ARPOP_REQUEST, &arp, ret_frame);
}
