// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Pages that somebody at the destination waits for. With postcopy-preempt each of its
 * channels has a thread here, which answers what it reads: as many pages are under way as
 * there are channels, and none queues behind the background. Without it the source's own
 * thread answers on main.
 *
 * Whoever clears a page's dirty bit sends the page (work.c). A request for a page whose bit
 * is clear needs no answer: the page is under way, or has been sent.
 */
#include "engine/source/urgent.h"

#include <errno.h>
#include <string.h>

#include "base/crash.h"
#include "base/thread.h"
#include "base/trace.h"
#include "channel/channel.h"
#include "engine/source/source.h"
#include "peer/send.h"

/* The encoder's ends: one page once, and one frame that no limit holds back. */
struct one_page {
	struct page_source from;
	struct page_sink to;
	struct drover_source *s;
	struct drover_link *link;
	struct source_block *block;
	uint64_t page;
	bool taken;
};

static int next_page(struct page_source *from, struct page_unit *ret, struct drover_error *e)
{
	struct one_page *p = (void *)((char *)from - offsetof(struct one_page, from));

	(void)e;
	if (p->taken)
		return 0;
	p->taken = true;
	unit_of_page(ret, p->block, memory_data(&p->s->mem, p->block), p->page);
	return 1;
}

static int put_page(struct page_sink *to, struct page_batch *b, struct drover_error *e)
{
	struct one_page *p = (void *)((char *)to - offsetof(struct one_page, to));
	uint8_t head[DROVER_FRAME_LEN + 64];
	int r = batch_encode(b, 0, head, sizeof(head), p->link, e);

	if (r >= 0)
		r = batch_send(b, head, (size_t)r, p->link, 0, e);
	if (r >= 0)
		meter_sent(&p->s->meter, b->raw, b->zero);
	return r;
}

static int send_page(struct drover_source *s, struct drover_link *l, struct source_block *b,
		     uint64_t page, struct drover_error *e)
{
	struct one_page p = {
		.from.next = next_page,
		.to.put = put_page,
		.s = s,
		.link = l,
		.block = b,
		.page = page,
	};

	return encode(&s->encoder, &p.from, &p.to, e);
}

int urgent_request(struct drover_source *s, struct drover_link *l, size_t len,
		   struct drover_error *e)
{
	struct drover_msg_page_req q;
	struct source_block *b;
	bool fresh;
	int r;

	r = drover_body_page_req(l, len, &q, e);
	if (r < 0)
		return r;
	b = memory_block(&s->mem, q.block);
	if (!source_postcopying(s) || !b || q.page >= b->npages)
		return drover_err(e, -EBADMSG, "channel %s: message PAGE_REQ: block %u, page %llu: %s",
				  drover_channel_name(l->ch), q.block, (unsigned long long)q.page,
				  source_postcopying(s) ? "no such page" : "not in postcopy");
	drover_stat_add(&s->m->stats.postcopy_requests, 1);
	fresh = work_claim(&s->work, b, q.page);
	drover_trace_page_request(q.block, q.page, fresh);
	if (!fresh)
		return 0;
	drover_crash_point("request");
	r = send_page(s, l, b, q.page, e);
	work_near(&s->work, b, q.page);
	return r;
}

static int answer(struct urgent *u, struct drover_error *e)
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
		r = urgent_request(u->s, u->link, f.body_len, e);
		if (r < 0)
			return r;
		drover_progress(u->s->m, drover_now_ns());
	}
}

static void *urgent_main(void *arg)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct urgent *u = arg;

	drover_thread_name("urgent", (int)(u - u->s->urgent.thread));
	if (answer(u, &e) < 0 && !atomic_load(&u->s->urgent.parting))
		work_fail(&u->s->work, &e);
	return NULL;
}

int urgent_start(struct drover_source *s, struct drover_error *e)
{
	unsigned int i;
	int r;

	atomic_store(&s->urgent.parting, false);
	for (i = 0; i < s->peer.nurgent; i++) {
		struct urgent *u = &s->urgent.thread[i];

		u->s = s;
		u->link = s->peer.urgent[i];
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

	atomic_store(&s->urgent.parting, true);
	for (i = 0; i < s->peer.nurgent; i++)
		if (s->peer.urgent[i])
			drover_channel_shutdown(s->peer.urgent[i]->ch);
	for (i = 0; i < PEER_URGENT_MAX; i++) {
		if (s->urgent.thread[i].started)
			pthread_join(s->urgent.thread[i].thread, NULL);
		s->urgent.thread[i].started = false;
	}
}
