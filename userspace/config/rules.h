/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_CONFIG_RULES_H
#define DROVER_CONFIG_RULES_H

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"

enum drover_rule_phase {
	DROVER_RULE_SET,        /* whenever a config changes */
	DROVER_RULE_REQUEST,    /* only for a `config` argument */
	DROVER_RULE_START,      /* only when a migration is to start */
};

/**
 * struct drover_rule - a row of rules.def
 * @message: without the option names that drover_rule_err() appends
 * @example: JSON object that breaks the rule, or NULL
 * @option: the @noptions options that the rule concerns
 */
struct drover_rule {
	enum drover_rule_phase phase;
	bool (*violated)(const struct drover_config *c);
	const char *message;
	const char *example;
	const enum drover_option_id *option;
	size_t noptions;
};

const struct drover_rule *drover_rule_table(size_t *ret_n);
/* Record the rule's message so that it names every option concerned. Returns -EINVAL. */
int drover_rule_err(const struct drover_rule *rule, struct drover_error *e);
/* Returns -EINVAL and records the first rule of @phase that @c violates; 0 if there is none. */
int drover_rules_check(const struct drover_config *c, enum drover_rule_phase phase,
		       struct drover_error *e);

/**
 * struct drover_need - a row of needs.def
 * @used: does @c use @option in a way that needs the feature? NULL: any value but the default does
 * @have: offset of the feature's bool in struct drover_have
 * @missing: the reason in the error message
 */
struct drover_need {
	enum drover_option_id option;
	bool (*used)(const struct drover_config *c);
	size_t have;
	const char *missing;
};

const struct drover_need *drover_need_table(size_t *ret_n);
/* Does @c use the option, is the feature missing, and does the option concern this side? */
bool drover_need_unmet(const struct drover_need *need, const struct drover_config *c,
		       const struct drover_have *have, bool source);
int drover_need_err(const struct drover_need *need, struct drover_error *e);

#endif
