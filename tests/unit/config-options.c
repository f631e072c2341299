// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Walks the option table: each option takes what its row says and nothing else, a refused
 * set changes nothing and names the member, and everything survives JSON and copying.
 */
#include <errno.h>
#include <inttypes.h>

#include "config-test.h"

static void table_is_sound(void)
{
	unsigned int capabilities = 0, extensions = 0;
	bool sound = true;
	size_t n;

	drover_option_table(&n);
	for_each_option(o) {
		unsigned int who = o->flags >> 4;

		capabilities += !!(o->flags & DROVER_OPTION_CAPABILITY);
		extensions += !!(o->flags & DROVER_OPTION_EXTENSION);
		sound = sound && drover_option_by_name(o->name) == o && who && !(who & (who - 1)) &&
			!strchr(o->name, '_') && o->doc[0] &&
			o->def >= o->min && o->def <= o->max &&
			(o->type != DROVER_TYPE_ENUM || o->max == o->nvalues - 1) &&
			(!(o->flags & DROVER_OPTION_CAPABILITY) ||
			 (o->type == DROVER_TYPE_BOOL && !(o->flags & DROVER_OPTION_RUNTIME))) &&
			!strncmp(o->name, "x-", 2) == !!(o->flags & DROVER_OPTION_UNSTABLE);
	}
	tap_ok(sound, "every row is sound: name, default in range, one `who`, x- is unstable");
	tap_ok(n == DROVER_OPTION_COUNT && n == 65 && capabilities == 21 && extensions == 13,
	       "31 parameters, 21 capabilities, 13 extensions");
	tap_ok(!drover_option_by_name("max_bandwidth") && !drover_option_by_name(""),
	       "names are exact");
}

/* Sets one member of a fresh config; a refusal must name it and change nothing. */
static bool try(const struct drover_option *o, const char *value, int want)
{
	_cleanup_json_ struct json_object *j = json("{%s\"%s\": %s}", companions(o->id), o->name,
						    value);
	_cleanup_(drover_config_deinit) struct drover_config c, fresh;
	struct drover_presence p = { { 0 } };
	struct drover_error e = DROVER_ERROR_INIT;
	_cleanup_free_ char *before = NULL, *after = NULL;
	int r;

	drover_config_init(&c);
	drover_config_init(&fresh);
	before = config_text(&c);
	r = drover_config_set_json(&c, j, &p, &e);
	after = config_text(&c);
	if (r == want && (r ? strstr(e.msg, o->name) && !strcmp(before, after) && e.code == r :
			  drover_present(&p, o->id)))
		return true;
	tap_diag("%s = %s: %d, wanted %d: %s", o->name, value, r, want, e.msg);
	return false;
}

static bool number(const struct drover_option *o, uint64_t v, int want)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRIu64, v);
	return try(o, text, want);
}

static bool numbers(const struct drover_option *o)
{
	bool ok = number(o, o->min, 0) && number(o, o->max, 0) && number(o, o->def, 0) &&
		  number(o, UINT64_MAX, o->max == UINT64_MAX ? 0 : -EINVAL) &&
		  try(o, "-1", -EINVAL) && try(o, "1.0", -EINVAL) && try(o, "1e1", -EINVAL) &&
		  try(o, "18446744073709551616", -EINVAL) && try(o, "\"1\"", -EINVAL) &&
		  try(o, "true", -EINVAL) && try(o, "\"default\"", -EINVAL);

	if (o->min > 0)
		ok = number(o, o->min - 1, -EINVAL) && ok;
	if (o->max < UINT64_MAX)
		ok = number(o, o->max + 1, -EINVAL) && ok;
	return ok;
}

static bool enums(const struct drover_option *o)
{
	char text[64];
	bool ok = true;
	size_t i;

	for (i = 0; i < o->nvalues; i++) {
		snprintf(text, sizeof(text), "\"%s\"", o->value[i].name);
		/* on-no-converge=postcopy has a rule of its own: config-rules tests it */
		if (o->id == DROVER_OPT_on_no_converge && i == DROVER_ON_NO_CONVERGE_POSTCOPY)
			ok = try(o, text, -EINVAL) && ok;
		else
			ok = try(o, text, o->value[i].missing ? -EOPNOTSUPP : 0) && ok;
	}
	return ok && try(o, "0", -EINVAL) && try(o, "true", -EINVAL) && try(o, "\"\"", -EINVAL) &&
	       try(o, "\"nonsense\"", -EINVAL);
}

static bool values(const struct drover_option *o)
{
	char buf[128];
	const char *other = other_value(o, buf);
	bool ok = !other || try(o, other, 0);

	/* null: for the three tls- strings only */
	ok = try(o, "null", o->type == DROVER_TYPE_STR_OR_NULL ? 0 : -EINVAL) && ok;
	ok = try(o, "{}", -EINVAL) && ok;
	switch (o->type) {
	case DROVER_TYPE_BOOL:
		return ok && try(o, "false", 0) && try(o, "true", 0) && try(o, "0", -EINVAL) &&
		       try(o, "1", -EINVAL) && try(o, "\"on\"", -EINVAL) &&
		       try(o, "\"true\"", -EINVAL);
	case DROVER_TYPE_ENUM:
		return ok && enums(o);
	case DROVER_TYPE_STR:
	case DROVER_TYPE_STR_OR_NULL:
		return ok && try(o, "\"\"", 0) && try(o, "1", -EINVAL) && try(o, "[]", -EINVAL);
	case DROVER_TYPE_STR_LIST:
	case DROVER_TYPE_BITMAP_MAP:
		return ok && try(o, "[]", 0) && try(o, "[1]", -EINVAL) &&
		       try(o, "[null]", -EINVAL) && try(o, "\"a\"", -EINVAL);
	default:
		return ok && numbers(o) && try(o, "[]", -EINVAL);
	}
}

static void set_is_atomic(void)
{
	static const struct {
		const char *json, *message;
	} row[] = {
		{ "{\"max-bandwidth\": 1, \"multifd-channels\": 0}",
		  "Parameter 'multifd-channels' expects an integer in the range of 1 to 255" },
		{ "{\"max-bandwidth\": 1, \"max_bandwidth\": 1}",
		  "Parameter 'max_bandwidth' is unexpected" },
		{ "{\"max-bandwidth\": 1, \"zero-blocks\": true}",
		  "Parameter 'zero-blocks' is unexpected" },
		{ "{\"tls-creds\": \"tls0\", \"events\": \"on\"}",
		  "Invalid parameter type for 'events', expected: boolean" },
		{ "{\"cpr-exec-command\": [\"a\"], \"verify\": \"maybe\"}",
		  "Parameter 'verify' does not accept value 'maybe'" },
		{ "{\"max-bandwidth\": 1, \"multifd\": true, \"xbzrle\": true}",
		  "Multifd is not compatible with xbzrle (multifd, xbzrle)" },
		{ "[]", "Invalid parameter type for 'config', expected: object" },
		{ "null", "Invalid parameter type for 'config', expected: object" },
	};
	size_t i;

	for (i = 0; i < DROVER_ARRAY_SIZE(row); i++) {
		_cleanup_json_ struct json_object *j = json("%s", row[i].json);
		_cleanup_(drover_config_deinit) struct drover_config c;
		struct drover_presence p = { { 77, 78 } };
		struct drover_error e = DROVER_ERROR_INIT;
		_cleanup_free_ char *before = NULL, *after = NULL;
		int r;

		drover_config_init(&c);
		before = config_text(&c);
		r = drover_config_set_json(&c, j, &p, &e);
		after = config_text(&c);
		tap_ok(r == -EINVAL && !strcmp(before, after) && p.bits[0] == 77 &&
		       p.bits[1] == 78 && !strcmp(e.msg, row[i].message), "nothing applied: %s", e.msg);
	}
}

/* Each option alone away from its default: JSON, copy, differs and RUNTIME see just it. */
static bool stands_out(const struct drover_option *o)
{
	_cleanup_(drover_config_deinit) struct drover_config fresh, c, copy, back;
	_cleanup_json_ struct json_object *v = NULL, *all = NULL, *one = NULL;
	_cleanup_free_ char *text = NULL, *copied = NULL, *returned = NULL;
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_presence differs, none = { { 0 } };
	char buf[128];
	bool ok, runtime = o->flags & DROVER_OPTION_RUNTIME;
	int r;

	drover_config_init(&fresh);
	drover_config_init(&c);
	drover_config_init(&back);
	v = json("%s", other_value(o, buf) ? other_value(o, buf) : "\"zlib\"");
	force(&c, o->name, v);
	drover_config_copy(&c, &copy);
	text = config_text(&c);
	copied = config_text(&copy);
	ok = !strcmp(text, copied);

	drover_config_differs(&c, &differs);
	ok = ok && drover_present(&differs, o->id) &&
	     __builtin_popcountll(differs.bits[0]) + __builtin_popcountll(differs.bits[1]) == 1;

	r = drover_config_runtime_only(&fresh, &c, &e);
	ok = ok && (runtime ? !r : r == -EBUSY && strstr(e.msg, o->name));
	ok = ok && !drover_config_runtime_only(&c, &copy, &e);
	ok = ok && !drover_config_listening_only(&fresh, &c, &none, &e) ==
		(runtime || o->flags & (DROVER_OPTION_SOURCE | DROVER_OPTION_MUST_AGREE));
	ok = ok && !drover_config_listening_only(&fresh, &c, &differs, &e) ==
		(runtime || o->flags & DROVER_OPTION_SOURCE);

	/* Back from JSON, where this build takes the value and no rule needs another. */
	all = drover_config_to_json(&c);
	one = drover_config_get_json(&c, o->id);
	ok = ok && json_object_equal(one, json_object_object_get(all, o->name));
	if (ok && other_value(o, buf) && !*companions(o->id)) {
		drover_err_clear(&e);
		r = drover_config_set_json(&back, all, NULL, &e);
		returned = config_text(&back);
		ok = !r && !strcmp(text, returned);
	}
	if (!ok)
		tap_diag("%s: %s", o->name, e.msg);
	return ok;
}

static void defaults(void)
{
	_cleanup_(drover_config_deinit) struct drover_config c;
	_cleanup_json_ struct json_object *all = NULL;
	struct drover_presence differs;
	struct drover_error e = DROVER_ERROR_INIT;

	drover_config_init(&c);
	drover_config_differs(&c, &differs);
	tap_ok(!differs.bits[0] && !differs.bits[1] && !drover_config_check(&c, &e),
	       "the defaults differ from nothing and break no rule");
	tap_ok(c.max_bandwidth == 134217728 && c.downtime_limit == 300 && c.multifd_channels == 2 &&
	       !c.multifd && c.verify == DROVER_VERIFY_DIGEST && !*c.tls_creds &&
	       c.zero_page_detection == DROVER_ZERO_PAGE_DETECTION_MULTIFD &&
	       !*c.cpr_exec_command && !c.block_bitmap_mapping && c.handshake_timeout == 10000,
	       "defaults are QEMU's and ours");
	all = drover_config_to_json(&c);
	tap_ok(json_object_object_length(all) == DROVER_OPTION_COUNT - 1 &&
	       !json_object_object_get_ex(all, "block-bitmap-mapping", NULL),
	       "JSON has every member but the unset mapping");
}

static void requests(void)
{
	static const struct {
		const char *json, *message;
	} row[] = {
		{ "{\"tls-hostname\": \"h\"}", "Parameter 'tls-hostname' requires 'tls-creds'" },
		{ "{\"tls-authz\": \"a\"}", "Parameter 'tls-authz' requires 'tls-creds'" },
		{ "{\"tls-authz\": \"a\", \"tls-creds\": null}",
		  "Parameter 'tls-authz' requires 'tls-creds'" },
		{ "{\"tls-authz\": \"a\", \"tls-hostname\": \"h\", \"tls-creds\": \"c\"}", "" },
		{ "{\"tls-authz\": null, \"tls-hostname\": \"\"}", "" },
		{ "{}", "" },
	};
	size_t i;

	for (i = 0; i < DROVER_ARRAY_SIZE(row); i++) {
		_cleanup_json_ struct json_object *j = json("%s", row[i].json);
		_cleanup_(drover_config_deinit) struct drover_config c = { 0 }, stored;
		struct drover_presence p = { { 0 } };
		struct drover_error e = DROVER_ERROR_INIT;
		int r;

		drover_config_init(&stored);
		tap_ok(!drover_config_set_json(&stored, j, NULL, &e), "stored settings take %s",
		       row[i].json);
		r = drover_config_from_request(j, &c, &p, &e);
		tap_ok(!r == !*row[i].message && !strcmp(e.msg, row[i].message) &&
		       (r || drover_present(&p, DROVER_OPT_tls_authz) ==
			json_object_object_get_ex(j, "tls-authz", NULL)),
		       "a config argument: %s", r ? e.msg : "accepted");
	}
}

static void exact_integers(void)
{
	_cleanup_json_ struct json_object *j = json("{\"max-bandwidth\": 18446744073709551615,"
		"\"avail-switchover-bandwidth\": 9223372036854775808,"
		"\"max-postcopy-bandwidth\": 9007199254740993}");
	_cleanup_(drover_config_deinit) struct drover_config c;
	struct drover_error e = DROVER_ERROR_INIT;
	_cleanup_free_ char *text = NULL;

	drover_config_init(&c);
	tap_ok(!drover_config_set_json(&c, j, NULL, &e) && c.max_bandwidth == UINT64_MAX &&
	       c.avail_switchover_bandwidth == 1ull << 63 &&
	       c.max_postcopy_bandwidth == 9007199254740993ull, "integers come in exactly");
	text = config_text(&c);
	tap_ok(strstr(text, "\"max-bandwidth\":18446744073709551615,") &&
	       strstr(text, "\"avail-switchover-bandwidth\":9223372036854775808,") &&
	       strstr(text, "\"max-postcopy-bandwidth\":9007199254740993,"), "and go out exactly");
}

#define NODE(name, alias, bitmaps)							\
	"{\"node-name\": \"" name "\", \"alias\": \"" alias "\", \"bitmaps\": [" bitmaps "]}"
#define BITMAP(name, alias) "{\"name\": \"" name "\", \"alias\": \"" alias "\"}"

static void mappings(void)
{
	static const struct {
		const char *list, *message;
	} row[] = {
		{ NODE("n0", "a0", "") "," NODE("n1", "a1", ""), "" },
		{ NODE("n0", "a0", BITMAP("b", "c")) "," NODE("n1", "a1", BITMAP("b", "c")), "" },
		{ NODE("n0", "a0", "") "," NODE("n0", "a1", ""),
		  "The node name 'n0' is mapped twice" },
		{ NODE("n0", "a0", "") "," NODE("n1", "a0", ""),
		  "The node alias 'a0' is used twice" },
		{ NODE("n0", "a0", BITMAP("b", "c") "," BITMAP("b", "d")),
		  "The bitmap 'n0'/'b' is mapped twice" },
		{ NODE("n0", "a0", BITMAP("b", "c") "," BITMAP("d", "c")),
		  "The bitmap alias 'a0'/'c' is used twice" },
		{ NODE("n0", "0a", ""), "The node alias '0a' is not well-formed" },
		{ NODE("n0", "", ""), "The node alias '' is not well-formed" },
		{ NODE("n0", "a/b", ""), "The node alias 'a/b' is not well-formed" },
		{ "{\"alias\": \"a\", \"bitmaps\": []}", "Parameter 'node-name' is missing" },
		{ "{\"node-name\": \"a\", \"bitmaps\": []}", "Parameter 'alias' is missing" },
		{ "{\"node-name\": \"a\", \"alias\": \"a\"}", "Parameter 'bitmaps' is missing" },
		{ "{\"node-name\": \"a\", \"alias\": \"a\", \"bitmaps\": [], \"x\": 1}",
		  "Parameter 'x' is unexpected" },
		{ NODE("n0", "a0", "{\"name\": \"b\"}"), "Parameter 'alias' is missing" },
		{ NODE("n0", "a0", "{\"name\": \"b\", \"alias\": 1}"),
		  "'alias', expected: string" },
		{ NODE("n0", "a0",
		       "{\"name\": \"b\", \"alias\": \"c\", \"transform\": {\"p\": 1}}"),
		  "Parameter 'p' is unexpected" },
		{ NODE("n0", "a0",
		       "{\"name\": \"b\", \"alias\": \"c\", \"transform\": {\"persistent\": 1}}"),
		  "'persistent', expected: boolean" },
		{ NODE("n0", "a0", "7"), "expected: object" },
	};
	_cleanup_json_ struct json_object *longname = NULL;
	_cleanup_(drover_config_deinit) struct drover_config c;
	struct drover_error e = DROVER_ERROR_INIT;
	char name[257];
	size_t i;

	drover_config_init(&c);
	for (i = 0; i < DROVER_ARRAY_SIZE(row); i++) {
		_cleanup_json_ struct json_object *j =
			json("{\"block-bitmap-mapping\": [%s]}", row[i].list);
		int r;

		drover_err_clear(&e);
		r = drover_config_set_json(&c, j, NULL, &e);
		tap_ok(!r == !*row[i].message && strstr(e.msg, row[i].message) &&
		       (!r || strstr(e.msg, "block-bitmap-mapping")), "mapping %zu: %s", i, e.msg);
	}
	memset(name, 'a', 256);
	name[256] = '\0';
	longname = json("{\"block-bitmap-mapping\": [{\"node-name\": \"n\", \"alias\": \"%s\","
			"\"bitmaps\": []}]}", name);
	drover_err_clear(&e);
	tap_ok(drover_config_set_json(&c, longname, NULL, &e) == -EINVAL &&
	       strstr(e.msg, "longer than 255 bytes"), "an alias has 255 bytes at most");
}

static void lengths(void)
{
	static const struct {
		const char *name;
		unsigned int bytes;
		int r;
	} row[] = {
		{ "tls-creds", 4095, 0 }, { "tls-creds", 4096, -EINVAL },
		{ "cpu-affinity", 4096, -EINVAL },
	};
	_cleanup_json_ struct json_object *words = json_object_new_array();
	_cleanup_json_ struct json_object *o = json_object_new_object();
	_cleanup_(drover_config_deinit) struct drover_config c;
	struct drover_error e = DROVER_ERROR_INIT;
	char text[4097];
	size_t i;

	drover_config_init(&c);
	for (i = 0; i < DROVER_ARRAY_SIZE(row); i++) {
		_cleanup_json_ struct json_object *j = NULL;

		memset(text, '0', sizeof(text));
		text[row[i].bytes] = '\0';
		j = json("{\"%s\": \"%s\"}", row[i].name, text);
		drover_err_clear(&e);
		tap_ok(drover_config_set_json(&c, j, NULL, &e) == row[i].r, "%s of %u bytes: %s",
		       row[i].name, row[i].bytes, e.msg);
	}
	text[4000] = '\0';
	for (i = 0; i < 17; i++)
		json_object_array_add(words, json_object_new_string(text));
	json_object_object_add(o, "cpr-exec-command", json_object_get(words));
	drover_err_clear(&e);
	tap_ok(drover_config_set_json(&c, o, NULL, &e) == -EINVAL &&
	       strstr(e.msg, "'cpr-exec-command' expects at most 65536 bytes"), "%s", e.msg);
}

static void affinities(void)
{
	static const char *const good[] = { "0", "0-3", "0-3,8", "1023", "7,1,3-4" };
	static const char *const evil[] = { "a", "0-", "-1", "3-1", "1024", "0,,1", "0,", " 0" };
	const struct drover_option *o = drover_option_by_name("cpu-affinity");
	char text[32];
	size_t i;

	for (i = 0; i < DROVER_ARRAY_SIZE(good); i++) {
		snprintf(text, sizeof(text), "\"%s\"", good[i]);
		tap_ok(try(o, text, 0), "cpu-affinity %s", good[i]);
	}
	for (i = 0; i < DROVER_ARRAY_SIZE(evil); i++) {
		snprintf(text, sizeof(text), "\"%s\"", evil[i]);
		tap_ok(try(o, text, -EINVAL), "no CPU list: %s", evil[i]);
	}
}

static void duplicates(void)
{
	bool ok = true;

	for_each_option(o) {
		struct drover_error e = DROVER_ERROR_INIT;
		struct json_object *j = NULL;
		char text[256], quoted[80];
		int n = snprintf(text, sizeof(text), "{\"%s\": 0, \"%s\": 0}", o->name, o->name);

		snprintf(quoted, sizeof(quoted), "duplicate key '%s'", o->name);
		ok = drover_json_parse(text, (size_t)n, 1000, &j, &e) == -EBADMSG &&
		     strstr(e.msg, quoted) && ok;
	}
	tap_ok(ok, "a duplicate of any option is refused by name");
}

int main(void)
{
	table_is_sound();
	defaults();
	for_each_option(o)
		tap_ok(values(o), "%s takes its values and no others", o->name);
	for_each_option(o)
		tap_ok(stands_out(o), "%s: JSON, copy, differs, RUNTIME", o->name);
	set_is_atomic();
	requests();
	exact_integers();
	mappings();
	lengths();
	affinities();
	duplicates();
	return tap_done();
}
