// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Device state and the handover on the destination. COMMIT is acted on once: the VMM's
 * record says `owned` before COMMIT_ACK leaves, and a token that was fenced meanwhile is
 * refused.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/trace.h"
#include "engine/dest/dest.h"

#define PIECE_MAX (4u << 20)

/* Only these two sections, in this order, whole. */
static int check_piece(struct session *x, const struct drover_msg_state *s, uint64_t len,
		       struct drover_error *e)
{
	const char *want = x->have_run ? "guest" : "drover/run";

	if (!x->final_ns)
		return drover_err(e, -EBADMSG, "STATE before the final round");
	if (x->state_done)
		return drover_err(e, -EBADMSG, "STATE after its end");
	if (strcmp(s->name, want))
		return drover_err(e, -EBADMSG, "STATE: section %s, expected %s", s->name, want);
	if (s->version != 1)
		return drover_err(e, -EPROTONOSUPPORT, "STATE: section %s: version %u, this side knows 1",
				  s->name, s->version);
	if (!s->total || s->total > DEST_STATE_MAX || (!x->have_run && s->total != 1))
		return drover_err(e, -EBADMSG, "STATE: section %s: %llu bytes", s->name,
				  (unsigned long long)s->total);
	if (s->off != x->state_off || !len || len > s->total - s->off ||
	    (x->state_off && s->total != x->state_total))
		return drover_err(e, -EBADMSG, "STATE: section %s: piece %llu+%llu of %llu", s->name,
				  (unsigned long long)s->off, (unsigned long long)len,
				  (unsigned long long)s->total);
	return 0;
}

static int take_piece(struct session *x, uint64_t len, struct drover_error *e)
{
	_cleanup_free_ uint8_t *buf = malloc(len);
	struct iovec iov = { buf, len };
	ssize_t n;
	int r;

	if (!buf)
		return drover_err(e, -ENOMEM, "STATE: out of memory");
	r = drover_link_payload(x->main, &iov, 1, len, e);
	if (r < 0)
		return r;
	if (!x->have_run) {
		if (buf[0] > 1)
			return drover_err(e, -EBADMSG, "STATE: section drover/run: %u", buf[0]);
		x->run = buf[0];
		return 0;
	}
	if (x->state_fd < 0) {
		x->state_fd = memfd_create("drover-state", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		if (x->state_fd < 0)
			return drover_err(e, -errno, "STATE: memfd: %s", drover_strerror(errno));
	}
	n = pwrite(x->state_fd, buf, len, (off_t)x->state_off);
	if (n != (ssize_t)len)
		return drover_err(e, n < 0 ? -errno : -EIO, "STATE: memfd: %s",
				  drover_strerror(n < 0 ? errno : EIO));
	return 0;
}

static int state_ack(struct session *x, uint32_t status, const char *text, struct drover_error *e)
{
	struct drover_msg_status st = {
		.status = status,
		.text = text,
		.text_len = (uint32_t)strnlen(text, DROVER_ERR_MAX - 1),
	};
	uint8_t body[DROVER_ERR_MAX + 16];
	int n = drover_status_encode(&st, body, sizeof(body));

	if (n < 0)
		return drover_err(e, n, "STATE_ACK: %s", drover_strerror(n));
	return drover_link_send(x->main, DROVER_MSG_STATE_ACK, body, (size_t)n, NULL, 0, 0, e);
}

static int load(struct session *x, struct drover_error *e)
{
	struct drover_guest *g = x->m->guest;
	uint64_t t = drover_now_ns();
	int r;

	if (fcntl(x->state_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		return drover_err(e, -errno, "STATE: seal: %s", drover_strerror(errno));
	pthread_mutex_lock(&x->d->guest);
	r = g->ops->load(g, x->state_fd, e);
	pthread_mutex_unlock(&x->d->guest);
	DROVER_STAT(x->m, state_bytes, x->state_total);
	DROVER_STAT(x->m, dt_state, (drover_now_ns() - t) / 1000);
	if (r < 0) {
		drover_err_prefix(e, "load device state: ");
		if (!x->one_way)
			state_ack(x, DROVER_ACK_REFUSED, e->msg, NULL);
		return r;
	}
	x->loaded = true;
	return x->one_way ? 0 : state_ack(x, DROVER_ACK_OK, "", e);
}

int session_state(struct session *x, const struct drover_frame *f, struct drover_error *e)
{
	struct drover_msg_state s;
	bool whole;
	int r;

	r = drover_state_decode(x->main->body, f->body_len, &s, e);
	if (r < 0)
		return drover_link_bad(x->main, e), r;
	if (f->payload_len > PIECE_MAX)
		return drover_err(e, -EBADMSG, "STATE: a piece of %llu bytes",
				  (unsigned long long)f->payload_len);
	r = check_piece(x, &s, f->payload_len, e);
	if (r < 0)
		return r;
	drover_state_set(x->m, DROVER_STATE_ACTIVE, DROVER_STATE_DEVICE);
	x->state_total = s.total;
	r = take_piece(x, f->payload_len, e);
	if (r < 0)
		return r;
	x->state_off += f->payload_len;
	whole = x->state_off == s.total;
	if (!whole || !x->have_run) {
		if (s.flags & DROVER_STATE_LAST)
			return drover_err(e, -EBADMSG, "STATE: it ends before it is whole");
		if (whole) {
			x->have_run = true;
			x->state_off = 0;
		}
		return 0;
	}
	if (!(s.flags & DROVER_STATE_LAST))
		return drover_err(e, -EBADMSG, "STATE: section guest is whole but not the last");
	x->state_done = true;
	return load(x, e);
}

static int resume(struct session *x, struct drover_error *e)
{
	struct drover_guest *g = x->m->guest;
	uint64_t t = drover_now_ns();
	int r = 0;

	pthread_mutex_lock(&x->d->guest);
	if (x->run)
		r = g->ops->resume(g, e);
	if (r >= 0 && g->ops->resumed && !(x->pc && x->pc->armed))
		g->ops->resumed(g);
	pthread_mutex_unlock(&x->d->guest);
	t = (drover_now_ns() - t) / 1000;
	if (x->run && r >= 0)
		drover_trace_guest_resumed(t);
	DROVER_STAT(x->m, dt_resume, t);
	DROVER_STAT(x->m, downtime_us, (drover_now_ns() - x->final_ns) / 1000);
	DROVER_STAT(x->m, downtime, (drover_now_ns() - x->final_ns) / DROVER_NS_PER_MS);
	return r;
}

/* From here on the guest is ours, or the session ends. */
static int own(struct session *x, struct drover_error *e)
{
	int r = 0;

	pthread_mutex_lock(&x->lock);
	if (x->fenced || x->dead)
		r = drover_err(e, -ECANCELED, "COMMIT: this session was fenced");
	else if (!drover_commit_point(x->m))
		r = drover_err(e, -ECANCELED, "COMMIT: the incoming migration was cancelled");
	else
		x->committing = true;
	pthread_mutex_unlock(&x->lock);
	if (r < 0)
		return r;
	if (x->place)
		drover_place_seal(x->place);
	r = dest_record(x->d, DROVER_OWNER_OWNED, x->token, e);
	pthread_mutex_lock(&x->lock);
	x->committed = r >= 0;
	if (r < 0)
		x->dead = true;
	pthread_cond_broadcast(&x->cond);
	pthread_mutex_unlock(&x->lock);
	if (r >= 0) {
		DROVER_LOCK(&x->d->lock);

		x->d->completed = true;
		if (x->pc && x->pc->armed)
			x->d->pc = x->pc;
	}
	return r < 0 ? drover_err_prefix(e, "ownership record: ") : 0;
}

static void arrived(struct session *x)
{
	struct drover_error e = DROVER_ERROR_INIT;

	if (resume(x, &e) < 0) {
		drover_err_prefix(&e, "the guest is owned here and paused: resume: ");
		drover_fail(x->m, &e);
	} else if (x->run) {
		drover_send_event(x->m, DROVER_EVENT_RESUME);
	}
}

int session_commit(struct session *x, size_t len, struct drover_error *e)
{
	struct drover_msg_token t;
	uint8_t body[DROVER_TOKEN_LEN];
	int n, r;

	r = drover_token_decode(x->main->body, len, &t, e);
	if (r < 0)
		return drover_link_bad(x->main, e), r;
	if (memcmp(t.token, x->token, sizeof(x->token)))
		return drover_err(e, -EBADMSG, "COMMIT: the token is another session's");
	if (x->one_way || x->committed || !x->loaded || (x->verify && !x->digest_ok))
		return drover_err(e, -EBADMSG, "COMMIT: %s", x->committed ? "a second time" :
				  !x->loaded ? "before the device state" : "before the digests agreed");
	r = own(x, e);
	if (r < 0)
		return r;
	drover_crash_point("owned");
	arrived(x);
	drover_crash_point("resumed");
	n = drover_token_encode(&t, body, sizeof(body));
	drover_link_send(x->main, DROVER_MSG_COMMIT_ACK, body, (size_t)n, NULL, 0, 0, NULL);
	if (x->pc && x->pc->armed) {
		session_digest_again(x);
		drover_state_set(x->m, DROVER_STATE_POSTCOPY_DEVICE, DROVER_STATE_POSTCOPY_ACTIVE);
	} else {
		drover_state_set(x->m, DROVER_STATE_DEVICE, DROVER_STATE_COMPLETED);
	}
	return 0;
}

/* The source has let go for good: nobody will ask about the token any more. */
int session_released(struct session *x, size_t len, struct drover_error *e)
{
	struct drover_msg_token t;
	int r = drover_token_decode(x->main->body, len, &t, e);

	if (r < 0)
		return drover_link_bad(x->main, e), r;
	if (!x->committed || memcmp(t.token, x->token, sizeof(x->token)) ||
	    (x->pc && x->pc->armed && !(atomic_load(&x->pc->here) &&
					(x->pc->proved || !x->verify))))
		return drover_err(e, -EBADMSG, "RELEASED: not now");
	/* The ledger first: with the record alone nobody takes this for unfinished. */
	if (x->pc && x->pc->armed && drover_state_get(x->m) != DROVER_STATE_COMPLETED &&
	    pc_finish(x->pc, e) < 0)
		drover_fail(x->m, e);
	drover_crash_point("finished");
	if (x->pc && x->pc->armed)
		drover_state_set(x->m, DROVER_STATE_POSTCOPY_ACTIVE, DROVER_STATE_COMPLETED);
	if (dest_record(x->d, DROVER_OWNER_OWNED, NULL, NULL) >= 0)
		atomic_store(&x->d->released, true);
	return 1;
}

int session_end_one_way(struct session *x, size_t len, struct drover_error *e)
{
	struct drover_msg_end m;
	int r = drover_end_decode(x->main->body, len, &m, e);

	if (r < 0)
		return drover_link_bad(x->main, e), r;
	if (!x->one_way || !x->loaded || (x->verify && !x->digest_ok))
		return drover_err(e, -EBADMSG, "END: before the stream was complete");
	if (m.total_bytes != atomic_load(&x->raw_pages) * DROVER_PAGE_SIZE)
		return drover_err(e, -EBADMSG, "END: %llu bytes of pages were sent, %llu came",
				  (unsigned long long)m.total_bytes,
				  (unsigned long long)atomic_load(&x->raw_pages) * DROVER_PAGE_SIZE);
	r = own(x, e);
	if (r < 0)
		return r;
	dest_record(x->d, DROVER_OWNER_OWNED, NULL, NULL);
	arrived(x);
	drover_state_set(x->m, DROVER_STATE_DEVICE, DROVER_STATE_COMPLETED);
	return 1;
}
