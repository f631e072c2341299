// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Transport against config: options say what they need of an address, transports say
 * what they offer, and neither names the other. Pure. Called by `migrate` and
 * `migrate-incoming` before anything about the guest is looked at.
 */
#include "engine/migration.h"

#include <errno.h>

#include "base/cleanup.h"
#include "base/err.h"

/* Which addresses of the list an option makes demands on. */
enum whose { WHOSE_MAIN, WHOSE_DATA };

static bool wants_seek(const struct drover_config *c)
{
	return c->mapped_ram;
}

/* Files are reached any number of times, at offsets of one's own. */
static bool wants_multi(const struct drover_config *c)
{
	return c->multifd && !c->mapped_ram;
}

static bool wants_preempt(const struct drover_config *c)
{
	return c->postcopy_preempt;
}

static bool wants_zero_copy(const struct drover_config *c)
{
	return c->zero_copy_send;
}

static bool wants_answers(const struct drover_config *c)
{
	return c->postcopy_ram || c->switchover_ack;
}

static const struct {
	bool (*when)(const struct drover_config *c);
	enum whose whose;
	unsigned int need;
	const char *message;
} rules[] = {
	{ wants_seek, WHOSE_MAIN, DROVER_TRANSPORT_SEEK,
	  "Migration requires seekable transport (e.g. file)" },
	{ wants_multi, WHOSE_DATA, DROVER_TRANSPORT_MULTI,
	  "Migration requires multi-channel URIs (e.g. tcp)" },
	{ wants_preempt, WHOSE_MAIN, DROVER_TRANSPORT_MULTI,
	  "Migration requires multi-channel URIs (e.g. tcp)" },
	{ wants_zero_copy, WHOSE_DATA, DROVER_TRANSPORT_ZEROCOPY,
	  "Option 'zero-copy-send' requires a transport that can do it (e.g. tcp)" },
	{ wants_answers, WHOSE_MAIN, DROVER_TRANSPORT_TWOWAY,
	  "Options 'postcopy-ram' and 'switchover-ack' require a transport that carries answers (e.g. tcp)" },
};

static bool offered(const struct drover_migration_params *p, enum whose whose, unsigned int need)
{
	unsigned int i;

	if (whose == WHOSE_MAIN)
		return drover_address_offers(drover_channel_list_main(p->channels)) & need;
	for (i = 0; i < p->config->multifd_channels; i++)
		if (!(drover_address_offers(drover_channel_list_data(p->channels, i)) & need))
			return false;
	return true;
}

int drover_migration_check_transport(const struct drover_migration_params *p,
				     struct drover_error *e)
{
	size_t i;

	for (i = 0; i < DROVER_ARRAY_SIZE(rules); i++)
		if (rules[i].when(p->config) && !offered(p, rules[i].whose, rules[i].need))
			return drover_err(e, -EINVAL, "%s", rules[i].message);
	return 0;
}
