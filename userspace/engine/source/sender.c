// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Channel threads of the source. Each takes units of work from the round, looks for
 * zero pages, digests what it is about to send, and sends straight from guest RAM.
 *
 * A page's digest is stored before the page is sent and never after: a write in between
 * makes the page dirty again (the harvest came first), so it is sent and digested again.
 * Holes are known from the tracker's data map and are never touched: reading one would
 * allocate it.
 */
#define _GNU_SOURCE
#include "engine/source/source.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/cpulist.h"
#include "base/page-digest.h"
#include "base/thread.h"
#include "channel/channel.h"

/* Up to SENDER_PAGES pages that hold data, and whatever holes lie between them. */
struct unit {
	unsigned int block;
	unsigned int n;
	struct {
		uint64_t word;          /* of the block's bitmap */
		uint64_t dirty, data;
	} w[SENDER_WORDS];
};

struct build {
	unsigned int nruns;
	struct drover_page_run run[SENDER_RUNS];
	unsigned int niov;
	struct iovec iov[1 + SENDER_RUNS];
	uint64_t payload;
	uint64_t raw, zero;             /* pages */
};

/*
 * A word's pages for the caller alone. Postcopy's urgent pages are taken bit by bit at the
 * same time, without the lock.
 */
static uint64_t take_word(struct drover_source *s, uint64_t *word)
{
	uint64_t bits = __atomic_exchange_n(word, 0, __ATOMIC_RELAXED);

	if (s->postcopy)
		atomic_fetch_sub(&s->left, (uint64_t)__builtin_popcountll(bits));
	return bits;
}

/* migrate-start-postcopy does not wait for the end of a round. */
static bool cut_short(const struct drover_source *s)
{
	return s->work.empty || (!s->stop_ns && drover_order_postcopy(s->m));
}

/* Postcopy begins where faults are, so what lies before that comes at the end. */
static bool work_wraps(struct drover_source *s)
{
	if (!s->postcopy || !atomic_load(&s->left))
		return false;
	s->work.block = 0;
	s->work.word = 0;
	return true;
}

/* Next unit of the round; false when none is left. */
static bool work_take(struct drover_source *s, struct unit *u)
{
	const struct drover_ram *ram = s->m->ram;
	struct round_work *w = &s->work;
	unsigned int data_pages = 0, pages = 0;
	DROVER_LOCK(&w->lock);

	u->n = 0;
	if (cut_short(s))
		return false;
	while (w->block < ram->n || work_wraps(s)) {
		uint64_t *map = s->mem.block[w->block].dirty;
		uint64_t words = drover_bitmap_words(drover_pages(ram->block[w->block].size));
		const uint64_t *data = memory_data(&s->mem, &s->mem.block[w->block]);

		for (; w->word < words && !s->mem.block[w->block].skip; w->word++) {
			uint64_t bits = __atomic_load_n(&map[w->word], __ATOMIC_RELAXED);
			unsigned int k;

			if (!bits)
				continue;
			k = (unsigned int)__builtin_popcountll(bits & data[w->word]);
			if (u->n && (data_pages + k > SENDER_PAGES || u->n == SENDER_WORDS))
				goto out;
			bits = take_word(s, &map[w->word]);
			if (!bits)
				continue;
			u->block = w->block;
			u->w[u->n].word = w->word;
			u->w[u->n].dirty = bits;
			u->w[u->n++].data = data[w->word];
			data_pages += k;
			pages += (unsigned int)__builtin_popcountll(bits);
		}
		if (u->n)
			goto out;
		w->block++;
		w->word = 0;
	}
out:
	atomic_fetch_add_explicit(&w->taken, pages, memory_order_relaxed);
	return u->n > 0;
}

static void add_page(struct build *b, uint64_t page, enum drover_page_kind kind, uint8_t *at)
{
	struct drover_page_run *r = b->nruns ? &b->run[b->nruns - 1] : NULL;

	if (r && r->kind == kind && r->page + r->npages == page) {
		r->npages++;
		if (kind == DROVER_PAGES_RAW) {
			r->payload += DROVER_PAGE_SIZE;
			b->iov[b->niov - 1].iov_len += DROVER_PAGE_SIZE;
		}
	} else {
		b->run[b->nruns++] = (struct drover_page_run){
			.page = page,
			.npages = 1,
			.kind = (uint16_t)kind,
			.payload = kind == DROVER_PAGES_RAW ? DROVER_PAGE_SIZE : 0,
		};
		if (kind == DROVER_PAGES_RAW)
			b->iov[b->niov++] = (struct iovec){ at, DROVER_PAGE_SIZE };
	}
	if (kind == DROVER_PAGES_RAW) {
		b->payload += DROVER_PAGE_SIZE;
		b->raw++;
	} else {
		b->zero++;
	}
}

static void scan_page(struct drover_source *s, struct build *b, unsigned int block, uint64_t page,
		      bool hole)
{
	uint8_t *at = s->m->ram->block[block].host + drover_page_off(page);
	bool zero = hole || (s->detect_zero && s->is_zero(at));

	if (s->mem.block[block].digest)
		s->mem.block[block].digest[page] = zero ? 0 : drover_page_digest(at);
	add_page(b, page, zero ? DROVER_PAGES_ZERO : DROVER_PAGES_RAW, at);
}

/*
 * The first line of each page is what mostly tells that it isn't zero, and the hardware
 * prefetches no further than a page: without this each costs a full miss.
 */
static void prefetch(struct drover_source *s, unsigned int block, uint64_t word, uint64_t bits)
{
	const uint8_t *host = s->m->ram->block[block].host;

	for (; bits; bits &= bits - 1)
		__builtin_prefetch(host + drover_page_off(word * 64 + (uint64_t)
								  __builtin_ctzll(bits)));
}

/* Build frames of as many pages of the unit as fit in the run table; *i, *bits say how far. */
static void scan_unit(struct drover_source *s, const struct unit *u, unsigned int *i,
		      uint64_t *bits, struct build *b)
{
	b->nruns = 0;
	b->niov = 1;
	b->payload = b->raw = b->zero = 0;
	while (*i < u->n) {
		prefetch(s, u->block, u->w[*i].word, *bits & u->w[*i].data);
		while (*bits) {
			unsigned int bit = (unsigned int)__builtin_ctzll(*bits);

			if (b->nruns == SENDER_RUNS)
				return;
			*bits &= *bits - 1;
			scan_page(s, b, u->block, u->w[*i].word * 64 + bit,
				  !(u->w[*i].data >> bit & 1));
		}
		if (++*i < u->n)
			*bits = u->w[*i].dirty;
	}
}

static int wait_limit(struct sender *x, uint64_t bytes)
{
	struct drover_source *s = x->s;
	int r;

	atomic_store_explicit(&x->waiting, true, memory_order_relaxed);
	r = drover_limit_take(s->limit, bytes, &s->m->cancel);
	atomic_store_explicit(&x->waiting, false, memory_order_relaxed);
	return r;
}

/* Wait until what was sent, or is about to be, is within the limit. */
static int pay(struct sender *x)
{
	uint64_t bytes = x->owed;

	x->owed = 0;
	return bytes ? wait_limit(x, bytes) : 0;
}

static int send_frame(struct sender *x, unsigned int block, struct build *b, bool plain,
		      struct drover_error *e)
{
	struct drover_source *s = x->s;
	struct sender_slot *slot = &x->slot[x->next_slot];
	struct drover_channel *ch = x->link->ch;
	struct drover_msg_pages msg = {
		.block = block,
		.round = s->work.round,
		.n = b->nruns,
		.run = b->run,
	};
	int n, r;

	if (slot->zc_seq && drover_channel_zc_done(ch) < slot->zc_seq) {
		r = drover_channel_drain(ch, e);
		if (r < 0)
			return r;
	}
	n = drover_pages_encode(&msg, slot->head + DROVER_FRAME_LEN,
				sizeof(slot->head) - DROVER_FRAME_LEN);
	if (n < 0)
		return drover_err(e, n, "channel %s: PAGES of %u runs: %s",
				  drover_channel_name(ch), b->nruns, drover_strerror(n));
	x->owed += b->payload + DROVER_FRAME_LEN + (uint64_t)n;
	r = s->postcopy ? 0 : pay(x);
	if (r < 0)
		return drover_err(e, r, "channel %s: %s", drover_channel_name(ch),
				  drover_strerror(r));
	b->iov[0] = (struct iovec){ slot->head, DROVER_FRAME_LEN + (size_t)n };
	r = drover_link_send_head(x->link, DROVER_MSG_PAGES, slot->head, (size_t)n, b->iov,
				  b->niov, b->payload, plain ? 0 : DROVER_SEND_ZC, e);
	if (r < 0)
		return r;
	slot->zc_seq = plain ? 0 : drover_channel_zc_seq(ch);
	x->next_slot = (x->next_slot + 1) % SENDER_SLOTS;
	atomic_fetch_add_explicit(&s->normal, b->raw, memory_order_relaxed);
	atomic_fetch_add_explicit(&s->duplicate, b->zero, memory_order_relaxed);
	drover_progress(s->m, drover_now_ns());
	return 0;
}

static int send_round(struct sender *x, uint32_t round, bool final, struct drover_error *e)
{
	struct drover_msg_round end = {
		.round = round,
		.flags = final ? DROVER_ROUND_FINAL : 0,
	};
	bool plain = final || !x->s->zero_copy;
	unsigned int i;
	struct build b;
	struct unit u;
	uint64_t bits;
	uint8_t body[16];
	int n, r;

	for (;;) {
		/*
		 * What is taken here nobody else sends. In postcopy somebody may wait for it,
		 * so it is not held back by the limit: the debt is paid before the next.
		 */
		if (x->s->postcopy && pay(x) < 0)
			return drover_err(e, -ECANCELED, "channel %s: cancelled",
					  drover_channel_name(x->link->ch));
		if (!work_take(x->s, &u))
			break;
		bits = u.w[0].dirty;
		i = 0;

		while (i < u.n) {
			scan_unit(x->s, &u, &i, &bits, &b);
			r = send_frame(x, u.block, &b, plain, e);
			if (r < 0)
				return r;
		}
	}
	/*
	 * In postcopy what is waited for goes over main, too, and the last of it may be about
	 * to go: who sends that says that it was the last.
	 */
	if (x->s->handed_over && !x->s->multifd)
		return 0;
	n = drover_round_end_encode(&end, body, sizeof(body));
	return drover_link_send(x->link, DROVER_MSG_ROUND_END, body, (size_t)n, NULL, 0, 0, e);
}

/* Postcopy: a page that somebody waits for. Not limited, not counted in the round. */
int sender_page(struct drover_source *s, struct drover_link *l, unsigned int block, uint64_t page,
		struct drover_error *e)
{
	uint8_t head[DROVER_FRAME_LEN + 64];
	struct drover_msg_pages msg = { .block = block, .n = 1 };
	struct build b;
	int n;

	b.nruns = 0;
	b.niov = 1;
	b.payload = b.raw = b.zero = 0;
	scan_page(s, &b, block, page, !drover_bit_test(memory_data(&s->mem, &s->mem.block[block]), page));
	msg.run = b.run;
	n = drover_pages_encode(&msg, head + DROVER_FRAME_LEN, sizeof(head) - DROVER_FRAME_LEN);
	if (n < 0)
		return drover_err(e, n, "channel %s: PAGES: %s", drover_channel_name(l->ch),
				  drover_strerror(n));
	b.iov[0] = (struct iovec){ head, DROVER_FRAME_LEN + (size_t)n };
	n = drover_link_send_head(l, DROVER_MSG_PAGES, head, (size_t)n, b.iov, b.niov, b.payload, 0,
				  e);
	if (n < 0)
		return n;
	atomic_fetch_add_explicit(&s->normal, b.raw, memory_order_relaxed);
	atomic_fetch_add_explicit(&s->duplicate, b.zero, memory_order_relaxed);
	return 0;
}

void sender_wake(struct drover_source *s)
{
	uint64_t one = 1;
	ssize_t n = write(s->wake_fd, &one, sizeof(one));

	(void)n;
}

static void *sender_main(void *arg)
{
	struct sender *x = arg;
	struct round_work *w = &x->s->work;
	unsigned int seen = 0;

	drover_thread_name("send", (int)(x - x->s->sender));
	pthread_mutex_lock(&w->lock);
	for (;;) {
		struct drover_error e = DROVER_ERROR_INIT;
		uint32_t round;
		bool final;
		int r;

		while (!w->stop && w->generation == seen)
			pthread_cond_wait(&w->cond, &w->lock);
		if (w->stop)
			break;
		seen = w->generation;
		round = w->round;
		final = w->final;
		pthread_mutex_unlock(&w->lock);

		r = send_round(x, round, final, &e);
		pthread_mutex_lock(&w->lock);
		if (r < 0 && !w->error.code)
			w->error = e;
		w->running--;
		sender_wake(x->s);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

static void pin_thread(struct drover_source *s, struct sender *x)
{
	struct drover_cpus cpus;

	if (drover_cpulist_parse(s->m->config->cpu_affinity, &cpus) > 0)
		pthread_setaffinity_np(x->thread, sizeof(cpus), (cpu_set_t *)&cpus);
}

int senders_start(struct drover_source *s, struct drover_error *e)
{
	unsigned int i, n = s->multifd ? s->ndata : 1;
	int r;

	s->sender = calloc(n, sizeof(*s->sender));
	if (!s->sender)
		return drover_err(e, -ENOMEM, "channel threads: out of memory");
	s->nsenders = n;
	s->work.stop = false;
	s->work.generation = 0;
	drover_err_clear(&s->work.error);
	for (i = 0; i < n; i++) {
		struct sender *x = &s->sender[i];

		x->s = s;
		x->link = s->multifd ? s->data[i] : s->main;
		x->slot = calloc(SENDER_SLOTS, sizeof(*x->slot));
		if (!x->slot)
			return drover_err(e, -ENOMEM, "channel %s: out of memory",
					  drover_channel_name(x->link->ch));
		r = pthread_create(&x->thread, NULL, sender_main, x);
		if (r)
			return drover_err(e, -r, "channel %s: thread: %s",
					  drover_channel_name(x->link->ch), drover_strerror(r));
		x->started = true;
		pin_thread(s, x);
	}
	return 0;
}

void senders_stop(struct drover_source *s)
{
	unsigned int i;

	pthread_mutex_lock(&s->work.lock);
	s->work.stop = true;
	pthread_cond_broadcast(&s->work.cond);
	pthread_mutex_unlock(&s->work.lock);
	for (i = 0; i < s->nsenders; i++) {
		if (s->sender[i].started)
			pthread_join(s->sender[i].thread, NULL);
		if (s->sender[i].link)
			drover_channel_drain(s->sender[i].link->ch, NULL);
		free(s->sender[i].slot);
	}
	free(s->sender);
	s->sender = NULL;
	s->nsenders = 0;
}

/* Postcopy: go on around this page. */
void senders_near(struct drover_source *s, unsigned int block, uint64_t page)
{
	DROVER_LOCK(&s->work.lock);

	s->work.block = block;
	s->work.word = page / 64;
}

void senders_open_round(struct drover_source *s, uint32_t round, bool final)
{
	struct round_work *w = &s->work;
	DROVER_LOCK(&w->lock);

	w->round = round;
	w->final = final;
	w->block = 0;
	w->word = 0;
	atomic_store(&w->taken, 0);
	w->running = s->nsenders;
	w->generation++;
	pthread_cond_broadcast(&w->cond);
}

bool senders_round_over(struct drover_source *s, struct drover_error *ret_error)
{
	DROVER_LOCK(&s->work.lock);

	*ret_error = s->work.error;
	return !s->work.running;
}

bool senders_waiting(struct drover_source *s)
{
	unsigned int i;

	for (i = 0; i < s->nsenders; i++)
		if (atomic_load_explicit(&s->sender[i].waiting, memory_order_relaxed))
			return true;
	return false;
}
