// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The host's limit: the split by examples and by its definition (max-min fairness) on
 * random needs; the file with several migrations, with one that dies, and with nonsense.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "engine/hostlimit.h"
#include "tap.h"

#define ALL UINT64_MAX
#define N 32u

static void test_split(void)
{
	static const struct {
		uint64_t rate, need[4];
		unsigned int n;
		uint64_t share[4];
	} rows[] = {
		{ 1000, { ALL }, 1, { 1000 } },
		{ 1000, { ALL, ALL, ALL, ALL }, 4, { 250, 250, 250, 250 } },
		{ 1000, { 100, ALL, ALL }, 3, { 100, 450, 450 } },
		{ 1000, { 100, 300, ALL, ALL }, 4, { 100, 300, 300, 300 } },
		{ 1000, { 10, 20, 30, 40 }, 4, { 10, 20, 30, 40 } },
		{ 0, { ALL, 5 }, 2, { 0, 0 } },
		{ 7, { ALL, ALL }, 2, { 3, 3 } },
	};
	unsigned int i, k, bad = 0;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (k = 0; k < rows[i].n; k++)
			bad += drover_hostlimit_split(rows[i].rate, rows[i].need, rows[i].n, k) !=
			       rows[i].share[k];
	tap_ok(!bad, "split: %zu examples, %u wrong", sizeof(rows) / sizeof(rows[0]), bad);
}

/* Nobody gets more than it needs; who gets less has at least as much as anybody. */
static void test_split_random(void)
{
	unsigned int round, i, k, bad = 0;
	uint64_t need[N], share[N], rate, sum;

	srand(7);
	for (round = 0; round < 2000; round++) {
		unsigned int n = 1 + (unsigned int)rand() % N;

		rate = (uint64_t)rand() * 1000;
		for (i = 0; i < n; i++)
			need[i] = rand() % 3 ? (uint64_t)rand() * 50 : ALL;
		for (sum = 0, i = 0; i < n; i++) {
			share[i] = drover_hostlimit_split(rate, need, n, i);
			sum += share[i];
			bad += share[i] > need[i];
		}
		bad += sum > rate;
		for (i = 0; i < n; i++)
			for (k = 0; share[i] < need[i] && k < n; k++)
				bad += share[k] > share[i];
	}
	tap_ok(!bad, "split: fair on 2000 random needs, %u violations", bad);
}

static void test_file(const char *path)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_hostlimit *h[4];
	uint64_t now = drover_now_ns(), rate;
	unsigned int i, n;

	tap_ok(!drover_hostlimit_get(path, &rate, &n, &e) && !rate && !n, "no file: no limit");
	for (i = 0; i < 4; i++)
		tap_ok(!drover_hostlimit_new(path, &h[i], &e), "migration %u", i);
	tap_ok(!drover_hostlimit_share(h[0], now, 0, false), "no file: it sends as it likes");
	tap_ok(!drover_hostlimit_set(path, 1000000, &e), "set %s", e.msg);
	now += 2 * DROVER_NS_PER_S;
	tap_ok(drover_hostlimit_share(h[0], now, 0, false) == 1000000, "one has all of it");
	for (i = 0; i < 4; i++)
		drover_hostlimit_share(h[i], now, 0, false);
	tap_ok(drover_hostlimit_share(h[0], now, 0, false) == 250000 &&
	       drover_hostlimit_share(h[3], now, 0, false) == 250000, "four have a quarter each");
	/* One that sends little leaves the rest to the others. */
	for (i = 1; i <= 10; i++) {
		now += 200 * DROVER_NS_PER_MS;
		drover_hostlimit_share(h[0], now, i * 2000, false);
		drover_hostlimit_share(h[1], now, i * 60000, false);
		drover_hostlimit_share(h[2], now, i * 60000, false);
		drover_hostlimit_share(h[3], now, i * 60000, false);
	}
	rate = drover_hostlimit_share(h[1], now, 600000, false);
	tap_ok(rate > 280000 && rate < 334000, "one that needs little leaves its part (%llu)",
	       (unsigned long long)rate);
	h[1] = drover_hostlimit_free(h[1]);
	rate = drover_hostlimit_share(h[2], now, 600000, false);
	tap_ok(rate > 440000 && rate <= 500000, "one ends (%llu)", (unsigned long long)rate);
	/* h[3] is not heard of any more, as if it was killed. */
	now += 3 * DROVER_NS_PER_S;
	drover_hostlimit_share(h[0], now, 20000, false);
	tap_ok(drover_hostlimit_share(h[2], now, 2000000, false) > 700000, "one dies: it is forgotten");
	/* At a low rate nothing is sent in a window, though all is needed. */
	now += 200 * DROVER_NS_PER_MS;
	tap_ok(drover_hostlimit_share(h[0], now, 20000, true) >= 450000,
	       "one that is held back needs all");
	tap_ok(!drover_hostlimit_set(path, 0, &e) && !drover_hostlimit_share(h[2], now, 0, false),
	       "switched off");
	for (i = 0; i < 4; i++)
		drover_hostlimit_free(h[i]);
}

static void test_bad_file(const char *path)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_hostlimit *h = NULL;
	uint64_t rate;
	char junk[8192];
	int fd;

	unlink(path);
	fd = open(path, O_CREAT | O_RDWR, 0600);
	tap_ok(drover_hostlimit_get(path, &rate, NULL, &e) == -EBADMSG, "too short: %s", e.msg);
	memset(junk, 0xee, sizeof(junk));
	tap_ok(write(fd, junk, sizeof(junk)) == sizeof(junk) && !drover_hostlimit_new(path, &h, &e) &&
	       !drover_hostlimit_share(h, drover_now_ns(), 0, false), "nonsense in it: no limit");
	drover_hostlimit_free(h);
	close(fd);
	unlink(path);
	e = (struct drover_error)DROVER_ERROR_INIT;
	tap_ok(!symlink("/dev/null", path) && drover_hostlimit_set(path, 1, &e) == -ELOOP,
	       "a link is not followed: %s", e.msg);
	unlink(path);
}

int main(void)
{
	char dir[] = "/tmp/drover-hostlimit-XXXXXX", path[64];

	if (!mkdtemp(dir))
		return 1;
	snprintf(path, sizeof(path), "%s/limit", dir);
	test_split();
	test_split_random();
	test_file(path);
	test_bad_file(path);
	rmdir(dir);
	return tap_done();
}
