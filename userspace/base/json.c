// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A strict JSON reader that builds a json-c tree. It does not use json-c's own tokener, which
 * keeps the last of duplicate keys, saturates integers and accepts extensions; a separate
 * checking pass would have to agree with that tokener about every byte. DROVER_JSON_DEPTH_MAX
 * bounds the recursion; the text's length and DROVER_JSON_VALUES_MAX bound the memory. All JSON
 * that comes from outside is read here: QMP, config files, the config in HELLO.
 */
#include "base/json.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/utf8.h"

#define NUMBER_MAX 512u         /* characters; the longest exact integer has 20 */
#define WORD_SHOWN 64           /* bytes of a key or keyword quoted in a message */

struct parser {
	const char *text;
	size_t len, at;
	unsigned int depth, values;
	bool single;                    /* strings may be in single quotes */
	char *scratch;                  /* the decoded string; grows to the longest one so far */
	size_t scratch_cap;
	struct drover_error *e;
};

static int parse_value(struct parser *p, struct json_object **ret);

static int bad(struct parser *p, const char *what)
{
	return drover_err(p->e, -EBADMSG, "JSON parse error, %s at byte %zu", what, p->at);
}

static int no_memory(struct parser *p)
{
	return drover_err(p->e, -ENOMEM, "JSON: out of memory");
}

static int peek(const struct parser *p)
{
	return p->at < p->len ? (unsigned char)p->text[p->at] : -1;
}

static void skip_space(struct parser *p)
{
	while (p->at < p->len && p->text[p->at] && strchr(" \t\r\n", p->text[p->at]))
		p->at++;
}

static bool at_quote(const struct parser *p)
{
	return peek(p) == '"' || (p->single && peek(p) == '\'');
}

/* @digits: offset of the escape's first hexadecimal digit */
static int bad_unicode(struct parser *p, size_t digits)
{
	size_t n = 0;

	while (n < 4 && digits + n < p->len && p->text[digits + n] > ' ' &&
	       p->text[digits + n] < 0x7f)
		n++;
	return drover_err(p->e, -EBADMSG,
			  "JSON parse error, \\u%.*s is not a valid Unicode character at byte %zu",
			  (int)n, p->text + digits, digits - 2);
}

static int hex4(struct parser *p, uint32_t *ret)
{
	size_t start = p->at;
	uint32_t v = 0;
	unsigned int i;

	for (i = 0; i < 4; i++, p->at++) {
		int c = peek(p);

		if (c >= '0' && c <= '9')
			v = v << 4 | (uint32_t)(c - '0');
		else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
			v = v << 4 | (uint32_t)((c | 0x20) - 'a' + 10);
		else
			return bad_unicode(p, start);
	}
	*ret = v;
	return 0;
}

/* What follows "\u": one UTF-16 unit, or a pair of a high and a low surrogate. */
static int unicode_escape(struct parser *p, char *out, size_t *n)
{
	size_t start = p->at;
	uint32_t cp, low;
	int r;

	r = hex4(p, &cp);
	if (r < 0)
		return r;
	if (cp >= 0xd800 && cp <= 0xdbff) {
		if (p->len - p->at < 2 || memcmp(p->text + p->at, "\\u", 2) != 0)
			return bad_unicode(p, start);
		p->at += 2;
		r = hex4(p, &low);
		if (r < 0)
			return r;
		if (low < 0xdc00 || low > 0xdfff)
			return bad_unicode(p, start);
		cp = 0x10000 + ((cp - 0xd800) << 10 | (low - 0xdc00));
	} else if (cp >= 0xdc00 && cp <= 0xdfff) {
		return bad_unicode(p, start);
	} else if (!cp) {
		/* In the C string that it becomes, a NUL would hide what follows. */
		return bad(p, "\\u0000 in a string");
	}
	*n += drover_utf8_put(cp, out + *n);
	return 0;
}

static int escape(struct parser *p, char *out, size_t *n)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	int c = peek(p);
	const char *f;

	if (c == 'u') {
		p->at++;
		return unicode_escape(p, out, n);
	}
	f = c > 0 ? strchr(from, c) : NULL;
	if (!f && !(p->single && c == '\''))
		return bad(p, "invalid escape sequence in string");
	p->at++;
	out[(*n)++] = f ? to[f - from] : '\'';
	return 0;
}

/* Make room for the string that begins at p->at: decoding never makes a string longer. */
static int reserve(struct parser *p, char quote)
{
	size_t i = p->at, need;
	char *bigger;

	while (i < p->len && p->text[i] != quote)
		i += p->text[i] == '\\' ? 2 : 1;
	need = (i < p->len ? i : p->len) - p->at + 1;
	if (need <= p->scratch_cap)
		return 0;
	bigger = realloc(p->scratch, need);
	if (!bigger)
		return no_memory(p);
	p->scratch = bigger;
	p->scratch_cap = need;
	return 0;
}

/* Decodes into p->scratch, NUL-terminated and free of NULs. */
static int parse_string(struct parser *p, size_t *ret_n)
{
	char quote = p->text[p->at++];
	size_t n = 0;
	int r;

	r = reserve(p, quote);
	while (!r) {
		int c = peek(p);
		unsigned int seq;

		if (c == quote)
			break;
		if (c < 0)
			return bad(p, "unterminated string");
		if (c < 0x20)
			return bad(p, "control character in a string");
		if (c == '\\') {
			p->at++;
			r = escape(p, p->scratch, &n);
			continue;
		}
		seq = drover_utf8_len(p->text + p->at, p->len - p->at);
		if (!seq)
			return bad(p, "invalid UTF-8 sequence in string");
		memcpy(p->scratch + n, p->text + p->at, seq);
		n += seq;
		p->at += seq;
	}
	if (r < 0)
		return r;
	p->at++;
	p->scratch[n] = '\0';
	*ret_n = n;
	return 0;
}

static size_t digits(const struct parser *p, size_t at)
{
	size_t n = 0;

	while (at + n < p->len && p->text[at + n] >= '0' && p->text[at + n] <= '9')
		n++;
	return n;
}

/* Length of the number at p->at by the grammar, 0 when malformed. */
static size_t number_len(const struct parser *p, bool *ret_integer)
{
	size_t at = p->at, n;

	*ret_integer = true;
	if (p->text[at] == '-')
		at++;
	n = digits(p, at);
	if (!n || (n > 1 && p->text[at] == '0'))
		return 0;
	at += n;
	if (at < p->len && p->text[at] == '.') {
		*ret_integer = false;
		n = digits(p, ++at);
		if (!n)
			return 0;
		at += n;
	}
	if (at < p->len && (p->text[at] | 0x20) == 'e') {
		*ret_integer = false;
		at++;
		if (at < p->len && (p->text[at] == '+' || p->text[at] == '-'))
			at++;
		n = digits(p, at);
		if (!n)
			return 0;
		at += n;
	}
	return at - p->at;
}

static struct json_object *make_integer(const char *num)
{
	char *end;

	errno = 0;
	if (num[0] == '-') {
		int64_t v = strtoll(num, &end, 10);

		if (!errno)
			return json_object_new_int64(v);
	} else {
		uint64_t v = strtoull(num, &end, 10);

		if (!errno)
			return v <= INT64_MAX ? json_object_new_int64((int64_t)v) :
				json_object_new_uint64(v);
	}
	/* @num has only digits, so the locale's decimal point does not matter to strtod(). */
	return json_object_new_double_s(strtod(num, NULL), num);
}

static int parse_number(struct parser *p, struct json_object **ret)
{
	char num[NUMBER_MAX + 1];
	struct json_object *o;
	bool integer;
	size_t n = number_len(p, &integer);

	if (!n)
		return bad(p, "invalid number");
	if (n > NUMBER_MAX)
		return bad(p, "number too long");
	memcpy(num, p->text + p->at, n);
	num[n] = '\0';
	/* json-c reads a fraction in the C locale, whatever the locale of the process is. */
	o = integer ? make_integer(num) : json_tokener_parse(num);
	if (!o)
		return no_memory(p);
	p->at += n;
	*ret = o;
	return 0;
}

static int parse_name(struct parser *p, struct json_object **ret)
{
	static const char *const names[] = { "null", "false", "true" };
	struct json_object *o = NULL;
	size_t i, n = 0;

	while (p->at + n < p->len && p->text[p->at + n] >= 'a' && p->text[p->at + n] <= 'z')
		n++;
	for (i = 0; i < DROVER_ARRAY_SIZE(names); i++)
		if (n == strlen(names[i]) && !memcmp(p->text + p->at, names[i], n))
			break;
	if (i == DROVER_ARRAY_SIZE(names) && n)
		return drover_err(p->e, -EBADMSG,
				  "JSON parse error, invalid keyword '%.*s' at byte %zu",
				  n < WORD_SHOWN ? (int)n : WORD_SHOWN, p->text + p->at, p->at);
	if (i == DROVER_ARRAY_SIZE(names))
		return bad(p, "expecting value");
	if (i && !(o = json_object_new_boolean(i == 2)))
		return no_memory(p);
	p->at += n;
	*ret = o;
	return 0;
}

static int parse_array(struct parser *p, struct json_object **ret)
{
	_cleanup_json_ struct json_object *a = json_object_new_array_ext(2);
	struct json_object *v;
	int r;

	if (!a)
		return no_memory(p);
	p->at++;
	skip_space(p);
	if (peek(p) == ']') {
		p->at++;
		*ret = TAKE_PTR(a);
		return 0;
	}
	for (;;) {
		r = parse_value(p, &v);
		if (r < 0)
			return r;
		if (json_object_array_add(a, v) < 0) {
			json_object_put(v);
			return no_memory(p);
		}
		skip_space(p);
		if (peek(p) == ']')
			break;
		if (peek(p) != ',')
			return bad(p, "expected separator in list");
		p->at++;
	}
	p->at++;
	*ret = TAKE_PTR(a);
	return 0;
}

/* The same error as QEMU's, which parses the value first and then sees that it is no string. */
static int bad_key(struct parser *p)
{
	struct json_object *o = NULL;
	int c = peek(p);

	if (c >= 'a' && c <= 'z' && parse_name(p, &o) < 0)
		return -EBADMSG;
	json_object_put(o);
	return bad(p, c == '}' || c == ']' || c == ',' || c == ':' ? "expecting value" :
				"key is not a string in object");
}

/* Key, colon and value. The key is checked before its value is parsed. */
static int parse_member(struct parser *p, struct json_object *o)
{
	_cleanup_free_ char *key = NULL;
	struct json_object *v;
	size_t n;
	int r;

	skip_space(p);
	if (!at_quote(p))
		return bad_key(p);
	r = parse_string(p, &n);
	if (r < 0)
		return r;
	if (json_object_object_get_ex(o, p->scratch, NULL))
		return drover_err(p->e, -EBADMSG,
				  "JSON parse error, duplicate key '%.*s' at byte %zu", WORD_SHOWN,
				  p->scratch, p->at);
	key = strdup(p->scratch);
	if (!key)
		return no_memory(p);
	skip_space(p);
	if (peek(p) != ':')
		return bad(p, "missing : in object pair");
	p->at++;
	r = parse_value(p, &v);
	if (r < 0)
		return r;
	if (json_object_object_add_ex(o, key, v, JSON_C_OBJECT_ADD_KEY_IS_NEW) < 0) {
		json_object_put(v);
		return no_memory(p);
	}
	return 0;
}

static int parse_object(struct parser *p, struct json_object **ret)
{
	_cleanup_json_ struct json_object *o = json_object_new_object();
	int r;

	if (!o)
		return no_memory(p);
	p->at++;
	skip_space(p);
	if (peek(p) == '}') {
		p->at++;
		*ret = TAKE_PTR(o);
		return 0;
	}
	for (;;) {
		r = parse_member(p, o);
		if (r < 0)
			return r;
		skip_space(p);
		if (peek(p) == '}')
			break;
		if (peek(p) != ',')
			return bad(p, "expected separator in dict");
		p->at++;
	}
	p->at++;
	*ret = TAKE_PTR(o);
	return 0;
}

static int parse_text(struct parser *p, struct json_object **ret)
{
	struct json_object *o;
	size_t n;
	int r = parse_string(p, &n);

	if (r < 0)
		return r;
	if (n > INT_MAX || !(o = json_object_new_string_len(p->scratch, (int)n)))
		return no_memory(p);
	*ret = o;
	return 0;
}

static int parse_value(struct parser *p, struct json_object **ret)
{
	int c, r;

	skip_space(p);
	c = peek(p);
	if (c < 0)
		return bad(p, "premature end of input");
	if (p->values++ >= DROVER_JSON_VALUES_MAX)
		return bad(p, "too many values");
	if (c == '{' || c == '[') {
		if (p->depth >= DROVER_JSON_DEPTH_MAX)
			return bad(p, "nesting depth limit exceeded");
		p->depth++;
		r = c == '{' ? parse_object(p, ret) : parse_array(p, ret);
		p->depth--;
		return r;
	}
	if (at_quote(p))
		return parse_text(p, ret);
	if (c == '-' || (c >= '0' && c <= '9'))
		return parse_number(p, ret);
	return parse_name(p, ret);
}

static int parse(const char *text, size_t len, size_t max, bool single,
		 struct json_object **ret, struct drover_error *e)
{
	struct parser p = { .text = text, .len = len, .single = single, .e = e };
	_cleanup_json_ struct json_object *o = NULL;
	_cleanup_free_ char *scratch = NULL;
	int r;

	if (len > max)
		return drover_err(e, -EMSGSIZE, "JSON: %zu bytes, at most %zu are accepted", len,
				  max);
	r = parse_value(&p, &o);
	scratch = p.scratch;
	if (r < 0)
		return r;
	skip_space(&p);
	if (p.at != p.len)
		return bad(&p, "expecting end of input");
	*ret = TAKE_PTR(o);
	return 0;
}

int drover_json_parse(const char *text, size_t len, size_t max, struct json_object **ret,
		      struct drover_error *e)
{
	return parse(text, len, max, false, ret, e);
}

int drover_json_parse_quotes(const char *text, size_t len, size_t max, struct json_object **ret,
			     struct drover_error *e)
{
	return parse(text, len, max, true, ret, e);
}
