// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What people type at droverctl becomes the strict JSON that droverd takes; "default" gives
 * what resets an option.
 */
#include <errno.h>

#include "config-test.h"

static const struct {
	const char *option, *text, *json;       /* json NULL: refused */
} row[] = {
	{ "multifd", "on", "true" }, { "multifd", "off", "false" }, { "multifd", "yes", "true" },
	{ "multifd", "no", "false" }, { "multifd", "true", "true" },
	{ "multifd", "false", "false" }, { "multifd", "1", NULL }, { "multifd", "", NULL },
	{ "multifd", "ON", NULL },
	{ "max-bandwidth", "0", "0" }, { "max-bandwidth", "128M", "134217728" },
	{ "max-bandwidth", "1k", "1024" }, { "max-bandwidth", "2G", "2147483648" },
	{ "max-bandwidth", "1T", "1099511627776" },
	{ "max-bandwidth", "18446744073709551615", "18446744073709551615" },
	{ "max-bandwidth", "18446744073709551616", NULL }, { "max-bandwidth", "16E", NULL },
	{ "max-bandwidth", "15E", "17293822569102704640" }, { "max-bandwidth", "-1", NULL },
	{ "max-bandwidth", "1.5G", NULL }, { "max-bandwidth", "1GB", NULL },
	{ "max-bandwidth", "G", NULL }, { "max-bandwidth", "", NULL },
	{ "max-bandwidth", "0x10", NULL }, { "max-bandwidth", " 1", NULL },
	{ "max-bandwidth", "1 ", NULL }, { "max-bandwidth", "1\v", NULL },
	{ "max-bandwidth", "3e", "3458764513820540928" },
	{ "downtime-limit", "300", "300" }, { "downtime-limit", "1K", NULL },
	{ "multifd-channels", "9999", "9999" },
	{ "verify", "audit", "\"audit\"" }, { "verify", "nonsense", NULL },
	{ "multifd-compression", "zstd", "\"zstd\"" },
	{ "tls-creds", "tls0", "\"tls0\"" }, { "tls-creds", "", "\"\"" },
	{ "cpu-affinity", "0-3", "\"0-3\"" },
	{ "cpr-exec-command", "prog -a  b", "[\"prog\",\"-a\",\"b\"]" },
	{ "cpr-exec-command", "[\"prog\",\"a b\"]", "[\"prog\",\"a b\"]" },
	{ "cpr-exec-command", " ", "[]" }, { "cpr-exec-command", "[\"prog\"", NULL },
	{ "block-bitmap-mapping", "[]", "[]" }, { "block-bitmap-mapping", "x", NULL },
	{ "block-bitmap-mapping", "default", NULL },
	{ "max-bandwidth", "default", "134217728" }, { "verify", "default", "\"digest\"" },
	{ "tls-creds", "default", "\"\"" }, { "cpr-exec-command", "default", "[]" },
};

static void rows(void)
{
	size_t i;

	for (i = 0; i < DROVER_ARRAY_SIZE(row); i++) {
		const struct drover_option *o = drover_option_by_name(row[i].option);
		_cleanup_json_ struct json_object *v = NULL;
		struct drover_error e = DROVER_ERROR_INIT;
		int r = drover_option_text_to_json(o, row[i].text, &v, &e);
		const char *got = r ? NULL :
			json_object_to_json_string_ext(v, JSON_C_TO_STRING_PLAIN);

		tap_ok(row[i].json ? got && !strcmp(got, row[i].json) :
		       r == -EINVAL && !v && strstr(e.msg, o->name),
		       "%s=%s: %s", row[i].option, row[i].text, r ? e.msg : got);
	}
}

/* Setting "default" on a config where the option is not resets just it. */
static bool resets(const struct drover_option *o)
{
	_cleanup_(drover_config_deinit) struct drover_config c, fresh;
	_cleanup_json_ struct json_object *other = NULL, *v = NULL, *set = NULL;
	struct drover_error e = DROVER_ERROR_INIT;
	char buf[128];

	drover_config_init(&c);
	drover_config_init(&fresh);
	other = json("%s", other_value(o, buf) ? other_value(o, buf) : "\"zlib\"");
	force(&c, o->name, other);
	if (drover_option_text_to_json(o, "default", &v, &e) < 0)
		return false;
	set = json_object_new_object();
	json_object_object_add(set, o->name, json_object_get(v));
	return !drover_config_set_json(&c, set, NULL, &e) && drover_value_is_default(o, &c) &&
	       drover_value_equal(o, &c, &fresh);
}

int main(void)
{
	bool ok = true;

	rows();
	for_each_option(o)
		if (o->type != DROVER_TYPE_BITMAP_MAP && !resets(o)) {
			tap_diag("%s is not reset", o->name);
			ok = false;
		}
	tap_ok(ok, "\"default\" resets every option");
	return tap_done();
}
