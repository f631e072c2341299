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

static int sim_pause(struct drover_guest *g, const struct drover_cancel *c,
		     struct drover_error *e)
{
	struct drover_sim *s = sim(g);

	(void)c;                /* a writer ends after the page it is writing */
	(void)e;
	if (sim_status(g) != DROVER_GUEST_RUNNING)
		return 0;
	sim_run_stop(s);
	atomic_store(&s->status, DROVER_GUEST_PAUSED);
	return 0;
}

static void set_record(struct drover_sim *s, const struct drover_owner_record *rec)
{
	DROVER_LOCK(&s->lock);
	s->record = *rec;
}

static int sim_owner_get(struct drover_guest *g, struct drover_owner_record *ret,
			 struct drover_error *e)
{
	struct drover_sim *s = sim(g);
	DROVER_LOCK(&s->lock);

	(void)e;
	*ret = s->record;
	return 0;
}

static int sim_owner_known(struct drover_guest *g, struct drover_owner_record *ret,
			   bool *ret_ledger)
{
	struct drover_sim *s = sim(g);
	DROVER_LOCK(&s->lock);

	*ret = s->record;
	*ret_ledger = s->ledger;
	return 0;
}

static int sim_resume(struct drover_guest *g, struct drover_error *e)
{
	struct drover_owner_record rec;
	struct drover_sim *s = sim(g);
	int r;

	if (sim_status(g) == DROVER_GUEST_RUNNING)
		return 0;
	sim_owner_get(g, &rec, e);
	if (rec.state != DROVER_OWNER_OWNED)
		return drover_err(e, -EPERM, "guest sim: resume: it does not own its state");
	if (!s->loaded)
		return drover_err(e, -ENODATA, "guest sim: resume: no device state was loaded");
	r = sim_run_start(s, e);
	if (r < 0)
		return r;
	atomic_store(&s->status, DROVER_GUEST_RUNNING);
	return 0;
}

static int sim_save(struct drover_guest *g, int *ret_fd, struct drover_error *e)
{
	if (sim_status(g) != DROVER_GUEST_PAUSED)
		return drover_err(e, -EBUSY, "guest sim: save: it is not paused");
	return sim_state_save(sim(g), ret_fd, e);
}

static int sim_load(struct drover_guest *g, int state_fd, struct drover_error *e)
{
	struct drover_sim *s = sim(g);
	int r;

	if (sim_status(g) != DROVER_GUEST_INCOMING)
		return drover_err(e, -EBUSY, "guest sim: load: it does not wait for a migration");
	r = sim_state_load(s, state_fd, e);
	if (r >= 0)
		r = sim_check_arm(s, e);
	if (r < 0)
		return r;
	s->loaded = true;
	return 0;
}

static int sim_owner_set(struct drover_guest *g, const struct drover_owner_record *rec,
			 struct drover_error *e)
{
	struct drover_sim *s = sim(g);

	if (sim_status(g) == DROVER_GUEST_RUNNING && rec->state != DROVER_OWNER_OWNED)
		return drover_err(e, -EBUSY, "guest sim: record: it runs");
	set_record(s, rec);
	/* The destination owns it now; it need not run. */
	if (rec->state == DROVER_OWNER_OWNED && sim_status(g) == DROVER_GUEST_INCOMING)
		atomic_store(&s->status, DROVER_GUEST_PAUSED);
	return 0;
}

/* Blocks that are the source's too stay as they are. */
static int sim_prepare_shared(struct drover_guest *g, struct drover_error *e)
{
	struct drover_owner_record rec;
	struct drover_sim *s = sim(g);

	sim_owner_get(g, &rec, e);
	if (rec.state == DROVER_OWNER_SERVING)
		return drover_err(e, -EBUSY, "guest sim: prepare: its RAM is needed elsewhere");
	sim_fault_forget(s);
	sim_pause(g, NULL, NULL);
	sim_check_reset(s);
	s->loaded = false;
	s->sum = 0;
	s->writes = 0;
	set_record(s, &(struct drover_owner_record){ .state = DROVER_OWNER_INCOMING });
	atomic_store(&s->status, DROVER_GUEST_INCOMING);
	return 0;
}

static int sim_prepare_incoming(struct drover_guest *g, struct drover_error *e)
{
	int r = sim_prepare_shared(g, e);

	return r < 0 ? r : sim_ram_empty(sim(g), e);
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
	.pause = sim_pause,
	.resume = sim_resume,
	.save = sim_save,
	.load = sim_load,
	.owner_get = sim_owner_get,
	.owner_known = sim_owner_known,
	.owner_set = sim_owner_set,
	.prepare_incoming = sim_prepare_incoming,
	.prepare_shared = sim_prepare_shared,
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
	s->record.state = DROVER_OWNER_OWNED;
	atomic_store(&s->check.first_bad, UINT64_MAX);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->cond, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->check.lock, NULL);
	for (i = 0; i < SIM_STRIPES; i++)
		pthread_mutex_init(&s->stripe[i], NULL);
	s->traits.has_uuid = true;
	s->traits.can_throttle = true;
	s->traits.knows_serving = true;
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
		sim_prepare_shared(&s->base, e);
	} else if (r >= 0) {
		r = sim_ram_fill(s, e);
		s->loaded = true;
		if (r >= 0)
			r = sim_resume(&s->base, e);
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
