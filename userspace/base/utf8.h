/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_BASE_UTF8_H
#define DROVER_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/**
 * drover_utf8_len() - length of the well-formed sequence that begins at @s
 * @n: number of bytes at @s
 *
 * Return: 1..4, or 0 if the sequence is malformed, overlong, a surrogate, beyond U+10FFFF, or
 * cut off at @n.
 */
static inline unsigned int drover_utf8_len(const char *s, size_t n)
{
	const uint8_t *p = (const uint8_t *)s;
	uint8_t lo = 0x80, hi = 0xbf;
	unsigned int len, i;

	if (!n)
		return 0;
	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	len = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	/* The range of the second byte excludes overlong forms, surrogates and > U+10FFFF. */
	if (p[0] == 0xe0)
		lo = 0xa0;
	else if (p[0] == 0xed)
		hi = 0x9f;
	else if (p[0] == 0xf0)
		lo = 0x90;
	else if (p[0] == 0xf4)
		hi = 0x8f;
	if (n < len || p[1] < lo || p[1] > hi)
		return 0;
	for (i = 2; i < len; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	return len;
}

/** drover_utf8_put() - encode @cp, a scalar value; returns the 1..4 bytes written */
static inline unsigned int drover_utf8_put(uint32_t cp, char out[4])
{
	unsigned int len = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4, i;
	static const uint8_t lead[] = { 0, 0x00, 0xc0, 0xe0, 0xf0 };

	for (i = len; i-- > 1; cp >>= 6)
		out[i] = (char)(0x80 | (cp & 0x3f));
	out[0] = (char)(lead[len] | cp);
	return len;
}

#endif
