// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * drover-vmm in postcopy without droverd: the guest runs with half of its RAM missing, the
 * rest holding what an earlier copy left, reads it in each order it knows, waits for what
 * it touches while its first droverd dies, and finds nothing wrong with itself.
 */
#include "vmm-pair.h"

#include "agent/ledger.h"
#include "base/bitmap.h"
#include "fault/fault.h"

static const struct drover_fault_ops *const uffd = &drover_fault_userfaultfd;

/* Every other run of 64 pages has arrived; the others have, too, but are old. */
static bool arrived(uint64_t page)
{
	return page / 64 % 2;
}

static void copy_half(struct side *from, struct side *to, struct drover_ledger *l)
{
	uint64_t page;
	unsigned int b;

	copy_all(from, to);
	for (b = 0; b < from->ram->n; b++)
		for (page = 0; page < drover_pages(from->ram->block[b].size); page++)
			if (arrived(page))
				drover_bit_set(l->received[b], page);
			else
				to->ram->block[b].host[drover_page_off(page) + 8] ^= 0xff;
}

static void *begin(struct side *to, struct drover_ledger *l, bool adopt)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_fault_source src = { .adopt = adopt };
	void *h = NULL;

	memcpy(src.received, l->received, sizeof(src.received));
	if (!good(to->g->ops->fault_source(to->g, &src, &e), &e) ||
	    !good(uffd->start(&src, &h, &e), &e))
		return NULL;
	return h;
}

/* The destination runs, with what the ledger says. */
static void *postcopy(struct pair *p, struct drover_ledger **l)
{
	struct owner_token t = { { session_nr + 1 } };
	struct drover_error e = DROVER_ERROR_INIT;
	void *h;

	if (!prepare(&p->d) || !good(drover_ledger_new(p->d.ram, false, l, &e), &e))
		return NULL;
	poll(NULL, 0, 300);
	if (!pause_source(&p->s))
		return NULL;
	copy_half(&p->s, &p->d, *l);
	if (!good(p->d.g->ops->ledger_put(p->d.g, &t, (*l)->fd, &e), &e))
		return NULL;
	h = begin(&p->d, *l, false);
	return h && hand_over(&p->s, &p->d) ? h : NULL;
}

static int bring(struct pair *p, struct drover_ledger *l, void *h, unsigned int b, uint64_t page)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_ram_run run = { b, page, 1 };
	uint64_t off = drover_page_off(page);

	if (drover_bit_test(l->received[b], page))
		return 0;
	memcpy(uffd->host(h, b) + off, p->s.ram->block[b].host + off, DROVER_PAGE_SIZE);
	return good(uffd->publish(h, &run, 1, false, &e), &e) ? 0 : -1;
}

/* Who waits is served for @ms; how many there were. */
static int serve(struct pair *p, struct drover_ledger *l, void *h, unsigned int ms)
{
	uint64_t deadline = drover_deadline_ms(ms);
	struct drover_error e = DROVER_ERROR_INIT;
	struct pollfd fd = { .events = POLLIN };
	struct drover_fault f[16];
	int n, i, sum = 0;

	uffd->fds(h, &fd.fd, 1);
	while (drover_now_ns() < deadline) {
		poll(&fd, 1, 10);
		n = uffd->next(h, f, 16, &e);
		if (!good(n, &e))
			return -1;
		for (i = 0; i < n; i++, sum++)
			if (bring(p, l, h, f[i].block, f[i].page) < 0)
				return -1;
	}
	return sum;
}

static bool bring_rest(struct pair *p, struct drover_ledger *l, void *h)
{
	uint64_t page, n;
	unsigned int b;

	for (b = 0; b < p->d.ram->n; b++) {
		n = drover_pages(p->d.ram->block[b].size);
		for (page = 0; page < n; page++)
			if (bring(p, l, h, b, page) < 0 ||
			    (page % 256 == 0 && serve(p, l, h, 1) < 0))
				return false;
	}
	uffd->stop(h, true);
	return step(&p->d, OWNER_EV_COMPLETE);
}

static const char *checked(struct side *s, char *buf, size_t size)
{
	struct json_object *o = s->g->ops->check(s->g);

	snprintf(buf, size, "%s %s", o ? member(o, "verdict") : "", o ? member(o, "pages-checked") : "");
	json_object_put(o);
	return buf;
}

static void test_order(struct pair *p)
{
	struct drover_ledger *l = NULL;
	void *h = postcopy(p, &l);
	char buf[64];
	int n;

	if (!tap_ok(h, "the guest runs without half of its RAM"))
		return;
	n = serve(p, l, h, 700);
	tap_ok(n > 100, "%d pages were waited for", n);
	tap_ok(!strcmp(checked(&p->d, buf, sizeof(buf)), "running 0"),
	       "it does not sweep before all is there: %s", buf);
	tap_ok(bring_rest(p, l, h), "the rest is brought");
	tap_ok(passed(&p->d), "the guest says passed");
	drover_ledger_free(l);
}

/* A page of the first vCPU that comes wrong is found by who reads it. */
static void test_wrong(struct pair *p)
{
	const uint64_t page = 4000, off = drover_page_off(page);
	struct drover_ram_run run = { 0, page, 1 };
	struct drover_ledger *l = NULL;
	void *h = postcopy(p, &l);
	char buf[64] = "";
	int i;

	if (!tap_ok(h && !arrived(page), "the guest runs"))
		return;
	memcpy(uffd->host(h, 0) + off, p->s.ram->block[0].host + off, DROVER_PAGE_SIZE);
	uffd->host(h, 0)[off + 4095] ^= 1;
	uffd->publish(h, &run, 1, false, NULL);
	for (i = 0; i < 100 && strncmp(checked(&p->d, buf, sizeof(buf)), "failed", 6); i++)
		serve(p, l, h, 100);
	tap_ok(verdict(&p->d, "failed", buf, sizeof(buf)) && !strcmp(buf, "ram0:4000"),
	       "a byte is wrong: found and named: %s", buf);
	uffd->stop(h, true);
	drover_ledger_free(l);
}

static void test_adopted(struct pair *p)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_ledger *l = NULL;
	void *h = postcopy(p, &l);
	int fd = -1, n;

	if (!tap_ok(h && serve(p, l, h, 200) > 0, "the guest runs and waits"))
		return;
	poll(NULL, 0, 50);
	/* What was read and not answered dies with it. */
	uffd->next(h, (struct drover_fault[16]){ { 0 } }, 16, &e);
	uffd->stop(h, false);
	drover_ledger_free(l);
	l = NULL;
	p->d.g = drover_guest_free(p->d.g);
	poll(NULL, 0, 200);
	tap_ok(attach(&p->d) && p->d.g->ops->status(p->d.g) == DROVER_GUEST_RUNNING &&
	       !p->d.g->ops->ledger_get(p->d.g, &fd, &e) && fd >= 0 &&
	       good(drover_ledger_open(fd, p->d.ram, &l, &e), &e),
	       "its droverd has died; another one finds guest and ledger");
	h = l ? begin(&p->d, l, true) : NULL;
	n = h ? serve(p, l, h, 200) : -1;
	tap_ok(n > 0, "takes over, and is told who waits: %d pages", n);
	tap_ok(n > 0 && bring_rest(p, l, h) && passed(&p->d), "the guest says passed");
	drover_ledger_free(l);
}

/* SIGTERM: pair_end() waits for it. */
static void test_ends(struct pair *p)
{
	struct drover_ledger *l = NULL;
	void *h = postcopy(p, &l);
	int status = -1, i;
	pid_t pid = 0;

	poll(NULL, 0, 100);
	kill(p->d.pid, SIGTERM);
	for (i = 0; i < 500 && !pid; i++) {
		poll(NULL, 0, 20);
		pid = waitpid(p->d.pid, &status, WNOHANG);
	}
	tap_ok(h && pid == p->d.pid && !status, "a VMM whose vCPUs wait can be ended");
	if (pid)
		p->d.pid = 0;
	if (h)
		uffd->stop(h, true);
	drover_ledger_free(l);
}

static const struct pair_test tests[] = {
	{ test_order, { "--touch=random", NULL } },
	{ test_order, { "--touch=sequential", NULL } },
	{ test_order, { "--touch=chase", NULL } },
	{ test_order, { "--dirty=200M", NULL } },
	{ test_wrong, { "--touch=random", "--dirty=4096", NULL } },
	{ test_wrong, { "--touch=sequential", "--dirty=4096", NULL } },
	{ test_wrong, { "--touch=chase", "--dirty=4096", NULL } },
	{ test_adopted, { "--touch=random", NULL } },
	{ test_ends, { "--touch=chase", NULL } },
};

int main(void)
{
	return pair_run(tests, DROVER_ARRAY_SIZE(tests));
}
