/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_BASE_LOG_H
#define DROVER_BASE_LOG_H

/* Levels of syslog(3). The library itself logs DROVER_LOG_DEBUG only. */
enum drover_log_level {
	DROVER_LOG_ERR = 3,
	DROVER_LOG_WARNING = 4,
	DROVER_LOG_INFO = 6,
	DROVER_LOG_DEBUG = 7,
};

/**
 * struct drover_log - where messages go; part of a handle, never global
 * @fn: called from any thread with one complete line without a newline; NULL: messages are dropped
 * @opaque: first argument of @fn
 * @level: the least important level for which @fn is called
 */
struct drover_log {
	void (*fn)(void *opaque, enum drover_log_level level, const char *msg);
	void *opaque;
	enum drover_log_level level;
};

/** drover_logf() - format one message and pass it to @log's function; @log may be NULL */
void drover_logf(const struct drover_log *log, enum drover_log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#define drover_debug(log, ...) drover_logf(log, DROVER_LOG_DEBUG, __VA_ARGS__)

#endif
