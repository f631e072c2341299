/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_BASE_ERR_H
#define DROVER_BASE_ERR_H

#include <stdarg.h>

#define DROVER_ERR_MAX 1024
/* The most failures that one text describes. */
#define DROVER_ERR_LINKS_MAX 3u

/**
 * struct drover_error - what went wrong, for a person to read
 * @code: negative errno of the first failure, 0 when nothing was recorded
 * @links: number of failures that @msg describes, at most DROVER_ERR_LINKS_MAX
 * @msg: names object, step and cause; NUL-terminated, cut when too long. The first failure comes
 *	first, then the failures that it caused: "agent: DIRTY: Invalid argument; tracker
 *	kvm-log: harvest"
 *
 * A return value tells the program what to do; this struct tells a person why. A negative
 * return value is fatal and the caller forwards it unchanged; a positive one (named
 * DROVER_<LAYER>_E_*) is a condition that the caller must handle. The caller provides the
 * struct, all zeros at first (DROVER_ERROR_INIT).
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
 * The first failure gives the code and begins the text. A later call on the same @e appends its
 * own text, so that a reader sees both the cause and what it broke. If the new text ends with
 * the text of errno @r and the message has that already, this end is left out; a text that the
 * message already contains is not added at all. After DROVER_ERR_LINKS_MAX failures a call
 * changes nothing.
 *
 * Return: @r.
 */
int drover_err(struct drover_error *e, int r, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
int drover_verr(struct drover_error *e, int r, const char *fmt, va_list ap)
	__attribute__((format(printf, 3, 0)));

/**
 * drover_err_prefix() - put the name of the object that failed before a recorded failure
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
