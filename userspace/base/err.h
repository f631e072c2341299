/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_BASE_ERR_H
#define DROVER_BASE_ERR_H

#include <stdarg.h>

#define DROVER_ERR_MAX 1024
/* How many failures one text tells of. */
#define DROVER_ERR_LINKS_MAX 3u

/**
 * struct drover_error - what went wrong, for a person to read
 * @code: negative errno of the first failure, 0 when nothing was recorded
 * @links: failures that @msg tells of, at most DROVER_ERR_LINKS_MAX
 * @msg: names object, step and cause; NUL-terminated, cut when too long. The origin comes
 *	first, what followed from it behind it: "agent: DIRTY: Invalid argument; tracker
 *	kvm-log: harvest"
 *
 * Return values tell a program what to do, this tells a person why. A negative
 * return is fatal and forwarded unchanged; a positive return is a condition the
 * caller must handle (named DROVER_<LAYER>_E_*). Lives wherever the caller puts
 * it; starts as all zeros (DROVER_ERROR_INIT).
 */
struct drover_error {
	int code;
	unsigned int links;
	char msg[DROVER_ERR_MAX];
};

#define DROVER_ERROR_INIT { 0, 0, "" }

/**
 * drover_err() - record a failure and return it
 * @e: where to record, or NULL
 * @r: negative errno
 * @fmt: printf format; say object, step and cause ("channel data/1: send: %s")
 *
 * The first failure gives the code and begins the text. A later call on the same @e adds what
 * it knows behind that, so that neither the cause nor what it broke is hidden: the text of @r
 * at its end is left out when the text so far has it, and nothing is added that stands there
 * already. Past DROVER_ERR_LINKS_MAX failures a call changes nothing.
 *
 * Return: @r.
 */
int drover_err(struct drover_error *e, int r, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
int drover_verr(struct drover_error *e, int r, const char *fmt, va_list ap)
	__attribute__((format(printf, 3, 0)));

/**
 * drover_err_prefix() - put the object a recorded failure belongs to before it
 * @e: a recorded failure, or NULL
 *
 * Return: e->code, or 0 for NULL.
 */
int drover_err_prefix(struct drover_error *e, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/** drover_err_clear() - forget what was recorded; NULL is fine */
void drover_err_clear(struct drover_error *e);

/**
 * drover_strerror() - text of an errno, without the C library's static buffer
 * @r: errno, of either sign
 *
 * Return: a constant string.
 */
const char *drover_strerror(int r);

#endif
