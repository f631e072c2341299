// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The history of rounds, bounded: when it is full, neighbours become one, so that it
 * always reaches back to the first round, coarser the longer it is. The source's thread
 * adds, anybody reads.
 */
#include <string.h>

#include "base/cleanup.h"
#include "engine/internal.h"

#define MERGE_FIRST(a, b) (a)
#define MERGE_SUM(a, b) ((a) + (b))
#define MERGE_LAST(a, b) (b)

static void merge(struct drover_round *a, const struct drover_round *b)
{
#define ROUND(member, json, how, unit, doc) a->member = MERGE_##how(a->member, b->member);
#include "engine/rounds.def"
#undef ROUND
}

void drover_rounds_add(struct drover_rounds *h, const struct drover_round *r)
{
	unsigned int i;

	if (h->n == DROVER_ROUNDS_MAX) {
		h->n /= 2;
		for (i = 0; i < h->n; i++) {
			struct drover_round both = h->round[(size_t)2 * i];

			merge(&both, &h->round[2 * i + 1]);
			h->round[i] = both;
		}
	}
	h->round[h->n++] = *r;
}

void drover_migration_rounds(struct drover_migration *m, struct drover_rounds *ret)
{
	DROVER_LOCK(&m->lock);

	*ret = m->view.rounds;
}
