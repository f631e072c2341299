// SPDX-License-Identifier: LGPL-2.1-or-later
/* CPU lists as the kernel prints them. The check of cpu-affinity and the channel threads use it. */
#include "base/cpulist.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *parse_cpu(const char *at, unsigned long *ret)
{
	char *end;

	if (!isdigit((unsigned char)*at))
		return NULL;
	errno = 0;
	*ret = strtoul(at, &end, 10);
	return errno || *ret >= DROVER_CPUS_MAX ? NULL : end;
}

int drover_cpulist_parse(const char *text, struct drover_cpus *ret)
{
	struct drover_cpus set;
	const char *at = text;
	int n = 0;

	memset(&set, 0, sizeof(set));
	while (*at) {
		unsigned long lo = 0, hi, i;

		at = parse_cpu(at, &lo);
		hi = lo;
		if (at && *at == '-')
			at = parse_cpu(at + 1, &hi);
		if (!at || hi < lo || (*at && *at != ',') || (*at == ',' && !at[1]))
			return -EINVAL;
		for (i = lo; i <= hi; i++)
			set.bits[i / 64] |= 1ull << (i % 64);
		at += *at == ',';
	}
	for (unsigned int w = 0; w < DROVER_CPUS_MAX / 64; w++)
		n += __builtin_popcountll(set.bits[w]);
	*ret = set;
	return n;
}
