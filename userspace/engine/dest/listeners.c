// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The destination's addresses. All but those of migrate-recover are bound before the side's
 * thread starts. Called by listen.c.
 */
#include "engine/dest/listeners.h"

#include <errno.h>
#include <json-c/json.h>

#include "address/address.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"
#include "channel/channel.h"

void listeners_init(struct listeners *s)
{
	pthread_mutex_init(&s->lock, NULL);
}

void listeners_deinit(struct listeners *s)
{
	listeners_close(s);
	pthread_mutex_destroy(&s->lock);
}

static int add(struct listeners *s, struct drover_listener *l, struct drover_error *e)
{
	DROVER_LOCK(&s->lock);

	if (s->n == LISTENERS_MAX)
		return drover_err(e, -E2BIG, "channels: more than %u addresses", LISTENERS_MAX);
	s->l[s->n++] = l;
	return 0;
}

int listeners_add(struct listeners *s, const struct drover_address *a,
		  const struct drover_channel_opts *o, struct drover_error *e)
{
	struct drover_listener *l;
	int r = drover_listener_new(a, o, &l, e);

	if (r < 0)
		return r;
	r = add(s, l, e);
	if (r < 0)
		drover_listener_free(l);
	return r;
}

static bool known(struct listeners *s, const struct drover_address *a)
{
	_cleanup_json_ struct json_object *want = drover_address_to_json(a);
	bool found = false;
	unsigned int i;
	DROVER_LOCK(&s->lock);

	for (i = 0; i < s->n && !found; i++) {
		_cleanup_json_ struct json_object *have =
			drover_address_to_json(drover_listener_address(s->l[i]));

		found = want && have && json_object_equal(want, have);
	}
	return found;
}

int listeners_add_late(struct listeners *s, const struct drover_address *a,
		       const struct drover_channel_opts *o, struct drover_error *e)
{
	struct drover_listener *l;
	int r;

	if (known(s, a))
		return 0;
	r = drover_listener_new(a, o, &l, e);
	if (r < 0)
		return r;
	if (drover_listener_fd(l) < 0)
		r = drover_err(e, -EINVAL, "recover: this transport can't be listened on");
	else if (add(s, l, e) < 0)
		r = drover_err_prefix(e, "recover: ");
	if (r < 0)
		drover_listener_free(l);
	return r;
}

unsigned int listeners_count(struct listeners *s)
{
	DROVER_LOCK(&s->lock);

	return s->n;
}

struct json_object *listeners_addresses(struct listeners *s)
{
	struct json_object *arr = json_object_new_array();
	unsigned int i;
	DROVER_LOCK(&s->lock);

	for (i = 0; arr && i < s->n; i++)
		json_object_array_add(arr,
				      drover_address_to_json(drover_listener_address(s->l[i])));
	return arr;
}

void listeners_close(struct listeners *s)
{
	unsigned int i;
	DROVER_LOCK(&s->lock);

	for (i = 0; i < s->n; i++)
		drover_listener_free(s->l[i]);
	s->n = 0;
}
