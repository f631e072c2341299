// SPDX-License-Identifier: GPL-2.0-or-later
/* The history of rounds: nothing is lost but detail, however many rounds there are. */
#include <string.h>

#include "engine/migration.h"
#include "tap.h"

static void test_bounded(unsigned int total)
{
	struct drover_rounds h = { 0 };
	uint64_t rounds = 0, bytes = 0, end = 0;
	unsigned int i, gaps = 0;

	for (i = 1; i <= total; i++) {
		struct drover_round r = {
			.round = i, .rounds = 1, .at_us = i * 10, .duration_us = 7,
			.sent_bytes = i, .dirty_rate = i, .stopped = i == total,
		};

		drover_rounds_add(&h, &r);
	}
	for (i = 0; i < h.n; i++) {
		gaps += h.round[i].round != rounds + 1 || h.round[i].at_us <= end;
		rounds += h.round[i].rounds;
		bytes += h.round[i].sent_bytes;
		gaps += h.round[i].dirty_rate != rounds || h.round[i].duration_us !=
			h.round[i].rounds * 7;
		end = h.round[i].at_us;
	}
	tap_ok(h.n <= DROVER_ROUNDS_MAX && (total < DROVER_ROUNDS_MAX ? h.n == total :
					    h.n >= DROVER_ROUNDS_MAX / 2) &&
	       rounds == total && bytes == (uint64_t)total * (total + 1) / 2 && !gaps,
	       "%u rounds in %u entries", total, h.n);
	tap_ok(!total || (h.round[0].round == 1 && h.round[h.n - 1].stopped),
	       "from the first to the last");
}

int main(void)
{
	test_bounded(0);
	test_bounded(1);
	test_bounded(DROVER_ROUNDS_MAX);
	test_bounded(DROVER_ROUNDS_MAX + 1);
	test_bounded(100000);
	return tap_done();
}
