// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The `channels` argument: a short list of addresses with types, exactly one of which is main.
 * The rules for the list are checked while it is parsed, so that no later code meets a list
 * without a main entry. Called by the commands of the daemon.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address/table.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"

static const char *const type_names[DROVER_CHANNEL_TYPE_COUNT] = {
	[DROVER_CHANNEL_MAIN] = "main",
	[DROVER_CHANNEL_DATA] = "data",
	[DROVER_CHANNEL_POSTCOPY] = "postcopy",
	[DROVER_CHANNEL_CPR] = "cpr",
};

const char *drover_channel_type_name(enum drover_channel_type t)
{
	return (unsigned int)t < DROVER_CHANNEL_TYPE_COUNT ? type_names[t] : "unknown";
}

void drover_channel_list_deinit(struct drover_channel_list *l)
{
	unsigned int i;

	for (i = 0; i < l->n; i++)
		drover_address_deinit(&l->entry[i].addr);
	l->n = 0;
}

struct drover_channel_list *drover_channel_list_free(struct drover_channel_list *l)
{
	if (l)
		drover_channel_list_deinit(l);
	free(l);
	return NULL;
}

static void freep(struct drover_channel_list **l)
{
	*l = drover_channel_list_free(*l);
}

int drover_channel_list_copy(const struct drover_channel_list *src,
			     struct drover_channel_list *ret)
{
	unsigned int i;

	ret->n = 0;
	for (i = 0; i < src->n; i++) {
		int r = drover_address_copy(&src->entry[i].addr, &ret->entry[i].addr);

		if (r < 0) {
			drover_channel_list_deinit(ret);
			return r;
		}
		ret->entry[i].type = src->entry[i].type;
		ret->n = i + 1;
	}
	return 0;
}

static const struct drover_address *nth(const struct drover_channel_list *l,
					enum drover_channel_type type, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < l->n; i++)
		if (l->entry[i].type == type && !nr--)
			return &l->entry[i].addr;
	return NULL;
}

static unsigned int count(const struct drover_channel_list *l, enum drover_channel_type type)
{
	unsigned int i, n = 0;

	for (i = 0; i < l->n; i++)
		n += l->entry[i].type == type;
	return n;
}

const struct drover_address *drover_channel_list_main(const struct drover_channel_list *l)
{
	return nth(l, DROVER_CHANNEL_MAIN, 0);
}

/* The entries of this type in turn; if there are none, main. */
static const struct drover_address *pick(const struct drover_channel_list *l,
					 enum drover_channel_type type, unsigned int index)
{
	unsigned int n = count(l, type);

	return n ? nth(l, type, index % n) : drover_channel_list_main(l);
}

const struct drover_address *drover_channel_list_data(const struct drover_channel_list *l,
						      unsigned int index)
{
	return pick(l, DROVER_CHANNEL_DATA, index);
}

const struct drover_address *drover_channel_list_postcopy(const struct drover_channel_list *l,
							  unsigned int index)
{
	return pick(l, DROVER_CHANNEL_POSTCOPY, index);
}

/* ---- parse ---- */

static int parse_type(struct json_object *v, const char *path, enum drover_channel_type *ret,
		      struct drover_error *e)
{
	const char *text;
	unsigned int t;
	int r = drover_json_to_string(v, path, &text, e);

	if (r < 0)
		return r;
	for (t = 0; t < DROVER_CHANNEL_TYPE_COUNT; t++)
		if (!strcmp(type_names[t], text)) {
			*ret = (enum drover_channel_type)t;
			return 0;
		}
	return drover_err(e, -EINVAL, "Parameter '%s' does not accept value '%s'", path, text);
}

static int parse_entry(struct json_object *o, size_t index, struct drover_channel_list *l,
		       struct drover_error *e)
{
	static const char *const members[] = { "channel-type", "addr" };
	struct json_object *v[2];
	char path[64];
	unsigned int i;
	int r;

	snprintf(path, sizeof(path), "channels[%zu]", index);
	if (!json_object_is_type(o, json_type_object))
		return drover_err(e, -EINVAL, "Invalid parameter type for '%s', expected: object",
				  path);
	for (i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "channels[%zu].%s", index, members[i]);
		if (!json_object_object_get_ex(o, members[i], &v[i]))
			return drover_json_missing(e, path);
		if (!i) {
			r = parse_type(v[0], path, &l->entry[l->n].type, e);
			if (r < 0)
				return r;
		}
	}
	r = drover_address_parse_json(v[1], path, &l->entry[l->n].addr, e);
	if (r < 0)
		return r;
	l->n++;
	json_object_object_foreach(o, key, val) {
		(void)val;
		if (strcmp(key, members[0]) && strcmp(key, members[1]))
			return drover_err(e, -EINVAL, "Parameter 'channels[%zu].%.64s' is "
					  "unexpected", index, key);
	}
	return 0;
}

/* Check the rules for the list as a whole. */
static int check(const struct drover_channel_list *l, bool incoming, struct drover_error *e)
{
	unsigned int t, i;

	for (t = 0; t < DROVER_CHANNEL_TYPE_COUNT; t++)
		if (t != DROVER_CHANNEL_DATA && t != DROVER_CHANNEL_POSTCOPY &&
		    count(l, (enum drover_channel_type)t) > 1)
			return drover_err(e, -EINVAL, "Channel list has more than one %s entry",
					  type_names[t]);
	if (!drover_channel_list_main(l))
		return drover_err(e, -EINVAL, "Channel list has no main entry");
	if (count(l, DROVER_CHANNEL_CPR)) {
		if (incoming)
			return drover_err(e, -EINVAL, "Channel list must have only one entry, for "
					  "type 'main'");
		return drover_err(e, -EOPNOTSUPP, "Channel type 'cpr' is not supported: mode "
				  "cpr-transfer is not built in");
	}
	for (i = 0; i < l->n; i++)
		if (l->entry[i].type != DROVER_CHANNEL_MAIN &&
		    !(drover_address_offers(&l->entry[i].addr) & DROVER_TRANSPORT_MULTI))
			return drover_err(e, -EINVAL, "Channel type '%s' needs a transport that "
					  "takes many connections, and %s does not",
					  type_names[l->entry[i].type],
					  drover_address_table[l->entry[i].addr.transport].scheme);
	return 0;
}

int drover_channel_list_from_json(struct json_object *array, bool incoming,
				  struct drover_channel_list *ret, struct drover_error *e)
{
	_cleanup_(freep) struct drover_channel_list *l = calloc(1, sizeof(*l));
	size_t i, n;
	int r;

	if (!l)
		return drover_err(e, -ENOMEM, "channels: out of memory");
	if (!json_object_is_type(array, json_type_array))
		return drover_err(e, -EINVAL,
				  "Invalid parameter type for 'channels', expected: array");
	n = json_object_array_length(array);
	if (!n)
		return drover_err(e, -EINVAL, "need either 'uri' or 'channels' argument");
	if (n > DROVER_CHANNELS_MAX)
		return drover_err(e, -EINVAL, "Channel list has more than %u entries",
				  DROVER_CHANNELS_MAX);
	for (i = 0; i < n; i++) {
		r = parse_entry(json_object_array_get_idx(array, i), i, l, e);
		if (r < 0)
			return r;
	}
	r = check(l, incoming, e);
	if (r < 0)
		return r;
	*ret = *l;
	l->n = 0;
	return 0;
}

int drover_channel_list_from_uri(const char *uri, struct drover_channel_list *ret,
				 struct drover_error *e)
{
	struct drover_address a;
	int r = drover_address_from_uri(uri, &a, e);

	if (r < 0)
		return r;
	ret->entry[0].type = DROVER_CHANNEL_MAIN;
	ret->entry[0].addr = a;
	ret->n = 1;
	return 0;
}
