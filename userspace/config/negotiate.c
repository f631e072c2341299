// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The config in HELLO and the destination's answer to it. The source's JSON is hostile input: it
 * passes the same checks as a request, one member after the other, so that the answer names every
 * option that is refused and not only the first. No I/O; called by the engine.
 */
#include "config/config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"
#include "config/rules.h"
#include "config/value.h"

/* The source may send any number of unknown members; the answer names at most so many. */
#define REFUSALS_MAX 128u

struct talk {
	const struct drover_config *mine;
	const struct drover_presence *given;
	struct drover_config theirs, accepted;
	struct drover_presence bad;             /* members that are refused already */
	struct json_object *refusals;
};

static int refuse(struct talk *t, const char *option, const char *desc)
{
	_cleanup_json_ struct json_object *one = json_object_new_object();
	struct json_object *a, *b;

	if (json_object_array_length(t->refusals) >= REFUSALS_MAX)
		return 0;
	if (!one)
		return -ENOMEM;
	a = json_object_new_string(option);
	if (!a || json_object_object_add(one, "option", a) < 0) {
		json_object_put(a);
		return -ENOMEM;
	}
	b = json_object_new_string(desc);
	if (!b || json_object_object_add(one, "desc", b) < 0) {
		json_object_put(b);
		return -ENOMEM;
	}
	if (json_object_array_add(t->refusals, one) < 0)
		return -ENOMEM;
	one = NULL;
	return 0;
}

static int refuse_option(struct talk *t, enum drover_option_id id, const char *desc)
{
	if (drover_present(&t->bad, id))
		return 0;
	t->bad.bits[id / 64] |= 1ull << (id % 64);
	return refuse(t, drover_option_table(NULL)[id].name, desc);
}

/* The source's key may be any text: it is quoted if it is short and printable, else cut. */
static int refuse_unknown(struct talk *t, const char *key)
{
	struct drover_error why = DROVER_ERROR_INIT;
	char name[65];
	size_t i;

	for (i = 0; i + 1 < sizeof(name) && key[i]; i++)
		name[i] = key[i] > 0x20 && key[i] < 0x7f ? key[i] : '?';
	name[i] = '\0';
	drover_err(&why, -EINVAL, "Parameter '%s' is unexpected", name);
	return refuse(t, name, why.msg);
}

struct json_object *drover_config_offer(const struct drover_config *c)
{
	_cleanup_json_ struct json_object *offer = json_object_new_object();
	const struct drover_option *o = drover_option_table(NULL);
	const struct drover_option *end = o + DROVER_OPTION_COUNT;

	for (; o < end; o++) {
		struct json_object *v;

		if (!(o->flags & DROVER_OPTION_MUST_AGREE) || drover_value_is_default(o, c))
			continue;
		v = drover_value_to_json(o, c);
		if (!offer || !v || json_object_object_add(offer, o->name, v) < 0) {
			json_object_put(v);
			return NULL;
		}
	}
	return TAKE_PTR(offer);
}

/* Read the source's config; members that it does not mention have their defaults. */
static int read_theirs(struct talk *t, struct json_object *theirs)
{
	int r;

	json_object_object_foreach(theirs, key, v) {
		const struct drover_option *o = drover_option_by_name(key);
		struct drover_error why = DROVER_ERROR_INIT;

		r = 0;
		if (!o)
			r = refuse_unknown(t, key);
		else if ((r = drover_value_from_json(o, v, &t->theirs, &why)) < 0 && r != -ENOMEM)
			r = refuse_option(t, o->id, why.msg);
		if (r < 0)
			return r;
	}
	return 0;
}

static int differ(struct talk *t, const struct drover_option *o)
{
	_cleanup_json_ struct json_object *want = drover_value_to_json(o, t->mine);
	_cleanup_json_ struct json_object *have = drover_value_to_json(o, &t->theirs);
	struct drover_error why = DROVER_ERROR_INIT;

	if (!want || !have)
		return -ENOMEM;
	drover_err(&why, -EINVAL, "the destination was told %s, the source has %s",
		   json_object_to_json_string_ext(want, JSON_C_TO_STRING_PLAIN),
		   json_object_to_json_string_ext(have, JSON_C_TO_STRING_PLAIN));
	return refuse_option(t, o->id, why.msg);
}

static int agree(struct talk *t)
{
	const struct drover_option *o = drover_option_table(NULL);
	const struct drover_option *end = o + DROVER_OPTION_COUNT;
	int r = 0;

	for (; !r && o < end; o++) {
		if (!(o->flags & DROVER_OPTION_MUST_AGREE) ||
		    drover_value_equal(o, t->mine, &t->theirs))
			continue;
		if (drover_present(t->given, o->id))
			r = differ(t, o);
		else
			r = drover_value_copy(o, &t->theirs, &t->accepted);
	}
	return r;
}

/* The option to name for a broken rule: one that the source set, else the rule's first. */
static enum drover_option_id whom_to_blame(const struct talk *t, const struct drover_rule *rule)
{
	const struct drover_option *o = drover_option_table(NULL);
	size_t i;

	for (i = 0; i < rule->noptions; i++)
		if (!drover_value_equal(&o[rule->option[i]], t->mine, &t->accepted))
			return rule->option[i];
	return rule->option[0];
}

/* The destination skips rules about an option that only the source looks at. */
static bool concerns_source(const struct drover_rule *rule)
{
	const struct drover_option *o = drover_option_table(NULL);
	size_t i;

	for (i = 0; i < rule->noptions; i++)
		if (o[rule->option[i]].flags & DROVER_OPTION_SOURCE)
			return true;
	return false;
}

/*
 * Can this side do what was agreed? Rules come first; those of phase REQUEST are left out, since
 * they are about `config` arguments only.
 */
static int judge(struct talk *t, const struct drover_have *have)
{
	const struct drover_rule *rule;
	const struct drover_need *need;
	size_t i, n;
	int r = 0;

	rule = drover_rule_table(&n);
	for (i = 0; !r && i < n; i++) {
		struct drover_error why = DROVER_ERROR_INIT;

		if (rule[i].phase == DROVER_RULE_REQUEST || concerns_source(&rule[i]) ||
		    !rule[i].violated(&t->accepted))
			continue;
		drover_rule_err(&rule[i], &why);
		r = refuse_option(t, whom_to_blame(t, &rule[i]), why.msg);
	}
	need = drover_need_table(&n);
	for (i = 0; !r && i < n; i++) {
		struct drover_error why = DROVER_ERROR_INIT;

		if (!drover_need_unmet(&need[i], &t->accepted, have, false))
			continue;
		drover_need_err(&need[i], &why);
		r = refuse_option(t, need[i].option, why.msg);
	}
	return r;
}

static int negotiate(struct talk *t, struct json_object *theirs, const struct drover_have *have)
{
	int r;

	t->refusals = json_object_new_array();
	if (!t->refusals || drover_config_init(&t->theirs) < 0 ||
	    drover_config_copy(t->mine, &t->accepted) < 0)
		return -ENOMEM;
	r = read_theirs(t, theirs);
	if (!r)
		r = agree(t);
	if (!r)
		r = judge(t, have);
	return r;
}

int drover_config_negotiate(const struct drover_config *mine, const struct drover_presence *given,
			    struct json_object *theirs, const struct drover_have *have,
			    struct drover_config *ret, struct json_object **ret_refusals,
			    struct drover_error *e)
{
	struct talk t = { .mine = mine, .given = given };
	int r;

	if (!json_object_is_type(theirs, json_type_object))
		return drover_err(e, -EBADMSG, "HELLO: the config is not a JSON object");
	r = negotiate(&t, theirs, have);
	if (r < 0) {
		drover_err(e, r, "HELLO: config: %s", drover_strerror(r));
	} else if (json_object_array_length(t.refusals)) {
		*ret_refusals = TAKE_PTR(t.refusals);
		r = 1;
	} else {
		*ret = t.accepted;
		*ret_refusals = NULL;
		memset(&t.accepted, 0, sizeof(t.accepted));
	}
	json_object_put(t.refusals);
	drover_config_deinit(&t.theirs);
	drover_config_deinit(&t.accepted);
	return r;
}

static const char *text_of(struct json_object *refusal, const char *member)
{
	struct json_object *v = NULL;

	json_object_object_get_ex(refusal, member, &v);
	return v ? json_object_get_string(v) : "?";
}

void drover_config_refusals_text(struct json_object *refusals, char *buf, size_t size)
{
	size_t i, used = 0;

	buf[0] = '\0';
	for (i = 0; json_object_is_type(refusals, json_type_array) &&
	     i < json_object_array_length(refusals) && used < size; i++) {
		struct json_object *one = json_object_array_get_idx(refusals, i);

		used += (size_t)snprintf(buf + used, size - used, "%s%s: %s", i ? "; " : "",
					 text_of(one, "option"), text_of(one, "desc"));
	}
}
