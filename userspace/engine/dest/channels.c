// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Who takes part in a session beside main. A link is known here exactly as long as its
 * thread is inside, so that whoever ends the session can shut it down. Called by attach.c for
 * the channels' own threads, and by fate.c, end.c and session.c for the session.
 */
#include "engine/dest/channels.h"

#include <stdatomic.h>

#include "base/cleanup.h"
#include "channel/channel.h"

void channels_init(struct channels *c)
{
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->cond, NULL);
}

void channels_deinit(struct channels *c)
{
	pthread_cond_destroy(&c->cond);
	pthread_mutex_destroy(&c->lock);
}

void channels_expect(struct channels *c, unsigned int ndata, unsigned int nurgent)
{
	DROVER_LOCK(&c->lock);

	c->ndata = ndata;
	c->nurgent = nurgent;
}

/* The place of this channel; NULL: there is none. The decoder has bounded the index. */
static struct drover_link **slot_of(struct channels *c, const struct drover_msg_attach *a)
{
	if (a->type == DROVER_ATTACH_DATA)
		return a->index < c->ndata ? &c->data[a->index] : NULL;
	return a->index < c->nurgent ? &c->urgent[a->index] : NULL;
}

bool channels_join(struct channels *c, const struct drover_msg_attach *a, struct drover_link *l)
{
	struct drover_link **slot;
	DROVER_LOCK(&c->lock);

	slot = slot_of(c, a);
	if (c->closed || !slot || *slot)
		return false;
	*slot = l;
	c->users++;
	return true;
}

void channels_withdraw(struct channels *c, const struct drover_msg_attach *a)
{
	DROVER_LOCK(&c->lock);

	*slot_of(c, a) = NULL;
}

void channels_each_urgent(struct channels *c,
			  void (*fn)(void *arg, unsigned int index, struct drover_link *l),
			  void *arg)
{
	unsigned int i;
	DROVER_LOCK(&c->lock);

	for (i = 0; i < c->nurgent; i++)
		if (c->urgent[i])
			fn(arg, i, c->urgent[i]);
}

void channels_leave(struct channels *c)
{
	DROVER_LOCK(&c->lock);

	c->users--;
	pthread_cond_broadcast(&c->cond);
}

void channels_close(struct channels *c)
{
	unsigned int i;
	DROVER_LOCK(&c->lock);

	c->closed = true;
	for (i = 0; i < c->ndata; i++)
		if (c->data[i])
			drover_channel_shutdown(c->data[i]->ch);
	for (i = 0; i < c->nurgent; i++)
		if (c->urgent[i])
			drover_channel_shutdown(c->urgent[i]->ch);
}

void channels_wait(struct channels *c)
{
	DROVER_LOCK(&c->lock);

	while (c->users)
		pthread_cond_wait(&c->cond, &c->lock);
}

static uint64_t rx_bytes(const struct drover_link *l)
{
	return l ? atomic_load(&drover_channel_stats(l->ch)->rx_bytes) : 0;
}

uint64_t channels_rx_bytes(struct channels *c)
{
	uint64_t bytes = 0;
	unsigned int i;
	DROVER_LOCK(&c->lock);

	for (i = 0; i < c->ndata; i++)
		bytes += rx_bytes(c->data[i]);
	for (i = 0; i < c->nurgent; i++)
		bytes += rx_bytes(c->urgent[i]);
	return bytes;
}

bool channels_none(struct channels *c)
{
	DROVER_LOCK(&c->lock);

	return !c->ndata;
}
