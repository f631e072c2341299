// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Addresses from outside: text that begins with '{' is the JSON form, with '[' a channel
 * list, anything else a URI. What is accepted must survive JSON, a copy and text; what is
 * refused must say why, and must not have touched the result.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "address/address.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"

#define TEXT_MAX 65536u

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

/* Through JSON and a copy; and through a URI where the address came from one. */
static void round_trip(const struct drover_address *a, bool from_uri)
{
	_cleanup_(drover_address_deinit) struct drover_address copy = { 0 }, again = { 0 };
	_cleanup_json_ struct json_object *one = drover_address_to_json(a), *two = NULL;
	_cleanup_free_ char *text = drover_address_to_string(a), *same = NULL;
	struct drover_error e = DROVER_ERROR_INIT;
	int r;

	must(one && text && !drover_address_copy(a, &copy));
	r = drover_address_from_json(one, &again, &e);
	/* URI bytes need not be UTF-8, but json-c's own objects don't mind */
	must(!r);
	two = drover_address_to_json(&again);
	must(json_object_equal(one, two));
	same = drover_address_to_string(&copy);
	must(same && !strcmp(text, same));
	must(drover_address_offers(a) == drover_address_offers(&copy));
	if (from_uri) {
		_cleanup_(drover_address_deinit) struct drover_address back = { 0 };
		_cleanup_json_ struct json_object *three = NULL;

		must(!drover_address_from_uri(text, &back, &e));
		three = drover_address_to_json(&back);
		must(json_object_equal(one, three));
	}
}

static void one_uri(const char *text)
{
	_cleanup_(drover_address_deinit) struct drover_address a = { 0 };
	struct drover_error e = DROVER_ERROR_INIT;
	int r = drover_address_from_uri(text, &a, &e);

	if (r < 0) {
		check_refusal(r, &e);
		must(!a.u.inet.host);
		return;
	}
	round_trip(&a, true);
}

static void one_list(struct json_object *o, bool incoming)
{
	static struct drover_channel_list l, copy;
	struct drover_error e = DROVER_ERROR_INIT;
	unsigned int i, mains = 0;
	int r;

	l.n = 0;
	r = drover_channel_list_from_json(o, incoming, &l, &e);
	if (r < 0) {
		check_refusal(r, &e);
		must(!l.n);
		return;
	}
	must(l.n >= 1 && l.n <= DROVER_CHANNELS_MAX && drover_channel_list_main(&l));
	for (i = 0; i < l.n; i++) {
		mains += l.entry[i].type == DROVER_CHANNEL_MAIN;
		must(l.entry[i].type != DROVER_CHANNEL_CPR && drover_channel_list_data(&l, i));
		round_trip(&l.entry[i].addr, false);
	}
	must(mains == 1);
	must(!drover_channel_list_copy(&l, &copy) && copy.n == l.n);
	drover_channel_list_deinit(&copy);
	drover_channel_list_deinit(&l);
}

static void one_json(const char *text, size_t len)
{
	_cleanup_(drover_address_deinit) struct drover_address a = { 0 };
	_cleanup_json_ struct json_object *o = NULL;
	struct drover_error e = DROVER_ERROR_INIT;
	int r;

	if (drover_json_parse(text, len, TEXT_MAX, &o, NULL) < 0)
		return;
	if (*text == '[') {
		one_list(o, false);
		one_list(o, true);
		return;
	}
	r = drover_address_from_json(o, &a, &e);
	if (r < 0)
		check_refusal(r, &e);
	else
		round_trip(&a, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = NULL;

	if (size > TEXT_MAX)
		return 0;
	text = malloc(size + 1);
	must(text != NULL);
	memcpy(text, data, size);
	text[size] = '\0';
	if (*text == '{' || *text == '[')
		one_json(text, size);
	else
		one_uri(text);
	return 0;
}
