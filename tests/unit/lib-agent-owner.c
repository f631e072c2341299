// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The agent link when an end dies: the VMM in each request, and droverd at each state of
 * the ownership record, after which the guest runs only where it is owned and complete.
 */
#include "fake-vmm.h"

static int request(struct drover_guest *g, int type, struct drover_error *e)
{
	struct drover_owner_record rec;
	struct drover_track_source src;
	uint64_t map[2] = { 0 }, *maps[] = { map };
	int fd = -1;

	g->ops->track_source(g, &src, NULL);
	switch (type) {
	case DROVER_AGENT_PAUSE: return g->ops->pause(g, NULL, e);
	case DROVER_AGENT_RESUME: return g->ops->resume(g, e);
	case DROVER_AGENT_SAVE: return g->ops->save(g, &fd, e);
	case DROVER_AGENT_LOAD: return load(g, "state", true, e);
	case DROVER_AGENT_OWNER_SET: return set_record(g, DROVER_OWNER_OWNED, 0, e);
	case DROVER_AGENT_OWNER_GET: return g->ops->owner_get(g, &rec, e);
	case DROVER_AGENT_PREPARE: return g->ops->prepare_incoming(g, e);
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
		{ DROVER_AGENT_RESUME, DROVER_AGENT_PAUSE, 0 },
		{ DROVER_AGENT_SAVE, DROVER_AGENT_PAUSE, 0 },
		{ DROVER_AGENT_LOAD, 0, DROVER_AGENT_OPT_INCOMING },
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
		       request(g, DROVER_AGENT_OWNER_GET, &e2) == -ENOTCONN, "gone for good");
		if (g)
			drover_guest_free(g);
		waitpid(pid, NULL, 0);
	}
}

/* A VMM that accepts and never answers; and a cancelled wait. */
static void test_cancel(const char *dir)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_guest *g;
	struct drover_cancel c;
	struct fake f;
	pid_t pid = dying_vmm(&f, dir, 0, 0);

	g = attach(&f, &e);
	drover_cancel_init(&c, &e);
	kill(pid, SIGSTOP);
	drover_cancel_ring(&c);
	tap_ok(g->ops->pause(g, &c, &e) == -ECANCELED, "PAUSE cancelled: %s", e.msg);
	kill(pid, SIGCONT);
	drover_err_clear(&e);
	tap_ok(!g->ops->throttle(g, 5, &e), "its late answer is not taken for the next");
	tap_ok(g->ops->status(g) == DROVER_GUEST_PAUSED, "though the VMM had paused");
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

/* ---- ownership when the link closes ---- */

/* A droverd that dies: no BYE. */
static int raw_request(int fd, unsigned int type, const void *body, size_t len)
{
	struct drover_agent_msg m;
	int t;

	drover_agent_msg_send(fd, (enum drover_agent_type)type, 7, body, len, NULL, 0, 0, NULL);
	do
		t = raw_recv(fd, &m);
	while (t > 0 && !m.hdr.seq);
	return t;
}

static void raw_owner(int fd, enum drover_owner_state s, uint8_t token)
{
	struct drover_owner_record rec = { .state = s, .token = { token } };
	struct drover_agent_owner o;

	drover_agent_owner_to_wire(&rec, &o);
	raw_request(fd, DROVER_AGENT_OWNER_SET, &o, sizeof(o));
}

static void test_close_source(const char *dir)
{
	static const struct {
		enum drover_owner_state state;
		bool bye;
		int runs;
	} cases[] = {
		{ DROVER_OWNER_OWNED, false, 1 },
		{ DROVER_OWNER_OWNED, true, 0 },
		{ DROVER_OWNER_IN_DOUBT, false, 0 },
		{ DROVER_OWNER_RELEASED, false, 0 },
		{ DROVER_OWNER_SERVING, false, 0 },
	};
	struct drover_agent_value v = { .value = 50 };
	struct drover_agent_msg m;
	struct fake f;
	bool ended;
	size_t i;

	for (i = 0; i < DROVER_ARRAY_SIZE(cases); i++) {
		int fd;

		fake_start(&f, dir, 0);
		fd = raw_hello(&f, &m);
		raw_request(fd, DROVER_AGENT_THROTTLE, &v, sizeof(v));
		raw_request(fd, DROVER_AGENT_LOG_START, NULL, 0);
		raw_request(fd, DROVER_AGENT_PAUSE, NULL, 0);
		if (cases[i].state == DROVER_OWNER_SERVING)
			raw_owner(fd, DROVER_OWNER_IN_DOUBT, 1);
		raw_owner(fd, cases[i].state, 1);
		if (cases[i].bye)
			drover_agent_msg_send(fd, DROVER_AGENT_BYE, 9, NULL, 0, NULL, 0, 0, NULL);
		close(fd);
		ended = becomes(&f.closed, 1);
		tap_ok(ended && f.running == cases[i].runs && !f.percent && !f.log,
		       "link closes while paused, %s%s: %s; throttle and log end",
		       drover_owner_name(cases[i].state), cases[i].bye ? ", in order" : "",
		       f.running ? "goes on" : "stays paused");
		fake_end(&f);
	}
	fake_start(&f, dir, 0);
	tell(&f, 'p');
	i = (size_t)raw_hello(&f, &m);
	raw_request((int)i, DROVER_AGENT_PAUSE, NULL, 0);
	close((int)i);
	tap_ok(becomes(&f.closed, 1) && !f.resumed, "a guest its VMM had stopped is not started");
	fake_end(&f);
}

static void test_close_dest(const char *dir)
{
	static const struct {
		enum drover_owner_state state;
		bool loaded;
		int runs;
	} cases[] = {
		{ DROVER_OWNER_INCOMING, false, 0 },
		{ DROVER_OWNER_INCOMING, true, 0 },
		{ DROVER_OWNER_FENCED, true, 0 },
		{ DROVER_OWNER_OWNED, false, 0 },
		{ DROVER_OWNER_OWNED, true, 1 },
	};
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_agent_len len = { 5 };
	struct drover_agent_msg m;
	struct drover_guest *g;
	struct fake f;
	bool ended;
	size_t i;

	for (i = 0; i < DROVER_ARRAY_SIZE(cases); i++) {
		_cleanup_close_ int state = state_file("state", true);
		int fd;

		fake_start(&f, dir, DROVER_AGENT_OPT_INCOMING);
		fd = raw_hello(&f, &m);
		raw_request(fd, DROVER_AGENT_PREPARE, NULL, 0);
		raw_owner(fd, DROVER_OWNER_INCOMING, 5);
		if (cases[i].loaded) {
			drover_agent_msg_send(fd, DROVER_AGENT_LOAD, 8, &len, sizeof(len), &state,
					      1, 0, NULL);
			raw_recv(fd, &m);
		}
		raw_owner(fd, cases[i].state, 5);
		close(fd);
		ended = becomes(&f.closed, 1);
		tap_ok(ended && f.running == cases[i].runs,
		       "link closes on a destination, %s, state %s: %s",
		       drover_owner_name(cases[i].state), cases[i].loaded ? "loaded" : "missing",
		       f.running ? "runs" : "stays");
		/* A new droverd finds the record. */
		g = attach(&f, &e);
		tap_ok(g && g->ops->status(g) == (f.running ? DROVER_GUEST_RUNNING :
						  DROVER_GUEST_INCOMING), "a new droverd sees it");
		if (g)
			drover_guest_free(g);
		fake_end(&f);
	}
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
	test_close_source(dir);
	test_close_dest(dir);
	rmdir(dir);
	return tap_done();
}
