// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The kernel module's commands with types, and with errors that say what to do. No
 * policy: what is attached, when and how often is the tracker's business. Numbers are
 * checked here too, so that a mistake is named before the kernel says EINVAL.
 */
#define _GNU_SOURCE
#include "dev/kmod.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"

#define REQUESTS_MAX 65536u

/** struct reason - what an errno of one command means to an operator */
struct reason {
	int err;
	const char *text;
};

static const struct reason open_reasons[] = {
	{ ENOENT, "the module is not loaded: load drover.ko (modprobe drover)" },
	{ ENXIO, "the module is not loaded any more" },
	{ EACCES, "only root may open it: run as root or change the device's owner" },
	{ EPERM, "this container or service may not open devices" },
	{ 0, NULL },
};

static const struct reason attach_reasons[] = {
	{ EBADF, "the descriptor is not open for writing" },
	{ ENODEV, "the memory is not a memfd or another shmem file" },
	{ EMEDIUMTYPE, "the memory is made of huge pages (hugetlb), which it can't watch" },
	{ EPERM, "the memory is sealed against writing" },
	{ EFBIG, "the memory is larger than it can watch" },
	{ EBUSY, "somebody else watches this memory: is another migration under way?" },
	{ EOPNOTSUPP, "this kernel, CPU or hypervisor does not let it flush TLBs" },
	{ ENOMEM, "no memory for its list of pages, or over this service's memory limit" },
	{ 0, NULL },
};

static const struct reason region_reasons[] = {
	{ EEXIST, "the name is taken" },
	{ EFBIG, "too large" },
	{ 0, NULL },
};

static const struct reason adopt_reasons[] = {
	{ ENOENT, "there is no such region, or it is another user's" },
	{ ENODEV, "this memory is no region of the module" },
	{ EBADF, "it is not open for writing" },
	{ EBUSY, "it has a loader" },
	{ EOWNERDEAD, "its time of grace is over" },
	{ 0, NULL },
};

static const struct reason harvest_reasons[] = {
	{ ENXIO, "it is not armed" },
	{ 0, NULL },
};

static const struct reason no_reasons[] = { { 0, NULL } };

static int fail(int err, const char *step, const struct reason *why, struct drover_error *e)
{
	if (err == ENOTTY)
		return drover_err(e, -err,
				  "module: %s: the loaded module is another version, or this is "
				  "no descriptor of its", step);
	for (; why->err; why++)
		if (why->err == err)
			return drover_err(e, -err, "module: %s: %s", step, why->text);
	return drover_err(e, -err, "module: %s: %s", step, drover_strerror(err));
}

/* Every command but HARVEST can simply be given again. Returns like ioctl(2). */
static int command(int fd, unsigned long cmd, void *arg)
{
	int r;

	do {
		r = ioctl(fd, cmd, arg);
	} while (r < 0 && errno == EINTR);
	return r;
}

static int check_range(uint64_t first, uint64_t npages, const char *step, struct drover_error *e)
{
	if (first % 64 || first > UINT64_MAX - npages)
		return drover_err(e, -EINVAL,
				  "module: %s: pages %llu+%llu: the first must be a multiple of 64",
				  step, (unsigned long long)first, (unsigned long long)npages);
	return 0;
}

int drover_kdev_open(int *ret_fd, struct drover_error *e)
{
	int fd = open(DROVER_KDEV_PATH, O_RDWR | O_CLOEXEC);
	const struct reason *why;
	int err = errno;

	if (fd >= 0) {
		*ret_fd = fd;
		return 0;
	}
	for (why = open_reasons; why->err && why->err != err; why++)
		;
	return drover_err(e, -err, "%s: %s", DROVER_KDEV_PATH,
			  why->err ? why->text : drover_strerror(err));
}

int drover_kdev_caps(int dev, struct drover_caps *ret, struct drover_error *e)
{
	struct drover_caps a = { .size = sizeof(a) };

	if (command(dev, DROVER_IOC_CAPS, &a) < 0)
		return fail(errno, "ask what it can do", no_reasons, e);
	*ret = a;
	return 0;
}

int drover_kdev_attach(int dev, int fd, uint32_t flags, int *ret_fd, uint64_t *ret_pages,
		       struct drover_error *e)
{
	struct drover_attach a = { .size = sizeof(a), .flags = flags, .fd = fd };
	int r = command(dev, DROVER_IOC_ATTACH, &a);

	if (r < 0)
		return fail(errno, "attach", attach_reasons, e);
	*ret_fd = r;
	if (ret_pages)
		*ret_pages = a.pages;
	return 0;
}

int drover_kdev_arm(int attach, uint64_t *ret_resident, struct drover_error *e)
{
	struct drover_arm a = { .size = sizeof(a) };

	if (command(attach, DROVER_IOC_ARM, &a) < 0)
		return fail(errno, "arm", attach_reasons, e);
	if (ret_resident)
		*ret_resident = a.resident;
	return 0;
}

static uint64_t at_word(uint64_t *map, uint64_t page)
{
	return map ? (uint64_t)(uintptr_t)(map + page / 64) : 0;
}

int drover_kdev_harvest(int attach, uint64_t first, uint64_t npages, bool final,
			struct drover_kdev_news *news, struct drover_error *e)
{
	uint64_t at = 0;
	int r = check_range(first, npages, "harvest", e);

	if (r < 0)
		return r;
	if (!news->map_dirty || (news->map_pinned && !final))
		return drover_err(e, -EINVAL, "module: harvest: %s", news->map_dirty ?
				  "pinned pages are found in a final one only" :
				  "no map of dirty pages");
	news->dirty = news->hole = news->pinned = 0;
	while (at < npages) {
		struct drover_harvest a = {
			.size = sizeof(a),
			.flags = final ? DROVER_HARVEST_FINAL : 0,
			.first = first + at,
			.npages = npages - at,
			.dirty = at_word(news->map_dirty, at),
			.hole = at_word(news->map_hole, at),
			.pinned = at_word(news->map_pinned, at),
		};

		r = ioctl(attach, DROVER_IOC_HARVEST, &a);
		if (r < 0 && errno != EINTR)
			return fail(errno, "harvest", harvest_reasons, e);
		news->dirty += a.ndirty;
		news->hole += a.nhole;
		news->pinned += a.npinned;
		if (r == 0)
			break;
		/* Maps begin at a word: some pages may be looked at again. */
		at += (a.done < npages - at ? a.done : npages - at) & ~63ull;
	}
	return 0;
}

int drover_kdev_set_dirty(int attach, uint64_t first, uint64_t npages, const uint64_t *map,
			  struct drover_error *e)
{
	struct drover_set_dirty a = {
		.size = sizeof(a),
		.first = first,
		.npages = npages,
		.bitmap = (uint64_t)(uintptr_t)map,
	};
	int r = check_range(first, npages, "give bits back", e);

	if (r < 0)
		return r;
	if (command(attach, DROVER_IOC_SET_DIRTY, &a) < 0)
		return fail(errno, "give bits back", harvest_reasons, e);
	return 0;
}

int drover_kdev_stat(int attach, struct drover_stat *ret, struct drover_error *e)
{
	struct drover_stat a = { .size = sizeof(a) };

	if (command(attach, DROVER_IOC_STAT, &a) < 0)
		return fail(errno, "account", no_reasons, e);
	*ret = a;
	return 0;
}

int drover_kdev_region_create(int dev, struct drover_kdev_region *region, struct drover_error *e)
{
	struct drover_region a = {
		.size = sizeof(a),
		.flags = region->gated ? DROVER_REGION_GATED : 0,
		.bytes = region->bytes,
		.grace_ms = region->grace_ms,
	};
	const char *name = region->name ? region->name : "";

	if (!region->bytes || region->bytes % 4096)
		return drover_err(e, -EINVAL,
				  "module: region: %llu bytes: not a multiple of 4096",
				  (unsigned long long)region->bytes);
	if (strlen(name) >= sizeof(a.name) ||
	    strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.-") != strlen(name))
		return drover_err(e, -EINVAL,
				  "module: region: name '%s': up to %zu of [a-z0-9_.-]", name,
				  sizeof(a.name) - 1);
	memcpy(a.name, name, strlen(name));
	if (command(dev, DROVER_IOC_REGION, &a) < 0)
		return fail(errno, "region", region_reasons, e);
	region->vm_fd = a.vm_fd;
	region->loader_fd = a.loader_fd;
	region->id = a.id;
	return 0;
}

static int adopt(int dev, struct drover_adopt a, int *ret_loader, struct drover_error *e)
{
	int r = command(dev, DROVER_IOC_ADOPT, &a);

	if (r < 0)
		return fail(errno, "adopt a region", adopt_reasons, e);
	if (ret_loader)
		*ret_loader = r;
	return 0;
}

int drover_kdev_adopt(int dev, uint64_t id, int *ret_loader, struct drover_error *e)
{
	return adopt(dev, (struct drover_adopt){ .size = sizeof(struct drover_adopt), .id = id },
		     ret_loader, e);
}

int drover_kdev_adopt_fd(int dev, int vm_fd, int *ret_loader, struct drover_error *e)
{
	return adopt(dev, (struct drover_adopt){ .size = sizeof(struct drover_adopt),
						 .flags = DROVER_ADOPT_FD |
							  (ret_loader ? 0 : DROVER_ADOPT_CHECK),
						 .id = (uint64_t)(unsigned int)vm_fd },
		     ret_loader, e);
}

int drover_kdev_nonblock(int loader, struct drover_error *e)
{
	int flags = fcntl(loader, F_GETFL);

	if (flags < 0 || fcntl(loader, F_SETFL, flags | O_NONBLOCK) < 0)
		return fail(errno, "read without waiting", no_reasons, e);
	return 0;
}

int drover_kdev_gate(int loader, uint32_t flags, struct drover_error *e)
{
	struct drover_gate a = { .size = sizeof(a), .flags = flags };

	if (command(loader, DROVER_IOC_GATE, &a) < 0)
		return fail(errno, flags & DROVER_GATE_CLOSED ? "close the gate" : "open the gate",
			    no_reasons, e);
	return 0;
}

int drover_kdev_publish(int loader, const struct drover_range *ranges, uint32_t n, bool zero,
			uint64_t *ret_woken, struct drover_error *e)
{
	uint64_t woken = 0;

	while (n) {
		struct drover_publish a = {
			.size = sizeof(a),
			.flags = zero ? DROVER_PUBLISH_ZERO : 0,
			.ranges = (uint64_t)(uintptr_t)ranges,
			.nranges = n < DROVER_RANGES_MAX ? n : DROVER_RANGES_MAX,
		};

		if (command(loader, DROVER_IOC_PUBLISH, &a) < 0)
			return fail(errno, "publish", no_reasons, e);
		woken += a.woken;
		ranges += a.nranges;
		n -= a.nranges;
	}
	if (ret_woken)
		*ret_woken = woken;
	return 0;
}

int drover_kdev_received(int loader, uint64_t first, uint64_t npages, uint64_t *map,
			 uint64_t *ret_count, struct drover_error *e)
{
	struct drover_received a = {
		.size = sizeof(a),
		.first = first,
		.npages = npages,
		.bitmap = (uint64_t)(uintptr_t)map,
	};
	int r = check_range(first, npages, "received pages", e);

	if (r < 0)
		return r;
	if (command(loader, DROVER_IOC_RECEIVED, &a) < 0)
		return fail(errno, "received pages", no_reasons, e);
	if (ret_count)
		*ret_count = a.count;
	return 0;
}

int drover_kdev_read_requests(int loader, struct drover_request *req, unsigned int max,
			      struct drover_error *e)
{
	ssize_t n;

	if (!max || max > REQUESTS_MAX)
		return drover_err(e, -EINVAL, "module: read requests: room for %u: 1..%u", max,
				  REQUESTS_MAX);
	do {
		n = read(loader, req, max * sizeof(*req));
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n < 0)
		return fail(errno, "read requests", no_reasons, e);
	if ((size_t)n % sizeof(*req))
		return drover_err(e, -EBADMSG, "module: read requests: %zd bytes are no whole ones",
				  n);
	return (int)((size_t)n / sizeof(*req));
}
