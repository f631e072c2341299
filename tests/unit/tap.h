/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_TESTS_TAP_H
#define DROVER_TESTS_TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * TAP for C tests. One static counter a test program is what TAP needs; a test
 * ends with `return tap_done();`.
 */
struct tap {
	unsigned int n, failed;
};

static struct tap tap_state;

__attribute__((format(printf, 2, 3), unused))
static bool tap_ok(bool pass, const char *fmt, ...)
{
	va_list ap;

	tap_state.n++;
	if (!pass)
		tap_state.failed++;
	printf("%sok %u - ", pass ? "" : "not ", tap_state.n);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
	return pass;
}

/* A skip names what the kernel or machine lacks. */
__attribute__((format(printf, 1, 2), unused))
static void tap_skip(const char *fmt, ...)
{
	va_list ap;

	printf("ok %u # SKIP ", ++tap_state.n);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

__attribute__((format(printf, 1, 2), unused))
static void tap_diag(const char *fmt, ...)
{
	va_list ap;

	printf("# ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

__attribute__((unused))
static int tap_done(void)
{
	printf("1..%u\n", tap_state.n);
	return tap_state.failed ? 1 : 0;
}

#endif
