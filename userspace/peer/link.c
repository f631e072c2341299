// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Frames over a channel: sequence numbers, bounds and order checks in one place, for
 * both sides. What a peer sends is checked here against its row of messages.def and against
 * the session's phase, then by the message's own decoder, before anybody uses it. What this
 * end sends is checked against the same rules, so that a mistake of ours is found here.
 */
#include "peer/link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bitmap.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/lock.h"
#include "channel/channel.h"

int drover_link_new(struct drover_channel *ch, bool source, struct drover_link **ret,
		    struct drover_error *e)
{
	struct drover_link *l = calloc(1, sizeof(*l));

	if (!l)
		return drover_err(e, -ENOMEM, "channel %s: out of memory", drover_channel_name(ch));
	l->ch = ch;
	l->source = source;
	l->kind = DROVER_ON_M;
	drover_phase_init(&l->own);
	l->phase = &l->own;
	drover_lock_init(&l->tx_lock);
	*ret = l;
	return 0;
}

struct drover_link *drover_link_free(struct drover_link *l)
{
	if (!l)
		return NULL;
	drover_channel_free(l->ch);
	pthread_mutex_destroy(&l->tx_lock);
	free(l->body);
	free(l);
	return NULL;
}

void drover_link_set(struct drover_link *l, unsigned int kind, uint16_t index)
{
	l->kind = kind;
	l->index = index;
}

void drover_link_then(struct drover_link *l, enum drover_msg_type type, enum drover_phase phase)
{
	DROVER_LOCK(&l->tx_lock);

	l->then = (struct drover_then){ (uint16_t)type, phase };
}

int drover_link_move(struct drover_link *l, enum drover_phase phase, struct drover_error *e)
{
	int r = l->phase ? drover_phase_move(l->phase, phase, e) : 0;

	return r < 0 ? drover_err_prefix(e, "channel %s: ", drover_channel_name(l->ch)), r : 0;
}

int drover_link_one_way(struct drover_link *l, struct drover_error *e)
{
	int r = drover_phase_one_way(l->phase, e);

	return r < 0 ? drover_err_prefix(e, "channel %s: ", drover_channel_name(l->ch)), r : 0;
}

bool drover_link_may_join(const struct drover_link *main)
{
	enum drover_wire_mode mode;

	return !main->phase || drover_phase_info(drover_phase_get(main->phase, &mode))->joins;
}

void drover_link_join(struct drover_link *l, struct drover_link *main)
{
	l->phase = main->phase;
}

/* An answer uses up its question; -EBADMSG when there is none. */
static int count_answer(struct drover_link *l, const struct drover_msg_info *info,
			struct drover_error *e)
{
	int ask = drover_msg_answers(info->nr, l->kind);
	uint32_t n;

	if (ask < 0)
		return 0;
	n = atomic_load(&l->asked[ask]);
	do {
		if (!n)
			return drover_err(e, -EBADMSG, "message %s: nobody has asked for it",
					  info->name);
	} while (!atomic_compare_exchange_weak(&l->asked[ask], &n, n - 1));
	return 0;
}

/* May this message come, or be sent, now? Then it is counted as question or answer. */
static int check_time(struct drover_link *l, const struct drover_msg_info *info, bool from_source,
		      struct drover_error *e)
{
	enum drover_wire_mode mode;
	enum drover_phase phase;
	int ask, r;

	if (!l->phase)
		return 0;
	phase = drover_phase_get(l->phase, &mode);
	r = drover_phase_allows(info, from_source, l->kind, phase, mode, e);
	if (r >= 0)
		r = count_answer(l, info, e);
	if (r < 0)
		return r;
	ask = drover_msg_asks(info->nr, l->kind);
	if (ask >= 0)
		atomic_fetch_add(&l->asked[ask], 1);
	return 0;
}

/* Before the first byte leaves. A message that may not leave uses up no sequence number. */
static int check_send(struct drover_link *l, enum drover_msg_type type, struct drover_error *e)
{
	int r = check_time(l, drover_msg_info((uint16_t)type), l->source, e);

	if (r >= 0 && l->then.type == type) {
		l->then.type = 0;
		r = l->phase ? drover_phase_move(l->phase, l->then.phase, e) : 0;
	}
	if (r < 0)
		drover_err_prefix(e, "channel %s: send: ", drover_channel_name(l->ch));
	return r;
}

int drover_link_send_head(struct drover_link *l, enum drover_msg_type type, uint8_t *head,
			  size_t body_len, struct iovec *iov, unsigned int n, uint64_t payload,
			  unsigned int flags, struct drover_error *e)
{
	struct drover_frame f = {
		.version = DROVER_WIRE_VERSION,
		.type = (uint16_t)type,
		.channel = l->index,
		.body_len = (uint32_t)body_len,
		.payload_len = payload,
	};
	DROVER_LOCK(&l->tx_lock);
	int r = check_send(l, type, e);

	if (r < 0)
		return r;
	f.seq = l->tx_seq++;
	drover_frame_encode(&f, head);
	return drover_channel_sendv(l->ch, iov, n, flags, e);
}

bool drover_link_sending(struct drover_link *l)
{
	if (pthread_mutex_trylock(&l->tx_lock))
		return true;
	pthread_mutex_unlock(&l->tx_lock);
	return false;
}

int drover_link_send(struct drover_link *l, enum drover_msg_type type, const void *body,
		     size_t body_len, struct iovec *iov, unsigned int n, uint64_t payload,
		     struct drover_error *e)
{
	struct iovec all[2 + 8];
	uint8_t head[DROVER_FRAME_LEN];
	unsigned int i, k = 1;

	all[0] = (struct iovec){ head, sizeof(head) };
	if (body_len)
		all[k++] = (struct iovec){ (void *)body, body_len };
	if (n > 8)
		return drover_err(e, -EINVAL, "channel %s: send: %u pieces",
				  drover_channel_name(l->ch), n);
	for (i = 0; i < n; i++)
		all[k++] = iov[i];
	return drover_link_send_head(l, type, head, body_len, all, k, payload, 0, e);
}

static int send_runs(struct drover_link *l, enum drover_msg_type type,
		     const struct drover_msg_runs *m, struct drover_error *e)
{
	const uint32_t cap = drover_msg_info(type)->max_body;
	_cleanup_free_ uint8_t *body = malloc(cap);
	int len = body ? drover_runs_encode(m, body, cap) : -ENOMEM;

	if (len < 0)
		return drover_err(e, len, "%s: %s", drover_msg_info(type)->name,
				  drover_strerror(len));
	return drover_link_send(l, type, body, (size_t)len, NULL, 0, 0, e);
}

int drover_link_send_runs(struct drover_link *l, enum drover_msg_type type, uint32_t block,
			  const uint64_t *map, uint64_t npages, struct drover_error *e)
{
	_cleanup_free_ struct drover_run *run = calloc(DROVER_RUNS_MAX, sizeof(*run));
	struct drover_msg_runs m = { .block = block, .run = run };
	uint64_t at = 0, start = 0, n;
	int r = run ? 0 : drover_err(e, -ENOMEM, "%s: out of memory", drover_msg_info(type)->name);

	while (r >= 0 && (n = drover_bitmap_next_run(map, npages, at, &start))) {
		run[m.n++] = (struct drover_run){ start, n };
		at = start + n;
		if (m.n < DROVER_RUNS_MAX)
			continue;
		r = send_runs(l, type, &m, e);
		m.n = 0;
	}
	return r >= 0 && m.n ? send_runs(l, type, &m, e) : r;
}

int drover_link_send_last(struct drover_link *l, enum drover_msg_type type, struct drover_error *e)
{
	const struct drover_msg_runs m = { .flags = DROVER_RUNS_LAST };

	return send_runs(l, type, &m, e);
}

int drover_link_send_token(struct drover_link *l, enum drover_msg_type type, const uint8_t *token,
			   struct drover_error *e)
{
	struct drover_msg_token t;
	uint8_t body[DROVER_TOKEN_LEN];
	int n;

	memcpy(t.token, token, sizeof(t.token));
	n = drover_token_encode(&t, body, sizeof(body));
	if (n < 0)
		return drover_err(e, n, "%s: %s", drover_msg_info(type)->name, drover_strerror(n));
	return drover_link_send(l, type, body, (size_t)n, NULL, 0, 0, e);
}

/* Have at least `need` bytes in rx, reading on as far as they come for free. */
static int fill(struct drover_link *l, size_t need, struct drover_error *e)
{
	struct iovec iov;
	size_t got = 0;
	int r;

	if (l->rx_len - l->rx_off >= need)
		return 0;
	memmove(l->rx, l->rx + l->rx_off, l->rx_len - l->rx_off);
	l->rx_len -= l->rx_off;
	l->rx_off = 0;
	iov = (struct iovec){ l->rx + l->rx_len, sizeof(l->rx) - l->rx_len };
	r = drover_channel_recvv(l->ch, &iov, 1, need - l->rx_len, &got, e);
	if (r == DROVER_CHANNEL_E_EOF && l->rx_len)
		return drover_err(e, -EPIPE, "channel %s: receive: closed in the middle of a frame",
				  drover_channel_name(l->ch));
	if (r)
		return r;
	l->rx_len += got;
	return 0;
}

/* Hand out `len` bytes in order: what is in rx first. */
static int take(struct drover_link *l, struct iovec *iov, unsigned int n, size_t len,
		struct drover_error *e)
{
	size_t got = 0;
	int r;

	while (len && n && l->rx_off < l->rx_len) {
		size_t k = l->rx_len - l->rx_off;

		if (k > iov->iov_len)
			k = iov->iov_len;
		memcpy(iov->iov_base, l->rx + l->rx_off, k);
		l->rx_off += k;
		len -= k;
		iov->iov_base = (uint8_t *)iov->iov_base + k;
		iov->iov_len -= k;
		if (!iov->iov_len) {
			iov++;
			n--;
		}
	}
	if (!len)
		return 0;
	r = drover_channel_recvv(l->ch, iov, n, len, &got, e);
	if (r == DROVER_CHANNEL_E_EOF)
		return drover_err(e, -EPIPE, "channel %s: receive: closed in the middle of a frame",
				  drover_channel_name(l->ch));
	return r;
}

static int check_frame(struct drover_link *l, const struct drover_frame *f,
		       struct drover_error *e)
{
	const char *name = drover_channel_name(l->ch);
	int r;

	l->info = drover_msg_info(f->type);
	r = drover_wire_allowed(l->info, !l->source, l->kind, e);
	if (r < 0)
		return drover_err_prefix(e, "channel %s: ", name), r;
	if (f->seq != l->rx_seq)
		return drover_err(e, -EBADMSG, "channel %s: message %s: sequence %u, expected %u",
				  name, l->info->name, f->seq, l->rx_seq);
	/* Before ATTACH is read the channel's own number is not known here. */
	if (f->type != DROVER_MSG_ATTACH && f->channel != l->index)
		return drover_err(e, -EBADMSG, "channel %s: message %s: it names channel %u", name,
				  l->info->name, f->channel);
	r = check_time(l, l->info, !l->source, e);
	return r < 0 ? drover_err_prefix(e, "channel %s: ", name), r : 0;
}

int drover_link_recv(struct drover_link *l, struct drover_frame *ret, struct drover_error *e)
{
	struct drover_frame f;
	struct iovec iov;
	int r;

	if (l->rx_payload)
		return drover_err(e, -EBADMSG, "channel %s: message %s: unexpected payload",
				  drover_channel_name(l->ch), l->info->name);
	r = fill(l, DROVER_FRAME_LEN, e);
	if (r)
		return r;
	r = drover_frame_decode(l->rx + l->rx_off, &f, e);
	if (r < 0)
		return drover_err_prefix(e, "channel %s: ", drover_channel_name(l->ch)), r;
	l->rx_off += DROVER_FRAME_LEN;
	r = check_frame(l, &f, e);
	if (r < 0)
		return r;
	l->rx_seq++;
	/* frame_decode has bounded body_len by the message's row */
	if (f.body_len > l->body_cap) {
		uint8_t *p = realloc(l->body, f.body_len);

		if (!p)
			return drover_err(e, -ENOMEM, "channel %s: message %s: out of memory",
					  drover_channel_name(l->ch), l->info->name);
		l->body = p;
		l->body_cap = f.body_len;
	}
	iov = (struct iovec){ l->body, f.body_len };
	r = f.body_len ? take(l, &iov, 1, f.body_len, e) : 0;
	if (r < 0)
		return r;
	l->rx_payload = f.payload_len;
	*ret = f;
	return 0;
}

int drover_link_payload(struct drover_link *l, struct iovec *iov, unsigned int n, uint64_t len,
			struct drover_error *e)
{
	int r;

	if (len > l->rx_payload)
		return drover_err(e, -EBADMSG, "channel %s: message %s: payload is too short",
				  drover_channel_name(l->ch), l->info->name);
	r = len ? take(l, iov, n, (size_t)len, e) : 0;
	if (r < 0)
		return r;
	l->rx_payload -= len;
	return 0;
}

int drover_link_poll(struct drover_link *l, uint64_t deadline)
{
	if (l->rx_off < l->rx_len)
		return 1;
	return drover_channel_poll_in(l->ch, deadline);
}

int drover_link_bad(const struct drover_link *l, struct drover_error *e)
{
	return drover_err_prefix(e, "channel %s: message %s: ", drover_channel_name(l->ch),
				 l->info ? l->info->name : "?");
}

void drover_link_fail(struct drover_link *l, int r, const char *text)
{
	struct drover_msg_status m = {
		.status = (uint32_t)abs(r),
		.text = text,
		.text_len = (uint32_t)strnlen(text, DROVER_ERR_MAX - 1),
	};
	uint8_t body[DROVER_ERR_MAX + 16];
	int n = drover_status_encode(&m, body, sizeof(body));

	if (n > 0)
		drover_link_send(l, DROVER_MSG_FAIL, body, (size_t)n, NULL, 0, 0, NULL);
}

void drover_link_linger(struct drover_link *l, uint64_t deadline)
{
	uint8_t sink[16384];
	struct iovec iov;
	size_t got;

	drover_channel_finish(l->ch, NULL);
	do {
		if (drover_channel_poll_in(l->ch, deadline) <= 0)
			return;
		iov = (struct iovec){ sink, sizeof(sink) };
	} while (drover_channel_recvv(l->ch, &iov, 1, 1, &got, NULL) == 0);
}
