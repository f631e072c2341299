// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Postcopy on the destination: which pages are still to come, how they are placed while the
 * guest runs, and what becomes of it when a connection breaks.
 *
 * A page is claimed before a byte of it is received, so that no second copy ever lands on a
 * page that may be in use already; then content, digest, received bit, and only then is who
 * waits let go. Claims without a received bit are dropped with the connection they came by.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/json.h"
#include "base/thread.h"
#include "base/trace.h"
#include "engine/dest/dest.h"

#define WAIT_TICK_MS 200

static const char *const handler_names[] = {
	[DROVER_FAULT_HANDLER_AUTO] = "auto",
	[DROVER_FAULT_HANDLER_KMOD] = "kmod",
	[DROVER_FAULT_HANDLER_USERFAULTFD] = "userfaultfd",
};

struct postcopy *pc_free(struct postcopy *pc, bool open)
{
	unsigned int i;

	if (!pc)
		return NULL;
	pc_threads_stop(pc);
	if (pc->state)
		pc->ops->stop(pc->state, open);
	for (i = 0; i < DROVER_RAM_BLOCKS_MAX; i++) {
		free(pc->claim[i]);
		free(pc->asked[i]);
		free(pc->released[i]);
		free(pc->first[i]);
		free(pc->group[i]);
	}
	drover_closep(&pc->bell);
	drover_blocktime_free(pc->bt);
	drover_ledger_free(pc->ledger);
	pthread_rwlock_destroy(&pc->lock);
	free(pc);
	return NULL;
}

/* A ledger, or with @ledger the one that was found. */
int pc_new(struct drover_dest *d, struct drover_ledger *ledger, struct postcopy **ret,
	   struct drover_error *e)
{
	struct drover_migration *m = d->m;
	struct postcopy *pc = calloc(1, sizeof(*pc));
	unsigned int i;
	int r = 0;

	if (!pc) {
		drover_ledger_free(ledger);
		return drover_err(e, -ENOMEM, "postcopy: out of memory");
	}
	pc->d = d;
	pc->ledger = ledger;
	pthread_rwlock_init(&pc->lock, NULL);
	pc->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pc->bell < 0)
		r = drover_err(e, -errno, "postcopy: eventfd: %s", drover_strerror(errno));
	if (r >= 0 && !ledger)
		r = drover_ledger_new(m->ram, m->config->verify != DROVER_VERIFY_NONE, &pc->ledger,
				      e);
	for (i = 0; r >= 0 && i < m->ram->n; i++) {
		uint64_t npages = drover_pages(m->ram->block[i].size);

		pc->claim[i] = drover_bitmap_new(npages);
		pc->asked[i] = drover_bitmap_new(npages);
		pc->released[i] = drover_bitmap_new(npages);
		if (!pc->claim[i] || !pc->asked[i] || !pc->released[i])
			r = drover_err(e, -ENOMEM, "postcopy: bitmaps: out of memory");
	}
	if (r < 0) {
		pc_free(pc, false);
		return r;
	}
	*ret = pc;
	return 0;
}

/* What is claimed and has not arrived was under way on a connection that is gone. */
void pc_drop_claims(struct postcopy *pc)
{
	const struct drover_ram *ram = pc->d->m->ram;
	uint64_t missing = 0;
	unsigned int i;

	for (i = 0; i < ram->n; i++) {
		uint64_t npages = drover_pages(ram->block[i].size);

		memcpy(pc->claim[i], pc->ledger->received[i], drover_bitmap_bytes(npages));
		missing += npages - drover_bitmap_count(pc->claim[i], npages);
	}
	atomic_store(&pc->missing, missing);
}

/* The handler; from here on who touches what is missing waits. */
int pc_arm(struct postcopy *pc, bool adopt, struct drover_error *e)
{
	struct drover_migration *m = pc->d->m;
	struct drover_guest *g = m->guest;
	char report[DROVER_FAULT_REPORT_MAX];
	unsigned int i;
	int r;
	DROVER_LOCK(&pc->d->guest);

	if (!g->ops->fault_source)
		return drover_err(e, -EOPNOTSUPP, "postcopy: this guest link has no fault handling");
	r = g->ops->fault_source(g, &pc->src, e);
	if (r < 0)
		return r;
	for (i = 0; i < m->ram->n; i++)
		pc->src.received[i] = pc->ledger->received[i];
	pc->src.adopt = adopt;
	pc->ops = drover_fault_select(&pc->src, handler_names[m->config->fault_handler], report, e);
	if (!pc->ops)
		return e->code;
	DROVER_INFO(m, fault_handler, "%s",
			 pc->ops->name);
	drover_debug(m->log, "fault handler: %s", report);
	r = adopt ? 0 : g->ops->ledger_put(g, pc->ledger->fd, e);
	if (r >= 0)
		r = pc->ops->start(&pc->src, &pc->state, e);
	for (i = 0; r >= 0 && adopt && i < m->ram->n; i++)
		r = pc->ops->received(pc->state, i, pc->ledger->received[i], e);
	if (r < 0)
		return r;
	if (m->config->postcopy_blocktime)
		pc->bt = drover_blocktime_new();
	pc_drop_claims(pc);
	return pc_threads_start(pc, e);
}

static int bind_session(struct session *x, struct drover_error *e)
{
	struct json_object *o = drover_config_to_json(x->m->config);
	int r = o ? drover_ledger_bind(x->pc->ledger, x->token, json_object_to_json_string_ext(
				       o, JSON_C_TO_STRING_PLAIN), e) :
		    drover_err(e, -ENOMEM, "postcopy: out of memory");

	json_object_put(o);
	return r;
}

static int arm_session(struct session *x, struct drover_error *e)
{
	uint64_t t = drover_now_ns();
	int r = bind_session(x, e);

	/* Nothing is received the old way any more, nor populated. */
	x->place = drover_place_free(x->place);
	if (r >= 0)
		r = session_digest_first(x, e);
	if (r >= 0)
		r = pc_arm(x->pc, false, e);
	if (r < 0)
		return drover_err_prefix(e, "postcopy: "), r;
	drover_crash_point("armed");
	atomic_store(&x->pc->armed, true);
	pc_online(x->pc, x);
	drover_debug(x->m->log, "postcopy: armed in %llu us, %llu pages to come",
		     (unsigned long long)(drover_now_ns() - t) / 1000,
		     (unsigned long long)atomic_load(&x->pc->missing));
	drover_state_set(x->m, DROVER_STATE_ACTIVE, DROVER_STATE_POSTCOPY_DEVICE);
	return 0;
}

int session_discard(struct session *x, size_t len, struct drover_error *e)
{
	const struct drover_ram *ram = x->m->ram;
	struct drover_msg_runs m;
	uint32_t i;
	int r = drover_runs_decode(x->main->body, len, &m, e);

	if (r < 0)
		return drover_link_bad(x->main, e), r;
	if (!x->pc || x->pc->armed || !x->final_ns || x->have_run)
		return drover_err(e, -EBADMSG, "DISCARD: not now");
	for (i = 0; !x->pc->begun && i < ram->n; i++)
		drover_bitmap_set_range(x->pc->ledger->received[i], 0,
					drover_pages(ram->block[i].size));
	x->pc->begun = true;
	if (m.n && (m.block >= x->nblocks || x->skip[m.block]))
		return drover_err(e, -EBADMSG, "DISCARD: of block %u", m.block);
	for (i = 0; i < m.n; i++) {
		struct drover_run run = drover_msg_run_at(&m, i);
		unsigned int b = x->block[m.block];
		uint64_t npages = drover_pages(ram->block[b].size);

		if (run.page >= npages || run.npages > npages - run.page)
			return drover_err(e, -EBADMSG, "DISCARD: %s:%llu+%llu of %llu",
					  ram->block[b].name, (unsigned long long)run.page,
					  (unsigned long long)run.npages,
					  (unsigned long long)npages);
		drover_bitmap_clear_range(x->pc->ledger->received[b], run.page, run.npages);
		if (x->pc->ledger->digest[b])
			memset(&x->pc->ledger->digest[b][run.page], 0,
			       run.npages * sizeof(uint64_t));
	}
	return m.flags & DROVER_RUNS_LAST ? arm_session(x, e) : 0;
}

/* Pages of @n runs have been published. */
static void arrived(const struct arrival *a, const struct drover_ram_run *run, unsigned int n)
{
	struct postcopy *pc = a->x->pc;
	uint64_t pages = 0, now = pc->bt ? drover_now_ns() : 0;
	unsigned int i;

	for (i = 0; i < n; i++) {
		pages += run[i].npages;
		drover_trace_pages_placed(run[i].block, run[i].page, run[i].npages, a->channel);
		if (pc->bt)
			drover_blocktime_placed(pc->bt, run[i].block, run[i].page, run[i].npages,
						now);
	}
	if (atomic_fetch_sub(&pc->missing, pages) == pages) {
		DROVER_LOCK(&a->x->lock);

		pthread_cond_broadcast(&a->x->cond);
	}
}

static int claim(void *place, unsigned int block, uint64_t page, uint64_t n, uint64_t *ret_n,
		 bool *ret_mine, struct drover_error *e)
{
	const struct arrival *a = place;
	uint64_t *map = a->x->pc->claim[block], k = 1;
	bool mine = !drover_bit_test_and_set_atomic(map, page);

	(void)e;
	if (mine)
		while (k < n && !drover_bit_test_and_set_atomic(map, page + k))
			k++;
	*ret_n = k;
	*ret_mine = mine;
	if (mine)
		drover_crash_point("claimed");
	return 0;
}

static uint8_t *host(void *place, unsigned int block)
{
	const struct postcopy *pc = ((struct arrival *)place)->x->pc;

	return pc->ops->host(pc->state, block);
}

/* Content is there; its digests come before who waits is let go and may write to it. */
static int publish(void *place, const struct drover_ram_run *run, unsigned int n,
		   struct drover_error *e)
{
	const struct arrival *a = place;
	struct postcopy *pc = a->x->pc;
	unsigned int i;
	int r;

	drover_crash_point("received");
	for (i = 0; i < n; i++)
		drover_place_digest(pc->ledger->digest[run[i].block],
				    pc->ops->host(pc->state, run[i].block), &run[i]);
	drover_crash_point("digested");
	r = pc->ops->publish(pc->state, run, n, false, e);
	if (r < 0)
		return r;
	drover_crash_point("published");
	arrived(a, run, n);
	return 0;
}

/* Pages that read as zero are dropped, not written. */
static int zero(void *place, unsigned int block, uint64_t page, uint64_t n, struct drover_error *e)
{
	const struct arrival *a = place;
	struct postcopy *pc = a->x->pc;
	uint64_t *map = pc->claim[block], end = page + n, at;
	int r = 0;

	while (page < end && r >= 0) {
		struct drover_ram_run run = { block, page, 0 };

		for (at = page; at < end && !drover_bit_test_and_set_atomic(map, at); at++)
			;
		page = at + 1;          /* somebody else has that one */
		run.npages = at - run.page;
		if (!run.npages)
			continue;
		r = pc->ops->publish(pc->state, &run, 1, true, e);
		if (r >= 0)
			arrived(a, &run, 1);
	}
	return r;
}

const struct drover_place_ops pending_place = {
	.claim = claim,
	.host = host,
	.publish = publish,
	.zero = zero,
};

/* The source says that all is sent; what it sent on other channels may be under way still. */
int pc_wait_all(struct session *x, struct drover_error *e)
{
	int r = 0;

	pthread_mutex_lock(&x->lock);
	while (atomic_load(&x->pc->missing) && !x->dead && r >= 0) {
		drover_cond_wait_ms(&x->cond, &x->lock, WAIT_TICK_MS);
		pthread_mutex_unlock(&x->lock);
		r = drover_check_stall(x->m, e);
		if (r == -ETIMEDOUT)
			drover_err_clear(e), drover_err(e, r, "the source says that all is sent, and %llu pages are missing",
				   (unsigned long long)atomic_load(&x->pc->missing));
		pthread_mutex_lock(&x->lock);
	}
	if (x->dead && r >= 0)
		r = drover_err(e, -ECONNABORTED, "%s", x->error.msg);
	pthread_mutex_unlock(&x->lock);
	if (r >= 0)
		pc_all_here(x->pc);
	return r;
}

/* Nobody can wait any more. */
void pc_all_here(struct postcopy *pc)
{
	if (atomic_load(&pc->here))
		return;
	pc_threads_stop(pc);
	if (pc->state)
		pc->ops->stop(pc->state, true);
	pc->state = NULL;
	atomic_store(&pc->here, true);
	drover_crash_point("all-here");
}

/*
 * And it has been proved: the guest is like any other. The ledger is kept until then, so that
 * another droverd can still prove it.
 */
int pc_finish(struct postcopy *pc, struct drover_error *e)
{
	struct drover_guest *g = pc->d->m->guest;
	int r;
	DROVER_LOCK(&pc->d->guest);

	r = g->ops->ledger_put(g, -1, e);
	if (g->ops->resumed)
		g->ops->resumed(g);
	return r;
}

/* release-ram: tell what has arrived since the last time; 1: there may be more to tell. */
int pc_release(struct session *x, struct drover_error *e)
{
	_cleanup_free_ struct drover_run *run = NULL;
	_cleanup_free_ uint8_t *body = NULL;
	struct postcopy *pc = x->pc;
	bool told = false;
	unsigned int i;
	int r = 0;

	if (!x->m->config->release_ram || !pc->armed || !x->committed)
		return 0;
	run = calloc(DROVER_RUNS_MAX, sizeof(*run));
	body = malloc(65536);
	if (!run || !body)
		return drover_err(e, -ENOMEM, "RELEASE: out of memory");
	for (i = 0; i < x->nblocks && r >= 0; i++) {
		unsigned int b = x->block[i];
		uint64_t words = drover_bitmap_words(drover_pages(x->m->ram->block[b].size)), w;
		struct drover_msg_runs m = { .block = i, .run = run };
		int len;

		for (w = 0; w < words && m.n < DROVER_RUNS_MAX - 64; w++) {
			uint64_t now = __atomic_load_n(&pc->ledger->received[b][w],
						       __ATOMIC_ACQUIRE);
			uint64_t bits = now & ~pc->released[b][w];

			pc->released[b][w] |= bits;
			for (; bits; bits &= bits - 1) {
				uint64_t page = w * 64 + (uint64_t)__builtin_ctzll(bits);

				if (m.n && run[m.n - 1].page + run[m.n - 1].npages == page)
					run[m.n - 1].npages++;
				else
					run[m.n++] = (struct drover_run){ page, 1 };
			}
		}
		if (!m.n)
			continue;
		len = drover_runs_encode(&m, body, 65536);
		r = len < 0 ? drover_err(e, len, "RELEASE: %s", drover_strerror(len)) :
			      drover_link_send(x->main, DROVER_MSG_RELEASE, body, (size_t)len, NULL,
					       0, 0, e);
		told = true;
	}
	return r < 0 ? r : told;
}

int dest_blocktime(struct drover_migration *m, struct drover_blocktime_report *ret)
{
	struct drover_dest *d = m->dest;

	if (!d)
		return -ENOENT;
	pthread_mutex_lock(&d->lock);
	if (d->pc && d->pc->bt) {
		drover_blocktime_report(d->pc->bt, ret);
		pthread_mutex_unlock(&d->lock);
		return 0;
	}
	pthread_mutex_unlock(&d->lock);
	return -ENOENT;
}
