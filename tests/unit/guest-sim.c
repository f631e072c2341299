// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The simulated guest: what a LINK may say, pages that are a pure function of seed,
 * number and version, writers that keep their rate and stop whole, and a move by hand
 * whose self-check passes, or fails for each way of doing it wrong.
 */
#define _GNU_SOURCE
#include "guest/sim/sim.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "ram/datamap.h"
#include "owner-kit.h"
#include "tap.h"

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

/* ---- LINK ---- */
static void links(void)
{
	static const struct {
		const char *text, *error;
	} bad[] = {
		{ "", "'size' is missing" },
		{ "seed=1", "'size' is missing" },
		{ "size", "'size'" },
		{ "size=", "size=: expected a size" },
		{ "size=0", "size=0" },
		{ "size=1000", "size=1000" },
		{ "size=-4096", "size=-4096" },
		{ "size= 4096", "size= 4096" },
		{ "size=4096x", "size=4096x" },
		{ "size=1MM", "size=1MM" },
		{ "size=17179869184G", "size=17179869184G" },
		{ "size=99999999999999999999", "size=99999999999999999999" },
		{ "size=8192G", "at most" },
		{ "size=1M,size=1M", "'size' was given twice" },
		{ "size=1M,colour=red", "'colour=red'" },
		{ "size=1M,", "" },
		{ "size=1M,,seed=1", "''" },
		{ "size=1M,hot=0", "hot=0" },
		{ "size=1M,hot=2M", "hot=2097152" },
		{ "size=1M,hot=5000", "hot=5000" },
		{ "size=1M,zero=101", "zero=101: expected 0 to 100" },
		{ "size=1M,seed=1K", "seed=1K: expected a number" },
		{ "size=1M,file=ram", "file=ram: expected an absolute path" },
		{ "size=1M,file=", "file=: expected an absolute path" },
		{ "size=1M,prefault=yes", "prefault=yes: expected on or off" },
		{ "size=1M,dirty=2048G", "dirty=" },
	};
	struct sim_args a = { 0 };
	unsigned int i, wrong = 0;

	for (i = 0; i < DROVER_ARRAY_SIZE(bad); i++) {
		struct drover_error e = DROVER_ERROR_INIT;
		int r = sim_args_parse(bad[i].text, &a, &e);

		/* a comma at the end is forgiven */
		if (!*bad[i].error ? r != 0 : r != -EINVAL || !strstr(e.msg, bad[i].error)) {
			tap_diag("%s: %d %s", bad[i].text, r, e.msg);
			wrong++;
		}
	}
	tap_ok(!wrong, "%u wrong LINKs are refused, and what is wrong is quoted", i);
	tap_ok(sim_args_parse("size=256M,dirty=100M,seed=18446744073709551615,hot=16K,zero=50,"
			      "prefault=on,poison=off", &a, NULL) == 0 && a.size == 256u << 20 &&
	       a.dirty == 100u << 20 && a.seed == UINT64_MAX && a.hot == 16384 && a.zero == 50 &&
	       a.prefault && !a.poison, "every key is taken");
	tap_ok(sim_args_parse("size=1G", &a, NULL) == 0 && a.hot == a.size && a.seed == 1 &&
	       !a.dirty && !a.zero, "defaults");
}

static void kinds(void)
{
	static const struct {
		const char *link;
		int r;
		const char *error;
	} bad[] = {
		{ "", -EINVAL, "guest '': expected sim:" },
		{ "sim", -EINVAL, "guest 'sim'" },
		{ "xen:1", -EINVAL, "guest 'xen:1'" },
		{ "qemu:/run/q", -EOPNOTSUPP, "'qemu:'" },
		{ "sim:size=3", -EINVAL, "size=3" },
	};
	struct drover_guest *g = NULL;
	unsigned int i;

	for (i = 0; i < DROVER_ARRAY_SIZE(bad); i++) {
		struct drover_error e = DROVER_ERROR_INIT;

		tap_ok(drover_guest_open(bad[i].link, NULL, &g, &e) == bad[i].r && !g &&
		       strstr(e.msg, bad[i].error), "'%s': %s", bad[i].link, e.msg);
	}
	tap_ok(drover_guest_open("sim:size=64K", NULL, &g, NULL) == 0 &&
	       !strcmp(g->ops->name, "sim"), "sim:size=64K");
	tap_ok(!drover_guest_free(g) && !drover_guest_free(NULL), "freed");
}

/* ---- pages ---- */
static unsigned int distinct_bytes(const uint8_t *p)
{
	bool seen[256] = { false };
	unsigned int i, n = 0;

	for (i = 0; i < DROVER_PAGE_SIZE; i++) {
		n += !seen[p[i]];
		seen[p[i]] = true;
	}
	return n;
}

static void pages(void)
{
	uint8_t a[DROVER_PAGE_SIZE], b[DROVER_PAGE_SIZE];
	unsigned int bad = 0, touched = 0;
	uint64_t i, t, fills = 65536;
	uint8_t *big = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			    -1, 0);

	for (i = 0; i < 2000; i++) {
		uint64_t version = i % 7 ? i : i << 40 | 1;

		version += !version;
		sim_page_fill(a, i * i, i, version);
		bad += sim_page_version(a, i * i, i) != version || !sim_page_ok(a, i * i, i);
		bad += distinct_bytes(a) < 200;
		sim_page_fill(b, i * i, i + 1, version);
		bad += !memcmp(a, b, sizeof(a)) || !memcmp(a + 64, b + 64, 64);
		sim_page_fill(b, i * i, i, version + 1);
		bad += !memcmp(a + 64, b + 64, 64);
		/* a torn page: the head of one version, the rest of another */
		memcpy(b, a, 2048);
		bad += sim_page_ok(b, i * i, i);
		a[i * 2 + 17 < 4096 ? i * 2 + 17 : 5] ^= 1;
		bad += sim_page_ok(a, i * i, i);
		bad += sim_page_mix(i, version) == sim_page_mix(i, version + 1);
		touched += !sim_page_untouched(5, i, 30);
	}
	tap_ok(!bad, "pages: version recovered, torn and flipped pages found, %u", bad);
	tap_ok(touched > 1300 && touched < 1500, "zero=30: %u of 2000 pages are touched", touched);
	memset(a, 0, sizeof(a));
	tap_ok(sim_page_version(a, 1, 1) == 0 && sim_page_ok(a, 1, 1) && !sim_page_mix(9, 0),
	       "a page of zeros has version 0");
	a[4095] = 1;
	tap_ok(!sim_page_ok(a, 1, 1), "all of it must be zero");
	t = drover_now_ns();
	for (i = 0; i < fills; i++)
		sim_page_fill(big + i % 256 * DROVER_PAGE_SIZE, 1, i, 1);
	t = drover_now_ns() - t;
	tap_diag("fill: %.1f GB/s", (double)fills * DROVER_PAGE_SIZE / (double)t);
	munmap(big, 1 << 20);
}

/* ---- life ---- */
static void life(void)
{
	struct drover_sim *s = open_sim("size=16M,seed=7,zero=25,hot=1M,dirty=40M");
	struct drover_guest *g = &s->base;
	struct drover_track_source src;
	struct drover_error e = DROVER_ERROR_INIT;
	struct owner_token t = { { 1 } };
	uint64_t writes, i, bad = 0, sum = 0, data[64], took = drover_now_ns();
	double rate;
	int fd = -1;

	tap_ok(g->ops->status(g) == DROVER_GUEST_RUNNING && !g->ops->check(g),
	       "a sim runs at once, and has nothing to check");
	tap_ok(g->ops->save(g, &fd, &e) == -EPERM && g->ops->load(g, &t, 0, NULL) == -EPERM &&
	       ask(g, OWNER_EV_DOUBT, 1, NULL) == -EPERM, "running: %s", e.msg);
	nap_ms(400);
	took = drover_now_ns() - took;
	tap_ok(ask(g, OWNER_EV_PAUSE, 1, &e) == 0 && ask(g, OWNER_EV_PAUSE, 1, &e) == 0 &&
	       g->ops->status(g) == DROVER_GUEST_PAUSED, "pause");
	writes = s->writes;
	rate = (double)writes * 4096 / ((double)took / DROVER_NS_PER_S) / (1 << 20);
	tap_ok(rate > 4 && rate < 60, "40 MiB/s asked for, %.1f written", rate);
	drover_datamap_read(&s->ram.block[0], data, NULL);
	for (i = 0; i < s->npages; i++) {
		bool has = drover_bit_test(data, i);
		bool untouched = sim_page_untouched(7, i, 25);

		bad += has && !sim_page_ok(page_at(s, i), 7, i);
		bad += !has && !untouched;
		bad += has && untouched && i >= 256;
		sum += has ? sim_page_mix(i, sim_page_version(page_at(s, i), 7, i)) : 0;
	}
	tap_ok(!bad && sum == s->sum, "paused: every page is whole, the sum is right, holes are");
	nap_ms(50);
	tap_ok(s->writes == writes && sim_page_ok(page_at(s, 3), 7, 3),
	       "paused: nothing is written");
	g->ops->throttle(g, 99, NULL);
	tap_ok(ask(g, OWNER_EV_DOUBT, 1, NULL) == 0 && ask(g, OWNER_EV_CONT, 0, &e) == -EPERM &&
	       ask(g, OWNER_EV_DISCARD, 0, NULL) == -EPERM && sim_page_ok(page_at(s, 3), 7, 3),
	       "in doubt: %s", e.msg);
	tap_ok(ask(g, OWNER_EV_BACK, 1, &e) == 0 && ask(g, OWNER_EV_BACK, 1, &e) == 0 &&
	       g->ops->status(g) == DROVER_GUEST_RUNNING, "its own again: it goes on");
	nap_ms(200);
	ask(g, OWNER_EV_STOP, 0, NULL);
	tap_ok(s->writes > writes && s->writes - writes < 200, "throttled to 1 %%: %llu writes",
	       (unsigned long long)(s->writes - writes));
	tap_ok(g->ops->throttle(g, 100, NULL) == -EINVAL, "100 %% is refused");
	tap_ok(g->ops->track_source(g, &src, NULL) == 0 && src.block[0].base == (uintptr_t)s->vmm &&
	       s->vmm != s->ram.block[0].host && src.ram == g->ops->ram(g) && !src.kvm_log,
	       "trackers get the guest's own mapping");
	g->ops->free(g);
}

/* ---- a move by hand ---- */
enum wrong { RIGHT, FLIPPED_BYTE, OLD_PAGE, LOST_PAGE, FILLED_HOLE, WRONG_COUNT };

static const char *const wrong_name[] = {
	[RIGHT] = "done right",
	[FLIPPED_BYTE] = "a byte flipped",
	[OLD_PAGE] = "one page of an old version",
	[LOST_PAGE] = "one page left out",
	[FILLED_HOLE] = "junk in a hole",
};

static void copy_ram(struct drover_sim *from, struct drover_sim *to)
{
	_cleanup_free_ uint64_t *data = drover_bitmap_new(from->npages);
	uint64_t i;

	drover_datamap_read(&from->ram.block[0], data, NULL);
	for (i = 0; i < from->npages; i++)
		if (drover_bit_test(data, i))
			memcpy(page_at(to, i), page_at(from, i), DROVER_PAGE_SIZE);
		else if (to->args.poison)
			memset(page_at(to, i), 0, DROVER_PAGE_SIZE);
}

static uint64_t first_hole(struct drover_sim *s)
{
	uint64_t i = 0;

	while (!sim_page_untouched(s->args.seed, i, s->args.zero) ||
	       sim_page_version(page_at(s, i), s->args.seed, i))
		i++;
	return i;
}

static void spoil(struct drover_sim *s, enum wrong w)
{
	uint64_t seed = s->args.seed, i = s->npages - 3;

	if (w == FILLED_HOLE)
		page_at(s, first_hole(s))[100] = 1;
	while (sim_page_version(page_at(s, i), seed, i) == 0)
		i--;
	if (w == FLIPPED_BYTE)
		page_at(s, i)[4095] ^= 0x10;
	if (w == LOST_PAGE)
		memset(page_at(s, i), 0, DROVER_PAGE_SIZE);
	if (w == OLD_PAGE) {
		for (i = 0; sim_page_version(page_at(s, i), seed, i) < 2; i++)
			;
		sim_page_fill(page_at(s, i), seed, i, sim_page_version(page_at(s, i), seed, i) - 1);
	}
}

static struct json_object *wait_verdict(struct drover_guest *g)
{
	unsigned int ms;

	for (ms = 0; ms < 5000; ms += 5) {
		struct json_object *o = g->ops->check(g), *v;

		if (o && json_object_object_get_ex(o, "verdict", &v) &&
		    strcmp(json_object_get_string(v), "running") != 0)
			return o;
		json_object_put(o);
		nap_ms(5);
	}
	return json_object_new_object();
}

static const char *member(struct json_object *o, const char *name)
{
	struct json_object *v;

	return json_object_object_get_ex(o, name, &v) ? json_object_get_string(v) : "";
}

/* The source's state at @to as the engine would bring it there. */
static int arrive(struct drover_sim *from, struct drover_sim *to, enum wrong w)
{
	static uint8_t nr;
	struct drover_guest *f = &from->base, *t = &to->base;
	struct owner_token token = { { ++nr } };
	struct drover_error e = DROVER_ERROR_INIT;
	int fd = -1, r;

	r = ask(t, OWNER_EV_PREPARE, 0, &e);
	if (r >= 0)
		r = ask(t, OWNER_EV_INCOMING, nr, &e);
	if (r >= 0 && ask(t, OWNER_EV_OWN, nr, NULL) != -EPERM)
		r = drover_err(&e, -EINVAL, "owned without a state");
	if (r >= 0)
		r = ask(f, OWNER_EV_PAUSE, nr, &e);
	if (r >= 0)
		r = f->ops->save(f, &fd, &e);
	copy_ram(from, to);
	if (r >= 0)
		r = t->ops->load(t, &token, fd, &e);
	spoil(to, w);
	if (fd >= 0)
		close(fd);
	if (r >= 0)
		r = ask(t, OWNER_EV_PROVED, nr, &e);
	if (r >= 0)
		r = ask(f, OWNER_EV_DOUBT, nr, &e);
	if (r >= 0)
		r = ask(t, OWNER_EV_OWN, nr, &e);
	if (r >= 0)
		r = ask(f, OWNER_EV_RELEASE, nr, &e);
	if (r >= 0)
		r = ask(t, OWNER_EV_CONFIRMED, nr, &e);
	if (r < 0)
		tap_diag("%s", e.msg);
	return r;
}

static void move(enum wrong w, const char *to_args)
{
	struct drover_sim *from = open_sim("size=8M,seed=3,zero=20,dirty=300M,hot=6M");
	struct drover_sim *to = open_sim(to_args);
	struct drover_guest *g = &to->base;
	struct json_object *o;
	uint64_t writes, i;
	bool passed;
	int r;

	nap_ms(30);
	r = arrive(from, to, w);
	writes = from->writes;
	g->ops->resumed(g);
	o = wait_verdict(g);
	passed = !strcmp(member(o, "verdict"), "passed");
	tap_ok(r == 0 && passed == (w == RIGHT), "%s: %s", wrong_name[w],
	       json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
	if (w == RIGHT)
		tap_ok(!strcmp(member(o, "pages-checked"), "2048") && to->args.seed == 3 &&
		       to->args.dirty == 300u << 20 && !strcmp(member(o, "first-bad-page"), ""),
		       "every page was checked; it is the source's guest");
	if (w == FLIPPED_BYTE || w == LOST_PAGE || w == FILLED_HOLE)
		tap_ok(!strcmp(member(o, "bad-pages"), "1") &&
		       !strncmp(member(o, "first-bad-page"), "ram0:", 5), "the page is named");
	json_object_put(o);
	if (w == RIGHT) {
		nap_ms(30);
		ask(g, OWNER_EV_STOP, 0, NULL);
		tap_ok(to->writes > writes, "and it goes on writing, %llu then %llu",
		       (unsigned long long)writes, (unsigned long long)to->writes);
		for (i = 0, r = 0; i < to->npages; i++)
			r += sim_page_version(page_at(to, i), 3, i) &&
			     !sim_page_ok(page_at(to, i), 3, i);
		tap_ok(r == 0, "its pages are whole");
	}
	from->base.ops->free(&from->base);
	g->ops->free(g);
}

/* Back and forth in one pair, many times: nothing piles up. */
static void ping_pong(void)
{
	struct drover_sim *s[2] = { open_sim("size=4M,seed=3,zero=20,dirty=200M"),
				    open_sim("size=4M,seed=9") };
	struct json_object *o;
	int i, bad = 0;

	for (i = 0; i < 20; i++) {
		struct drover_sim *from = s[i % 2], *to = s[!(i % 2)];

		bad += arrive(from, to, RIGHT) != 0;
		to->base.ops->resumed(&to->base);
		nap_ms(3);
		if (i % 3)
			continue;
		o = wait_verdict(&to->base);
		bad += strcmp(member(o, "verdict"), "passed") != 0;
		json_object_put(o);
	}
	tap_ok(!bad, "20 moves back and forth, some before the check has ended");
	for (i = 0; i < 2; i++)
		s[i]->base.ops->free(&s[i]->base);
}

/* ---- state ---- */
static int load_bytes(struct drover_guest *g, const uint8_t *b, size_t n, struct drover_error *e)
{
	int fd = memfd_create("state", MFD_CLOEXEC), r;
	struct owner_token t = { { 1 } };

	if (fd < 0 || pwrite(fd, b, n, 0) != (ssize_t)n)
		abort();
	drover_err_clear(e);
	r = g->ops->load(g, &t, fd, e);
	close(fd);
	return r;
}

static void states(void)
{
	struct drover_sim *a = open_sim("size=1M,seed=4,dirty=1M"), *b = open_sim("size=1M");
	struct drover_sim *c = open_sim("size=2M");
	struct drover_error e = DROVER_ERROR_INIT;
	uint8_t state[SIM_STATE_LEN + 1] = { 0 };
	unsigned int i, taken = 0;
	int fd = -1;

	ask(&a->base, OWNER_EV_PAUSE, 1, NULL);
	tap_ok(a->base.ops->save(&a->base, &fd, &e) == 0 &&
	       pread(fd, state, sizeof(state), 0) == SIM_STATE_LEN &&
	       (fcntl(fd, F_GET_SEALS) & F_SEAL_WRITE), "save gives a sealed state");
	ask(&b->base, OWNER_EV_PREPARE, 0, NULL);
	ask(&b->base, OWNER_EV_INCOMING, 1, NULL);
	ask(&c->base, OWNER_EV_PREPARE, 0, NULL);
	ask(&c->base, OWNER_EV_INCOMING, 1, NULL);
	for (i = 0; i < SIM_STATE_LEN; i++)
		taken += load_bytes(&b->base, state, i, &e) != -EBADMSG;
	tap_ok(!taken && strstr(e.msg, "79 bytes"), "truncated anywhere: %s", e.msg);
	for (i = 0; i < SIM_STATE_LEN * 8; i++) {
		state[i / 8] ^= (uint8_t)(1 << i % 8);
		taken += load_bytes(&b->base, state, SIM_STATE_LEN, &e) != -EBADMSG;
		state[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	tap_ok(!taken, "any bit flipped: refused, %s", e.msg);
	tap_ok(load_bytes(&b->base, state, SIM_STATE_LEN + 1, &e) == -EBADMSG,
	       "too long: %s", e.msg);
	tap_ok(load_bytes(&c->base, state, SIM_STATE_LEN, &e) == -EBADMSG &&
	       strstr(e.msg, "2097152"),
	       "another size: %s", e.msg);
	tap_ok(!owner_token_set(&b->record.loaded) && b->args.seed == 1 && !b->sum, "a refused state changes nothing");
	tap_ok(load_bytes(&b->base, state, SIM_STATE_LEN, &e) == 0 && b->args.seed == 4 &&
	       b->sum == a->sum, "the right one is taken %s", e.msg);
	close(fd);
	a->base.ops->free(&a->base);
	b->base.ops->free(&b->base);
	c->base.ops->free(&c->base);
}

static void incoming(void)
{
	struct drover_sim *s = open_sim("size=4M,prefault=on"), *p = open_sim("size=4M,poison=on");
	struct drover_sim *n = open_sim("size=4M");
	struct drover_guest *g = &n->base;
	uint64_t data[16];

	tap_ok(ask(g, OWNER_EV_PREPARE, 0, NULL) == 0 &&
	       g->ops->status(g) == DROVER_GUEST_INCOMING && state_of(g) == OWNER_INCOMING &&
	       ask(g, OWNER_EV_CONT, 0, NULL) == -EPERM, "incoming: may not run");
	drover_datamap_read(&n->ram.block[0], data, NULL);
	tap_ok(drover_bitmap_count(data, 1024) == 0, "and is empty");
	ask(&s->base, OWNER_EV_PREPARE, 0, NULL);
	drover_datamap_read(&s->ram.block[0], data, NULL);
	tap_ok(drover_bitmap_count(data, 1024) == 1024 && page_at(s, 77)[1] == 0,
	       "prefault=on: there, and zero");
	ask(&p->base, OWNER_EV_PREPARE, 0, NULL);
	tap_ok(page_at(p, 0)[0] && page_at(p, 1023)[4095], "poison=on: junk everywhere");
	g->ops->free(g);
	s->base.ops->free(&s->base);
	p->base.ops->free(&p->base);
}

int main(void)
{
	static const enum wrong all[] = { RIGHT, FLIPPED_BYTE, OLD_PAGE, LOST_PAGE,
					  FILLED_HOLE };
	unsigned int i;

	links();
	kinds();
	pages();
	life();
	incoming();
	states();
	for (i = 0; i < DROVER_ARRAY_SIZE(all); i++)
		move(all[i], "size=8M");
	move(RIGHT, "size=8M,poison=on,seed=99");
	ping_pong();
	return tap_done();
}
