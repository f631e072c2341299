// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The text of the live view: bar, sparklines of what is sent and what the guest writes, channels,
 * advice. verb-watch.c puts it on the terminal.
 */
#define _GNU_SOURCE
#include "ctl/screen.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "ctl/progress.h"

#define LEVELS 8
#define LINE_SIZE 1024
#define LABEL_COLUMNS 8
/* Room behind a sparkline, for " 12.3 MiB/s, most 12.3 MiB/s" */
#define SPARK_RIGHT 34

static const char *const blocks[LEVELS + 1] = {
	" ", "\u2581", "\u2582", "\u2583", "\u2584", "\u2585", "\u2586", "\u2587", "\u2588",
};
static const char *const letters[LEVELS + 1] = { " ", "_", ".", ":", "-", "=", "+", "*", "#" };

void screen_init(struct screen *s)
{
	static const char *const names[] = { "LC_ALL", "LC_CTYPE", "LANG" };
	const char *v = NULL;
	size_t i;

	memset(s, 0, sizeof(*s));
	/* The first variable that is set decides, as for setlocale(3). */
	for (i = 0; i < DROVER_ARRAY_SIZE(names) && !(v && *v); i++)
		v = getenv(names[i]);
	s->utf8 = v && (strcasestr(v, "UTF-8") || strcasestr(v, "UTF8"));
}

static struct json_object *channels(struct json_object *info)
{
	struct json_object *x = NULL, *list = NULL;

	if (!json_object_object_get_ex(info, "drover", &x) ||
	    !json_object_object_get_ex(x, "channels", &list) ||
	    !json_object_is_type(list, json_type_array))
		return NULL;
	return list;
}

static unsigned int count(struct json_object *list)
{
	size_t n = list ? json_object_array_length(list) : 0;

	return n < SCREEN_CHANNELS ? (unsigned int)n : SCREEN_CHANNELS;
}

void screen_sample(struct screen *s, const struct progress *p, struct json_object *info,
		   uint64_t now)
{
	struct json_object *list = channels(info);
	double dt = (double)(now - s->at_ns) / 1e9;
	unsigned int i, n = count(list);

	for (i = 0; i < n; i++) {
		struct json_object *o = json_object_array_get_idx(list, i);
		uint64_t bytes = json_number(o, NULL, p->source ? "tx-bytes" : "rx-bytes", NULL);

		s->rate[i] = s->at_ns && dt > 0 && bytes > s->bytes[i] ?
			     (uint64_t)((double)(bytes - s->bytes[i]) / dt) : 0;
		s->bytes[i] = bytes;
	}
	s->at_ns = now;
	s->sent[s->n % SCREEN_SAMPLES] = p->rate;
	s->dirty[s->n % SCREEN_SAMPLES] = p->dirty_rate;
	s->n++;
}

static void add_text(char *buf, size_t size, unsigned int *lines, const char *text, size_t n)
{
	size_t used = strlen(buf);

	snprintf(buf + used, size - used, "%s%.*s", *lines ? "\n" : "", (int)n, text);
	(*lines)++;
}

static void add_line(char *buf, size_t size, unsigned int *lines, const char *line)
{
	add_text(buf, size, lines, line, strlen(line));
}

/* Wraps the advice to as many lines as needed: it is what users look for. */
static void add_words(char *buf, size_t size, unsigned int *lines, const char *text,
		      unsigned int width)
{
	while (*text) {
		size_t n = strlen(text);

		if (n > width) {
			for (n = width; n && text[n] != ' '; n--)
				;
			if (!n)         /* a word wider than the terminal is cut */
				n = width;
		}
		add_text(buf, size, lines, text, n);
		text += n;
		text += strspn(text, " ");
	}
}

/* The scale: both sparklines have the same one, so that they can be compared. */
static uint64_t most(const struct screen *s)
{
	unsigned int i, n = s->n < SCREEN_SAMPLES ? s->n : SCREEN_SAMPLES;
	uint64_t top = 1;

	for (i = 0; i < n; i++) {
		if (s->sent[i] > top)
			top = s->sent[i];
		if (s->dirty[i] > top)
			top = s->dirty[i];
	}
	return top;
}

static void spark(const struct screen *s, const char *label, const uint64_t *ring,
		  unsigned int width, char *line, size_t size)
{
	unsigned int have = s->n < SCREEN_SAMPLES ? s->n : SCREEN_SAMPLES, i, cells;
	const char *const *marks = s->utf8 ? blocks : letters;
	uint64_t top = most(s), now = ring[(s->n - 1) % SCREEN_SAMPLES];
	char text[HUMAN_SIZE], scale[HUMAN_SIZE];
	size_t used;

	cells = width - LABEL_COLUMNS - SPARK_RIGHT;
	if (cells > SCREEN_SAMPLES)
		cells = SCREEN_SAMPLES;
	if (have > cells)
		have = cells;
	used = (size_t)snprintf(line, size, "%-*s%*s", LABEL_COLUMNS, label, (int)(cells - have),
				"");
	for (i = s->n - have; i < s->n; i++) {
		uint64_t v = ring[i % SCREEN_SAMPLES];
		double level = (double)v * LEVELS / (double)top;

		/* A value above zero has at least the lowest mark. */
		used += (size_t)snprintf(line + used, size - used, "%s",
					 marks[v && level < 1 ? 1 : (unsigned int)level]);
	}
	snprintf(line + used, size - used, " %s/s, scale %s/s", human_bytes(now, text),
		 human_bytes(top, scale));
}

static void channel_line(const struct screen *s, struct json_object *list, unsigned int width,
			 char *line, size_t size)
{
	unsigned int i, n = count(list);
	size_t used = (size_t)snprintf(line, size, "%-*s", LABEL_COLUMNS - 1, "channel");

	for (i = 0; i < n; i++) {
		char rate[HUMAN_SIZE], text[96];
		int len;

		len = snprintf(text, sizeof(text), " %s %s/s%s",
			       json_text(json_object_array_get_idx(list, i), NULL, "name"),
			       human_bytes(s->rate[i], rate), i + 1 < n ? "," : "");
		if (used + (size_t)len + 4 > width && i + 1 < n) {
			snprintf(line + used, size - used, " ...");
			return;
		}
		used += (size_t)snprintf(line + used, size - used, "%s", text);
	}
	if (width < size)
		line[width] = '\0';
}

unsigned int screen_frame(const struct screen *s, const struct progress *p,
			  struct json_object *info, unsigned int width, char *buf, size_t size)
{
	struct json_object *list = channels(info);
	char line[LINE_SIZE];
	unsigned int lines = 0;

	*buf = '\0';
	progress_line(p, width, true, line, sizeof(line));
	add_line(buf, size, &lines, line);
	if (p->source && p->has_ram && s->n && width >= LABEL_COLUMNS + SPARK_RIGHT + LEVELS) {
		spark(s, "sent", s->sent, width, line, sizeof(line));
		add_line(buf, size, &lines, line);
		spark(s, "dirty", s->dirty, width, line, sizeof(line));
		add_line(buf, size, &lines, line);
	}
	if (count(list)) {
		channel_line(s, list, width, line, sizeof(line));
		add_line(buf, size, &lines, line);
	}
	progress_hint(p, line, sizeof(line));
	add_words(buf, size, &lines, line, width);
	return lines;
}
