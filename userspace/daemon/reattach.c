// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A VMM whose link has ended comes back: the same one, which did not answer in time, or one
 * that was started anew. A thread tries its socket, which may take as long as the VMM likes;
 * the main thread takes the new link when no migration uses the old one, and follows what
 * the record says now. Called by daemon.c.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/thread.h"
#include "daemon/daemon.h"
#include "daemon/sigbus.h"
#include "guest/guest.h"

#define TRY_MS 500u
#define LOOK_MS 100u

static void *try_main(void *arg)
{
	struct reattach *a = arg;
	const struct timespec tick = { .tv_nsec = TRY_MS / 10 * 1000000l };
	struct drover_error e = DROVER_ERROR_INIT;
	unsigned int i;

	drover_thread_name("reattach", -1);
	while (!atomic_load(&a->stop)) {
		drover_err_clear(&e);
		if (drover_guest_open(a->link, a->log, &a->fresh, &e) >= 0)
			break;
		for (i = 0; i < 10 && !atomic_load(&a->stop); i++)
			nanosleep(&tick, NULL);
	}
	atomic_store(&a->done, true);
	return NULL;
}

void reattach_begin(struct droverd *d)
{
	struct reattach *a = &d->reattach;

	a->link = d->opts.guest;
	a->log = &d->log;
	atomic_store(&a->stop, false);
	atomic_store(&a->done, false);
	a->runs = !pthread_create(&a->thread, NULL, try_main, a);
	if (a->runs)
		loop_timer_arm(&d->reattach_look, LOOK_MS);
}

void reattach_end(struct droverd *d)
{
	struct reattach *a = &d->reattach;

	if (!a->runs)
		return;
	atomic_store(&a->stop, true);
	pthread_join(a->thread, NULL);
	a->runs = false;
	a->fresh = drover_guest_free(a->fresh);
}

void reattach_look(void *opaque)
{
	struct droverd *d = opaque;
	struct reattach *a = &d->reattach;
	struct drover_guest *fresh;

	if (!a->runs)
		return;
	/* A postcopy serves on from the memory that is mapped here. */
	if (!atomic_load(&a->done) || job_running(d->job)) {
		loop_timer_arm(&d->reattach_look, LOOK_MS);
		return;
	}
	pthread_join(a->thread, NULL);
	a->runs = false;
	fresh = a->fresh;
	a->fresh = NULL;
	if (!fresh)
		return;
	will_end(d);
	sigbus_release();
	job_leave_guest(d);
	d->guest = fresh;
	sigbus_guard(fresh->ops->ram(fresh));
	drover_logf(&d->log, DROVER_LOG_WARNING, "guest: its VMM is attached again");
	droverd_watch_guest(d);
	owner_attach(d);
}
