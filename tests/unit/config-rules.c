// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Walks rules.def and needs.def: each rule is broken by its example, whole and member by
 * member in every order, and is told in its own words with all its options; each need is
 * refused on the side it concerns, by name, when just the thing it needs is missing.
 */
#include <errno.h>

#include "config/rules.h"

#include "config-test.h"

#define MEMBERS_MAX 4

static const struct drover_have have_all = {
	true, true, true, true, true, true, true, true, true, true,
	true, true, true, true, true, true, true, true, true, true, true,
};

/* The phase's check, by the function that others call for it where there is one. */
static int check(const struct drover_rule *rule, const struct drover_config *c,
		 struct drover_error *e)
{
	switch (rule->phase) {
	case DROVER_RULE_SET:
		return drover_config_check(c, e);
	case DROVER_RULE_START:
		return drover_config_check(c, e) < 0 ? -EINVAL :
			drover_config_feasible(c, &have_all, true, e);
	case DROVER_RULE_REQUEST:
		return drover_rules_check(c, DROVER_RULE_REQUEST, e);
	}
	return 0;
}

static bool names_all(const struct drover_rule *rule, const char *message)
{
	size_t i;

	for (i = 0; i < rule->noptions; i++)
		if (!strstr(message, drover_option_table(NULL)[rule->option[i]].name))
			return false;
	return true;
}

/* Next permutation of @order in lexical order; false after the last. */
static bool permute(unsigned int *order, unsigned int n)
{
	unsigned int i, j, k, t;

	for (i = n - 1; i > 0 && order[i - 1] > order[i]; i--)
		;
	if (n < 2 || !i)
		return false;
	for (j = n - 1; order[j] < order[i - 1]; j--)
		;
	t = order[i - 1];
	order[i - 1] = order[j];
	order[j] = t;
	for (j = i, k = n - 1; j < k; j++, k--) {
		t = order[j];
		order[j] = order[k];
		order[k] = t;
	}
	return true;
}

enum outcome { REFUSED, OTHER_RULE, WRONG };

/* Sets the members one after the other: nothing is wrong until the last one. */
static enum outcome in_order(const struct drover_rule *rule, const unsigned int *order,
			     const char *const *key, struct json_object *const *value,
			     unsigned int n)
{
	_cleanup_(drover_config_deinit) struct drover_config c;
	struct drover_error want = DROVER_ERROR_INIT, e = DROVER_ERROR_INIT;
	unsigned int i;
	int r = 0;

	drover_config_init(&c);
	drover_rule_err(rule, &want);
	for (i = 0; i < n && !r; i++) {
		force(&c, key[order[i]], value[order[i]]);
		r = check(rule, &c, &e);
	}
	if (i < n)
		return strcmp(e.msg, want.msg) ? OTHER_RULE : WRONG;
	return r == -EINVAL && !strcmp(e.msg, want.msg) ? REFUSED : WRONG;
}

static bool any_order(const struct drover_rule *rule, struct json_object *example)
{
	const char *key[MEMBERS_MAX];
	struct json_object *value[MEMBERS_MAX];
	unsigned int order[MEMBERS_MAX] = { 0, 1, 2, 3 }, n = 0, refused = 0, blocked = 0;

	json_object_object_foreach(example, k, v) {
		key[n] = k;
		value[n++] = v;
	}
	do {
		enum outcome o = in_order(rule, order, key, value, n);

		if (o == WRONG)
			return false;
		refused += o == REFUSED;
		blocked += o == OTHER_RULE;
	} while (permute(order, n));
	if (n == 2 && refused != 2 && !blocked)
		return false;
	return refused >= 1;
}

/* As one request: refused, nothing applied. */
static bool at_once(const struct drover_rule *rule, struct json_object *example)
{
	_cleanup_(drover_config_deinit) struct drover_config c, never = { 0 };
	_cleanup_free_ char *before = NULL, *after = NULL;
	struct drover_error want = DROVER_ERROR_INIT, e = DROVER_ERROR_INIT;
	int r;

	drover_config_init(&c);
	drover_rule_err(rule, &want);
	before = config_text(&c);
	r = rule->phase == DROVER_RULE_SET ? drover_config_set_json(&c, example, NULL, &e) :
		drover_config_from_request(example, &never, NULL, &e);
	after = config_text(&c);
	return r == -EINVAL && !strcmp(e.msg, want.msg) && !strcmp(before, after);
}

static bool holds_for_defaults(const struct drover_rule *rule)
{
	_cleanup_(drover_config_deinit) struct drover_config c;

	drover_config_init(&c);
	return !rule->violated(&c);
}

static void walk_rules(void)
{
	const struct drover_rule *rule;
	size_t i, n;

	rule = drover_rule_table(&n);
	for (i = 0; i < n; i++) {
		_cleanup_json_ struct json_object *example = NULL;
		struct drover_error e = DROVER_ERROR_INIT;

		drover_rule_err(&rule[i], &e);
		tap_ok(names_all(&rule[i], e.msg) && holds_for_defaults(&rule[i]),
		       "names its options: %s", e.msg);
		if (!rule[i].example)
			continue;
		example = json("%s", rule[i].example);
		tap_ok(any_order(&rule[i], example), "in any order: %s", rule[i].example);
		if (rule[i].phase != DROVER_RULE_START && !strstr(rule[i].example, "zlib"))
			tap_ok(at_once(&rule[i], example), "at once: %s", rule[i].example);
	}
}

/* background-snapshot against x-colo: another rule is told first, it holds all the same. */
static void rule_without_example(void)
{
	_cleanup_(drover_config_deinit) struct drover_config c;
	const struct drover_rule *rule;
	size_t i, n, found = 0;

	drover_config_init(&c);
	c.background_snapshot = c.x_colo = true;
	rule = drover_rule_table(&n);
	for (i = 0; i < n; i++)
		if (!rule[i].example && rule[i].violated(&c))
			found++;
	tap_ok(found == 1, "the rule without an example is violated too");
}

/* What is allowed: rules of QEMU that are gone, and what only looks like a conflict. */
static void allowed(void)
{
	static const char *const good[] = {
		"{\"multifd\": true, \"postcopy-ram\": true, \"postcopy-preempt\": true}",
		"{\"release-ram\": true, \"postcopy-ram\": true}",
		"{\"background-snapshot\": true, \"events\": true, \"x-ignore-shared\": true}",
		"{\"mapped-ram\": true, \"multifd\": true, \"direct-io\": true}",
		"{\"multifd\": true, \"zero-copy-send\": true}",
		"{\"return-path\": true, \"switchover-ack\": true}",
		"{\"one-way\": true, \"return-path\": true, \"verify\": \"full\"}",
		"{\"max-cpu-throttle\": 20}",
		"{\"mode\": \"cpr-exec\"}",
		"{\"xbzrle\": true, \"postcopy-ram\": true}",
		"{\"postcopy-ram\": true, \"on-no-converge\": \"postcopy\"}",
	};
	size_t i;

	for (i = 0; i < DROVER_ARRAY_SIZE(good); i++) {
		_cleanup_json_ struct json_object *j = json("%s", good[i]);
		_cleanup_(drover_config_deinit) struct drover_config c;
		struct drover_error e = DROVER_ERROR_INIT;

		drover_config_init(&c);
		tap_ok(!drover_config_set_json(&c, j, NULL, &e), "allowed: %s %s", good[i], e.msg);
	}
}

/* A config that uses just what the need is about. */
static void use(const struct drover_need *need, struct drover_config *c)
{
	const struct drover_option *o = &drover_option_table(NULL)[need->option];
	_cleanup_json_ struct json_object *v = NULL;
	char buf[128];
	size_t i;

	if (!need->used) {
		v = json("%s", other_value(o, buf));
		force(c, o->name, v);
		return;
	}
	for (i = 0; i < o->nvalues && !need->used(c); i++) {
		json_object_put(v);
		v = json("\"%s\"", o->value[i].name);
		force(c, o->name, v);
	}
}

static bool refused_without(const struct drover_need *need)
{
	const struct drover_option *o = &drover_option_table(NULL)[need->option];
	_cleanup_(drover_config_deinit) struct drover_config c, defaults;
	struct drover_have lacking = have_all, nothing = { false };
	bool ok = true;
	int side;

	drover_config_init(&c);
	drover_config_init(&defaults);
	use(need, &c);
	*(bool *)((char *)&lacking + need->have) = false;
	for (side = 0; side < 2; side++) {
		bool mine = !(o->flags & (side ? DROVER_OPTION_DEST : DROVER_OPTION_SOURCE));
		struct drover_error e = DROVER_ERROR_INIT, none = DROVER_ERROR_INIT;
		int r = drover_config_feasible(&c, &lacking, side, &e);

		ok = ok && (mine ? r == -EOPNOTSUPP && strstr(e.msg, o->name) &&
			    strstr(e.msg, need->missing) : !r);
		ok = ok && !drover_config_feasible(&c, &have_all, side, &none) &&
		     !drover_config_feasible(&defaults, &nothing, side, &none);
	}
	return ok;
}

static void walk_needs(void)
{
	const struct drover_option *o = drover_option_table(NULL);
	const struct drover_need *need;
	uint8_t needed[sizeof(struct drover_have)] = { 0 };
	size_t i, n, all = 0;

	need = drover_need_table(&n);
	for (i = 0; i < n; i++) {
		tap_ok(refused_without(&need[i]), "%s: %s", o[need[i].option].name,
		       need[i].missing);
		needed[need[i].have] = 1;
	}
	for (i = 0; i < sizeof(needed); i++)
		all += needed[i];
	tap_ok(all == sizeof(struct drover_have), "every member of struct drover_have is needed");
}

int main(void)
{
	walk_rules();
	rule_without_example();
	allowed();
	walk_needs();
	return tap_done();
}
