// SPDX-License-Identifier: GPL-2.0-or-later
/* Which version two peers speak: the newest that both know, within one major version. */
#include "wire/wire.h"

#include "base/cleanup.h"
#include "tap.h"

#define V(major, minor) ((uint16_t)((major) << 8 | (minor)))
#define M DROVER_WIRE_MAJOR
#define N DROVER_WIRE_MINOR

int main(void)
{
	static const struct {
		const char *peer;
		uint16_t min, max, picked;
	} row[] = {
		{ "the same", V(M, 0), V(M, N), V(M, N) },
		{ "only the newest", V(M, N), V(M, N), V(M, N) },
		{ "a newer minor", V(M, 0), V(M, N + 1), V(M, N) },
		{ "the newest minor", V(M, 0), V(M, 255), V(M, N) },
		{ "a newer minor that knows no older", V(M, N + 1), V(M, N + 1), 0 },
		{ "the oldest minor", V(M, 0), V(M, 0), V(M, 0) },
		{ "an older major", V(M - 1, 0), V(M - 1, 255), 0 },
		{ "a newer major", V(M + 1, 0), V(M + 1, 0), 0 },
		{ "both majors", V(M, 0), V(M + 1, 3), V(M, N) },
		{ "this major's first and older ones", V(M - 1, 1), V(M, 0), V(M, 0) },
	};
	size_t i;

	for (i = 0; i < DROVER_ARRAY_SIZE(row); i++) {
		struct drover_msg_hello h = { .version_min = row[i].min, .version_max = row[i].max };

		tap_ok(drover_hello_version(&h) == row[i].picked, "%s", row[i].peer);
	}
	return tap_done();
}
