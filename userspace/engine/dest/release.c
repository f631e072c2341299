// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * release-ram: the source is told which pages it may free, which are those that were
 * published and digested here. Called by the thread of main.
 */
#include <errno.h>

#include "base/bitmap.h"
#include "base/cleanup.h"
#include "engine/dest/dest.h"
#include "engine/dest/session.h"

/* What has arrived since the last time, into @fresh. Are there any? */
static bool collect(struct postcopy *pc, unsigned int b, uint64_t npages, uint64_t *fresh)
{
	const uint64_t *received = pending_received(&pc->pending, b);
	uint64_t *told = pc->told[b], any = 0;
	size_t w;

	for (w = 0; w < drover_bitmap_words(npages); w++) {
		fresh[w] = __atomic_load_n(&received[w], __ATOMIC_ACQUIRE) & ~told[w];
		told[w] |= fresh[w];
		any |= fresh[w];
	}
	return any;
}

int session_release(struct session *x, struct drover_error *e)
{
	bool told = false;
	unsigned int i;
	int r = 0;

	if (!x->m->config->release_ram || !session_armed(x) || !fate_committed(&x->fate))
		return 0;
	for (i = 0; i < x->nblocks && r >= 0; i++) {
		unsigned int b = x->block[i].ours;
		uint64_t npages = drover_pages(x->m->ram->block[b].size);
		_cleanup_free_ uint64_t *fresh = drover_bitmap_new(npages);

		if (!fresh)
			return drover_err(e, -ENOMEM, "RELEASE: out of memory");
		if (!collect(x->pc, b, npages, fresh))
			continue;
		r = drover_link_send_runs(x->main, DROVER_MSG_RELEASE, i, fresh, npages, e);
		told = true;
	}
	return r < 0 ? r : told;
}
