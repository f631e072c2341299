/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_BASE_CRASH_H
#define DROVER_BASE_CRASH_H

/*
 * Places between two steps that must not be seen apart. Nothing, but in the droverd that
 * tests make with DROVER_CRASH_POINTS: there DROVER_CRASH=NAME:N in the environment kills the
 * process when it passes this one for the N-th time.
 */
#ifdef DROVER_CRASH_POINTS
void drover_crash_point(const char *name);
#else
#define drover_crash_point(name) ((void)0)
#endif

#endif
