// SPDX-License-Identifier: GPL-2.0-or-later
/* What the module's wrappers check themselves and how they explain errors; no module needed. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "dev/kmod.h"
#include "tap.h"

static struct drover_error e;

static void fails(int r, int want, const char *part, const char *name)
{
	tap_ok(r == want && e.code == want && strstr(e.msg, part), "%s: %d, %s", name, r, e.msg);
	drover_err_clear(&e);
}

/* A descriptor that knows none of the commands. */
static void foreign(int fd)
{
	struct drover_range range = { 0, 1 };
	struct drover_kdev_region region = { .bytes = 4096, .name = "a" };
	struct drover_kdev_news news = { 0 };
	struct drover_caps caps;
	struct drover_stat st;
	uint64_t map[1] = { 0 };
	const char *why = "another version";
	int got = -1;

	news.map_dirty = map;
	fails(drover_kdev_caps(fd, &caps, &e), -ENOTTY, why, "caps");
	fails(drover_kdev_attach(fd, fd, 0, &got, NULL, &e), -ENOTTY, why, "attach");
	fails(drover_kdev_arm(fd, NULL, &e), -ENOTTY, why, "arm");
	fails(drover_kdev_harvest(fd, 0, 1, false, &news, &e), -ENOTTY, why, "harvest");
	fails(drover_kdev_set_dirty(fd, 0, 1, map, &e), -ENOTTY, why, "set-dirty");
	fails(drover_kdev_stat(fd, &st, &e), -ENOTTY, why, "stat");
	fails(drover_kdev_region_create(fd, &region, &e), -ENOTTY, why, "region");
	fails(drover_kdev_adopt(fd, 1, &got, &e), -ENOTTY, why, "adopt");
	fails(drover_kdev_gate(fd, true, &e), -ENOTTY, "close the gate", "gate");
	fails(drover_kdev_publish(fd, &range, 1, false, NULL, &e), -ENOTTY, why, "publish");
	fails(drover_kdev_received(fd, 0, 1, map, NULL, &e), -ENOTTY, why, "received");
	tap_ok(got == -1 && !map[0], "outputs are not touched");
}

static void arguments(int fd)
{
	struct drover_kdev_region region = { .bytes = 4095 };
	struct drover_kdev_news news = { 0 };
	struct drover_request req;
	uint64_t map[1] = { 0 }, woken = 7;

	fails(drover_kdev_harvest(fd, 0, 1, false, &news, &e), -EINVAL, "no map", "no map");
	news.map_dirty = news.map_pinned = map;
	fails(drover_kdev_harvest(fd, 63, 1, true, &news, &e), -EINVAL, "multiple of 64", "page 63");
	fails(drover_kdev_harvest(fd, UINT64_MAX & ~63ull, 64, true, &news, &e), -EINVAL,
	      "multiple of 64", "overflow");
	fails(drover_kdev_harvest(fd, 0, 1, false, &news, &e), -EINVAL, "final one only",
	      "pinned without final");
	fails(drover_kdev_set_dirty(fd, 1, 1, map, &e), -EINVAL, "multiple of 64", "set-dirty");
	fails(drover_kdev_received(fd, 65, 1, map, NULL, &e), -EINVAL, "multiple of 64", "received");
	fails(drover_kdev_region_create(fd, &region, &e), -EINVAL, "multiple of 4096", "size");
	region.bytes = 4096;
	region.name = "Upper";
	fails(drover_kdev_region_create(fd, &region, &e), -EINVAL, "[a-z0-9_.-]", "name");
	region.name = "a2345678901234567890123456789012";
	fails(drover_kdev_region_create(fd, &region, &e), -EINVAL, "up to 31", "long name");
	fails(drover_kdev_read_requests(fd, &req, 0, &e), -EINVAL, "room for 0", "no room");
	tap_ok(drover_kdev_publish(fd, NULL, 0, false, &woken, &e) == 0 && !woken && !e.code,
	       "publishing nothing is no command");
}

/* read(2) of requests needs no ioctl, so a pipe can play the loader's descriptor. */
static void requests(void)
{
	struct drover_request in[2] = { { .page = 5 }, { .page = 9, .flags = 1 } }, out[4];
	int p[2];

	if (!tap_ok(pipe2(p, O_CLOEXEC | O_NONBLOCK) == 0, "a pipe"))
		return;
	tap_ok(drover_kdev_read_requests(p[0], out, 4, &e) == 0 && !e.code, "none now");
	tap_ok(write(p[1], in, sizeof(in)) == sizeof(in) &&
	       drover_kdev_read_requests(p[0], out, 4, &e) == 2 && out[0].page == 5 &&
	       out[1].page == 9 && out[1].flags == DROVER_REQUEST_WRITE, "two at once");
	tap_ok(write(p[1], in, 10) == 10, "a part of one");
	fails(drover_kdev_read_requests(p[0], out, 4, &e), -EBADMSG, "10 bytes", "a part of one");
	close(p[0]);
	close(p[1]);
}

int main(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC), dev = -1;

	if (access(DROVER_KDEV_PATH, F_OK) < 0)
		fails(drover_kdev_open(&dev, &e), -ENOENT, "modprobe drover", "open");
	foreign(fd);
	arguments(fd);
	requests();
	close(fd);
	return tap_done();
}
