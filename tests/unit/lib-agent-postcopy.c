// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The agent link in postcopy, both ends: a ledger that outlives the droverd that made it, a
 * VMM that drops its entries of what has not arrived, and a toucher that waits from one
 * droverd to the next.
 */
#include "fake-vmm.h"

#include "agent/ledger.h"
#include "base/bitmap.h"
#include "fault/fault.h"

static const struct drover_fault_ops *const uffd = &drover_fault_userfaultfd;

static uint64_t mapped(const uint8_t *host)
{
	_cleanup_close_ int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t e, sum = 0, i;

	for (i = 0; i < PAGES; i++)
		if (pread(fd, &e, 8, (off_t)((uintptr_t)host / 4096 + i) * 8) == 8)
			sum += e >> 63;
	return sum;
}

/* As the engine does it: a ledger, the VMM's copy, the handler. */
static void *begin(struct drover_guest *g, struct drover_ledger *l, bool adopt)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_fault_source src = { .adopt = adopt };
	void *h = NULL;

	memcpy(src.received, l->received, sizeof(src.received));
	if (!tap_ok(!g->ops->fault_source(g, &src, &e) && !uffd->start(&src, &h, &e),
		    "faults are %s %s", adopt ? "taken over" : "armed", e.msg))
		exit(1);
	return h;
}

struct toucher {
	pthread_t thread;
	const volatile uint8_t *at;
	_Atomic int done;
	uint8_t got;
};

static void *touch(void *arg)
{
	struct toucher *t = arg;

	t->got = *t->at;
	t->done = 1;
	return NULL;
}

static int told(void *h, struct drover_fault *f)
{
	struct pollfd p = { .events = POLLIN };
	struct drover_error e = DROVER_ERROR_INIT;

	uffd->fds(h, &p.fd, 1);
	poll(&p, 1, 2000);
	return uffd->next(h, f, 1, &e);
}

static void test_ledger(struct fake *f, struct drover_guest *g)
{
	_cleanup_close_ int junk = memfd_create("junk", MFD_CLOEXEC), fd = -EBADF;
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_ram other = *g->ops->ram(g);
	struct drover_fault_source src = { 0 };
	struct owner_token t = { { 1 } };
	struct drover_ledger *l = NULL;

	tap_ok(!g->ops->ledger_get(g, &fd, &e) && fd == -1, "no ledger at first");
	tap_ok(!g->ops->fault_source(g, &src, &e) && src.base[0] == (uintptr_t)f->host &&
	       src.uffd >= 0 && src.ram == g->ops->ram(g), "what fault handlers need: %s", e.msg);
	tap_ok(src.arm(src.opaque, &e) == -EINVAL && strstr(e.msg, "no ledger"), "%s", e.msg);
	drover_err_clear(&e);
	ask(g, OWNER_EV_INCOMING, 1, &e);
	tap_ok(g->ops->ledger_put(g, &t, junk, &e) == -EPROTO && strstr(e.msg, "LEDGER_PUT"),
	       "another file: %s", e.msg);
	other.block[0].size -= 4096;
	drover_err_clear(&e);
	tap_ok(!drover_ledger_new(&other, false, &l, &e) &&
	       g->ops->ledger_put(g, &t, l->fd, &e) == -EPROTO && strstr(e.msg, "ram ram"),
	       "the ledger of another guest: %s", e.msg);
	drover_ledger_free(l);
	tap_ok(!g->ops->ledger_get(g, &fd, &e) && fd == -1, "neither is kept");
	tap_ok(ask(g, OWNER_EV_COMPLETE, 1, &e) == -EPERM, "nothing is complete: %s", e.msg);
}

/* The guest waits, droverd goes, the next one finds all of it. */
static void test_two(struct fake *f)
{
	static const uint8_t token[16] = "token";
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_guest *g = attach(f, &e);
	struct drover_ledger *l = NULL;
	struct drover_fault fault;
	struct toucher t = { .at = f->host + 40 * 4096 };
	struct owner_token t2 = { { 2 } };
	int fd = -1, before = f->closed;
	void *h;

	ask(g, OWNER_EV_INCOMING, 2, &e);
	load(g, 2, "state", true, &e);
	ask(g, OWNER_EV_PROVED, 2, &e);
	memset(f->host, 0x11, PAGES * 4096);
	drover_ledger_new(g->ops->ram(g), true, &l, &e);
	drover_ledger_bind(l, token, "{}", &e);
	drover_bitmap_set_range(l->received[0], 0, 30);
	tap_ok(g->ops->ledger_put(g, &(struct owner_token){ { 3 } }, l->fd, &e) == -EPERM,
	       "of another session: %s", e.msg);
	drover_err_clear(&e);
	tap_ok(!g->ops->ledger_put(g, &t2, l->fd, &e), "a ledger is kept %s", e.msg);
	h = begin(g, l, false);
	tap_ok(mapped(f->host) < 31, "the VMM has dropped what has not arrived");
	tap_ok(!ask(g, OWNER_EV_OWN, 2, &e) && f->running, "the guest runs");
	tap_ok(ask(g, OWNER_EV_PAUSE, 5, &e) == -EPERM && ask(g, OWNER_EV_CONFIRMED, 2, NULL) == -EPERM,
	       "and can't be moved on: %s", e.msg);
	drover_err_clear(&e);
	tap_ok(g->ops->ledger_put(g, &t2, l->fd, &e) == -EPERM, "now its ledger can't be replaced: %s",
	       e.msg);
	drover_err_clear(&e);
	pthread_create(&t.thread, NULL, touch, &t);
	tap_ok(told(h, &fault) == 1 && fault.page == 40, "it touches a page");
	uffd->stop(h, false);
	drover_ledger_free(l);
	drover_guest_free(g);
	tap_ok(becomes(&f->closed, before + 1) && !t.done && f->running,
	       "its droverd has gone: it goes on waiting");

	g = attach(f, &e);
	tap_ok(g && !g->ops->ledger_get(g, &fd, &e) && fd >= 0 &&
	       !drover_ledger_open(fd, g->ops->ram(g), &l, &e), "the next one finds the ledger %s",
	       e.msg);
	tap_ok(!memcmp(drover_ledger_token(l), token, 16) && l->digest[0] &&
	       drover_bitmap_count(l->received[0], PAGES) == 30, "as it was left");
	h = begin(g, l, true);
	tap_ok(told(h, &fault) == 1 && fault.page == 40, "and is told of the page");
	memset(uffd->host(h, 0) + 40 * 4096, 0x44, 4096);
	tap_ok(!uffd->publish(h, &(struct drover_ram_run){ 0, 30, PAGES - 30 }, 1, false, &e) &&
	       !pthread_join(t.thread, NULL) && t.got == 0x44, "published: it goes on %s", e.msg);
	uffd->stop(h, true);
	tap_ok(!ask(g, OWNER_EV_COMPLETE, 2, &e) && !g->ops->ledger_get(g, &fd, &e) && fd == -1,
	       "complete: the ledger is forgotten");
	madvise(f->host, PAGES * 4096, MADV_DONTNEED);
	tap_ok(f->host[5 * 4096] == 0x11, "nobody waits any more");
	drover_ledger_free(l);
	drover_guest_free(g);
	f->running = 0;
}

/* A postcopy that ends before COMMIT leaves nothing that a next attempt could meet. */
static void test_prepare(struct fake *f)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_guest *g = attach(f, &e);
	struct drover_ledger *l = NULL;
	struct owner_token t = { { 1 } };
	int fd = -1;
	void *h;

	drover_ledger_new(g->ops->ram(g), false, &l, &e);
	g->ops->ledger_put(g, &t, l->fd, &e);
	h = begin(g, l, false);
	uffd->stop(h, false);
	tap_ok(!ask(g, OWNER_EV_PREPARE, 0, &e) && !g->ops->ledger_get(g, &fd, &e) && fd == -1,
	       "PREPARE forgets the ledger %s", e.msg);
	tap_ok(!f->host[7 * 4096], "and nobody waits");
	drover_ledger_free(l);
	drover_guest_free(g);
}

int main(void)
{
	char dir[] = "/tmp/drover-test-XXXXXX", why[256] = "";
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_fault_source src = { 0 };
	struct drover_guest *g;
	struct fake f;
	bool usable;

	if (!mkdtemp(dir))
		return 1;
	fake_start(&f, dir, DROVER_AGENT_OPT_INCOMING);
	g = attach(&f, &e);
	if (!tap_ok(g && !g->ops->fault_source(g, &src, &e), "attach %s", e.msg))
		return tap_done();
	usable = uffd->probe(&src, why, sizeof(why)) > 0;
	test_ledger(&f, g);
	drover_guest_free(g);
	if (usable) {
		test_prepare(&f);
		test_two(&f);
	} else {
		tap_skip("userfaultfd: %s", why);
	}
	fake_end(&f);
	rmdir(dir);
	return tap_done();
}
