// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Pages that somebody at the destination waits for. With postcopy-preempt each of its
 * channels has a thread here that answers what it reads, so that as many pages are under way
 * as there are channels and none queues behind the background; without it the source's own
 * thread answers on main.
 *
 * Whoever clears a page's dirty bit sends it, so a page that is under way already is not sent
 * again: it will arrive.
 */
#include <errno.h>

#include "base/bitmap.h"
#include "base/cleanup.h"
#include "base/crash.h"
#include "base/thread.h"
#include "base/trace.h"
#include "channel/channel.h"
#include "engine/source/source.h"
#include "ram/ramfile.h"

int source_page_req(struct drover_source *s, struct drover_link *l, size_t len,
		    struct drover_error *e)
{
	struct drover_migration *m = s->m;
	struct drover_msg_page_req q;
	int r = drover_page_req_decode(l->body, len, &q, e);
	bool fresh;

	if (r < 0)
		return drover_link_bad(l, e), r;
	if (!s->postcopy || q.block >= m->ram->n || s->mem.block[q.block].skip ||
	    q.page >= drover_pages(m->ram->block[q.block].size))
		return drover_err(e, -EBADMSG, "channel %s: message PAGE_REQ: block %u, page %llu: %s",
				  drover_channel_name(l->ch), q.block, (unsigned long long)q.page,
				  s->postcopy ? "no such page" : "not in postcopy");
	drover_stat_add(&m->stats.postcopy_requests, 1);
	fresh = drover_bit_test_and_clear_atomic(s->mem.block[q.block].dirty, q.page);
	drover_trace_page_request(q.block, q.page, fresh);
	if (!fresh)
		return 0;
	atomic_fetch_sub(&s->left, 1);
	drover_crash_point("request");
	r = sender_page(s, l, q.block, q.page, e);
	senders_near(s, q.block, q.page);
	return r;
}

/* What the destination holds for good need not be kept here. */
int source_release(struct drover_source *s, size_t len, struct drover_error *e)
{
	const struct drover_ram *ram = s->m->ram;
	struct drover_msg_runs m;
	uint32_t i;
	int r = drover_runs_decode(s->main->body, len, &m, e);

	if (r < 0)
		return drover_link_bad(s->main, e), r;
	if (!s->postcopy || !s->m->config->release_ram || m.block >= ram->n || s->mem.block[m.block].skip)
		return drover_err(e, -EBADMSG, "channel main: message RELEASE: not now");
	for (i = 0; i < m.n; i++) {
		const struct drover_ram_block *b = &ram->block[m.block];
		struct drover_run run = drover_msg_run_at(&m, i);
		uint64_t npages = drover_pages(b->size), first;

		if (run.page >= npages || run.npages > npages - run.page ||
		    drover_bitmap_next_run(s->mem.block[m.block].dirty, run.page + run.npages, run.page,
					   &first))
			return drover_err(e, -EBADMSG,
					  "channel main: message RELEASE: %s:%llu+%llu has not been sent",
					  b->name, (unsigned long long)run.page,
					  (unsigned long long)run.npages);
		r = drover_ramfile_punch(b->fd, b->fd_off + drover_page_off(run.page),
					 drover_page_off(run.npages),
					 b->host + drover_page_off(run.page));
		if (r < 0)
			return drover_err(e, r, "release-ram: block %s: %s", b->name,
					  drover_strerror(r));
	}
	return 0;
}

static int serve(struct urgent *u, struct drover_error *e)
{
	struct drover_frame f;
	int r;

	for (;;) {
		r = drover_link_recv(u->link, &f, e);
		if (r == DROVER_CHANNEL_E_EOF)
			return drover_err(e, -ECONNRESET, "channel %s: the destination closed it",
					  drover_channel_name(u->link->ch));
		if (r < 0)
			return r;
		if (f.type != DROVER_MSG_PAGE_REQ)
			return drover_err(e, -EBADMSG, "channel %s: message %s: not on this channel",
					  drover_channel_name(u->link->ch), u->link->info->name);
		r = source_page_req(u->s, u->link, f.body_len, e);
		if (r < 0)
			return r;
		drover_progress(u->s->m, drover_now_ns());
	}
}

static void *urgent_main(void *arg)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct urgent *u = arg;
	struct round_work *w = &u->s->work;

	drover_thread_name("urgent", (int)(u - u->s->urgent));
	if (serve(u, &e) < 0 && !atomic_load(&u->s->parting)) {
		DROVER_LOCK(&w->lock);

		if (!w->error.code)
			w->error = e;
		sender_wake(u->s);
	}
	return NULL;
}

int urgent_start(struct drover_source *s, struct drover_error *e)
{
	unsigned int i;
	int r;

	atomic_store(&s->parting, false);
	for (i = 0; i < s->nurgent; i++) {
		struct urgent *u = &s->urgent[i];

		u->s = s;
		u->link = s->urgent_link[i];
		r = pthread_create(&u->thread, NULL, urgent_main, u);
		if (r)
			return drover_err(e, -r, "channel postcopy/%u: thread: %s", i,
					  drover_strerror(r));
		u->started = true;
	}
	return 0;
}

void urgent_stop(struct drover_source *s)
{
	unsigned int i;

	atomic_store(&s->parting, true);
	for (i = 0; i < s->nurgent; i++)
		if (s->urgent_link[i])
			drover_channel_shutdown(s->urgent_link[i]->ch);
	for (i = 0; i < s->nurgent; i++) {
		if (s->urgent[i].started)
			pthread_join(s->urgent[i].thread, NULL);
		s->urgent[i].started = false;
	}
}
