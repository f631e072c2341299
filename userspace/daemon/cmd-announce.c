// SPDX-License-Identifier: GPL-2.0-or-later
/* announce-self: an announcement by hand, with QEMU's argument form. */
#include <errno.h>
#include <json-c/json.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"
#include "daemon/daemon.h"

/* The arguments have the options' ranges. */
static const struct {
	const char *name;
	enum drover_option_id option;
	size_t offset;
} numbers[] = {
	{ "initial", DROVER_OPT_announce_initial, offsetof(struct announce_plan, initial) },
	{ "max", DROVER_OPT_announce_max, offsetof(struct announce_plan, max) },
	{ "rounds", DROVER_OPT_announce_rounds, offsetof(struct announce_plan, rounds) },
	{ "step", DROVER_OPT_announce_step, offsetof(struct announce_plan, step) },
};

static int get_plan(const struct qmp_call *call, struct announce_plan *ret, struct drover_error *e)
{
	size_t i;
	int r = 0;

	for (i = 0; r >= 0 && i < DROVER_ARRAY_SIZE(numbers); i++) {
		const struct drover_option *o = &drover_option_table(NULL)[numbers[i].option];

		r = drover_json_to_uint64(qmp_arg_get(call, numbers[i].name), numbers[i].name,
					  o->min, o->max,
					  (uint64_t *)((char *)ret + numbers[i].offset), e);
	}
	return r;
}

/* An empty list is no restriction, as in QEMU. */
static int get_set(const struct qmp_call *call, uint64_t *ret, struct drover_error *e)
{
	struct json_object *list = qmp_arg_get(call, "interfaces");
	size_t i, n = list ? json_object_array_length(list) : 0;
	const struct droverd *d = call->opaque;
	uint64_t set = 0;

	for (i = 0; i < n; i++) {
		struct json_object *v = json_object_array_get_idx(list, i);
		int k;

		if (!json_object_is_type(v, json_type_string))
			return drover_err(e, -EINVAL,
					  "Invalid parameter type for 'interfaces[%zu]', expected: string",
					  i);
		k = announce_find(&d->announcer, json_object_get_string(v));
		if (k < 0)
			return drover_err(e, -ENODEV,
					  "Parameter 'interfaces[%zu]' does not accept value '%s': not given by --announce-if",
					  i, json_object_get_string(v));
		set |= 1ull << k;
	}
	*ret = n ? set : ANNOUNCE_ALL;
	return 0;
}

int cmd_announce_self(struct qmp_call *call, struct drover_error *e)
{
	const char *id = qmp_arg_str(call, "id");
	struct droverd *d = call->opaque;
	struct announce_plan plan;
	uint64_t set = 0;
	int r;

	r = get_plan(call, &plan, e);
	if (r >= 0)
		r = get_set(call, &set, e);
	if (r < 0)
		return r;
	if (!d->announcer.n)
		return drover_err(e, -ENODEV, "announce: droverd was given no interface (--announce-if)");
	if (d->guest->ops->status(d->guest) != DROVER_GUEST_RUNNING)
		return drover_err(e, -EBUSY, "announce: the guest does not run here");
	return announce_start(d, id ? id : "", &plan, set, e);
}
