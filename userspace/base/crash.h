/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_BASE_CRASH_H
#define DROVER_BASE_CRASH_H

/*
 * Crash points for tests. A crash point stands between two steps that must hold together: a
 * daemon that dies there must do no harm. It compiles to nothing, except in the droverd that
 * tests build with DROVER_CRASH_POINTS: there the environment variable DROVER_CRASH=NAME:N kills
 * the process when it passes the crash point NAME for the N-th time.
 */
#ifdef DROVER_CRASH_POINTS
void drover_crash_point(const char *name);
#else
#define drover_crash_point(name) ((void)0)
#endif

#endif
