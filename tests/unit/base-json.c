// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The JSON reader: what it accepts it keeps exactly, what it refuses it names.
 */
#include "base/json.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"

#include "tap.h"

#define ELEMENTS(a) (sizeof(a) / sizeof((a)[0]))

static int parse(const char *text, struct json_object **ret, struct drover_error *e)
{
	drover_err_clear(e);
	return drover_json_parse(text, strlen(text), DROVER_JSON_MESSAGE_MAX, ret, e);
}

static const char *const good[][2] = {
	{ "null", NULL },
	{ " true ", "true" },
	{ "\t[ ]\r\n", "[]" },
	{ "{}", "{}" },
	{ "0", "0" },
	{ "-0", "0" },
	{ "18446744073709551615", "18446744073709551615" },
	{ "-9223372036854775808", "-9223372036854775808" },
	{ "18446744073709551616", "18446744073709551616" },
	{ "1.50", "1.50" },
	{ "1e3", "1e3" },
	{ "-1E+2", "-1E+2" },
	{ "\"\"", "\"\"" },
	{ "\"\\u0041\\u00e9\\u20ac\\ud83d\\ude00\"", "\"A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"" },
	{ "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\\"\\\\/\\b\\f\\n\\r\\t\"" },
	{ "\"\xf4\x8f\xbf\xbf\"", "\"\xf4\x8f\xbf\xbf\"" },
	{ "{\"a\":{\"a\":[{\"a\":1},{\"a\":2}]},\"b\":null}",
	  "{\"a\":{\"a\":[{\"a\":1},{\"a\":2}]},\"b\":null}" },
};

static void accepts(void)
{
	size_t i;

	for (i = 0; i < ELEMENTS(good); i++) {
		_cleanup_json_ struct json_object *o = NULL;
		struct drover_error e = DROVER_ERROR_INIT;
		int r = parse(good[i][0], &o, &e);
		const char *got = o ? json_object_to_json_string_ext(o,
			JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE) : NULL;

		tap_ok(!r && (good[i][1] ? got && !strcmp(got, good[i][1]) : !o),
		       "accepted and kept: value %zu %s", i, r ? e.msg : "");
	}
}

static const char *const evil[][2] = {
	{ "", "premature end" },
	{ "[1", "separator" },
	{ "[1,]", "expecting value" },
	{ "[,1]", "expecting value" },
	{ "{\"a\":1,}", "expecting value" },
	{ "{a:1}", "invalid keyword 'a'" },
	{ "{1:1}", "key is not a string" },
	{ "{true:1}", "key is not a string" },
	{ "{'a':1}", "key is not a string" },
	{ "{\"a\" 1}", "missing :" },
	{ "{\"a\":1 \"b\":2}", "separator in dict" },
	{ "1 2", "end of input" },
	{ "{}}", "end of input" },
	{ "01", "invalid number" },
	{ "-", "invalid number" },
	{ "-a", "invalid number" },
	{ "+1", "expecting value" },
	{ ".5", "expecting value" },
	{ "1.", "invalid number" },
	{ "1e", "invalid number" },
	{ "0x10", "end of input" },
	{ "NaN", "expecting value" },
	{ "Infinity", "expecting value" },
	{ "-Infinity", "invalid number" },
	{ "True", "expecting value" },
	{ "nul", "keyword" },
	{ "nulls", "keyword" },
	{ "'a'", "expecting value" },
	{ "[1] // x", "end of input" },
	{ "/* x */ 1", "expecting value" },
	{ "\"a", "unterminated" },
	{ "\"a\\\"", "unterminated" },
	{ "\"\\", "escape" },
	{ "\"\\q\"", "escape" },
	{ "\"\\'\"", "escape" },
	{ "\"\\u12g4\"", "\\u12g4 is not a valid Unicode" },
	{ "\"\\u12", "\\u12 is not a valid Unicode" },
	{ "\"\\u1\xc3\"", "\\u1 is not a valid Unicode" },
	{ "\"\\u0000\"", "\\u0000" },
	{ "{\"a\\u0000\":1}", "\\u0000" },
	{ "\"\\ud800\"", "\\ud800 is not a valid Unicode" },
	{ "\"\\ud800\\u0041\"", "\\ud800 is not a valid Unicode" },
	{ "\"\\udc00\"", "\\udc00 is not a valid Unicode" },
	{ "\"a\nb\"", "control character" },
	{ "\"\x7f\x80\"", "UTF-8" },
	{ "\"\xc0\x80\"", "UTF-8" },
	{ "\"\xc1\xbf\"", "UTF-8" },
	{ "\"\xe0\x9f\xbf\"", "UTF-8" },
	{ "\"\xed\xa0\x80\"", "UTF-8" },
	{ "\"\xf0\x8f\xbf\xbf\"", "UTF-8" },
	{ "\"\xf4\x90\x80\x80\"", "UTF-8" },
	{ "\"\xf5\x80\x80\x80\"", "UTF-8" },
	{ "\"\xe2\x82\"", "UTF-8" },
	{ "\xef\xbb\xbf{}", "expecting value" },
	{ "{\"key-one\":1,\"key-one\":2}", "duplicate key 'key-one'" },
	{ "{\"a\":1,\"\\u0061\":1}", "duplicate key 'a'" },
	{ "[{\"x\":[{\"deep\":1,\"b\":0,\"deep\":1}]}]", "duplicate key 'deep'" },
	{ "{\"\":1,\"\":2}", "duplicate key ''" },
};

static void refuses(void)
{
	size_t i;

	for (i = 0; i < ELEMENTS(evil); i++) {
		struct json_object *o = (struct json_object *)&i;
		struct drover_error e = DROVER_ERROR_INIT;
		int r = parse(evil[i][0], &o, &e);

		tap_ok(r == -EBADMSG && o == (struct json_object *)&i && strstr(e.msg, evil[i][1]),
		       "refused, told '%s': %zu (%s)", evil[i][1], i, e.msg);
	}
}

static char *nested(unsigned int depth)
{
	char *s = calloc(1, 2 * depth + 1);

	memset(s, '[', depth);
	memset(s + depth, ']', depth);
	return s;
}

static void limits(void)
{
	_cleanup_free_ char *ok = nested(DROVER_JSON_DEPTH_MAX);
	_cleanup_free_ char *deep = nested(DROVER_JSON_DEPTH_MAX + 1);
	_cleanup_free_ char *many = calloc(1, 2 * DROVER_JSON_VALUES_MAX + 2);
	_cleanup_free_ char *digits = calloc(1, 2000);
	struct drover_error e = DROVER_ERROR_INIT;
	struct json_object *o = NULL;
	unsigned int i;

	tap_ok(!parse(ok, &o, &e), "the deepest nesting is accepted");
	json_object_put(o);
	tap_ok(parse(deep, &o, &e) == -EBADMSG && strstr(e.msg, "depth"), "one more is not");

	many[0] = '[';
	for (i = 0; i < DROVER_JSON_VALUES_MAX; i++)
		memcpy(many + 1 + 2 * i, "1,", 2);
	many[2 * DROVER_JSON_VALUES_MAX] = ']';
	tap_ok(parse(many, &o, &e) == -EBADMSG && strstr(e.msg, "too many"),
	       "the number of values is bounded");
	memset(digits, '1', 1999);
	tap_ok(parse(digits, &o, &e) == -EBADMSG && strstr(e.msg, "too long"),
	       "a number's length is bounded");
	drover_err_clear(&e);
	tap_ok(drover_json_parse("[1]", 3, 2, &o, &e) == -EMSGSIZE, "a text's length is bounded");
	tap_ok(!drover_json_parse("[1]x", 3, 3, &o, &e), "bytes past the length are not read");
	json_object_put(o);
}

static void numbers(void)
{
	static const struct {
		const char *text;
		int r;
		uint64_t value;
		const char *why;
	} row[] = {
		{ "{\"n\":18446744073709551615}", 1, UINT64_MAX, "" },
		{ "{\"n\":9223372036854775808}", 1, 1ull << 63, "" },
		{ "{\"n\":9007199254740993}", 1, 9007199254740993ull, "" },
		{ "{\"n\":0}", 1, 0, "" },
		{ "{\"n\":-1}", -EINVAL, 0, "in the range of 0 to" },
		{ "{\"n\":-9223372036854775808}", -EINVAL, 0, "in the range of 0 to" },
		{ "{\"n\":18446744073709551616}", -EINVAL, 0, "'n', expected: integer" },
		{ "{\"n\":1.0}", -EINVAL, 0, "'n', expected: integer" },
		{ "{\"n\":1e3}", -EINVAL, 0, "'n', expected: integer" },
		{ "{\"n\":\"1\"}", -EINVAL, 0, "'n', expected: integer" },
		{ "{\"n\":null}", -EINVAL, 0, "'n', expected: integer" },
		{ "{\"n\":true}", -EINVAL, 0, "'n', expected: integer" },
		{ "{}", 0, 0, "" },
	};
	size_t i;

	for (i = 0; i < ELEMENTS(row); i++) {
		_cleanup_json_ struct json_object *o = NULL;
		struct drover_error e = DROVER_ERROR_INIT;
		uint64_t n = 7;
		int r;

		parse(row[i].text, &o, &e);
		r = drover_json_get_uint64(o, "n", 0, UINT64_MAX, &n, &e);
		tap_ok(r == row[i].r && strstr(e.msg, row[i].why) &&
		       n == (r == 1 ? row[i].value : 7), "%s as uint64: %d %s", row[i].text, r,
		       e.msg);
	}
}

static void members(void)
{
	static const char *const names[] = { "b", "s", "o", "l", NULL };
	_cleanup_json_ struct json_object *o = NULL;
	struct drover_error e = DROVER_ERROR_INIT;
	struct json_object *sub;
	const char *s = NULL;
	bool b = false;

	parse("{\"b\":true,\"s\":\"x\",\"o\":{},\"l\":[]}", &o, &e);
	tap_ok(drover_json_get_bool(o, "b", &b, &e) == 1 && b, "bool");
	tap_ok(drover_json_get_string(o, "s", &s, &e) == 1 && !strcmp(s, "x"), "string");
	tap_ok(drover_json_get_object(o, "o", &sub, &e) == 1, "object");
	tap_ok(drover_json_get_array(o, "l", &sub, &e) == 1, "array");
	tap_ok(!drover_json_get_array(o, "q", &sub, &e), "an absent member is no error");
	tap_ok(drover_json_get_bool(o, "s", &b, &e) == -EINVAL &&
	       !strcmp(e.msg, "Invalid parameter type for 's', expected: boolean"), "%s", e.msg);
	drover_err_clear(&e);
	tap_ok(drover_json_get_object(o, "l", &sub, &e) == -EINVAL &&
	       !strcmp(e.msg, "Invalid parameter type for 'l', expected: object"), "%s", e.msg);
	drover_err_clear(&e);
	tap_ok(!drover_json_only(o, names, &e), "known members only");
	tap_ok(drover_json_only(o, names + 1, &e) == -EINVAL &&
	       !strcmp(e.msg, "Parameter 'b' is unexpected"), "%s", e.msg);
	drover_err_clear(&e);
	tap_ok(drover_json_missing(&e, "z") == -EINVAL &&
	       !strcmp(e.msg, "Parameter 'z' is missing"), "%s", e.msg);
}

int main(void)
{
	accepts();
	refuses();
	limits();
	numbers();
	members();
	return tap_done();
}
