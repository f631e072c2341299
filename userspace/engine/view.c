// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What the daemon sees of a migration: texts, named pages, the first error, the channels'
 * bytes, statistics. Threads of both sides write it, the daemon's thread reads it; all but the
 * statistics, which are atomic, is under the migration's lock.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/trace.h"
#include "channel/channel.h"
#include "engine/internal.h"

void drover_name_page(struct drover_migration *m, const char *block, uint64_t page)
{
	DROVER_LOCK(&m->lock);

	if (m->view.info.nbad < DROVER_PAGE_NAMES_MAX)
		snprintf(m->view.info.bad_page[m->view.info.nbad++], sizeof(m->view.info.bad_page[0]), "%s:%llu",
			 block, (unsigned long long)page);
}

void drover_late_writer(struct drover_migration *m, const char *block, uint64_t page)
{
	struct drover_event ev = {
		.type = DROVER_EVENT_LATE_WRITER,
		.block = block,
		.page = page,
	};

	drover_name_page(m, block, page);
	if (m->sink.event)
		m->sink.event(m->sink.opaque, &ev);
}

void drover_fail(struct drover_migration *m, const struct drover_error *e)
{
	DROVER_LOCK(&m->lock);

	if (m->view.error.code || !e->code)
		return;
	m->view.error = *e;
	drover_trace_error(m->ops->name, -e->code, m->view.error.msg);
}

void drover_unfail(struct drover_migration *m)
{
	DROVER_LOCK(&m->lock);

	memset(&m->view.error, 0, sizeof(m->view.error));
}

void drover_info_text(struct drover_migration *m, char *field, size_t size, const char *fmt, ...)
{
	va_list ap;
	DROVER_LOCK(&m->lock);

	va_start(ap, fmt);
	vsnprintf(field, size, fmt, ap);
	va_end(ap);
}

void drover_link_register(struct drover_migration *m, struct drover_link *l)
{
	DROVER_LOCK(&m->lock);

	if (m->view.nlinks < DROVER_CHANNELS_MAX)
		m->view.link[m->view.nlinks++] = l;
}

void drover_link_forget(struct drover_migration *m, struct drover_link *l)
{
	unsigned int i;
	DROVER_LOCK(&m->lock);

	for (i = 0; i < m->view.nlinks; i++)
		if (m->view.link[i] == l)
			m->view.link[i] = NULL;
}

void drover_links_forget(struct drover_migration *m)
{
	DROVER_LOCK(&m->lock);

	m->view.nlinks = 0;
}

void drover_stat_u64(struct drover_measure *s, uint64_t v)
{
	atomic_store_explicit(&s->value, v, memory_order_relaxed);
	atomic_store_explicit(&s->at, drover_now_ns(), memory_order_relaxed);
}

void drover_stat_f64(struct drover_measure *s, double v)
{
	uint64_t bits;

	memcpy(&bits, &v, sizeof(bits));
	drover_stat_u64(s, bits);
}

void drover_migration_info(struct drover_migration *m, struct drover_migration_info *ret)
{
	unsigned int i;
	DROVER_LOCK(&m->lock);

	/* Kept as they were once the links are gone. */
	for (i = 0; i < m->view.nlinks; i++) {
		struct drover_channel_stats *st;

		if (!m->view.link[i])
			continue;
		st = drover_channel_stats(m->view.link[i]->ch);
		m->view.info.channel[i].tx_bytes = atomic_load(&st->tx_bytes);
		m->view.info.channel[i].rx_bytes = atomic_load(&st->rx_bytes);
		snprintf(m->view.info.channel[i].name, sizeof(m->view.info.channel[i].name), "%s",
			 drover_channel_name(m->view.link[i]->ch));
	}
	if (m->view.nlinks)
		m->view.info.channels = m->view.nlinks;
	m->view.info.state = drover_state_get(m);
	snprintf(m->view.info.error_desc, sizeof(m->view.info.error_desc), "%s", m->view.error.msg);
	*ret = m->view.info;
}

void drover_replace_error(struct drover_migration *m, const struct drover_error *e)
{
	DROVER_LOCK(&m->lock);

	m->view.error = *e;
}

void drover_view_reset(struct drover_migration *m, const char *peer)
{
	DROVER_LOCK(&m->lock);

	drover_err_clear(&m->view.error);
	m->view.info.nbad = 0;
	m->view.info.digest[0] = '\0';
	snprintf(m->view.info.peer, sizeof(m->view.info.peer), "%s", peer);
}
