/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_TESTS_CHANNEL_TEST_H
#define DROVER_TESTS_CHANNEL_TEST_H

/* Full load on a pair of channels, and the ends of a stream; for tests of transports. */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "base/clock.h"
#include "base/err.h"
#include "channel/channel.h"

#include "tap.h"

/* Descriptors this process has open. */
__attribute__((unused))
static unsigned int open_fds(void)
{
	unsigned int n = 0;
	DIR *d = opendir("/proc/self/fd");

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

#define BIG (24u << 20)
#define PIECES 1500u

__attribute__((unused))
static struct drover_channel_opts opts(void)
{
	return (struct drover_channel_opts){
		.deadline = drover_deadline_ms(10000), .stall_ms = 10000, .fd = -1,
	};
}

__attribute__((unused))
static uint8_t *noise(size_t len, uint64_t seed)
{
	uint8_t *p = malloc(len);
	size_t i;

	for (i = 0; p && i + 8 <= len; i += 8) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		memcpy(p + i, &seed, 8);
	}
	return p;
}

/* Uneven pieces, some empty, more than one system call takes. */
__attribute__((unused))
static void split(struct iovec *iov, uint8_t *p, size_t len)
{
	unsigned int i;
	size_t at = 0;

	for (i = 0; i < PIECES; i++) {
		size_t k = i % 7 == 3 ? 0 : (len / PIECES) + i % 5 * 100;

		if (k > len - at)
			k = len - at;
		if (i == PIECES - 1)
			k = len - at;
		iov[i] = (struct iovec){ p + at, k };
		at += k;
	}
}

struct mover {
	pthread_t thread;
	struct drover_channel *ch;
	uint8_t *p;
	size_t len;
	int r;
	struct drover_error e;
};

__attribute__((unused))
static void *send_main(void *arg)
{
	struct mover *m = arg;
	static _Thread_local struct iovec iov[PIECES];

	split(iov, m->p, m->len);
	m->r = drover_channel_sendv(m->ch, iov, PIECES, 0, &m->e);
	return NULL;
}

__attribute__((unused))
static void *recv_main(void *arg)
{
	struct mover *m = arg;
	static _Thread_local struct iovec iov[PIECES];
	size_t got = 0;

	split(iov, m->p, m->len);
	m->r = drover_channel_recvv(m->ch, iov, PIECES, m->len, &got, &m->e);
	if (!m->r && got != m->len)
		m->r = -EIO;
	return NULL;
}

__attribute__((unused))
static int one(struct drover_channel *ch, bool send, void *p, size_t len, size_t min,
	       size_t *got, struct drover_error *e)
{
	struct iovec iov = { p, len };

	return send ? drover_channel_sendv(ch, &iov, 1, 0, e) :
		      drover_channel_recvv(ch, &iov, 1, min, got, e);
}

/* Full load in both directions at once. */
__attribute__((unused))
static void both_ways(const char *what, struct drover_channel *a, struct drover_channel *b)
{
	struct mover m[4] = { 0 };
	uint8_t *x = noise(BIG, 1), *y = noise(BIG, 2);
	uint8_t *x2 = calloc(1, BIG), *y2 = calloc(1, BIG);
	bool ok = true;
	unsigned int i;

	m[0] = (struct mover){ .ch = a, .p = x, .len = BIG };
	m[1] = (struct mover){ .ch = b, .p = x2, .len = BIG };
	m[2] = (struct mover){ .ch = b, .p = y, .len = BIG };
	m[3] = (struct mover){ .ch = a, .p = y2, .len = BIG };
	for (i = 0; i < 4; i++)
		pthread_create(&m[i].thread, NULL, i % 2 ? recv_main : send_main, &m[i]);
	for (i = 0; i < 4; i++) {
		pthread_join(m[i].thread, NULL);
		if (m[i].r)
			tap_diag("%s", m[i].e.msg);
		ok = ok && !m[i].r;
	}
	tap_ok(ok && XXH3_64bits(x, BIG) == XXH3_64bits(x2, BIG) &&
	       XXH3_64bits(y, BIG) == XXH3_64bits(y2, BIG),
	       "%s: %u MiB in %u pieces both ways", what, BIG >> 20, PIECES);
	tap_ok(drover_channel_stats(a)->tx_bytes == BIG &&
	       drover_channel_stats(a)->rx_bytes == BIG &&
	       drover_channel_stats(b)->rx_bytes == BIG, "... all counted");
	free(x);
	free(y);
	free(x2);
	free(y2);
}

/* Ends of a stream, on a connected pair; frees both. */
__attribute__((unused))
static void ends(struct drover_channel *a, struct drover_channel *b)
{
	struct drover_error e = DROVER_ERROR_INIT;
	char in[16] = "";
	size_t got = 0;

	tap_ok(!one(a, true, "hello", 5, 0, NULL, &e) &&
	       !one(b, false, in, sizeof(in), 1, &got, &e) && got == 5 && !strcmp(in, "hello"),
	       "a receive of at least 1 takes what is there");
	tap_ok(drover_channel_poll_in(b, drover_deadline_ms(20)) == 0, "nothing to receive");
	one(a, true, "abc", 3, 0, NULL, &e);
	tap_ok(drover_channel_poll_in(b, drover_deadline_ms(2000)) == 1, "something to receive");
	tap_ok(!drover_channel_finish(a, &e), "finish");
	tap_ok(one(b, false, in, 5, 5, &got, &e) == -EPIPE && strstr(e.msg, "after 3 of 5 bytes"),
	       "closed in the middle: %s", e.msg);
	drover_err_clear(&e);
	tap_ok(one(b, false, in, 5, 5, &got, &e) == DROVER_CHANNEL_E_EOF && !e.code,
	       "closed before the first byte");
	tap_ok(!one(b, true, "back", 4, 0, NULL, &e) && !one(a, false, in, 4, 4, &got, &e),
	       "the other direction is open still");
	b = drover_channel_free(b);
	while (!one(a, true, in, sizeof(in), 0, NULL, &e))
		;
	tap_ok(e.code == -EPIPE || e.code == -ECONNRESET, "the peer is gone: %s", e.msg);
	a = drover_channel_free(a);
}

#endif
