// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The table "writer x tracker" of Documentation/trackers.rst for pagemap-scan, row by row:
 * what it sees by itself, what it sees when the VMM reports it, what it does not see at all
 * (and an audit does), and what ends the harvest. The module's rows are in tests/vm.
 *
 * A device that writes late is played by droverd's own mapping of the file, which no
 * tracker watches: as with DMA, only the content changes.
 */
#define _GNU_SOURCE
#include "track-vmm.h"

#include <liburing.h>
#include <signal.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "dev/devices.h"
#include "ram/wrote.h"
#include "tap.h"

#define PAGES 256u
#define P 100u                  /* the page of a row */

struct row {
	struct vmm v;
	struct drover_tracker *t;
	struct drover_wrote *wrote;
	uint8_t *page;          /* as the VMM has it */
	uint8_t *device;        /* as a device has it */
	off_t off;              /* in the file */
	unsigned int token;
};

static const uint64_t sizes[1] = { PAGES };

static bool row_open(struct row *r, bool reports)
{
	struct drover_error e = DROVER_ERROR_INIT;

	memset(r, 0, sizeof(*r));
	vmm_open(&r->v, sizes, 1);
	memset(r->v.map[0], 1, PAGES * DROVER_PAGE_SIZE);
	r->page = r->v.map[0] + P * DROVER_PAGE_SIZE;
	r->device = r->v.ram.block[0].host + P * DROVER_PAGE_SIZE;
	r->off = (off_t)(r->v.ram.block[0].fd_off + P * DROVER_PAGE_SIZE);
	if (reports && drover_wrote_new(&r->v.ram, &r->wrote, &e))
		abort();
	r->v.src.wrote = r->wrote;
	if (drover_tracker_select(&r->v.src, "pagemap-scan", NULL, &r->t, &e) ||
	    drover_tracker_start(r->t, &e)) {
		tap_ok(false, "start: %s", e.msg);
		return false;
	}
	return true;
}

static void row_close(struct row *r)
{
	drover_tracker_free(r->t);
	drover_wrote_free(r->wrote);
	vmm_close(&r->v);
}

/* Is the page in the next harvest? -1: there is none. */
static int harvested(struct row *r, struct drover_error *e)
{
	vmm_clear_dirty(&r->v);
	if (drover_tracker_harvest(r->t, r->v.dirty, false, e))
		return -1;
	return drover_bit_test(r->v.dirty[0], P);
}

/* ---- writers; each changes the page ---- */

static void store(struct row *r) { *(volatile uint8_t *)r->page = 7; }

static void store_and_forget(struct row *r)
{
	store(r);
	madvise(r->page, DROVER_PAGE_SIZE, MADV_DONTNEED);
}

static void by_read(struct row *r)
{
	int p[2];

	if (pipe(p) || write(p[1], "x", 1) != 1 || read(p[0], r->page, 1) != 1)
		abort();
	close(p[0]);
	close(p[1]);
}

/* Direct I/O that has ended before the harvest. */
static void direct(struct row *r)
{
	char path[] = "drover-unit-XXXXXX";
	int fd = mkstemp(path);

	unlink(path);
	if (write(fd, r->v.map[0], DROVER_PAGE_SIZE) != DROVER_PAGE_SIZE || fsync(fd) < 0)
		abort();
	fcntl(fd, F_SETFL, O_DIRECT);
	if (pread(fd, r->page, DROVER_PAGE_SIZE, 0) != DROVER_PAGE_SIZE)
		abort();
	close(fd);
}

static void other_process(struct row *r)
{
	uint8_t byte = 9;
	struct iovec from = { &byte, 1 }, to = { r->page, 1 };

	if (process_vm_writev(getpid(), &from, 1, &to, 1, 0) != 1)
		abort();
}

static void by_mem(struct row *r)
{
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);

	if (pwrite(fd, "x", 1, (off_t)(uintptr_t)r->page) != 1)
		abort();
	close(fd);
}

static void punch(struct row *r) { vmm_punch(&r->v, 0, P, 1); }

static void punch_and_read(struct row *r)
{
	punch(r);
	(void)*(volatile uint8_t *)r->page;
}

static void by_pwrite(struct row *r)
{
	if (pwrite(r->v.ram.block[0].fd, "x", 1, r->off) != 1)
		abort();
}

static void by_splice(struct row *r)
{
	loff_t off = r->off;
	int p[2];

	if (pipe(p) || write(p[1], "x", 1) != 1 ||
	    splice(p[0], NULL, r->v.ram.block[0].fd, &off, 1, 0) != 1)
		abort();
	close(p[0]);
	close(p[1]);
}

static void foreign(struct row *r) { *(volatile uint8_t *)r->device = 7; }

/* ---- rows ---- */

enum seen { UNSEEN, SEEN };

static const struct {
	const char *what;
	void (*write)(struct row *r);
	enum seen seen;
} rows[] = {
	{ "store", store, SEEN },
	{ "store, then MADV_DONTNEED", store_and_forget, SEEN },
	{ "read(2) into it", by_read, SEEN },
	{ "O_DIRECT read that has ended", direct, SEEN },
	{ "process_vm_writev", other_process, SEEN },
	{ "/proc/PID/mem", by_mem, SEEN },
	{ "punch", punch, SEEN },
	{ "punch, then read", punch_and_read, SEEN },
	{ "pwrite on the file", by_pwrite, UNSEEN },
	{ "splice into the file", by_splice, UNSEEN },
	{ "foreign mapping", foreign, UNSEEN },
};

static void by_itself(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct row r;
	size_t i;
	int got;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (!row_open(&r, false))
			return;
		got = harvested(&r, &e);
		tap_ok(got == 0, "%s: not yet", rows[i].what);
		rows[i].write(&r);
		got = harvested(&r, &e);
		tap_ok(got == (int)rows[i].seen, "%s: %s %s", rows[i].what,
		       rows[i].seen ? "seen" : "not seen, audit reports it", e.msg);
		row_close(&r);
	}
}

/* A request marks its page, a harvest takes the mark, and then the device writes. */
static void late(bool reports)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct row r;

	if (!row_open(&r, reports))
		return;
	store(&r);
	tap_ok(harvested(&r, &e) == 1, "submitted: the page counts as written");
	foreign(&r);
	if (reports)
		drover_wrote_mark(r.wrote, 0, P, 1);
	tap_ok(harvested(&r, &e) == (reports ? 1 : 0), "written later and %s: %s",
	       reports ? "reported" : "not reported", reports ? "seen" : "LOST (the control)");
	tap_ok(harvested(&r, &e) == 0, "once");
	tap_ok(!strcmp(drover_tracker_name(r.t), reports ? "pagemap-scan+holes+wrote" :
		       "pagemap-scan+holes"), "%s", drover_tracker_name(r.t));
	row_close(&r);
}

/* The same, when the VMM only counts requests. */
static void late_counted(unsigned int before, unsigned int between)
{
	struct drover_error e = DROVER_ERROR_INIT;
	unsigned int i, other = 0, again = 0;
	struct row r;

	if (!row_open(&r, true))
		return;
	/* Other requests come and go, so that epochs turn. */
	for (i = 0; i < before; i++) {
		other = drover_wrote_begin(r.wrote);
		harvested(&r, &e);
		drover_wrote_end(r.wrote, other);
	}
	r.token = drover_wrote_begin(r.wrote);
	store(&r);
	tap_ok(harvested(&r, &e) == 1, "counted, submitted (%u, %u)", before, between);
	for (i = 0; i < between; i++) {
		other = drover_wrote_begin(r.wrote);
		harvested(&r, &e);
		drover_wrote_end(r.wrote, other);
	}
	foreign(&r);
	drover_wrote_end(r.wrote, r.token);
	/* It may be kept until the epoch after has ended, too. */
	for (i = 0; i < 3; i++)
		again += harvested(&r, &e) == 1;
	tap_ok(again == 1, "ended: it is reported once more, once (%u)", again);
	row_close(&r);
}

/* One that never ends: while it is paused the VMM breaks its promise, and that is said. */
static void never_ends(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct row r;

	if (!row_open(&r, true))
		return;
	r.token = drover_wrote_begin(r.wrote);
	tap_ok(drover_tracker_harvest(r.t, r.v.dirty, true, &e) == -EPROTO &&
	       strstr(e.msg, "1 requests"), "under way in the last harvest: %s", e.msg);
	drover_wrote_end(r.wrote, r.token);
	tap_ok(drover_tracker_harvest(r.t, r.v.dirty, true, NULL) == 0, "ended: fine");
	row_close(&r);
}

/* Under way when the tracker starts: its page was marked before anybody looked. */
static void before_start(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct row r;
	unsigned int token;

	if (!row_open(&r, true))
		return;
	drover_tracker_stop(r.t);
	token = drover_wrote_begin(r.wrote);
	store(&r);
	tap_ok(drover_tracker_start(r.t, &e) == 0, "start while a request is under way %s", e.msg);
	tap_ok(harvested(&r, &e) == 0, "its page is not among what was written since");
	foreign(&r);
	drover_wrote_end(r.wrote, token);
	tap_ok(harvested(&r, &e) == 1, "ended: it is reported");
	row_close(&r);
}

/* ---- io_uring: a registered buffer is pinned once, and marked never again ---- */

static bool fixed_read(struct io_uring *ring, int fd, void *to)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;
	bool ok;

	io_uring_prep_read_fixed(sqe, fd, to, DROVER_PAGE_SIZE, 0, 0);
	if (io_uring_submit(ring) != 1 || io_uring_wait_cqe(ring, &cqe))
		return false;
	ok = cqe->res == (int)DROVER_PAGE_SIZE;
	io_uring_cqe_seen(ring, cqe);
	return ok;
}

static void registered(bool reports)
{
	char path[] = "drover-unit-XXXXXX";
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_tracker *t = NULL;
	struct drover_devices d;
	struct io_uring ring;
	struct iovec iov;
	struct row r;
	int fd, n;

	if (!row_open(&r, reports))
		return;
	n = io_uring_queue_init(8, &ring, 0);
	if (n < 0) {
		tap_skip("io_uring: %s", strerror(-n));
		row_close(&r);
		return;
	}
	fd = mkstemp(path);
	unlink(path);
	memset(r.v.map[0], 0x55, DROVER_PAGE_SIZE);
	iov = (struct iovec){ r.page, DROVER_PAGE_SIZE };
	n = io_uring_register_buffers(&ring, &iov, 1);
	if (write(fd, r.v.map[0], DROVER_PAGE_SIZE) != DROVER_PAGE_SIZE || fsync(fd) < 0 || n < 0)
		abort();
	fcntl(fd, F_SETFL, O_DIRECT);
	harvested(&r, &e);
	tap_ok(fixed_read(&ring, fd, r.page) && *r.page == 0x55, "READ_FIXED changes the page");
	if (reports)
		drover_wrote_mark(r.wrote, 0, P, 1);
	tap_ok(harvested(&r, &e) == (reports ? 1 : 0), "registered buffer: %s",
	       reports ? "reported, and seen" : "not seen");
	/* And therefore refused, when it is another process's. */
	r.v.src.pid = getpid();
	n = drover_tracker_select(&r.v.src, "auto", NULL, &t, &e);
	tap_ok(reports ? n == 0 : n == -EOPNOTSUPP && strstr(e.msg, "registered buffers") &&
	       strstr(e.msg, "drover_agent_wrote") && strstr(e.msg, "unsafe-device-writes=allow"),
	       "such a VMM: %s", n ? e.msg : "accepted");
	drover_tracker_free(t);
	drover_err_clear(&e);
	r.v.src.blind_devices = true;
	t = NULL;
	n = drover_tracker_select(&r.v.src, "pagemap-scan", NULL, &t, &e);
	tap_ok(n == 0 && !strstr(drover_tracker_name(t), "unsafe") == reports &&
	       !strstr(drover_tracker_report(t), "LOST when late") == reports,
	       "allowed: %s", n ? e.msg : drover_tracker_name(t));
	drover_tracker_free(t);
	io_uring_queue_exit(&ring);
	close(fd);
	tap_ok(drover_devices_look(getpid(), &d) == 0 && d.n == 0, "nothing is left open");
	row_close(&r);
}

/* Another process has the guest's memory, too: refused, not lost. */
static void shared_with(bool allowed)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_tracker *t = NULL;
	int n, status;
	struct vmm v;
	pid_t pid;

	vmm_open(&v, sizes, 1);
	v.src.pid = getpid();
	v.src.blind_devices = allowed;
	pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	n = drover_tracker_select(&v.src, "auto", NULL, &t, &e);
	if (allowed)
		tap_ok(n == 0 && strstr(drover_tracker_name(t), "+unsafe") &&
		       strstr(drover_tracker_report(t), "are LOST"), "allowed: %s %s", e.msg,
		       t ? drover_tracker_name(t) : "");
	else
		tap_ok(n == -EOPNOTSUPP && strstr(e.msg, "maps RAM ram0, too"),
		       "a process that maps the RAM: %s", e.msg);
	t = drover_tracker_free(t);
	v.ram.block[0].flags = DROVER_RAM_SHARED_DEST;
	v.src.blind_devices = false;
	drover_err_clear(&e);
	tap_ok(!drover_tracker_select(&v.src, "auto", NULL, &t, &e),
	       "it is the destination, which takes it over %s", e.msg);
	t = drover_tracker_free(t);
	v.ram.block[0].flags = 0;
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	tap_ok(!drover_tracker_select(&v.src, "auto", NULL, &t, &e) &&
	       !strstr(drover_tracker_name(t), "unsafe"), "it has gone %s", e.msg);
	drover_tracker_free(t);
	vmm_close(&v);
}

/* A disk that is plugged in while the guest moves. */
static void plugged_in(void)
{
	char path[] = "drover-unit-XXXXXX";
	struct drover_error e = DROVER_ERROR_INIT;
	int fd, n = 0, round;
	struct row r;

	memset(&r, 0, sizeof(r));
	vmm_open(&r.v, sizes, 1);
	r.v.src.pid = getpid();
	if (drover_tracker_select(&r.v.src, "auto", NULL, &r.t, &e) ||
	    drover_tracker_start(r.t, &e)) {
		tap_ok(false, "start: %s", e.msg);
		return;
	}
	fd = mkstemp(path);
	unlink(path);
	fcntl(fd, F_SETFL, O_DIRECT);
	for (round = 0; round < 30 && !n; round++) {
		n = drover_tracker_harvest(r.t, r.v.dirty, false, &e);
		usleep(100000);
	}
	tap_ok(n == -EOPNOTSUPP && strstr(e.msg, "1 file opened with O_DIRECT"),
	       "opened during the migration: %s", e.msg);
	close(fd);
	row_close(&r);
}

/* The VMM's mapping goes: the harvest must fail, and not find nothing for ever. */
static void remap(struct row *r, unsigned int how)
{
	uint8_t *at, *map = r->v.map[0];
	size_t len = PAGES * DROVER_PAGE_SIZE;

	if (how == 0) {         /* moved */
		at = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		at = mremap(map, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, at);
		if (at == MAP_FAILED)
			abort();
		at[P * DROVER_PAGE_SIZE] = 7;
		r->v.map[0] = at;
	} else if (how == 1) {  /* a part is gone */
		munmap(map + (P + 1) * DROVER_PAGE_SIZE, DROVER_PAGE_SIZE);
	} else if (mmap(map, len, PROT_READ | PROT_WRITE,
			MAP_FIXED | (how == 2 ? MAP_PRIVATE : MAP_SHARED), r->v.ram.block[0].fd,
			(off_t)r->v.ram.block[0].fd_off) == MAP_FAILED) {
		abort();
	}
}

static void moved(unsigned int how, bool known, const char *what)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct row r;
	int got;

	if (!row_open(&r, true))
		return;
	drover_tracker_free(r.t);
	r.v.src.pid = known ? getpid() : 0;
	if (drover_tracker_select(&r.v.src, "auto", NULL, &r.t, &e) ||
	    drover_tracker_start(r.t, &e)) {
		tap_ok(false, "start: %s", e.msg);
		return;
	}
	remap(&r, how);
	got = harvested(&r, &e);
	if (known)
		tap_ok(got == -1 && strstr(e.msg, "ram0"), "%s: %s", what, e.msg);
	else
		tap_ok(got == 0, "control: %s: nobody looks, and nothing is found", what);
	row_close(&r);
}

int main(void)
{
	struct vmm v;

	vmm_open(&v, sizes, 1);
	VMM_NEEDS_SCAN(&v);
	vmm_close(&v);
	by_itself();
	late(true);
	late(false);
	late_counted(0, 0);
	late_counted(1, 0);
	late_counted(0, 1);
	late_counted(3, 4);
	never_ends();
	before_start();
	registered(true);
	registered(false);
	shared_with(false);
	shared_with(true);
	plugged_in();
	moved(0, true, "mremap");
	moved(1, true, "munmap of a page");
	moved(2, true, "mapped anew, private");
	moved(3, true, "mapped anew, shared");
	moved(0, false, "mremap");
	return tap_done();
}
