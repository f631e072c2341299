// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The guest's own verdict after a move, as an event: once a move, when it is final. A
 * guest that says on its link when that is (watch_fd) is asked then; one without such
 * a descriptor is asked now and then while its check runs.
 */
#include <string.h>

#include "base/json.h"
#include "daemon/daemon.h"

#define POLL_MS 100

static bool still_running(struct json_object *verdict)
{
	struct json_object *v = NULL;

	return json_object_object_get_ex(verdict, "verdict", &v) &&
	       json_object_is_type(v, json_type_string) &&
	       strcmp(json_object_get_string(v), "running") == 0;
}

void guest_check_begin(struct droverd *d)
{
	if (!d->guest->ops->check)
		return;
	d->checking = true;
	loop_timer_arm(&d->check_poll, POLL_MS);
}

void guest_check_end(struct droverd *d)
{
	d->checking = false;
	loop_timer_arm(&d->check_poll, 0);
}

void guest_check_look(void *opaque)
{
	struct droverd *d = opaque;
	struct drover_event ev = { .type = DROVER_EVENT_CHECK };
	struct json_object *verdict;
	bool running;

	if (!d->checking)
		return;
	verdict = d->guest->ops->check(d->guest);
	/* No verdict and no descriptor: there is nothing to wait for. */
	if (!verdict)
		return;
	running = still_running(verdict);
	json_object_put(verdict);
	if (running) {
		loop_timer_arm(&d->check_poll, POLL_MS);
		return;
	}
	guest_check_end(d);
	event_queue_push(&d->events, &ev, 0, false);
}
