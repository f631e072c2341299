// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Channel threads of the source. Each takes units of the round from work.c, has them
 * encoded, and sends the frames straight from guest RAM, within the rate limit.
 *
 * The source's thread starts and stops them; it opens the rounds.
 */
#define _GNU_SOURCE
#include "engine/source/sender.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/cpulist.h"
#include "base/thread.h"
#include "channel/channel.h"
#include "engine/source/source.h"
#include "peer/send.h"

#define SENDER_OF(ptr, member) \
	((struct sender *)((char *)(ptr) - offsetof(struct sender, member)))

/* Wait until what was sent, or is about to be, is within the limit. */
static int pay(struct sender *x)
{
	struct drover_source *s = x->s;
	uint64_t bytes = x->owed;
	int r;

	x->owed = 0;
	if (!bytes)
		return 0;
	atomic_store_explicit(&x->waiting, true, memory_order_relaxed);
	r = pace_take(&s->pace, bytes, &s->m->cancel);
	atomic_store_explicit(&x->waiting, false, memory_order_relaxed);
	return r;
}

/*
 * Nobody else sends what is taken here. In postcopy a page of it may be waited for, so it is
 * sent at once, whatever the limit says; the sender pays before it takes more.
 */
static int next_unit(struct page_source *from, struct page_unit *ret, struct drover_error *e)
{
	struct sender *x = SENDER_OF(from, from);

	if (x->order.kind == WORK_PUSH && pay(x) < 0)
		return drover_err(e, -ECANCELED, "channel %s: cancelled",
				  drover_channel_name(x->link->ch));
	return work_take(&x->s->work, ret);
}

/* Until the kernel has let go of the slot's last frame. */
static int free_slot(struct sender *x, const struct sender_slot *slot, struct drover_error *e)
{
	struct drover_channel *ch = x->link->ch;

	if (!slot->zc_seq || drover_channel_zc_done(ch) >= slot->zc_seq)
		return 0;
	return drover_channel_drain(ch, e);
}

static int put_frame(struct page_sink *to, struct page_batch *b, struct drover_error *e)
{
	struct sender *x = SENDER_OF(to, to);
	struct sender_slot *slot = &x->slot[x->next_slot];
	struct drover_channel *ch = x->link->ch;
	bool stopped = x->order.kind == WORK_LAST || x->order.kind == WORK_NONE;
	/* Notifications of zero-copy would be waited for while the guest is stopped. */
	bool plain = stopped || !x->s->peer.zero_copy;
	int n, r;

	r = free_slot(x, slot, e);
	if (r < 0)
		return r;
	n = batch_encode(b, x->order.round, slot->head, sizeof(slot->head), x->link, e);
	if (n < 0)
		return n;
	x->owed += b->payload + DROVER_FRAME_LEN + (uint64_t)n;
	r = x->order.kind == WORK_PUSH ? 0 : pay(x);
	if (r < 0)
		return drover_err(e, r, "channel %s: %s", drover_channel_name(ch),
				  drover_strerror(r));
	r = batch_send(b, slot->head, (size_t)n, x->link, plain ? 0 : DROVER_SEND_ZC, e);
	if (r < 0)
		return r;
	slot->zc_seq = plain ? 0 : drover_channel_zc_seq(ch);
	x->next_slot = (x->next_slot + 1) % SENDER_SLOTS;
	meter_sent(&x->s->meter, b->raw, b->zero);
	drover_progress(x->s->m, drover_now_ns());
	return 0;
}

static int send_round(struct sender *x, struct drover_error *e)
{
	bool stopped = x->order.kind == WORK_LAST || x->order.kind == WORK_NONE;
	struct drover_msg_round end = {
		.round = x->order.round,
		.flags = stopped ? DROVER_ROUND_FINAL : 0,
	};
	int r = encode(&x->s->encoder, &x->from, &x->to, e);

	if (r < 0)
		return r;
	/*
	 * While main pushes, it carries urgent pages, too, and one may still be under way from
	 * the source's thread. So that thread says ROUND_END, after the last of them.
	 */
	if (x->order.kind == WORK_PUSH && peer_pages_on_main(&x->s->peer))
		return 0;
	return drover_send_round_end(x->link, &end, e);
}

static void *sender_main(void *arg)
{
	struct sender *x = arg;

	drover_thread_name("send", (int)(x - x->s->pool.sender));
	while (work_next(&x->s->work, &x->order)) {
		struct drover_error e = DROVER_ERROR_INIT;
		int r = send_round(x, &e);

		work_done(&x->s->work, r, &e);
	}
	return NULL;
}

static void pin_thread(struct drover_source *s, struct sender *x)
{
	struct drover_cpus cpus;

	if (drover_cpulist_parse(s->m->config->cpu_affinity, &cpus) > 0)
		pthread_setaffinity_np(x->thread, sizeof(cpus), (cpu_set_t *)&cpus);
}

static int sender_start(struct drover_source *s, struct sender *x, struct drover_link *l,
			struct drover_error *e)
{
	int r;

	x->s = s;
	x->link = l;
	x->from.next = next_unit;
	x->to.put = put_frame;
	x->slot = calloc(SENDER_SLOTS, sizeof(*x->slot));
	if (!x->slot)
		return drover_err(e, -ENOMEM, "channel %s: out of memory",
				  drover_channel_name(l->ch));
	r = pthread_create(&x->thread, NULL, sender_main, x);
	if (r)
		return drover_err(e, -r, "channel %s: thread: %s", drover_channel_name(l->ch),
				  drover_strerror(r));
	x->started = true;
	pin_thread(s, x);
	return 0;
}

int senders_start(struct drover_source *s, struct drover_error *e)
{
	struct sender_pool *pool = &s->pool;
	unsigned int i, n = peer_senders(&s->peer);
	int r = 0;

	pool->sender = calloc(n, sizeof(*pool->sender));
	if (!pool->sender)
		return drover_err(e, -ENOMEM, "channel threads: out of memory");
	pool->n = n;
	work_start(&s->work);
	for (i = 0; i < n && r >= 0; i++)
		r = sender_start(s, &pool->sender[i], peer_sender(&s->peer, i), e);
	return r;
}

void senders_stop(struct drover_source *s)
{
	struct sender_pool *pool = &s->pool;
	unsigned int i;

	work_stop(&s->work);
	for (i = 0; i < pool->n; i++) {
		struct sender *x = &pool->sender[i];

		if (x->started)
			pthread_join(x->thread, NULL);
		if (x->link)
			drover_channel_drain(x->link->ch, NULL);
		free(x->slot);
	}
	free(pool->sender);
	pool->sender = NULL;
	pool->n = 0;
}

void senders_open_round(struct drover_source *s, uint32_t round, enum work_kind kind)
{
	work_open(&s->work, round, kind, s->pool.n);
}

int senders_drain(struct drover_source *s, struct drover_error *e)
{
	unsigned int i;
	int r = 0;

	for (i = 0; i < s->pool.n && r >= 0; i++)
		r = drover_channel_drain(s->pool.sender[i].link->ch, e);
	return r;
}

bool senders_waiting(struct drover_source *s)
{
	unsigned int i;

	for (i = 0; i < s->pool.n; i++)
		if (atomic_load_explicit(&s->pool.sender[i].waiting, memory_order_relaxed))
			return true;
	return false;
}
