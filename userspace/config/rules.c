// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * rules.def and needs.def as tables: the condition of each row becomes a function, so that tests
 * and the documentation generator can walk the rows as data.
 */
#include "config/rules.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "config/value.h"

#define RULE(when, label, condition, text, sample, ...)					\
	static bool violated_##label(const struct drover_config *c)			\
	{										\
		return (condition) != 0;						\
	}										\
	static const enum drover_option_id options_##label[] = { __VA_ARGS__ };
#include "config/rules.def"
#undef RULE

static const struct drover_rule rules[] = {
#define RULE(when, label, condition, text, sample, ...)					\
	{										\
		.phase = DROVER_RULE_##when,						\
		.violated = violated_##label,						\
		.message = text,							\
		.example = sample,							\
		.option = options_##label,						\
		.noptions = DROVER_ARRAY_SIZE(options_##label),				\
	},
#include "config/rules.def"
#undef RULE
};

const struct drover_rule *drover_rule_table(size_t *ret_n)
{
	*ret_n = DROVER_ARRAY_SIZE(rules);
	return rules;
}

static bool name_char(char c)
{
	return (c >= 'a' && c <= 'z') || c == '-';
}

/* Does @message contain @name as a whole word? "multifd-compression" does not name "multifd". */
static bool names(const char *message, const char *name)
{
	const char *at = message;

	while ((at = strstr(at, name))) {
		if ((at == message || !name_char(at[-1])) && !name_char(at[strlen(name)]))
			return true;
		at++;
	}
	return false;
}

int drover_rule_err(const struct drover_rule *rule, struct drover_error *e)
{
	const struct drover_option *o = drover_option_table(NULL);
	char list[256] = "";
	bool all = true;
	size_t i, n = 0;

	for (i = 0; i < rule->noptions; i++) {
		const char *name = o[rule->option[i]].name;

		all = all && names(rule->message, name);
		if (n < sizeof(list))
			n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%s", i ? ", " : "",
					      name);
	}
	if (all)
		return drover_err(e, -EINVAL, "%s", rule->message);
	return drover_err(e, -EINVAL, "%s (%s)", rule->message, list);
}

int drover_rules_check(const struct drover_config *c, enum drover_rule_phase phase,
		       struct drover_error *e)
{
	size_t i;

	for (i = 0; i < DROVER_ARRAY_SIZE(rules); i++)
		if (rules[i].phase == phase && rules[i].violated(c))
			return drover_rule_err(&rules[i], e);
	return 0;
}

int drover_config_check(const struct drover_config *c, struct drover_error *e)
{
	return drover_rules_check(c, DROVER_RULE_SET, e);
}

#define NEED(member, feature, text)
#define NEED_IF(member, label, condition, feature, text)				\
	static bool used_##label(const struct drover_config *c)				\
	{										\
		return condition;							\
	}
#include "config/needs.def"
#undef NEED
#undef NEED_IF

static const struct drover_need needs[] = {
#define NEED(member, feature, text)							\
	{ DROVER_OPT_##member, NULL, offsetof(struct drover_have, feature), text },
#define NEED_IF(member, label, condition, feature, text)				\
	{ DROVER_OPT_##member, used_##label, offsetof(struct drover_have, feature), text },
#include "config/needs.def"
#undef NEED
#undef NEED_IF
};

const struct drover_need *drover_need_table(size_t *ret_n)
{
	*ret_n = DROVER_ARRAY_SIZE(needs);
	return needs;
}

bool drover_need_unmet(const struct drover_need *need, const struct drover_config *c,
		       const struct drover_have *have, bool source)
{
	const struct drover_option *o = &drover_option_table(NULL)[need->option];
	unsigned int not_mine = source ? DROVER_OPTION_DEST : DROVER_OPTION_SOURCE;

	if (*(const bool *)((const char *)have + need->have) || (o->flags & not_mine))
		return false;
	return need->used ? need->used(c) : !drover_value_is_default(o, c);
}

int drover_need_err(const struct drover_need *need, struct drover_error *e)
{
	return drover_err(e, -EOPNOTSUPP, "Option '%s' can't be used: %s",
			  drover_option_table(NULL)[need->option].name, need->missing);
}

int drover_config_feasible(const struct drover_config *c, const struct drover_have *have,
			   bool source, struct drover_error *e)
{
	size_t i;
	int r = drover_rules_check(c, DROVER_RULE_START, e);

	for (i = 0; !r && i < DROVER_ARRAY_SIZE(needs); i++)
		if (drover_need_unmet(&needs[i], c, have, source))
			r = drover_need_err(&needs[i], e);
	return r;
}
