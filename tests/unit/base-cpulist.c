// SPDX-License-Identifier: GPL-2.0-or-later
/* CPU lists: what the kernel prints is read, everything else is refused. */
#include "base/cpulist.h"

#include "tap.h"

static const struct {
	const char *text;
	int n;
	uint64_t low;
} rows[] = {
	{ "", 0, 0 }, { "0", 1, 1 }, { "0-3,8", 5, 0x10f }, { "2,2,2", 1, 4 },
	{ "63-64", 2, 1ull << 63 }, { "1023", 1, 0 }, { "1024", -22, 0 }, { "3-1", -22, 0 },
	{ ",", -22, 0 }, { "1,", -22, 0 }, { "-1", -22, 0 }, { "1-", -22, 0 }, { "a", -22, 0 },
	{ "1 ", -22, 0 }, { "99999999999999999999", -22, 0 },
};

int main(void)
{
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct drover_cpus c = { { 0 } };
		int n = drover_cpulist_parse(rows[i].text, &c);

		tap_ok(n == rows[i].n && c.bits[0] == rows[i].low, "\"%s\" gives %d", rows[i].text,
		       n);
	}
	return tap_done();
}
