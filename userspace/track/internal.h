/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_TRACK_INTERNAL_H
#define DROVER_TRACK_INTERNAL_H

/* Shared by the files of track/ and by its unit tests. */
#include "track/track.h"

extern const struct drover_tracker_ops drover_tracker_kmod;
extern const struct drover_tracker_ops drover_tracker_pagemap_scan;
extern const struct drover_tracker_ops drover_tracker_soft_dirty;
extern const struct drover_tracker_ops drover_tracker_kvm_log;

/* Pages of page tables that a thread scans at a time: a multiple of a bitmap's word. */
#define DROVER_SCAN_STEP 32768u

/* How the hole tracker looks at its page tables. */
enum drover_holes_how {
	DROVER_HOLES_BEST,              /* PAGEMAP_SCAN where the kernel has it */
	DROVER_HOLES_READ,              /* entries of pagemap: any kernel, about 4 times slower */
	DROVER_HOLES_SEEN,              /* another tracker sees them: keep the data map only */
};

struct drover_holes;

/**
 * drover_holes_new() - read the data maps and begin to watch for punches
 * @ram: outlives the handle
 *
 * Every punch that begins after this returned is seen.
 */
int drover_holes_new(const struct drover_ram *ram, enum drover_holes_how how,
		     struct drover_holes **ret, struct drover_error *e);
struct drover_holes *drover_holes_free(struct drover_holes *h);
/*
 * In DROVER_HOLES_SEEN instead of a harvest: pages of @hole read as zero, those of @map are
 * written. Holes are added to @map. Where both say something it is data: a vCPU that reads
 * a hole first gets an entry it can write through later, which KVM's log alone shows. What
 * was written first and punched then is sent as the zeros it is.
 */
void drover_holes_seen(struct drover_holes *h, unsigned int block, const uint64_t *hole,
		       uint64_t *map);
/*
 * Report punched pages in maps[block], and bring the data maps up to date: with those,
 * and with what the other trackers have reported in @maps before.
 */
int drover_holes_harvest(struct drover_holes *h, uint64_t *const *maps, struct drover_error *e);
const uint64_t *drover_holes_data(const struct drover_holes *h, unsigned int block);

/*
 * Writers that trackers of page tables do not see, unseen.c. look: 0, 1 (allowed by the user) or
 * -EOPNOTSUPP with what to do; @text is for the report. @start: also other processes, which
 * takes milliseconds.
 */
#define DROVER_UNSEEN_MAX 512u
int drover_unseen_look(const struct drover_track_source *src, const char *name, bool start,
		       char *text, struct drover_error *e);
/* Does the VMM still map its RAM where the trackers look? After their harvest. */
int drover_unseen_mapped(const struct drover_track_source *src, const char *name,
			 struct drover_error *e);

/* What the VMM reports of its devices, reported.c. */
struct drover_reported;
struct drover_wrote;

/**
 * drover_reported_new() - forget what was reported, and see to requests that are under way
 * @ram, @wrote: outlive the handle
 *
 * After the trackers are armed and before any page is read; may take a second.
 */
int drover_reported_new(const struct drover_ram *ram, struct drover_wrote *wrote,
			struct drover_reported **ret, struct drover_error *e);
struct drover_reported *drover_reported_free(struct drover_reported *r);
/*
 * After the trackers' harvests, whose news are in @maps. -EPROTO: @final, and the VMM has
 * not waited for its devices.
 */
int drover_reported_harvest(struct drover_reported *r, uint64_t *const *maps, bool final,
			    struct drover_error *e);

#endif
