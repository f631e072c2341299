// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The chain of an error: the origin is never hidden, what followed is never lost, and neither
 * is said twice.
 */
#include "base/err.h"

#include <errno.h>
#include <string.h>

#include "tap.h"

static void origin_first(void)
{
	struct drover_error e = DROVER_ERROR_INIT;

	tap_ok(drover_err(&e, -EINVAL, "agent: DIRTY: %s", drover_strerror(EINVAL)) == -EINVAL &&
	       !strcmp(e.msg, "agent: DIRTY: Invalid argument"), "the origin: %s", e.msg);
	tap_ok(drover_err(&e, -EINVAL, "tracker kvm-log: harvest: %s", drover_strerror(EINVAL)) ==
	       -EINVAL && !strcmp(e.msg, "agent: DIRTY: Invalid argument; tracker kvm-log: harvest"),
	       "who is broken by it is named, and the cause once: %s", e.msg);
	tap_ok(drover_err(&e, -ECANCELED, "migration: cancelled") == -ECANCELED &&
	       e.code == -EINVAL, "the code stays the origin's, the return is the caller's");
	tap_ok(strstr(e.msg, "; migration: cancelled"), "a third link: %s", e.msg);
	drover_err(&e, -EIO, "a fourth");
	tap_ok(!strstr(e.msg, "a fourth") && e.links == DROVER_ERR_LINKS_MAX,
	       "no more than %u links", DROVER_ERR_LINKS_MAX);
}

static void nothing_twice(void)
{
	struct drover_error e = DROVER_ERROR_INIT;

	drover_err(&e, -EPIPE, "channel data/1: send: Broken pipe");
	drover_err(&e, -EPIPE, "channel data/1: send: Broken pipe");
	tap_ok(!strcmp(e.msg, "channel data/1: send: Broken pipe"), "the same text: %s", e.msg);
	drover_err(&e, -EPIPE, "channel data/1: %s", drover_strerror(EPIPE));
	tap_ok(!strcmp(e.msg, "channel data/1: send: Broken pipe") && e.links == 1,
	       "a part of it: %s", e.msg);
	drover_err(&e, -EIO, "%s", "");
	tap_ok(e.links == 1, "an empty text is no link");
}

static void prefix_and_clear(void)
{
	struct drover_error e = DROVER_ERROR_INIT;

	drover_err(&e, -EIO, "read: I/O error");
	drover_err(&e, -EIO, "round 3");
	tap_ok(drover_err_prefix(&e, "pause: ") == -EIO && !strncmp(e.msg, "pause: read:", 12),
	       "a prefix stands before the origin: %s", e.msg);
	drover_err_clear(&e);
	tap_ok(!e.code && !e.links && !e.msg[0], "clear forgets the links too");
	drover_err(&e, -EIO, "new");
	tap_ok(!strcmp(e.msg, "new") && e.links == 1, "and a new origin begins: %s", e.msg);
	tap_ok(drover_err(NULL, -EIO, "nobody asks") == -EIO && drover_err_prefix(NULL, "x") == 0,
	       "nobody need ask");
}

static void long_texts(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	char text[2 * DROVER_ERR_MAX];

	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	drover_err(&e, -EIO, "%s", text);
	drover_err(&e, -EIO, "b");
	drover_err_prefix(&e, "c: ");
	tap_ok(strlen(e.msg) == DROVER_ERR_MAX - 1 && !strncmp(e.msg, "c: aaa", 6),
	       "what is too long is cut and ends in NUL");
}

int main(void)
{
	origin_first();
	nothing_twice();
	prefix_and_clear();
	long_texts();
	return tap_done();
}
