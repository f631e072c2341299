// SPDX-License-Identifier: LGPL-2.1-or-later
/* Messages go to the function that the owner of the handle gave; the library has no other sink. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

void drover_logf(const struct drover_log *log, enum drover_log_level level, const char *fmt, ...)
{
	char line[1024];
	va_list ap;

	if (!log || !log->fn || level > log->level)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	log->fn(log->opaque, level, line);
}
