// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The hole tracker against a shadow: random punches, punches that are written or read
 * again before the harvest, new pages, swapped ranges; each harvest must report exactly
 * the punched pages and keep the data map equal to the file's. Both ways of looking.
 */
#define _GNU_SOURCE
#include "track-vmm.h"

#include "ram/datamap.h"
#include "tap.h"

#define PAGES 3001u
#define ROUNDS 60u
#define OPS 40u

enum op { OP_PUNCH, OP_PUNCH_WRITE, OP_PUNCH_OWN_READ, OP_PUNCH_VMM_READ, OP_NEW, OP_OWN_READ,
	  OP_SWAP, OP_WRITE_PUNCH, OP_REWRITE, OP_COUNT };

/* What should be reported, and where there must be data. */
struct shadow {
	bool known[PAGES];              /* the tracker knew data there at the last harvest */
	bool data[PAGES];
	bool punched[PAGES];
	bool written[PAGES];
	bool read_again[PAGES];         /* allocated by a read: zeros, and data or not */
};

static void shadow_punch(struct shadow *s, uint64_t page, uint64_t n)
{
	uint64_t i;

	for (i = page; i < page + n; i++) {
		s->punched[i] |= s->known[i];
		s->data[i] = false;
		s->read_again[i] = false;
	}
}

static void do_write(struct vmm *v, struct shadow *s, uint64_t page, uint8_t byte)
{
	vmm_write(v, 0, page, byte);
	s->data[page] = true;
	s->written[page] = true;
	s->read_again[page] = false;
}

static void do_swap(struct vmm *v, struct shadow *s, uint64_t a, uint64_t b, uint64_t n)
{
	uint64_t i;

	for (i = 0; i < n; i++) {
		bool da = s->data[a + i], db = s->data[b + i];

		vmm_punch(v, 0, a + i, 1);
		vmm_punch(v, 0, b + i, 1);
		shadow_punch(s, a + i, 1);
		shadow_punch(s, b + i, 1);
		if (db)
			do_write(v, s, a + i, 0x5a);
		if (da)
			do_write(v, s, b + i, 0xa5);
	}
}

static void do_op(struct vmm *v, struct shadow *s, enum op op, uint64_t page, uint64_t n)
{
	if (op == OP_SWAP) {
		do_swap(v, s, page, (page + PAGES / 2) % (PAGES - 12), n);
		return;
	}
	if (op == OP_NEW || op == OP_WRITE_PUNCH || op == OP_REWRITE)
		do_write(v, s, page, 7);
	if (op == OP_PUNCH || op == OP_PUNCH_WRITE || op == OP_PUNCH_OWN_READ ||
	    op == OP_PUNCH_VMM_READ || op == OP_WRITE_PUNCH) {
		vmm_punch(v, 0, page, n);
		shadow_punch(s, page, n);
	}
	if (op == OP_PUNCH_WRITE)
		do_write(v, s, page, 9);
	if (op == OP_PUNCH_OWN_READ || op == OP_OWN_READ) {
		if (!s->data[page])
			s->read_again[page] = true;
		vmm_own_read(v, 0, page);
	}
	if (op == OP_PUNCH_VMM_READ) {
		s->read_again[page] = true;
		(void)*(volatile uint8_t *)(v->map[0] + page * DROVER_PAGE_SIZE);
	}
}

/* Compare one harvest; a page that was reported for nothing is counted, not an error. */
static unsigned int wrong(struct vmm *v, struct shadow *s, const uint64_t *data,
			  unsigned int *extra)
{
	unsigned int bad = 0;
	uint64_t i;

	for (i = 0; i < PAGES; i++) {
		bool dirty = drover_bit_test(v->dirty[0], i);

		bad += s->punched[i] && !dirty;
		*extra += dirty && !s->punched[i] && !s->written[i];
		/* What holds data must be known; a page of zeros that a read made may be. */
		bad += s->data[i] && !drover_bit_test(data, i);
		bad += !s->data[i] && !s->read_again[i] && drover_bit_test(data, i);
	}
	return bad;
}

static void run(enum drover_holes_how how, const char *what, uint64_t seed)
{
	static const uint64_t npages[2] = { PAGES, PAGES };
	static struct shadow s;
	struct drover_holes *h = NULL;
	struct drover_error e = DROVER_ERROR_INIT;
	unsigned int round, i, bad = 0, extra = 0, failed = 0;
	struct vmm v;

	vmm_open(&v, npages, 2);
	memset(&s, 0, sizeof(s));
	for (i = 0; i < PAGES; i++)
		if (i % 3 || i % 500 > 250)
			do_write(&v, &s, i, 1);
	memset(s.written, 0, sizeof(s.written));
	tap_ok(drover_holes_new(&v.ram, how, &h, &e) == 0, "%s: start%s", what, e.msg);
	tap_ok(drover_holes_harvest(h, v.dirty, &e) == 0 &&
	       !drover_bitmap_count(v.dirty[0], PAGES) && !drover_bitmap_count(v.dirty[1], PAGES),
	       "%s: an idle harvest reports nothing", what);
	for (round = 0; round < ROUNDS; round++) {
		vmm_clear_dirty(&v);
		memset(s.punched, 0, sizeof(s.punched));
		memset(s.written, 0, sizeof(s.written));
		for (i = 0; i < PAGES; i++)
			s.known[i] = drover_bit_test(drover_holes_data(h, 0), i);
		for (i = 0; i < OPS; i++) {
			uint64_t n = 1 + vmm_rand(&seed) % 12;

			do_op(&v, &s, (enum op)(vmm_rand(&seed) % OP_COUNT),
			      vmm_rand(&seed) % (PAGES - 12), n);
		}
		for (i = 0; i < PAGES; i++)
			if (s.written[i])       /* what the VMM's tracker would say */
				drover_bit_set(v.dirty[0], i);
		failed += drover_holes_harvest(h, v.dirty, &e) != 0;
		bad += wrong(&v, &s, drover_holes_data(h, 0), &extra);
	}
	tap_ok(!failed && !bad, "%s: %u rounds, %u pages wrong%s", what, ROUNDS, bad, e.msg);
	tap_ok(extra <= ROUNDS, "%s: %u pages reported for nothing", what, extra);
	h = drover_holes_free(h);
	vmm_close(&v);
}

/* Runs long enough that SEEK_HOLE is used, and a file that ends too early. */
static void big(void)
{
	static const uint64_t npages[1] = { 20000 };
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_holes *h = NULL;
	uint64_t *map = drover_bitmap_new(20000);
	struct vmm v;

	vmm_open(&v, npages, 1);
	tap_ok(drover_holes_new(&v.ram, DROVER_HOLES_BEST, &h, &e) == 0 &&
	       !drover_bitmap_count(drover_holes_data(h, 0), 20000), "an empty block has no data");
	memset(v.map[0], 1, 19000 * DROVER_PAGE_SIZE);
	drover_bitmap_set_range(v.dirty[0], 0, 20000);
	tap_ok(drover_holes_harvest(h, v.dirty, &e) == 0 &&
	       drover_bitmap_count(drover_holes_data(h, 0), 20000) == 19000,
	       "19,000 new pages at once");
	vmm_punch(&v, 0, 100, 18000);
	vmm_clear_dirty(&v);
	tap_ok(drover_holes_harvest(h, v.dirty, &e) == 0 &&
	       drover_bitmap_count(v.dirty[0], 20000) == 18000 &&
	       drover_bitmap_count_range(v.dirty[0], 100, 18000) == 18000 &&
	       drover_bitmap_count(drover_holes_data(h, 0), 20000) == 1000,
	       "18,000 pages punched at once");
	tap_ok(drover_datamap_read(&v.ram.block[0], map, &e) == 0 &&
	       !memcmp(map, drover_holes_data(h, 0), drover_bitmap_bytes(20000)),
	       "drover_datamap_read() agrees, and looking allocated nothing");
	h = drover_holes_free(h);
	if (ftruncate(v.ram.block[0].fd, 10000 * 4096) == 0)
		tap_ok(drover_holes_new(&v.ram, DROVER_HOLES_BEST, &h, &e) == -EINVAL,
		       "a file that is too short: %s", e.msg);
	free(map);
	vmm_close(&v);
}

/* The position of the open file, which the VMM's descriptor shares, is left alone. */
static void position(void)
{
	static const uint64_t npages[1] = { 64 };
	uint64_t map[1];
	struct vmm v;

	vmm_open(&v, npages, 1);
	vmm_write(&v, 0, 9, 1);
	lseek(v.ram.block[0].fd, 12345, SEEK_SET);
	tap_ok(drover_datamap_read(&v.ram.block[0], map, NULL) == 0 && map[0] == 1u << 9 &&
	       lseek(v.ram.block[0].fd, 0, SEEK_CUR) == 12345,
	       "the VMM's file position does not move");
	vmm_close(&v);
}

/* What another tracker has seen itself, beside a log of vCPUs that was read before. */
static void seen(void)
{
	static const uint64_t npages[1] = { 64 };
	const uint64_t hole = 0x0f;
	struct drover_holes *h = NULL;
	uint64_t map = 0x3c;
	struct vmm v;

	vmm_open(&v, npages, 1);
	tap_ok(drover_holes_new(&v.ram, DROVER_HOLES_SEEN, &h, NULL) == 0, "holes are told");
	drover_holes_seen(h, 0, &hole, &map);
	tap_ok(map == 0x3f, "what is a hole is news");
	tap_ok(drover_holes_data(h, 0)[0] == ~0x03ull,
	       "a page that is a hole to one and written to the other is data: %#llx",
	       (unsigned long long)drover_holes_data(h, 0)[0]);
	drover_holes_free(h);
	vmm_close(&v);
}

int main(void)
{
	const char *env = getenv("SEED");
	uint64_t seed = env ? strtoull(env, NULL, 0) : 0x9e3779b97f4a7c15;

	tap_diag("SEED=%#llx", (unsigned long long)seed);
	run(DROVER_HOLES_BEST, "best way", seed);
	run(DROVER_HOLES_READ, "by read", seed);
	big();
	position();
	seen();
	return tap_done();
}
