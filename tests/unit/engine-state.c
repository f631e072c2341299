// SPDX-License-Identifier: GPL-2.0-or-later
/* The state table: QEMU's 17 names, and every edge that is not listed here is refused. */
#include "engine/state.h"

#include <string.h>

#include "tap.h"

#define S 1
#define D 2

/* In QEMU's words and order; the interface clients rely on. */
static const char *const names[] = {
	"none", "setup", "cancelling", "cancelled", "active", "postcopy-device",
	"postcopy-active", "postcopy-paused", "postcopy-recover-setup", "postcopy-recover",
	"completed", "failing", "failed", "colo", "pre-switchover", "device", "wait-unplug",
};

static const struct {
	const char *from, *to;
	int who;
} edges[] = {
	{ "none", "setup", S | D },
	{ "setup", "active", S | D },
	{ "setup", "wait-unplug", S },
	{ "wait-unplug", "active", S },
	{ "setup", "failing", S | D },
	{ "setup", "cancelling", S | D },
	{ "active", "device", S | D },
	{ "active", "pre-switchover", S },
	{ "active", "failing", S | D },
	{ "active", "cancelling", S | D },
	{ "active", "completed", D },
	{ "active", "postcopy-device", D },
	{ "active", "postcopy-active", D },
	{ "pre-switchover", "device", S },
	{ "pre-switchover", "failing", S },
	{ "pre-switchover", "cancelling", S },
	{ "device", "completed", S | D },
	{ "device", "colo", S },
	{ "device", "postcopy-device", S },
	{ "device", "postcopy-active", S },
	{ "device", "failing", S | D },
	{ "device", "cancelling", S | D },
	{ "postcopy-device", "postcopy-active", S | D },
	{ "postcopy-device", "failing", S | D },
	{ "postcopy-device", "cancelling", S | D },
	{ "postcopy-device", "postcopy-paused", S },
	{ "postcopy-active", "completed", S | D },
	{ "postcopy-active", "postcopy-paused", S | D },
	{ "postcopy-active", "failing", S | D },
	{ "postcopy-paused", "postcopy-recover-setup", S | D },
	{ "postcopy-recover-setup", "postcopy-recover", S | D },
	{ "postcopy-recover-setup", "postcopy-paused", S | D },
	{ "postcopy-recover", "postcopy-active", S | D },
	{ "postcopy-recover", "postcopy-paused", S | D },
	{ "colo", "completed", S | D },
	{ "failing", "failed", S | D },
	{ "cancelling", "cancelled", S | D },
	{ "none", "postcopy-paused", S | D },
	{ "device", "postcopy-paused", S },
	{ "postcopy-paused", "completed", S | D },
	{ "postcopy-paused", "failing", S },
	{ "failed", "setup", D },
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static int who_may(int from, int to)
{
	size_t i;

	for (i = 0; i < COUNT(edges); i++)
		if (drover_state_from_name(edges[i].from) == from &&
		    drover_state_from_name(edges[i].to) == to)
			return edges[i].who;
	return 0;
}

static unsigned int count_edges(void)
{
	unsigned int n = 0;

#define EDGE(from, to, who) n++;
#include "engine/states.def"
	return n;
}

static bool terminal(int s)
{
	return s == DROVER_STATE_CANCELLED || s == DROVER_STATE_COMPLETED ||
	       s == DROVER_STATE_FAILED;
}

static void test_names(void)
{
	bool same = true, unique = true;
	size_t i, j;

	for (i = 0; i < COUNT(names); i++) {
		same = same && !strcmp(drover_state_name((enum drover_state)i), names[i]) &&
		       drover_state_from_name(names[i]) == (int)i;
		for (j = 0; j < i; j++)
			unique = unique && strcmp(names[i], names[j]) != 0;
	}
	tap_ok(DROVER_STATE_COUNT == 17 && COUNT(names) == 17, "17 states");
	tap_ok(same && unique, "QEMU's names, in its order, each once");
	tap_ok(drover_state_from_name("") == -1 && drover_state_from_name("Active") == -1 &&
	       drover_state_from_name("activ") == -1, "no other name");
	tap_ok(!strcmp(drover_state_name(DROVER_STATE_COUNT), "unknown") &&
	       !drover_state_running(DROVER_STATE_COUNT), "a number past the table");
}

int main(void)
{
	unsigned int allowed = 0, wrong = 0;
	bool running = true, ends = true;
	int from, to;

	test_names();
	for (from = 0; from < DROVER_STATE_COUNT; from++) {
		for (to = 0; to < DROVER_STATE_COUNT; to++) {
			enum drover_state a = (enum drover_state)from, b = (enum drover_state)to;
			bool s = drover_state_edge(a, b, true), d = drover_state_edge(a, b, false);

			allowed += s || d;
			if (s != !!(who_may(from, to) & S) || d != !!(who_may(from, to) & D)) {
				tap_diag("%s to %s", names[from], names[to]);
				wrong++;
			}
			if (terminal(from) && s)
				ends = false;
			if (terminal(from) && d && from != DROVER_STATE_FAILED)
				ends = false;
		}
		running = running && drover_state_running((enum drover_state)from) ==
			  !(terminal(from) || from == DROVER_STATE_NONE);
	}
	tap_ok(!wrong, "every edge as listed, every other refused");
	tap_ok(allowed == COUNT(edges), "%u edges", allowed);
	tap_ok(count_edges() == COUNT(edges), "no edge is in the table twice");
	tap_ok(running, "running: all but none, cancelled, completed, failed");
	tap_ok(ends, "nothing follows an end, but the incoming side listens again after failed");
	return tap_done();
}
