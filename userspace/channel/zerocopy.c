// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Is zero-copy worth it on a channel? In each notification the kernel tells whether it had to
 * copy the data after all. On loopback it always has to, and then zero-copy costs more than a
 * plain send. So a channel begins with a few zero-copy sends, and sends plainly until their
 * notifications have arrived. If the kernel did not copy, all later sends use zero-copy; they are
 * judged again after each window of notifications. Once switched off, zero-copy stays off for the
 * channel, since a route on which the kernel copies rarely changes. Linux 6.1 does not report
 * copies: there only loopback is known to copy.
 *
 * The caller holds tx_lock in all functions. Called by channel.c and stream.c.
 */
#include <errno.h>

#include "base/lock.h"
#include "base/log.h"
#include "channel/internal.h"

/* Sends needed for the first verdict; so few that a channel on which it fails loses little. */
#define PROBE_SENDS 8u
/* Notifications in a window, for the verdicts after the first. */
#define WINDOW 64u
/* Below this size, pinning the pages and handling a notification cost more than a copy. */
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
	/* a send that the kernel refused has a sequence number, but no notification */
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

/* Stops counting at the limit, so that a long vector is not walked to its end. */
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
