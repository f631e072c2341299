// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * An interface to announce on: what the command line says of it, and one round of frames.
 * The interface is looked up by name for each round, since a tap may have been made anew.
 */
#include "daemon/announce-if.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <netinet/ether.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "daemon/netif.h"

static int add_frame(struct announce_if *a, const struct announce_frame *f,
		     struct drover_error *e)
{
	if (a->n == ANNOUNCE_FRAMES_MAX)
		return drover_err(e, -E2BIG, "interface %s: more than %u addresses", a->name,
				  ANNOUNCE_FRAMES_MAX);
	a->frame[a->n++] = *f;
	return 0;
}

static int add_own(struct announce_if *a, struct drover_error *e)
{
	return add_frame(a, &(struct announce_frame){ .own = true }, e);
}

static int add_mac(struct announce_if *a, const char *text, struct drover_error *e)
{
	static const uint8_t none[MAC_LEN];
	struct announce_frame f = { 0 };
	struct ether_addr mac;

	/* ether_aton_r also takes numbers of one digit, and what follows a blank. */
	if (strlen(text) != 17 || !ether_aton_r(text, &mac))
		return drover_err(e, -EINVAL, "interface %s: mac: '%s' is not six pairs of digits",
				  a->name, text);
	memcpy(f.mac, mac.ether_addr_octet, MAC_LEN);
	if (f.mac[0] & 1 || memcmp(f.mac, none, MAC_LEN) == 0)
		return drover_err(e, -EINVAL, "interface %s: mac: %s is no station's address",
				  a->name, text);
	return add_frame(a, &f, e);
}

static int add_ip(struct announce_if *a, const char *text, struct drover_error *e)
{
	struct announce_frame f;
	struct in_addr ip;
	int r;

	if (inet_pton(AF_INET, text, &ip) != 1)
		return drover_err(e, -EINVAL, "interface %s: ip: '%s' is not an IPv4 address",
				  a->name, text);
	r = a->n ? 0 : add_own(a, e);
	if (r < 0)
		return r;
	f = a->frame[a->n - 1];
	f.has_ip = true;
	f.ip = ip;
	return add_frame(a, &f, e);
}

static int add_part(struct announce_if *a, const char *part, struct drover_error *e)
{
	if (strncmp(part, "mac=", 4) == 0)
		return add_mac(a, part + 4, e);
	if (strncmp(part, "ip=", 3) == 0)
		return add_ip(a, part + 3, e);
	return drover_err(e, -EINVAL, "interface %s: '%s' is neither mac=MAC nor ip=IPV4", a->name,
			  part);
}

int announce_if_parse(const char *text, struct announce_if *ret, struct drover_error *e)
{
	_cleanup_free_ char *copy = strdup(text);
	char *rest = copy, *part;
	struct announce_if a = { .n = 0 };
	int r = 0;

	if (!copy)
		return drover_err(e, -ENOMEM, "interface %s: out of memory", text);
	part = strsep(&rest, ",");
	if (!part[0] || strlen(part) >= sizeof(a.name))
		return drover_err(e, -EINVAL, "interface '%s': a name has 1 to %zu characters", part,
				  sizeof(a.name) - 1);
	snprintf(a.name, sizeof(a.name), "%s", part);
	while (r >= 0 && (part = strsep(&rest, ",")))
		r = add_part(&a, part, e);
	a.all_ipv4 = !a.n;
	if (r >= 0 && !a.n)
		r = add_own(&a, e);
	if (r < 0)
		return r;
	*ret = a;
	return 0;
}

/* A round under way. */
struct sending {
	const struct announce_if *a;
	struct netif netif;
	int fd;
	struct announce_tally *t;
};

static void fail(struct announce_tally *t, const struct drover_error *e)
{
	if (!t->failed++)
		t->error = *e;
}

static void send_frame(const struct sending *s, const uint8_t *mac, const struct in_addr *ip)
{
	struct sockaddr_ll to = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ip ? ETHERTYPE_ARP : ETHERTYPE_REVARP),
		.sll_ifindex = s->netif.index,
		.sll_halen = MAC_LEN,
	};
	struct drover_error e = DROVER_ERROR_INIT;
	uint8_t frame[ARP_FRAME_LEN];

	if (ip)
		arp_gratuitous(mac, *ip, frame);
	else
		arp_reverse(mac, frame);
	memset(to.sll_addr, 0xff, MAC_LEN);
	if (sendto(s->fd, frame, sizeof(frame), MSG_DONTWAIT, (const struct sockaddr *)&to,
		   sizeof(to)) == (ssize_t)sizeof(frame)) {
		s->t->frames++;
		return;
	}
	drover_err(&e, -errno, "interface %s: send: %s", s->a->name, drover_strerror(errno));
	fail(s->t, &e);
}

static void send_own_ip(void *opaque, struct in_addr ip)
{
	const struct sending *s = opaque;

	send_frame(s, s->netif.mac, &ip);
}

void announce_if_send(const struct announce_if *a, const struct netifs *ifs, int fd,
		      struct announce_tally *t)
{
	struct sending s = { .a = a, .fd = fd, .t = t };
	struct drover_error e = DROVER_ERROR_INIT;
	unsigned int i;

	if (netifs_find(ifs, a->name, &s.netif, &e) < 0) {
		fail(t, &e);
		return;
	}
	for (i = 0; i < a->n; i++) {
		const struct announce_frame *f = &a->frame[i];

		send_frame(&s, f->own ? s.netif.mac : f->mac, f->has_ip ? &f->ip : NULL);
	}
	if (a->all_ipv4)
		netifs_each_ipv4(ifs, s.netif.index, send_own_ip, &s);
}
