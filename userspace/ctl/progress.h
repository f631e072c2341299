/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_CTL_PROGRESS_H
#define DROVER_CTL_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_object;

/**
 * struct progress - what a person wants to know of query-migrate
 * @status: status of the migration; "" when there was none
 * @has_ram: the numbers of the source are known
 * @rate, @dirty_rate, @bandwidth: bytes/s: sent lately, written by the guest lately, and the
 *	drain rate measured over rounds
 * @max_bandwidth: the limit in bytes/s; 0: none
 * @expected_ms: expected downtime
 * @text: error-desc, or ""; belongs to the answer
 */
struct progress {
	char status[32];
	bool source, has_ram, auditing, in_doubt;
	uint64_t total, remaining, transferred, rate, dirty_rate, bandwidth, round;
	uint64_t expected_ms, downtime_ms, total_ms, downtime_limit_ms, max_bandwidth, differences;
	bool has_downtime, has_expected;
	const char *text;
};

/* @info: query-migrate's answer, which must outlive @ret; @config: query-migrate-config's answer */
void progress_read(struct json_object *info, struct json_object *config, struct progress *ret);
/* Has the migration ended, and no audit is running any more? */
bool progress_ended(const struct progress *p);
/* How much of RAM has been sent: 0..100 */
unsigned int progress_percent(const struct progress *p);
/* Seconds until the guest could move; UINT64_MAX: never at the present rates. */
uint64_t progress_eta(const struct progress *p);
/* One line without a newline, at most @width columns; with @bar it has a bar if there is room. */
void progress_line(const struct progress *p, unsigned int width, bool bar, char *buf, size_t size);
/* Advice that follows from the numbers; "" when there is none. */
void progress_hint(const struct progress *p, char *buf, size_t size);
/* One line about how a migration has ended. */
void progress_verdict(const struct progress *p, char *buf, size_t size);

/*
 * If @name is that of a part of the downtime ("downtime-pause-us"), the length of the part's own
 * name ("pause"), which begins after DOWNTIME_PREFIX characters; else 0.
 */
#define DOWNTIME_PREFIX 9
unsigned int downtime_part(const char *name);
/* Writes "12.3 MiB"; returns @buf. */
#define HUMAN_SIZE 24
const char *human_bytes(uint64_t n, char buf[HUMAN_SIZE]);
/*
 * A number in an object within @o ("ram", "total"), or in @o itself when @outer is NULL; 0 when
 * it is absent.
 */
uint64_t json_number(struct json_object *o, const char *outer, const char *name, bool *ret_has);
const char *json_text(struct json_object *o, const char *outer, const char *name);

#endif
