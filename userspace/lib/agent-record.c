// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The ownership record's rules, as the VMM enforces them whatever a droverd asks:
 * a guest runs only where its record is owned, a record becomes owned only where the
 * guest is complete, and what may be the only image is never emptied. Pure: no I/O.
 */
#include "lib/internal.h"

#include <errno.h>
#include <string.h>

#define TO(state) (1u << DROVER_OWNER_##state)

/*
 * Which state may follow which. released and fenced are final for a session: the
 * other side may run, and only PREPARE (which empties this one) leads on. From serving,
 * where the other side runs on what this one still has, not even that does.
 */
static const unsigned int next[] = {
	[DROVER_OWNER_OWNED] = TO(OWNED) | TO(IN_DOUBT) | TO(RELEASED),
	[DROVER_OWNER_INCOMING] = TO(INCOMING) | TO(OWNED) | TO(FENCED),
	[DROVER_OWNER_IN_DOUBT] = TO(IN_DOUBT) | TO(OWNED) | TO(RELEASED) | TO(SERVING),
	[DROVER_OWNER_RELEASED] = TO(RELEASED),
	[DROVER_OWNER_FENCED] = TO(FENCED) | TO(INCOMING),
	[DROVER_OWNER_SERVING] = TO(SERVING) | TO(RELEASED),
};

static bool same_token(const struct drover_owner_record *a, const struct drover_owner_record *b)
{
	return !memcmp(a->token, b->token, sizeof(a->token));
}

static bool waits(const struct drover_agent *a)
{
	return a->record.state == DROVER_OWNER_INCOMING || a->record.state == DROVER_OWNER_FENCED;
}

enum drover_run_state agent_run_state(const struct drover_agent *a)
{
	if (a->running)
		return DROVER_GUEST_RUNNING;
	return waits(a) ? DROVER_GUEST_INCOMING : DROVER_GUEST_PAUSED;
}

int agent_record_set(struct drover_agent *a, const struct drover_owner_record *rec,
		     struct drover_error *e)
{
	const struct drover_owner_record *old = &a->record;
	bool again = rec->state == DROVER_OWNER_INCOMING && !same_token(rec, old);

	if (a->running && rec->state != DROVER_OWNER_OWNED)
		return drover_err(e, -EBUSY, "the guest runs; its record can't become %s",
				  drover_owner_name(rec->state));
	if (!(next[old->state] & 1u << rec->state))
		return drover_err(e, -EPERM, "the record is %s and can't become %s",
				  drover_owner_name(old->state), drover_owner_name(rec->state));
	if (old->state == DROVER_OWNER_FENCED && rec->state == DROVER_OWNER_INCOMING && !again)
		return drover_err(e, -EPERM, "this session was fenced");
	if (rec->state == DROVER_OWNER_OWNED && !a->state_ok)
		return drover_err(e, -EINVAL, "no device state has been loaded: there is no guest "
				  "to own");
	/* What an earlier session loaded is not this one's guest. */
	if (again)
		a->state_ok = false;
	a->record = *rec;
	return 0;
}

int agent_record_prepare(const struct drover_agent *a, struct drover_error *e)
{
	if (a->running)
		return drover_err(e, -EBUSY, "the guest runs here");
	if (waits(a) || a->record.state == DROVER_OWNER_RELEASED)
		return 0;
	if (a->record.state == DROVER_OWNER_SERVING)
		return drover_err(e, -EBUSY, "the record is serving: the guest runs elsewhere and needs this RAM until its postcopy is over");
	return drover_err(e, -EBUSY, "the record is %s: this may be the only image of the guest",
			  drover_owner_name(a->record.state));
}

bool agent_record_resumes(const struct drover_agent *a)
{
	return !a->running && a->link_paused && a->state_ok && !a->bye &&
	       a->record.state == DROVER_OWNER_OWNED;
}
