// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a new daemon does about the ownership record it finds: guests of the test's own
 * whose VMM remembers a session that another daemon has left, over the real engine.
 */
#define _GNU_SOURCE
#include "daemon/daemon.h"

#include <errno.h>
#include <json-c/json.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/ledger.h"
#include "agent/message.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "owner-kit.h"
#include "tap.h"

#define RAM_SIZE (1u << 20)
#define PATIENCE_MS 15000

/* A guest that keeps its record, by its table, as a VMM does; @ledger: and a file of postcopy, -1: none */
struct fake {
	struct drover_guest guest;
	struct drover_ram ram;
	struct drover_guest_traits traits;
	pthread_mutex_t lock;
	struct owner_record record;
	int ledger;
};

struct host {
	struct fake fake;
	struct droverd d;
};

static struct fake *fake_of(struct drover_guest *g)
{
	return (struct fake *)g;
}

static const struct drover_ram *fake_ram(struct drover_guest *g)
{
	return &fake_of(g)->ram;
}

static const struct drover_guest_traits *fake_traits(struct drover_guest *g)
{
	return &fake_of(g)->traits;
}

static enum drover_run_state fake_status(struct drover_guest *g)
{
	struct fake *f = fake_of(g);
	DROVER_LOCK(&f->lock);

	return f->record.running ? DROVER_GUEST_RUNNING : DROVER_GUEST_PAUSED;
}

static int fake_request(struct drover_guest *g, enum owner_event ev,
			const struct owner_args *args, const struct drover_cancel *c,
			enum owner_reply *reply, struct drover_error *e)
{
	struct fake *f = fake_of(g);
	DROVER_LOCK(&f->lock);

	(void)c, (void)reply;
	return fake_step(&f->record, ev, args, NULL, e);
}

/* Threads of a migration read it while the test changes it. */
static void set_ledger(struct fake *f, int fd)
{
	DROVER_LOCK(&f->lock);

	f->ledger = fd;
}

static int fake_ledger_get(struct drover_guest *g, int *ret_fd, struct drover_error *e)
{
	struct fake *f = fake_of(g);
	DROVER_LOCK(&f->lock);

	(void)e;
	*ret_fd = f->ledger < 0 ? -1 : dup(f->ledger);
	return 0;
}

static int fake_owner_known(struct drover_guest *g, struct owner_record *ret)
{
	struct fake *f = fake_of(g);
	DROVER_LOCK(&f->lock);

	*ret = f->record;
	return 0;
}

static const struct drover_guest_ops fake_ops = {
	.name = "fake",
	.ram = fake_ram,
	.traits = fake_traits,
	.status = fake_status,
	.request = fake_request,
	.owner_known = fake_owner_known,
	.ledger_get = fake_ledger_get,
};

static enum owner_state owner(struct fake *f)
{
	DROVER_LOCK(&f->lock);

	return f->record.state;
}

static void fake_init(struct fake *f, enum owner_state state, uint8_t token,
		      const char *peer)
{
	struct drover_ram_block *b = &f->ram.block[0];

	f->guest.ops = &fake_ops;
	f->ledger = -1;
	f->traits.keeps_record = true;
	pthread_mutex_init(&f->lock, NULL);
	f->record.state = state;
	f->record.will = true;
	f->record.by = state == OWNER_RELEASED ? OWNER_BY_ANSWER : OWNER_BY_NONE;
	/* In doubt for long: COMMIT can't be in time any more. */
	f->record.since = 1;
	memset(f->record.token.byte, token, sizeof(f->record.token.byte));
	if (state == OWNER_FENCED)
		f->record.history[0] = (struct owner_entry){ .token = f->record.token,
							     .outcome = OWNER_OUTCOME_FENCED };
	snprintf(f->record.peer, sizeof(f->record.peer), "%s", peer);
	strcpy(b->name, "ram0");
	b->size = RAM_SIZE;
	b->fd = memfd_create("ram0", MFD_CLOEXEC);
	if (ftruncate(b->fd, RAM_SIZE) == 0)
		b->host = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, b->fd, 0);
	f->ram.n = 1;
}

static void fake_deinit(struct fake *f)
{
	munmap(f->ram.block[0].host, RAM_SIZE);
	close(f->ram.block[0].fd);
	pthread_mutex_destroy(&f->lock);
}

static void attach_to(struct host *h);

static void retry(void *opaque)
{
	owner_attach(opaque);
}

static void attach(struct host *h, enum owner_state state, uint8_t token, const char *peer)
{
	memset(h, 0, sizeof(*h));
	fake_init(&h->fake, state, token, peer);
	attach_to(h);
}

/* A daemon's state without its process; attaches to the guest as a new daemon does. */
static void attach_to(struct host *h)
{
	h->d.guest = &h->fake.guest;
	loop_init(&h->d.loop, NULL);
	loop_timer_init(&h->d.loop, &h->d.settle_retry, retry, &h->d, NULL);
	loop_timer_init(&h->d.loop, &h->d.check_poll, guest_check_look, &h->d, NULL);
	event_queue_init(&h->d.events, NULL);
	drover_config_init(&h->d.settings);
	owner_attach(&h->d);
}

static void detach(struct host *h)
{
	job_free(&h->d);
	drover_config_deinit(&h->d.settings);
	event_queue_deinit(&h->d.events);
	loop_timer_deinit(&h->d.settle_retry);
	loop_timer_deinit(&h->d.check_poll);
	loop_deinit(&h->d.loop);
	fake_deinit(&h->fake);
}

static int command(struct host *h, int (*fn)(struct qmp_call *call, struct drover_error *e),
		   const char *args, struct drover_error *e)
{
	struct qmp_call call = { .opaque = &h->d, .args = json_tokener_parse(args) };
	int r = fn(&call, e);

	json_object_put(call.args);
	json_object_put(call.ret);
	return r;
}

static bool refused(struct host *h, int (*fn)(struct qmp_call *call, struct drover_error *e),
		    const char *args, const char *word)
{
	struct drover_error e = DROVER_ERROR_INIT;
	int r = command(h, fn, args, &e);

	if (r >= 0 || !strstr(e.msg, word))
		tap_diag("%d: %s", r, e.msg);
	return r < 0 && strstr(e.msg, word);
}

static bool settled(struct host *h)
{
	uint64_t deadline = drover_deadline_ms(PATIENCE_MS);

	while (job_running(h->d.job) && drover_now_ns() < deadline)
		usleep(20000);
	return !job_running(h->d.job);
}

/* Was DROVER_EVENT_SETTLED told, and to whom does it give the guest? -1: not told */
static int told(struct host *h)
{
	struct queued_event *qe;
	int ret = -1;

	while ((qe = event_queue_pop(&h->d.events))) {
		if (qe->ev.type == DROVER_EVENT_SETTLED)
			ret = qe->ev.owned;
		free(qe);
	}
	return ret;
}

static void peer_text(char buf[256], const char *dir, const char *name)
{
	snprintf(buf, 256, "{\"transport\":\"socket\",\"type\":\"unix\",\"path\":\"%s/%s\"}", dir,
		 name);
}

#define MIGRATE "{\"uri\":\"tcp:127.0.0.1:1\"}"

static void test_in_doubt(const char *dir)
{
	struct json_object *info, *x = NULL, *v = NULL;
	char peer[256];
	struct host h;

	peer_text(peer, dir, "nobody");
	attach(&h, OWNER_IN_DOUBT, 7, peer);
	tap_ok(job_in_doubt(h.d.job), "a record in doubt is found");
	info = info_build(&h.d);
	tap_ok(json_object_object_get_ex(info, "drover", &x) &&
	       json_object_object_get_ex(x, "in-doubt", &v) && json_object_get_boolean(v) &&
	       json_object_object_get_ex(info, "status", &v) &&
	       strcmp(json_object_get_string(v), "postcopy-paused") == 0, "query-migrate says so");
	json_object_put(info);
	tap_ok(refused(&h, cmd_migrate, MIGRATE, "in doubt"), "migrate is refused by name");
	tap_ok(refused(&h, cmd_migrate_incoming, MIGRATE, "in doubt"), "migrate-incoming, too");
	tap_ok(refused(&h, cmd_migrate_cancel, "{}", "too late to cancel"), "cancel as well");
	tap_ok(fake_status(&h.fake.guest) == DROVER_GUEST_PAUSED, "the guest stays paused");
	tap_ok(command(&h, cmd_migrate_settle, "{\"own\":true}", NULL) == 0 && settled(&h) &&
	       owner(&h.fake) == OWNER_OWNED &&
	       fake_status(&h.fake.guest) == DROVER_GUEST_RUNNING, "settle own: it runs here");
	tap_ok(told(&h) == 1, "an event tells so");
	tap_ok(strcmp(run_state_name(&h.d), "running") == 0, "run state: running");
	tap_ok(refused(&h, cmd_migrate_settle, "{\"own\":false}", "nothing is in doubt"),
	       "it can't be settled twice");
	detach(&h);
}

static void test_bad_peer(void)
{
	struct host h;

	attach(&h, OWNER_IN_DOUBT, 7, "tcp:not json");
	tap_ok(job_in_doubt(h.d.job), "in doubt, with a peer that can't be read");
	tap_ok(command(&h, cmd_migrate_settle, "{\"own\":false}", NULL) == 0 && settled(&h) &&
	       owner(&h.fake) == OWNER_RELEASED &&
	       fake_status(&h.fake.guest) == DROVER_GUEST_PAUSED, "settle release: it stays paused");
	tap_ok(strcmp(run_state_name(&h.d), "postmigrate") == 0, "run state: postmigrate");
	detach(&h);
}

static void test_released(void)
{
	struct host h;

	attach(&h, OWNER_RELEASED, 7, "");
	tap_ok(!h.d.job && strcmp(run_state_name(&h.d), "postmigrate") == 0,
	       "a released guest is postmigrate");
	tap_ok(refused(&h, cmd_migrate, MIGRATE, "paused due to previous migration"),
	       "and can't be migrated");
	detach(&h);
}

#define RESUME "{\"uri\":\"tcp:127.0.0.1:1\",\"resume\":true}"
#define RECOVER "{\"uri\":\"tcp:127.0.0.1:0\"}"
#define NO_RESUME "Cannot resume if there is no paused migration"
#define SERVING "serving: where it runs now its RAM is needed still (postcopy session 07070707, paused); 'migrate' with resume=true"
#define NO_RECOVER "Migrate recover can only be run when postcopy is paused."

/* It tries, and is paused again. */
static bool paused(struct host *h, const char *why)
{
	uint64_t deadline = drover_deadline_ms(PATIENCE_MS);
	struct drover_migration_info info = { 0 };

	while (h->d.job && !strstr(info.error_desc, why) && drover_now_ns() < deadline) {
		usleep(10000);
		drover_migration_info(h->d.job->m, &info);
	}
	if (!strstr(info.error_desc, why))
		tap_diag("%s", info.error_desc);
	while (info.state != DROVER_STATE_POSTCOPY_PAUSED && drover_now_ns() < deadline) {
		usleep(10000);
		drover_migration_info(h->d.job->m, &info);
	}
	return job_postcopy(h->d.job) && strstr(info.error_desc, why);
}

/* The record says so, and nothing may be done to this RAM until it is over, or given up. */
static void test_serving(const char *dir)
{
	char peer[256];
	struct host h;

	peer_text(peer, dir, "nobody");
	attach(&h, OWNER_SERVING, 7, peer);
	tap_ok(paused(&h, "the droverd that began it is gone"),
	       "a record that is serving: its postcopy is paused");
	tap_ok(strcmp(run_state_name(&h.d), "finish-migrate") == 0, "run state: finish-migrate");
	tap_ok(refused(&h, cmd_migrate_incoming, MIGRATE, SERVING), "migrate-incoming is refused");
	tap_ok(refused(&h, cmd_migrate, MIGRATE, SERVING), "migrate, too");
	tap_ok(refused(&h, cmd_migrate_cancel, "{}", "Postcopy migration in progress, cannot cancel."),
	       "cancel as well");
	tap_ok(command(&h, cmd_migrate, RESUME, NULL) == 0 && paused(&h, "onnect"),
	       "with resume it tries, and is paused again");
	tap_ok(refused(&h, cmd_migrate_settle, "{\"own\":true}", "of the past") &&
	       owner(&h.fake) == OWNER_SERVING, "settle own: never");
	tap_ok(command(&h, cmd_migrate_settle, "{\"own\":false}", NULL) == 0 && settled(&h) &&
	       owner(&h.fake) == OWNER_RELEASED &&
	       strcmp(run_state_name(&h.d), "postmigrate") == 0, "settle release gives it up");
	tap_ok(refused(&h, cmd_migrate_settle, "{\"own\":false}", "nothing is in doubt"),
	       "once");
	detach(&h);
}

/* The destination has forgotten the session, and its record tells that nothing was missing. */
static void test_serving_done(const char *dir)
{
	char peer[256], args[512];
	struct host a, b;

	peer_text(peer, dir, "done");
	snprintf(args, sizeof(args), "{\"uri\":\"unix:%s/done\",\"resume\":true}", dir);
	attach(&b, OWNER_OWNED, 9, peer);
	attach(&a, OWNER_SERVING, 8, peer);
	tap_ok(command(&a, cmd_migrate, args, NULL) == 0 && paused(&a, "no migration with this token"),
	       "another session's destination: paused");
	tap_ok(owner(&a.fake) == OWNER_SERVING, "and still serving");
	detach(&a);
	attach(&a, OWNER_SERVING, 9, peer);
	tap_ok(command(&a, cmd_migrate, args, NULL) == 0 && settled(&a) &&
	       owner(&a.fake) == OWNER_RELEASED &&
	       drover_migration_state(a.d.job->m) == DROVER_STATE_COMPLETED,
	       "this session's: it has all, so it is released");
	detach(&a);
	detach(&b);
}

/* A postcopy is in doubt, and its destination has a ledger. */
static void test_serving_doubt(const char *dir)
{
	struct drover_ledger *ledger = NULL;
	static const uint8_t token[16] = { 9 };
	uint64_t deadline = drover_deadline_ms(PATIENCE_MS);
	struct drover_error e = DROVER_ERROR_INIT;
	char peer[256];
	struct host a, b;

	peer_text(peer, dir, "doubt");
	memset(&b, 0, sizeof(b));
	fake_init(&b.fake, OWNER_OWNED, 9, peer);
	drover_ledger_new(&b.fake.ram, true, &ledger, &e);
	drover_ledger_bind(ledger, token, "{}", &e);
	/* Its daemon could not take it up: the record answers all the same. */
	attach_to(&b);
	set_ledger(&b.fake, ledger->fd);
	b.fake.record.missing = true;
	memset(&a, 0, sizeof(a));
	fake_init(&a.fake, OWNER_IN_DOUBT, 9, peer);
	attach_to(&a);
	while (owner(&a.fake) == OWNER_IN_DOUBT && drover_now_ns() < deadline)
		usleep(10000);
	tap_ok(owner(&a.fake) == OWNER_SERVING,
	       "in doubt, and pages are missing there: %s %s",
	       owner_state_name(owner(&a.fake)), e.msg);
	while (a.d.job->settle && drover_now_ns() < deadline) {
		events_ready(&a.d, 0);
		usleep(10000);
	}
	tap_ok(paused(&a, "the droverd that began it is gone"), "and it is taken up");
	detach(&a);
	set_ledger(&b.fake, -1);
	drover_ledger_free(ledger);
	detach(&b);
}

/*
 * Nothing tells whether a released guest has all its pages where the VMM is older, or it was
 * settled by hand: the operator does.
 */
static void test_postcopy_source(void)
{
	struct host h;

	attach(&h, OWNER_RELEASED, 0, "");
	tap_ok(refused(&h, cmd_migrate, RESUME, NO_RESUME), "no session: there is nothing to resume");
	detach(&h);
	attach(&h, OWNER_RELEASED, 7, "");
	tap_ok(refused(&h, cmd_migrate_recover, RECOVER, NO_RECOVER) && !h.d.job,
	       "a source has nothing to recover");
	tap_ok(command(&h, cmd_migrate, RESUME, NULL) == 0 && paused(&h, "onnect"),
	       "a new daemon serves what is left, and is paused when it can't");
	tap_ok(strcmp(run_state_name(&h.d), "finish-migrate") == 0, "run state: finish-migrate");
	tap_ok(refused(&h, cmd_migrate_cancel, "{}", "Postcopy migration in progress, cannot cancel."),
	       "it can't be cancelled");
	tap_ok(refused(&h, cmd_migrate_incoming, MIGRATE, SERVING),
	       "nor its RAM be overwritten");
	tap_ok(refused(&h, cmd_migrate_pause, "{}", "only supported during postcopy-active"),
	       "nor paused twice");
	tap_ok(command(&h, cmd_migrate, RESUME, NULL) == 0 && paused(&h, "onnect"), "it can be resumed again");
	detach(&h);
}

static void test_postcopy_dest(const char *dir)
{
	char peer[256];
	struct host h;

	peer_text(peer, dir, "ledger");
	memset(&h, 0, sizeof(h));
	fake_init(&h.fake, OWNER_OWNED, 7, peer);
	h.fake.ledger = memfd_create("ledger", MFD_CLOEXEC);
	h.fake.record.missing = true;
	attach_to(&h);
	tap_ok(paused(&h, "ledger"), "a VMM with a ledger: its postcopy is taken up");
	tap_ok(command(&h, cmd_migrate_recover, RECOVER, NULL) == 0 && paused(&h, "ledger"),
	       "a ledger that is none is named, each time it is tried");
	tap_ok(refused(&h, cmd_migrate, RESUME, NO_RESUME), "a destination can't resume");
	close(h.fake.ledger);
	detach(&h);
	attach(&h, OWNER_OWNED, 7, peer);
	tap_ok(h.d.job && h.d.job->settle && refused(&h, cmd_migrate_recover, RECOVER, NO_RECOVER),
	       "without a ledger nothing is missing");
	detach(&h);
}

static void test_pair(const char *dir, enum owner_state there, bool here, const char *what)
{
	struct host a, b;
	char peer[256];

	peer_text(peer, dir, "pair");
	attach(&b, there, 9, peer);
	attach(&a, OWNER_IN_DOUBT, 9, peer);
	tap_ok(b.d.job && b.d.job->settle && !job_running(b.d.job),
	       "%s: a new daemon answers for it", what);
	tap_ok(settled(&a) && owner(&a.fake) ==
	       (here ? OWNER_OWNED : OWNER_RELEASED) && told(&a) == here,
	       "%s: the guest is %s", what, here ? "the source's" : "the destination's");
	tap_ok(owner(&b.fake) == (here ? OWNER_FENCED : OWNER_OWNED),
	       "%s: the destination's record agrees", what);
	detach(&a);
	detach(&b);
}

static void test_retry(const char *dir)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	uint64_t deadline = drover_deadline_ms(PATIENCE_MS);
	char peer[256];
	struct host h;

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/busy", dir);
	if (bind(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0 || listen(fd, 1) < 0)
		tap_diag("busy: %s", strerror(errno));
	peer_text(peer, dir, "busy");
	attach(&h, OWNER_OWNED, 3, peer);
	tap_ok(!h.d.job, "an address that is taken");
	close(fd);
	unlink(sun.sun_path);
	while (!h.d.job && drover_now_ns() < deadline) {
		struct loop_timer stop = { 0 };

		loop_timer_init(&h.d.loop, &stop, (void (*)(void *))loop_stop, &h.d.loop, NULL);
		h.d.loop.stop = false;
		loop_timer_arm(&stop, 100);
		loop_run(&h.d.loop, NULL);
		loop_timer_deinit(&stop);
	}
	tap_ok(h.d.job != NULL, "is tried again until it is free");
	detach(&h);
	unlink(sun.sun_path);
}

int main(void)
{
	char dir[] = "/tmp/drover-test-XXXXXX", path[64];

	if (!mkdtemp(dir))
		return 1;
	test_in_doubt(dir);
	test_bad_peer();
	test_released();
	test_postcopy_source();
	test_serving(dir);
	test_serving_done(dir);
	test_serving_doubt(dir);
	test_postcopy_dest(dir);
	test_pair(dir, OWNER_OWNED, false, "committed");
	test_pair(dir, OWNER_INCOMING, true, "not committed");
	test_pair(dir, OWNER_FENCED, true, "fenced before");
	test_retry(dir);
	snprintf(path, sizeof(path), "%s/pair", dir);
	unlink(path);
	rmdir(dir);
	return tap_done();
}
