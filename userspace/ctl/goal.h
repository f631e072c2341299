/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_CTL_GOAL_H
#define DROVER_CTL_GOAL_H

#include <stdbool.h>

struct drover_error;
struct json_object;

/**
 * goal_expand() - put a goal's members into an object
 * @text: NAME or NAME=ARGUMENT
 * @multi: the transport can have several channels
 *
 * Return: 0, or -EINVAL with a message that quotes @text.
 */
int goal_expand(const char *text, bool multi, struct json_object *o, struct drover_error *e);

/**
 * goal_explain() - print a config: one line for each member, with its reason
 * @text: the valid goal from which it was made, or NULL
 * @config: what would be sent: the goal's members, overridden by what the user gave
 */
void goal_explain(const char *text, bool multi, struct json_object *config);

#endif
