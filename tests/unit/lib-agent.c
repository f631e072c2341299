// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The agent link, both ends: a fake VMM on libdrover against droverd's client, every
 * request; then against raw datagrams that break each rule of agent.def; then what
 * libdrover refuses to register.
 */
#include "fake-vmm.h"
#include "lib/internal.h"
#include "ram/wrote.h"

/* Each look at the clock is two seconds after the last. */
static uint64_t fake_now(void)
{
	static uint64_t ahead;

	return drover_boot_ns() + (ahead += 2 * DROVER_NS_PER_S) - 2 * DROVER_NS_PER_S;
}

/* ---- every request, as the engine uses it ---- */

static void test_attach(struct fake *f, struct drover_guest *g)
{
	const struct drover_guest_traits *t = g->ops->traits(g);
	const struct drover_ram *ram = g->ops->ram(g);
	struct drover_track_source src;
	struct stat st;

	tap_ok(!stat(f->path, &st) && (st.st_mode & 0777) == 0600, "the socket is 0600");
	tap_ok(ram->n == 1 && !strcmp(ram->block[0].name, "ram") && ram->block[0].gpa == 4096 &&
	       ram->block[0].size == PAGES * 4096, "RAM block");
	f->host[5000] = 1;
	tap_ok(ram->block[0].host[5000] == 1, "mapped shared");
	tap_ok(t->has_uuid && t->uuid[1] == 2 && t->can_throttle && t->keeps_record, "traits");
	tap_ok(!g->ops->track_source(g, &src, NULL) && src.pid == getpid() && src.kvm_log &&
	       src.block[0].base == (uintptr_t)f->host && src.pagemap_fd >= 0,
	       "track source: base, pid, pagemap");
	tap_ok(g->ops->status(g) == DROVER_GUEST_RUNNING, "running");
}

static void test_source(struct fake *f, struct drover_guest *g)
{
	struct drover_error e = DROVER_ERROR_INIT;
	_cleanup_close_ int fd = -EBADF;
	struct owner_record rec;
	char buf[8] = "";

	tap_ok(g->ops->save(g, &fd, &e) == -EPERM, "SAVE of a running guest: %s", e.msg);
	tap_ok(!g->ops->throttle(g, 30, &e) && f->percent == 30, "THROTTLE");
	drover_err_clear(&e);
	tap_ok(g->ops->throttle(g, 100, &e) == -EINVAL, "THROTTLE 100: %s", e.msg);
	tap_ok(ask(g, OWNER_EV_PREPARE, 0, &e) == -EPERM && !f->prepared, "%s", e.msg);
	tap_ok(ask(g, OWNER_EV_DOUBT, 1, &e) == -EPERM, "%s", e.msg);
	tap_ok(ask(g, OWNER_EV_PAUSE, 0, &e) == -EINVAL, "%s", e.msg);
	tap_ok(!ask(g, OWNER_EV_PAUSE, 1, &e) && f->paused == 1 && state_of(g) == OWNER_FINAL &&
	       g->ops->status(g) == DROVER_GUEST_PAUSED, "PAUSE");
	tap_ok(!ask(g, OWNER_EV_PAUSE, 1, &e) && f->paused == 1 &&
	       ask(g, OWNER_EV_PAUSE, 2, NULL) == -EPERM, "again; of another session: refused");
	tap_ok(!g->ops->save(g, &fd, &e) && pread(fd, buf, 8, 0) == 5 && !strcmp(buf, "state") &&
	       pwrite(fd, "x", 1, 0) < 0, "SAVE: a sealed file");
	tap_ok(ask(g, OWNER_EV_DISCARD, 0, &e) == -EPERM && !f->prepared,
	       "PREPARE of the only image: %s", e.msg);
	tap_ok(!ask(g, OWNER_EV_DOUBT, 1, &e) && !g->ops->owner_known(g, &rec) &&
	       rec.state == OWNER_IN_DOUBT && rec.token.byte[0] == 1 && rec.since &&
	       !strcmp(rec.peer, "{\"a\":1}") && rec.will && !rec.running, "DOUBT");
	tap_ok(ask(g, OWNER_EV_CONT, 0, &e) == -EPERM && !f->running, "CONT in doubt: %s", e.msg);
	tap_ok(ask(g, OWNER_EV_PREPARE, 0, &e) == -EPERM, "PREPARE in doubt: %s", e.msg);
	tap_ok(load(g, 1, "state", true, &e) == -EPERM, "LOAD in doubt: %s", e.msg);
	tap_ok(ask(g, OWNER_EV_TAKE, 1, &e) == -EAGAIN, "own by force waits: %s", e.msg);
	tap_ok(!ask(g, OWNER_EV_BACK, 1, &e) && f->running && state_of(g) == OWNER_OWNED &&
	       g->ops->status(g) == DROVER_GUEST_RUNNING, "BACK: it runs at once");
	tap_ok(!g->ops->owner_known(g, &rec) &&
	       owner_outcome(&rec, &(struct owner_token){ { 1 } }) == OWNER_OUTCOME_MINE,
	       "and the destination is to be told");
	tap_ok(!ask(g, OWNER_EV_TOLD, 1, &e) && !g->ops->owner_known(g, &rec) &&
	       !owner_must_answer(&rec), "TOLD");
}

/* What the user wants is nobody else's to change. */
static void test_will(struct fake *f, struct drover_guest *g)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct owner_record rec;

	tap_ok(!ask(g, OWNER_EV_STOP, 0, &e) && !f->running && !g->ops->owner_known(g, &rec) &&
	       !rec.will, "STOP");
	tap_ok(!ask(g, OWNER_EV_PAUSE, 3, &e) && !ask(g, OWNER_EV_BACK, 3, &e) && !f->running,
	       "a failed migration does not start it");
	tap_ok(!ask(g, OWNER_EV_PAUSE, 3, &e) && !ask(g, OWNER_EV_CONT, 0, &e) && !f->running &&
	       !drover_agent_may_run(f->agent), "CONT in the final pause is noted");
	tell(f, 'r');
	tap_ok(becomes(&f->noted, -EAGAIN) && !f->running, "also the VMM's own");
	tap_ok(!ask(g, OWNER_EV_BACK, 3, &e) && f->running && drover_agent_may_run(f->agent),
	       "and obeyed when it is over");
	f->fail = DROVER_AGENT_CONT;
	ask(g, OWNER_EV_PAUSE, 3, &e);
	tap_ok(!ask(g, OWNER_EV_BACK, 3, &e) && e.code && strstr(e.msg, "the fake refuses") &&
	       !g->ops->owner_known(g, &rec) && rec.state == OWNER_OWNED && !rec.running,
	       "a start that fails is told: %s", e.msg);
	f->fail = 0;
	tap_ok(!ask(g, OWNER_EV_CONT, 0, &e) && !e.code && f->running, "CONT tries again");
	ask(g, OWNER_EV_TOLD, 3, &e);
}

/* A destination's guest runs on what this RAM still has. */
static void test_serving(struct fake *f, struct drover_guest *g)
{
	struct drover_error e = DROVER_ERROR_INIT;

	ask(g, OWNER_EV_PAUSE, 1, &e);
	tap_ok(ask(g, OWNER_EV_SERVE, 1, &e) == -EPERM, "serving only from in-doubt: %s", e.msg);
	f->host[5000] = 77;
	tap_ok(!ask(g, OWNER_EV_DOUBT, 1, &e) && !ask(g, OWNER_EV_SERVE, 1, &e), "SERVE");
	tap_ok(ask(g, OWNER_EV_DISCARD, 0, &e) == -EPERM && strstr(e.msg, "serving") &&
	       !f->prepared && f->host[5000] == 77, "PREPARE empties nothing: %s", e.msg);
	tap_ok(ask(g, OWNER_EV_CONT, 0, &e) == -EPERM && !f->running && strstr(e.msg, "serving"),
	       "CONT: %s", e.msg);
	tap_ok(ask(g, OWNER_EV_BACK, 1, &e) == -EPERM && ask(g, OWNER_EV_TAKE, 1, NULL) == -EPERM &&
	       ask(g, OWNER_EV_DOUBT, 1, NULL) == -EPERM &&
	       ask(g, OWNER_EV_INCOMING, 2, NULL) == -EPERM, "nor is there a way round: %s", e.msg);
	tap_ok(!ask(g, OWNER_EV_RELEASE, 1, NULL), "RELEASE");
}

static void test_dest(struct fake *f, struct drover_guest *g)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct stat st;

	tap_ok(ask(g, OWNER_EV_BACK, 1, &e) == -EPERM, "released is final: %s", e.msg);
	tap_ok(!ask(g, OWNER_EV_PREPARE, 0, &e) && f->prepared == 1 && !fstat(f->fd, &st) &&
	       !st.st_blocks && f->host[5000] == 0, "PREPARE empties the RAM");
	tap_ok(g->ops->status(g) == DROVER_GUEST_INCOMING, "incoming");
	tap_ok(!ask(g, OWNER_EV_INCOMING, 2, &e) && f->prepared == 1, "INCOMING");
	tap_ok(ask(g, OWNER_EV_OWN, 2, &e) == -EPERM, "no state: %s", e.msg);
	tap_ok(load(g, 2, "junk!", true, &e) == -EINVAL && strstr(e.msg, "not my state"),
	       "LOAD of junk: %s", e.msg);
	tap_ok(load(g, 2, "state", false, &e) == -EINVAL, "LOAD unsealed: %s", e.msg);
	tap_ok(load(g, 2, "", true, &e) == -EINVAL, "LOAD of nothing: %s", e.msg);
	tap_ok(load(g, 9, "state", true, &e) == -EPERM, "LOAD of another session: %s", e.msg);
	tap_ok(ask(g, OWNER_EV_PROVED, 2, &e) == -EPERM, "still no state");
	tap_ok(!load(g, 2, "state", true, &e), "LOAD");
	tap_ok(ask(g, OWNER_EV_OWN, 2, &e) == -EPERM && strstr(e.msg, "not compared"),
	       "not before the digests are equal: %s", e.msg);
	tap_ok(!ask(g, OWNER_EV_INCOMING, 3, &e) && f->prepared == 2 &&
	       ask(g, OWNER_EV_OWN, 3, &e) == -EPERM, "another session finds it empty");
	tap_ok(!load(g, 3, "state", true, &e) && !ask(g, OWNER_EV_PROVED, 3, &e) &&
	       !ask(g, OWNER_EV_FENCE, 3, &e) && ask(g, OWNER_EV_OWN, 3, &e) == -EPERM &&
	       ask(g, OWNER_EV_INCOMING, 3, NULL) == -EPERM, "fenced is final: %s", e.msg);
	tap_ok(ask(g, OWNER_EV_INCOMING, 4, &e) == -EPERM &&
	       ask(g, OWNER_EV_PREPARE, 0, NULL) == -EPERM && f->prepared == 2,
	       "its copy is kept: %s", e.msg);
	tap_ok(!ask(g, OWNER_EV_MINE, 3, &e) && !ask(g, OWNER_EV_INCOMING, 4, &e) &&
	       f->prepared == 3, "until its source has spoken");
	tap_ok(!load(g, 4, "state", true, &e) && !ask(g, OWNER_EV_PROVED, 4, &e) &&
	       !ask(g, OWNER_EV_OWN, 4, &e) && f->running, "the next session owns and runs");
}

/* COMMIT that comes too late, and one that the VMM was too slow for. */
static void test_late(struct fake *f, struct drover_guest *g)
{
	struct owner_args args = session_args(6);
	struct drover_error e = DROVER_ERROR_INIT;
	int resumed = f->resumed;

	load(g, 6, "state", true, &e);
	ask(g, OWNER_EV_PROVED, 6, &e);
	args.until = drover_boot_ns() - 1;
	drover_err_clear(&e);
	tap_ok(g->ops->request(g, OWNER_EV_OWN, &args, NULL, NULL, &e) == -ETIME &&
	       state_of(g) == OWNER_INCOMING, "too late: %s", e.msg);
	args.until = drover_boot_ns() + DROVER_NS_PER_S;
	f->agent->now = fake_now;
	drover_err_clear(&e);
	tap_ok(g->ops->request(g, OWNER_EV_OWN, &args, NULL, NULL, &e) == -ETIME &&
	       state_of(g) == OWNER_INCOMING && f->resumed == resumed,
	       "in time when it is asked, not when it is stored: %s", e.msg);
	f->agent->now = drover_boot_ns;
	args.until = drover_boot_ns() + 5 * DROVER_NS_PER_S;
	tap_ok(!g->ops->request(g, OWNER_EV_OWN, &args, NULL, NULL, &e) && f->running, "in time");
	args.until = 1;
	tap_ok(!g->ops->request(g, OWNER_EV_OWN, &args, NULL, NULL, &e) && f->running,
	       "told twice: no error");
}

static void test_log(struct fake *f, struct drover_guest *g)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_track_source src;
	uint64_t map[2] = { 0x100, 0 }, *maps[] = { map };

	g->ops->track_source(g, &src, NULL);
	tap_ok(src.kvm_sync(src.opaque, maps, &e) == -EINVAL, "SYNC_DIRTY before: %s", e.msg);
	drover_err_clear(&e);
	tap_ok(!src.kvm_start(src.opaque, &e) && f->log == 1, "LOG_START");
	tap_ok(!src.kvm_sync(src.opaque, maps, &e) && map[0] == 0x111 && map[1] == 1,
	       "SYNC_DIRTY: OR-ed, and nothing past the last page");
	tap_ok(!src.kvm_stop(src.opaque, &e) && !f->log && !src.kvm_stop(src.opaque, &e),
	       "LOG_STOP, twice");
}

static void test_verdict(struct fake *f, struct drover_guest *g)
{
	struct json_object *o = g->ops->check(g), *v;
	uint64_t deadline = drover_deadline_ms(5000);

	tap_ok(!o, "no verdict yet");
	f->verdict = 4711;
	tell(f, 'v');
	while (!(o = g->ops->check(g)) && drover_now_ns() < deadline)
		poll(&(struct pollfd){ .fd = g->ops->watch_fd(g), .events = POLLIN }, 1, 100);
	tap_ok(o && json_object_object_get_ex(o, "verdict", &v) &&
	       !strcmp(json_object_get_string(v), "4711"), "VERDICT pushed");
	json_object_put(o);
	tell(f, 'p');
	tap_ok(status_becomes(g, DROVER_GUEST_PAUSED), "STATUS pushed");
}

static void test_failures(struct fake *f, struct drover_guest *g)
{
	struct drover_error e = DROVER_ERROR_INIT;
	int fd = -1;

	f->fail = DROVER_AGENT_PAUSE;
	ask(g, OWNER_EV_CONT, 0, &e);
	tap_ok(ask(g, OWNER_EV_PAUSE, 8, &e) == -EIO && strstr(e.msg, "PAUSE: the fake refuses") &&
	       state_of(g) == OWNER_OWNED, "a failed callback: %s", e.msg);
	f->fail = DROVER_AGENT_SAVE;
	ask(g, OWNER_EV_PAUSE, 8, &e);
	drover_err_clear(&e);
	tap_ok(g->ops->save(g, &fd, &e) == -EIO && fd == -1, "a failed SAVE: %s", e.msg);
	f->fail = 0;
	drover_err_clear(&e);
	tap_ok(!ask(g, OWNER_EV_BACK, 8, &e), "the link goes on");
}

static void test_second(struct fake *f)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_guest *g = attach(f, &e);

	tap_ok(!g && e.code == -EBUSY && strstr(e.msg, "another droverd is attached"),
	       "a second droverd is refused: %s", e.msg);
}

static unsigned int count_fds(void)
{
	unsigned int n = 0;
	int i;

	for (i = 0; i < 256; i++)
		n += fcntl(i, F_GETFD) >= 0;
	return n;
}

/* A broken datagram is answered with ERROR, ends the link, and leaks nothing. */
static bool broken(struct fake *f, struct drover_agent_hdr h, size_t len, unsigned int nfds)
{
	struct drover_agent_msg m;
	_cleanup_close_ int fd = raw_hello(f, &m);
	bool ok;

	if (!raw_send(fd, h, len, nfds))
		return false;
	ok = raw_recv(fd, &m) == DROVER_AGENT_ERROR && m.body.error.code == -EPROTO;
	return ok && raw_recv(fd, &m) == 0;
}

static void test_broken(struct fake *f)
{
	unsigned int type, before = count_fds(), bad = 0, rows = 0;
	struct drover_agent_hdr h;

	for (type = 1; type < DROVER_AGENT_TYPE_COUNT; type++) {
		const struct drover_agent_rule *r = drover_agent_rule(type);

		if (!r)
			continue;
		rows++;
		h = header(type, r->len_min);
		if (r->from == DROVER_AGENT_FROM_V) {
			bad += !broken(f, h, r->len_min, r->fds_min);
			continue;
		}
		bad += !broken(f, header(type, r->len_max + 1), r->len_max + 1, r->fds_min);
		if (r->len_min)
			bad += !broken(f, header(type, r->len_min - 1), r->len_min - 1,
				       r->fds_min);
		bad += !broken(f, h, r->len_min + 1, r->fds_min);
		bad += !broken(f, h, r->len_min, r->fds_max + 1);
		if (r->fds_min)
			bad += !broken(f, h, r->len_min, r->fds_min - 1);
	}
	tap_ok(!bad && rows == 49, "each of %u messages: wrong side, length, header, descriptors",
	       rows);
	h = header(DROVER_AGENT_STOP, 0);
	h.magic ^= 1;
	tap_ok(broken(f, h, 0, 0), "bad magic");
	h = header(DROVER_AGENT_STOP, 0);
	h.version++;
	tap_ok(broken(f, h, 0, 0), "another version");
	h = header(DROVER_AGENT_STOP, 0);
	h.seq = 0;
	tap_ok(broken(f, h, 0, 0), "a request with an event's number");
	tap_ok(broken(f, header(DROVER_AGENT_HELLO, 16), 16, 0), "HELLO twice");
	/* The last link may still be closing on the other side. */
	tap_ok(becomes(&f->closed, f->closed) && count_fds() <= before + 1, "no descriptor leaked");
}

static void test_unknown(struct fake *f)
{
	struct drover_agent_msg m;
	_cleanup_close_ int fd = raw_hello(f, &m);
	uint8_t half[8] = { 0 };

	raw_send(fd, header(999, 0), 0, 1);
	tap_ok(raw_recv(fd, &m) == DROVER_AGENT_ERROR && m.body.error.code == -EOPNOTSUPP &&
	       m.hdr.seq == 1, "an unknown type is answered");
	raw_send(fd, header(DROVER_AGENT_ARM_FAULTS, 0), 0, 0);
	tap_ok(raw_recv(fd, &m) == DROVER_AGENT_ERROR && m.body.error.code == -EINVAL,
	       "ARM_FAULTS without a ledger");
	raw_send(fd, header(DROVER_AGENT_OWNER_GET, 0), 0, 0);
	tap_ok(raw_recv(fd, &m) == DROVER_AGENT_OWNER, "and the link lives");
	tap_ok(send(fd, half, sizeof(half), 0) == sizeof(half) &&
	       raw_recv(fd, &m) == DROVER_AGENT_ERROR && !raw_recv(fd, &m), "half a header");
}

static void test_early(struct fake *f)
{
	struct drover_agent_msg m;
	_cleanup_close_ int fd = raw_connect(f);

	raw_send(fd, header(DROVER_AGENT_STOP, 0), 0, 0);
	tap_ok(raw_recv(fd, &m) == DROVER_AGENT_ERROR && !raw_recv(fd, &m) && f->running,
	       "a request before HELLO");
}

/* ---- what libdrover is given ---- */

static const char *attach_to(const char *dir, size_t file, uint64_t len, const char *name,
			     uint64_t gpa2, struct drover_error *e)
{
	_cleanup_close_ int fd = memfd_create("ram", MFD_CLOEXEC);
	struct drover_agent_opts o = { .size = sizeof(o), .ops = &ops };
	struct drover_agent_ram_opts ram = { .size = sizeof(ram), .len = len, .name = name,
					     .fd = fd };
	struct drover_agent *a = NULL;
	struct drover_text why = { "" };
	char path[108];
	int r;

	snprintf(path, sizeof(path), "%s/lie", dir);
	o.path = path;
	ram.host = mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 0);
	drover_agent_new(&o, &a, &why);
	r = ftruncate(fd, (off_t)file);
	if (r >= 0)
		r = drover_agent_add_ram(a, &ram, &why);
	ram.name = "second";
	ram.gpa = gpa2;
	if (r >= 0)
		r = drover_agent_add_ram(a, &ram, &why);
	if (r >= 0)
		r = drover_agent_listen(a, &why);
	munmap(ram.host, 8192);
	drover_agent_free(a);
	return r < 0 ? drover_err(e, r, "%s", why.text), e->msg : "accepted";
}

static void test_register(const char *dir)
{
	static const struct {
		const char *what, *name;
		size_t file;
		uint64_t len, gpa2;
		int code;
	} cases[] = {
		{ "good", "a", 4096, 4096, 4096, 0 },
		{ "longer than its file", "a", 4096, 8192, 8192, -EINVAL },
		{ "half a page", "a", 4096, 2048, 4096, -EINVAL },
		{ "a bad name", "a b", 4096, 4096, 4096, -EINVAL },
		{ "no name", "", 4096, 4096, 4096, -EINVAL },
		{ "a name twice", "second", 4096, 4096, 4096, -EEXIST },
		{ "overlapping", "a", 8192, 8192, 4096, -EINVAL },
		{ "beyond the address space", "a", 4096, 4096, ~4095ull, -EINVAL },
	};
	struct drover_agent_opts o = { .size = 8 };
	struct drover_agent *a = NULL;
	struct drover_text why;
	size_t i;

	for (i = 0; i < DROVER_ARRAY_SIZE(cases); i++) {
		struct drover_error e = DROVER_ERROR_INIT;
		const char *s = attach_to(dir, cases[i].file, cases[i].len, cases[i].name,
					  cases[i].gpa2, &e);

		tap_ok(e.code == cases[i].code, "register RAM, %s: %s", cases[i].what, s);
	}
	tap_ok(drover_agent_new(&o, &a, &why) == -EINVAL && !a, "short opts: %s", why.text);
	o = (struct drover_agent_opts){ .size = sizeof(o), .ops = &ops, .path = "x", .flags = 64 };
	tap_ok(drover_agent_new(&o, &a, &why) == -EINVAL && !a, "unknown flags: %s", why.text);
}

/* Device writes: reported by any thread, taken by droverd, kept for the next one. */
static void test_wrote(const char *dir)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_track_source src;
	struct drover_guest *g;
	uint64_t map[2] = { 0 };
	unsigned int token;
	struct fake f;

	fake_start(&f, dir, 0);
	g = attach(&f, &e);
	tap_ok(g && !g->ops->track_source(g, &src, &e) && !src.wrote &&
	       drover_agent_wrote(f.agent, 0, 0, 1) == -EINVAL,
	       "a VMM that does not promise to report");
	drover_guest_free(g);
	fake_end(&f);
	fake_start(&f, dir, DROVER_AGENT_OPT_REPORTS_WRITES);
	g = attach(&f, &e);
	if (!tap_ok(g && !g->ops->track_source(g, &src, &e) && src.wrote, "one that does %s", e.msg))
		exit(1);
	tap_ok(!drover_agent_wrote(f.agent, 0, 4095, 2) && !drover_agent_wrote(f.agent, 0, 8192, 0) &&
	       !drover_agent_wrote(f.agent, 0, 64 * 4096, 4096), "wrote");
	drover_wrote_take(src.wrote, 0, PAGES, map);
	tap_ok(map[0] == 3 && map[1] == 1, "each page that was touched, and no other");
	tap_ok(drover_agent_wrote(f.agent, 1, 0, 1) == -EINVAL &&
	       drover_agent_wrote(f.agent, 0, PAGES * 4096, 1) == -EINVAL &&
	       drover_agent_wrote(f.agent, 0, ~0ull, 2) == -EINVAL &&
	       drover_agent_wrote(f.agent, 0, 4096, ~0ull) == -EINVAL, "not within a block");
	token = drover_agent_io_begin(f.agent);
	tap_ok(drover_wrote_under_way(src.wrote, 0) + drover_wrote_under_way(src.wrote, 1) == 1,
	       "io_begin");
	drover_agent_io_end(f.agent, token);
	tap_ok(!drover_wrote_under_way(src.wrote, 0) && !drover_wrote_under_way(src.wrote, 1),
	       "io_end");
	drover_agent_wrote(f.agent, 0, 4096, 1);
	drover_guest_free(g);
	g = attach(&f, &e);
	memset(map, 0, sizeof(map));
	tap_ok(g && !g->ops->track_source(g, &src, &e) && src.wrote, "the next droverd %s", e.msg);
	drover_wrote_take(src.wrote, 0, PAGES, map);
	tap_ok(map[0] == 2, "has what the last one did not take");
	drover_guest_free(g);
	fake_end(&f);
}

/* Memory that can't be moved is refused when it is registered; a destination is asked more. */
static void excluded(const char *dir, int fd, int map_flags, uint32_t flags, const char *what,
		     const char *part)
{
	struct drover_agent_opts o = { .size = sizeof(o), .ops = &ops, .flags = flags };
	struct drover_agent_ram_opts ram = { .size = sizeof(ram), .len = 2 << 20, .name = "ram7",
					     .fd = fd };
	struct drover_agent *a = NULL;
	struct drover_text why = { "" };
	char path[108];
	int r;

	snprintf(path, sizeof(path), "%s/excluded", dir);
	o.path = path;
	if (fd < 0 || ftruncate(fd, 2 << 20) < 0 || drover_agent_new(&o, &a, &why) < 0)
		abort();
	ram.host = mmap(NULL, 2 << 20, PROT_READ | PROT_WRITE, map_flags | MAP_NORESERVE, fd, 0);
	r = drover_agent_add_ram(a, &ram, &why);
	tap_ok(part ? r == -EOPNOTSUPP && strstr(why.text, "ram7") && strstr(why.text, part) :
	       r == 0, "register %s: %s", what, r ? why.text : "accepted");
	munmap(ram.host, 2 << 20);
	drover_agent_free(a);
	close(fd);
}

static int unnamed(const char *dir)
{
	return open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

/* Both ends ask once more before a destination's RAM is emptied. */
static void test_sealed_late(const char *dir)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_agent_msg m;
	struct drover_guest *g;
	struct fake f;
	int fd;

	fake_start(&f, dir, DROVER_AGENT_OPT_INCOMING);
	g = attach(&f, &e);
	fcntl(f.fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE);
	tap_ok(g && ask(g, OWNER_EV_PREPARE, 0, &e) == -EOPNOTSUPP &&
	       strstr(e.msg, "F_SEAL_FUTURE_WRITE") && !f.prepared && f.host[5000] == 0x77,
	       "sealed after attach, PREPARE by droverd: %s", e.msg);
	drover_guest_free(g);
	fd = raw_hello(&f, &m);
	raw_send(fd, header(DROVER_AGENT_PREPARE, 8), 8, 0);
	tap_ok(raw_recv(fd, &m) == DROVER_AGENT_ERROR && m.body.error.code == -EOPNOTSUPP &&
	       strstr(m.body.error.text, "F_SEAL_FUTURE_WRITE") && !f.prepared &&
	       f.host[5000] == 0x77, "PREPARE by anybody: %s", m.body.error.text);
	close(fd);
	fake_end(&f);
}

static void test_excluded(const char *dir)
{
	const uint32_t dest = DROVER_AGENT_OPT_INCOMING;
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_guest *g;
	struct fake f;

	excluded(dir, memfd_create("r", MFD_CLOEXEC), MAP_SHARED, 0, "a memfd", NULL);
	excluded(dir, memfd_create("r", MFD_CLOEXEC), MAP_PRIVATE, 0, "it mapped private",
		 "share=on");
	excluded(dir, memfd_create("r", MFD_CLOEXEC | MFD_HUGETLB), MAP_SHARED, 0, "huge pages",
		 "MFD_HUGETLB");
	excluded(dir, unnamed(dir), MAP_SHARED, 0, "a file at a source", NULL);
	excluded(dir, unnamed("/dev/shm"), MAP_SHARED, dest, "a tmpfs file at a destination", NULL);
	excluded(dir, unnamed(dir), MAP_SHARED, dest, "a file at a destination", "tmpfs");
	/* A source that becomes a destination is asked again, before anything is lost. */
	fake_start(&f, dir, DROVER_AGENT_OPT_INCOMING);
	fcntl(f.fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE);
	g = attach(&f, &e);
	tap_ok(!g && strstr(e.msg, "F_SEAL_FUTURE_WRITE"), "sealed later, attach: %s", e.msg);
	fake_end(&f);
	test_sealed_late(dir);
}

static void test_longer_opts(const char *dir)
{
	struct {
		struct drover_agent_opts o;
		uint64_t more;
	} big = { { .size = sizeof(big), .ops = &ops }, 0 };
	struct drover_agent *a = NULL;
	struct drover_text why;
	char path[108];

	snprintf(path, sizeof(path), "%s/big", dir);
	big.o.path = path;
	tap_ok(!drover_agent_new(&big.o, &a, &why), "longer opts whose rest is zero");
	drover_agent_free(a);
	big.more = 1;
	a = NULL;
	tap_ok(drover_agent_new(&big.o, &a, &why) == -E2BIG && !a, "or not: %s", why.text);
}

static void test_socket(const char *dir)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_guest *g = NULL;
	struct fake f, f2;
	char path[108];
	int fd;

	fake_start(&f, dir, 0);
	tap_ok(!fake_open(&f2, dir, 0), "a socket in use is not taken");
	drover_agent_free(f2.agent);
	munmap(f2.host, PAGES * 4096);
	close(f2.fd);
	tap_ok(!access(f.path, F_OK), "and stays");
	fake_end(&f);
	tap_ok(access(f.path, F_OK) < 0, "a socket goes with its agent");
	/* What a killed VMM leaves behind. */
	fd = open(f.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	tap_ok(!fake_open(&f2, dir, 0) && !access(f.path, F_OK), "a plain file is not removed");
	drover_agent_free(f2.agent);
	munmap(f2.host, PAGES * 4096);
	close(f2.fd);
	unlink(f.path);
	snprintf(path, sizeof(path), "%s/none", dir);
	tap_ok(drover_agent_open(path, NULL, &g, &e) == -ENOENT && !g, "no VMM: %s", e.msg);
}

int main(void)
{
	char dir[] = "/tmp/drover-test-XXXXXX";
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_guest *g;
	struct fake f;

	if (!mkdtemp(dir))
		return 1;
	fake_start(&f, dir, 0);
	g = attach(&f, &e);
	if (!tap_ok(g != NULL, "attach %s", e.msg))
		return tap_done();
	test_attach(&f, g);
	test_source(&f, g);
	test_will(&f, g);
	test_second(&f);
	test_serving(&f, g);
	test_dest(&f, g);
	test_log(&f, g);
	test_verdict(&f, g);
	test_failures(&f, g);
	drover_guest_free(g);
	fake_end(&f);
	fake_start(&f, dir, DROVER_AGENT_OPT_INCOMING);
	g = attach(&f, &e);
	ask(g, OWNER_EV_INCOMING, 6, &e);
	test_late(&f, g);
	drover_guest_free(g);
	fake_end(&f);
	fake_start(&f, dir, 0);
	test_early(&f);
	test_unknown(&f);
	test_broken(&f);
	fake_end(&f);
	test_register(dir);
	test_wrote(dir);
	test_excluded(dir);
	test_longer_opts(dir);
	test_socket(dir);
	rmdir(dir);
	return tap_done();
}
