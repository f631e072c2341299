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
 * @utf8: the terminal can show block characters
 * @sent, @dirty: bytes/s, one sample for each frame; a ring buffer whose newest is before @n
 * @bytes: bytes of each channel at the time @at_ns
 * @rate: bytes/s of each channel since the last frame
 */
struct screen {
	bool utf8;
	uint64_t sent[SCREEN_SAMPLES], dirty[SCREEN_SAMPLES];
	unsigned int n;
	uint64_t bytes[SCREEN_CHANNELS], rate[SCREEN_CHANNELS];
	uint64_t at_ns;
};

void screen_init(struct screen *s);
/* Take in the numbers for a frame. @now: monotonic ns; @info: query-migrate's answer. */
void screen_sample(struct screen *s, const struct progress *p, struct json_object *info,
		   uint64_t now);
/**
 * screen_frame() - lines for a terminal, none wider than @width
 * @buf: the lines, with newlines between them and none after the last; cut at @size
 *
 * Return: the number of lines.
 */
unsigned int screen_frame(const struct screen *s, const struct progress *p,
			  struct json_object *info, unsigned int width, char *buf, size_t size);

#endif
