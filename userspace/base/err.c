// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Error texts. The function in which a failure began records it first; a caller that fails
 * because of it appends a text of its own. The caller at the top gets the whole text and the
 * negative errno of the first failure.
 */
#define _GNU_SOURCE
#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Cut the end ": Connection reset by peer" off @text when @so_far says so already. */
static void cut_cause(char *text, const char *so_far, int r)
{
	const char *cause = drover_strerror(r);
	size_t len = strlen(text), n = strlen(cause);

	if (len < n + 2 || strcmp(text + len - n, cause) != 0 || !strstr(so_far, cause))
		return;
	if (text[len - n - 2] == ':' && text[len - n - 1] == ' ')
		text[len - n - 2] = '\0';
}

static void add_link(struct drover_error *e, int r, const char *fmt, va_list ap)
{
	size_t at = strlen(e->msg);
	char text[DROVER_ERR_MAX];

	if (e->links >= DROVER_ERR_LINKS_MAX)
		return;
	vsnprintf(text, sizeof(text), fmt, ap);
	cut_cause(text, e->msg, r);
	if (!text[0] || strstr(e->msg, text))
		return;
	e->links++;
	snprintf(e->msg + at, sizeof(e->msg) - at, "; %s", text);
}

int drover_verr(struct drover_error *e, int r, const char *fmt, va_list ap)
{
	if (!e)
		return r;
	if (e->code) {
		add_link(e, r, fmt, ap);
		return r;
	}
	e->code = r;
	e->links = 1;
	vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
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
	e->links = 0;
	e->msg[0] = '\0';
}

const char *drover_strerror(int r)
{
	const char *s = strerrordesc_np(abs(r));

	return s ? s : "Unknown error";
}
