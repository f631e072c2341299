// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The tracker as a whole (pagemap-scan+holes) doing what a migration does: threads
 * write, punch and read while rounds of harvest and copy run; after the last harvest the
 * copy must equal the original, byte by byte. And single-threaded: each harvest reports
 * what was done since the last one, and nothing else.
 */
#define _GNU_SOURCE
#include "track-vmm.h"

#include <pthread.h>
#include <stdatomic.h>

#include "tap.h"

#define BLOCKS 3u
#define WRITERS 2u
#define ROUNDS 40u

static const uint64_t sizes[BLOCKS] = { 1, 700, 4099 };

struct mover {
	struct vmm v;
	struct drover_tracker *t;
	uint8_t *copy[BLOCKS];
	atomic_bool stop;
	uint64_t seed;
};

struct worker {
	struct mover *m;
	unsigned int index;
};

/* Each worker has its own pages (page % WRITERS), so that a page is written whole. */
static void *work(void *arg)
{
	struct worker *w = arg;
	struct vmm *v = &w->m->v;
	uint64_t seed = w->m->seed + w->index * 7919 + 1, n = 0;

	while (!atomic_load(&w->m->stop)) {
		unsigned int b = (unsigned int)(vmm_rand(&seed) % BLOCKS), op;
		uint64_t page = vmm_rand(&seed) % v->npages[b];

		page -= page % WRITERS == w->index ? 0 : page ? 1 : 0;
		if (page % WRITERS != w->index)
			continue;
		op = (unsigned int)(vmm_rand(&seed) % 8);
		if (op < 5)
			vmm_write(v, b, page, (uint8_t)(vmm_rand(&seed) | 1));
		if (op == 5 || op == 6)
			vmm_punch(v, b, page, 1);
		if (op == 6)
			vmm_write(v, b, page, (uint8_t)(vmm_rand(&seed) | 1));
		if (op == 7) {
			vmm_punch(v, b, page, 1);
			(void)*(volatile uint8_t *)(v->map[b] + page * DROVER_PAGE_SIZE);
		}
		if (++n % 64 == 0)
			usleep(500);
	}
	return NULL;
}

/* What a sender does with what was reported: holes are zero, the rest is read. */
static void copy_dirty(struct mover *m)
{
	unsigned int b;

	for (b = 0; b < BLOCKS; b++) {
		const uint64_t *data = drover_tracker_data(m->t, b);
		uint64_t page = 0, n;

		while ((n = drover_bitmap_next_run(m->v.dirty[b], m->v.npages[b], page, &page)))
			for (; n; n--, page++) {
				uint64_t off = page * DROVER_PAGE_SIZE;

				if (drover_bit_test(data, page))
					memcpy(m->copy[b] + off, m->v.ram.block[b].host + off,
					       DROVER_PAGE_SIZE);
				else
					memset(m->copy[b] + off, 0, DROVER_PAGE_SIZE);
			}
	}
	vmm_clear_dirty(&m->v);
}

static unsigned int differ(struct mover *m)
{
	unsigned int b, bad = 0;
	uint64_t page;

	for (b = 0; b < BLOCKS; b++)
		for (page = 0; page < m->v.npages[b]; page++)
			if (memcmp(m->copy[b] + page * DROVER_PAGE_SIZE,
				   m->v.map[b] + page * DROVER_PAGE_SIZE, DROVER_PAGE_SIZE)) {
				if (!bad++)
					tap_diag("first: ram%u page %llu", b,
						 (unsigned long long)page);
			}
	return bad;
}

static void move(uint64_t seed)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct mover m = { .seed = seed };
	struct worker w[WRITERS];
	pthread_t thread[WRITERS];
	unsigned int i, round, failed = 0;

	vmm_open(&m.v, sizes, BLOCKS);
	for (i = 0; i < BLOCKS; i++) {
		uint64_t page;

		m.copy[i] = malloc(m.v.ram.block[i].size);
		memset(m.copy[i], 0xee, m.v.ram.block[i].size);
		for (page = 0; page < m.v.npages[i]; page++)
			if (page % 100 < 70)
				vmm_write(&m.v, i, page, (uint8_t)(page | 1));
	}
	for (i = 0; i < WRITERS; i++) {
		w[i] = (struct worker){ &m, i };
		pthread_create(&thread[i], NULL, work, &w[i]);
	}
	failed += drover_tracker_select(&m.v.src, "auto", NULL, &m.t, &e) != 0;
	failed += drover_tracker_start(m.t, &e) != 0;
	for (i = 0; i < BLOCKS; i++)
		drover_bitmap_set_range(m.v.dirty[i], 0, m.v.npages[i]);
	for (round = 0; !failed && round < ROUNDS; round++) {
		copy_dirty(&m);
		failed += drover_tracker_harvest(m.t, m.v.dirty, false, &e) != 0;
	}
	atomic_store(&m.stop, true);
	for (i = 0; i < WRITERS; i++)
		pthread_join(thread[i], NULL);
	failed += drover_tracker_harvest(m.t, m.v.dirty, true, &e) != 0;
	copy_dirty(&m);
	tap_ok(!failed, "%s: %u rounds under load %s", drover_tracker_name(m.t), ROUNDS, e.msg);
	tap_ok(differ(&m) == 0, "the copy equals the original");
	tap_ok(drover_tracker_harvest(m.t, m.v.dirty, true, &e) == 0 &&
	       drover_bitmap_count(m.v.dirty[2], sizes[2]) == 0, "nothing is left to report");
	drover_tracker_free(m.t);
	for (i = 0; i < BLOCKS; i++)
		free(m.copy[i]);
	vmm_close(&m.v);
}

/* A page that was written is in the next harvest, by itself, whoever of the VMM wrote it. */
static void exact(uint64_t seed)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_tracker *t = NULL;
	unsigned int i, round, missed = 0, extra = 0;
	bool *want = calloc(sizes[2], 1);
	struct vmm v;
	uint64_t p;
	int pipefd[2];

	vmm_open(&v, sizes, BLOCKS);
	memset(v.map[2], 1, sizes[2] / 2 * DROVER_PAGE_SIZE);
	if (pipe(pipefd) || drover_tracker_select(&v.src, "pagemap-scan", NULL, &t, &e) ||
	    drover_tracker_start(t, &e))
		tap_ok(false, "start: %s", e.msg);
	for (round = 0; round < 50; round++) {
		memset(want, 0, sizes[2]);
		vmm_clear_dirty(&v);
		for (i = 0; i < 30; i++) {
			p = vmm_rand(&seed) % sizes[2];
			want[p] = true;
			if (i % 10 == 9) {
				/* a system call of the VMM writes to its memory */
				if (write(pipefd[1], "x", 1) != 1 ||
				    read(pipefd[0], v.map[2] + p * DROVER_PAGE_SIZE, 1) != 1)
					abort();
			} else if (i % 10 == 8 && drover_bit_test(drover_tracker_data(t, 2), p)) {
				vmm_punch(&v, 2, p, 1);
			} else {
				v.map[2][p * DROVER_PAGE_SIZE + 8] = (uint8_t)(round + 1);
			}
			/* senders read what has data */
			p = vmm_rand(&seed) % (sizes[2] / 2);
			vmm_own_read(&v, 2, p);
		}
		if (drover_tracker_harvest(t, v.dirty, false, &e))
			tap_ok(false, "harvest: %s", e.msg);
		for (p = 0; p < sizes[2]; p++) {
			missed += want[p] && !drover_bit_test(v.dirty[2], p);
			extra += !want[p] && drover_bit_test(v.dirty[2], p);
		}
	}
	tap_ok(!missed, "50 harvests miss nothing, %u", missed);
	tap_ok(extra <= 50, "and report little else, %u", extra);
	drover_tracker_free(t);
	free(want);
	close(pipefd[0]);
	close(pipefd[1]);
	vmm_close(&v);
}

/* After stop the VMM's memory is as if never armed: somebody else may register it. */
static void stop_is_clean(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_tracker *t = NULL;
	struct vmm v;
	int other = -1, i;
	bool busy, once, again;

	vmm_open(&v, sizes, BLOCKS);
	drover_uffd_new(DROVER_UFFD_FEATURES, &other, NULL, &e);
	tap_ok(!drover_tracker_select(&v.src, "auto", NULL, &t, &e), "select %s", e.msg);
	tap_ok(drover_uffd_register(other, v.src.block[2].base, v.ram.block[2].size,
				    UFFDIO_REGISTER_MODE_WP) == 0 &&
	       drover_uffd_unregister(other, v.src.block[2].base, v.ram.block[2].size) == 0,
	       "select arms nothing");
	for (i = 0, once = true, again = true, busy = true; i < 3; i++) {
		once &= drover_tracker_start(t, &e) == 0;
		busy &= drover_uffd_register(other, v.src.block[1].base, DROVER_PAGE_SIZE,
					     UFFDIO_REGISTER_MODE_WP) == -EBUSY;
		drover_tracker_stop(t);
		drover_tracker_stop(t);
		again &= drover_uffd_register(other, v.src.block[1].base, v.ram.block[1].size,
					      UFFDIO_REGISTER_MODE_WP) == 0 &&
			drover_uffd_unregister(other, v.src.block[1].base,
					       v.ram.block[1].size) == 0;
	}
	tap_ok(once && busy, "started three times, %s", e.msg[0] ? e.msg : "armed each time");
	tap_ok(again, "stopped twice each time: not registered any more");
	tap_ok(drover_tracker_harvest(t, v.dirty, false, &e) == -EINVAL, "harvest after stop: %s",
	       e.msg);
	/* start fails in the middle: block 2 is somebody else's; nothing stays armed */
	drover_err_clear(&e);
	drover_uffd_register(other, v.src.block[2].base, v.ram.block[2].size,
			     UFFDIO_REGISTER_MODE_WP);
	tap_ok(drover_tracker_start(t, &e) == -EBUSY, "start fails: %s", e.msg);
	tap_ok(drover_uffd_register(other, v.src.block[1].base, v.ram.block[1].size,
				    UFFDIO_REGISTER_MODE_WP) == 0, "and undoes what it did");
	drover_tracker_free(t);
	close(other);
	vmm_close(&v);
}

int main(void)
{
	const char *env = getenv("SEED");
	uint64_t seed = env ? strtoull(env, NULL, 0) | 1 : 0x9e3779b97f4a7c15;
	static const uint64_t one[1] = { 1 };
	struct vmm v;

	tap_diag("SEED=%#llx", (unsigned long long)seed);
	vmm_open(&v, one, 1);
	VMM_NEEDS_SCAN(&v);
	vmm_close(&v);
	exact(seed);
	stop_is_clean();
	move(seed);
	move(seed + 2);
	return tap_done();
}
