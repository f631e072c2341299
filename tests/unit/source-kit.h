/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_TESTS_SOURCE_KIT_H
#define DROVER_TESTS_SOURCE_KIT_H

/*
 * A source without threads or sockets: RAM of a test's own, a main channel in memory that a
 * test fills with the destination's messages and reads what the source sent from, and a guest
 * that only remembers what was asked of it.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "base/clock.h"
#include "channel/internal.h"
#include "engine/source/source.h"
#include "guest/ops.h"

#include "owner-kit.h"
#include "tap.h"

#define KIT_BYTES (1u << 20)

/**
 * struct kit_channel - a channel in memory
 * @in: what the destination has sent; @in_off of it has been read
 * @out: what the source has sent; @out_off of it has been looked at
 * @closed: the destination closed it after @in
 */
struct kit_channel {
	struct drover_link *link;
	uint8_t *in, *out;
	size_t in_len, in_off, out_len, out_off;
	uint32_t seq;
	bool closed;
};

static void kit_readable(struct drover_channel *ch, bool yes)
{
	uint64_t n = 1;
	ssize_t r = yes ? write(ch->rfd, &n, sizeof(n)) : read(ch->rfd, &n, sizeof(n));

	(void)r;
}

static int kit_sendv(struct drover_channel *ch, struct iovec *iov, unsigned int n,
		     unsigned int flags, struct drover_error *e)
{
	struct kit_channel *k = ch->priv;
	unsigned int i;

	(void)flags;
	for (i = 0; i < n; i++) {
		if (iov[i].iov_len > KIT_BYTES - k->out_len)
			return drover_err(e, -ENOBUFS, "kit: full");
		memcpy(k->out + k->out_len, iov[i].iov_base, iov[i].iov_len);
		k->out_len += iov[i].iov_len;
		atomic_fetch_add(&ch->stats.tx_bytes, iov[i].iov_len);
	}
	return 0;
}

static int kit_recvv(struct drover_channel *ch, struct iovec *iov, unsigned int n, size_t min,
		     size_t *ret_got, struct drover_error *e)
{
	struct kit_channel *k = ch->priv;
	size_t got = 0;
	unsigned int i;

	for (i = 0; i < n; i++) {
		size_t some = iov[i].iov_len;

		if (some > k->in_len - k->in_off)
			some = k->in_len - k->in_off;
		memcpy(iov[i].iov_base, k->in + k->in_off, some);
		k->in_off += some;
		got += some;
	}
	if (k->in_off == k->in_len && !k->closed)
		kit_readable(ch, false);
	if (!got && k->closed)
		return DROVER_CHANNEL_E_EOF;
	if (got < min)
		return drover_err(e, -EPIPE, "kit: %zu of %zu bytes", got, min);
	*ret_got = got;
	return 0;
}

static void kit_shutdown(struct drover_channel *ch)
{
	(void)ch;
}

static void kit_close(struct drover_channel *ch)
{
	close(ch->rfd);
}

static const struct channel_ops kit_ops = {
	.sendv = kit_sendv,
	.recvv = kit_recvv,
	.shutdown = kit_shutdown,
	.close = kit_close,
};

__attribute__((unused))
static void kit_channel_init(struct kit_channel *k)
{
	struct drover_channel_opts o = { .fd = -1 };
	struct drover_channel *ch;

	memset(k, 0, sizeof(*k));
	k->in = malloc(KIT_BYTES);
	k->out = malloc(KIT_BYTES);
	if (!k->in || !k->out ||
	    drover_channel_make(&kit_ops, CHANNEL_SOCKET, eventfd(0, EFD_NONBLOCK), -1, &o, &ch,
				NULL) < 0 ||
	    drover_link_new(ch, true, &k->link, NULL) < 0)
		abort();
	ch->priv = k;
	/* A test of one step says what it likes, whenever it likes. */
	k->link->phase = NULL;
	drover_channel_set_name(ch, "main");
}

__attribute__((unused))
static void kit_channel_deinit(struct kit_channel *k)
{
	drover_link_free(k->link);
	free(k->in);
	free(k->out);
}

/* The destination sends a message. */
__attribute__((unused))
static void kit_feed(struct kit_channel *k, enum drover_msg_type type, const void *body, int len)
{
	struct drover_frame f = {
		.version = DROVER_WIRE_VERSION,
		.type = (uint16_t)type,
		.seq = k->seq++,
		.body_len = (uint32_t)len,
	};

	if (len < 0)
		abort();
	drover_frame_encode(&f, k->in + k->in_len);
	if (len)
		memcpy(k->in + k->in_len + DROVER_FRAME_LEN, body, (size_t)len);
	k->in_len += DROVER_FRAME_LEN + (size_t)len;
	kit_readable(k->link->ch, true);
}

/* The next message that the source has sent, 0: none; its body and payload follow *ret_body. */
__attribute__((unused))
static enum drover_msg_type kit_sent(struct kit_channel *k, struct drover_frame *ret,
				     const uint8_t **ret_body)
{
	struct drover_error e = DROVER_ERROR_INIT;

	memset(ret, 0, sizeof(*ret));
	*ret_body = k->out;
	if (k->out_off == k->out_len)
		return 0;
	if (drover_frame_decode(k->out + k->out_off, ret, &e) < 0) {
		tap_diag("%s", e.msg);
		abort();
	}
	*ret_body = k->out + k->out_off + DROVER_FRAME_LEN;
	k->out_off += DROVER_FRAME_LEN + ret->body_len + (size_t)ret->payload_len;
	return ret->type;
}

/** struct kit_guest - keeps a record, and remembers what was asked of it */
struct kit_guest {
	struct drover_guest g;
	struct drover_guest_traits traits;
	struct owner_record record;
	unsigned int throttle, pauses, resumes;
	int fails;              /* with this errno */
};

static const struct drover_guest_traits *kit_traits(struct drover_guest *g)
{
	return &((struct kit_guest *)g)->traits;
}

static enum drover_run_state kit_status(struct drover_guest *g)
{
	return ((struct kit_guest *)g)->record.running ? DROVER_GUEST_RUNNING : DROVER_GUEST_PAUSED;
}

static int kit_request(struct drover_guest *g, enum owner_event ev,
		       const struct owner_args *args, const struct drover_cancel *c,
		       enum owner_reply *reply, struct drover_error *e)
{
	struct kit_guest *k = (struct kit_guest *)g;
	unsigned int actions;
	int r;

	(void)c, (void)reply;
	if (k->fails)
		return drover_err(e, k->fails, "kit: %s", owner_event_name(ev));
	r = fake_step(&k->record, ev, args, &actions, e);
	k->pauses += actions & OWNER_ACT_STOP ? 1 : 0;
	k->resumes += actions & OWNER_ACT_START ? 1 : 0;
	return r;
}

static int kit_owner_known(struct drover_guest *g, struct owner_record *ret)
{
	*ret = ((struct kit_guest *)g)->record;
	return 0;
}

static int kit_throttle(struct drover_guest *g, unsigned int percent, struct drover_error *e)
{
	(void)e;
	((struct kit_guest *)g)->throttle = percent;
	return 0;
}

static const struct drover_guest_ops kit_guest_ops = {
	.name = "kit",
	.traits = kit_traits,
	.status = kit_status,
	.request = kit_request,
	.owner_known = kit_owner_known,
	.throttle = kit_throttle,
};

/** struct kit - a source, and all that it needs */
struct kit {
	struct drover_ram ram;
	struct drover_config config;
	struct kit_guest guest;
	struct kit_channel main;
	struct drover_migration m;
	struct drover_source s;
};

/* Blocks of these many pages, mapped and zero, all of them data; all digests are kept. */
__attribute__((unused))
static struct kit *kit_new(const uint64_t *pages, unsigned int n)
{
	struct kit *k = calloc(1, sizeof(*k));
	unsigned int i;

	if (!k)
		abort();
	for (i = 0; i < n; i++) {
		struct drover_ram_block *b = &k->ram.block[i];

		snprintf(b->name, sizeof(b->name), "block%u", i);
		b->size = pages[i] * DROVER_PAGE_SIZE;
		b->fd = memfd_create(b->name, 0);
		if (b->fd < 0 || ftruncate(b->fd, (off_t)b->size) < 0)
			abort();
		b->host = mmap(NULL, b->size, PROT_READ | PROT_WRITE, MAP_SHARED, b->fd, 0);
		if (b->host == MAP_FAILED)
			abort();
	}
	k->ram.n = n;
	if (drover_config_init(&k->config) < 0)
		abort();
	k->config.verify = DROVER_VERIFY_DIGEST;
	k->guest.g.ops = &kit_guest_ops;
	owner_record_init(&k->guest.record, false, true);
	k->m.ops = &drover_source_side;
	k->m.guest = &k->guest.g;
	k->m.ram = &k->ram;
	k->m.config = &k->config;
	k->m.cancel.fd = -EBADF;
	k->m.time.started_ns = drover_now_ns();
	pthread_mutex_init(&k->m.lock, NULL);
	pthread_cond_init(&k->m.cond, NULL);
	drover_progress(&k->m, drover_now_ns());
	drover_config_copy(&k->config, &k->m.live);
	k->s.m = &k->m;
	kit_channel_init(&k->main);
	k->s.peer.main = k->main.link;
	if (work_init(&k->s.work, &k->s.mem, &k->m.orders.postcopy_asked, NULL) < 0 ||
	    memory_init(&k->s.mem, &k->ram, false, true, NULL) < 0)
		abort();
	for (i = 0; i < n; i++) {
		k->s.mem.block[i].data_map = drover_bitmap_new(pages[i]);
		drover_bitmap_set_range(k->s.mem.block[i].data_map, 0, pages[i]);
	}
	encoder_init(&k->s.encoder, k->m.ram, true);
	return k;
}

__attribute__((unused))
static void kit_free(struct kit *k)
{
	unsigned int i;

	memory_deinit(&k->s.mem);
	work_deinit(&k->s.work);
	kit_channel_deinit(&k->main);
	for (i = 0; i < k->ram.n; i++) {
		munmap(k->ram.block[i].host, k->ram.block[i].size);
		close(k->ram.block[i].fd);
	}
	drover_config_deinit(&k->m.live);
	drover_config_deinit(&k->config);
	pthread_cond_destroy(&k->m.cond);
	pthread_mutex_destroy(&k->m.lock);
	free(k);
}

/* Page @page of block @i holds @byte. */
__attribute__((unused))
static void kit_fill(struct kit *k, unsigned int i, uint64_t page, uint8_t byte)
{
	memset(k->ram.block[i].host + page * DROVER_PAGE_SIZE, byte, DROVER_PAGE_SIZE);
}

#endif
