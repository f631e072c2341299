// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Fault threads. The handler keeps whoever touches a page waiting that has not come; these
 * threads ask the source for it. With postcopy-preempt there are as many of them as urgent
 * channels, each with its own. While no source is connected, faults are still taken and
 * remembered: what was asked for and has not come is asked for again when one is. Started
 * and stopped by postcopy.c; told of channels by it and by attach.c.
 */
#define _GNU_SOURCE
#include "engine/dest/faults.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/thread.h"
#include "base/trace.h"
#include "engine/dest/session.h"
#include "engine/internal.h"
#include "peer/send.h"
#include "place/ahead.h"

#define FAULTS_MAX 64
#define FDS_MAX 64
#define POPULATE_PAGES 128u
#define POPULATE_NICE 19

static int ask(struct drover_link *l, unsigned int block, uint64_t page)
{
	const struct drover_msg_page_req q = { .block = block, .page = page };

	/* Whoever reads a channel finds out that it has failed; the page stays asked for. */
	return drover_send_page_req(l, &q, NULL);
}

static void ask_for(struct faults *f, unsigned int thread, unsigned int block, uint64_t page)
{
	struct drover_link *l;

	pthread_rwlock_rdlock(&f->lock);
	l = f->urgent[thread % CHANNELS_URGENT_MAX];
	if (!l)
		l = f->main;
	if (l && ask(l, f->block[block].theirs, page) >= 0)
		drover_stat_add(f->requests, 1);
	pthread_rwlock_unlock(&f->lock);
}

static void fault(struct faults *f, unsigned int thread, const struct drover_fault *at)
{
	drover_trace_fault_request(at->block, at->page, at->pid);
	if (pending_fault(f->p, at) &&
	    !drover_bit_test_and_set_atomic(f->block[at->block].asked, at->page))
		ask_for(f, thread, at->block, at->page);
}

struct fault_thread {
	struct faults *f;
	unsigned int nr;
};

static void *fault_main(void *arg)
{
	struct fault_thread *t = arg;
	const struct drover_fault_ops *ops = t->f->p->ops;
	void *handler = t->f->p->handler;
	struct drover_fault at[FAULTS_MAX];
	struct pollfd p[FDS_MAX + 1];
	int fd[FDS_MAX], n, i;
	unsigned int nfds = ops->fds(handler, fd, FDS_MAX), k;

	drover_thread_name("fault", (int)t->nr);
	for (k = 0; k < nfds; k++)
		p[k] = (struct pollfd){ .fd = fd[k], .events = POLLIN };
	p[nfds] = (struct pollfd){ .fd = t->f->bell, .events = POLLIN };
	for (;;) {
		if (poll(p, nfds + 1, -1) < 0 && errno != EINTR)
			break;
		if (p[nfds].revents)
			break;
		n = ops->next(handler, at, FAULTS_MAX, NULL);
		for (i = 0; i < n; i++)
			fault(t->f, t->nr, &at[i]);
		if (n < 0)      /* the VMM has gone, and nobody waits any more */
			poll(&p[nfds], 1, 100);
	}
	return NULL;
}

/*
 * The first touch of memory costs more than a transfer, and would be part of every wait. So
 * it is done ahead, by a thread that gets out of everybody's way.
 */
static int populate(struct faults *f, struct drover_error *e)
{
	const struct drover_ahead_opts o = {
		.value = false,
		.step = POPULATE_PAGES,
		.threads = 1,
		.nice = POPULATE_NICE,
	};
	const struct drover_ram *ram = f->p->ram;
	_cleanup_free_ struct drover_ahead_block *b = calloc(ram->n ? ram->n : 1, sizeof(*b));
	unsigned int i;
	int r;

	if (!b)
		return drover_err(e, -ENOMEM, "postcopy: out of memory");
	for (i = 0; i < ram->n; i++)
		b[i] = (struct drover_ahead_block){ f->p->ops->host(f->p->handler, i),
						    pending_received(f->p, i),
						    drover_pages(ram->block[i].size) };
	r = drover_ahead_start(b, ram->n, &o, &f->ahead, e);
	return r < 0 ? drover_err_prefix(e, "postcopy: ") : 0;
}

int faults_init(struct faults *f, const struct drover_ram *ram, struct pending *p,
		struct drover_measure *requests, struct drover_error *e)
{
	unsigned int i;

	f->p = p;
	f->requests = requests;
	pthread_rwlock_init(&f->lock, NULL);
	f->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (f->bell < 0)
		return drover_err(e, -errno, "postcopy: eventfd: %s", drover_strerror(errno));
	for (i = 0; i < ram->n; i++) {
		f->block[i].asked = drover_bitmap_new(drover_pages(ram->block[i].size));
		if (!f->block[i].asked)
			return drover_err(e, -ENOMEM, "postcopy: bitmaps: out of memory");
	}
	return 0;
}

void faults_deinit(struct faults *f)
{
	unsigned int i;

	for (i = 0; i < DROVER_RAM_BLOCKS_MAX; i++)
		free(f->block[i].asked);
	drover_closep(&f->bell);
	pthread_rwlock_destroy(&f->lock);
}

int faults_start(struct faults *f, unsigned int threads, struct drover_error *e)
{
	unsigned int i;
	int r = populate(f, e);

	if (r < 0)
		return r;
	f->arg = calloc(threads, sizeof(*f->arg));
	if (!f->arg)
		return drover_err(e, -ENOMEM, "postcopy: out of memory");
	for (i = 0; i < threads; i++) {
		f->arg[i] = (struct fault_thread){ f, i };
		r = pthread_create(&f->thread[i], NULL, fault_main, &f->arg[i]);
		if (r)
			return drover_err(e, -r, "postcopy: fault thread: %s", drover_strerror(r));
		f->nthreads++;
	}
	return 0;
}

void faults_stop(struct faults *f)
{
	uint64_t one = 1;
	unsigned int i;

	f->ahead = drover_ahead_free(f->ahead);
	if (f->bell < 0 || write(f->bell, &one, sizeof(one)) < 0)
		return;
	for (i = 0; i < f->nthreads; i++)
		pthread_join(f->thread[i], NULL);
	f->nthreads = 0;
	free(f->arg);
	f->arg = NULL;
}

static void ask_again(struct faults *f)
{
	const struct drover_ram *ram = f->p->ram;
	unsigned int i, turn = 0;

	for (i = 0; i < ram->n; i++) {
		const uint64_t *received = pending_received(f->p, i), *asked = f->block[i].asked;
		uint64_t words = drover_bitmap_words(drover_pages(ram->block[i].size)), w, bits;

		/* A fault thread that asks meanwhile finds the new connection by itself. */
		for (w = 0; w < words; w++) {
			bits = __atomic_load_n(&asked[w], __ATOMIC_ACQUIRE) &
			       ~__atomic_load_n(&received[w], __ATOMIC_ACQUIRE);
			for (; bits; bits &= bits - 1)
				ask_for(f, turn++ % CHANNELS_URGENT_MAX, i,
					w * 64 + (uint64_t)__builtin_ctzll(bits));
		}
	}
}

void faults_urgent(struct faults *f, unsigned int index, struct drover_link *l)
{
	pthread_rwlock_wrlock(&f->lock);
	if (f->main || !l)
		f->urgent[index] = l;
	pthread_rwlock_unlock(&f->lock);
}

/* The lock is held. */
static void use_urgent(void *arg, unsigned int index, struct drover_link *l)
{
	((struct faults *)arg)->urgent[index] = l;
}

void faults_online(struct faults *f, struct drover_link *l, struct channels *channels,
		   const struct dest_block *block, unsigned int n)
{
	unsigned int i;

	pthread_rwlock_wrlock(&f->lock);
	for (i = 0; i < n; i++)
		f->block[block[i].ours].theirs = i;
	f->main = l;
	channels_each_urgent(channels, use_urgent, f);
	pthread_rwlock_unlock(&f->lock);
	ask_again(f);
}

void faults_offline(struct faults *f)
{
	unsigned int i;

	pthread_rwlock_wrlock(&f->lock);
	f->main = NULL;
	for (i = 0; i < CHANNELS_URGENT_MAX; i++)
		f->urgent[i] = NULL;
	pthread_rwlock_unlock(&f->lock);
}
