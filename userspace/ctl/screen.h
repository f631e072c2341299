/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_CTL_SCREEN_H
#define DROVER_CTL_SCREEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_object;
struct progress;

#define SCREEN_SAMPLES 64
#define SCREEN_CHANNELS 256

/**
 * struct screen - what watch remembers between two frames
 * @utf8: the terminal shows block characters
 * @sent, @dirty: bytes/s, one a frame, a ring that ends before @n
 * @bytes: of each channel at @at_ns
 * @rate: bytes/s of each channel since the frame before
 */
struct screen {
	bool utf8;
	uint64_t sent[SCREEN_SAMPLES], dirty[SCREEN_SAMPLES];
	unsigned int n;
	uint64_t bytes[SCREEN_CHANNELS], rate[SCREEN_CHANNELS];
	uint64_t at_ns;
};

void screen_init(struct screen *s);
/* One frame's numbers. @now: monotonic ns; @info: query-migrate's answer. */
void screen_sample(struct screen *s, const struct progress *p, struct json_object *info,
		   uint64_t now);
/**
 * screen_frame() - lines for a terminal, none wider than @width
 * @buf: lines joined by newlines, none after the last; cut where @size ends
 *
 * Return: the number of lines.
 */
unsigned int screen_frame(const struct screen *s, const struct progress *p,
			  struct json_object *info, unsigned int width, char *buf, size_t size);

#endif
