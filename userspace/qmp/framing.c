// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Finds the values in a stream of JSON without framing; base/json.c then parses each of them.
 *
 * The scanner knows just enough of JSON to tell where a value ends: strings with their escapes,
 * and the depth of brackets. When a value is too long or too deep it scans on without keeping
 * bytes (skipping), so that memory stays bounded and the value's end is still found. After a byte
 * that can't be JSON it drops input up to a structural or control character (recovering), as
 * QEMU's lexer does. A client that does not know what it has sent before sends 0xff, which can't
 * occur in UTF-8, to start afresh. The QMP server and client have one stream for each connection.
 */
#include "qmp/framing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"

#define BUFFER_KEPT 65536u      /* a larger buffer is freed after its message */

enum scan {
	SCAN_BETWEEN,                   /* between values */
	SCAN_INSIDE,                    /* within brackets, outside strings */
	SCAN_STRING,
	SCAN_ESCAPE,                    /* after a backslash in a string */
	SCAN_BARE,                      /* a number or name at the top level */
	SCAN_RECOVERING,
};

struct drover_json_stream {
	size_t max, n, cap;
	char *buf;
	enum scan scan;
	char quote;                     /* the quote that ends the string */
	size_t depth;
	bool skipping;                  /* the error was reported; bytes are not kept */
};

/* What one byte means for the present value. */
enum step { STEP_DROP, STEP_KEEP, STEP_END, STEP_END_BEFORE, STEP_BAD };

struct drover_json_stream *drover_json_stream_new(size_t max)
{
	struct drover_json_stream *s = calloc(1, sizeof(*s));

	if (s)
		s->max = max;
	return s;
}

struct drover_json_stream *drover_json_stream_free(struct drover_json_stream *s)
{
	if (s)
		free(s->buf);
	free(s);
	return NULL;
}

static void start_afresh(struct drover_json_stream *s, enum scan scan)
{
	if (s->cap > BUFFER_KEPT) {
		free(s->buf);
		s->buf = NULL;
		s->cap = 0;
	}
	s->n = 0;
	s->depth = 0;
	s->skipping = false;
	s->scan = scan;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Can a number or a name contain this byte? */
static bool is_bare(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == 'E' || c == '-' ||
	       c == '+' || c == '.';
}

static enum step step_outside(struct drover_json_stream *s, char c)
{
	switch (c) {
	case '{': case '[':
		s->depth++;
		s->scan = SCAN_INSIDE;
		return STEP_KEEP;
	case '}': case ']':
		if (!s->depth)
			return STEP_BAD;
		if (--s->depth)
			return STEP_KEEP;
		return STEP_END;
	case '"': case '\'':
		s->scan = SCAN_STRING;
		s->quote = c;
		return STEP_KEEP;
	case ',': case ':':
		return s->depth ? STEP_KEEP : STEP_BAD;
	}
	if (is_space(c))
		return s->depth ? STEP_KEEP : STEP_DROP;
	if (!is_bare(c))
		return STEP_BAD;
	if (!s->depth)
		s->scan = SCAN_BARE;
	return STEP_KEEP;
}

static enum step step(struct drover_json_stream *s, char c)
{
	switch (s->scan) {
	case SCAN_STRING:
		if ((unsigned char)c < 0x20 || (unsigned char)c >= 0xfe)
			return STEP_BAD;
		if (c == '\\')
			s->scan = SCAN_ESCAPE;
		else if (c == s->quote && !s->depth)
			return STEP_END;
		else if (c == s->quote)
			s->scan = SCAN_INSIDE;
		return STEP_KEEP;
	case SCAN_ESCAPE:
		s->scan = SCAN_STRING;
		return (unsigned char)c < 0x20 || (unsigned char)c >= 0xfe ? STEP_BAD : STEP_KEEP;
	case SCAN_BARE:
		return is_bare(c) ? STEP_KEEP : STEP_END_BEFORE;
	case SCAN_RECOVERING:
		if ((unsigned char)c >= 0x20 && (unsigned char)c < 0xfe && !strchr("{}[]:,", c))
			return STEP_DROP;
		s->scan = SCAN_BETWEEN;
		/* The character that ends the bad input is the first of the next value. */
		if ((unsigned char)c < 0x20 || (unsigned char)c >= 0xfe || !strchr("{[", c))
			return STEP_DROP;
		return step_outside(s, c);
	case SCAN_BETWEEN:
	case SCAN_INSIDE:
		return step_outside(s, c);
	}
	return STEP_BAD;
}

static int keep(struct drover_json_stream *s, char c)
{
	size_t cap;
	char *bigger;

	if (s->n == s->cap) {
		cap = s->cap ? s->cap * 2 : 256;
		if (cap > s->max)
			cap = s->max;
		bigger = realloc(s->buf, cap);
		if (!bigger)
			return -ENOMEM;
		s->buf = bigger;
		s->cap = cap;
	}
	s->buf[s->n++] = c;
	return 0;
}

/* Report once that the value exceeds a limit, then scan to its end without keeping it. */
static int skip(struct drover_json_stream *s, int err, struct drover_error *e)
{
	size_t depth = s->depth;
	enum scan scan = s->scan;

	start_afresh(s, scan);
	s->depth = depth;
	s->skipping = true;
	if (err == -EMSGSIZE)
		return drover_err(e, err, "JSON message size limit exceeded: more than %zu bytes",
				  s->max);
	if (err == -ENOMEM)
		return drover_err(e, err, "JSON: out of memory");
	return drover_err(e, err, "JSON nesting depth limit exceeded: more than %u",
			  DROVER_JSON_DEPTH_MAX);
}

static int keep_limited(struct drover_json_stream *s, char c, struct drover_error *e)
{
	if (s->skipping)
		return 0;
	if (s->depth > DROVER_JSON_DEPTH_MAX)
		return skip(s, -EBADMSG, e);
	if (s->n >= s->max)
		return skip(s, -EMSGSIZE, e);
	return keep(s, c) < 0 ? skip(s, -ENOMEM, e) : 0;
}

static int finish(struct drover_json_stream *s, struct json_object **ret, struct drover_error *e)
{
	bool skipped = s->skipping;
	int r = skipped ? 0 : drover_json_parse_quotes(s->buf, s->n, s->max, ret, e);

	start_afresh(s, SCAN_BETWEEN);
	if (r < 0)
		return r;
	return skipped ? 0 : DROVER_JSON_E_VALUE;
}

static int give_up(struct drover_json_stream *s, char c, struct drover_error *e)
{
	bool told = s->skipping, structural = c && strchr("{}[]:,", c);

	/* 0xff and a stray bracket are bad input and its end at once. */
	start_afresh(s, (unsigned char)c >= 0xfe || structural ? SCAN_BETWEEN : SCAN_RECOVERING);
	if (told)
		return 0;
	if (structural)
		return drover_err(e, -EBADMSG, "JSON parse error, expecting value");
	if (c >= 0x20 && c < 0x7f)
		return drover_err(e, -EBADMSG, "JSON parse error, stray '%c'", c);
	return drover_err(e, -EBADMSG, "JSON parse error, stray byte 0x%02x", (unsigned char)c);
}

int drover_json_stream_feed(struct drover_json_stream *s, const char **data, size_t *len,
			    struct json_object **ret, struct drover_error *e)
{
	while (*len) {
		char c = **data;
		enum step what = step(s, c);
		int r = 0;

		if (what != STEP_END_BEFORE) {
			(*data)++;
			(*len)--;
		}
		if (what == STEP_KEEP || what == STEP_END)
			r = keep_limited(s, c, e);
		if (what == STEP_BAD)
			r = give_up(s, c, e);
		if (what == STEP_END || what == STEP_END_BEFORE) {
			if (r < 0)
				start_afresh(s, SCAN_BETWEEN);
			else
				r = finish(s, ret, e);
		}
		if (r)
			return r;
	}
	return 0;
}
