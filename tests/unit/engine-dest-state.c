// SPDX-License-Identifier: GPL-2.0-or-later
/* Pieces of STATE: two sections, in order, whole, and nothing else. */
#include "engine/dest/state.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "tap.h"

/* As the session does: check, receive, put. */
static int piece(struct state_in *in, const char *name, uint64_t off, uint64_t len,
		 uint64_t total, uint32_t flags, struct drover_error *e)
{
	static const uint8_t data[64] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 };
	struct drover_msg_state s = {
		.version = 1, .total = total, .off = off, .flags = flags,
	};
	int r;

	strcpy(s.name, name);
	drover_err_clear(e);
	r = state_check(in, &s, len, e);
	return r < 0 ? r : state_put(in, &s, data, len, e);
}

static struct state_in fresh(bool with_run)
{
	struct state_in in = { 0 };
	struct drover_error e = DROVER_ERROR_INIT;

	state_init(&in);
	if (with_run && piece(&in, "drover/run", 0, 1, 1, 0, &e) != 0)
		abort();
	return in;
}

static void test_whole(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct state_in in = fresh(false);
	uint8_t buf[64];

	tap_ok(piece(&in, "drover/run", 0, 1, 1, 0, &e) == 0 && in.run &&
	       state_step(&in) == STATE_GUEST, "drover/run: %s", e.msg);
	tap_ok(piece(&in, "guest", 0, 4, 10, 0, &e) == 0 && state_step(&in) == STATE_GUEST,
	       "a piece of the guest's: %s", e.msg);
	tap_ok(piece(&in, "guest", 4, 6, 10, DROVER_STATE_LAST, &e) == 1 &&
	       state_step(&in) == STATE_WHOLE, "the last one: %s", e.msg);
	tap_ok(pread(in.fd, buf, sizeof(buf), 0) == 10 && buf[3] == 4 && buf[4] == 1,
	       "together they are the section");
	tap_ok(write(in.fd, buf, 1) < 0, "which nobody can change any more");
	tap_ok(piece(&in, "guest", 10, 1, 11, 0, &e) == -EBADMSG, "nothing after it: %s", e.msg);
	state_deinit(&in);
	tap_ok(in.fd < 0, "and it is closed");
}

static void test_refused(void)
{
	static const struct {
		const char *what, *name;
		bool run;
		uint64_t off, len, total;
		uint32_t flags;
		int r;
	} rows[] = {
		{ "guest first", "guest", false, 0, 1, 1, 0, -EBADMSG },
		{ "drover/run of two bytes", "drover/run", false, 0, 2, 2, 0, -EBADMSG },
		{ "drover/run flagged last", "drover/run", false, 0, 1, 1, DROVER_STATE_LAST, -EBADMSG },
		{ "drover/run a second time", "drover/run", true, 0, 1, 1, 0, -EBADMSG },
		{ "an unknown section", "cpu/0", true, 0, 1, 1, 0, -EBADMSG },
		{ "an empty one", "guest", true, 0, 0, 0, 0, -EBADMSG },
		{ "an empty piece", "guest", true, 0, 0, 4, 0, -EBADMSG },
		{ "a piece beyond it", "guest", true, 0, 5, 4, 0, -EBADMSG },
		{ "a piece in the middle", "guest", true, 2, 2, 4, 0, -EBADMSG },
		{ "more than a guest can have", "guest", true, 0, 4, STATE_IN_MAX + 1, 0, -EBADMSG },
		{ "the end before it is whole", "guest", true, 0, 2, 4, DROVER_STATE_LAST, -EBADMSG },
		{ "whole but not the end", "guest", true, 0, 4, 4, 0, -EBADMSG },
	};
	struct drover_error e = DROVER_ERROR_INIT;
	unsigned int i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct state_in in = fresh(rows[i].run);

		tap_ok(piece(&in, rows[i].name, rows[i].off, rows[i].len, rows[i].total,
			     rows[i].flags, &e) == rows[i].r && state_step(&in) < STATE_WHOLE,
		       "refused: %s: %s", rows[i].what, e.msg);
		state_deinit(&in);
	}
}

static void test_changing(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct state_in in = fresh(true);
	struct drover_msg_state s = { .name = "guest", .version = 2, .total = 1 };

	tap_ok(state_check(&in, &s, 1, &e) == -EPROTONOSUPPORT, "an unknown version: %s", e.msg);
	if (piece(&in, "guest", 0, 4, 10, 0, &e))
		abort();
	tap_ok(piece(&in, "guest", 4, 4, 12, 0, &e) == -EBADMSG, "its size changes: %s", e.msg);
	state_skip(&in);
	tap_ok(piece(&in, "guest", 4, 4, 10, 0, &e) == -EBADMSG,
	       "none in a session that resumes a postcopy: %s", e.msg);
	state_deinit(&in);
}

int main(void)
{
	test_whole();
	test_refused();
	test_changing();
	return tap_done();
}
