// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The JSON reader: what it accepts it keeps exactly, what it refuses it names; the stream
 * gives the same values however its bytes are cut, and finds its place again after any error.
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

/* Values and errors of a stream as one text: "V<json>;" and "E;". */
static char *run_stream(const char *in, size_t len, size_t chunk, size_t max)
{
	struct drover_json_stream *s = drover_json_stream_new(max);
	char *out = calloc(1, 16 * (len + 64));
	size_t at;

	for (at = 0; at < len; at += chunk) {
		const char *data = in + at;
		size_t left = len - at < chunk ? len - at : chunk;

		while (left) {
			struct drover_error e = DROVER_ERROR_INIT;
			struct json_object *o = NULL;
			int r = drover_json_stream_feed(s, &data, &left, &o, &e);

			if (r == DROVER_JSON_E_VALUE) {
				strcat(out, "V");
				strcat(out, json_object_to_json_string_ext(o,
					JSON_C_TO_STRING_PLAIN));
				strcat(out, ";");
			} else if (r < 0) {
				strcat(out, e.code == r && e.msg[0] ? "E;" : "e;");
			}
			json_object_put(o);
		}
	}
	drover_json_stream_free(s);
	return out;
}

static const struct {
	const char *in, *want, *name;
} stream_row[] = {
	{ "{\"a\":1}{\"b\":2} [3]\n", "V{\"a\":1};V{\"b\":2};V[3];", "several without newline" },
	{ "{\"a\":\"}]\\\"{\"}[]", "V{\"a\":\"}]\\\"{\"};V[];", "brackets and quotes in a string" },
	{ "12 \"x\"true\n", "V12;V\"x\";Vtrue;", "bare values end where they must" },
	{ "12\"x\" null,", "V12;V\"x\";Vnull;E;", "a bare number ends at a quote" },
	{ "{\"a\":}{\"b\":2}", "E;V{\"b\":2};", "a malformed value, then a good one" },
	{ "{\"a\":1,\"a\":2}{\"b\":2}", "E;V{\"b\":2};", "a duplicate key, then a good one" },
	{ "GET / HTTP/1.1\r\n{\"b\":2}", "E;V{\"b\":2};", "not JSON at all, up to the line's end" },
	{ "{\"a\":^}{\"b\":2}", "E;V{\"b\":2};", "a bad byte inside" },
	{ "{\"a\":\"x\ny\n{\"b\":2}", "E;V{\"b\":2};", "an open string ends at the newline" },
	{ "{\"a\":\"x\ny\"}\n{\"b\":2}", "E;V{\"b\":2};", "a newline in a string: told once" },
	{ "{'a':'b\"}]c'}'d' ", "V{\"a\":\"b\\\"}]c\"};V\"d\";", "single quotes" },
	{ "{'a':'b\\'c'}", "V{\"a\":\"b'c\"};", "an escaped single quote" },
	{ "{'a\":1}\n{\"b\":2}", "E;V{\"b\":2};", "quotes that don't match" },
	{ "}{\"b\":2}", "E;V{\"b\":2};", "a stray bracket" },
	{ "[}{\"b\":2}", "E;V{\"b\":2};", "a mismatched bracket" },
	{ "{\"a\":[[[\"\xff{\"b\":2}", "E;V{\"b\":2};", "0xff starts afresh" },
	{ "\xff\xff{\"b\":2}", "E;E;V{\"b\":2};", "0xff between values" },
	{ "{\"a\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}\"}{\"b\":2}", "E;V{\"b\":2};",
	  "too long: skipped to its end, told once" },
	{ "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\" 7 ", "E;V7;", "too long a string" },
	{ "1111111111111111111111111111111111111111111111 7 ", "E;V7;", "too long a number" },
	{ "{\"a\":\"aaaaaaaaaaaaaaaaaaaa\"}{}", "V{\"a\":\"aaaaaaaaaaaaaaaaaaaa\"};V{};",
	  "just short enough" },
};

static void streams(void)
{
	size_t i, chunk;

	for (i = 0; i < ELEMENTS(stream_row); i++) {
		size_t len = strlen(stream_row[i].in);
		bool same = true;

		for (chunk = 1; chunk <= len; chunk++) {
			_cleanup_free_ char *got = run_stream(stream_row[i].in, len, chunk, 28);

			if (strcmp(got, stream_row[i].want)) {
				tap_diag("chunks of %zu: %s", chunk, got);
				same = false;
				break;
			}
		}
		tap_ok(same, "stream: %s", stream_row[i].name);
	}
}

static void deep_stream(void)
{
	_cleanup_free_ char *deep = nested(5000), *in = calloc(1, 10100), *got = NULL;

	sprintf(in, "%s{\"b\":2}", deep);
	got = run_stream(in, strlen(in), 7, 1 << 20);
	tap_ok(!strcmp(got, "E;V{\"b\":2};"), "too deep: told once, the next value is read");
}

int main(void)
{
	accepts();
	refuses();
	limits();
	numbers();
	members();
	streams();
	deep_stream();
	return tap_done();
}
