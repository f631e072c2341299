/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_QMP_FRAMING_H
#define DROVER_QMP_FRAMING_H

#include <stddef.h>

struct drover_error;
struct json_object;

/* Positive condition of drover_json_stream_feed() */
#define DROVER_JSON_E_VALUE 1

/*
 * An incremental reader for a stream of JSON values without framing: one write may hold several
 * values, a value may come in many writes, and no newline is needed. Strings may be in single
 * quotes.
 */
struct drover_json_stream;

/** drover_json_stream_new() - @max: longest value in bytes; returns NULL when out of memory */
struct drover_json_stream *drover_json_stream_new(size_t max);
/* NULL is fine. Returns NULL */
struct drover_json_stream *drover_json_stream_free(struct drover_json_stream *s);

/**
 * drover_json_stream_feed() - read on until the next value is complete
 * @data: advanced past the bytes that were read
 * @len: number of bytes left at @data; reduced likewise
 * @ret: new reference (NULL for null), written when the return value is DROVER_JSON_E_VALUE
 *
 * The caller calls until @len is 0. A value that is too long or too deep is skipped to its end and
 * reported once. After a byte that can't be JSON, input is dropped up to the next structural or
 * control character, as in QEMU; byte 0xff always starts afresh. A bare number or name at the top
 * level ends at the first byte that can't belong to it.
 *
 * Return: DROVER_JSON_E_VALUE; 0 when all bytes are read and the value is not complete; or for a
 * bad value -EBADMSG, -EMSGSIZE or -ENOMEM, after which the next call goes on behind that value.
 */
int drover_json_stream_feed(struct drover_json_stream *s, const char **data, size_t *len,
			    struct json_object **ret, struct drover_error *e);

#endif
