// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Error texts. An error is recorded once, where it is known best, and travels
 * up unchanged beside the negative errno.
 */
#define _GNU_SOURCE
#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int drover_verr(struct drover_error *e, int r, const char *fmt, va_list ap)
{
	if (e && !e->code) {
		e->code = r;
		vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	}
	return r;
}

int drover_err(struct drover_error *e, int r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	drover_verr(e, r, fmt, ap);
	va_end(ap);
	return r;
}

int drover_err_prefix(struct drover_error *e, const char *fmt, ...)
{
	char old[DROVER_ERR_MAX];
	va_list ap;
	int n;

	if (!e)
		return 0;
	memcpy(old, e->msg, sizeof(old));
	va_start(ap, fmt);
	n = vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(e->msg))
		snprintf(e->msg + n, sizeof(e->msg) - (size_t)n, "%s", old);
	return e->code;
}

void drover_err_clear(struct drover_error *e)
{
	if (!e)
		return;
	e->code = 0;
	e->msg[0] = '\0';
}

const char *drover_strerror(int r)
{
	const char *s = strerrordesc_np(abs(r));

	return s ? s : "Unknown error";
}
