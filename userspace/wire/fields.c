// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The rules several messages share: lengths, flags, names, tokens, texts. Each takes a
 * value that may come from a hostile peer and says what is wrong with it and what is
 * allowed; encoders ask the same rules without wanting the text. Callers: the codecs.
 */
#include "wire/codec.h"

#include <inttypes.h>

#include "base/utf8.h"
#include "wire/wire.h"

int wire_len(size_t len, size_t min, size_t max, struct drover_error *e)
{
	if (len >= min && len <= max)
		return 0;
	if (min == max)
		return drover_err(e, -EBADMSG, "body: %zu bytes, must be %zu", len, min);
	return drover_err(e, -EBADMSG, "body: %zu bytes, must be %zu to %zu", len, min, max);
}

int wire_flags(const char *field, uint64_t flags, uint64_t known, struct drover_error *e)
{
	if (!(flags & ~known))
		return 0;
	return drover_err(e, -EBADMSG, "%s: 0x%" PRIx64 " has bits other than 0x%" PRIx64, field,
			  flags, known);
}

int wire_zero(const char *field, uint64_t value, struct drover_error *e)
{
	if (!value)
		return 0;
	return drover_err(e, -EBADMSG, "%s: 0x%" PRIx64 ", must be 0", field, value);
}

int wire_max(const char *field, uint64_t value, uint64_t max, struct drover_error *e)
{
	if (value <= max)
		return 0;
	return drover_err(e, -EBADMSG, "%s: %" PRIu64 " is more than %" PRIu64, field, value, max);
}

int wire_block(uint32_t block, struct drover_error *e)
{
	return wire_max("block", block, DROVER_RAM_BLOCKS_MAX - 1, e);
}

int wire_token(const uint8_t *token, struct drover_error *e)
{
	unsigned int i;

	for (i = 0; i < DROVER_TOKEN_LEN; i++)
		if (token[i])
			return 0;
	return drover_err(e, -EBADMSG, "token: all zeros");
}

static bool name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '.' || c == '_' || c == '/' || c == '-';
}

int wire_name(const char *field, const char *name, size_t max, struct drover_error *e)
{
	size_t i, n = strnlen(name, max + 1);

	if (!n || n > max)
		return drover_err(e, -EBADMSG, "%s: name of %s%zu bytes, must be 1 to %zu", field,
				  n ? "more than " : "", n ? max : n, max);
	for (i = 0; i < n; i++)
		if (!name_char(name[i]))
			return drover_err(e, -EBADMSG,
					  "%s: byte 0x%02x at %zu of its name is not in "
					  "[A-Za-z0-9._/-]",
					  field, (unsigned char)name[i], i);
	return 0;
}

int wire_get_name(struct wire_get *g, const char *field, size_t n, char *ret, size_t max,
		  struct drover_error *e)
{
	if (!n || n > max)
		return drover_err(e, -EBADMSG, "%s: name of %zu bytes, must be 1 to %zu", field, n,
				  max);
	if (n > g->left)
		return drover_err(e, -EBADMSG, "%s: name of %zu bytes, only %zu are left", field, n,
				  g->left);
	get_bytes(g, ret, n);
	ret[n] = '\0';
	if (memchr(ret, '\0', n))
		return drover_err(e, -EBADMSG, "%s: NUL byte in its name", field);
	return wire_name(field, ret, max, e);
}

/*
 * Length of the character at @s: 1 to 4, or 0 when it is not UTF-8 or a control character
 * other than tab and newline. C1 controls (U+0080 to U+009F) count too: some terminals obey
 * them.
 */
static size_t char_len(const char *s, size_t n)
{
	unsigned int len = drover_utf8_len(s, n);
	uint8_t c = (uint8_t)s[0];

	if (len == 1)
		return (c >= 0x20 && c != 0x7f) || c == '\t' || c == '\n';
	if (len == 2 && c == 0xc2 && (uint8_t)s[1] < 0xa0)
		return 0;
	return len;
}

int wire_text(const char *field, const char *text, size_t len, size_t max,
	      struct drover_error *e)
{
	size_t i, k;

	if (len > max)
		return drover_err(e, -EBADMSG, "%s: %zu bytes, at most %zu", field, len, max);
	if (len && !text)
		return drover_err(e, -EBADMSG, "%s: missing", field);
	for (i = 0; i < len; i += k) {
		k = char_len(text + i, len - i);
		if (!k)
			return drover_err(e, -EBADMSG, "%s: byte 0x%02x at %zu is not text", field,
					  (unsigned char)text[i], i);
	}
	return 0;
}

void wire_put_text(struct wire_put *p, const char *text, size_t len)
{
	size_t i = 0, k, room = DROVER_TEXT_MAX;

	while (text && i < len) {
		k = char_len(text + i, len - i);
		if ((k ? k : 1) > room)
			return;
		put_bytes(p, k ? text + i : "?", k ? k : 1);
		i += k ? k : 1;
		room -= k ? k : 1;
	}
}
