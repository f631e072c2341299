// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Is zero-copy worth it on this channel? The kernel tells, in each notification, whether
 * it had to copy after all: on loopback it always does, and then zero-copy costs more
 * than copying. So a channel begins with a few zero-copy sends and goes on plainly until
 * their notifications are in; where data really went out of the pages all sends follow
 * that way, and are judged again, window by window. Once off it stays off: a route that
 * copies rarely stops to. Linux 6.1 doesn't report: there only loopback is known to copy.
 *
 * All under tx_lock, called by channel.c and stream.c.
 */
#include <errno.h>

#include "base/lock.h"
#include "base/log.h"
#include "channel/internal.h"

/* Sends that a verdict needs. Bounds what a channel loses that can't do it. */
#define PROBE_SENDS 8u
/* Notifications a running judgement looks at. */
#define WINDOW 64u
/* Below this, pinning pages and a notification cost more than a copy. */
#define MIN_BYTES 16384u

static void switch_off(struct drover_channel *ch, const char *reason)
{
	ch->zc.verdict = ZC_OFF;
	atomic_store_explicit(&ch->zc.reason, reason, memory_order_release);
	atomic_store_explicit(&ch->stats.zc_off, true, memory_order_release);
	drover_debug(ch->log, "channel %s: zero-copy off: %s", ch->name, reason);
}

static void judge(struct drover_channel *ch, const struct drover_ring_zc *zc)
{
	uint64_t n = zc->notified - ch->zc.base_notified;
	uint64_t copied = zc->copied - ch->zc.base_copied;
	/* a send that was refused has a number, but no notification */
	bool probed = zc->seq >= PROBE_SENDS && zc->done == zc->seq && n;

	if (ch->zc.verdict == ZC_OFF ||
	    (ch->zc.verdict == ZC_GOOD ? n < WINDOW : n < PROBE_SENDS && !probed))
		return;
	if (!zc->reports && ch->loopback) {
		switch_off(ch, "loopback copies the data anyway");
		return;
	}
	if (copied * 2 > n) {
		switch_off(ch, "the kernel copied the data anyway");
		return;
	}
	ch->zc.verdict = ZC_GOOD;
	ch->zc.base_notified = zc->notified;
	ch->zc.base_copied = zc->copied;
}

void drover_zc_update(struct drover_channel *ch)
{
	struct drover_ring_zc zc;

	drover_assert_held(&ch->tx_lock);
	drover_ring_reap(ch->tx);
	drover_ring_zc(ch->tx, &zc);
	atomic_store_explicit(&ch->zc.seq, zc.seq, memory_order_release);
	atomic_store_explicit(&ch->zc.done, zc.done, memory_order_release);
	atomic_store_explicit(&ch->stats.zc_sends, zc.notified, memory_order_relaxed);
	atomic_store_explicit(&ch->stats.zc_copied, zc.copied, memory_order_relaxed);
	judge(ch, &zc);
}

/* Stops counting at the limit: vectors of thousands are not walked for this. */
static bool long_enough(const struct iovec *iov, unsigned int n)
{
	size_t sum = 0;
	unsigned int i;

	for (i = 0; i < n && sum < MIN_BYTES; i++)
		sum += iov[i].iov_len;
	return sum >= MIN_BYTES;
}

bool drover_zc_wanted(struct drover_channel *ch, const struct iovec *iov, unsigned int n,
		      unsigned int flags)
{
	drover_assert_held(&ch->tx_lock);
	if (!(flags & DROVER_SEND_ZC) || ch->zc.verdict == ZC_OFF || !long_enough(iov, n))
		return false;
	if (!(ch->offers & DROVER_TRANSPORT_ZEROCOPY)) {
		switch_off(ch, "the transport has no zero-copy");
		return false;
	}
	if (ch->zc.verdict == ZC_GOOD)
		return true;
	drover_zc_update(ch);
	return ch->zc.verdict == ZC_GOOD ||
	       (ch->zc.verdict == ZC_UNKNOWN &&
		atomic_load_explicit(&ch->zc.seq, memory_order_relaxed) < PROBE_SENDS);
}

bool drover_zc_refused(struct drover_channel *ch, int r)
{
	static const struct {
		int r;
		const char *reason;
	} why[] = {
		{ -EOPNOTSUPP, "the socket does not support zero-copy sends" },
		{ -EINVAL, "this kernel has no zero-copy sendmsg in io_uring (Linux 6.1)" },
		{ -ENOMEM, "no memory could be pinned: RLIMIT_MEMLOCK is too low" },
		{ -ENOBUFS, "no room for notifications: net.core.optmem_max is too low" },
	};
	unsigned int i;

	drover_assert_held(&ch->tx_lock);
	for (i = 0; i < sizeof(why) / sizeof(why[0]); i++)
		if (why[i].r == r) {
			switch_off(ch, why[i].reason);
			return true;
		}
	return false;
}
