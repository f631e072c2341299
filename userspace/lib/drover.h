/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_H
#define DROVER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * libdrover: what a VMM links to be migrated by droverd. The VMM registers its guest RAM
 * and a handful of callbacks; it does no networking and no dirty logging of its own.
 *
 *	drover_agent_new(&opts, &agent, &why);
 *	drover_agent_add_ram(agent, &ram, &why);	for each block
 *	drover_agent_listen(agent, &why);
 *	... poll drover_agent_fd(agent) for POLLIN, then drover_agent_dispatch(agent);
 *	drover_agent_free(agent);
 *
 * An agent is used by one thread at a time; different agents are independent. Callbacks
 * are called from drover_agent_dispatch() (and none from anywhere else); droverd waits
 * 10 s for each, longer for those that move data, and then ends its link. Structs begin
 * with their size, so that they can grow: set it to sizeof(). Functions and callbacks return 0 or a negative errno, and then a text.
 * The protocol is described in Documentation/agent-protocol.rst.
 */
#define DROVER_API __attribute__((visibility("default")))

#define DROVER_TEXT_MAX 512

/** struct drover_text - why something failed: object, step, cause; NUL-terminated */
struct drover_text {
	char text[DROVER_TEXT_MAX];
};

struct drover_agent;

/**
 * struct drover_agent_ops - what droverd asks of the VMM
 * @size: sizeof(struct drover_agent_ops)
 * @pause: stop the vCPUs, the device threads and everything else that writes guest RAM;
 *	on return nothing does. Not called for a guest that does not run
 * @resume: run again, or for the first time after @load; called only for a guest that is
 *	owned here and that its user wants to run
 * @save: write the device state to @fd, an empty file; the guest is paused
 * @load: check the device state in @fd (@len bytes, sealed) as a whole, then apply it.
 *	When it fails, the guest must not have been changed
 * @prepare: become a destination: forget the old guest; libdrover empties the RAM. May be
 *	called again
 * @throttle: take @percent (0..99) of their time away from the vCPUs; 0 ends it
 * @check: the guest's verdict about itself as JSON text, NUL-terminated; "" for none
 * @log_start: start KVM's dirty log: every vCPU write after the return is logged
 * @log_sync: OR the pages written since the last call into maps[block], bit n for page
 *	n; every vCPU write finished before the call is in this or an earlier result
 * @log_stop: stop logging; idempotent
 * @note: something happened that an operator may want in the VMM's log
 *
 * @pause and @resume are mandatory, @save makes a source, @load and @prepare together a
 * destination; the three log callbacks come together. Others may be NULL.
 */
struct drover_agent_ops {
	size_t size;
	int (*pause)(void *opaque, struct drover_text *why);
	int (*resume)(void *opaque, struct drover_text *why);
	int (*save)(void *opaque, int fd, struct drover_text *why);
	int (*load)(void *opaque, int fd, uint64_t len, struct drover_text *why);
	int (*prepare)(void *opaque, struct drover_text *why);
	int (*throttle)(void *opaque, unsigned int percent, struct drover_text *why);
	int (*check)(void *opaque, char *json, size_t json_size);
	int (*log_start)(void *opaque, struct drover_text *why);
	int (*log_sync)(void *opaque, uint64_t *const *maps, struct drover_text *why);
	int (*log_stop)(void *opaque, struct drover_text *why);
	void (*note)(void *opaque, const char *text);
};

/* struct drover_agent_opts flags */
#define DROVER_AGENT_OPT_INCOMING (1u << 0)     /* waits for a migration; must not run before */
#define DROVER_AGENT_OPT_PAUSED (1u << 1)       /* the guest does not run yet */
#define DROVER_AGENT_OPT_REPORTS_WRITES (1u << 2)       /* see drover_agent_wrote() */

/**
 * struct drover_agent_opts - what an agent is made of
 * @size: sizeof(struct drover_agent_opts)
 * @path: of the UNIX socket to listen on; created with mode 0600, removed by free
 * @ops: copied
 * @opaque: first argument of the callbacks
 * @uuid: 16 bytes, or NULL when the guest has none
 * @flags: DROVER_AGENT_OPT_*
 */
struct drover_agent_opts {
	size_t size;
	const char *path;
	const struct drover_agent_ops *ops;
	void *opaque;
	const uint8_t *uuid;
	uint32_t flags;
	uint32_t reserved;
};

/* struct drover_agent_ram_opts flags; as in the protocol */
#define DROVER_AGENT_RAM_SHARED_DEST (1u << 0)  /* the destination holds the same memory */

/**
 * struct drover_agent_ram_opts - one contiguous range of guest RAM
 * @size: sizeof(struct drover_agent_ram_opts)
 * @name: the same on source and destination, unique, 1..63 of [A-Za-z0-9._/-]
 * @gpa: guest physical address
 * @len: bytes
 * @fd: memfd, shmem file or vm descriptor of a region, mapped MAP_SHARED by the VMM;
 *	duplicated. It must not be shortened while droverd is attached; better seal it with
 *	F_SEAL_SHRINK
 * @fd_off: where the block begins in @fd
 * @host: the VMM's mapping of the block, the one its vCPUs use; the trackers watch it
 * @flags: DROVER_AGENT_RAM_*
 *
 * All numbers are multiples of 4096.
 */
struct drover_agent_ram_opts {
	size_t size;
	const char *name;
	uint64_t gpa;
	uint64_t len;
	uint64_t fd_off;
	void *host;
	int fd;
	uint32_t flags;
};

/**
 * drover_agent_new() - make an agent; it listens after drover_agent_listen()
 *
 * Also opens what trackers need of this process: a userfaultfd and /proc/self/pagemap.
 * Where the kernel refuses these, droverd says so and uses other trackers.
 *
 * Return: 0, -EINVAL, -ENOMEM.
 */
DROVER_API int drover_agent_new(const struct drover_agent_opts *opts, struct drover_agent **ret,
				struct drover_text *why);

/** drover_agent_free() - end the link, remove the socket; NULL is fine. Returns NULL */
DROVER_API struct drover_agent *drover_agent_free(struct drover_agent *agent);

/**
 * drover_agent_add_ram() - register a block; only before drover_agent_listen()
 *
 * Return: 0, -EINVAL (bad or overlapping), -EEXIST (name taken), -ENOSPC (over 256),
 * -EOPNOTSUPP (memory that can't be moved: a private mapping, hugetlbfs, memfd_secret,
 * guest_memfd, a read-only or write-sealed file, a mapping of something else; the text says
 * what to do), or what fstat(2) or dup(2) of the file failed with.
 */
DROVER_API int drover_agent_add_ram(struct drover_agent *agent,
				    const struct drover_agent_ram_opts *ram,
				    struct drover_text *why);

/**
 * drover_agent_listen() - make the socket and accept droverd from here on
 *
 * A socket file that nobody listens on any more is replaced.
 *
 * Return: 0, -EADDRINUSE, or another negative errno.
 */
DROVER_API int drover_agent_listen(struct drover_agent *agent, struct drover_text *why);

/** drover_agent_fd() - poll this for POLLIN; the same number for the agent's life */
DROVER_API int drover_agent_fd(const struct drover_agent *agent);

/**
 * drover_agent_dispatch() - handle what has come, without waiting
 *
 * Return: 0, or a negative errno when the agent can't go on.
 */
DROVER_API int drover_agent_dispatch(struct drover_agent *agent);

/**
 * drover_agent_may_run() - does the ownership record let the guest run here?
 *
 * A VMM that starts its guest by itself (a user's command) asks first: two VMMs may hold
 * the same guest, and only one of them may run it. 0 in every state but owned, also in the
 * last pause before a handover.
 */
DROVER_API int drover_agent_may_run(const struct drover_agent *agent);

/**
 * drover_agent_set_running() - the user has started or stopped the guest, in the VMM
 *
 * That is the user's will, which nobody but the user changes: a guest that was stopped so is
 * started by no droverd, here or where it is migrated to. Not for what the callbacks did.
 *
 * Return: 0; -EAGAIN: @running is noted, but the guest must not run now: it is paused for a
 * handover, and resume() is called if that fails; -EPERM: the guest is not here.
 */
DROVER_API int drover_agent_set_running(struct drover_agent *agent, int running);

/**
 * drover_agent_pages_missing() - does the guest run before its RAM has arrived (postcopy)?
 *
 * Then who touches a page that is missing waits for droverd, the VMM's own threads, too.
 * Until it returns 0 the VMM must not give memory back to the host (a balloon writes zeros
 * instead): what it punches would arrive afterwards. It changes in drover_agent_dispatch().
 */
DROVER_API int drover_agent_pages_missing(const struct drover_agent *agent);

/*
 * Writes of devices. A disk opened with O_DIRECT, an io_uring with registered buffers, a
 * device assigned by VFIO or vDPA writes to guest RAM when no tracker of page tables looks:
 * the page counts as written when a request is submitted, and is written when it ends. A
 * VMM that has such devices reports their writes, and promises so by
 * DROVER_AGENT_OPT_REPORTS_WRITES; else droverd refuses to move it (unsafe-device-writes),
 * unless the kernel module watches. Both forms may be mixed, request by request. Any
 * thread may call these at any time from drover_agent_listen() to drover_agent_free(), also
 * when no droverd is attached; none of them takes a lock or makes a system call. The
 * pause callback must return only when all requests have ended and were reported.
 */

/**
 * drover_agent_wrote() - a device has written to @len bytes at @offset of a block
 * @block: 0 for the first that was registered
 * @offset: from the block's beginning; need not be aligned
 *
 * To be called when the request has ended, before or after the guest is told.
 *
 * Return: 0; -EINVAL: not within the block, or the VMM did not promise to report.
 */
DROVER_API int drover_agent_wrote(struct drover_agent *agent, unsigned int block,
				  uint64_t offset, uint64_t len);

/**
 * drover_agent_io_begin() - a request is about to be submitted whose pages are not reported
 *
 * The coarse form, for who knows when requests end and not where they wrote: pages that
 * were seen written while such requests were under way are sent once more when these have
 * ended. For direct I/O only: the pages of registered buffers and of assigned devices
 * are not marked when a request is submitted, so these need drover_agent_wrote().
 *
 * Return: what drover_agent_io_end() wants to have, from any thread.
 */
DROVER_API unsigned int drover_agent_io_begin(struct drover_agent *agent);
/** drover_agent_io_end() - it has ended, or was never submitted */
DROVER_API void drover_agent_io_end(struct drover_agent *agent, unsigned int token);

/** drover_agent_verdict_changed() - tell droverd; it is sent what check() says now */
DROVER_API void drover_agent_verdict_changed(struct drover_agent *agent);

/**
 * drover_track_fds() - the descriptors that trackers need of this process
 * @uffd: a userfaultfd with the handshake done; -1 when the kernel refuses one
 * @pagemap: /proc/self/pagemap, read-only; -1 likewise
 *
 * drover_agent_new() calls it; it is here for VMMs that speak the protocol themselves.
 * Both are the caller's.
 */
DROVER_API void drover_track_fds(int *uffd, int *pagemap);

/*
 * The kernel module, one function a command. <linux/drover.h>, installed beside this
 * header, has the structures and says what each command promises. A VMM that takes its
 * guest's RAM from a region maps vm_fd MAP_SHARED and passes it to drover_agent_add_ram().
 * Descriptors are the caller's, and close-on-exec. A signal ends none of these calls.
 */
struct drover_caps;
struct drover_stat;
struct drover_region;
struct drover_range;
struct drover_request;

/** drover_kmod_open() - /dev/drover. -ENOENT: not loaded; -EACCES: not for this user */
DROVER_API int drover_kmod_open(int *fd, struct drover_text *why);
DROVER_API int drover_kmod_caps(int dev, struct drover_caps *caps, struct drover_text *why);

/** drover_kmod_attach() - watch @fd from drover_kmod_arm() on until @attach is closed */
DROVER_API int drover_kmod_attach(int dev, int fd, uint32_t flags, int *attach, uint64_t *pages,
				  struct drover_text *why);
DROVER_API int drover_kmod_arm(int attach, uint64_t *resident, struct drover_text *why);
/**
 * drover_kmod_harvest() - set the bits of what was written since the last one
 * @first: a multiple of 64; bit n of the maps is page @first + n
 * @final: the writers are stopped; then @pinned may be wanted
 * @dirty, @hole, @pinned: the last two may be NULL
 */
DROVER_API int drover_kmod_harvest(int attach, uint64_t first, uint64_t npages, int final,
				   uint64_t *dirty, uint64_t *hole, uint64_t *pinned,
				   struct drover_text *why);
DROVER_API int drover_kmod_set_dirty(int attach, uint64_t first, uint64_t npages,
				     const uint64_t *map, struct drover_text *why);
DROVER_API int drover_kmod_stat(int attach, struct drover_stat *stat, struct drover_text *why);

/** drover_kmod_region() - @region: bytes, grace_ms, flags and name in; vm_fd, loader_fd, id out */
DROVER_API int drover_kmod_region(int dev, struct drover_region *region, struct drover_text *why);
DROVER_API int drover_kmod_adopt(int dev, uint64_t id, int *loader, struct drover_text *why);
DROVER_API int drover_kmod_gate(int loader, int closed, struct drover_text *why);
/** drover_kmod_publish() - any number of ranges; @zero: they read as zero */
DROVER_API int drover_kmod_publish(int loader, const struct drover_range *ranges, uint32_t n,
				   int zero, uint64_t *woken, struct drover_text *why);
DROVER_API int drover_kmod_received(int loader, uint64_t first, uint64_t npages, uint64_t *map,
				    uint64_t *count, struct drover_text *why);
/** drover_kmod_read_requests() - returns how many of @max were filled in; 0: none now */
DROVER_API int drover_kmod_read_requests(int loader, struct drover_request *req, unsigned int max,
					 struct drover_text *why);

/** drover_version() - "0.1.0" */
DROVER_API const char *drover_version(void);

#ifdef __cplusplus
}
#endif

#endif
