// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Messages that name pages: RANGES, DISCARD, RELEASE, RECOVER (one body), PAGES, PAGE_REQ.
 * A decoded list is in order and free of overlap and overflow; whether it lies within its
 * block only the engine can say, which knows the block. Callers: engine, place.
 *
 * runs      0 u32 block  4 u32 flags  8 runs: u64 page, u64 npages
 * PAGES     0 u32 block  4 u32 round  8 u32 n  12 runs: u64 page, u32 npages, u32 payload,
 *           u16 kind, u16 reserved (0)
 * PAGE_REQ  0 u32 block  4 u64 page
 */
#include "wire/wire.h"

#include <inttypes.h>

#include "wire/codec.h"

#define RUNS_FIXED 8u
#define RUN_LEN 16u
#define PAGES_FIXED 12u
#define PAGE_RUN_LEN 20u
#define PAGE_REQ_LEN 12u

_Static_assert(DROVER_PAGE_RUN_PAGES_MAX * DROVER_PAGE_SIZE == DROVER_PAGES_PAYLOAD_MAX,
	       "a raw run fits its message");

struct drover_run drover_msg_run_at(const struct drover_msg_runs *m, uint32_t i)
{
	struct drover_run run;

	if (!m->raw)
		return m->run[i];
	run.page = wire_peek_u64(m->raw, (size_t)i * RUN_LEN);
	run.npages = wire_peek_u64(m->raw, (size_t)i * RUN_LEN + 8);
	return run;
}

/* Pages [page, page + npages) against what may exist, and against @end of the run before. */
static int run_check(uint32_t i, uint64_t page, uint64_t npages, uint64_t end, bool may_touch,
		     struct drover_error *e)
{
	if (!npages)
		return drover_err(e, -EBADMSG, "run %u: no pages", i);
	if (page >= DROVER_WIRE_PAGES_MAX || npages > DROVER_WIRE_PAGES_MAX - page)
		return drover_err(e, -EBADMSG, "run %u: %" PRIu64 " pages at %" PRIu64
				  " end past page 2^52", i, npages, page);
	if (i && (page < end || (page == end && !may_touch)))
		return drover_err(e, -EBADMSG, "run %u: page %" PRIu64 " comes after page %" PRIu64,
				  i, page, end - 1);
	return 0;
}

static int runs_check(const struct drover_msg_runs *m, struct drover_error *e)
{
	uint64_t end = 0;
	uint32_t i;
	int r;

	r = wire_block(m->block, e);
	if (r < 0)
		return r;
	r = wire_flags("flags", m->flags, DROVER_RUNS_LAST, e);
	if (r < 0)
		return r;
	r = wire_max("runs", m->n, DROVER_RUNS_MAX, e);
	if (r < 0)
		return r;
	for (i = 0; i < m->n; i++) {
		struct drover_run run = drover_msg_run_at(m, i);

		r = run_check(i, run.page, run.npages, end, false, e);
		if (r < 0)
			return r;
		end = run.page + run.npages;
	}
	return 0;
}

int drover_runs_encode(const struct drover_msg_runs *m, void *buf, size_t cap)
{
	struct wire_put p = wire_putter(buf, cap);
	uint32_t i;

	if (runs_check(m, NULL) < 0)
		return -EINVAL;
	put_u32(&p, m->block);
	put_u32(&p, m->flags);
	for (i = 0; i < m->n; i++) {
		struct drover_run run = drover_msg_run_at(m, i);

		put_u64(&p, run.page);
		put_u64(&p, run.npages);
	}
	return put_done(&p);
}

int drover_runs_decode(const void *buf, size_t len, struct drover_msg_runs *ret,
		       struct drover_error *e)
{
	struct wire_get g = wire_getter(buf, len);
	struct drover_msg_runs m = { 0 };
	int r;

	r = wire_len(len, RUNS_FIXED, RUNS_FIXED + RUN_LEN * (size_t)DROVER_RUNS_MAX, e);
	if (r < 0)
		return r;
	m.block = get_u32(&g);
	m.flags = get_u32(&g);
	if (g.left % RUN_LEN)
		return drover_err(e, -EBADMSG, "runs: %zu bytes, must be a multiple of %u", g.left,
				  RUN_LEN);
	m.n = (uint32_t)(g.left / RUN_LEN);
	m.raw = g.p;
	r = runs_check(&m, e);
	if (r < 0)
		return r;
	*ret = m;
	return 0;
}

struct drover_page_run drover_msg_page_run_at(const struct drover_msg_pages *m, uint32_t i)
{
	size_t off = (size_t)i * PAGE_RUN_LEN;
	struct drover_page_run run;

	if (!m->raw)
		return m->run[i];
	run.page = wire_peek_u64(m->raw, off);
	run.npages = wire_peek_u32(m->raw, off + 8);
	run.payload = wire_peek_u32(m->raw, off + 12);
	run.kind = wire_peek_u16(m->raw, off + 16);
	return run;
}

uint64_t drover_msg_pages_payload(const struct drover_msg_pages *m)
{
	uint64_t sum = 0;
	uint32_t i;

	for (i = 0; i < m->n; i++)
		sum += drover_msg_page_run_at(m, i).payload;
	return sum;
}

/* Payload of each kind of run, in bytes a page; a codec never grows what it packs. */
static int page_run_payload_check(uint32_t i, const struct drover_page_run *run,
				  struct drover_error *e)
{
	uint64_t most = (uint64_t)run->npages * DROVER_PAGE_SIZE;

	if (run->kind > DROVER_PAGES_LZ4)
		return drover_err(e, -EBADMSG, "run %u: kind %u is unknown", i, run->kind);
	if (run->kind == DROVER_PAGES_ZERO) {
		if (run->payload)
			return drover_err(e, -EBADMSG, "run %u: %u bytes of payload for zeros", i,
					  run->payload);
		return 0;
	}
	if (run->npages > DROVER_PAGE_RUN_PAGES_MAX)
		return drover_err(e, -EBADMSG, "run %u: %u pages with payload, at most %u", i,
				  run->npages, DROVER_PAGE_RUN_PAGES_MAX);
	if (run->kind == DROVER_PAGES_RAW && run->payload != most)
		return drover_err(e, -EBADMSG, "run %u: payload of %u bytes, must be %" PRIu64, i,
				  run->payload, most);
	if (!run->payload || run->payload > most)
		return drover_err(e, -EBADMSG, "run %u: payload of %u bytes, must be 1 to %" PRIu64,
				  i, run->payload, most);
	return 0;
}

static int pages_check(const struct drover_msg_pages *m, struct drover_error *e)
{
	uint64_t end = 0, sum = 0;
	uint32_t i;
	int r;

	r = wire_block(m->block, e);
	if (r < 0)
		return r;
	if (!m->n || m->n > DROVER_PAGE_RUNS_MAX)
		return drover_err(e, -EBADMSG, "runs: %u, must be 1 to %u", m->n,
				  DROVER_PAGE_RUNS_MAX);
	for (i = 0; i < m->n; i++) {
		struct drover_page_run run = drover_msg_page_run_at(m, i);

		r = run_check(i, run.page, run.npages, end, true, e);
		if (r < 0)
			return r;
		r = page_run_payload_check(i, &run, e);
		if (r < 0)
			return r;
		end = run.page + run.npages;
		sum += run.payload;
	}
	return wire_max("payload of all runs", sum, DROVER_PAGES_PAYLOAD_MAX, e);
}

int drover_pages_encode(const struct drover_msg_pages *m, void *buf, size_t cap)
{
	struct wire_put p = wire_putter(buf, cap);
	uint32_t i;

	if (pages_check(m, NULL) < 0)
		return -EINVAL;
	put_u32(&p, m->block);
	put_u32(&p, m->round);
	put_u32(&p, m->n);
	for (i = 0; i < m->n; i++) {
		struct drover_page_run run = drover_msg_page_run_at(m, i);

		put_u64(&p, run.page);
		put_u32(&p, run.npages);
		put_u32(&p, run.payload);
		put_u16(&p, run.kind);
		put_u16(&p, 0);
	}
	return put_done(&p);
}

int drover_pages_decode(const void *buf, size_t len, uint64_t payload_len,
			struct drover_msg_pages *ret, struct drover_error *e)
{
	struct wire_get g = wire_getter(buf, len);
	struct drover_msg_pages m = { 0 };
	uint64_t sum;
	uint32_t i;
	int r;

	r = wire_len(len, PAGES_FIXED + PAGE_RUN_LEN,
		     PAGES_FIXED + PAGE_RUN_LEN * (size_t)DROVER_PAGE_RUNS_MAX, e);
	if (r < 0)
		return r;
	m.block = get_u32(&g);
	m.round = get_u32(&g);
	m.n = get_u32(&g);
	m.raw = g.p;
	if (g.left % PAGE_RUN_LEN || m.n != g.left / PAGE_RUN_LEN)
		return drover_err(e, -EBADMSG, "runs: %u announced, %zu bytes of %u each follow",
				  m.n, g.left, PAGE_RUN_LEN);
	for (i = 0; i < m.n; i++) {
		r = wire_zero("run: reserved",
			      wire_peek_u16(m.raw, (size_t)i * PAGE_RUN_LEN + 18), e);
		if (r < 0)
			return r;
	}
	r = pages_check(&m, e);
	if (r < 0)
		return r;
	sum = drover_msg_pages_payload(&m);
	if (payload_len != sum)
		return drover_err(e, -EBADMSG, "payload: %" PRIu64 " bytes, the runs need %" PRIu64,
				  payload_len, sum);
	*ret = m;
	return 0;
}

static int page_req_check(const struct drover_msg_page_req *m, struct drover_error *e)
{
	int r;

	r = wire_block(m->block, e);
	if (r < 0)
		return r;
	return wire_max("page", m->page, DROVER_WIRE_PAGES_MAX - 1, e);
}

int drover_page_req_encode(const struct drover_msg_page_req *m, void *buf, size_t cap)
{
	struct wire_put p = wire_putter(buf, cap);

	if (page_req_check(m, NULL) < 0)
		return -EINVAL;
	put_u32(&p, m->block);
	put_u64(&p, m->page);
	return put_done(&p);
}

int drover_page_req_decode(const void *buf, size_t len, struct drover_msg_page_req *ret,
			   struct drover_error *e)
{
	struct wire_get g = wire_getter(buf, len);
	struct drover_msg_page_req m;
	int r;

	r = wire_len(len, PAGE_REQ_LEN, PAGE_REQ_LEN, e);
	if (r < 0)
		return r;
	m.block = get_u32(&g);
	m.page = get_u64(&g);
	r = page_req_check(&m, e);
	if (r < 0)
		return r;
	*ret = m;
	return 0;
}
