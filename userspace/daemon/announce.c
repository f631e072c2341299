// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Announcements: rounds of frames on the interfaces of the command line, so that the
 * network learns where the guest is now. The first round goes out at once, the others by
 * timers of the main loop. They stop when the guest runs here no more.
 */
#include "daemon/announce.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "daemon/announce-if.h"
#include "daemon/daemon.h"

/**
 * struct announcement - one under way
 * @id: NULL: the migration's own
 * @set: of interfaces
 * @sent: rounds
 */
struct announcement {
	struct announcement *next;
	struct droverd *d;
	char *id;
	struct announce_plan plan;
	uint64_t set, sent;
	struct announce_tally tally;
	struct loop_timer timer;
};

uint32_t announce_delay_ms(const struct announce_plan *p, uint64_t sent)
{
	uint64_t ms = p->initial + (sent - 1) * p->step;

	return (uint32_t)(ms < p->max ? ms : p->max);
}

int announce_find(const struct announcer *a, const char *name)
{
	unsigned int i;

	for (i = 0; i < a->n; i++)
		if (strcmp(a->iface[i].name, name) == 0)
			return (int)i;
	return -1;
}

static int open_if(struct announcer *a, const char *text, struct drover_error *e)
{
	struct announce_if *one = &a->iface[a->n];
	struct netif now;
	int r;

	r = announce_if_parse(text, one, e);
	if (r < 0)
		return r;
	if (announce_find(a, one->name) >= 0)
		return drover_err(e, -EEXIST, "interface %s: given twice", one->name);
	r = netifs_find(&a->ifs, one->name, &now, e);
	if (r >= 0)
		a->n++;
	return r;
}

int announce_open(struct droverd *d, struct drover_error *e)
{
	struct announcer *a = &d->announcer;
	unsigned int i, n = d->opts.nannounce_if;
	int r;

	if (!n)
		return 0;
	a->iface = calloc(n, sizeof(*a->iface));
	if (!a->iface)
		return drover_err(e, -ENOMEM, "--announce-if: out of memory");
	r = netifs_open(&a->ifs, &d->loop, &d->log, e);
	for (i = 0; r >= 0 && i < n; i++)
		r = open_if(a, d->opts.announce_if[i], e);
	if (r < 0)
		return drover_err_prefix(e, "--announce-if: "), r;
	/* Protocol 0: it receives nothing. */
	a->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (a->fd < 0)
		return drover_err(e, -errno, "--announce-if: packet socket: %s (needs CAP_NET_RAW)",
				  drover_strerror(errno));
	return 0;
}

static void unlink_free(struct announcement *x)
{
	struct announcement **at = &x->d->announcer.list;

	while (*at != x)
		at = &(*at)->next;
	*at = x->next;
	loop_timer_deinit(&x->timer);
	free(x->id);
	free(x);
}

void announce_close(struct droverd *d)
{
	struct announcer *a = &d->announcer;

	while (a->list)
		unlink_free(a->list);
	netifs_close(&a->ifs);
	drover_closep(&a->fd);
	free(a->iface);
	a->iface = NULL;
	a->n = 0;
}

static void tell(const struct announcement *x, const char *why)
{
	struct json_object *o = json_object_new_object();

	if (x->id)
		json_object_object_add(o, "id", json_object_new_string(x->id));
	json_object_object_add(o, "rounds", json_object_new_uint64(x->sent));
	json_object_object_add(o, "frames", json_object_new_uint64(x->tally.frames));
	json_object_object_add(o, "failed", json_object_new_uint64(x->tally.failed));
	if (why)
		json_object_object_add(o, "error", json_object_new_string(why));
	qmp_server_event(&x->d->server, "DROVER_ANNOUNCE", o, drover_realtime_us());
	json_object_put(o);
}

/* @why: what ended it early, or NULL */
static void end(struct announcement *x, const char *why)
{
	if (!why && x->tally.failed)
		why = x->tally.error.msg;
	if (why)
		drover_logf(&x->d->log, x->tally.failed ? DROVER_LOG_WARNING : DROVER_LOG_INFO,
			    "announce: %s (%" PRIu64 " frames sent, %" PRIu64 " failed)", why,
			    x->tally.frames, x->tally.failed);
	tell(x, why);
	unlink_free(x);
}

static void one_round(void *opaque)
{
	struct announcement *x = opaque;
	struct droverd *d = x->d;
	const struct announcer *a = &d->announcer;
	uint32_t ms;
	unsigned int i;

	if (d->guest->ops->status(d->guest) != DROVER_GUEST_RUNNING) {
		end(x, "the guest does not run here");
		return;
	}
	for (i = 0; i < a->n; i++)
		if (x->set >> i & 1)
			announce_if_send(&a->iface[i], &a->ifs, a->fd, &x->tally);
	if (++x->sent == x->plan.rounds) {
		end(x, NULL);
		return;
	}
	ms = announce_delay_ms(&x->plan, x->sent);
	/* 0 would disarm it. */
	loop_timer_arm(&x->timer, ms ? ms : 1);
}

static struct announcement *find(const struct announcer *a, const char *id)
{
	struct announcement *x = a->list;

	while (x && (id && x->id ? strcmp(x->id, id) != 0 : x->id != id))
		x = x->next;
	return x;
}

static int add(struct droverd *d, const char *id, struct announcement **ret,
	       struct drover_error *e)
{
	struct announcer *a = &d->announcer;
	struct announcement *x;
	unsigned int n = 0;
	int r;

	for (x = a->list; x; x = x->next)
		n += !!x->id;
	if (id && n == ANNOUNCE_IDS_MAX)
		return drover_err(e, -EBUSY, "announce: %u announcements are under way already", n);
	x = calloc(1, sizeof(*x));
	if (!x)
		return drover_err(e, -ENOMEM, "announce: out of memory");
	x->d = d;
	x->next = a->list;
	a->list = x;
	x->id = id ? strdup(id) : NULL;
	r = id && !x->id ? drover_err(e, -ENOMEM, "announce: out of memory") :
			   loop_timer_init(&d->loop, &x->timer, one_round, x, e);
	if (r < 0)
		unlink_free(x);
	else
		*ret = x;
	return r;
}

int announce_start(struct droverd *d, const char *id, const struct announce_plan *p, uint64_t set,
		   struct drover_error *e)
{
	struct announcement *x = find(&d->announcer, id);
	int r;

	if (x)
		end(x, "it was ended by another with its id");
	if (!p->rounds)
		return 0;
	r = add(d, id, &x, e);
	if (r < 0)
		return r;
	x->plan = *p;
	x->set = set;
	one_round(x);
	return 0;
}

void announce_arrived(struct droverd *d)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct announce_plan plan;
	struct drover_config c;
	int r;

	if (!d->announcer.n)
		return;
	r = drover_migration_config(d->job->m, &c);
	if (r < 0) {
		drover_err(&e, r, "announce: config: %s", drover_strerror(r));
	} else {
		plan = (struct announce_plan) {
			.initial = c.announce_initial,
			.max = c.announce_max,
			.rounds = c.announce_rounds,
			.step = c.announce_step,
		};
		drover_config_deinit(&c);
		r = announce_start(d, NULL, &plan, ANNOUNCE_ALL, &e);
	}
	if (r < 0)
		drover_logf(&d->log, DROVER_LOG_WARNING, "%s", e.msg);
}

void announce_left(struct droverd *d)
{
	while (d->announcer.list)
		end(d->announcer.list, "the guest does not run here");
}
