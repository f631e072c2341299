// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A destination's session on recorded messages: what each does, what is answered, and who
 * owns the guest in the end. The source's messages lie in memory before the session reads
 * the first one; the guest is a fake. No thread, no socket.
 */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/page-digest.h"
#include "engine/dest/dest.h"
#include "engine/dest/session.h"
#include "mem-link.h"
#include "owner-kit.h"
#include "tap.h"

#define PAGES 16u

struct fake {
	struct drover_guest g;
	struct drover_guest_traits traits;
	struct drover_ram ram;
	struct owner_record rec;
	unsigned int prepared, loaded, resumed, told;
	int fail_load, fail_own;
};

static const struct drover_ram *g_ram(struct drover_guest *g)
{
	return &((struct fake *)g)->ram;
}

static const struct drover_guest_traits *g_traits(struct drover_guest *g)
{
	return &((struct fake *)g)->traits;
}

static int g_load(struct drover_guest *g, const struct owner_token *t, int fd,
		  struct drover_error *e)
{
	struct owner_args args = { .token = *t };
	struct fake *f = (struct fake *)g;

	(void)fd;
	f->loaded++;
	return f->fail_load ? drover_err(e, f->fail_load, "not my state") :
	       fake_step(&f->rec, OWNER_EV_LOAD, &args, NULL, e);
}

static int g_request(struct drover_guest *g, enum owner_event ev, const struct owner_args *args,
		     const struct drover_cancel *c, enum owner_reply *reply,
		     struct drover_error *e)
{
	struct fake *f = (struct fake *)g;
	unsigned int actions;
	int r;

	(void)c, (void)reply;
	if (ev == OWNER_EV_OWN && f->fail_own)
		return drover_err(e, f->fail_own, "the VMM does not answer");
	r = fake_step(&f->rec, ev, args, &actions, e);
	f->resumed += actions & OWNER_ACT_START ? 1 : 0;
	if (actions & OWNER_ACT_EMPTY) {
		f->prepared++;
		memset(f->ram.block[0].host, 0, f->ram.block[0].size);
	}
	return r;
}

static int g_owner_known(struct drover_guest *g, struct owner_record *ret)
{
	*ret = ((struct fake *)g)->rec;
	return 0;
}

static void g_resumed(struct drover_guest *g)
{
	((struct fake *)g)->told++;
}

static const struct drover_guest_ops fake_ops = {
	.name = "fake", .ram = g_ram, .traits = g_traits, .load = g_load,
	.resumed = g_resumed, .request = g_request, .owner_known = g_owner_known,
};

struct world {
	struct fake f;
	struct drover_migration m;
	struct drover_dest d;
	struct mem_link link;
	struct session *x;
	uint64_t digest[PAGES];         /* of what the source has sent */
	uint32_t round;
};

static void no_event(void *opaque, const struct drover_event *ev)
{
	(void)opaque, (void)ev;
}

static void setup_guest(struct fake *f)
{
	struct drover_ram_block *b = &f->ram.block[0];

	f->g.ops = &fake_ops;
	owner_record_init(&f->rec, true, false);
	memset(f->rec.token.byte, 7, sizeof(f->rec.token.byte));
	f->ram.n = 1;
	strcpy(b->name, "ram0");
	b->size = PAGES * DROVER_PAGE_SIZE;
	b->fd = memfd_create("session", MFD_CLOEXEC);
	if (b->fd < 0 || ftruncate(b->fd, (off_t)b->size) < 0)
		abort();
	b->host = mmap(NULL, b->size, PROT_READ | PROT_WRITE, MAP_SHARED, b->fd, 0);
}

static void setup_migration(struct world *w)
{
	struct drover_migration *m = &w->m;
	struct drover_config c;

	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->cond, NULL);
	m->side = DROVER_SIDE_DEST;
	m->ops = &drover_dest_side;
	m->guest = &w->f.g;
	m->ram = &w->f.ram;
	m->sink.event = no_event;
	m->dest = &w->d;
	if (drover_config_init(&c) < 0 || drover_settings_init(m, &c) < 0 ||
	    drover_cancel_init(&m->cancel, NULL) < 0)
		abort();
	drover_config_deinit(&c);
	w->d.m = m;
	listeners_init(&w->d.listeners);
	seat_init(&w->d.seat);
	dest_guest_init(&w->d.guest);
	drover_state_set(m, DROVER_STATE_NONE, DROVER_STATE_SETUP);
}

static void setup(struct world *w, bool one_way)
{
	struct drover_msg_hello *h = calloc(1, sizeof(*h));
	struct json_object *no = json_object_new_array();

	memset(w, 0, sizeof(*w));
	setup_guest(&w->f);
	setup_migration(w);
	mem_link_init(&w->link);
	/* Whoever polls for the next message sees that there is one, or the end. */
	w->link.d->ch->rfd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	w->round = 1;
	h->version_min = h->version_max = DROVER_WIRE_VERSION;
	h->flags = one_way ? DROVER_HELLO_ONE_WAY : 0;
	memset(h->token, 7, sizeof(h->token));
	h->nblocks = 1;
	strcpy(h->block[0].name, "ram0");
	h->block[0].size = PAGES * DROVER_PAGE_SIZE;
	if (session_new(&w->d, w->link.d, h, &w->x, NULL) < 0 ||
	    seat_take(&w->d, w->x, NULL) < 0 || session_make_place(w->x, true, NULL) < 0)
		abort();
	session_match_blocks(w->x, h, no);
	session_set_verify(w->x, true);
	session_register(w->x);
	session_expect_channels(w->x);
	drover_state_set(&w->m, DROVER_STATE_SETUP, DROVER_STATE_ACTIVE);
	json_object_put(no);
	free(h);
}

static void teardown(struct world *w)
{
	close(w->link.d->ch->rfd);
	mem_link_deinit(&w->link);
	listeners_deinit(&w->d.listeners);
	seat_deinit(&w->d.seat);
	dest_guest_deinit(&w->d.guest);
	drover_settings_deinit(&w->m);
	drover_cancel_deinit(&w->m.cancel);
	munmap(w->f.ram.block[0].host, w->f.ram.block[0].size);
	close(w->f.ram.block[0].fd);
}

/* ---- what the source says ---- */

static void say_pages(struct world *w, uint32_t round, uint32_t block)
{
	const struct drover_page_run run = { 3, 2, DROVER_PAGES_RAW, 8192 };
	const struct drover_msg_pages m = { .block = block, .round = round, .n = 1, .run = &run };
	uint8_t page[DROVER_PAGE_SIZE];
	unsigned int i;

	if (mem_send_pages(&w->link, &m) < 0)
		abort();
	for (i = 0; i < 2; i++) {
		memset(page, (int)i + 1, sizeof(page));
		w->digest[3 + i] = drover_page_digest(page);
	}
}

static void say_round_end(struct world *w, uint32_t flags)
{
	const struct drover_msg_round m = { .round = w->round++, .flags = flags };

	drover_send_round_end(w->link.s, &m, NULL);
}

static void say_state(struct world *w, const char *name, uint32_t flags)
{
	struct drover_msg_state m = { .version = 1, .total = 1, .flags = flags };

	strcpy(m.name, name);
	drover_send_state(w->link.s, &m, "\1", 1, NULL);
}

/* @wrong: one page's digest is; @level: as in DIGEST */
static void say_digest(struct world *w, bool wrong, uint16_t level)
{
	uint64_t d[PAGES], group;
	struct drover_msg_digest m = { .level = level, .flags = DROVER_DIGEST_LAST };
	uint8_t body[512];
	int n;

	memcpy(d, w->digest, sizeof(d));
	d[5] += wrong;
	group = drover_digest_group(d, PAGES);
	m.raw = level ? &group : d;
	m.n = level ? 1 : PAGES;
	n = drover_digest_encode(&m, body, sizeof(body));
	drover_link_send(w->link.s, DROVER_MSG_DIGEST, body, (size_t)n, NULL, 0, 0, NULL);
}

static void say_token(struct world *w, enum drover_msg_type type, int byte)
{
	uint8_t token[DROVER_TOKEN_LEN];

	memset(token, byte, sizeof(token));
	drover_link_send_token(w->link.s, type, token, NULL);
}

static void say(struct world *w, char c)
{
	static const struct drover_msg_status fail = { EIO, "it broke", 8 };
	static const struct drover_msg_ping ping = { 42 };
	struct drover_msg_end end = { 8192 };

	switch (c) {
	case 'p': say_pages(w, w->round, 0); break;
	case 'b': say_pages(w, w->round, 1); break;             /* no such block */
	case 'o': say_pages(w, w->round + 1, 0); break;         /* another round's */
	case 'e': say_round_end(w, 0); break;
	case 'F': say_round_end(w, DROVER_ROUND_FINAL); break;
	case 'a': w->round += 5; say_round_end(w, 0); break;
	case 'r': say_state(w, "drover/run", 0); break;
	case 's': say_state(w, "guest", DROVER_STATE_LAST); break;
	case 'd': say_digest(w, false, 1); break;
	case 'x': say_digest(w, true, 1); break;
	case 'y': say_digest(w, true, 0); break;
	case 'z': say_digest(w, false, 0); break;
	case 'c': say_token(w, DROVER_MSG_COMMIT, 7); break;
	case 'k': say_token(w, DROVER_MSG_COMMIT, 8); break;    /* another session's */
	case 'R': say_token(w, DROVER_MSG_RELEASED, 7); break;
	case 'u': say_token(w, DROVER_MSG_PAUSED, 7); break;
	case 'P': drover_send_ping(w->link.s, DROVER_MSG_PING, &ping, NULL); break;
	case 'q': drover_send_bare(w->link.s, DROVER_MSG_SWITCHOVER_REQ, NULL); break;
	case 'D': drover_link_send_last(w->link.s, DROVER_MSG_DISCARD, NULL); break;
	case 'E': drover_send_end(w->link.s, &end, NULL); break;
	case 'f': drover_send_status(w->link.s, DROVER_MSG_FAIL, &fail, NULL); break;
	default: abort();
	}
}

/* What was answered, a letter each. */
static void answers(struct world *w, char *ret, size_t size)
{
	struct drover_msg_digest_ack *diff = calloc(1, sizeof(*diff));
	struct drover_msg_status st;
	struct drover_frame f;
	size_t n = 0;

	while (n + 1 < size && drover_link_recv(w->link.s, &f, NULL) == 0) {
		char c = '?';

		if (f.type == DROVER_MSG_ROUND_ACK)
			c = 'e';
		else if (f.type == DROVER_MSG_STATE_ACK &&
			 !drover_body_status(w->link.s, f.body_len, &st, NULL))
			c = st.status ? 'S' : 's';
		else if (f.type == DROVER_MSG_DIGEST_ACK &&
			 !drover_body_digest_ack(w->link.s, f.body_len, diff, NULL))
			c = diff->status ? 'x' : 'd';
		else if (f.type == DROVER_MSG_COMMIT_ACK)
			c = 'c';
		else if (f.type == DROVER_MSG_PONG)
			c = 'P';
		else if (f.type == DROVER_MSG_SWITCHOVER_ACK)
			c = 'q';
		else if (f.type == DROVER_MSG_FAIL)
			c = 'f';
		ret[n++] = c;
	}
	ret[n] = '\0';
	free(diff);
}

/**
 * struct row - a stream and its outcome
 * @says, @answers: a letter a message, see say() and answers()
 * @owned: the guest runs here in the end; otherwise it is empty and fenced
 * @error: in error-desc
 */
static const struct row {
	const char *what, *says, *answers;
	bool owned;
	const char *error;
	bool one_way;
	int fail_load, fail_own;
} rows[] = {
	{ "a migration", "pePqpFrsdcR", "ePqesdc", true, "", false, 0, 0 },
	{ "the source closes after COMMIT", "pFrsdc", "esdc", true, "", false, 0, 0 },
	{ "nothing was sent", "FrsdcR", "esdc", true, "", false, 0, 0 },
	{ "a file", "pFrszE", "", true, "", true, 0, 0 },
	{ "it closes before COMMIT", "pFrsd", "esdf", false, "closed it", false, 0, 0 },
	{ "COMMIT before STATE", "pFc", "ef", false, "before the device state", false, 0, 0 },
	{ "COMMIT before DIGEST", "pFrsc", "esf", false, "before the digests agreed", false, 0, 0 },
	{ "COMMIT of another session", "pFrsdk", "esdf", false, "another session's", false, 0, 0 },
	{ "a page differs", "pFrsxy", "esxxf", false, "digests differ on 1 pages", false, 0, 0 },
	{ "groups differ, pages don't", "pFrsxz", "esxdf", false, "their pages do not", false, 0, 0 },
	{ "COMMIT after a difference", "pFrsxc", "esxf", false, "before the digests agreed", false, 0, 0 },
	{ "DIGEST before STATE", "pFd", "ef", false, "not now", false, 0, 0 },
	{ "DIGEST twice", "pFrsdd", "esdf", false, "not now", false, 0, 0 },
	{ "STATE before the final round", "pers", "ef", false, "before the final round", false, 0, 0 },
	{ "STATE twice", "pFrss", "esf", false, "after its end", false, 0, 0 },
	{ "PAGES after STATE", "pFrsp", "esf", false, "after the device state", false, 0, 0 },
	{ "PAGES of another round", "o", "f", false, "pages of round 2 in round 1", false, 0, 0 },
	{ "PAGES of no block", "b", "f", false, "not migrated", false, 0, 0 },
	{ "ROUND_END of another round", "a", "f", false, "ROUND_END(6) in round 1", false, 0, 0 },
	{ "RELEASED before COMMIT", "pFrsdR", "esdf", false, "RELEASED: not now", false, 0, 0 },
	{ "DISCARD without postcopy", "pFD", "ef", false, "DISCARD: not now", false, 0, 0 },
	{ "PAUSED without postcopy", "u", "f", false, "PAUSED: not now", false, 0, 0 },
	{ "END in a socket", "pFrsdE", "esdf", false, "before the stream was complete", false, 0, 0 },
	{ "COMMIT in a file", "pFrszc", "", false, "COMMIT", true, 0, 0 },
	{ "END in the middle of a file", "pFE", "", false, "before the stream was complete", true, 0, 0 },
	{ "a file with a page that differs", "pFrsy", "", false, "digests differ", true, 0, 0 },
	{ "the source gives up", "pf", "", false, "source: it broke", false, 0, 0 },
	{ "the guest refuses the state", "pFrs", "eSf", false, "state: not my state", false, -EINVAL, 0 },
	{ "the VMM does not record", "pFrsdc", "esdf", false, "ownership record", false, 0, -EIO },
};

/* A copy that is whole and proved, of a source that has not said that it has the guest. */
static bool row_keeps(const struct row *row)
{
	return !row->owned && (row->one_way ? strstr(row->says, "sz") : strstr(row->answers, "sd"));
}

static void test_row(const struct row *row)
{
	const struct owner_token token = { { 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7 } };
	const char *c;
	struct world w;
	char got[64];
	bool good;

	setup(&w, row->one_way);
	w.f.fail_load = row->fail_load;
	w.f.fail_own = row->fail_own;
	for (c = row->says; *c; c++)
		say(&w, *c);
	session_main(w.x);
	answers(&w, got, sizeof(got));
	tap_ok(!strcmp(got, row->answers), "%s: answered %s", row->what, got);
	if (row->owned)
		good = w.f.rec.state == OWNER_OWNED && w.f.resumed == 1 && w.f.told == 1 &&
		       !w.f.prepared && drover_state_get(&w.m) == DROVER_STATE_COMPLETED;
	else
		good = owner_outcome(&w.f.rec, &token) == (strchr(row->says, 'f') ?
			OWNER_OUTCOME_TAKEN_BACK : OWNER_OUTCOME_FENCED) && !w.f.resumed &&
		       w.f.prepared == !owner_kept_copy(&w.f.rec) &&
		       owner_kept_copy(&w.f.rec) == row_keeps(row) && drover_state_get(&w.m) == DROVER_STATE_FAILED;
	tap_ok(good && !w.d.seat.session, "%s: the guest is %s", row->what,
	       row->owned ? "owned here before it runs" : row_keeps(row) ?
	       "fenced, and its whole copy kept" : "fenced and empty");
	tap_ok(*row->error ? strstr(w.m.view.error.msg, row->error) != NULL : !*w.m.view.error.msg,
	       "%s: error-desc: %s", row->what, w.m.view.error.msg);
	teardown(&w);
}

static void test_end(void)
{
	const char *c = "pFrsdcR";
	struct world w;
	const uint8_t *host;

	setup(&w, false);
	for (; *c; c++)
		say(&w, *c);
	session_main(w.x);
	host = w.f.ram.block[0].host;
	tap_ok(host[drover_page_off(3)] == 1 && host[drover_page_off(5) - 1] == 2 && !host[0] &&
	       !host[drover_page_off(5)], "the pages are where they belong");
	tap_ok(w.d.released && !owner_token_set(&w.f.rec.token) && !owner_must_answer(&w.f.rec),
	       "RELEASED: the record names no session");
	tap_ok(w.m.stats.normal.value == 2 && w.m.stats.round.value == 1, "pages and rounds are counted");
	teardown(&w);
}

/* A source asks who owns the guest while the session is there. */
static void test_fence(void)
{
	const struct owner_token token = { { 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7 } };
	struct drover_error e = DROVER_ERROR_INIT;
	const char *c = "pFrsdc";
	struct world w;
	char got[64];

	setup(&w, false);
	for (; *c; c++)
		say(&w, *c);
	seat_fence_session(&w.d, w.x->token);
	tap_ok(session_alive(w.x, &e) == -ECONNABORTED, "a fenced session ends: %s", e.msg);
	session_main(w.x);
	answers(&w, got, sizeof(got));
	tap_ok(!strchr(got, 'c') && !w.f.resumed &&
	       owner_outcome(&w.f.rec, &token) == OWNER_OUTCOME_FENCED,
	       "and its COMMIT is never acted on");
	tap_ok(seat_is_fenced(&w.d, (uint8_t[]){ 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7 }),
	       "its token is remembered");
	teardown(&w);
	setup(&w, false);
	fate_set_committed(&w.x->fate);
	tap_ok(!fate_fence(&w.x->fate) && session_alive(w.x, NULL) == 0,
	       "after COMMIT there is nothing to fence");
	session_over(w.x);
	drover_link_forget(&w.m, w.link.d);
	session_free(w.x);
	teardown(&w);
}

/* Channels beside main: who may join, and who is told that the session ends. */
static void test_channels(void)
{
	struct drover_msg_attach a = { .type = DROVER_ATTACH_DATA, .index = 1 };
	struct drover_error e = DROVER_ERROR_INIT;
	struct mem_link other;
	struct world w;

	setup(&w, false);
	mem_link_init(&other);
	memset(a.token, 7, sizeof(a.token));
	tap_ok(!seat_join(&w.d, &a, other.d), "no channel joins that is not expected");
	channels_expect(&w.x->channels, 2, 0);
	a.token[3]++;
	tap_ok(!seat_join(&w.d, &a, other.d), "nor with another session's token");
	a.token[3]--;
	tap_ok(seat_join(&w.d, &a, other.d) == w.x, "one that is joins");
	tap_ok(!seat_join(&w.d, &a, other.d), "once");
	a.index = 2;
	tap_ok(!seat_join(&w.d, &a, other.d), "nor one more than there are");
	a.type = DROVER_ATTACH_POSTCOPY;
	a.index = 0;
	tap_ok(!seat_join(&w.d, &a, other.d), "nor an urgent one");
	drover_err(&e, -EIO, "data/1 broke");
	session_kill(w.x, &e);
	tap_ok(atomic_load(&other.d->ch->shut), "a session that is killed shuts its channels down");
	a.type = DROVER_ATTACH_DATA;
	tap_ok(!seat_join(&w.d, &a, other.d), "and nobody joins it any more");
	a.index = 1;
	channels_withdraw(&w.x->channels, &a);
	channels_leave(&w.x->channels);
	say(&w, 'P');
	session_main(w.x);
	tap_ok(!strcmp(w.m.view.error.msg, "data/1 broke"), "main says why: %s", w.m.view.error.msg);
	mem_link_deinit(&other);
	teardown(&w);
}

int main(void)
{
	unsigned int i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		test_row(&rows[i]);
	test_end();
	test_fence();
	test_channels();
	return tap_done();
}
