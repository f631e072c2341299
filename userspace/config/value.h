/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_CONFIG_VALUE_H
#define DROVER_CONFIG_VALUE_H

#include <stdbool.h>

#include "config/config.h"

/*
 * Operations on one member of a config, whatever its type; for use within config/ only. A member
 * is either initialised or all zeros; drover_value_clear() takes both.
 */
int drover_value_set_default(const struct drover_option *o, struct drover_config *c);
void drover_value_clear(const struct drover_option *o, struct drover_config *c);
/* @dst's member is initialised or all zeros; -ENOMEM leaves it as it was. */
int drover_value_copy(const struct drover_option *o, const struct drover_config *src,
		      struct drover_config *dst);
bool drover_value_equal(const struct drover_option *o, const struct drover_config *a,
			const struct drover_config *b);
bool drover_value_is_default(const struct drover_option *o, const struct drover_config *c);
/*
 * Checks type, range and, for an enum, whether the value is built in; changes the member on
 * success only. @v is NULL for the JSON value null.
 */
int drover_value_from_json(const struct drover_option *o, struct json_object *v,
			   struct drover_config *c, struct drover_error *e);
/* Returns a new reference; NULL when out of memory, and for an unset BITMAP_MAP. */
struct json_object *drover_value_to_json(const struct drover_option *o,
					 const struct drover_config *c);

#endif
