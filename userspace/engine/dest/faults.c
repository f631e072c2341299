// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Fault threads: who touches a page that has not come is kept waiting by the handler; here
 * it is asked for. With postcopy-preempt there are as many threads as urgent channels, each
 * with its own. While nothing is connected faults are still taken, and remembered: what was
 * asked for and has not come is asked for again when a source is there.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "base/clock.h"
#include "base/thread.h"
#include "base/trace.h"
#include "engine/dest/dest.h"

#define FAULTS_MAX 64
#define FDS_MAX 64
#define POPULATE_PAGES 128u
#define POPULATE_NICE 19

static int ask(struct drover_link *l, unsigned int block, uint64_t page)
{
	struct drover_msg_page_req q = { .block = block, .page = page };
	uint8_t body[16];
	int n = drover_page_req_encode(&q, body, sizeof(body));

	/* A channel that fails is found out by who reads it; the page stays asked for. */
	return n < 0 ? n : drover_link_send(l, DROVER_MSG_PAGE_REQ, body, (size_t)n, NULL, 0, 0,
					    NULL);
}

/* By the source's number of the block. */
static void ask_for(struct postcopy *pc, unsigned int thread, unsigned int block, uint64_t page)
{
	struct drover_link *l;

	pthread_rwlock_rdlock(&pc->lock);
	l = pc->urgent[thread % DEST_URGENT_MAX] ? pc->urgent[thread % DEST_URGENT_MAX] : pc->main;
	if (l && ask(l, pc->theirs[block], page) >= 0)
		drover_stat_add(&pc->d->m->stats.postcopy_requests, 1);
	pthread_rwlock_unlock(&pc->lock);
}

static void fault(struct postcopy *pc, unsigned int thread, const struct drover_fault *f)
{
	struct drover_ram_run run = { f->block, f->page, 1 };
	uint64_t now = pc->bt ? drover_now_ns() : 0;

	drover_trace_fault_request(f->block, f->page, f->pid);
	if (pc->bt)
		drover_blocktime_fault(pc->bt, f, now);
	if (drover_bit_test_acquire(pc->ledger->received[f->block], f->page)) {
		/* It came meanwhile, or was there and is touched the first time. */
		pc->ops->publish(pc->state, &run, 1, false, NULL);
		if (pc->bt)
			drover_blocktime_placed(pc->bt, f->block, f->page, 1, drover_now_ns());
		return;
	}
	if (!drover_bit_test_and_set_atomic(pc->asked[f->block], f->page))
		ask_for(pc, thread, f->block, f->page);
}

struct fault_thread {
	struct postcopy *pc;
	unsigned int nr;
};

static void *fault_main(void *arg)
{
	struct fault_thread *t = arg;
	struct postcopy *pc = t->pc;
	struct drover_fault f[FAULTS_MAX];
	struct pollfd p[FDS_MAX + 1];
	int fd[FDS_MAX], n, i;
	unsigned int nfds = pc->ops->fds(pc->state, fd, FDS_MAX), k;

	drover_thread_name("fault", (int)t->nr);
	for (k = 0; k < nfds; k++)
		p[k] = (struct pollfd){ .fd = fd[k], .events = POLLIN };
	p[nfds] = (struct pollfd){ .fd = pc->bell, .events = POLLIN };
	for (;;) {
		if (poll(p, nfds + 1, -1) < 0 && errno != EINTR)
			break;
		if (p[nfds].revents)
			break;
		n = pc->ops->next(pc->state, f, FAULTS_MAX, NULL);
		for (i = 0; i < n; i++)
			fault(pc, t->nr, &f[i]);
		if (n < 0)      /* the VMM has gone, and nobody waits any more */
			poll(&p[nfds], 1, 100);
	}
	return NULL;
}

/*
 * The first touch of memory costs more than a transfer, and would be part of every wait. So
 * it is done ahead, by a thread that gets out of everybody's way.
 */
static int populate(struct postcopy *pc, struct drover_error *e)
{
	const struct drover_ahead_opts o = {
		.value = false,
		.step = POPULATE_PAGES,
		.threads = 1,
		.nice = POPULATE_NICE,
	};
	const struct drover_ram *ram = pc->d->m->ram;
	struct drover_ahead_block *b = calloc(ram->n ? ram->n : 1, sizeof(*b));
	unsigned int i;
	int r;

	if (!b)
		return drover_err(e, -ENOMEM, "postcopy: out of memory");
	for (i = 0; i < ram->n; i++)
		b[i] = (struct drover_ahead_block){ pc->ops->host(pc->state, i),
						    pc->ledger->received[i],
						    drover_pages(ram->block[i].size) };
	r = drover_ahead_start(b, ram->n, &o, &pc->ahead, e);
	free(b);
	return r < 0 ? drover_err_prefix(e, "postcopy: ") : 0;
}

int pc_threads_start(struct postcopy *pc, struct drover_error *e)
{
	const struct drover_config *c = pc->d->m->config;
	unsigned int i, n = c->postcopy_preempt ? c->postcopy_channels : 1;
	int r;

	r = populate(pc, e);
	if (r < 0)
		return r;
	pc->arg = calloc(n, sizeof(*pc->arg));
	if (!pc->arg)
		return drover_err(e, -ENOMEM, "postcopy: out of memory");
	for (i = 0; i < n; i++) {
		pc->arg[i] = (struct fault_thread){ pc, i };
		r = pthread_create(&pc->thread[i], NULL, fault_main, &pc->arg[i]);
		if (r)
			return drover_err(e, -r, "postcopy: fault thread: %s", drover_strerror(r));
		pc->nthreads++;
	}
	return 0;
}

void pc_threads_stop(struct postcopy *pc)
{
	uint64_t one = 1;
	unsigned int i;

	pc->ahead = drover_ahead_free(pc->ahead);
	if (write(pc->bell, &one, sizeof(one)) < 0)
		return;
	for (i = 0; i < pc->nthreads; i++)
		pthread_join(pc->thread[i], NULL);
	pc->nthreads = 0;
	free(pc->arg);
	pc->arg = NULL;
}

static void ask_again(struct postcopy *pc)
{
	const struct drover_ram *ram = pc->d->m->ram;
	unsigned int i, turn = 0;

	for (i = 0; i < ram->n; i++) {
		uint64_t words = drover_bitmap_words(drover_pages(ram->block[i].size)), w, bits;

		/* Who asks meanwhile finds the new connection by himself. */
		for (w = 0; w < words; w++) {
			bits = __atomic_load_n(&pc->asked[i][w], __ATOMIC_ACQUIRE) &
			       ~__atomic_load_n(&pc->ledger->received[i][w], __ATOMIC_ACQUIRE);
			for (; bits; bits &= bits - 1)
				ask_for(pc, turn++ % DEST_URGENT_MAX, i,
					w * 64 + (uint64_t)__builtin_ctzll(bits));
		}
	}
}

void pc_online(struct postcopy *pc, struct session *x)
{
	unsigned int i;

	pthread_rwlock_wrlock(&pc->lock);
	for (i = 0; i < x->nblocks; i++)
		pc->theirs[x->block[i]] = i;
	pc->main = x->main;
	for (i = 0; i < DEST_URGENT_MAX; i++)
		pc->urgent[i] = x->urgent[i];
	pthread_rwlock_unlock(&pc->lock);
	ask_again(pc);
}

void pc_offline(struct postcopy *pc)
{
	unsigned int i;

	pthread_rwlock_wrlock(&pc->lock);
	pc->main = NULL;
	for (i = 0; i < DEST_URGENT_MAX; i++)
		pc->urgent[i] = NULL;
	pthread_rwlock_unlock(&pc->lock);
}

/* A channel comes or, NULL, goes while the session lives. */
void pc_urgent(struct postcopy *pc, unsigned int index, struct drover_link *l)
{
	pthread_rwlock_wrlock(&pc->lock);
	if (pc->main || !l)
		pc->urgent[index] = l;
	pthread_rwlock_unlock(&pc->lock);
}
