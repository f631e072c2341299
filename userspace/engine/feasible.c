// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Can this migration be tried? Transport against config first (with QEMU's words where it
 * has the rule), then feasibility. No side effects.
 */
#include "engine/feasible.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "dev/kmod.h"
#include "engine/internal.h"
#include "fault/fault.h"

static bool kmod_here(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	int fd;

	if (drover_kdev_open(&fd, &e) < 0)
		return false;
	close(fd);
	return true;
}

static bool handler_here(const struct drover_fault_source *src, const char *name)
{
	struct drover_error e = DROVER_ERROR_INIT;
	char report[DROVER_FAULT_REPORT_MAX];

	return drover_fault_select(src, name, report, &e);
}

/* The source of a postcopy only sends what is asked for; faults happen at the destination. */
static void have_postcopy(struct drover_guest *g, bool source, struct drover_have *ret)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_fault_source src = { .adopt = false };

	if (!g->ops->fault_source)
		return;
	if (source) {
		ret->postcopy = true;
	} else if (g->ops->fault_source(g, &src, &e) >= 0) {
		ret->fault_kmod = handler_here(&src, "kmod");
		ret->fault_userfaultfd = handler_here(&src, "userfaultfd");
		ret->postcopy = ret->fault_kmod || ret->fault_userfaultfd;
	}
	ret->release_ram = ret->postcopy;
}

void drover_engine_have(struct drover_guest *g, bool source, struct drover_have *ret)
{
	memset(ret, 0, sizeof(*ret));
	have_postcopy(g, source, ret);
	ret->throttle = g->ops->traits(g)->can_throttle;
	ret->affinity = true;
	ret->kmod = kmod_here();
}

struct transport_rule {
	bool (*applies)(const struct drover_config *c);
	unsigned int needs;
	const char *text;
};

static bool uses_many(const struct drover_config *c)
{
	return c->multifd || c->postcopy_preempt;
}

static bool uses_seek(const struct drover_config *c)
{
	return c->mapped_ram;
}

static bool uses_zero_copy(const struct drover_config *c)
{
	return c->zero_copy_send;
}

static bool uses_answers(const struct drover_config *c)
{
	return c->switchover_ack || c->postcopy_ram;
}

static const struct transport_rule transport_rules[] = {
	{ uses_seek, DROVER_TRANSPORT_SEEK,
	  "Migration requires seekable transport (e.g. file): mapped-ram is set" },
	{ uses_many, DROVER_TRANSPORT_MULTI,
	  "Migration requires multi-channel URIs (e.g. tcp): multifd or postcopy-preempt is set" },
	{ uses_zero_copy, DROVER_TRANSPORT_ZEROCOPY,
	  "zero-copy-send: this transport cannot send without copying" },
	{ uses_answers, DROVER_TRANSPORT_TWOWAY,
	  "switchover-ack and postcopy-ram need a transport whose reader can answer" },
};

static int check_address(const struct drover_address *a, const struct drover_config *c,
			 struct drover_error *e)
{
	unsigned int offers = drover_address_offers(a);
	size_t i;

	if (a->transport == DROVER_TRANSPORT_RDMA)
		return drover_err(e, -EOPNOTSUPP, "rdma: not built in");
	for (i = 0; i < sizeof(transport_rules) / sizeof(transport_rules[0]); i++)
		if (transport_rules[i].applies(c) && !(offers & transport_rules[i].needs))
			return drover_err(e, -EINVAL, "%s", transport_rules[i].text);
	return 0;
}

int drover_migration_check_transport(const struct drover_migration_params *p,
				     struct drover_error *e)
{
	unsigned int i;
	int r;

	for (i = 0; i < p->channels->n; i++) {
		r = check_address(&p->channels->entry[i].addr, p->config, e);
		if (r < 0)
			return r;
		/* The destination may be told by the source that it will need it. */
		if (p->channels->entry[i].type == DROVER_CHANNEL_POSTCOPY &&
		    p->side == DROVER_SIDE_SOURCE && !p->config->postcopy_preempt)
			return drover_err(e, -EINVAL, "channel postcopy: postcopy-preempt is off");
	}
	return 0;
}

/* Memory that both sides hold must not be emptied or written into while the source runs. */
static int check_shared(const struct drover_migration_params *p, struct drover_error *e)
{
	const struct drover_ram *ram = p->guest->ops->ram(p->guest);
	const char *shared = NULL;
	unsigned int i;

	for (i = 0; i < ram->n && !shared; i++)
		if (ram->block[i].flags & DROVER_RAM_SHARED_DEST)
			shared = ram->block[i].name;
	if (p->config->x_ignore_shared && !shared)
		return drover_err(e, -EOPNOTSUPP,
				  "x-ignore-shared: no RAM block of this guest is shared");
	if (!p->config->x_ignore_shared && shared && p->side == DROVER_SIDE_DEST)
		return drover_err(e, -EOPNOTSUPP,
				  "x-ignore-shared is off, but RAM block %s may be the source's too",
				  shared);
	return 0;
}

int drover_migration_check(const struct drover_migration_params *p, struct drover_error *e)
{
	struct drover_have have;
	int r = drover_migration_check_transport(p, e);

	if (r < 0)
		return r;
	r = check_shared(p, e);
	if (r < 0)
		return r;
	drover_engine_have(p->guest, p->side == DROVER_SIDE_SOURCE, &have);
	have.announce = p->announce;
	return drover_config_feasible(p->config, &have, p->side == DROVER_SIDE_SOURCE, e);
}

int drover_migration_check_runtime(const struct drover_migration *m, const struct drover_config *cfg,
				   struct drover_error *e)
{
	struct drover_have have;

	/* Probing for the rest could disturb what is under way. */
	memset(&have, true, sizeof(have));
	have.announce = m->announce;
	have.throttle = m->guest->ops->traits(m->guest)->can_throttle;
	return drover_config_feasible(cfg, &have, m->side == DROVER_SIDE_SOURCE, e);
}
