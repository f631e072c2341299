/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_CTL_REPORT_H
#define DROVER_CTL_REPORT_H

#include <stdio.h>

struct json_object;

/**
 * report_html() - write a page about a migration that needs no other file and no network
 * @info: query-migrate's answer, not empty
 * @config: query-migrate-config's answer
 *
 * The caller checks ferror(@f).
 */
void report_html(FILE *f, struct json_object *info, struct json_object *config);
/* report-waits.c: a section of it, or nothing */
void report_waits(FILE *f, struct json_object *info);

#endif
