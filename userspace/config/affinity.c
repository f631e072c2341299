// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * CPU lists. Used to check option cpu-affinity when it is set, and by the engine to pin
 * its channel threads; so what is accepted is what will be used.
 */
#define _GNU_SOURCE
#include "config/affinity.h"

#include <errno.h>

/* At most six digits are read, so nothing overflows. */
static int parse_cpu(const char **text, unsigned int *ret)
{
	const char *s = *text;
	unsigned int v = 0, n = 0;

	for (; *s >= '0' && *s <= '9' && n < 6; s++, n++)
		v = v * 10 + (unsigned int)(*s - '0');
	if (!n || v >= CPU_SETSIZE)
		return -EINVAL;
	*text = s;
	*ret = v;
	return 0;
}

int drover_affinity_parse(const char *text, cpu_set_t *ret)
{
	unsigned int first, last;
	cpu_set_t set;
	int n = 0;

	CPU_ZERO(&set);
	if (!*text) {
		*ret = set;
		return 0;
	}
	do {
		if (n && *text++ != ',')
			return -EINVAL;
		if (parse_cpu(&text, &first) < 0)
			return -EINVAL;
		last = first;
		if (*text == '-') {
			text++;
			if (parse_cpu(&text, &last) < 0 || last < first)
				return -EINVAL;
		}
		for (; first <= last; first++, n++) {
			if (CPU_ISSET(first, &set))
				return -EINVAL;
			CPU_SET(first, &set);
		}
	} while (*text);
	*ret = set;
	return n;
}
