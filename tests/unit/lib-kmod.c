// SPDX-License-Identifier: GPL-2.0-or-later
/* The public calls reach the module's commands and carry the reasons out; no module needed. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <linux/drover.h>

#include "lib/drover.h"
#include "tap.h"

int main(void)
{
	struct drover_region region = { .bytes = 4096, .name = "Upper" };
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC), got = -1;
	struct drover_text why = { "" };
	struct drover_range range = { 0, 1 };
	struct drover_request req;
	struct drover_caps caps;
	struct drover_stat st;
	uint64_t map[1] = { 0 };

	if (access("/dev/drover", F_OK) < 0)
		tap_ok(drover_kmod_open(&got, &why) == -ENOENT && strstr(why.text, "modprobe") &&
		       got == -1, "open: %s", why.text);
	tap_ok(drover_kmod_region(fd, &region, &why) == -EINVAL && strstr(why.text, "'Upper'"),
	       "region: %s", why.text);
	memset(region.name, 'a', sizeof(region.name));
	tap_ok(drover_kmod_region(fd, &region, &why) == -EINVAL, "a name without end: %s", why.text);
	strcpy(region.name, "vm0");
	region.flags = 6;
	tap_ok(drover_kmod_region(fd, &region, &why) == -EINVAL && strstr(why.text, "0x6"),
	       "region: %s", why.text);
	region.flags = DROVER_REGION_GATED;
	tap_ok(drover_kmod_region(fd, &region, NULL) == -ENOTTY && !region.vm_fd, "no text wanted");
	tap_ok(drover_kmod_caps(fd, &caps, &why) == -ENOTTY && strstr(why.text, "another version"),
	       "caps: %s", why.text);
	tap_ok(drover_kmod_attach(fd, fd, 0, &got, NULL, &why) == -ENOTTY &&
	       drover_kmod_arm(fd, NULL, &why) == -ENOTTY &&
	       drover_kmod_harvest(fd, 0, 1, 0, map, NULL, NULL, &why) == -ENOTTY &&
	       drover_kmod_set_dirty(fd, 0, 1, map, &why) == -ENOTTY &&
	       drover_kmod_stat(fd, &st, &why) == -ENOTTY, "commands of an attach");
	tap_ok(drover_kmod_adopt(fd, 1, &got, &why) == -ENOTTY &&
	       drover_kmod_gate(fd, 1, &why) == -ENOTTY &&
	       drover_kmod_publish(fd, &range, 1, 0, NULL, &why) == -ENOTTY &&
	       drover_kmod_received(fd, 0, 1, map, NULL, &why) == -ENOTTY, "and of a loader");
	tap_ok(drover_kmod_harvest(fd, 0, 1, 0, map, NULL, map, &why) == -EINVAL &&
	       strstr(why.text, "final"), "harvest: %s", why.text);
	tap_ok(drover_kmod_read_requests(fd, &req, 1, &why) == 0, "no requests");
	close(fd);
	return tap_done();
}
