// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The ownership record over a real socket: each state by each request is what the table
 * says, and its refusals change nothing; and what becomes of it when an end dies, is closed,
 * or stands still past a request's deadline.
 */
#include "fake-vmm.h"

#include "agent/ledger.h"
#include "guest/agent-link.h"

static int request(struct drover_guest *g, int type, struct drover_error *e)
{
	struct drover_track_source src;
	uint64_t map[2] = { 0 }, *maps[] = { map };
	int fd = -1;

	g->ops->track_source(g, &src, NULL);
	switch (type) {
	case DROVER_AGENT_PAUSE: return ask(g, OWNER_EV_PAUSE, 1, e);
	case DROVER_AGENT_CONT: return ask(g, OWNER_EV_BACK, 1, e);
	case DROVER_AGENT_SAVE: return g->ops->save(g, &fd, e);
	case DROVER_AGENT_LOAD: return load(g, 1, "state", true, e);
	case DROVER_AGENT_PREPARE: return ask(g, OWNER_EV_PREPARE, 0, e);
	case DROVER_AGENT_INCOMING: return ask(g, OWNER_EV_INCOMING, 1, e);
	case DROVER_AGENT_THROTTLE: return g->ops->throttle(g, 1, e);
	case DROVER_AGENT_LOG_START: return src.kvm_start(src.opaque, e);
	case DROVER_AGENT_LOG_STOP: return src.kvm_stop(src.opaque, e);
	case DROVER_AGENT_SYNC_DIRTY: return src.kvm_sync(src.opaque, maps, e);
	default: return 0;
	}
}

static void test_death(const char *dir)
{
	static const struct {
		int type, before;
		uint32_t flags;
	} cases[] = {
		{ DROVER_AGENT_PAUSE, 0, 0 },
		{ DROVER_AGENT_CONT, DROVER_AGENT_PAUSE, 0 },
		{ DROVER_AGENT_SAVE, DROVER_AGENT_PAUSE, 0 },
		{ DROVER_AGENT_LOAD, DROVER_AGENT_INCOMING, DROVER_AGENT_OPT_INCOMING },
		{ DROVER_AGENT_PREPARE, 0, DROVER_AGENT_OPT_INCOMING },
		{ DROVER_AGENT_THROTTLE, 0, 0 },
		{ DROVER_AGENT_LOG_START, 0, 0 },
		{ DROVER_AGENT_LOG_STOP, DROVER_AGENT_LOG_START, 0 },
		{ DROVER_AGENT_SYNC_DIRTY, DROVER_AGENT_LOG_START, 0 },
	};
	size_t i;

	for (i = 0; i < DROVER_ARRAY_SIZE(cases); i++) {
		struct drover_error e = DROVER_ERROR_INIT, e2 = DROVER_ERROR_INIT;
		struct fake f;
		pid_t pid = dying_vmm(&f, dir, cases[i].type, cases[i].flags);
		struct drover_guest *g = attach(&f, &e);
		uint64_t t;

		if (g && cases[i].before)
			request(g, cases[i].before, &e);
		t = drover_now_ns();
		tap_ok(g && request(g, cases[i].type, &e) == -ENOTCONN &&
		       drover_now_ns() - t < 5 * DROVER_NS_PER_S, "death in %s: %s",
		       drover_agent_rule((unsigned int)cases[i].type)->name, e.msg);
		tap_ok(g && status_becomes(g, DROVER_GUEST_GONE) &&
		       request(g, DROVER_AGENT_PAUSE, &e2) == -ENOTCONN, "gone for good");
		if (g)
			drover_guest_free(g);
		waitpid(pid, NULL, 0);
	}
}

/* A VMM that accepts and never answers; and a cancelled wait. */
static void test_cancel(const char *dir)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct owner_args args = session_args(1);
	struct owner_record rec;
	struct drover_guest *g;
	struct drover_cancel c;
	struct fake f;
	pid_t pid = dying_vmm(&f, dir, 0, 0);

	g = attach(&f, &e);
	drover_cancel_init(&c, &e);
	kill(pid, SIGSTOP);
	drover_cancel_ring(&c);
	tap_ok(g->ops->request(g, OWNER_EV_PAUSE, &args, &c, NULL, &e) == -ECANCELED,
	       "PAUSE cancelled: %s", e.msg);
	tap_ok(g->ops->owner_known(g, &rec) == -EAGAIN, "what the record says is not known");
	kill(pid, SIGCONT);
	drover_err_clear(&e);
	tap_ok(!g->ops->throttle(g, 5, &e), "its late answer is not taken for the next");
	tap_ok(g->ops->status(g) == DROVER_GUEST_PAUSED && state_of(g) == OWNER_FINAL,
	       "but tells that the VMM had paused");
	kill(pid, SIGKILL);
	tap_ok(status_becomes(g, DROVER_GUEST_GONE), "a killed VMM is noticed without a request");
	waitpid(pid, NULL, 0);
	drover_guest_free(g);
	drover_cancel_deinit(&c);
}

static void test_stale_socket(const char *dir)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_guest *g;
	struct fake f;
	pid_t pid = dying_vmm(&f, dir, 0, 0);

	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	tap_ok(!access(f.path, F_OK), "a killed VMM leaves its socket");
	fake_start(&f, dir, 0);
	g = attach(&f, &e);
	tap_ok(g != NULL, "which the next one replaces");
	if (g)
		drover_guest_free(g);
	fake_end(&f);
}

/* ---- the table, walked ---- */

/* Over one link, from what the VMM was started as. */
static void bring_to(struct drover_guest *g, enum owner_state s)
{
	static const enum owner_event way[OWNER_STATE_COUNT][3] = {
		[OWNER_FINAL] = { OWNER_EV_PAUSE },
		[OWNER_IN_DOUBT] = { OWNER_EV_PAUSE, OWNER_EV_DOUBT },
		[OWNER_SERVING] = { OWNER_EV_PAUSE, OWNER_EV_DOUBT, OWNER_EV_SERVE },
		[OWNER_RELEASED] = { OWNER_EV_PAUSE, OWNER_EV_DOUBT, OWNER_EV_RELEASE },
		[OWNER_INCOMING] = { OWNER_EV_INCOMING },
		[OWNER_FENCED] = { OWNER_EV_INCOMING, OWNER_EV_FENCE },
	};
	static const unsigned int steps[OWNER_STATE_COUNT] = {
		[OWNER_FINAL] = 1, [OWNER_IN_DOUBT] = 2, [OWNER_SERVING] = 3,
		[OWNER_RELEASED] = 3, [OWNER_INCOMING] = 1, [OWNER_FENCED] = 2,
	};
	struct drover_error e = DROVER_ERROR_INIT;
	unsigned int i;

	for (i = 0; i < steps[s]; i++)
		if (ask(g, way[s][i], 1, &e) < 0)
			tap_diag("%s", e.msg);
	if (state_of(g) != s)
		tap_ok(false, "a record that is %s", owner_state_name(s));
}

static struct drover_guest *fake_in(struct fake *f, const char *dir, enum owner_state s)
{
	bool dest = s == OWNER_INCOMING || s == OWNER_FENCED;
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_guest *g;

	fake_start(f, dir, dest ? DROVER_AGENT_OPT_INCOMING : 0);
	g = attach(f, &e);
	if (!g)
		exit(1);
	bring_to(g, s);
	return g;
}

static int put_ledger(struct drover_guest *g, uint8_t token, struct drover_error *e)
{
	struct owner_token t = { { token } };
	struct drover_ledger *l = NULL;
	int r = drover_ledger_new(g->ops->ram(g), false, &l, e);

	if (r >= 0)
		r = g->ops->ledger_put(g, &t, l->fd, e);
	drover_ledger_free(l);
	return r;
}

static int do_event(struct drover_guest *g, enum owner_event ev, uint8_t token,
		    struct drover_error *e)
{
	int fd = -1, r;

	drover_err_clear(e);
	switch (ev) {
	case OWNER_EV_SAVE:
		r = g->ops->save(g, &fd, e);
		drover_closep(&fd);
		return r;
	case OWNER_EV_LOAD:
		return load(g, token, "state", true, e);
	case OWNER_EV_LEDGER:
		return put_ledger(g, token, e);
	default:
		return ask(g, ev, token, e);
	}
}

/* The VMM's clock is a little later than the test's. */
static bool same_record(struct owner_record *want, const struct owner_record *is)
{
	if (want->since && is->since)
		want->since = is->since;
	return owner_record_equal(want, is);
}

static void test_cell(const char *dir, enum owner_state s, enum owner_event ev, uint8_t token,
		      unsigned int *bad, unsigned int *refused)
{
	struct owner_args args = session_args(token);
	struct owner_record before = { 0 }, want, after = { 0 };
	struct drover_error e = DROVER_ERROR_INIT, we = DROVER_ERROR_INIT;
	struct drover_guest *g;
	unsigned int actions;
	struct fake f;
	int r, expect;

	g = fake_in(&f, dir, s);
	g->ops->owner_known(g, &before);
	want = before;
	expect = owner_step(&before, ev, &args, drover_boot_ns(), &want, &actions, NULL, &we);
	r = do_event(g, ev, token, &e);
	g->ops->owner_known(g, &after);
	if ((r < 0) != (expect < 0) || (r < 0 && (r != expect || !strstr(e.msg, we.msg))) ||
	    !same_record(&want, &after)) {
		tap_diag("%s, %s of session %u: %d %s; %s", owner_state_name(s),
			 owner_event_name(ev), token, r, e.msg, we.msg);
		++*bad;
	}
	*refused += r < 0;
	drover_guest_free(g);
	fake_end(&f);
}

static void test_table(const char *dir)
{
	unsigned int s, ev, bad = 0, refused = 0, n = 0;

	for (s = 0; s < OWNER_STATE_COUNT; s++)
		for (ev = 0; ev < OWNER_EV_HALTED; ev++, n += 2) {
			test_cell(dir, s, ev, 1, &bad, &refused);
			test_cell(dir, s, ev, 2, &bad, &refused);
		}
	tap_ok(!bad && n == 7 * 22 * 2,
	       "%u states and requests over a socket are what the table says; %u refused, by name",
	       n, refused);
}

/* ---- ownership when the link ends ---- */

static void cut(struct drover_guest *g)
{
	shutdown(drover_agent_link(g)->sock, SHUT_RDWR);
	status_becomes(g, DROVER_GUEST_GONE);
	drover_guest_free(g);
}

static void test_close(const char *dir, bool bye)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_track_source src;
	struct drover_guest *g;
	unsigned int s;
	struct fake f;

	for (s = 0; s < OWNER_STATE_COUNT; s++) {
		enum owner_state want = s == OWNER_FINAL ? OWNER_OWNED : (enum owner_state)s;
		bool ended;

		g = fake_in(&f, dir, s);
		g->ops->throttle(g, 50, &e);
		g->ops->track_source(g, &src, NULL);
		src.kvm_start(src.opaque, &e);
		if (bye)
			drover_guest_free(g);
		else
			cut(g);
		ended = becomes(&f.closed, 1);
		tap_ok(ended && f.running == (want == OWNER_OWNED) && !f.percent && !f.log,
		       "the link is closed%s, %s: %s; throttle and log end", bye ? ", in order" : "",
		       owner_state_name(s), f.running ? "it runs" : "it stays");
		g = attach(&f, &e);
		tap_ok(g && state_of(g) == want, "a new droverd finds it %s", owner_state_name(want));
		if (g)
			drover_guest_free(g);
		fake_end(&f);
	}
}

static void test_close_stopped(const char *dir)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_guest *g;
	struct fake f;

	fake_start(&f, dir, 0);
	g = attach(&f, &e);
	tell(&f, 'p');
	status_becomes(g, DROVER_GUEST_PAUSED);
	ask(g, OWNER_EV_PAUSE, 1, &e);
	cut(g);
	tap_ok(becomes(&f.closed, 1) && !f.resumed, "a guest its user had stopped is not started");
	g = attach(&f, &e);
	tap_ok(g && !ask(g, OWNER_EV_CONT, 0, &e) && f.running, "but by cont");
	drover_guest_free(g);
	fake_end(&f);
}

/* A destination that owns: it runs, also when droverd dies before it can say so. */
static void test_close_owned(const char *dir)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct owner_args args = session_args(1);
	struct drover_guest *g;
	struct fake f;
	int will;

	for (will = 0; will < 2; will++) {
		g = fake_in(&f, dir, OWNER_INCOMING);
		load(g, 1, "state", true, &e);
		ask(g, OWNER_EV_PROVED, 1, &e);
		args.will = will;
		tap_ok(!g->ops->request(g, OWNER_EV_OWN, &args, NULL, NULL, &e) &&
		       f.running == will, "OWN obeys the will: it %s", will ? "runs" : "is stopped");
		cut(g);
		tap_ok(becomes(&f.closed, 1) && f.running == will, "and so does a closed link");
		fake_end(&f);
	}
}

/* ---- a VMM that stands still past a deadline ---- */

static void test_stall(const char *dir, enum owner_state s, enum owner_event ev,
		       enum owner_state after, bool runs)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_guest *g;
	struct fake f;
	uint64_t t;
	int r;

	g = fake_in(&f, dir, s);
	if (ev == OWNER_EV_OWN) {
		load(g, 1, "state", true, &e);
		ask(g, OWNER_EV_PROVED, 1, &e);
	}
	drover_agent_link(g)->deadline_ms = 100;
	tell(&f, 's');
	poll(NULL, 0, 50);
	t = drover_now_ns();
	r = do_event(g, ev, 1, &e);
	tap_ok(r == -ETIMEDOUT && drover_now_ns() - t < 400 * DROVER_NS_PER_MS &&
	       g->ops->status(g) == DROVER_GUEST_GONE, "%s stalls: %s", owner_event_name(ev), e.msg);
	tap_ok(ask(g, OWNER_EV_BACK, 1, &e) == -ENOTCONN, "the link is over: %s", e.msg);
	drover_guest_free(g);
	g = attach(&f, &e);
	tap_ok(g && state_of(g) == after && f.running == runs,
	       "the next one is told what became of it: %s, it %s", owner_state_name(after),
	       runs ? "runs" : "stays");
	if (g)
		drover_guest_free(g);
	fake_end(&f);
}

/* Two droverds wait for a VMM that has a request of a third to carry out. */
static void test_drain(const char *dir)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_agent_msg m;
	int type[2], fd[2], acks = 0, busy = 0, i;
	struct drover_guest *g;
	struct fake f;
	bool final = true;

	g = fake_in(&f, dir, OWNER_OWNED);
	drover_agent_link(g)->deadline_ms = 100;
	tell(&f, 's');
	poll(NULL, 0, 50);
	ask(g, OWNER_EV_PAUSE, 1, &e);
	for (i = 0; i < 2; i++) {
		fd[i] = raw_connect(&f);
		raw_send(fd[i], header(DROVER_AGENT_HELLO, 16), 16, 0);
	}
	drover_guest_free(g);
	for (i = 0; i < 2; i++) {
		type[i] = raw_recv(fd[i], &m);
		acks += type[i] == DROVER_AGENT_HELLO_ACK;
		busy += type[i] == DROVER_AGENT_ERROR && m.body.error.code == -EBUSY;
		if (type[i] == DROVER_AGENT_HELLO_ACK)
			final = m.body.hello_ack.record.state == OWNER_OWNED &&
				m.body.hello_ack.record.flags & DROVER_AGENT_REC_RUNNING;
	}
	tap_ok(acks == 1 && busy == 1, "two HELLOs at once: one is answered, one refused");
	tap_ok(final && f.paused == 1 && f.running,
	       "after the old link's PAUSE was carried out and its end stepped");
	close(fd[0]);
	close(fd[1]);
	fake_end(&f);
}

int main(void)
{
	char dir[] = "/tmp/drover-test-XXXXXX";

	if (!mkdtemp(dir))
		return 1;
	/* Those that fork come first: no other thread yet. */
	test_death(dir);
	test_cancel(dir);
	test_stale_socket(dir);
	test_table(dir);
	test_close(dir, false);
	test_close(dir, true);
	test_close_stopped(dir);
	test_close_owned(dir);
	test_stall(dir, OWNER_OWNED, OWNER_EV_PAUSE, OWNER_OWNED, true);
	test_stall(dir, OWNER_FINAL, OWNER_EV_SAVE, OWNER_OWNED, true);
	test_stall(dir, OWNER_FINAL, OWNER_EV_DOUBT, OWNER_IN_DOUBT, false);
	test_stall(dir, OWNER_IN_DOUBT, OWNER_EV_RELEASE, OWNER_RELEASED, false);
	test_stall(dir, OWNER_INCOMING, OWNER_EV_LOAD, OWNER_INCOMING, false);
	test_stall(dir, OWNER_INCOMING, OWNER_EV_OWN, OWNER_OWNED, true);
	test_drain(dir);
	rmdir(dir);
	return tap_done();
}
