// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The answer to a HELLO: what was given must be met, what was not is taken, in both
 * directions and for every option; each refusal is named; hostile JSON is a refusal.
 */
#include <errno.h>

#include "config-test.h"

static const struct drover_have have_all = {
	true, true, true, true, true, true, true, true, true, true,
	true, true, true, true, true, true, true, true, true, true, true,
};

struct answer {
	int r;
	struct drover_config accepted;
	struct json_object *refusals;
	struct drover_error e;
};

static void answer_end(struct answer *a)
{
	if (!a->r)
		drover_config_deinit(&a->accepted);
	json_object_put(a->refusals);
}

/* @mine: the incoming side's request (NULL: stored settings untouched) */
static struct answer ask(const char *mine, const char *theirs, const struct drover_have *have)
{
	_cleanup_json_ struct json_object *m = json("%s", mine), *t = json("%s", theirs);
	_cleanup_(drover_config_deinit) struct drover_config c;
	struct drover_presence given = { { 0 } };
	struct answer a = { .r = -1 };

	drover_config_init(&c);
	if (drover_config_set_json(&c, m, &given, &a.e) < 0)
		printf("Bail out! %s\n", a.e.msg);
	a.r = drover_config_negotiate(&c, &given, t, have, &a.accepted, &a.refusals, &a.e);
	return a;
}

static bool refuses(const struct answer *a, size_t i, const char *option, const char *desc)
{
	struct json_object *one = a->r == 1 ? json_object_array_get_idx(a->refusals, i) : NULL;

	return one && json_object_object_length(one) == 2 &&
	       !strcmp(json_object_get_string(json_object_object_get(one, "option")), option) &&
	       strstr(json_object_get_string(json_object_object_get(one, "desc")), desc);
}

static bool has(const struct drover_config *c, const struct drover_option *o, const char *value)
{
	_cleanup_json_ struct json_object *got = drover_value_to_json(o, c);
	_cleanup_json_ struct json_object *want = json("%s", value);

	return json_object_equal(got, want);
}

/* The source has another value than this side, which was told or was not. */
static bool source_differs(const struct drover_option *o, const char *other, const char *dflt)
{
	char theirs[512], mine[256];
	struct answer a, b;
	bool agree = o->flags & DROVER_OPTION_MUST_AGREE, ok;

	snprintf(theirs, sizeof(theirs), "{%s\"%s\": %s}", companions(o->id), o->name, other);
	snprintf(mine, sizeof(mine), "{\"%s\": %s}", o->name, dflt);
	a = ask("{}", theirs, &have_all);
	b = ask(mine, theirs, &have_all);
	if (agree)
		ok = !a.r && has(&a.accepted, o, other) && b.r == 1 &&
		     json_object_array_length(b.refusals) == 1 &&
		     refuses(&b, 0, o->name, "the destination was told");
	else
		ok = !a.r && has(&a.accepted, o, dflt) && !b.r && has(&b.accepted, o, dflt);
	answer_end(&a);
	answer_end(&b);
	return ok;
}

/* This side was told another value than the source has, or has it without being told. */
static bool destination_differs(const struct drover_option *o, const char *other, const char *dflt)
{
	bool agree = o->flags & DROVER_OPTION_MUST_AGREE, ok;
	_cleanup_(drover_config_deinit) struct drover_config c;
	_cleanup_json_ struct json_object *j = NULL, *t = NULL;
	struct drover_presence nothing = { { 0 } };
	struct answer a, b = { .r = -1 };
	char mine[512];

	snprintf(mine, sizeof(mine), "{%s\"%s\": %s}", companions(o->id), o->name, other);
	a = ask(mine, "{}", &have_all);
	drover_config_init(&c);
	j = json("%s", mine);
	t = json("{\"%s\": %s}", o->name, dflt);
	ok = !drover_config_set_json(&c, j, NULL, &b.e);
	b.r = drover_config_negotiate(&c, &nothing, t, &have_all, &b.accepted, &b.refusals, &b.e);
	if (agree)
		ok = ok && a.r == 1 && !b.r && has(&b.accepted, o, dflt);
	else
		ok = ok && !b.r && has(&b.accepted, o, other);
	answer_end(&a);
	answer_end(&b);
	return ok;
}

/* HELLO mentions an option that must be agreed on, where it is not the default. */
static bool offered(const struct drover_option *o, const char *other)
{
	_cleanup_(drover_config_deinit) struct drover_config c;
	_cleanup_json_ struct json_object *j = NULL, *offer = NULL, *want = NULL;
	struct drover_error e = DROVER_ERROR_INIT;
	struct json_object *v = NULL;

	drover_config_init(&c);
	j = json("{%s\"%s\": %s}", companions(o->id), o->name, other);
	if (drover_config_set_json(&c, j, NULL, &e) < 0)
		return false;
	offer = drover_config_offer(&c);
	want = json("%s", other);
	if (!(o->flags & DROVER_OPTION_MUST_AGREE))
		return !json_object_object_get_ex(offer, o->name, NULL);
	return json_object_object_get_ex(offer, o->name, &v) && json_object_equal(v, want);
}

static void offers(void)
{
	_cleanup_(drover_config_deinit) struct drover_config c;
	_cleanup_json_ struct json_object *nothing = NULL;
	char buf[128], text[64];

	drover_config_init(&c);
	nothing = drover_config_offer(&c);
	tap_ok(nothing && json_object_object_length(nothing) == 0, "the defaults are not mentioned");
	for_each_option(o) {
		const char *other = other_value(o, buf);

		if (other && o->id != DROVER_OPT_mode)
			tap_ok(offered(o, other), "%s: HELLO %s it", o->name,
			       o->flags & DROVER_OPTION_MUST_AGREE ? "mentions" : "leaves out");
	}
	json_object_put(nothing);
	nothing = json("[{\"option\": \"a\", \"desc\": \"b\"}, {\"option\": 1}, {\"desc\": \"c\"}]");
	drover_config_refusals_text(nothing, text, sizeof(text));
	tap_ok(!strcmp(text, "a: b; 1: ?; ?: c"), "a list of refusals as text: %s", text);
	drover_config_refusals_text(nothing, text, 7);
	tap_ok(!strcmp(text, "a: b; "), "cut where the room ends: %s", text);
	drover_config_refusals_text(NULL, text, sizeof(text));
	tap_ok(!text[0], "no list, no text");
}

static void every_option(void)
{
	_cleanup_(drover_config_deinit) struct drover_config c;

	drover_config_init(&c);
	for_each_option(o) {
		_cleanup_json_ struct json_object *d = drover_value_to_json(o, &c);
		const char *dflt = d ? json_object_to_json_string(d) : "[]";
		char buf[128];
		const char *other = other_value(o, buf);

		if (!other || o->type == DROVER_TYPE_BITMAP_MAP || o->id == DROVER_OPT_mode)
			continue;
		tap_ok(source_differs(o, other, dflt), "%s: the source differs", o->name);
		tap_ok(destination_differs(o, other, dflt), "%s: the destination differs", o->name);
	}
}

static void refusals(void)
{
	struct drover_have lacking = have_all;
	struct answer a;

	a = ask("{\"multifd\": true, \"verify\": \"none\"}",
		"{\"multifd-channels\": 4, \"verify\": \"full\"}", &have_all);
	tap_ok(a.r == 1 && json_object_array_length(a.refusals) == 2 &&
	       refuses(&a, 0, "multifd", "told true, the source has false") &&
	       refuses(&a, 1, "verify", "told \"none\", the source has \"full\""),
	       "every refusal is named");
	answer_end(&a);

	a = ask("{}", "{\"new-option\": 1, \"verify\": 7, \"multifd\": \"on\"}", &have_all);
	tap_ok(a.r == 1 && json_object_array_length(a.refusals) == 3 &&
	       refuses(&a, 0, "new-option", "Parameter 'new-option' is unexpected") &&
	       refuses(&a, 1, "verify", "expected: string") &&
	       refuses(&a, 2, "multifd", "expected: boolean"),
	       "what this build does not know or can't take is refused by name");
	answer_end(&a);

	a = ask("{}", "{\"multifd\": true, \"multifd-compression\": \"zstd\"}", &have_all);
	tap_ok(refuses(&a, 0, "multifd-compression", "not built in"), "a codec not built in");
	answer_end(&a);

	lacking.postcopy = false;
	lacking.mapped_ram = false;
	a = ask("{}", "{\"postcopy-ram\": true, \"validate-uuid\": true}", &lacking);
	tap_ok(a.r == 1 && json_object_array_length(a.refusals) == 1 &&
	       refuses(&a, 0, "postcopy-ram", "no fault handler"),
	       "what this host lacks is refused by name");
	answer_end(&a);

	a = ask("{\"tls-creds\": \"tls0\"}", "{\"mapped-ram\": true}", &have_all);
	tap_ok(refuses(&a, 0, "mapped-ram", "non-TLS"), "a rule that the mixture breaks");
	answer_end(&a);

	a = ask("{}", "{\"mode\": \"cpr-reboot\", \"postcopy-ram\": true}", &have_all);
	tap_ok(refuses(&a, 0, "mode", "Cannot use postcopy with CPR"), "a rule of the start");
	answer_end(&a);

	a = ask("{}", "[]", &have_all);
	tap_ok(a.r == -EBADMSG && !a.refusals, "%s", a.e.msg);
	a = ask("{}", "null", &have_all);
	tap_ok(a.r == -EBADMSG && !a.refusals, "%s", a.e.msg);
	answer_end(&a);

	a = ask("{}", "{\"a\\nb\\\"c\": 1}", &have_all);
	tap_ok(refuses(&a, 0, "a?b\"c", "unexpected"), "a hostile name is quoted tamely");
	answer_end(&a);
}

static void bounded(void)
{
	_cleanup_json_ struct json_object *t = json_object_new_object();
	_cleanup_(drover_config_deinit) struct drover_config c;
	struct drover_presence given = { { 0 } };
	struct answer a = { .r = -1 };
	char name[32];
	int i;

	for (i = 0; i < 10000; i++) {
		snprintf(name, sizeof(name), "name-%d", i);
		json_object_object_add(t, name, NULL);
	}
	drover_config_init(&c);
	a.r = drover_config_negotiate(&c, &given, t, &have_all, &a.accepted, &a.refusals, &a.e);
	tap_ok(a.r == 1 && json_object_array_length(a.refusals) == 128,
	       "the number of refusals is bounded");
	answer_end(&a);
}

/* The whole config of a source, as HELLO carries it. */
static void whole(void)
{
	_cleanup_json_ struct json_object *j = json("{\"multifd\": true, \"multifd-channels\": 8, "
		"\"max-bandwidth\": 18446744073709551615, \"verify\": \"audit\", "
		"\"events\": true}");
	_cleanup_(drover_config_deinit) struct drover_config src;
	_cleanup_free_ char *text = NULL;
	struct drover_error e = DROVER_ERROR_INIT;
	struct answer a;

	drover_config_init(&src);
	drover_config_set_json(&src, j, NULL, &e);
	text = config_text(&src);
	a = ask("{\"downtime-limit\": 7, \"multifd-channels\": 8}", text, &have_all);
	tap_ok(!a.r && !a.refusals && a.accepted.multifd && a.accepted.multifd_channels == 8 &&
	       a.accepted.verify == DROVER_VERIFY_AUDIT && !a.accepted.events &&
	       a.accepted.max_bandwidth == 134217728 && a.accepted.downtime_limit == 7,
	       "MUST-AGREE members are the source's, all others this side's own");
	answer_end(&a);
}

int main(void)
{
	every_option();
	offers();
	refusals();
	bounded();
	whole();
	return tap_done();
}
