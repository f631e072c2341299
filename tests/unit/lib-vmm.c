// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * drover-vmm without droverd: this test attaches to two of them through the agent link,
 * copies the RAM itself, moves the device state, and believes the guest's own verdict;
 * then it damages the copy in every way the guest promises to notice.
 */
#include "vmm-pair.h"

#include "base/bitmap.h"
#include "track/track.h"

#define FOREIGN_PAGE 160u
#define STATIC_PAGE 3u          /* of the guest's page tables */
#define FIRST_TABLE_PAGE 256u   /* of the version table */

static bool stopped_move(struct side *from, struct side *to)
{
	if (!prepare(to) || !pause_source(from))
		return false;
	copy_all(from, to);
	return hand_over(from, to);
}

static void test_back_and_forth(struct pair *p)
{
	struct drover_error e = DROVER_ERROR_INIT;
	int i;

	tap_ok(p->s.g->ops->status(p->s.g) == DROVER_GUEST_RUNNING &&
	       p->d.g->ops->status(p->d.g) == DROVER_GUEST_INCOMING, "run states at the start");
	tap_ok(ask(p->s.g, OWNER_EV_DISCARD, 0, &e) == -EPERM && strstr(e.msg, "owned"),
	       "a running guest can't be prepared: %s", e.msg);
	for (i = 0; i < 4; i++) {
		struct side *from = i % 2 ? &p->d : &p->s, *to = i % 2 ? &p->s : &p->d;

		tap_ok(stopped_move(from, to), "move %d: RAM, state, ownership", i + 1);
		tap_ok(passed(to), "move %d: the guest says passed", i + 1);
		/* Settled: the token is forgotten, the other side stays released. */
		tap_ok(step(to, OWNER_EV_CONFIRMED) && state_of(from->g) == OWNER_RELEASED &&
		       ask(from->g, OWNER_EV_CONT, 0, NULL) == -EPERM &&
		       ask(from->g, OWNER_EV_BACK, session_nr, NULL) == -EPERM,
		       "move %d: the source is released and can't run", i + 1);
	}
}

/* ---- live rounds with real trackers ---- */

struct maps {
	uint64_t *map[DROVER_RAM_BLOCKS_MAX];
};

static void copy_dirty(struct side *from, struct side *to, struct maps *m)
{
	unsigned int i;

	for (i = 0; i < from->ram->n; i++) {
		uint64_t pages = drover_pages(from->ram->block[i].size), page;

		for (page = drover_bitmap_next(m->map[i], pages, 0, true); page < pages;
		     page = drover_bitmap_next(m->map[i], pages, page + 1, true))
			memcpy(to->ram->block[i].host + page * 4096,
			       from->ram->block[i].host + page * 4096, 4096);
		drover_bitmap_clear_range(m->map[i], 0, pages);
	}
}

static void maps_new(struct maps *m, const struct drover_ram *ram)
{
	unsigned int i;

	for (i = 0; i < ram->n; i++)
		m->map[i] = drover_bitmap_new(drover_pages(ram->block[i].size));
}

static void maps_free(struct maps *m, const struct drover_ram *ram)
{
	unsigned int i;

	for (i = 0; i < ram->n; i++)
		free(m->map[i]);
}

static bool tracked_rounds(struct side *from, struct side *to, struct drover_tracker *t)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct maps m = { { NULL } };
	bool ok = good(drover_tracker_start(t, &e), &e);
	int round;

	maps_new(&m, from->ram);
	copy_all(from, to);
	for (round = 0; ok && round < 3; round++) {
		ok = good(drover_tracker_harvest(t, m.map, false, &e), &e);
		copy_dirty(from, to, &m);
	}
	ok = ok && pause_source(from) && good(drover_tracker_harvest(t, m.map, true, &e), &e);
	copy_dirty(from, to, &m);
	drover_tracker_stop(t);
	maps_free(&m, from->ram);
	return ok;
}

static void test_tracker(struct pair *p, const char *name)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_track_source src;
	struct drover_tracker *t = NULL;
	bool ok;

	ok = !p->s.g->ops->track_source(p->s.g, &src, &e);
	if (ok && drover_tracker_select(&src, name, NULL, &t, &e) < 0) {
		tap_skip("tracker %s: %s", name, e.msg);
		return;
	}
	ok = ok && prepare(&p->d) && tracked_rounds(&p->s, &p->d, t) && hand_over(&p->s, &p->d);
	tap_ok(ok, "live rounds with %s", drover_tracker_name(t));
	tap_ok(ok && passed(&p->d), "%s lost no write", name);
	drover_tracker_free(t);
}

/* vCPU writes from the log alone; "device", which the VMM's thread writes, at the end. */
static bool kvm_rounds(struct pair *p, const struct drover_track_source *src)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct maps m = { { NULL } };
	bool ok = good(src->kvm_start(src->opaque, &e), &e);
	uint64_t dirty = 0;
	int round;

	maps_new(&m, p->s.ram);
	copy_all(&p->s, &p->d);
	for (round = 0; ok && round < 4; round++) {
		poll(NULL, 0, 50);
		if (round == 3)
			ok = pause_source(&p->s);
		ok = ok && good(src->kvm_sync(src->opaque, m.map, &e), &e);
		dirty += drover_bitmap_count(m.map[0], drover_pages(p->s.ram->block[0].size));
		copy_dirty(&p->s, &p->d, &m);
	}
	memcpy(p->d.ram->block[1].host, p->s.ram->block[1].host, p->s.ram->block[1].size);
	ok = ok && good(src->kvm_stop(src->opaque, &e), &e) &&
	     good(src->kvm_stop(src->opaque, &e), &e);
	maps_free(&m, p->s.ram);
	tap_diag("%llu dirty pages in four rounds", (unsigned long long)dirty);
	return ok && dirty > 100 && dirty < 4 * drover_pages(p->s.ram->block[0].size);
}

static void test_kvm_log(struct pair *p, const char *what)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_track_source src;
	bool ok = !p->s.g->ops->track_source(p->s.g, &src, &e) && src.kvm_log;

	ok = ok && prepare(&p->d) && kvm_rounds(p, &src) && hand_over(&p->s, &p->d);
	tap_ok(ok, "live rounds with KVM's %s", what);
	tap_ok(ok && passed(&p->d), "KVM's %s lost no vCPU write", what);
}

/* ---- damage ---- */

static uint8_t *page_of(struct side *s, unsigned int block, uint64_t page)
{
	return s->ram->block[block].host + page * 4096;
}

/* A page of [from, end) of @block that differs from the snapshot in @to. */
static uint64_t changed(struct side *from, struct side *to, unsigned int block, uint64_t first)
{
	uint64_t n = drover_pages(from->ram->block[block].size), i;

	for (i = first; i < n; i++)
		if (memcmp(page_of(from, block, i), page_of(to, block, i), 4096) != 0)
			return i;
	return n;
}

enum damage { STALE_DATA, STALE_TABLE, STALE_DEVICE, FLIPPED, CHANGED_STATIC, DAMAGES };

static const char *const damage_names[] = {
	"a stale page", "a stale page of the version table", "a stale page of the device",
	"a flipped bit", "a changed page of the page tables",
};

static bool damage(struct pair *p, enum damage what)
{
	unsigned int block = what == STALE_DEVICE;
	uint64_t n = drover_pages(p->s.ram->block[block].size);
	uint64_t table = (n * 4 + 4095) / 4096;
	uint64_t first = what == STALE_DEVICE ? 0 : what == STALE_TABLE ? FIRST_TABLE_PAGE :
			 FIRST_TABLE_PAGE + table;
	uint64_t page = changed(&p->s, &p->d, block, first);
	uint8_t old[4096];

	if (page >= (what == STALE_TABLE ? FIRST_TABLE_PAGE + table : n))
		return false;
	memcpy(old, page_of(&p->d, block, page), sizeof(old));
	copy_all(&p->s, &p->d);
	if (what == FLIPPED)
		page_of(&p->d, 0, n - 1)[100] ^= 4;
	else if (what == CHANGED_STATIC)
		page_of(&p->d, 0, STATIC_PAGE)[4095] ^= 1;
	else
		memcpy(page_of(&p->d, block, page), old, sizeof(old));
	return true;
}

static void test_damage(struct pair *p, enum damage what)
{
	char bad[96] = "";
	bool ok = prepare(&p->d);

	copy_all(&p->s, &p->d);
	poll(NULL, 0, 400);
	ok = ok && pause_source(&p->s) && damage(p, what) && hand_over(&p->s, &p->d);
	tap_ok(ok && verdict(&p->d, "failed", bad, sizeof(bad)), "%s is found: %s",
	       damage_names[what], bad);
	tap_ok(strchr(bad, ':') != NULL, "and the page is named");
}

/* ---- device state from a stranger ---- */

static int forged(const void *data, size_t len)
{
	_cleanup_close_ int fd = memfd_create("forged", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (write(fd, data, len) != (ssize_t)len ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW) < 0)
		return -1;
	return TAKE_FD(fd);
}

static void refuse(struct side *d, const uint8_t *data, size_t len, const char *what)
{
	_cleanup_close_ int fd = forged(data, len);
	struct drover_error e = DROVER_ERROR_INIT;
	int r = load_state(d, fd, &e);

	tap_ok(r == -EINVAL, "state with %s is refused: %s", what, e.msg);
	tap_ok(ask(d->g, OWNER_EV_PROVED, session_nr, &e) == -EPERM &&
	       ask(d->g, OWNER_EV_OWN, session_nr, &e) == -EPERM, "and nobody can own it");
}

static void test_state(struct pair *p)
{
	_cleanup_close_ int fd = -EBADF;
	struct drover_error e = DROVER_ERROR_INIT;
	uint8_t buf[65536], bad[65536 + 8];
	size_t len;

	prepare(&p->d);
	tap_ok(p->s.g->ops->save(p->s.g, &fd, &e) == -EPERM, "a running guest is not saved");
	drover_err_clear(&e);
	pause_source(&p->s);
	if (!good(p->s.g->ops->save(p->s.g, &fd, &e), &e))
		return;
	len = (size_t)pread(fd, buf, sizeof(buf), 0);
	memset(bad, 0, sizeof(bad));
	memcpy(bad, buf, len);
	refuse(&p->d, bad, len - 1, "its last byte missing");
	refuse(&p->d, bad, len + 1, "a byte too many");
	refuse(&p->d, bad, 16, "no sections");
	bad[0] ^= 1;
	refuse(&p->d, bad, len, "another magic");
	memcpy(bad, buf, len);
	bad[16] ^= 1;
	refuse(&p->d, bad, len, "an unknown section");
	memcpy(bad, buf, len);
	bad[16 + 24]++;
	refuse(&p->d, bad, len, "a section of a newer version");
	memcpy(bad, buf, len);
	bad[16 + 28]++;
	refuse(&p->d, bad, len, "a section of another length");
	copy_all(&p->s, &p->d);
	tap_ok(hand_over(&p->s, &p->d) && passed(&p->d), "the true one still loads and passes");
}

/* Data of a section in a state of this VMM: header of 16 bytes, then {name, version, len}. */
static uint8_t *section(uint8_t *buf, size_t len, const char *name)
{
	size_t at = 16;
	uint32_t n;

	while (at + 32 <= len) {
		if (!strncmp((char *)buf + at, name, 24))
			return buf + at + 32;
		memcpy(&n, buf + at + 28, sizeof(n));
		at += 32 + ((n + 7) & ~7u);
	}
	return NULL;
}

/* RAM is right and the state is well-formed, but @at of a section is not what it was. */
static void wrong_state(struct pair *p, const char *name, size_t at, const char *want)
{
	_cleanup_close_ int fd = -EBADF, bad = -EBADF;
	_cleanup_json_ struct json_object *o = NULL;
	struct drover_error e = DROVER_ERROR_INIT;
	char page[96] = "";
	uint8_t buf[65536];
	size_t len;
	bool ok;

	ok = prepare(&p->d) && pause_source(&p->s) && !p->s.g->ops->save(p->s.g, &fd, &e);
	copy_all(&p->s, &p->d);
	len = (size_t)pread(fd, buf, sizeof(buf), 0);
	section(buf, len, name)[at] ^= 2;
	bad = forged(buf, len);
	ok = ok && good(load_state(&p->d, bad, &e), &e) && step(&p->d, OWNER_EV_PROVED) &&
	     step(&p->d, OWNER_EV_OWN) && verdict(&p->d, "failed", page, sizeof(page));
	o = p->d.g->ops->check(p->d.g);
	tap_ok(ok && o && strstr(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN), want),
	       "a change in %s is found: %s", name, o ? member(o, "text") : "");
}

static void changed_gpr(struct pair *p)
{
	wrong_state(p, "vcpu0/regs", 8, "\"registers\":\"changed\"");
}

static void changed_xmm(struct pair *p)
{
	/* %xmm5 in the FXSAVE area */
	wrong_state(p, "vcpu1/xsave", 160 + 5 * 16, "\"registers\":\"changed\"");
}

static void changed_beat(struct pair *p)
{
	/* device_state.beats[0] */
	wrong_state(p, "device", 40, "heartbeat");
}

/* A move in which the first vCPU comes to jump where no RAM is. */
static bool derail(struct side *from, struct side *to)
{
	_cleanup_close_ int fd = -EBADF, bad = -EBADF;
	struct drover_error e = DROVER_ERROR_INIT;
	uint64_t rip = 1ull << 40;
	char page[96] = "";
	uint8_t buf[65536];
	size_t len;

	if (!prepare(to) || !pause_source(from) || !good(from->g->ops->save(from->g, &fd, &e), &e))
		return false;
	copy_all(from, to);
	len = (size_t)pread(fd, buf, sizeof(buf), 0);
	/* struct kvm_regs: rip is the 17th word */
	memcpy(section(buf, len, "vcpu0/regs") + 16 * 8, &rip, sizeof(rip));
	bad = forged(buf, len);
	return good(load_state(to, bad, &e), &e) && step(to, OWNER_EV_PROVED) &&
	       step(from, OWNER_EV_DOUBT) && step(to, OWNER_EV_OWN) &&
	       step(from, OWNER_EV_RELEASE) && step(to, OWNER_EV_CONFIRMED) &&
	       verdict(to, "failed", page, sizeof(page));
}

static void test_dead(struct pair *p)
{
	_cleanup_json_ struct json_object *here = NULL, *there = NULL;
	bool ok = derail(&p->s, &p->d);
	char page[96] = "";

	here = p->d.g->ops->check(p->d.g);
	tap_ok(ok && here && strstr(member(here, "text"), "vcpu 0 died: KVM exit "),
	       "a vCPU that dies is told with its exit: %s", here ? member(here, "text") : "");
	ok = ok && stopped_move(&p->d, &p->s) && verdict(&p->s, "failed", page, sizeof(page));
	there = p->s.g->ops->check(p->s.g);
	tap_ok(ok && there && strstr(member(there, "text"), "vcpu 0 died before the move: KVM exit "),
	       "and where it goes: %s", there ? member(there, "text") : "");
}

static void test_foreign(struct pair *p)
{
	uint8_t before = page_of(&p->s, 0, FOREIGN_PAGE)[0];

	tap_ok(stopped_move(&p->s, &p->d) && before == 0x5a &&
	       page_of(&p->s, 0, FOREIGN_PAGE)[0] == 0xa5, "the foreign writer writes its page");
	tap_ok(passed(&p->d), "which is not the guest's to check");
}

/* ---- the table of tests: one pair of VMMs each ---- */

static void pagemap_scan(struct pair *p) { test_tracker(p, "pagemap-scan"); }
static void log_bitmap(struct pair *p) { test_kvm_log(p, "bitmap"); }
static void log_ring(struct pair *p) { test_kvm_log(p, "ring"); }
static void stale_data(struct pair *p) { test_damage(p, STALE_DATA); }
static void stale_table(struct pair *p) { test_damage(p, STALE_TABLE); }
static void stale_device(struct pair *p) { test_damage(p, STALE_DEVICE); }
static void flipped(struct pair *p) { test_damage(p, FLIPPED); }
static void changed_static(struct pair *p) { test_damage(p, CHANGED_STATIC); }

static const struct pair_test tests[] = {
	{ test_back_and_forth, { NULL } },
	{ pagemap_scan, { NULL } },
	{ log_bitmap, { "--dirty-log", "--balloon=off", NULL } },
	{ log_ring, { "--dirty-ring=64K", "--balloon=off", NULL } },
	{ stale_data, { NULL } },
	{ stale_table, { NULL } },
	{ stale_device, { NULL } },
	{ flipped, { "--dirty=8192", NULL } },
	{ changed_static, { NULL } },
	{ test_state, { NULL } },
	{ changed_gpr, { NULL } },
	{ changed_xmm, { NULL } },
	{ changed_beat, { NULL } },
	{ test_dead, { NULL } },
	{ test_foreign, { "--foreign-writer=pwrite", NULL } },
	{ test_foreign, { "--foreign-writer=process", NULL } },
};

int main(void)
{
	return pair_run(tests, DROVER_ARRAY_SIZE(tests));
}
