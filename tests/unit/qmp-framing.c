// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The stream gives the same values however its bytes are cut, and finds its place again
 * after any error.
 */
#include "qmp/framing.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"

#include "tap.h"

#define ELEMENTS(a) (sizeof(a) / sizeof((a)[0]))

static char *nested(unsigned int depth)
{
	char *s = calloc(1, 2 * depth + 1);

	memset(s, '[', depth);
	memset(s + depth, ']', depth);
	return s;
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
	streams();
	deep_stream();
	return tap_done();
}
