// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * stop and cont: the user's will. What the ownership record refuses is refused at once, in
 * the table's words; the rest is asked of the VMM by a thread, since the main thread waits
 * for no VMM, and an event tells when it is done.
 */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/thread.h"
#include "daemon/daemon.h"
#include "owner/advice.h"

static void *will_main(void *arg)
{
	struct will *w = arg;
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_event ev = { .type = w->ev == OWNER_EV_STOP ? DROVER_EVENT_STOP :
					   DROVER_EVENT_RESUME };
	struct owner_record rec = { .running = false };
	int r;

	drover_thread_name("will", -1);
	r = w->guest->ops->request(w->guest, w->ev, NULL, NULL, NULL, &e);
	w->guest->ops->owner_known(w->guest, &rec);
	if (r < 0 || e.code)
		drover_logf(w->log, DROVER_LOG_ERR, "%s: %s", owner_event_name(w->ev), e.msg);
	/* In the final pause it is noted, and nothing has happened yet. */
	else if (owner_may_run(&rec) && rec.running == (w->ev == OWNER_EV_CONT))
		event_queue_push(w->events, &ev, 0, false);
	atomic_store(&w->done, true);
	return NULL;
}

void will_end(struct droverd *d)
{
	if (!d->will.runs)
		return;
	pthread_join(d->will.thread, NULL);
	d->will.runs = false;
}

/* Would the table refuse it? Then in its words, and what to do. */
static int check(const struct droverd *d, enum owner_event ev, struct drover_error *e)
{
	const struct owner_advice *a;
	struct owner_record rec;
	unsigned int actions;
	int r;

	if (d->guest->ops->status(d->guest) == DROVER_GUEST_GONE)
		return drover_err(e, -ENOTCONN, "guest: its VMM is gone");
	if (d->guest->ops->owner_known(d->guest, &rec) < 0)
		return drover_err(e, -EAGAIN, "guest: its VMM has not answered the last request about its record");
	a = owner_advice(rec.state, OWNER_SIGN_COMMAND);
	r = owner_step(&rec, ev, NULL, drover_boot_ns(), &rec, &actions, NULL, NULL);
	return r < 0 ? drover_err(e, r, "guest: its record is %s: %s: %s", owner_state_name(rec.state),
				  a ? a->then : "it is not to be had now",
				  a ? a->typed : owner_state_lead(rec.state)) : 0;
}

static int ask(struct droverd *d, enum owner_event ev, struct drover_error *e)
{
	struct will *w = &d->will;
	int r = check(d, ev, e);

	if (r < 0)
		return r;
	if (w->runs && !atomic_load(&w->done))
		return drover_err(e, -EBUSY, "guest: its VMM has not answered the last stop or cont");
	will_end(d);
	w->guest = d->guest;
	w->log = &d->log;
	w->events = &d->events;
	w->ev = ev;
	atomic_store(&w->done, false);
	r = pthread_create(&w->thread, NULL, will_main, w);
	w->runs = !r;
	return r ? drover_err(e, -r, "guest: thread: %s", drover_strerror(r)) : 0;
}

int cmd_stop(struct qmp_call *call, struct drover_error *e)
{
	return ask(call->opaque, OWNER_EV_STOP, e);
}

int cmd_cont(struct qmp_call *call, struct drover_error *e)
{
	return ask(call->opaque, OWNER_EV_CONT, e);
}
