// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What the operator orders while a migration runs: cancel, continue, settle, postcopy, pause,
 * resume. The daemon's thread leaves an order and returns at once; the migration's threads look
 * for it, or wait for it. All orders but the two atomic ones are under the migration's lock,
 * and its condition is signalled when one comes or the bell rings.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/thread.h"
#include "channel/channel.h"
#include "engine/internal.h"

bool drover_commit_point(struct drover_migration *m)
{
	DROVER_LOCK(&m->lock);

	if (drover_cancelled(&m->cancel))
		return false;
	m->orders.committing = true;
	return true;
}

int drover_migration_cancel(struct drover_migration *m, struct drover_error *e)
{
	DROVER_LOCK(&m->lock);

	if (!drover_state_running(drover_state_get(m)))
		return 0;
	if (m->orders.committing)
		return drover_err(e, -EBUSY, "migration: the guest has been handed over: COMMIT was sent, too late to cancel");
	m->orders.user_cancel = true;
	drover_cancel_ring(&m->cancel);
	pthread_cond_broadcast(&m->cond);
	return 0;
}

void drover_migration_guest_gone(struct drover_migration *m)
{
	struct drover_error e = DROVER_ERROR_INIT;

	drover_err(&e, -ENOTCONN, "guest: its VMM is gone, or does not answer; its record decides");
	pthread_mutex_lock(&m->lock);
	if (!drover_state_running(drover_state_get(m)) || m->orders.committing ||
	    atomic_load(&m->facts.in_doubt)) {
		pthread_mutex_unlock(&m->lock);
		return;
	}
	drover_cancel_ring(&m->cancel);
	pthread_cond_broadcast(&m->cond);
	pthread_mutex_unlock(&m->lock);
	drover_fail(m, &e);
}

int drover_migration_continue(struct drover_migration *m, enum drover_state state,
			      struct drover_error *e)
{
	DROVER_LOCK(&m->lock);

	if (drover_state_get(m) != state)
		return drover_err(e, -EINVAL, "Migration not in expected state: %s",
				  drover_state_name(drover_state_get(m)));
	m->orders.go_on = true;
	pthread_cond_broadcast(&m->cond);
	return 0;
}

int drover_migration_settle(struct drover_migration *m, bool own, struct drover_error *e)
{
	DROVER_LOCK(&m->lock);

	if (!atomic_load(&m->facts.in_doubt)) {
		if (m->side != DROVER_SIDE_SOURCE ||
		    drover_state_get(m) != DROVER_STATE_POSTCOPY_PAUSED || atomic_load(&m->facts.ended))
			return drover_err(e, -EINVAL, "settle: nothing is in doubt here");
		if (own)
			return drover_err(e, -EPERM, "settle: the guest has run at its destination since; what is here is of the past");
	}
	m->orders.word = own ? SETTLE_OWN : SETTLE_RELEASE;
	pthread_cond_broadcast(&m->cond);
	return 0;
}

int drover_migration_start_postcopy(struct drover_migration *m, struct drover_error *e)
{
	enum drover_state st = drover_state_get(m);
	DROVER_LOCK(&m->lock);

	if (m->side != DROVER_SIDE_SOURCE || !m->config->postcopy_ram)
		return drover_err(e, -EINVAL,
				  "Enable postcopy with migrate_set_capability before the start of migration");
	if (st != DROVER_STATE_SETUP && st != DROVER_STATE_ACTIVE)
		return drover_err(e, -EINVAL, "Must be in state active to start postcopy: it is %s",
				  drover_state_name(st));
	atomic_store(&m->orders.postcopy_asked, true);
	return 0;
}

int drover_migration_pause(struct drover_migration *m, struct drover_error *e)
{
	enum drover_state st = drover_state_get(m);

	if (st != DROVER_STATE_POSTCOPY_ACTIVE && st != DROVER_STATE_POSTCOPY_RECOVER)
		return drover_err(e, -EINVAL,
				  "migrate-pause is currently only supported during postcopy-active or postcopy-recover state");
	atomic_store(&m->orders.pause_asked, true);
	return 0;
}

int drover_migration_resume(struct drover_migration *m, const struct drover_channel_list *channels,
			    struct drover_error *e)
{
	struct drover_channel_list *copy;
	int r;

	if (m->side != DROVER_SIDE_SOURCE || atomic_load(&m->facts.in_doubt) ||
	    drover_state_get(m) != DROVER_STATE_POSTCOPY_PAUSED)
		return drover_err(e, -EINVAL, "Cannot resume if there is no paused migration");
	if (!(drover_address_offers(drover_channel_list_main(channels)) &
	      DROVER_TRANSPORT_RECONNECT))
		return drover_err(e, -EINVAL, "resume: this transport can't be connected again");
	copy = calloc(1, sizeof(*copy));
	r = copy ? drover_channel_list_copy(channels, copy) : -ENOMEM;
	if (r < 0) {
		free(copy);
		return drover_err(e, r, "resume: channels: %s", drover_strerror(r));
	}
	pthread_mutex_lock(&m->lock);
	drover_channel_list_free(m->orders.next_channels);
	m->orders.next_channels = copy;
	pthread_cond_broadcast(&m->cond);
	pthread_mutex_unlock(&m->lock);
	return 0;
}

bool drover_order_cancelled(struct drover_migration *m)
{
	DROVER_LOCK(&m->lock);

	return m->orders.user_cancel;
}

bool drover_order_continue(struct drover_migration *m, uint32_t wait_ms)
{
	DROVER_LOCK(&m->lock);

	if (!m->orders.go_on && !drover_cancelled(&m->cancel))
		drover_cond_wait_ms(&m->cond, &m->lock, wait_ms);
	return m->orders.go_on;
}

enum settle_word drover_order_word(struct drover_migration *m, uint32_t wait_ms)
{
	DROVER_LOCK(&m->lock);

	if (m->orders.word == SETTLE_NONE && !drover_cancelled(&m->cancel))
		drover_cond_wait_ms(&m->cond, &m->lock, wait_ms);
	return m->orders.word;
}

void drover_order_word_done(struct drover_migration *m)
{
	DROVER_LOCK(&m->lock);

	m->orders.word = SETTLE_NONE;
}

int drover_order_resume(struct drover_migration *m)
{
	DROVER_LOCK(&m->lock);

	while (!m->orders.next_channels && m->orders.word != SETTLE_RELEASE &&
	       !drover_cancelled(&m->cancel))
		pthread_cond_wait(&m->cond, &m->lock);
	if (drover_cancelled(&m->cancel))
		return -ECANCELED;
	if (m->orders.word == SETTLE_RELEASE)
		return 1;
	drover_channel_list_free(m->channels);
	m->channels = TAKE_PTR(m->orders.next_channels);
	return 0;
}

bool drover_order_discard(const struct drover_migration *m)
{
	return m->orders.discard;
}

bool drover_order_pause(struct drover_migration *m)
{
	return atomic_exchange(&m->orders.pause_asked, false);
}
