// SPDX-License-Identifier: GPL-2.0-or-later
/* Announcements: the two frames byte by byte, QEMU's schedule, and the command line. */
#include "daemon/announce.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "daemon/announce-if.h"
#include "tap.h"

static const uint8_t mac[MAC_LEN] = { 0x52, 0x54, 0, 0x12, 0x34, 0x56 };

static void frames(void)
{
	/* RFC 903 and RFC 5227, in an Ethernet frame of the least length. */
	static const uint8_t reverse[ARP_FRAME_LEN] = {
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 0x80, 0x35,
		0, 1, 8, 0, 6, 4, 0, 3, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 0, 0, 0, 0,
		0x52, 0x54, 0, 0x12, 0x34, 0x56, 0, 0, 0, 0,
	};
	static const uint8_t gratuitous[ARP_FRAME_LEN] = {
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 8, 6,
		0, 1, 8, 0, 6, 4, 0, 1, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 192, 0, 2, 7,
		0, 0, 0, 0, 0, 0, 192, 0, 2, 7,
	};
	struct in_addr ip = { htonl(0xc0000207) };
	uint8_t frame[ARP_FRAME_LEN];

	memset(frame, 0xaa, sizeof(frame));
	arp_reverse(mac, frame);
	tap_ok(memcmp(frame, reverse, sizeof(frame)) == 0, "RARP");
	memset(frame, 0xaa, sizeof(frame));
	arp_gratuitous(mac, ip, frame);
	tap_ok(memcmp(frame, gratuitous, sizeof(frame)) == 0, "gratuitous ARP");
}

static void schedule(void)
{
	static const struct {
		struct announce_plan plan;
		uint32_t ms[6];
	} row[] = {
		{ { 50, 550, 5, 100 }, { 50, 150, 250, 350, 450, 550 } },
		{ { 50, 200, 9, 100 }, { 50, 150, 200, 200, 200, 200 } },
		{ { 500, 100, 3, 1 }, { 100, 100, 100, 100, 100, 100 } },
		{ { 0, 100000, 1000, 10000 }, { 0, 10000, 20000, 30000, 40000, 50000 } },
	};
	size_t i, k;

	for (i = 0; i < DROVER_ARRAY_SIZE(row); i++) {
		bool ok = true;

		for (k = 0; k < 6; k++)
			ok = ok && announce_delay_ms(&row[i].plan, k + 1) == row[i].ms[k];
		tap_ok(ok, "delays from %u ms on", row[i].ms[0]);
	}
	tap_ok(announce_delay_ms(&row[3].plan, 1000) == 100000, "the last of the longest");
}

static void command_line(void)
{
	static const struct {
		const char *text;
		const char *says;
	} bad[] = {
		{ "", "interface ''" },
		{ "a-name-that-is-too-long", "1 to 15" },
		{ "tap0,", "neither" },
		{ "tap0,gw=1", "'gw=1' is neither" },
		{ "tap0,mac=52:54:00:12:34", "six pairs" },
		{ "tap0,mac=52:54:00:12:34:5", "six pairs" },
		{ "tap0,mac=52:54:00:12:34:5g", "six pairs" },
		{ "tap0,mac=52:54:00:12:34:56:78", "six pairs" },
		{ "tap0,mac=53:54:00:12:34:56", "no station" },
		{ "tap0,mac=00:00:00:00:00:00", "no station" },
		{ "tap0,ip=192.0.2", "IPv4" },
		{ "tap0,ip=2001:db8::1", "IPv4" },
	};
	char many[4096] = "tap0";
	struct announce_if a;
	size_t i;

	for (i = 0; i < DROVER_ARRAY_SIZE(bad); i++) {
		struct drover_error e = DROVER_ERROR_INIT;

		tap_ok(announce_if_parse(bad[i].text, &a, &e) < 0 && strstr(e.msg, bad[i].says) &&
		       strncmp(e.msg, "interface ", 10) == 0, "%s", e.msg);
	}
	for (i = 0; i < ANNOUNCE_FRAMES_MAX + 1; i++)
		strcat(many, ",mac=52:54:00:12:34:56");
	tap_ok(announce_if_parse(many, &a, NULL) < 0, "too many addresses");
	tap_ok(!announce_if_parse("tap0", &a, NULL) && !strcmp(a.name, "tap0") && a.n == 1 &&
	       a.frame[0].own && !a.frame[0].has_ip && a.all_ipv4, "a name alone");
	tap_ok(!announce_if_parse("tap0,ip=192.0.2.7", &a, NULL) && a.n == 2 && a.frame[0].own &&
	       !a.frame[0].has_ip && a.frame[1].own && a.frame[1].has_ip &&
	       a.frame[1].ip.s_addr == htonl(0xc0000207) && !a.all_ipv4, "an ip of its own");
	tap_ok(!announce_if_parse("tap0,mac=52:54:00:12:34:56,ip=192.0.2.7,ip=192.0.2.8,"
				  "mac=02:00:00:00:00:01", &a, NULL) && a.n == 4 && !a.all_ipv4 &&
	       !a.frame[0].own && !memcmp(a.frame[0].mac, mac, MAC_LEN) && !a.frame[0].has_ip &&
	       a.frame[2].has_ip && !memcmp(a.frame[2].mac, mac, MAC_LEN) &&
	       !a.frame[2].own && a.frame[3].mac[5] == 1 && !a.frame[3].has_ip,
	       "MAC addresses, each with its ips");
}

int main(void)
{
	frames();
	schedule();
	command_line();
	return tap_done();
}
