/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_TRACK_TRACK_H
#define DROVER_TRACK_TRACK_H

#include <stdbool.h>
#include <stdint.h>

#include "ram/ram.h"

struct drover_error;
struct drover_log;
struct drover_wrote;

/**
 * struct drover_track_block - how the VMM itself sees one RAM block
 * @base: address of the block in the address space @uffd and @pagemap_fd belong to; 0: unknown
 */
struct drover_track_block {
	uint64_t base;
};

/**
 * struct drover_track_source - what a guest link offers to trackers
 * @ram: the blocks, mapped (host != NULL); the tracker's bitmaps are one a block, in this order
 * @uffd: the VMM's userfaultfd, API handshake done with all features, not registered
 *	on guest RAM; -1: none. Not owned.
 * @pagemap_fd: /proc/self/pagemap as the VMM opened it; -1: none. Not owned.
 * @pid: the VMM's process for clear_refs (soft-dirty); 0: none
 * @wrote: the file in which the VMM promises to report every write of its devices
 *	(ram/wrote.h); NULL: it does not. Not owned.
 * @blind_devices: go on where nobody sees the devices' writes (unsafe-device-writes=allow)
 * @block: one a RAM block
 * @kvm_log: the guest can give a KVM dirty log
 * @kvm_start: start KVM's logging; may be NULL when @kvm_log is false
 * @kvm_sync: OR the vCPU writes since the last call into maps[block]; every write
 *	finished before the call is in this or an earlier result
 * @kvm_stop: stop logging; idempotent
 * @opaque: first argument of the three
 */
struct drover_track_source {
	const struct drover_ram *ram;
	int uffd;
	int pagemap_fd;
	int pid;
	struct drover_wrote *wrote;
	bool blind_devices;
	struct drover_track_block block[DROVER_RAM_BLOCKS_MAX];
	bool kvm_log;
	int (*kvm_start)(void *opaque, struct drover_error *e);
	int (*kvm_sync)(void *opaque, uint64_t *const *maps, struct drover_error *e);
	int (*kvm_stop)(void *opaque, struct drover_error *e);
	void *opaque;
};

/**
 * struct drover_tracker_ops - one way to see writes
 * @name: as in the `tracker` option
 * @guarantee: one line: which writers it sees
 * @vcpu_only: sees KVM vCPUs and nothing else; needs another tracker for the VMM's threads
 * @sees_all: other processes' writes, too, and what devices write, or detects it as pinned
 * @no_vcpus: does not see KVM vCPUs; the one that does is taken along where the guest offers it
 * @probe: 1 usable; 0 not usable and @why says what is missing
 * @start: arm; every write finished after start returned is seen
 * @harvest: OR into maps[block] what was written since the last harvest and clear it;
 *	every write finished before the call is in this or an earlier harvest; some may
 *	be reported twice. @final: the guest is paused, the result must be exact or more
 * @holes: pages of a block that read as zero, as found by the last harvest: since the one
 *	before, or in all. They are not in its maps. What is written to one later is in the
 *	next harvest. A KVM log, if it is taken along, is harvested before
 * @pinned: see drover_tracker_pinned(); NULL when the tracker can't tell
 * @stop: disarm, leave the VMM as if never armed; idempotent
 */
struct drover_tracker_ops {
	const char *name;
	const char *guarantee;
	bool vcpu_only;
	bool no_vcpus;
	bool sees_all;
	int (*probe)(const struct drover_track_source *src, char *why, size_t why_len);
	int (*start)(const struct drover_track_source *src, void **ret_state,
		     struct drover_error *e);
	int (*harvest)(void *state, uint64_t *const *maps, bool final, struct drover_error *e);
	const uint64_t *(*holes)(void *state, unsigned int block);
	const uint64_t *(*pinned)(void *state, unsigned int block);
	void (*stop)(void *state);
};

/* All trackers built in, best first; NULL-terminated. */
const struct drover_tracker_ops *const *drover_tracker_table(void);

#define DROVER_TRACK_REPORT_MAX 1024

/** struct drover_tracker - the trackers chosen for one migration, plus the hole tracker */
struct drover_tracker;

/**
 * drover_tracker_select() - choose, without arming anything
 * @src: copied; what its members point to outlives the tracker
 * @want: value of the `tracker` option ("auto", "pagemap-scan", ...)
 *
 * auto takes the best complete combination: kmod, with kvm-log beside it when that is
 * offered, as kmod does not see vCPUs; pagemap-scan, with kvm-log beside it
 * when that is offered (it may be skipped if pagemap-scan sees vCPUs by itself);
 * soft-dirty. A tracker that was named and cannot be used is an error that says why.
 * So is a VMM with direct I/O, registered buffers, or assigned devices, which no chosen
 * tracker sees and which it does not report, and RAM that another process maps and no
 * chosen tracker sees it write, unless @blind_devices.
 */
int drover_tracker_select(const struct drover_track_source *src, const char *want,
			  const struct drover_log *log, struct drover_tracker **ret,
			  struct drover_error *e);
/* "pagemap-scan+holes" */
const char *drover_tracker_name(const struct drover_tracker *t);
/* One line a tracker: "kmod: refused: /dev/drover: No such file or directory" ... */
const char *drover_tracker_report(const struct drover_tracker *t);
int drover_tracker_start(struct drover_tracker *t, struct drover_error *e);
/**
 * drover_tracker_harvest() - OR all trackers' news, holes included, into maps[block]
 *
 * Holes: a page that was punched since the last harvest is reported dirty; the
 * caller learns that it is a hole from drover_tracker_data(). A page that was punched
 * and allocated again by a read is reported too. Reads of @ram's host mappings by other
 * threads may go on meanwhile. Cost of an idle guest: about 2 ms of CPU a GiB, on all CPUs.
 */
int drover_tracker_harvest(struct drover_tracker *t, uint64_t *const *maps, bool final,
			   struct drover_error *e);
/**
 * drover_tracker_data() - pages that may hold data, as of the last start or harvest
 *
 * A clear bit is a hole of the memfd: it reads as zero and must not be touched
 * (touching allocates). One bitmap a block, owned by the tracker.
 */
const uint64_t *drover_tracker_data(const struct drover_tracker *t, unsigned int block);
/**
 * drover_tracker_pinned() - pages that a device may write, as of the last final harvest
 *
 * No tracker sees such a write. The first final harvest in a row reports these pages
 * dirty, the later ones don't: compare their content with what was sent. NULL: unknown.
 */
const uint64_t *drover_tracker_pinned(const struct drover_tracker *t, unsigned int block);
void drover_tracker_stop(struct drover_tracker *t);
struct drover_tracker *drover_tracker_free(struct drover_tracker *t);

#endif
