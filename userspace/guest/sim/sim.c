// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A simulated guest inside this process, to try migrations without a hypervisor: memory
 * of known content, writers, a device state that proves that no page was lost. It keeps
 * its ownership record in memory only, so it dies with droverd and nothing can be in
 * doubt about it. Opened by guest/guest.c; driven by the engine.
 *
 * @status changes under no lock: one thread at a time calls what changes it, any thread
 * reads it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "dev/uffd.h"
#include "guest/sim/sim.h"

static struct drover_sim *sim(struct drover_guest *g)
{
	return (struct drover_sim *)g;
}

static const struct drover_ram *sim_ram(struct drover_guest *g)
{
	return &sim(g)->ram;
}

static const struct drover_guest_traits *sim_traits(struct drover_guest *g)
{
	return &sim(g)->traits;
}

static int sim_track_source(struct drover_guest *g, struct drover_track_source *ret,
			    struct drover_error *e)
{
	struct drover_sim *s = sim(g);

	(void)e;
	*ret = (struct drover_track_source){
		.ram = &s->ram,
		.uffd = s->uffd,
		.pagemap_fd = s->pagemap_fd,
		.pid = getpid(),
	};
	ret->block[0].base = (uint64_t)(uintptr_t)s->vmm;
	return 0;
}

static enum drover_run_state sim_status(struct drover_guest *g)
{
	return (enum drover_run_state)atomic_load(&sim(g)->status);
}

static void set_record(struct drover_sim *s, const struct owner_record *rec)
{
	enum drover_run_state st = rec->running ? DROVER_GUEST_RUNNING : DROVER_GUEST_PAUSED;
	DROVER_LOCK(&s->lock);

	s->record = *rec;
	if (!rec->running && (rec->state == OWNER_INCOMING || rec->state == OWNER_FENCED))
		st = DROVER_GUEST_INCOMING;
	atomic_store(&s->status, st);
}

static int sim_owner_known(struct drover_guest *g, struct owner_record *ret)
{
	struct drover_sim *s = sim(g);
	DROVER_LOCK(&s->lock);

	*ret = s->record;
	return 0;
}

static int load_state(struct drover_sim *s, int fd, struct drover_error *e)
{
	int r = sim_state_load(s, fd, e);

	return r < 0 ? r : sim_check_arm(s, e);
}

/* No guest is here any more. RAM in a file may be another guest's, too. */
static int empty(struct drover_sim *s, struct drover_error *e)
{
	int r;

	sim_fault_forget(s);
	sim_check_reset(s);
	s->sum = 0;
	s->writes = 0;
	r = s->ram.block[0].flags & DROVER_RAM_SHARED_DEST ? 0 : sim_ram_empty(s, e);
	s->emptied = r >= 0;
	return r;
}

static void start(struct drover_sim *s, struct owner_record *rec, struct drover_error *e)
{
	unsigned int none;

	if (sim_run_start(s, e) >= 0)
		return;
	owner_step(rec, OWNER_EV_HALTED, NULL, drover_boot_ns(), rec, &none, NULL, NULL);
	set_record(s, rec);
}

/* What libdrover does for a VMM (lib/agent-record.c). @fd: of LOAD and LEDGER */
static int step(struct drover_sim *s, enum owner_event ev, const struct owner_args *args, int fd,
		enum owner_reply *reply, struct drover_error *e)
{
	struct owner_record old = s->record, next;
	unsigned int actions;
	int r;

	r = owner_step(&old, ev, args, drover_boot_ns(), &next, &actions, reply, e);
	if (r < 0)
		return drover_err_prefix(e, "guest sim: "), r;
	if (actions & OWNER_ACT_STOP)
		sim_run_stop(s);
	if (actions & OWNER_ACT_LOAD)
		r = load_state(s, fd, e);
	if (r >= 0 && ev == OWNER_EV_LEDGER)
		r = sim_ledger_take(s, fd, e);
	if (r < 0)
		return r;
	set_record(s, &next);
	if (ev == OWNER_EV_OWN && old.state != OWNER_OWNED &&
	    !owner_in_time(&next, drover_boot_ns())) {
		set_record(s, &old);
		return drover_err(e, -ETIME, "guest sim: OWN: COMMIT came too late");
	}
	if (ev == OWNER_EV_COMPLETE)
		s->ledger = drover_ledger_free(s->ledger);
	if (actions & OWNER_ACT_EMPTY && !(ev == OWNER_EV_INCOMING && s->emptied))
		r = empty(s, e);
	if (ev == OWNER_EV_INCOMING)
		s->emptied = false;
	if (actions & OWNER_ACT_START)
		start(s, &next, e);
	return r;
}

/*
 * A guest that was made here is ours to throw away, as if its VMM were started anew to wait
 * for a migration. What became of earlier sessions stays: their sources may ask.
 */
static void throw_away(struct drover_sim *s)
{
	struct owner_record rec = s->record;

	if (rec.state != OWNER_OWNED || rec.missing)
		return;
	sim_run_stop(s);
	rec.state = OWNER_INCOMING;
	rec.will = rec.running = rec.proved = false;
	memset(&rec.token, 0, sizeof(rec.token));
	memset(&rec.loaded, 0, sizeof(rec.loaded));
	set_record(s, &rec);
}

static int sim_request(struct drover_guest *g, enum owner_event ev,
		       const struct owner_args *args, const struct drover_cancel *c,
		       enum owner_reply *reply, struct drover_error *e)
{
	struct drover_sim *s = sim(g);
	DROVER_LOCK(&s->step);

	(void)c;                /* a writer ends after the page it is writing */
	if (ev == OWNER_EV_PREPARE || ev == OWNER_EV_DISCARD)
		throw_away(s);
	return step(s, ev, args, -1, reply, e);
}

static int sim_save(struct drover_guest *g, int *ret_fd, struct drover_error *e)
{
	int r;
	DROVER_LOCK(&sim(g)->step);

	r = step(sim(g), OWNER_EV_SAVE, NULL, -1, NULL, e);
	return r < 0 ? r : sim_state_save(sim(g), ret_fd, e);
}

static int sim_load(struct drover_guest *g, const struct owner_token *t, int state_fd,
		    struct drover_error *e)
{
	DROVER_LOCK(&sim(g)->step);

	return step(sim(g), OWNER_EV_LOAD, &(struct owner_args){ .token = *t }, state_fd, NULL, e);
}

static int sim_ledger_put(struct drover_guest *g, const struct owner_token *t, int fd,
			  struct drover_error *e)
{
	DROVER_LOCK(&sim(g)->step);

	return step(sim(g), OWNER_EV_LEDGER, &(struct owner_args){ .token = *t }, fd, NULL, e);
}

static int sim_throttle(struct drover_guest *g, unsigned int percent, struct drover_error *e)
{
	if (percent > 99)
		return drover_err(e, -EINVAL, "guest sim: throttle: %u percent", percent);
	atomic_store(&sim(g)->throttle, percent);
	return 0;
}

static void sim_resumed(struct drover_guest *g)
{
	sim_check_start(sim(g));
}

static struct json_object *sim_check(struct drover_guest *g)
{
	return sim_check_json(sim(g));
}

static void sim_free(struct drover_guest *g)
{
	struct drover_sim *s = sim(g);
	unsigned int i;

	sim_fault_forget(s);
	sim_run_stop(s);
	sim_check_reset(s);
	sim_ram_close(s);
	for (i = 0; i < SIM_STRIPES; i++)
		pthread_mutex_destroy(&s->stripe[i]);
	pthread_mutex_destroy(&s->check.lock);
	pthread_mutex_destroy(&s->step);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->cond);
	free(s);
}

static const struct drover_guest_ops sim_ops = {
	.name = "sim",
	.ram = sim_ram,
	.traits = sim_traits,
	.track_source = sim_track_source,
	.status = sim_status,
	.request = sim_request,
	.save = sim_save,
	.load = sim_load,
	.owner_known = sim_owner_known,
	.throttle = sim_throttle,
	.fault_source = sim_fault_source,
	.ledger_put = sim_ledger_put,
	.ledger_get = sim_ledger_get,
	.resumed = sim_resumed,
	.check = sim_check,
	.free = sim_free,
};

/* Everything that cannot fail, so that sim_free() takes it from here. */
static struct drover_sim *sim_new(const struct sim_args *a)
{
	struct drover_sim *s = calloc(1, sizeof(*s));
	pthread_condattr_t attr;
	unsigned int i;
	uint64_t id;

	if (!s)
		return NULL;
	s->base.ops = &sim_ops;
	s->args = *a;
	s->npages = drover_pages(a->size);
	s->fd = s->uffd = s->pagemap_fd = -EBADF;
	owner_record_init(&s->record, false, false);
	atomic_store(&s->check.first_bad, UINT64_MAX);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->cond, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&s->step, NULL);
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->check.lock, NULL);
	for (i = 0; i < SIM_STRIPES; i++)
		pthread_mutex_init(&s->stripe[i], NULL);
	s->traits.has_uuid = true;
	s->traits.can_throttle = true;
	for (i = 0; i < 2; i++) {
		id = sim_page_mix(a->seed, i + 1);
		memcpy(s->traits.uuid + (size_t)8 * i, &id, 8);
	}
	/* RFC 4122: version 4, variant 1 */
	s->traits.uuid[6] = (s->traits.uuid[6] & 0x0f) | 0x40;
	s->traits.uuid[8] = (s->traits.uuid[8] & 0x3f) | 0x80;
	return s;
}

int drover_sim_open(const char *args, const struct drover_log *log, struct drover_guest **ret,
		    struct drover_error *e)
{
	struct drover_sim *s;
	struct sim_args a;
	int r = sim_args_parse(args, &a, e);

	if (r < 0)
		return r;
	s = sim_new(&a);
	if (!s)
		return drover_err(e, -ENOMEM, "guest sim: out of memory");
	atomic_store(&s->status, DROVER_GUEST_PAUSED);
	r = sim_ram_open(s, e);
	if (r >= 0 && s->found) {
		throw_away(s);
	} else if (r >= 0) {
		r = sim_ram_fill(s, e);
		if (r >= 0)
			r = sim_request(&s->base, OWNER_EV_CONT, NULL, NULL, NULL, e);
		if (r >= 0 && !s->record.running)
			r = -EIO;
	}
	if (r < 0) {
		sim_free(&s->base);
		return r;
	}
	drover_debug(log, "guest sim: %llu pages, seed %llu", (unsigned long long)s->npages,
		     (unsigned long long)a.seed);
	*ret = &s->base;
	return 0;
}
