// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Bytes as a QMP client could send them: cut into pieces of the size the first byte says, read
 * as a stream of requests; each value is taken as a config, as a HELLO's config, and as text
 * for each option. What is accepted must survive being written and read again; what is refused
 * must say why and change nothing.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"
#include "config/config.h"
#include "qmp/framing.h"

#define MESSAGE_MAX 4096u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int cond)
{
	if (!cond)
		__builtin_trap();
}

static void check_refusal(int r, const struct drover_error *e)
{
	must(r < 0 && e->code == r && e->msg[0]);
}

/* Writing what was read and reading it again gives the same. */
static void round_trip(struct json_object *v)
{
	_cleanup_json_ struct json_object *again = NULL;
	struct drover_error e = DROVER_ERROR_INIT;
	const char *text = json_object_to_json_string_ext(v, JSON_C_TO_STRING_PLAIN);

	must(!drover_json_parse(text, strlen(text), SIZE_MAX, &again, &e));
	must(!v || json_object_equal(v, again));
}

static struct json_object *set(struct drover_config *c, struct json_object *v)
{
	struct json_object *before = drover_config_to_json(c);
	_cleanup_json_ struct json_object *after = NULL;
	_cleanup_(drover_config_deinit) struct drover_config again = { 0 };
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_presence p;
	int r = drover_config_set_json(c, v, &p, &e);

	after = drover_config_to_json(c);
	must(before && after);
	if (r < 0) {
		check_refusal(r, &e);
		must(json_object_equal(before, after));
	} else {
		must(!drover_config_check(c, &e));
		must(!drover_config_init(&again));
		must(!drover_config_set_json(&again, after, NULL, &e));
		must(!drover_config_runtime_only(c, &again, &e));
	}
	return before;
}

static void negotiate(const struct drover_config *c, struct json_object *v)
{
	_cleanup_(drover_config_deinit) struct drover_config accepted = { 0 };
	_cleanup_json_ struct json_object *refusals = NULL;
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_have have = { .postcopy = true, .tls = true };
	struct drover_presence given;
	int r;

	drover_config_differs(c, &given);
	r = drover_config_negotiate(c, &given, v, &have, &accepted, &refusals, &e);
	if (r < 0)
		check_refusal(r, &e);
	else
		must(r ? json_object_array_length(refusals) > 0 : !refusals);
}

static void text(const char *s)
{
	const struct drover_option *o;
	size_t i, n;

	o = drover_option_table(&n);
	for (i = 0; i < n; i++) {
		_cleanup_json_ struct json_object *v = NULL;
		struct drover_error e = DROVER_ERROR_INIT;
		int r = drover_option_text_to_json(&o[i], s, &v, &e);

		if (r < 0)
			check_refusal(r, &e);
	}
}

static void take(struct drover_config *c, struct json_object *v)
{
	round_trip(v);
	json_object_put(set(c, v));
	negotiate(c, v);
	if (json_object_is_type(v, json_type_string))
		text(json_object_get_string(v));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct drover_json_stream *s;
	struct drover_config c;
	size_t chunk, at;

	if (!size)
		return 0;
	chunk = (size_t)data[0] + 1;
	s = drover_json_stream_new(MESSAGE_MAX);
	must(s && !drover_config_init(&c));
	for (at = 1; at < size; at += chunk) {
		size_t left = size - at < chunk ? size - at : chunk;
		const char *p = (const char *)data + at;

		while (left) {
			struct drover_error e = DROVER_ERROR_INIT;
			struct json_object *v = NULL;
			int r = drover_json_stream_feed(s, &p, &left, &v, &e);

			if (r == DROVER_JSON_E_VALUE)
				take(&c, v);
			else if (r < 0)
				check_refusal(r, &e);
			json_object_put(v);
		}
	}
	drover_config_deinit(&c);
	drover_json_stream_free(s);
	return 0;
}
