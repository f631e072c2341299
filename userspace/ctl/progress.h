/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_CTL_PROGRESS_H
#define DROVER_CTL_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_object;

/**
 * struct progress - query-migrate as a person wants it
 * @status: of the migration; "" when there was none
 * @has_ram: the source's numbers are there
 * @rate, @dirty_rate, @bandwidth: bytes/s; sent lately, written lately, measured drain rate
 * @max_bandwidth: the limit, 0: none
 * @expected_ms: expected downtime
 * @text: error-desc, borrowed from the answer, or ""
 */
struct progress {
	char status[32];
	bool source, has_ram, auditing, in_doubt;
	uint64_t total, remaining, transferred, rate, dirty_rate, bandwidth, round;
	uint64_t expected_ms, downtime_ms, total_ms, downtime_limit_ms, max_bandwidth, differences;
	bool has_downtime, has_expected;
	const char *text;
};

/* @info: query-migrate's answer, must outlive @ret; @config: query-migrate-config's */
void progress_read(struct json_object *info, struct json_object *config, struct progress *ret);
/* Nothing more will happen (an audit still running is something). */
bool progress_ended(const struct progress *p);
/* 0..100 */
unsigned int progress_percent(const struct progress *p);
/* Seconds until the guest could move, UINT64_MAX: never at this rate. */
uint64_t progress_eta(const struct progress *p);
/* One line without newline, at most @width columns; @bar: with a bar if there is room. */
void progress_line(const struct progress *p, unsigned int width, bool bar, char *buf, size_t size);
/* What the numbers mean, "" when there is nothing to say. */
void progress_hint(const struct progress *p, char *buf, size_t size);
/* The last word: one line about an ended migration. */
void progress_verdict(const struct progress *p, char *buf, size_t size);

/* "downtime-pause-us": a part of the downtime, its name of 5 letters behind the prefix. 0: none */
#define DOWNTIME_PREFIX 9
unsigned int downtime_part(const char *name);
/* "12.3 MiB"; returns @buf */
#define HUMAN_SIZE 24
const char *human_bytes(uint64_t n, char buf[HUMAN_SIZE]);
/* Member of an object in an object ("ram", "total"), 0 when absent; @outer NULL: of @o */
uint64_t json_number(struct json_object *o, const char *outer, const char *name, bool *ret_has);
const char *json_text(struct json_object *o, const char *outer, const char *name);

#endif
