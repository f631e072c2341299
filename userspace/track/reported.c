// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The complement `wrote`: beside trackers, what the VMM itself reports of its devices'
 * writes (ram/wrote.h). Marked pages are simply added to a harvest.
 *
 * Requests that are only counted name no pages. Theirs are among those that trackers saw
 * written while such requests were under way, since a request marks its pages when it is
 * submitted; so these are kept, and reported once more when the requests have ended. There
 * are two epochs of requests, 0 and 1, and two sets of kept pages:
 *
 *	- begin counts a request in the current epoch, or in the one before if it was slow;
 *	- a harvest keeps what it found in the current epoch's set, if any are under way;
 *	- when none of the other epoch is under way, its set is reported and becomes the
 *	  current one, empty.
 *
 * A page of a request, kept in set x, is reported after the request has ended: the request
 * was counted in x, or in the epoch before, 1 - x. In x: x's set is reported only when none of
 * x is under way. In 1 - x: then x stays current until none of 1 - x is under way, and its
 * set is reported later still. The counter was raised before the page was marked, and
 * counters are read after the trackers' harvest: so the request is seen in its counter, or
 * it has ended before this harvest did, and then what is sent has its content.
 *
 * A request under way when the trackers are armed has marked its pages before. So start
 * waits until those have ended; where one takes too long, all pages are kept.
 *
 * Called by select.c, from one thread at a time.
 */
#include <errno.h>
#include <poll.h>

#include "base/bitmap.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "ram/wrote.h"
#include "track/internal.h"

#define START_MS 1000u

/**
 * struct drover_reported - while the trackers are armed
 * @kept: of each epoch, one map a block
 * @keeps: the set is not empty
 */
struct drover_reported {
	const struct drover_ram *ram;
	struct drover_wrote *wrote;
	uint64_t *kept[2][DROVER_RAM_BLOCKS_MAX];
	bool keeps[2];
};

static void keep(struct drover_reported *r, uint64_t *const *maps)
{
	unsigned int i, epoch = drover_wrote_epoch(r->wrote);

	for (i = 0; i < r->ram->n; i++) {
		uint64_t n = drover_pages(r->ram->block[i].size);

		if (maps)
			drover_bitmap_or(r->kept[epoch][i], maps[i], n);
		else
			drover_bitmap_set_range(r->kept[epoch][i], 0, n);
	}
	r->keeps[epoch] = true;
}

static void give_back(struct drover_reported *r, unsigned int epoch, uint64_t *const *maps)
{
	unsigned int i;

	for (i = 0; r->keeps[epoch] && i < r->ram->n; i++) {
		uint64_t n = drover_pages(r->ram->block[i].size);

		drover_bitmap_or(maps[i], r->kept[epoch][i], n);
		drover_bitmap_clear_range(r->kept[epoch][i], 0, n);
	}
	r->keeps[epoch] = false;
}

/* End the epoch before, if none of its requests is under way. */
static bool turn(struct drover_reported *r, uint64_t *const *maps)
{
	unsigned int before = !drover_wrote_epoch(r->wrote);

	if (drover_wrote_under_way(r->wrote, before))
		return false;
	if (maps)
		give_back(r, before, maps);
	drover_wrote_set_epoch(r->wrote, before);
	return true;
}

/* Twice: what was under way is counted in either epoch. */
static bool wait_for_old(struct drover_reported *r)
{
	uint64_t deadline = drover_deadline_ms(START_MS);
	unsigned int turns = 0;

	while (turns < 2) {
		if (turn(r, NULL)) {
			turns++;
			continue;
		}
		if (drover_now_ns() >= deadline)
			return false;
		poll(NULL, 0, 1);
	}
	return true;
}

int drover_reported_new(const struct drover_ram *ram, struct drover_wrote *wrote,
			struct drover_reported **ret, struct drover_error *e)
{
	struct drover_reported *r = calloc(1, sizeof(*r));
	unsigned int i, epoch;

	if (!r)
		return drover_err(e, -ENOMEM, "tracker wrote: out of memory");
	r->ram = ram;
	r->wrote = wrote;
	for (i = 0; i < ram->n; i++)
		for (epoch = 0; epoch < 2; epoch++) {
			r->kept[epoch][i] = drover_bitmap_new(drover_pages(ram->block[i].size));
			if (!r->kept[epoch][i]) {
				drover_reported_free(r);
				return drover_err(e, -ENOMEM, "tracker wrote: out of memory");
			}
		}
	if (!wait_for_old(r))
		keep(r, NULL);
	/* What ended until now is in memory, and the first round sends all of that. */
	for (i = 0; i < ram->n; i++) {
		uint64_t n = drover_pages(ram->block[i].size);
		_cleanup_free_ uint64_t *old = drover_bitmap_new(n);

		if (old)        /* else these pages are reported for nothing */
			drover_wrote_take(wrote, i, n, old);
	}
	*ret = r;
	return 0;
}

int drover_reported_harvest(struct drover_reported *r, uint64_t *const *maps, bool final,
			    struct drover_error *e)
{
	uint64_t left = drover_wrote_under_way(r->wrote, 0) + drover_wrote_under_way(r->wrote, 1);
	unsigned int i;

	if (final && left)
		return drover_err(e, -EPROTO, "tracker wrote: the VMM is paused and says that "
				  "%llu requests of its devices are under way: its pause must wait "
				  "for them", (unsigned long long)left);
	if (left)
		keep(r, maps);
	if (turn(r, maps))
		turn(r, maps);
	for (i = 0; i < r->ram->n; i++)
		drover_wrote_take(r->wrote, i, drover_pages(r->ram->block[i].size), maps[i]);
	return 0;
}

struct drover_reported *drover_reported_free(struct drover_reported *r)
{
	unsigned int i;

	if (!r)
		return NULL;
	for (i = 0; i < r->ram->n; i++) {
		free(r->kept[0][i]);
		free(r->kept[1][i]);
	}
	free(r);
	return NULL;
}
