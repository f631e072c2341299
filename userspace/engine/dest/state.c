// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Device state on the destination: pieces of two sections are put together, and the guest
 * loads them before STATE_ACK is sent. Called by the thread of main.
 */
#define _GNU_SOURCE
#include "engine/dest/state.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "engine/dest/dest.h"
#include "engine/dest/session.h"
#include "peer/send.h"

#define PIECE_MAX (4u << 20)

void state_init(struct state_in *in)
{
	in->fd = -EBADF;
}

void state_deinit(struct state_in *in)
{
	drover_closep(&in->fd);
}

void state_skip(struct state_in *in)
{
	atomic_store(&in->step, STATE_LOADED);
}

int state_check(const struct state_in *in, const struct drover_msg_state *s, uint64_t len,
		struct drover_error *e)
{
	enum state_step step = state_step(in);
	const char *want = step == STATE_RUN ? "drover/run" : "guest";

	if (step >= STATE_WHOLE)
		return drover_err(e, -EBADMSG, "STATE after its end");
	if (strcmp(s->name, want))
		return drover_err(e, -EBADMSG, "STATE: section %s, expected %s", s->name, want);
	if (s->version != 1)
		return drover_err(e, -EPROTONOSUPPORT, "STATE: section %s: version %u, this side knows 1",
				  s->name, s->version);
	if (!s->total || s->total > STATE_IN_MAX || (step == STATE_RUN && s->total != 1))
		return drover_err(e, -EBADMSG, "STATE: section %s: %llu bytes", s->name,
				  (unsigned long long)s->total);
	if (s->off != in->off || !len || len > s->total - s->off ||
	    (in->off && s->total != in->total))
		return drover_err(e, -EBADMSG, "STATE: section %s: piece %llu+%llu of %llu", s->name,
				  (unsigned long long)s->off, (unsigned long long)len,
				  (unsigned long long)s->total);
	return 0;
}

static int keep_piece(struct state_in *in, const uint8_t *piece, uint64_t len,
		      struct drover_error *e)
{
	ssize_t n;

	if (state_step(in) == STATE_RUN) {
		if (piece[0] > 1)
			return drover_err(e, -EBADMSG, "STATE: section drover/run: %u", piece[0]);
		in->run = piece[0];
		return 0;
	}
	if (in->fd < 0) {
		in->fd = memfd_create("drover-state", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		if (in->fd < 0)
			return drover_err(e, -errno, "STATE: memfd: %s", drover_strerror(errno));
	}
	n = pwrite(in->fd, piece, len, (off_t)in->off);
	if (n != (ssize_t)len)
		return drover_err(e, n < 0 ? -errno : -EIO, "STATE: memfd: %s",
				  drover_strerror(n < 0 ? errno : EIO));
	return 0;
}

int state_put(struct state_in *in, const struct drover_msg_state *s, const uint8_t *piece,
	      uint64_t len, struct drover_error *e)
{
	bool whole, last = s->flags & DROVER_STATE_LAST;
	int r;

	in->total = s->total;
	r = keep_piece(in, piece, len, e);
	if (r < 0)
		return r;
	in->off += len;
	whole = in->off == s->total;
	if (!whole || state_step(in) == STATE_RUN) {
		if (last)
			return drover_err(e, -EBADMSG, "STATE: it ends before it is whole");
		if (whole) {
			in->off = 0;
			atomic_store(&in->step, STATE_GUEST);
		}
		return 0;
	}
	if (!last)
		return drover_err(e, -EBADMSG, "STATE: section guest is whole but not the last");
	if (fcntl(in->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		return drover_err(e, -errno, "STATE: seal: %s", drover_strerror(errno));
	atomic_store(&in->step, STATE_WHOLE);
	return 1;
}

static int state_ack(struct session *x, uint32_t status, const char *text, struct drover_error *e)
{
	struct drover_msg_status st = {
		.status = status,
		.text = text,
		.text_len = (uint32_t)strlen(text),
	};

	return drover_send_status(x->main, DROVER_MSG_STATE_ACK, &st, e);
}

static int load(struct session *x, struct drover_error *e)
{
	uint64_t t = drover_now_ns();
	int r = dest_load(x->d, x->token, x->state.fd, e);

	DROVER_STAT(x->m, state_bytes, x->state.total);
	DROVER_STAT(x->m, dt_state, (drover_now_ns() - t) / 1000);
	/* Without digests the copy is as good as it gets. */
	if (r >= 0 && !x->verify)
		r = session_proved(x, e);
	if (r < 0) {
		drover_err_prefix(e, "load device state: ");
		if (!x->one_way)
			state_ack(x, DROVER_ACK_REFUSED, e->msg, NULL);
		return r;
	}
	atomic_store(&x->state.step, STATE_LOADED);
	r = x->one_way ? 0 : state_ack(x, DROVER_ACK_OK, "", e);
	return r < 0 ? r : drover_link_move(x->main, x->verify ? DROVER_PHASE_LOADED :
					    DROVER_PHASE_READY, e);
}

int session_state(struct session *x, const struct drover_frame *f, struct drover_error *e)
{
	_cleanup_free_ uint8_t *piece = NULL;
	struct drover_msg_state s;
	struct iovec iov;
	int r;

	r = drover_body_state(x->main, f->body_len, &s, e);
	if (r < 0)
		return r;
	if (f->payload_len > PIECE_MAX)
		return drover_err(e, -EBADMSG, "STATE: a piece of %llu bytes",
				  (unsigned long long)f->payload_len);
	if (!barrier_is_final(&x->barrier))
		return drover_err(e, -EBADMSG, "STATE before the final round");
	r = state_check(&x->state, &s, f->payload_len, e);
	if (r >= 0)
		r = drover_link_move(x->main, DROVER_PHASE_STATE, e);
	if (r < 0)
		return r;
	drover_state_set(x->m, DROVER_STATE_ACTIVE, DROVER_STATE_DEVICE);
	piece = malloc(f->payload_len);
	if (!piece)
		return drover_err(e, -ENOMEM, "STATE: out of memory");
	iov = (struct iovec){ piece, f->payload_len };
	r = drover_link_payload(x->main, &iov, 1, f->payload_len, e);
	if (r >= 0)
		r = state_put(&x->state, &s, piece, f->payload_len, e);
	if (r != 1)
		return r;
	r = drover_link_move(x->main, DROVER_PHASE_LOADING, e);
	return r < 0 ? r : load(x, e);
}
