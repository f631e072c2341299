// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The simulated guest moved by hand in postcopy: its writers run before the RAM is there,
 * wait for what they touch, and its self-check finds every page as the source left it.
 */
#define _GNU_SOURCE
#include <json-c/json.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "fault/fault.h"
#include "guest/sim/sim.h"
#include "owner-kit.h"
#include "tap.h"

static const struct drover_fault_ops *const uffd = &drover_fault_userfaultfd;

static void nap_ms(unsigned int ms)
{
	const struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000l };

	nanosleep(&t, NULL);
}

static struct drover_sim *open_sim(const char *args)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_guest *g = NULL;

	if (drover_sim_open(args, NULL, &g, &e) < 0) {
		tap_ok(false, "open %s: %s", args, e.msg);
		exit(1);
	}
	return (struct drover_sim *)g;
}

static uint8_t *page_at(struct drover_sim *s, uint64_t page)
{
	return s->ram.block[0].host + drover_page_off(page);
}

/* The destination armed, with nothing received, and running. */
static void *arrive(struct drover_sim *from, struct drover_sim *to, struct drover_ledger **l)
{
	static uint8_t nr;
	struct owner_token t = { { ++nr } };
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_fault_source src = { 0 };
	struct drover_guest *g = &to->base;
	void *h = NULL;
	int fd = -1, r;

	r = ask(&from->base, OWNER_EV_PAUSE, nr, &e);
	if (r >= 0)
		r = from->base.ops->save(&from->base, &fd, &e);
	if (r >= 0)
		r = ask(g, OWNER_EV_PREPARE, 0, &e);
	if (r >= 0)
		r = ask(g, OWNER_EV_INCOMING, nr, &e);
	if (r >= 0)
		r = drover_ledger_new(&to->ram, false, l, &e);
	if (r >= 0)
		r = g->ops->ledger_put(g, &t, (*l)->fd, &e);
	if (r >= 0)
		r = g->ops->fault_source(g, &src, &e);
	if (r >= 0) {
		memcpy(src.received, (*l)->received, sizeof(src.received));
		r = uffd->start(&src, &h, &e);
	}
	if (r >= 0)
		r = g->ops->load(g, &t, fd, &e);
	if (r >= 0)
		r = ask(g, OWNER_EV_PROVED, nr, &e);
	if (r >= 0)
		r = ask(g, OWNER_EV_OWN, nr, &e);
	if (!tap_ok(r >= 0, "the guest runs before its memory is there %s", e.msg))
		exit(1);
	close(fd);
	return h;
}

/* One page; twice is harmless. */
static int bring(struct drover_sim *from, struct drover_sim *to, struct drover_ledger *l, void *h,
		 uint64_t page)
{
	struct drover_ram_run run = { 0, page, 1 };
	bool zero = !sim_page_version(page_at(from, page), from->args.seed, page);

	if (!zero && !drover_bit_test(l->received[0], page))
		memcpy(page_at(to, page), page_at(from, page), DROVER_PAGE_SIZE);
	return uffd->publish(h, &run, 1, zero, NULL);
}

/* When the guest waits: faults first, the rest from the front. How many were waited for. */
static unsigned int bring_all(struct drover_sim *from, struct drover_sim *to,
			      struct drover_ledger *l, void *h)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_fault f[8];
	unsigned int faults = 0;
	uint64_t page = 0;
	int n, i;

	while (page < to->npages) {
		struct pollfd p = { .events = POLLIN };

		uffd->fds(h, &p.fd, 1);
		poll(&p, 1, !page ? 5000 : page % 64 ? 0 : 1);
		n = uffd->next(h, f, 8, &e);
		for (i = 0; i < n; i++, faults++)
			if (bring(from, to, l, h, f[i].page) < 0)
				return 0;
		if (n < 0 || bring(from, to, l, h, page++) < 0)
			return 0;
	}
	return faults;
}

static struct json_object *wait_verdict(struct drover_guest *g)
{
	struct json_object *o = NULL, *v;
	unsigned int ms;

	for (ms = 0; ms < 5000; ms += 5, nap_ms(5)) {
		json_object_put(o);
		o = g->ops->check(g);
		if (o && json_object_object_get_ex(o, "verdict", &v) &&
		    strcmp(json_object_get_string(v), "running") != 0)
			break;
	}
	return o;
}

static void move(const char *to_args)
{
	struct drover_sim *from = open_sim("size=8M,seed=3,zero=20,dirty=300M,hot=6M");
	struct drover_sim *to = open_sim(to_args);
	struct drover_guest *g = &to->base;
	struct drover_ledger *l = NULL;
	struct json_object *o, *v = NULL;
	unsigned int faults;
	int fd = -1;
	void *h;

	nap_ms(30);
	h = arrive(from, to, &l);
	faults = bring_all(from, to, l, h);
	tap_ok(faults > 0 && drover_bitmap_count(l->received[0], to->npages) == to->npages,
	       "all has arrived; %u pages were waited for", faults);
	uffd->stop(h, true);
	tap_ok(!g->ops->ledger_get(g, &fd, NULL) && fd >= 0 && !close(fd) &&
	       !ask(g, OWNER_EV_COMPLETE, 0, NULL) && !g->ops->ledger_get(g, &fd, NULL) && fd == -1,
	       "the ledger is kept until it is forgotten");
	drover_ledger_free(l);
	g->ops->resumed(g);
	o = wait_verdict(g);
	tap_ok(o && json_object_object_get_ex(o, "verdict", &v) &&
	       !strcmp(json_object_get_string(v), "passed"), "%s: %s", to_args,
	       json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
	json_object_put(o);
	from->base.ops->free(&from->base);
	g->ops->free(g);
}

/* Whose source is lost, and who is asked to end: it ends, also where writers wait. */
static void ends_while_waiting(void)
{
	struct drover_sim *from = open_sim("size=8M,seed=3,dirty=300M");
	struct drover_sim *to = open_sim("size=8M");
	struct drover_ledger *l = NULL;
	void *h = arrive(from, to, &l);

	nap_ms(20);
	uffd->stop(h, false);
	drover_ledger_free(l);
	to->base.ops->free(&to->base);
	tap_ok(true, "a guest whose pages never come can be ended");
	move("size=8M,seed=4");
	from->base.ops->free(&from->base);
}

int main(void)
{
	struct drover_fault_source src = { 0 };
	struct drover_sim *s = open_sim("size=1M");
	char why[256];
	int usable;

	tap_ok(!s->base.ops->fault_source(&s->base, &src, NULL) && src.ram == &s->ram &&
	       src.base[0] == (uintptr_t)s->vmm && src.arm, "what fault handlers need");
	usable = uffd->probe(&src, why, sizeof(why));
	s->base.ops->free(&s->base);
	if (usable <= 0) {
		tap_skip("userfaultfd: %s", why);
		return tap_done();
	}
	move("size=8M");
	move("size=8M,poison=on,seed=99");
	move("size=8M,prefault=on");
	ends_while_waiting();
	return tap_done();
}
